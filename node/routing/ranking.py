"""Which of several fitting stacks is the best: closed criteria, each a number to show."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from pydicom import Dataset

from node.dicom.contrast import describes_some
from node.dicom.frames import Stack
from node.dicom.kinds import is_original
from node.dicom.values import lookup_in, text
from node.manifest import InputRole
from node.routing.requirements import kernel_of, thickness_of

#: Kernels by vendor: Siemens B20f Br40d I31f Hr60, GE, Philips, Canon FC08.
_SOFT = re.compile(
    r"(B|BR|I|J|H|HR|T|QR|D|U)?[1-4]\d[A-Z]{0,2}(\\\d)?|STANDARD|STND|SOFT|SMOOTH|A|B|C|BODY|FC[01]\d.*"
)
_SHARP = re.compile(
    r"(B|BR|BL|BV|I|J|H|HR|T|QR|D|U)?[5-9]\d[A-Z]{0,2}(\\\d)?"
    r"|BONE.*|LUNG.*|EDGE|DETAIL|CHST|ULTRA|YA|YB|YC|YD|D|E|L|FC[3-9]\d.*"
)


def scores_of(stack: Stack, header: Dataset, role: InputRole) -> dict[str, float]:
    """Return criterion → number for the role's criteria, in its order; more is better."""
    return {name: CRITERIA[name](stack, header) for name in role.rank}


def _original(stack: Stack, _header: Dataset) -> float:
    return float(all(is_original(frame) for frame in stack.frames))


def _most_slices(stack: Stack, _header: Dataset) -> float:
    return float(len(stack.frames))


def _thin_slices(stack: Stack, _header: Dataset) -> float:
    return -round(thickness_of(stack), 2)


def _large_coverage(stack: Stack, _header: Dataset) -> float:
    return round(stack.geometry.spacing_mm[0] * len(stack.frames), 0)


def _soft_kernel(stack: Stack, _header: Dataset) -> float:
    """Return 1 for a soft kernel, -1 for a sharp one, 0 where nobody knows."""
    kernel = kernel_of(stack).strip()
    if _SHARP.fullmatch(kernel):
        return -1.0
    return float(bool(_SOFT.fullmatch(kernel)))


def _names_contrast(_stack: Stack, header: Dataset) -> float:
    """Return 1 where the Series Description says that contrast medium was given."""
    return float(describes_some(text(lookup_in(header)("SeriesDescription"))))


def _recent(_stack: Stack, header: Dataset) -> float:
    """Return when it was acquired as YYYYMMDDHHMMSS, 0 if nobody said."""
    look = lookup_in(header)
    day = _digits(text(look("AcquisitionDate")) or text(look("SeriesDate")), 8)
    clock = _digits(text(look("AcquisitionTime")) or text(look("SeriesTime")), 6)
    return float(f"{day}{clock}") if day else 0.0


def _digits(value: str, count: int) -> str:
    found = re.sub(r"\D", "", value.partition(".")[0] if count == 6 else value)[:count]
    return found.ljust(count, "0") if found or count == 6 else ""


CRITERIA: Mapping[str, Callable[[Stack, Dataset], float]] = {
    "original": _original,
    "most_slices": _most_slices,
    "thin_slices": _thin_slices,
    "large_coverage": _large_coverage,
    "soft_kernel": _soft_kernel,
    "names_contrast": _names_contrast,
    "recent": _recent,
}
