"""What a plugin that needs regions must never run on: refused with code and sentence (issue 6).

Each case goes through the whole node but its processes, for a small plugin with two phases and
for every plugin of this repository that needs a region.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom import Dataset
from pydicom.uid import generate_uid

from node.manifest import Manifest, RoiRole
from node.manifest_file import parse_manifest
from node.model import Job, JobState
from node.settings import RoiSettings
from tests.hospital import Hospital, open_hospital, rule_for
from tests.make import ct_series, mr_series, rtstruct, with_identity_of
from tests.regions_case import group as measurement_group
from tests.regions_case import outline, report
from tests.roi_plugin import write_phase_plugin
from tests.roi_studies import (
    SHAPE,
    SPACING,
    block,
    images_for,
    regions_for,
    shipped_with_regions,
)

Images = dict[str, list[Dataset]]


@dataclass
class Place:
    """A node for one plugin, open for all tests of it."""

    hospital: Hospital
    manifest: Manifest

    @property
    def role(self) -> RoiRole:
        return next(iter(self.manifest.rois.values()))

    def ask(self, images: Images, regions: list[Dataset]) -> Job:
        """Return the job of the study, after what waits had its time."""
        datasets = [*(ds for one in images.values() for ds in one), *regions]
        self.hospital.receive(datasets)
        self.hospital.route()
        self.hospital.sweep()
        return self.hospital.jobs(next(iter(images.values()))[0].StudyInstanceUID)[-1]


PLUGINS = {"two phases": None, **{path.name: path for path in shipped_with_regions()}}


@pytest.fixture(scope="module", params=PLUGINS.values(), ids=PLUGINS)
def place(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator:
    folder = tmp_path_factory.mktemp("bad")
    shipped: Path | None = request.param
    own = shipped is None
    plugins = write_phase_plugin(folder / "plugins") if own else folder / "none"
    plugins.mkdir(exist_ok=True)
    manifest = parse_manifest(plugins / "two_phases" if shipped is None else shipped)
    # Structure sets have no codes here: the rule maps their names, as a site's would.
    said = {name: RoiSettings(labels=(f"RT {name}",)) for name in manifest.rois}
    rule = rule_for(manifest.name, rois=said, roi_wait_s=0.5)
    with open_hospital(folder, plugins, rule) as hospital:
        yield Place(hospital=hospital, manifest=manifest)


def test_the_study_that_the_others_are_made_from_suits(place: Place) -> None:
    images = images_for(place.manifest)
    datasets = [*(ds for one in images.values() for ds in one)]

    place.hospital.receive([*datasets, *regions_for(place.manifest, images)])
    place.hospital.route()

    (job,) = place.hospital.jobs(datasets[0].StudyInstanceUID)
    assert (job.state, job.reason) == (JobState.SCHEDULED, "")


def moved(place: Place, images: Images) -> list[Dataset]:
    """The first region half a metre beside the patient."""
    positions = {
        index: [float(x) + 500.0, float(y), float(z)]
        for index, ds in enumerate(images[place.role.input])
        for x, y, z in [ds.ImagePositionPatient]
    }
    masks = {name: [block()] for name in place.manifest.rois}
    return regions_for(place.manifest, images, masks, positions=positions)


def empty(place: Place, images: Images) -> list[Dataset]:
    regions = regions_for(place.manifest, images)
    for one in regions:
        one.PixelData = bytes(len(one.PixelData))
    return regions


def elsewhere(place: Place, images: Images) -> list[Dataset]:
    return regions_for(place.manifest, images, FrameOfReferenceUID=generate_uid())


def two(place: Place, images: Images) -> list[Dataset]:
    """Two of the first region; where several may be, one region drawn by two readers."""
    masks = {name: [block()] for name in place.manifest.rois}
    if not place.role.many:
        masks[place.role.name].append(np.roll(block(), 5, 1))
        return regions_for(place.manifest, images, masks)
    again = regions_for(place.manifest, images, masks, ContentCreatorName="Reader^Two")
    return [*regions_for(place.manifest, images, masks), *again]


def two_in_one(place: Place, images: Images) -> list[Dataset]:
    """Two lesions as one region."""
    both = np.zeros(SHAPE, np.bool_)
    both[3:9, 5:15, 5:15] = both[3:9, 24:34, 22:32] = True
    masks = {name: [block()] for name in place.manifest.rois}
    return regions_for(place.manifest, images, {**masks, place.role.name: [both]})


def rejected(place: Place, images: Images) -> list[Dataset]:
    return [_rejected(images[role.input], name) for name, role in place.manifest.rois.items()]


def _rejected(series: list[Dataset], name: str) -> Dataset:
    x, y, z = map(float, series[4].ImagePositionPatient)
    corners = np.array([[8, 8], [8, 20], [20, 20], [20, 8]]) * [SPACING[2], SPACING[1]]
    square = np.column_stack([x + corners[:, 0], y + corners[:, 1], np.full(4, z)])
    return rtstruct(series, {f"RT {name}": [(4, square)]}, ApprovalStatus="REJECTED")


def of_a_foreign_patient(place: Place, images: Images) -> list[Dataset]:
    return regions_for(place.manifest, images, PatientID="SOMEBODY-ELSE")


def foreign_images(place: Place) -> Images:
    foreign = images_for(place.manifest)
    frame = generate_uid()
    for one in foreign.values():
        for ds in one:
            ds.FrameOfReferenceUID = frame
    return foreign


def drawn_on_a_foreign_study(place: Place, images: Images) -> list[Dataset]:
    """Sent under our Study Instance UID, as a PACS does that merges studies."""
    regions = regions_for(place.manifest, foreign_images(place))
    kept = [copy.deepcopy(one.FrameOfReferenceUID) for one in regions]
    with_identity_of(images[place.role.input][0], regions)
    for one, frame in zip(regions, kept, strict=True):
        one.FrameOfReferenceUID = frame
    return regions


def of_a_foreign_study(place: Place, images: Images) -> list[Dataset]:
    return regions_for(place.manifest, foreign_images(place))


def outlined_on_foreign_images(place: Place, images: Images) -> list[Dataset]:
    """Reports in our study whose outlines lie on an image that is not here."""
    there = foreign_images(place)
    first = {role.codes[0].value: role for role in reversed(place.manifest.rois.values())}
    return [_outlined(there[role.input][4], images[role.input], role) for role in first.values()]


def _outlined(there: Dataset, series: list[Dataset], role: RoiRole) -> Dataset:
    box = outline(there, "POLYLINE", [8, 8, 20, 8, 20, 20, 8, 20, 8, 8])
    found = measurement_group(box)
    finding = next(one for one in found.ContentSequence if one.ValueType == "CODE")
    finding.ConceptCodeSequence[0].CodeValue = role.codes[0].value
    return report(series, found)


BAD = {
    "ROI outside the image": (moved, "ROI_OUTSIDE_IMAGE", "{role}: "),
    "empty": (empty, "ROI_EMPTY", "{role}: "),
    "on another frame of reference": (
        elsewhere,
        "ROI_FRAME_OF_REFERENCE",
        "lies in another frame of reference",
    ),
    "two when one is expected": (two, "ROI_SEVERAL", ""),
    "two drawn as one region": (two_in_one, "ROI_SEVERAL", "2 parts that do not touch"),
    "a REJECTED RTSTRUCT": (rejected, "ROI_REJECTED", ": ROI 1 of the RTSTRUCT"),
    "a foreign patient's contour": (of_a_foreign_patient, "IDENTITY_MIXED", "2 Patient IDs"),
    "a contour drawn on a foreign study": (
        drawn_on_a_foreign_study,
        "ROI_FRAME_OF_REFERENCE",
        ": segment 1 of the SEG",
    ),
    "an outline on images that are not here": (
        outlined_on_foreign_images,
        "ROI_SEGMENT_MISSING",
        "{role}: ",
    ),
    "a foreign study's contour": (
        of_a_foreign_study,
        "ROI_MISSING",
        "0 other regions are here; waited 0.5 s",
    ),
}


@pytest.mark.parametrize(("bad", "code", "sentence"), BAD.values(), ids=BAD)
def test_s21_a_bad_region_is_refused_whatever_the_plugin(
    place: Place, bad: Any, code: str, sentence: str
) -> None:
    images = images_for(place.manifest)

    job = place.ask(images, bad(place, images))

    assert (job.state, job.reason_code) == (JobState.REFUSED, code), job.reason
    assert sentence.format(role=place.role.name) in job.reason


def test_s17_another_modality_in_place_of_an_input_is_refused(place: Place) -> None:
    images = images_for(place.manifest)
    regions = regions_for(place.manifest, images)
    role = place.manifest.inputs[place.role.input]
    other = mr_series if "CT" in role.modality else ct_series
    header = {"SeriesDescription": images[role.name][0].SeriesDescription, "SeriesNumber": 7}
    wrong = other(SHAPE, spacing=SPACING, **header)  # type: ignore[arg-type]
    images[role.name] = with_identity_of(images[role.name][0], wrong)

    job = place.ask(images, regions)

    assert (job.state, job.reason_code) == (JobState.REFUSED, "NO_SUITABLE_SERIES")
    assert f"the input {role.name}: " in job.reason
    if len(images) == 1:
        assert f"series 7: modality {wrong[0].Modality} is not" in job.reason


def test_s17_an_input_that_is_missing_is_refused(place: Place) -> None:
    images = images_for(place.manifest)
    regions = regions_for(place.manifest, images)
    if len(images) == 1:
        pytest.skip("the plugin has one input")
    name = next(name for name in images if name != place.role.input)
    del images[name]

    job = place.ask(images, regions)

    assert (job.state, job.reason_code) == (JobState.REFUSED, "NO_SUITABLE_SERIES")
    assert f"the input {name}: " in job.reason
    if place.manifest.inputs[name].phase:
        assert "its contrast phase is" in job.reason
