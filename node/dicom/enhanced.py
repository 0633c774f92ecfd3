"""Functional groups of enhanced multi-frame images as flat values per frame (PS3.3 C.7.6.16)."""

from __future__ import annotations

from collections.abc import Mapping

from pydicom import Dataset

from node.dicom.values import Lookup, lookup_in, whole

#: Functional group macro → (its attribute, the name it has in single-frame images).
_MACROS: Mapping[str, tuple[tuple[str, str], ...]] = {
    "PlanePositionSequence": (("ImagePositionPatient", "ImagePositionPatient"),),
    "PlaneOrientationSequence": (("ImageOrientationPatient", "ImageOrientationPatient"),),
    "PixelMeasuresSequence": (
        ("PixelSpacing", "PixelSpacing"),
        ("SliceThickness", "SliceThickness"),
    ),
    "PixelValueTransformationSequence": (
        ("RescaleSlope", "RescaleSlope"),
        ("RescaleIntercept", "RescaleIntercept"),
        ("RescaleType", "RescaleType"),
    ),
    "FrameContentSequence": (
        ("StackID", "StackID"),
        ("TemporalPositionIndex", "TemporalPositionIdentifier"),
        ("FrameAcquisitionDateTime", "AcquisitionTime"),
        ("FrameAcquisitionNumber", "AcquisitionNumber"),
    ),
    "CardiacSynchronizationSequence": (("NominalCardiacTriggerDelayTime", "TriggerTime"),),
    "MREchoSequence": (("EffectiveEchoTime", "EchoNumbers"),),
    "MRDiffusionSequence": (
        ("DiffusionBValue", "DiffusionBValue"),
        ("DiffusionDirectionality", "DiffusionDirectionality"),
    ),
    "CTXRayDetailsSequence": (("KVP", "KVP"),),
    "CTReconstructionSequence": (("ConvolutionKernel", "ConvolutionKernel"),),
    **{
        f"{kind}FrameTypeSequence": (
            ("FrameType", "ImageType"),
            ("VolumeBasedCalculationTechnique", "VolumeBasedCalculationTechnique"),
            ("PixelPresentation", "PixelPresentation"),
        )
        for kind in ("CTImage", "MRImage", "PET", "XAXRF")
    },
}
#: Attributes that only the functional groups may hold in an enhanced image: a top-level one
#: of the same name would be a leftover and must not fill a gap.
_ONLY_IN_GROUPS = frozenset(
    {
        "ImagePositionPatient",
        "ImageOrientationPatient",
        "PixelSpacing",
        "SliceThickness",
        "RescaleSlope",
        "RescaleIntercept",
        "RescaleType",
    }
)


def is_enhanced(ds: Dataset) -> bool:
    """Return whether the image keeps its geometry in functional groups."""
    return "PerFrameFunctionalGroupsSequence" in ds


def frame_lookups(ds: Dataset) -> tuple[Lookup, ...]:
    """Return a look-up per frame: per-frame groups, then shared ones, then the top level.

    Names are those of single-frame images. A multi-frame image without functional groups
    (an older SOP class) has the top level only, the same for each frame.
    """
    top = lookup_in(ds)
    if not is_enhanced(ds):
        return (top,) * (whole(top("NumberOfFrames")) or 1)
    shared = {}
    for item in _items(top("SharedFunctionalGroupsSequence")):
        shared.update(_flat(item))
    return tuple(
        _layered(shared | _flat(item), top)
        for item in _items(top("PerFrameFunctionalGroupsSequence"))
    )


def _layered(groups: Mapping[str, object], top: Lookup) -> Lookup:
    def look_up(keyword: str) -> object:
        value = groups.get(keyword)
        if value is None and keyword not in _ONLY_IN_GROUPS:
            return top(keyword)
        return value

    return look_up


def _flat(groups: Dataset) -> dict[str, object]:
    """Return the known attributes of one item of functional groups by single-frame name."""
    values = {}
    for macro, attributes in _MACROS.items():
        for item in _items(groups.get(macro)):
            look_up = lookup_in(item)
            for keyword, name in attributes:
                value = look_up(keyword)
                if value is not None:
                    values[name] = value
    return values


def _items(sequence: object) -> list[Dataset]:
    return list(sequence) if isinstance(sequence, list) or hasattr(sequence, "__iter__") else []
