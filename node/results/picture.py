"""One PNG for each finding: its largest slice, its outline, its values; no patient data."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from node.dicom.frames import Stack
from node.plugin import Case, Line, Volume
from node.results.request import EncodeRequest, Finding, findings_of, measurements_of
from node.results.sentences import RESEARCH_USE

#: Longest side of the picture, pixels, and the band of text below it.
_SIDE = 768
_BAND = 84
_MARGIN = 10
#: Soft tissue window of CT (centre, width) in HU; other modalities: these percentiles.
_WINDOW_HU = (40.0, 400.0)
_PERCENTILES = (1.0, 99.5)
_WHITE = (255, 255, 255)
_GREY = (170, 170, 170)
_AXIS_NAMES = (("R", "L"), ("A", "P"), ("F", "H"))


def overlay_picture(request: EncodeRequest, case: Case, folder: Path) -> Path | None:
    """Draw every finding into `folder`; return the first one's picture, None without any.

    Parameters
    ----------
    case : Case
        What the plugin saw: the pictures show those values.
    """
    paths = [
        picture_of_finding(
            request,
            finding,
            volume=case.volumes[finding.segment.role],
            out_path=folder / f"finding-{number}.png",
        )
        for number, finding in enumerate(findings_of(request), start=1)
    ]
    return paths[0] if paths else None


def picture_of_finding(
    request: EncodeRequest, finding: Finding, *, volume: Volume, out_path: Path
) -> Path:
    """Draw a finding on the slice where its area is largest, and return `out_path`.

    Rows and columns run as stored (an axial slice has the patient's right on the left as a
    rule; the letters at the edges say what is where), and both have the same mm per pixel.
    """
    stack = request.stacks[finding.segment.role]
    areas = np.count_nonzero(finding.segment.mask, axis=(1, 2))  # (slices,)
    slice_index = int(np.argmax(areas))
    size = _size(stack)
    grey = Image.fromarray(_windowed(volume.array[slice_index], volume.modality))
    picture = grey.resize(size, Image.Resampling.BILINEAR).convert("RGB")
    _outline(picture, finding.segment.mask[slice_index] != 0, finding.spec.color_rgb)
    lines = [m.line for m in measurements_of(request).get(finding.key, []) if m.line is not None]
    for line in lines:
        if line.slice_index == slice_index:
            _draw_line(picture, line, stack)
    _letters(picture, stack)
    page = Image.new("RGB", (size[0], size[1] + _BAND))
    page.paste(picture, (0, 0))
    _caption(page, request, finding, slice_index)
    out_path.parent.mkdir(parents=True, exist_ok=True)
    page.save(out_path, "PNG")
    return out_path


def _size(stack: Stack) -> tuple[int, int]:
    """Return (width, height) in pixels with equal mm per pixel along both.

    The smaller of the two steps decides: no voxel is narrower than it would be alone.
    """
    _, rows, columns = stack.geometry.shape
    _, between_rows, between_columns = stack.geometry.spacing_mm
    width, height = columns * between_columns, rows * between_rows  # mm
    scale = _SIDE / max(width, height)
    return max(1, round(width * scale)), max(1, round(height * scale))


def _windowed(plane: NDArray[np.generic], modality: str) -> NDArray[np.uint8]:
    """Return one plane of values as grey, (rows, columns)."""
    values = plane.astype(np.float32)
    if modality == "CT":
        centre, width = _WINDOW_HU
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
    (left, right), (top, bottom) = _ends(directions[:3]), _ends(directions[3:])
    width, height = picture.size
    for text, place, anchor in (
        (left, (_MARGIN, height // 2), "lm"),
        (right, (width - _MARGIN, height // 2), "rm"),
        (top, (width // 2, _MARGIN), "mt"),
        (bottom, (width // 2, height - _MARGIN), "mb"),
    ):
        # A dark rim, or the letters vanish on bright tissue.
        draw.text(place, text, _WHITE, font, anchor, stroke_width=2, stroke_fill=(0, 0, 0))


def _ends(direction: tuple[float, ...]) -> tuple[str, str]:
    """Return the patient's sides at the start and at the end of a direction in LPS+.

    Examples
    --------
    >>> _ends((1.0, 0.0, 0.0)), _ends((0.0, 0.1, -0.9))
    (('R', 'L'), ('H', 'F'))
    """
    axis = int(np.argmax(np.abs(direction)))
    names = _AXIS_NAMES[axis]
    return names if direction[axis] > 0 else (names[1], names[0])


def _caption(page: Image.Image, request: EncodeRequest, finding: Finding, index: int) -> None:
    manifest, stack = request.manifest, request.stacks[finding.segment.role]
    values = [
        f"{spec.code.meaning} {m.value:.{spec.digits}f} {spec.unit.value}"
        for m in measurements_of(request).get(finding.key, [])
        for spec in (manifest.measurements[m.name],)
    ]
    series = request.headers[finding.segment.role][0].get("SeriesNumber")
    lines = (
        (f"{finding.label}: {', '.join(values)}" if values else finding.label),
        f"{manifest.title} {manifest.version}, series {series}, "
        f"slice {index + 1} of {len(stack.frames)}",
        RESEARCH_USE if not request.released else "",
    )
    draw, top = ImageDraw.Draw(page), page.size[1] - _BAND + 8
    for number, (text, colour) in enumerate(zip(lines, (_WHITE, _GREY, _GREY), strict=True)):
        font = _fitting(draw, text, page.size[0] - 2 * _MARGIN, 20 if number == 0 else 16)
        draw.text((_MARGIN, top + 25 * number), text, fill=colour, font=font)


def _fitting(
    draw: ImageDraw.ImageDraw, text: str, width: int, size: int
) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Return the largest font in which `text` is not wider than `width`."""
    while size > 8 and draw.textlength(text, font=ImageFont.load_default(size)) > width:
        size -= 1
    return ImageFont.load_default(size)
