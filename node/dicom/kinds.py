"""What kind of image a frame is, and why that kind is not computed on (S17, S20)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from node.dicom.frames import Frame
from node.errors import RefusalCode

#: Code and sentence of a refusal, or None: nothing against it.
Objection = tuple[RefusalCode, str] | None

_SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
_PARAMETRIC_MAP = "1.2.840.10008.5.1.4.1.1.30"
#: Classes whose pixels are labels or doses, not images.
_NO_IMAGE_CLASSES = {
    "1.2.840.10008.5.1.4.1.1.66.4": "a segmentation",
    "1.2.840.10008.5.1.4.1.1.66.7": "a label map segmentation",
    "1.2.840.10008.5.1.4.1.1.481.2": "a dose grid",
}
_MONOCHROME = frozenset({"MONOCHROME1", "MONOCHROME2"})

_LOCALIZER = frozenset({"LOCALIZER", "SCOUT", "TOPOGRAM", "SURVIEW", "REF_SURVIEW", "SURVEY"})
_SCREEN = frozenset({"SCREEN SAVE", "SCREENSAVE", "SCREEN_SAVE", "SCREEN CAPTURE"})
_PROJECTION = frozenset(
    {
        "PROJECTION IMAGE",
        "PROJECTION",
        "MIP",
        "MAX_IP",
        "MAXIP",
        "MINIP",
        "MIN_IP",
        "MIN IP",
        "MNIP",
        "THICK MIP",
        "VOLREND",
        "VRT",
        "VOLUME_RENDER",
        "SURFACE_RENDER",
        "SSD",
        "CURVED_MPR",
        "CPR",
        "REFORMATTED_CURVED",
    }
)
_SUBTRACTION = frozenset({"SUBTRACTION", "SUBTRACT", "SUB", "SUBTRACTED", "DSA", "DYN_SUB"})
_PARAMETRIC = frozenset(
    {
        "ADC",
        "ADC_UNSPECIFIED",
        "EADC",
        "FA",
        "FRACTIONAL ANISOTROPY",
        "RCBF",
        "CBF",
        "RCBV",
        "CBV",
        "MTT",
        "RMTT",
        "TTP",
        "TMAX",
        "TTD",
        "PBP",
        "PBV",
        "KTRANS",
        "PERMEABILITY",
        "PARAMETRIC",
        "PARAMETRIC MAP",
        "T1 MAP",
        "T1_MAP",
        "T2 MAP",
        "T2_MAP",
        "T2_STAR MAP",
        "T2STAR MAP",
        "R2 MAP",
        "R2_MAP",
        "R2_STAR MAP",
        "FAT_FRACTION",
        "FAT FRACTION",
        "PHASE MAP",
        "PHASE_MAP",
        "VELOCITY",
        "VELOCITY MAP",
        "B0 MAP",
        "B1 MAP",
        "ELASTOGRAM",
        "STIFFNESS",
    }
)
#: Words for spectral CT maps whose values are no attenuation (S20).
_MATERIAL = frozenset(
    {
        "IODINE",
        "IODINE MAP",
        "IODINE_MAP",
        "IODINE NO WATER",
        "IODINE (WATER)",
        "WATER (IODINE)",
        "MATERIAL",
        "MATERIAL DENSITY",
        "MAT_SPECIFIC",
        "MATERIAL_SPECIFIC",
        "MAT_FRACTIONAL",
        "MAT_REMOVED",
        "MAT_MODIFIED",
        "MATERIAL_QUANTIFICATION",
        "MATERIAL_VISUALIZATION",
        "VNC",
        "VIRTUAL_NON_CONTRAST",
        "VUE",
        "EFF_ATOMIC_NUM",
        "EFF_Z",
        "Z_EFF",
        "ZEFF",
        "Z EFFECTIVE",
        "EFFECTIVE_Z",
        "EFFECTIVE ATOMIC NUMBER",
        "ELECTRON_DENSITY",
        "ELECTRON DENSITY",
        "RHO_Z",
        "RHO/Z",
        "CALCIUM SUPPRESSED",
        "URIC ACID",
        "PMAP",
    }
)
_CONE_BEAM = ("CBCT", "CONE BEAM", "CONEBEAM", "CONE_BEAM", "CONE-BEAM")
#: Scanners that are cone beam only, as their Manufacturer's Model Name starts.
_CONE_BEAM_MODELS = (
    "ON-BOARD IMAGER",
    "OBI",
    "XVI",
    "I-CAT",
    "ICAT",
    "NEWTOM",
    "3D ACCUITOMO",
    "VERAVIEW",
    "PROMAX",
    "GALILEOS",
    "ORTHOPHOS",
    "KAVO 3D",
    "SCANORA",
)


def unsuitable_kind(frame: Frame, *, allow: Sequence[str] = ()) -> Objection:
    """Return why a frame is not computed on, or None.

    Localizer, secondary capture, projection, subtraction, parametric and colour images never;
    other DERIVED ones only with a word of `allow` in their Image Type (S17).

    Parameters
    ----------
    frame : Frame
        Any image plane.
    allow : sequence of str
        Words of Image Type that the manifest permits for derived images (``MPR``, ``RECON``…).
    """
    return never_suitable(frame) or _derived(frame, allow)


def never_suitable(frame: Frame) -> Objection:
    """Return why no manifest can allow this frame, or None."""
    kind = (
        _NO_IMAGE_CLASSES.get(frame.sop_class_uid, "")
        or _capture(frame)
        or _colour(frame)
        or _word("a localizer", frame, _LOCALIZER)
        or _word("a projection (MIP, minIP, rendering)", frame, _PROJECTION)
        or _word("a subtraction", frame, _SUBTRACTION)
        or _parametric(frame)
    )
    return (RefusalCode.IMAGE_KIND_UNSUITABLE, f"it is {kind}") if kind else None


def not_hounsfield(frame: Frame) -> Objection:
    """Return why the values of a frame are not HU, or None (S20).

    HU only if CT, not a localizer, Rescale Type absent or HU, no iodine, material or
    effective-Z map, no cone beam.
    """
    reason = (
        ("" if frame.modality == "CT" else f"modality is {frame.modality or 'absent'}, not CT")
        or _word("it is a localizer", frame, _LOCALIZER)
        or _rescale_type(frame)
        or _word("it is a material or effective-Z map", frame, _MATERIAL)
        or _cone_beam(frame)
    )
    return (RefusalCode.VALUES_NOT_HU, f"values are not HU: {reason}") if reason else None


def is_original(frame: Frame) -> bool:
    """Return whether Image Type says ORIGINAL."""
    return frame.image_type[:1] == ("ORIGINAL",)


def hint(frame: Frame, keyword: str) -> str:
    """Return one of the frame's hints in upper case, "" if absent."""
    return dict(frame.hints).get(keyword, "")


def _words(frame: Frame) -> Iterable[str]:
    yield from frame.image_type
    yield hint(frame, "VolumeBasedCalculationTechnique")


def _word(kind: str, frame: Frame, words: frozenset[str]) -> str:
    """Return `kind` with the word that says so, "" if none does."""
    found = next((word for word in _words(frame) if word in words), "")
    return f"{kind} (Image Type says {found})" if found else ""


def _capture(frame: Frame) -> str:
    if frame.sop_class_uid.startswith(_SECONDARY_CAPTURE):
        return "a secondary capture"
    return _word("a screen capture", frame, _SCREEN)


def _colour(frame: Frame) -> str:
    if frame.samples_per_pixel == 1 and frame.photometric_interpretation in _MONOCHROME:
        return ""
    shown = frame.photometric_interpretation or "no photometric interpretation"
    return f"a colour image ({shown}, {frame.samples_per_pixel} samples per pixel)"


def _parametric(frame: Frame) -> str:
    if frame.sop_class_uid == _PARAMETRIC_MAP:
        return "a parametric map"
    return _word("a parametric map", frame, _PARAMETRIC)


def _derived(frame: Frame, allow: Sequence[str]) -> Objection:
    if frame.image_type[:1] not in (("DERIVED",), ("MIXED",)):
        return None
    if {word.upper() for word in allow} & set(frame.image_type):
        return None
    words = "\\".join(frame.image_type[:5])
    return (
        RefusalCode.IMAGE_KIND_UNSUITABLE,
        f"it is derived ({words}), and the plugin allows "
        + (", ".join(allow) if allow else "no derived images"),
    )


def _rescale_type(frame: Frame) -> str:
    return "" if frame.rescale_type in ("", "HU") else f"Rescale Type is {frame.rescale_type[:16]}"


def _cone_beam(frame: Frame) -> str:
    model = hint(frame, "ManufacturerModelName")
    told = (hint(frame, "SeriesDescription"), hint(frame, "ScanOptions"), model, *frame.image_type)
    word = next((word for word in _CONE_BEAM for value in told if word in value), "")
    if not word:
        word = next((name for name in _CONE_BEAM_MODELS if model.startswith(name)), "")
    return f"it is cone beam CT ({word})" if word else ""
