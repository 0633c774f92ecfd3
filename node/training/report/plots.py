"""The pictures of a report on masks, drawn from its document and the slices of its cases."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from node.training.report.about import Document
from node.training.report.cases import SegmentationCase
from node.training.report.drawing import OTHER, OURS, PAPER, SHOWN, canvas, gallery
from node.training.report.statistics import Cases

#: Every file that `draw_all` may write.
PICTURES = (
    "froc-match-iou.png",
    "froc-score.png",
    "dice-by-size.png",
    "dice-histogram.png",
    "worst.png",
    "median.png",
    "best.png",
    "false-positives.png",
)
#: Room that a label at a point takes: part of the width, part of the height.
_LABEL = (0.15, 0.05)


def draw_all(folder: Path, document: Document, cases: Cases) -> dict[str, str]:
    """Write every picture; return file name to what it shows, in the order of the page."""
    captions = {
        "froc-match-iou.png": "FROC (a), over the match IoU. " + _meaning(document, "match_iou"),
        "froc-score.png": "FROC (b), over the score. " + _meaning(document, "score"),
        "dice-by-size.png": "Dice of each CT with a tumour by its largest lesion "
        "(diameter of the sphere of the same volume).",
        "dice-histogram.png": "Dice of each CT with a tumour.",
    }
    _froc_over_match_iou(folder / "froc-match-iou.png", document)
    _froc_over_score(folder / "froc-score.png", document)
    with_tumor = sorted((c for c in cases if not c.tumor_free), key=lambda c: c.overlap.dice)
    _dice_by_size(folder / "dice-by-size.png", document, with_tumor)
    _dice_histogram(folder / "dice-histogram.png", with_tumor)
    middle = max(0, len(with_tumor) // 2 - SHOWN // 2)
    false = sorted((c for c in cases if c.tumor_free and c.components), key=lambda c: -c.filled)
    legend = " Green: the reference. Magenta: what was found."
    for name, some, caption in (
        ("worst.png", with_tumor[:SHOWN], "The CTs of lowest Dice."),
        ("median.png", with_tumor[middle : middle + SHOWN], "CTs around the median Dice."),
        ("best.png", with_tumor[::-1][:SHOWN], "The CTs of highest Dice."),
        (
            "false-positives.png",
            false[:SHOWN],
            "False positives in tumour-free CTs, largest first.",
        ),
    ):
        if some:
            gallery(folder / name, [(case.picture, _title(case)) for case in some])
            captions[name] = caption + legend
    return captions


def _meaning(document: Document, name: str) -> str:
    return str(document[f"froc_over_{name}"]["meaning"])


def _froc_over_match_iou(path: Path, document: Document) -> None:
    points = [p for p in document["froc_over_match_iou"]["points"] if p["sensitivity"] is not None]
    with canvas(path, (6.4, 5.0)) as axes:
        ax = axes[0, 0]
        rates = [p["fp_per_scan"] for p in points]
        found = [p["sensitivity"] for p in points]
        ax.plot(rates, found, "o-", color=OURS, label="ours, CTs with a tumour")
        for point, rate in zip(points, rates, strict=True):
            low, high = (point["intervals"]["sensitivity"][k] for k in ("low", "high"))
            if low is not None and high is not None:
                ax.plot([rate, rate], [low, high], color=OURS, alpha=0.35)
        most = _paper(ax, document, "at IoU 0.5")
        width = _froc_axes(ax, [*rates, most], "FROC (a): the match IoU is swept")
        for words, at in _labels([p["match_iou"] for p in points], rates, found, width):
            left = at[0] > (1 - _LABEL[0]) * width  # no room on the right
            ax.annotate(
                words,
                at,
                textcoords="offset points",
                xytext=(-7, -3) if left else (7, 3),
                ha="right" if left else "left",
                va="top" if left else "bottom",
                fontsize=8,
            )


def _labels(
    ious: Sequence[float], rates: Sequence[float], found: Sequence[float], width: float
) -> list[tuple[str, tuple[float, float]]]:
    """Return a label for each point of the curve, one for neighbours whose labels would touch.

    Parameters
    ----------
    ious, rates, found
        Match IoU, false positives per CT and sensitivity of the points, in order.
    width : float
        Of the axis of rates; that of sensitivities is 1.

    Examples
    --------
    >>> _labels([0.1, 0.2, 0.5], [0.0, 0.01, 0.4], [0.99, 0.98, 0.7], 1.0)
    [('IoU 0.1 to 0.2', (0.01, 0.98)), ('IoU 0.5', (0.4, 0.7))]
    """
    groups: list[list[int]] = []
    for index in range(len(ious)):
        before = groups[-1][-1] if groups else index
        near = (
            abs(rates[index] - rates[before]) < _LABEL[0] * width
            and abs(found[index] - found[before]) < _LABEL[1]
        )
        if groups and near:
            groups[-1].append(index)
        else:
            groups.append([index])
    return [
        (
            f"IoU {ious[group[0]]:g}" + (f" to {ious[group[-1]]:g}" if len(group) > 1 else ""),
            (rates[group[-1]], found[group[-1]]),
        )
        for group in groups
    ]


def _froc_over_score(path: Path, document: Document) -> None:
    points = document["froc_over_score"]["points"]
    with canvas(path, (6.4, 5.0)) as axes:
        ax, every = axes[0, 0], [0.0]
        for key, color, style, label in (
            ("fp_per_scan", OURS, "-", "false positives in CTs with a tumour"),
            ("fp_per_tumor_free_scan", OTHER, "--", "false positives in tumour-free CTs"),
        ):
            some = [p for p in points if p[key] is not None and p["sensitivity"] is not None]
            rates = [p[key] for p in some]
            every += rates
            if some:
                ax.plot(rates, [p["sensitivity"] for p in some], style, color=color, label=label)
                ax.plot(rates[-1:], [some[-1]["sensitivity"]], "o", color=color)
        every.append(_paper(ax, document, "(one point, all components)"))
        _froc_axes(ax, every, "FROC (b), classic: the score is swept, match IoU 0.5")


def _paper(ax: Any, document: Document, where: str) -> float:
    """Draw the paper's own point, clearly not as ours; return its false positives per scan."""
    figures = (document["reference"] or {}).get("figures", {})
    if "sensitivity" not in figures or "fp_per_scan" not in figures:
        return 0.0
    rate, sensitivity = figures["fp_per_scan"], figures["sensitivity"]
    label = f"the paper's own figure {where}: other data, not ours"
    ax.axhline(sensitivity, color=PAPER, lw=0.8, ls=":")
    ax.plot([rate], [sensitivity], "*", ms=12, mfc="none", color=PAPER, label=label)
    return float(rate)


def _froc_axes(ax: Any, rates: Sequence[float], title: str) -> float:
    """Settle the axes; return how far that of the rates reaches."""
    ax.set(xlabel="false positives per CT", ylabel="sensitivity", title=title)
    most = max(1.0, 1.1 * max(rates))
    ax.set_xlim(-0.01 * most, most)
    ax.set_ylim(0, 1.08)
    ax.grid(alpha=0.3)
    if ax.get_legend_handles_labels()[0]:
        ax.figure.legend(loc="outside lower center", fontsize=8)
    return most


def _dice_by_size(path: Path, document: Document, cases: Cases) -> None:
    with canvas(path, (6.4, 4.2)) as axes:
        ax = axes[0, 0]
        ax.plot(
            [c.largest_mm for c in cases],
            [c.overlap.dice for c in cases],
            ".",
            color=OURS,
            alpha=0.6,
        )
        for edge in document["by_size"]["edges_mm"]:
            ax.axvline(edge, color=PAPER, lw=0.8)
        ax.set(xlabel="largest lesion, mm", ylabel="Dice", ylim=(-0.02, 1.02))
        ax.set_title("Dice by size of the largest lesion")
        ax.grid(alpha=0.3)


def _dice_histogram(path: Path, cases: Cases) -> None:
    dice = [c.overlap.dice for c in cases]
    with canvas(path, (6.4, 3.8)) as axes:
        ax = axes[0, 0]
        ax.hist(dice, bins=np.linspace(0, 1, 21).tolist(), color=OURS, edgecolor="white")
        if dice:
            mean = float(np.mean(dice))
            ax.axvline(mean, color="black", lw=1.2, label=f"mean {mean:.3f}")
            ax.legend(loc="upper left", fontsize=8)
        ax.set(xlabel="Dice", ylabel="CTs", xlim=(0, 1), title="Dice of the CTs with a tumour")


def _title(case: SegmentationCase) -> str:
    false = f"{case.match.false_positives()} false positive(s)"
    said = "tumour-free" if case.tumor_free else f"Dice {case.overlap.dice:.2f}"
    return f"{case.known.patient}\n{said}, {false}"
