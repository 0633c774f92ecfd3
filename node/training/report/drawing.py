"""What all pictures of reports are drawn with: a canvas without state, and slices of cases."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from node.training.report.picture import Picture

OURS, OTHER, PAPER = "#1f5fa8", "#c2571a", "#777777"
_TRUTH, _FOUND = "#35d04a", "#ff4fd8"
#: Cases in one picture.
SHOWN = 6
_DPI = 110
#: Width of one slice in a gallery, inches.
_WIDTH_IN = 3.3


@contextmanager
def canvas(path: Path, size: tuple[float, float], grid: tuple[int, int] = (1, 1)) -> Iterator[Any]:
    """Yield the axes of a figure and save it. The figure is ours alone: no pyplot, no state."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, layout="constrained")
    FigureCanvasAgg(figure)
    yield figure.subplots(*grid, squeeze=False)
    figure.savefig(path, dpi=_DPI)


def gallery(path: Path, shown: Sequence[tuple[Picture | None, str]]) -> None:
    """Draw slices with their outlines and titles, up to `SHOWN`."""
    columns = min(3, len(shown))
    rows = math.ceil(len(shown) / columns)
    height = 0.6 + _WIDTH_IN * max(_tallness(picture) for picture, _ in shown)
    with canvas(path, (_WIDTH_IN * columns, height * rows), (rows, columns)) as axes:
        for ax in axes.flat:
            ax.set_axis_off()
        for ax, (picture, title) in zip(axes.flat, shown, strict=False):
            _slice(ax, picture, title)


def _tallness(picture: Picture | None) -> float:
    """Return height over width of a picture in mm."""
    if picture is None:
        return 0.0
    rows, columns = picture.grey.shape
    return float(rows * picture.pixel_mm[0] / (columns * picture.pixel_mm[1]))


def _slice(ax: Any, picture: Picture | None, title: str) -> None:
    if picture is not None:
        aspect = picture.pixel_mm[0] / picture.pixel_mm[1]
        ax.imshow(picture.grey, cmap="gray", vmin=0, vmax=255, aspect=aspect)
        if picture.heat is not None:
            ax.imshow(picture.heat, cmap="inferno", vmin=0, vmax=1, alpha=0.4, aspect=aspect)
        for mask, color in ((picture.truth, _TRUTH), (picture.prediction, _FOUND)):
            # contour() warns of a plane without an edge; a frame of zeros closes those at the rim.
            if mask.any():
                _outline(ax, mask, color)
        title += f", slice {picture.slice_index + 1}"
    ax.set_title(title, fontsize=8)


def _outline(ax: Any, mask: Any, color: str) -> None:
    padded = np.pad(mask, 1).astype(float)
    rows, columns = np.arange(-1, mask.shape[0] + 1), np.arange(-1, mask.shape[1] + 1)
    ax.contour(columns, rows, padded, levels=[0.5], colors=[color], linewidths=1.2)
