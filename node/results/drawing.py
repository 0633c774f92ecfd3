"""Pictures of findings on an image plane: grey values, outlines, lines, letters, words."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from pydicom import Dataset
from pydicom.multival import MultiValue

from node.dicom.frames import Stack
from node.plugin import Line, Map, Volume
from node.results.heat import colour_bar, map_words, range_of, washed
from node.results.request import EncodeRequest, Finding, measurements_of
from node.results.sentences import RESEARCH_USE, sentence, value_text

#: Longest side of the picture, pixels, and the lines of text below it.
_SIDE = 768
_LINE = 25
_FONT_SIZE = 17
_MARGIN = 10
#: Findings named below a picture, and numbers of each; more are counted.
_MAX_NAMED = 4
_MAX_VALUES = 8
#: Soft tissue window of CT (centre, width) in HU; other modalities: these percentiles.
_WINDOW_HU = (40.0, 400.0)
_PERCENTILES = (1.0, 99.5)
#: Width and height of the bar that explains the colours of a map, and the room beside it.
_BAR = (180, 14)
_BESIDE_BAR = 6
_WHITE = (255, 255, 255)
_GREY = (170, 170, 170)
_AXIS_NAMES = (("R", "L"), ("A", "P"), ("F", "H"))


def page_of_slice(
    request: EncodeRequest,
    role: str,
    slice_index: int,
    *,
    findings: Sequence[Finding],
    volume: Volume,
    heat: Map | None = None,
) -> Image.Image:
    """Draw findings of one input on one of its slices, with their values below.

    Rows and columns run as stored (an axial slice has the patient's right on the left as a
    rule; the letters at the edges say what is where), and both have the same mm per pixel.

    Parameters
    ----------
    role : the input
    findings : those on the slice
    volume : what the plugin saw of that input
    heat : a map of that input, drawn below the outlines; None for none

    Returns
    -------
    RGB image; no patient data is drawn
    """
    stack = request.stacks[role]
    window = _window(request, role, volume)
    size = _size(stack)
    grey = Image.fromarray(_windowed(volume.array[slice_index], window))
    picture = grey.resize(size, Image.Resampling.BILINEAR).convert("RGB")
    if heat is not None:
        picture = washed(picture, heat, slice_index)
    for finding in findings:
        _outline(picture, finding.segment.mask[slice_index] != 0, finding.spec.color_rgb)
        for measurement in measurements_of(request).get(finding.key, []):
            line = measurement.line
            if line is not None and line.slice_index == slice_index:
                _draw_line(picture, line, stack)
    _letters(picture, stack)
    lines = [
        (part, colour)
        for text, colour in _caption(request, role, findings, slice_index)
        for part in _wrapped(text, size[0] - 2 * _MARGIN)
    ]
    bar = 0 if heat is None else _LINE
    page = Image.new("RGB", (size[0], size[1] + bar + _LINE * len(lines) + _MARGIN - 1))
    page.paste(picture, (0, 0))
    top = size[1] + _MARGIN // 2
    if heat is not None:
        _explain(page, request, heat, top=top)
    _write(page, lines, top=top + bar)
    return page


def _window(request: EncodeRequest, role: str, volume: Volume) -> tuple[float, float] | None:
    """Return (centre, width): the manifest's, the source's, CT's soft tissue; None: unknown."""
    spec = request.manifest.inputs.get(role)
    if spec is not None and spec.window is not None:
        return spec.window
    header = request.headers[role][0]
    centre, width = (_first(header, word) for word in ("WindowCenter", "WindowWidth"))
    if centre is not None and width is not None and width > 1:
        return centre, width
    return _WINDOW_HU if volume.modality == "CT" else None


def _first(header: Dataset, keyword: str) -> float | None:
    value = header.get(keyword)
    if isinstance(value, MultiValue | list):
        value = value[0] if value else None
    try:
        number = float(value) if value is not None else None
    except (TypeError, ValueError):
        return None
    return number if number is not None and np.isfinite(number) else None


def _size(stack: Stack) -> tuple[int, int]:
    """Return (width, height) in pixels with equal mm per pixel along both.

    The smaller of the two steps decides: no voxel is narrower than it would be alone.
    """
    _, rows, columns = stack.geometry.shape
    _, between_rows, between_columns = stack.geometry.spacing_mm
    width, height = columns * between_columns, rows * between_rows  # mm
    scale = _SIDE / max(width, height)
    return max(1, round(width * scale)), max(1, round(height * scale))


def _windowed(plane: NDArray[np.generic], window: tuple[float, float] | None) -> NDArray[np.uint8]:
    """Return one plane of values as grey, (rows, columns)."""
    values = plane.astype(np.float32)
    if window is not None:
        centre, width = window
        low, high = centre - width / 2, centre + width / 2
    else:
        low, high = (float(v) for v in np.percentile(values, _PERCENTILES))
    shown: NDArray[np.float32] = np.clip((values - low) / max(high - low, 1e-6), 0, 1) * 255
    return shown.astype(np.uint8)


def _outline(picture: Image.Image, mask: NDArray[np.bool_], colour: tuple[int, int, int]) -> None:
    """Paint the inner border of a mask, two pixels wide, on a picture of the same plane."""
    enlarged = Image.fromarray(mask.astype(np.uint8) * 255).resize(
        picture.size, Image.Resampling.NEAREST
    )
    inside = np.asarray(enlarged) > 0
    core = inside
    for _ in range(2):
        padded = np.pad(core, 1)
        core = core & padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    border = Image.fromarray(((inside & ~core) * 255).astype(np.uint8))
    picture.paste(colour, (0, 0, *picture.size), border)


def _draw_line(picture: Image.Image, line: Line, stack: Stack) -> None:
    _, rows, columns = stack.geometry.shape
    across, down = picture.size[0] / columns, picture.size[1] / rows
    ends = [((c + 0.5) * across, (r + 0.5) * down) for r, c in (line.start, line.end)]
    ImageDraw.Draw(picture).line(ends, fill=_WHITE, width=1)


def _letters(picture: Image.Image, stack: Stack) -> None:
    """Write which side of the patient each edge shows (PS3.3 C.7.6.1.1.1)."""
    directions = stack.frames[0].image_orientation_patient
    if directions is None:
        return
    draw, font = ImageDraw.Draw(picture), ImageFont.load_default(18)
    (left, right), (top, bottom) = sides(directions[:3]), sides(directions[3:])
    width, height = picture.size
    for text, place, anchor in (
        (left, (_MARGIN, height // 2), "lm"),
        (right, (width - _MARGIN, height // 2), "rm"),
        (top, (width // 2, _MARGIN), "mt"),
        (bottom, (width // 2, height - _MARGIN), "mb"),
    ):
        # A dark rim, or the letters vanish on bright tissue.
        draw.text(place, text, _WHITE, font, anchor, stroke_width=2, stroke_fill=(0, 0, 0))


def sides(direction: tuple[float, ...]) -> tuple[str, str]:
    """Return the patient's sides at the start and at the end of a direction in LPS+.

    Examples
    --------
    >>> sides((1.0, 0.0, 0.0)), sides((0.0, 0.1, -0.9))
    (('R', 'L'), ('H', 'F'))
    """
    axis = int(np.argmax(np.abs(direction)))
    names = _AXIS_NAMES[axis]
    return names if direction[axis] > 0 else (names[1], names[0])


def _caption(
    request: EncodeRequest, role: str, findings: Sequence[Finding], index: int
) -> list[tuple[str, tuple[int, int, int]]]:
    """Return the lines below the picture with their colours."""
    manifest = request.manifest
    lines = [(_values(request, f), f.spec.color_rgb) for f in findings[:_MAX_NAMED]]
    if len(findings) > _MAX_NAMED:
        lines.append((f"and {len(findings) - _MAX_NAMED} more on this slice", _WHITE))
    series = request.headers[role][0].get("SeriesNumber")
    lines.append(
        (
            f"{manifest.title} ({manifest.name_version}), series {series}, "
            f"slice {index + 1} of {len(request.stacks[role].frames)}",
            _GREY,
        )
    )
    if manifest.training:
        lines.append((sentence(manifest.training), _WHITE))
    if not request.released:
        lines.append((RESEARCH_USE, _WHITE))
    return lines


def _values(request: EncodeRequest, finding: Finding) -> str:
    measured = measurements_of(request).get(finding.key, [])
    values = [value_text(m, request.manifest.measurements[m.name]) for m in measured[:_MAX_VALUES]]
    if len(measured) > _MAX_VALUES:
        values.append(f"{len(measured) - _MAX_VALUES} more in the report")
    return f"{finding.label}: {', '.join(values)}" if values else finding.label


def _wrapped(text: str, width: int) -> list[str]:
    """Return the lines that a text takes in a page so many pixels wide, the later ones indented.

    Examples
    --------
    >>> _wrapped("node 1: 28 % of one, 33 % of the other", 180)
    ['node 1: 28 % of one,', '  33 % of the other']
    """
    font, lines = ImageFont.load_default(_FONT_SIZE), [""]
    for word in text.split(" "):
        longer = f"{lines[-1]} {word}" if lines[-1].strip() else f"{lines[-1]}{word}"
        if lines[-1].strip() and font.getlength(longer) > width:
            lines.append(f"  {word}")
        else:
            lines[-1] = longer
    return lines


def _write(
    page: Image.Image, lines: Sequence[tuple[str, tuple[int, int, int]]], *, top: int
) -> None:
    draw = ImageDraw.Draw(page)
    for number, (text, colour) in enumerate(lines):
        font = _fitting(draw, text, page.size[0] - 2 * _MARGIN, _FONT_SIZE)
        draw.text((_MARGIN, top + _LINE * number), text, fill=_legible(colour), font=font)


def _explain(page: Image.Image, request: EncodeRequest, heat: Map, *, top: int) -> None:
    """Draw the colours of a map with the values that they stand for, and its name."""
    least, most = (f"{value:.3g}" for value in range_of(heat))
    font, middle = ImageFont.load_default(_FONT_SIZE), top + _LINE // 2
    draw = ImageDraw.Draw(page)
    draw.text((_MARGIN, middle), least, _WHITE, font, "lm")
    left = _MARGIN + round(draw.textlength(least, font=font)) + _BESIDE_BAR
    page.paste(colour_bar(*_BAR), (left, middle - _BAR[1] // 2))
    left += _BAR[0] + _BESIDE_BAR
    words = f"{most}   {map_words(request, heat)}"
    font = _fitting(draw, words, page.size[0] - _MARGIN - left, _FONT_SIZE)
    draw.text((left, middle), words, _WHITE, font, "lm")


def _legible(colour: tuple[int, int, int]) -> tuple[int, int, int]:
    """Return white where a segment's colour is too dark to read on black.

    Examples
    --------
    >>> _legible((0, 0, 120)), _legible((255, 64, 64))
    ((255, 255, 255), (255, 64, 64))
    """
    red, green, blue = colour
    return colour if 0.3 * red + 0.6 * green + 0.1 * blue > 80 else _WHITE


def _fitting(
    draw: ImageDraw.ImageDraw, text: str, width: int, size: int
) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Return the largest font in which `text` is not wider than `width`."""
    while size > 8 and draw.textlength(text, font=ImageFont.load_default(size)) > width:
        size -= 1
    return ImageFont.load_default(size)
