"""From stored files to series of frames: headers only, nothing is decoded."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from pydicom import Dataset

from node.dicom.enhanced import frame_lookups, is_enhanced
from node.dicom.frames import Discriminators, Frame, SourceSeries
from node.dicom.headers import read_header
from node.dicom.quick_header import quick_header
from node.dicom.values import Lookup, lookup_in, number, numbers, text, texts, whole

#: What may tell the parts of one series apart, in the order of S18.
DISCRIMINATORS = (
    "StackID",
    "TemporalPositionIdentifier",
    "TriggerTime",
    "AcquisitionTime",
    "AcquisitionNumber",
    "EchoNumbers",
    "EchoTime",
    "DiffusionBValue",
    "ImageType",
    "KVP",
    "ConvolutionKernel",
    "ContentTime",
)
_HINTS = (
    "SeriesDescription",
    "ScanOptions",
    "ManufacturerModelName",
    "VolumeBasedCalculationTechnique",
    "PixelPresentation",
    "Units",
)
#: Transfer syntaxes that may only be lossy; the others say so in (0028,2110).
_LOSSY_SYNTAXES = frozenset(
    f"1.2.840.10008.1.2.4.{last}" for last in ("50", "51", "53", "55", "81")
)

#: More frames than any image has: what says so is broken, and would fill the memory.
_MOST_FRAMES = 100_000
#: Offset and length of native pixel data in their file.
_Place = tuple[int | None, int | None]
_Member = tuple[Dataset, Path, _Place]


def read_series(paths: Sequence[Path], *, assumed_charset: str = "") -> tuple[SourceSeries, ...]:
    """Return the series that lie in these files, in the order of their first file.

    Parameters
    ----------
    paths : sequence of Path
        Part-10 files of one study, in any order.
    assumed_charset : str
        Character set of undeclared 8-bit text (S6).

    Raises
    ------
    MalformedDataset
        If a file cannot be parsed.
    OSError
        If one cannot be read.
    """
    by_series: dict[str, list[_Member]] = defaultdict(list)
    for path in paths:
        ds, pixels = _header(path, assumed_charset)
        by_series[text(ds.get("SeriesInstanceUID"))].append((ds, path, pixels))
    return tuple(_series(uid, members) for uid, members in by_series.items())


def frames_of(ds: Dataset, path: Path, pixels: _Place = (None, None)) -> tuple[Frame, ...]:
    """Return one value per image plane of an instance; () if it is no image.

    Parameters
    ----------
    ds : Dataset
        Its header, with `file_meta`.
    path : Path
        The file it came from.
    pixels : (offset, length)
        Where its native pixel data lie in the file, in bytes; (None, None) if not known.

    References
    ----------
    PS3.3 C.7.6.16 (functional groups: per frame before shared), C.7.6.2, C.11.1.
    """
    top = lookup_in(ds)
    if not whole(top("Rows")) or not whole(top("BitsAllocated")):
        return ()
    if not is_enhanced(ds) and (whole(top("NumberOfFrames")) or 1) == 1:
        return (_frame(top, _File(ds, path, pixels, 1), 0),)
    if (whole(top("NumberOfFrames")) or 0) > _MOST_FRAMES:
        return ()
    lookups = frame_lookups(ds)
    file = _File(ds, path, pixels, len(lookups))
    return tuple(_frame(lookup, file, number_) for number_, lookup in enumerate(lookups, 1))


class _File:
    """What the frames of one file have in common."""

    def __init__(self, ds: Dataset, path: Path, pixels: _Place, frames: int):
        self.path = path
        self.transfer_syntax_uid = text(ds.file_meta.get("TransferSyntaxUID"))
        self.pixel_offset, self.pixel_length = pixels
        self.number_of_frames = frames


def _header(path: Path, assumed_charset: str) -> tuple[Dataset, _Place]:
    quick = quick_header(path, assumed_charset=assumed_charset)
    if quick is not None:
        return quick.dataset, (quick.pixel_offset, quick.pixel_length)
    return read_header(path, assumed_charset=assumed_charset), (None, None)


def _series(uid: str, members: Sequence[_Member]) -> SourceSeries:
    first = members[0][0]
    return SourceSeries(
        series_instance_uid=uid,
        study_instance_uid=text(first.get("StudyInstanceUID")),
        modality=text(first.get("Modality")),
        headers=tuple(ds for ds, _, _ in members),
        frames=tuple(frame for member in members for frame in frames_of(*member)),
    )


def _frame(look: Lookup, file: _File, frame_number: int) -> Frame:
    representation = whole(look("PixelRepresentation"))
    allocated = whole(look("BitsAllocated")) or 0
    return Frame(
        path=file.path,
        sop_instance_uid=text(look("SOPInstanceUID")),
        sop_class_uid=text(look("SOPClassUID")),
        transfer_syntax_uid=file.transfer_syntax_uid,
        frame_number=frame_number,
        number_of_frames=file.number_of_frames,
        modality=text(look("Modality")),
        rows=whole(look("Rows")) or 0,
        columns=whole(look("Columns")) or 0,
        image_position_patient=numbers(look("ImagePositionPatient"), 3),  # type: ignore[arg-type]
        image_orientation_patient=numbers(look("ImageOrientationPatient"), 6),  # type: ignore[arg-type]
        pixel_spacing_mm=numbers(look("PixelSpacing"), 2),  # type: ignore[arg-type]
        slice_thickness_mm=number(look("SliceThickness")),
        frame_of_reference_uid=text(look("FrameOfReferenceUID")),
        image_type=tuple(word.upper() for word in texts(look("ImageType"))),
        photometric_interpretation=text(look("PhotometricInterpretation")).upper(),
        samples_per_pixel=whole(look("SamplesPerPixel")) or 1,
        bits_allocated=allocated,
        bits_stored=whole(look("BitsStored")) or allocated,
        pixel_representation=-1 if representation is None else representation,
        rescale_slope=number(look("RescaleSlope")),
        rescale_intercept=number(look("RescaleIntercept")),
        rescale_type=text(look("RescaleType")).upper(),
        has_modality_lut=look("ModalityLUTSequence") is not None,
        pixel_padding_value=_stored(look("PixelPaddingValue"), representation, allocated),
        pixel_padding_range_limit=_stored(
            look("PixelPaddingRangeLimit"), representation, allocated
        ),
        lossy=text(look("LossyImageCompression")) == "01"
        or file.transfer_syntax_uid in _LOSSY_SYNTAXES,
        discriminators=_present(look, DISCRIMINATORS),
        hints=_present(look, _HINTS),
        high_bit=whole(look("HighBit")),
        pixel_offset=file.pixel_offset,
        pixel_length=file.pixel_length,
    )


def _present(look: Lookup, keywords: Sequence[str]) -> Discriminators:
    found = ((keyword, "\\".join(texts(look(keyword)))) for keyword in keywords)
    return tuple((keyword, value.upper()) for keyword, value in found if value)


def _stored(value: object, representation: int | None, bits_allocated: int) -> int | None:
    """Return a value of VR "US or SS" as the stored pixels have it.

    Examples
    --------
    Signed pixels, but the padding value was written as unsigned:

    >>> _stored(63536, 1, 16)
    -2000
    """
    found = whole(value)
    if found is not None and representation and found >= 1 << (bits_allocated - 1):
        return found - (1 << bits_allocated)
    if found is not None and not representation and found < 0:
        return found + (1 << bits_allocated)
    return found
