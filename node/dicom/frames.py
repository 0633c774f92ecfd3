"""One value per image plane, the same for single-frame and enhanced multi-frame objects."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pydicom import Dataset

#: (S18) what may tell apart the phases inside one series, in the order it is tried.
Discriminators = tuple[tuple[str, str], ...]


@dataclass(frozen=True, kw_only=True)
class Frame:
    """One image plane: where it lies, how its values are coded, and where they are stored.

    Positions and orientations in mm and direction cosines, LPS+ (PS3.3 C.7.6.2.1.1).
    """

    path: Path
    sop_instance_uid: str
    sop_class_uid: str
    transfer_syntax_uid: str
    #: 0 in a single-frame instance, else from 1.
    frame_number: int
    #: How many frames its instance has (1 for single-frame).
    number_of_frames: int
    modality: str
    rows: int
    columns: int
    image_position_patient: tuple[float, float, float] | None
    #: Row direction, then column direction.
    image_orientation_patient: tuple[float, float, float, float, float, float] | None
    #: (between rows, between columns) (0028,0030).
    pixel_spacing_mm: tuple[float, float] | None
    slice_thickness_mm: float | None
    frame_of_reference_uid: str
    image_type: tuple[str, ...]
    photometric_interpretation: str
    samples_per_pixel: int
    bits_allocated: int
    bits_stored: int
    #: 0 unsigned, 1 signed, -1 not told.
    pixel_representation: int
    rescale_slope: float | None
    rescale_intercept: float | None
    rescale_type: str
    has_modality_lut: bool
    pixel_padding_value: int | None
    pixel_padding_range_limit: int | None
    #: Lossy Image Compression (0028,2110) is "01" or the transfer syntax is lossy.
    lossy: bool
    #: Keyword-like name → value as text, only those present; in S18's order.
    discriminators: Discriminators
    #: Keyword → value, upper case: what else tells which kind of image it is (`kinds.py`).
    #: Never shown: a Series Description may hold anything.
    hints: Discriminators = ()
    #: Highest bit of a value; None: Bits Stored - 1.
    high_bit: int | None = None
    #: Where the native pixel data of its instance start and how long they are, in bytes of the
    #: file; None: unknown, look there.
    pixel_offset: int | None = None
    pixel_length: int | None = None


@dataclass(frozen=True, kw_only=True)
class SourceSeries:
    """One series as its headers say; nothing of it is decoded."""

    series_instance_uid: str
    study_instance_uid: str
    modality: str
    #: One data set without pixel data per instance.
    headers: tuple[Dataset, ...]
    #: One per plane; empty for objects that are no images (SR, PR…).
    frames: tuple[Frame, ...]


@dataclass(frozen=True, kw_only=True)
class StackGeometry:
    """The regular grid of a stack.

    Attributes
    ----------
    affine : 16 floats, row-major (4, 4)
        Maps (slice, row, column, 1) to (x, y, z, 1) in mm, LPS+.
    shape : (slices, rows, columns)
    spacing_mm : step between slices, rows, columns
    plane : ``axial``, ``sagittal`` or ``coronal``: the nearest one; `oblique_degrees` off it
    """

    affine: tuple[tuple[float, float, float, float], ...]
    shape: tuple[int, int, int]
    spacing_mm: tuple[float, float, float]
    plane: str
    oblique_degrees: float
    frame_of_reference_uid: str


@dataclass(frozen=True, kw_only=True)
class Stack:
    """Frames of one series that form one volume, sorted along the normal."""

    series_instance_uid: str
    #: Which part of a split series ("AcquisitionNumber=2"); "" if the series is one stack.
    label: str
    frames: tuple[Frame, ...]
    geometry: StackGeometry
