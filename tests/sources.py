"""Every folder of real images in ../shared/data, by name: what can be encoded, and what cannot."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from node.dicom.frames import SourceSeries
from node.dicom.source import read_series
from node.errors import RefusalCode
from tests.integration.test_results_real_data import emri_with_places
from tests.make import enhanced_ct, shared_data
from tests.results_case import synthetic_series

#: Folder and which of the series' stacks is taken (S18).
FOLDERS: Mapping[str, tuple[str, int]] = {
    "CT axial": ("crlm-ct-1004/ct", 0),
    "MR sagittal phase": ("breast-dce-ucsf-br-06/dce", 1),
    "MR oblique": ("sts-raw-001-mr-t2fs/image", 0),
    **{
        f"{patient} {kind}": (f"sts-sarcoma/{patient}/{kind}/image", 0)
        for patient in ("STS_002", "STS_003", "STS_008", "STS_024")
        for kind in ("CT", "MR_T1", "PET")
    },
    "CT of dcmqi": ("seg-sr-objects/dcmqi/ct-3slice", 0),
    "CT 23 columns": ("seg-sr-objects/dcmqi/23x38x3/image", 0),
    "CT 23 columns multi-frame": ("seg-sr-objects/dcmqi/23x38x3/multiframe", 0),
    "CT 24 columns": ("seg-sr-objects/dcmqi/24x38x3/image", 0),
    "CT 24 columns multi-frame": ("seg-sr-objects/dcmqi/24x38x3/multiframe", 0),
    "CT of a DICOMDIR": ("awkward/dicomdir-mixed/98892001/CT5N", 0),
}

#: Real images that need a hand: the first was drawn by us, the other lost its places.
MADE: Mapping[str, Callable[[], SourceSeries]] = {
    "CT multi-frame": lambda: synthetic_series([enhanced_ct((6, 9, 10))]),
    "MR multi-frame": lambda: synthetic_series([emri_with_places()]),
}

SOURCES = (*FOLDERS, *MADE)

#: Folder → what one series or file in it is refused for, at least; nothing in it is encodable.
#: "" is a file that no reader takes (`MalformedDataset`).
REFUSED: Mapping[str, frozenset[str]] = {
    folder: frozenset(codes)
    for folder, codes in {
        "totalseg-example/ct_dicom": {RefusalCode.SOURCE_ATTRIBUTE_UNUSABLE},
        "awkward/ct-gantry-tilt-variable-spacing": {RefusalCode.GANTRY_TILT},
        "awkward/dicomdir-mixed": {RefusalCode.IMAGE_KIND_UNSUITABLE},
        "awkward/dicomdir-mixed/77654033/CR1": {RefusalCode.ORIENTATION_MISSING},
        "awkward/dicomdir-mixed/77654033/CR2": {RefusalCode.ORIENTATION_MISSING},
        "awkward/dicomdir-mixed/77654033/CR3": {RefusalCode.ORIENTATION_MISSING},
        "awkward/dicomdir-mixed/77654033/CT2": {RefusalCode.SLICE_MISSING},
        "awkward/dicomdir-mixed/98892001/CT2N": {RefusalCode.IMAGE_KIND_UNSUITABLE},
        "awkward/dicomdir-mixed/98892003/MR1": {RefusalCode.TOO_FEW_SLICES},
        "awkward/dicomdir-mixed/98892003/MR2": {
            RefusalCode.ORIENTATION_MIXED,
            RefusalCode.TOO_FEW_SLICES,
        },
        "awkward/dicomdir-mixed/98892003/MR700": {RefusalCode.IMAGE_KIND_UNSUITABLE},
        "awkward/localizer-and-sc": {RefusalCode.IMAGE_KIND_UNSUITABLE},
        "awkward/malformed": {
            "",
            RefusalCode.FRAME_OF_REFERENCE_MISSING,
            RefusalCode.IMAGE_KIND_UNSUITABLE,
            RefusalCode.TOO_FEW_SLICES,
        },
        # Its publisher took the places away; with places: "MR multi-frame".
        "awkward/multiframe": {RefusalCode.ORIENTATION_MISSING},
        "awkward/seg-encodings": {RefusalCode.IMAGE_KIND_UNSUITABLE},
        "awkward/small-singles": {
            "",
            RefusalCode.IMAGE_KIND_UNSUITABLE,
            RefusalCode.TOO_FEW_SLICES,
        },
        "awkward/transfer-syntaxes": {
            RefusalCode.IMAGE_KIND_UNSUITABLE,
            RefusalCode.PHASES_MIXED,
        },
        "breast-dce-ucsf-br-06/seg": {RefusalCode.IMAGE_KIND_UNSUITABLE},
        "seg-sr-objects/dcmqi": {RefusalCode.IMAGE_KIND_UNSUITABLE},
        "seg-sr-objects/dcmqi/labelmap": {RefusalCode.IMAGE_KIND_UNSUITABLE},
        "seg-sr-objects/dcmqi/sr-example": {RefusalCode.IMAGE_KIND_UNSUITABLE},
        "seg-sr-objects/highdicom": {
            RefusalCode.IMAGE_KIND_UNSUITABLE,
            RefusalCode.TOO_FEW_SLICES,
        },
        "seg-sr-objects/qin-headneck-0139": {RefusalCode.IMAGE_KIND_UNSUITABLE},
    }.items()
}


def source(name: str) -> tuple[SourceSeries, int]:
    """Return the images of one of `SOURCES`, and which of their stacks to take."""
    if name in MADE:
        return MADE[name](), 0
    folder, which = FOLDERS[name]
    (series,) = read_series(sorted(shared_data(folder).iterdir()))
    return series, which
