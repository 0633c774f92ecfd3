"""Builders of objects that hold regions: SEG of every kind, reports; and stacks on disk."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset, dcmwrite
from pydicom.encaps import encapsulate
from pydicom.uid import (
    UID,
    Comprehensive3DSRStorage,
    KeyObjectSelectionDocumentStorage,
    SegmentationStorage,
    generate_uid,
)

from node.dicom.frames import Stack
from node.dicom.source import read_series
from node.dicom.stacks import split_series
from tests.make import ct_series, made, with_identity_of, write_series

LABEL_MAP = "1.2.840.10008.5.1.4.1.1.66.7"
DEFLATED_FRAMES = "1.2.840.10008.1.2.8.1"
RLE = "1.2.840.10008.1.2.5"

Mask = NDArray[np.bool_]
Codes = Mapping[str, str]

TUMOUR = {"CodeValue": "108369006", "CodingSchemeDesignator": "SCT", "CodeMeaning": "Neoplasm"}
ABNORMAL = {
    "CodeValue": "49755003",
    "CodingSchemeDesignator": "SCT",
    "CodeMeaning": "Morphologically Abnormal Structure",
}
BACKGROUND = {"CodeValue": "125040", "CodingSchemeDesignator": "DCM", "CodeMeaning": "Background"}


def stacks_in(folder: Path) -> list[Stack]:
    """All stacks of the series in a folder of files."""
    series = read_series(sorted(path for path in folder.iterdir() if path.is_file()))
    return [stack for one in series for stack in split_series(one)]


def image(folder: Path, *args: Any, **kwargs: Any) -> tuple[Stack, list[Dataset]]:
    """One CT series written to `folder`: its stack, and its data sets in stack order."""
    datasets = ct_series(*args, **kwargs)
    write_series(folder, datasets)
    (stack,) = stacks_in(folder)
    by_uid = {str(ds.SOPInstanceUID): ds for ds in datasets}
    return stack, [by_uid[frame.sop_instance_uid] for frame in stack.frames]


def blob(shape: tuple[int, int, int]) -> Mask:
    """A mask that no flip, turn or shift leaves as it is; its first and last slice are empty."""
    mask = np.zeros(shape, np.bool_)
    slices, rows, columns = shape
    mask[1 : slices - 1, rows // 4 : rows // 2, columns // 3 : columns - 2] = True
    mask[1, rows // 2 : rows - 1, columns // 3] = True
    mask[slices - 2, rows // 4, 1 : columns // 2] = True
    return mask


def code(values: Codes) -> Dataset:
    return made(**values)


def segment(number: int, label: str = "Tumour", kind: Codes = TUMOUR) -> Dataset:
    return made(
        SegmentNumber=number,
        SegmentLabel=label,
        SegmentAlgorithmType="MANUAL",
        SegmentedPropertyCategoryCodeSequence=[code(ABNORMAL)],
        SegmentedPropertyTypeCodeSequence=[code(kind)],
        TrackingID=f"{label} {number}",
        TrackingUID=f"1.2.{number}",
    )


def segmentation(
    images: Sequence[Dataset],
    frames: Sequence[tuple[int, int, NDArray[Any]]],
    **changes: object,
) -> Dataset:
    """A SEG of frames (segment number, slice index, stored values), in just that order.

    BINARY unless `changes` say otherwise; bits, rows and columns follow the values. Keys with a
    small first letter are options: `shared` (segment number for all), `spacing_between`,
    `positions` (slice index → position), `orientation`, `pixel_spacing`, `sources` (bool).
    """
    options = {key: changes.pop(key) for key in list(changes) if key[0].islower()}
    kind = str(changes.get("SegmentationType", "BINARY"))
    ds = made(
        SOPClassUID=SegmentationStorage if kind != "LABELMAP" else LABEL_MAP,
        SOPInstanceUID=generate_uid(),
        SeriesInstanceUID=generate_uid(),
        Modality="SEG",
        FrameOfReferenceUID=images[0].FrameOfReferenceUID,
        ContentDate="20260301",
        ContentTime="101500",
        ContentCreatorName="Reader^One",
        ImageType=["DERIVED", "PRIMARY"],
        SegmentationType=kind,
        SamplesPerPixel=1,
        PhotometricInterpretation="MONOCHROME2",
        PixelRepresentation=0,
        NumberOfFrames=len(frames),
        Rows=frames[0][2].shape[0],
        Columns=frames[0][2].shape[1],
        SegmentSequence=[segment(n) for n in sorted({f[0] for f in frames})],
        ReferencedSeriesSequence=[_referenced(images)],
    )
    ds.file_meta = images[0].file_meta.__class__()
    ds.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.1"
    with_identity_of(images[0], [ds])
    _pixels(ds, [stored for _, _, stored in frames], kind)
    _groups(ds, images, frames, options)
    for keyword, value in changes.items():
        if value is None:
            delattr(ds, keyword)
        else:
            setattr(ds, keyword, value)
    return ds


def binary(images: Sequence[Dataset], mask: Mask, number: int = 1, **changes: object) -> Dataset:
    """A BINARY SEG of one segment; slices without a voxel are left out."""
    used = np.flatnonzero(mask.any(axis=(1, 2))).tolist()
    return segmentation(images, [(number, i, mask[i]) for i in used], **changes)


def _pixels(ds: Dataset, frames: Sequence[NDArray[Any]], kind: str) -> None:
    if kind == "BINARY":
        ds.BitsAllocated = ds.BitsStored = 1
        ds.HighBit = 0
        bits = np.concatenate([frame.reshape(-1).astype(np.uint8) for frame in frames])
        data = np.packbits(bits, bitorder="little").tobytes()
    else:
        stored = np.stack(frames)
        bits_allocated = 8 * stored.dtype.itemsize
        ds.BitsAllocated = ds.BitsStored = bits_allocated
        ds.HighBit = bits_allocated - 1
        data = stored.astype(stored.dtype.newbyteorder("<")).tobytes()
    if kind == "FRACTIONAL":
        ds.MaximumFractionalValue, ds.SegmentationFractionalType = 200, "PROBABILITY"
    ds.PixelData = data + b"\0" * (len(data) % 2)
    ds["PixelData"].VR = "OB" if ds.BitsAllocated <= 8 else "OW"


def _referenced(images: Sequence[Dataset]) -> Dataset:
    return made(
        SeriesInstanceUID=images[0].SeriesInstanceUID,
        ReferencedInstanceSequence=[_reference(ds) for ds in images],
    )


def _reference(ds: Dataset) -> Dataset:
    return made(ReferencedSOPClassUID=ds.SOPClassUID, ReferencedSOPInstanceUID=ds.SOPInstanceUID)


def _groups(
    ds: Dataset,
    images: Sequence[Dataset],
    frames: Sequence[tuple[int, int, NDArray[Any]]],
    options: Mapping[str, Any],
) -> None:
    first = images[0]
    measures = made(
        PixelSpacing=options.get("pixel_spacing", list(first.PixelSpacing)),
        SliceThickness=first.SliceThickness,
    )
    if "spacing_between" in options:
        measures.SpacingBetweenSlices = options["spacing_between"]
    directions = options.get("orientation", list(first.ImageOrientationPatient))
    shared = made(
        PixelMeasuresSequence=[measures],
        PlaneOrientationSequence=[made(ImageOrientationPatient=directions)],
    )
    if "shared" in options:
        shared.SegmentIdentificationSequence = [made(ReferencedSegmentNumber=options["shared"])]
    ds.SharedFunctionalGroupsSequence = [shared]
    ds.PerFrameFunctionalGroupsSequence = []
    for number, index, _ in frames:
        place = options.get("positions", {}).get(index)
        if place is None:
            place = list(images[index].ImagePositionPatient)
        groups = made(PlanePositionSequence=[made(ImagePositionPatient=[*map(float, place)])])
        if "shared" not in options and ds.SegmentationType != "LABELMAP":
            groups.SegmentIdentificationSequence = [made(ReferencedSegmentNumber=number)]
        if options.get("sources", True):
            source = made(SourceImageSequence=[_reference(images[index])])
            groups.DerivationImageSequence = [source]
        ds.PerFrameFunctionalGroupsSequence.append(groups)


def written(path: Path, ds: Dataset) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    dcmwrite(path, ds, enforce_file_format=True)
    return path


def compressed(ds: Dataset, syntax: str) -> Dataset:
    """The BINARY SEG with each frame's bits packed and then deflated or run-length coded."""
    size = ds.Rows * ds.Columns
    bits = np.unpackbits(np.frombuffer(ds.PixelData, np.uint8), bitorder="little")
    frames = []
    for index in range(ds.NumberOfFrames):
        own = np.packbits(bits[index * size : (index + 1) * size], bitorder="little").tobytes()
        if syntax == DEFLATED_FRAMES:
            engine = zlib.compressobj(wbits=-15)
            frames.append(engine.compress(own) + engine.flush())
        else:
            header = (1).to_bytes(4, "little") + (64).to_bytes(4, "little") + bytes(56)
            parts = [own[i : i + 100] for i in range(0, len(own), 100)]
            frames.append(header + b"".join(bytes([len(part) - 1]) + part for part in parts))
    ds.PixelData = encapsulate([frame + b"\0" * (len(frame) % 2) for frame in frames])
    ds["PixelData"].VR = "OB"
    ds["PixelData"].is_undefined_length = True
    ds.file_meta.TransferSyntaxUID = UID(syntax)
    return ds


# --- reports -----------------------------------------------------------------------------------


def named(value: str, scheme: str = "DCM", meaning: str = "x") -> list[Dataset]:
    return [made(CodeValue=value, CodingSchemeDesignator=scheme, CodeMeaning=meaning)]


def outline(image_: Dataset | None, graphic: str, data: Sequence[float], frame: int = 0) -> Dataset:
    """An SCOORD Image Region on an image."""
    item = made(
        RelationshipType="CONTAINS",
        ValueType="SCOORD",
        ConceptNameCodeSequence=named("111030"),
        GraphicType=graphic,
        GraphicData=[float(v) for v in data],
    )
    if image_ is not None:
        reference = _reference(image_)
        if frame:
            reference.ReferencedFrameNumber = frame
        item.ContentSequence = [
            made(
                RelationshipType="SELECTED FROM",
                ValueType="IMAGE",
                ReferencedSOPSequence=[reference],
            )
        ]
    return item


def outline_3d(frame_of_reference_uid: str, graphic: str, points: NDArray[Any]) -> Dataset:
    return made(
        RelationshipType="CONTAINS",
        ValueType="SCOORD3D",
        ConceptNameCodeSequence=named("111030"),
        GraphicType=graphic,
        GraphicData=[float(v) for v in np.asarray(points).reshape(-1)],
        ReferencedFrameOfReferenceUID=frame_of_reference_uid,
    )


def segment_reference(seg: Dataset, *numbers: int, frames: Sequence[int] = ()) -> Dataset:
    reference = _reference(seg)
    if numbers:
        reference.ReferencedSegmentNumber = numbers[0] if len(numbers) == 1 else list(numbers)
    if frames:
        reference.ReferencedFrameNumber = list(frames)
    return made(
        RelationshipType="CONTAINS",
        ValueType="IMAGE",
        ConceptNameCodeSequence=named("121191"),
        ReferencedSOPSequence=[reference],
    )


def group(*content: Dataset, tracking: str = "Lesion 1") -> Dataset:
    """A measurement group with a finding and its regions."""
    return made(
        RelationshipType="CONTAINS",
        ValueType="CONTAINER",
        ConceptNameCodeSequence=named("125007"),
        ContentSequence=[
            made(ValueType="TEXT", ConceptNameCodeSequence=named("112039"), TextValue=tracking),
            made(ValueType="UIDREF", ConceptNameCodeSequence=named("112040"), UID="1.2.77"),
            made(
                ValueType="CODE",
                ConceptNameCodeSequence=named("121071"),
                ConceptCodeSequence=[code(TUMOUR)],
            ),
            *content,
        ],
    )


def report(images: Sequence[Dataset], *groups: Dataset) -> Dataset:
    """A TID 1500 report of just these groups."""
    ds = made(
        SOPClassUID=Comprehensive3DSRStorage,
        SOPInstanceUID=generate_uid(),
        SeriesInstanceUID=generate_uid(),
        Modality="SR",
        ContentDate="20260302",
        ContentTime="090000",
        ValueType="CONTAINER",
        ConceptNameCodeSequence=named("126000"),
        CurrentRequestedProcedureEvidenceSequence=[
            made(
                StudyInstanceUID=images[0].StudyInstanceUID,
                ReferencedSeriesSequence=[
                    made(
                        SeriesInstanceUID=images[0].SeriesInstanceUID,
                        ReferencedSOPSequence=[_reference(ds) for ds in images],
                    )
                ],
            )
        ],
        ContentSequence=[
            made(
                ValueType="PNAME",
                ConceptNameCodeSequence=named("121008"),
                PersonName="Reader^Two",
            ),
            made(
                RelationshipType="CONTAINS",
                ValueType="CONTAINER",
                ConceptNameCodeSequence=named("126010"),
                ContentSequence=list(groups),
            ),
        ],
    )
    ds.file_meta = images[0].file_meta.__class__()
    ds.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.1"
    with_identity_of(images[0], [ds])
    del ds.FrameOfReferenceUID
    return ds


def note_on(images: Sequence[Dataset], *objects: Dataset, title: str = "113001") -> Dataset:
    """A rejection note of objects of the images' study, as an archive writes it."""
    ds = report(images)
    ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = KeyObjectSelectionDocumentStorage
    ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    ds.SeriesInstanceUID = generate_uid()
    ds.Modality = "KO"
    ds.ConceptNameCodeSequence = named(title, "DCM", "Rejected")
    series, study = Dataset(), Dataset()
    series.SeriesInstanceUID = objects[0].SeriesInstanceUID
    series.ReferencedSOPSequence = [Dataset() for _ in objects]
    for reference, one in zip(series.ReferencedSOPSequence, objects, strict=True):
        reference.ReferencedSOPClassUID = one.SOPClassUID
        reference.ReferencedSOPInstanceUID = one.SOPInstanceUID
    study.StudyInstanceUID = images[0].StudyInstanceUID
    study.ReferencedSeriesSequence = [series]
    ds.CurrentRequestedProcedureEvidenceSequence = [study]
    ds.ContentSequence = []
    return ds
