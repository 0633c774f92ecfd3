"""Secondary Capture images with findings burned in, for viewers that show no SEG (S27)."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from pydicom import Dataset
from pydicom.uid import SecondaryCaptureImageStorage

from node.dicom.codes import PICTURE, code_item
from node.results.coding import add_coding_schemes, short
from node.results.drawing import page_of_slice, sides
from node.results.planes import add_lossy, source_image
from node.results.request import EncodeRequest, Finding
from node.results.source import add_anatomy, add_side, copy_request_attributes, new_object

#: Pictures of one run at most: beyond it nobody turns pages.
MAX_PICTURES = 24


def captures(request: EncodeRequest) -> Iterator[tuple[str, Dataset]]:
    """Yield (input role, data set) of each picture; all are images of one series.

    Modality is OT, not the source's: a picture is no measurement, and hanging protocols that
    look for the CT must not find it.
    """
    for number, (role, slice_index) in enumerate(_chosen(request), start=1):
        yield role, _capture(request, role, slice_index, number)


def _chosen(request: EncodeRequest) -> list[tuple[str, int]]:
    """Return (input role, slice) in order: each finding's largest slice, and what fits.

    Where there are too many, slices are left out evenly.
    """
    largest = dict.fromkeys((f.segment.role, f.largest) for f in request.findings)
    first = list(largest)[:MAX_PICTURES]
    further = [place for place in _covered(request) if place not in largest]
    room = MAX_PICTURES - len(first)
    if len(further) > room:
        further = [further[int(i)] for i in np.linspace(0, len(further) - 1, room)] if room else []
    roles = list(request.stacks)
    return sorted({*first, *further}, key=lambda place: (roles.index(place[0]), place[1]))


def _covered(request: EncodeRequest) -> list[tuple[str, int]]:
    places = {
        (finding.segment.role, index)
        for finding in request.findings
        for index in range(finding.first, finding.last + 1)
        if finding.segment.mask[index].any()
    }
    return sorted(places)


def _capture(request: EncodeRequest, role: str, slice_index: int, number: int) -> Dataset:
    """Return one picture (PS3.3 A.8.1), uncompressed colour."""
    stack, source = request.stacks[role], request.headers[role][0]
    frame = stack.frames[slice_index]
    findings = [f for f in request.findings if _shown(f, role, slice_index)]
    ds = new_object(request, role=f"sc{number}", modality="OT")
    del ds.ContentQualification  # not in this IOD; the picture and the description say it (S4)
    ds.SOPClassUID = SecondaryCaptureImageStorage
    ds.SeriesInstanceUID = request.uid("series", "sc")
    ds.InstanceNumber = number
    ds.ConversionType = "WSD"
    ds.ImageType = ["DERIVED", "SECONDARY"]
    ds.SeriesDescriptionCodeSequence = [code_item(PICTURE)]
    copy_request_attributes(source, ds)
    add_anatomy(ds, source, [f.spec.region for f in findings])
    add_side(ds, source)
    add_lossy(ds, stack, source)
    directions = frame.image_orientation_patient
    assert directions is not None  # the geometry gate refused such frames
    ds.PatientOrientation = [sides(directions[:3])[1], sides(directions[3:])[1]]
    ds.DerivationDescription = short(
        f"Outlines and values burned in by {request.manifest.name_version}", 1024
    )
    ds.SourceImageSequence = [source_image(frame, same_place=False)]
    ds.BurnedInAnnotation = "YES"
    ds.RecognizableVisualFeatures = "NO"
    _add_pixels(
        ds, np.asarray(page_of_slice(request, findings, request.volumes[role], slice_index))
    )
    add_coding_schemes(ds, source, request.manifest)
    return ds


def _shown(finding: Finding, role: str, slice_index: int) -> bool:
    return (
        finding.segment.role == role
        and finding.first <= slice_index <= finding.last
        and bool(finding.segment.mask[slice_index].any())
    )


def _add_pixels(ds: Dataset, picture: np.ndarray[tuple[int, ...], np.dtype[np.uint8]]) -> None:
    """Write an RGB picture (rows, columns, 3)."""
    ds.Rows, ds.Columns, ds.SamplesPerPixel = picture.shape
    ds.PhotometricInterpretation = "RGB"
    ds.PlanarConfiguration = 0
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 8, 8, 7, 0
    content = picture.tobytes()
    ds.PixelData = content + b"\0" * (len(content) % 2)
    ds["PixelData"].VR = "OB"
