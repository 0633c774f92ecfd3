"""What each viewer profile makes of one phantom: every kind of object, by the real encoder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pydicom

from node.dicom.source import read_series
from node.plugin import Result, Segment, Volume
from node.profiles import PROFILES, ViewerProfile
from node.results.encode import encode
from node.results.follow_up import NONE, FollowUp
from tests.results_case import full_request
from tests.viewers.studies import ImageStack


@dataclass(frozen=True, kw_only=True)
class ProfileObjects:
    """The files of one profile, by their role in the evidence (``seg``, ``sr``, ``sc``…)."""

    profile: str
    files: Mapping[str, Path]

    @property
    def series(self) -> Mapping[str, Path]:
        """Return one file of each series: that is what a viewer lists and opens."""
        first: dict[str, str] = {}
        for role, path in self.files.items():
            header = pydicom.dcmread(path, stop_before_pixels=True)
            first.setdefault(str(header.SeriesInstanceUID), role)
        return {role: self.files[role] for role in first.values()}


def encode_profile(stack: ImageStack, profile: str, folder: Path) -> ProfileObjects:
    """Write the phantom's lesion, values and all that the profile takes, as DICOM files."""
    return encode_as(stack, PROFILES[profile], folder)


def encode_as(
    stack: ImageStack,
    profile: ViewerProfile,
    folder: Path,
    *,
    lesion_only: bool = False,
    follow_up: FollowUp = NONE,
) -> ProfileObjects:
    """Write what any profile takes; `lesion_only`: without the second segment at the edge."""
    (series,) = read_series(stack.paths)
    request = full_request(series, profile, follow_up=follow_up)
    plain = request.volumes["ct"]
    volume = Volume(
        array=stack.values, affine=plain.affine, unit=plain.unit, modality=plain.modality
    )
    mask = stack.dense
    probability = np.where(mask, np.float32(0.8), np.float32(0))
    tumour = Segment(name="tumour", mask=mask, role="ct", probability=probability)
    result = replace(request.result, segments=(tumour, *request.result.segments[1:]))
    if lesion_only:
        result = Result(segments=(tumour,))
    objects = encode(replace(request, result=result, volumes={"ct": volume}))
    folder.mkdir(parents=True)
    files = {}
    for one in objects:
        files[one.role] = folder / f"{one.role}.dcm"
        files[one.role].write_bytes(one.content)
    return ProfileObjects(profile=profile.name, files=files)
