"""Whose region it is, and what is no region at all."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom import Dataset

from node.dicom.frames import Stack
from node.dicom.regions import RegionRules, mask_on, refusal_of, regions_of
from node.errors import MalformedDataset, NodeError, RefusalCode, Refused
from tests.regions_case import binary, blob, image, written

SHAPE = (6, 9, 11)


@pytest.fixture
def ct(tmp_path: Path) -> tuple[Stack, list[Dataset]]:
    return image(tmp_path / "ct", SHAPE)


def refusal(tmp_path: Path, ct: Any, changes: dict[str, Any], **rules: Any) -> RefusalCode:
    stack, images = ct
    ds = binary(images, blob(SHAPE), **changes)
    (region,) = regions_of(written(tmp_path / "seg.dcm", ds))
    with pytest.raises(Refused) as caught:
        mask_on(region, stack, rules=RegionRules(**rules))
    for secret in ("TEST-1", "Somebody", str(images[0].StudyInstanceUID), str(tmp_path)):
        assert secret not in caught.value.sentence
    return caught.value.code


@pytest.mark.parametrize(
    "changes",
    [{"PatientID": "Somebody"}, {"IssuerOfPatientID": "Elsewhere"}, {"PatientID": ""}],
    ids=["id", "issuer", "no id"],
)
@pytest.mark.parametrize("other_study", [False, True])
def test_s21_region_of_another_patient_is_refused(
    tmp_path: Path, ct: Any, changes: dict[str, Any], other_study: bool
) -> None:
    code = refusal(tmp_path, ct, changes, other_study=other_study)

    assert code is RefusalCode.ROI_OTHER_PATIENT


def test_s21_region_of_another_study_is_refused_unless_the_rules_allow_it(
    tmp_path: Path, ct: Any
) -> None:
    changes = {"StudyInstanceUID": "1.2.3.4"}

    assert refusal(tmp_path, ct, changes) is RefusalCode.ROI_OTHER_STUDY

    stack, images = ct
    (region,) = regions_of(written(tmp_path / "seg.dcm", binary(images, blob(SHAPE), **changes)))
    got = mask_on(region, stack, rules=RegionRules(other_study=True))
    np.testing.assert_array_equal(got, blob(SHAPE))


def test_s21_other_study_without_any_patient_is_refused(tmp_path: Path) -> None:
    """Two empty Patient IDs are not one patient."""
    nobody = {"PatientID": "", "IssuerOfPatientID": ""}
    case = image(tmp_path / "ct", SHAPE, **nobody)

    code = refusal(tmp_path, case, {"StudyInstanceUID": "1.2.3.4"}, other_study=True)

    assert code is RefusalCode.ROI_OTHER_PATIENT


def test_issuer_that_one_side_leaves_out_does_not_matter(tmp_path: Path, ct: Any) -> None:
    stack, images = ct
    ds = binary(images, blob(SHAPE), IssuerOfPatientID="")
    (region,) = regions_of(written(tmp_path / "seg.dcm", ds))

    assert mask_on(region, stack).any()


def test_image_holds_no_regions(tmp_path: Path, ct: Any) -> None:
    stack, _ = ct

    assert regions_of(stack.frames[0].path) == ()


def test_file_that_is_no_dicom_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "readme.txt"
    path.write_text("nothing")

    with pytest.raises(MalformedDataset):
        regions_of(path)


def test_usable_region_has_no_refusal(tmp_path: Path, ct: Any) -> None:
    _, images = ct
    (region,) = regions_of(written(tmp_path / "seg.dcm", binary(images, blob(SHAPE))))

    assert refusal_of(region) is None


def test_damaged_objects_end_in_an_error_of_ours(tmp_path: Path, ct: Any) -> None:
    stack, images = ct
    path = written(tmp_path / "seg.dcm", binary(images, blob(SHAPE)))
    whole = path.read_bytes()
    rng = np.random.default_rng(5)
    for _ in range(60):
        damaged = bytearray(whole)
        for place in rng.integers(132, len(whole), size=3).tolist():
            damaged[place] = int(rng.integers(256))
        path.write_bytes(damaged)
        with contextlib.suppress(NodeError):
            for region in regions_of(path):
                mask_on(region, stack)
