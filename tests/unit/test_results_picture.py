"""Pictures: right slice, right place, equal millimetres, no patient."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from node.plugin import Case, Result, Volume
from node.results.encode import EncodeRequest
from node.results.picture import overlay_picture, picture_of_finding
from node.results.request import findings_of
from tests.results_case import ball_result, request_of, synthetic_headers

RED = (255, 0, 0)


def case_of(request: EncodeRequest, modality: str = "CT") -> Case:
    stack = request.stacks["ct"]
    values = np.linspace(-200, 240, int(np.prod(stack.geometry.shape))).reshape(
        stack.geometry.shape
    )
    affine = np.array(stack.geometry.affine)
    return Case(volumes={"ct": Volume(array=values, affine=affine, unit="1", modality=modality)})


def red_pixels(path: Path) -> np.ndarray[tuple[int, ...], np.dtype[np.intp]]:
    with Image.open(path) as picture:
        pixels = np.asarray(picture)
    return np.argwhere((pixels == RED).all(axis=2))


def test_the_outline_lies_on_the_mask_of_the_largest_slice(tmp_path: Path) -> None:
    mask = np.zeros((5, 6, 7), bool)
    mask[1, 0, 0] = True
    mask[3, 2:4, 4:7] = True  # the larger one: rows 2-3, columns 4-6
    (segment,) = ball_result().segments
    result = Result(segments=(type(segment)(name="tumour", mask=mask, role="ct"),))
    request = request_of(synthetic_headers(), result)

    path = overlay_picture(request, case_of(request), tmp_path)

    assert path is not None
    scale = 768 / max(6 * 0.8, 7 * 0.7)
    top, left = red_pixels(path).min(axis=0)
    bottom, right = red_pixels(path).max(axis=0)
    found = np.array([top, left, bottom + 1, right + 1])
    expected = np.array([2 * 0.8, 4 * 0.7, 4 * 0.8, 7 * 0.7]) * scale
    assert np.abs(found - expected).max() <= 1.5


def test_unequal_spacing_is_shown_with_equal_millimetres(tmp_path: Path) -> None:
    headers = synthetic_headers(PixelSpacing=["2.0", "0.5"])
    request = request_of(headers, ball_result())
    (finding,) = findings_of(request)

    path = picture_of_finding(
        request, finding, volume=case_of(request).volumes["ct"], out_path=tmp_path / "a.png"
    )

    with Image.open(path) as picture:
        width, height = picture.size
    assert width == round(768 * (7 * 0.5) / (6 * 2.0))
    # Lines of 25 pixels and a margin of 9 lie below; in a page so narrow they take more lines.
    lines, rest = divmod(height - 768 - 9, 25)
    assert rest == 0 and lines > 3


@pytest.mark.parametrize("modality", ["CT", "MR"])
def test_every_finding_has_a_picture_and_none_names_the_patient(
    tmp_path: Path, modality: str
) -> None:
    (one,) = ball_result().segments
    node = type(one)(name="node", mask=one.mask, role="ct")
    request = request_of(synthetic_headers(), ball_result(segments=(one, node)))

    first = overlay_picture(request, case_of(request, modality), tmp_path / "new")

    names = sorted(path.name for path in (tmp_path / "new").iterdir())
    assert names == ["finding-1.png", "finding-2.png"]
    assert first == tmp_path / "new/finding-1.png"
    for path in (tmp_path / "new").iterdir():
        with Image.open(path) as picture:
            assert picture.info == {}
        # The pixels are compressed: two letters may be there by chance.
        beside_pixels, _, _ = path.read_bytes().partition(b"IDAT")
        for secret in (b"ller", b"P1", b"A100"):
            assert secret not in beside_pixels


def test_nothing_found_has_no_picture(tmp_path: Path) -> None:
    request = request_of(synthetic_headers(), Result())

    assert overlay_picture(request, case_of(request), tmp_path) is None


def test_a_picture_says_what_the_weights_are_worth(tmp_path: Path) -> None:
    request = request_of(synthetic_headers(), ball_result())
    silent = replace(request, manifest=replace(request.manifest, training=""))
    assert "no clinical validity" in request.manifest.training

    said, unsaid = (
        overlay_picture(one, case_of(one), tmp_path / name)
        for one, name in ((request, "said"), (silent, "unsaid"))
    )

    assert said is not None and unsaid is not None
    with Image.open(said) as longer, Image.open(unsaid) as shorter:
        assert longer.size[1] > shorter.size[1]  # a line of its own
        rows = np.asarray(longer)[shorter.size[1] - 30 :]
        assert (rows == 255).any()
