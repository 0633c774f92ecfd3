"""The whole public plugin contract: what a plugin gets, what it returns. NumPy only.

A plugin is a folder with ``plugin.toml`` and ``plugin.py``. The module has a class ``Plugin``::

    class Plugin:
        def load(self, device: str) -> None: ...
        def run(self, case: Case) -> Result: ...

It runs in a process of its own, sees arrays and never DICOM, and knows no patient.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True, eq=False)
class Grid:
    """Where the voxels of an array lie in the patient.

    Attributes
    ----------
    shape : (slices, rows, columns)
    affine : float64, shape (4, 4)
        Maps (slice, row, column, 1) to (x, y, z, 1) in mm, LPS+ (PS3.3 C.7.6.2.1.1).

    Examples
    --------
    >>> affine = np.diag([0.7, 0.8, 5.0, 1.0])[:, [2, 1, 0, 3]]
    >>> grid = Grid(shape=(2, 3, 4), affine=affine)
    >>> grid.spacing_mm, round(grid.voxel_volume_mm3, 6)
    ((5.0, 0.8, 0.7), 2.8)
    """

    shape: tuple[int, int, int]
    affine: NDArray[np.float64]

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Return the step between slices, rows and columns in mm."""
        steps = np.linalg.norm(self.affine[:3, :3], axis=0)
        return (float(steps[0]), float(steps[1]), float(steps[2]))

    @property
    def voxel_volume_mm3(self) -> float:
        """Return the volume of one voxel in mm3."""
        return float(abs(np.linalg.det(self.affine[:3, :3])))


@dataclass(frozen=True, kw_only=True)
class Volume:
    """A regular grid of values with its place in the patient.

    Attributes
    ----------
    array : float32 or int16, shape (slices, rows, columns)
        Values in `unit`; slices sorted along the normal (row direction x column direction).
    affine : float64, shape (4, 4)
        Maps (slice, row, column, 1) to (x, y, z, 1) in mm, LPS+ (PS3.3 C.7.6.2.1.1).
    unit : str
        UCUM code of the values: ``[hnsf'U]`` for HU, ``1`` where none is known.
    modality : str
        DICOM Modality (0008,0060).
    padding : bool, shape (slices, rows, columns), or None
        True where the scanner wrote padding instead of a value (PS3.3 C.7.5.1.1.2).
    """

    array: NDArray[np.generic]
    affine: NDArray[np.float64]
    unit: str
    modality: str
    padding: NDArray[np.bool_] | None = None

    @property
    def grid(self) -> Grid:
        """Return where the voxels lie."""
        slices, rows, columns = self.array.shape
        return Grid(shape=(slices, rows, columns), affine=self.affine)

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Return the step between slices, rows and columns in mm."""
        return self.grid.spacing_mm

    @property
    def voxel_volume_mm3(self) -> float:
        """Return the volume of one voxel in mm3."""
        return self.grid.voxel_volume_mm3


@dataclass(frozen=True, kw_only=True)
class Roi:
    """A region that somebody outlined, or that another plugin found, on the grid of an input.

    Attributes
    ----------
    mask : bool, shape (slices, rows, columns)
        On the grid of the volume of `role`; at least one voxel.
    role : str
        The input role whose grid the mask lies on.
    label : str
        What its author called it, at most 64 characters; "" if nothing.
    source : str
        Where it comes from, a sentence without names of people: "segment 2 of a segmentation
        (SEG), drawn by hand".
    """

    mask: NDArray[np.bool_]
    role: str
    label: str = ""
    source: str = ""


@dataclass(frozen=True, kw_only=True)
class Case:
    """What a plugin gets: volumes by input role, and chosen attributes. No identity.

    Attributes
    ----------
    volumes : mapping of role name to Volume
        One for each input role of the manifest.
    attributes : mapping of DICOM keyword to str or float
        Those that the manifest's ``attributes`` list asks for and the study has
        (``PatientAge`` in years, ``PatientSex`` as ``F``, ``M`` or ``O``).
    values : mapping of name to float, int, str or bool
        Those of the manifest's ``[clinical.NAME]`` tables that are known, numbers in the
        manifest's unit. Any may be absent.
    device : str
        ``cpu`` or ``cuda:N``, the device that `load` was given.
    rois : mapping of ROI role name to tuple of Roi
        One entry for each ``[rois.NAME]`` of the manifest: exactly one region, or with
        ``many = true`` at least one.
    """

    volumes: Mapping[str, Volume]
    attributes: Mapping[str, str | float] = field(default_factory=dict)
    values: Mapping[str, float | int | str | bool] = field(default_factory=dict)
    device: str = "cpu"
    rois: Mapping[str, tuple[Roi, ...]] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Line:
    """A straight line in one plane of a volume, for a diameter.

    Both ends are (row, column) in voxel index units, voxel centres at whole numbers.
    """

    slice_index: int
    start: tuple[float, float]
    end: tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class Segment:
    """One region on the grid of an input volume.

    Attributes
    ----------
    name : str
        Name of a ``[segments.NAME]`` table of the manifest.
    mask : bool or uint8 (0/1), shape (slices, rows, columns)
        On the grid of the volume of `role`.
    role : str
        The input role whose grid the mask lies on.
    finding : int
        Number of the finding, from 1; several findings of one name are separate segments.
    probability : float32, shape (slices, rows, columns), or None
        From 0 to 1, what the mask was cut from. Written only where a viewer takes it.
    """

    name: str
    mask: NDArray[np.generic]
    role: str
    finding: int = 1
    probability: NDArray[np.float32] | None = None


@dataclass(frozen=True, kw_only=True)
class Map:
    """One number for each voxel of an input volume: where a network looked, how sure it is.

    Attributes
    ----------
    name : str
        Name of a ``[maps.NAME]`` table of the manifest, which tells quantity and unit.
    array : float32, shape (slices, rows, columns)
        Finite values on the grid of the volume of `role`.
    role : str
        The input role whose grid the map lies on.
    """

    name: str
    array: NDArray[np.float32]
    role: str


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """One number of a finding, in the unit that the manifest declares for its name.

    Attributes
    ----------
    name : str
        Name of a ``[measurements.NAME]`` table of the manifest.
    value : float
        In the manifest's unit.
    segment : str or None
        Name of the segment it belongs to; None: the whole study.
    finding : int
        Number of the finding it belongs to.
    line : Line or None
        Where a diameter was measured, on the grid of the segment's volume.
    interval : (low, high) or None
        Where the true value lies, as the manifest's ``interval`` says; holds `value`.
    """

    name: str
    value: float
    segment: str | None = None
    finding: int = 1
    line: Line | None = None
    interval: tuple[float, float] | None = None


@dataclass(frozen=True, kw_only=True)
class Quality:
    """One statement in words: a choice that the manifest offers.

    Attributes
    ----------
    name : str
        Name of a ``[qualities.NAME]`` table of the manifest.
    choice : str
        Name of one of its choices.
    segment : str or None
        Name of the segment it is about; None: the whole study.
    finding : int
        Number of the finding it is about.
    """

    name: str
    choice: str
    segment: str | None = None
    finding: int = 1


@dataclass(frozen=True, kw_only=True)
class Result:
    """What a plugin returns. Empty `segments` means: ran, and found nothing.

    A case that the plugin cannot judge (an image of something else, values from nowhere) is not
    "nothing": return ``Result(refusal="why, in one sentence")``. The job is refused with it.

    Attributes
    ----------
    segments, measurements, maps, qualities : tuples
        All names are declared in the manifest.
    notes : tuple of str
        Sentences for the report (e.g. "ran on CPU after the GPU was out of memory").
    refusal : str
        Why this case is none that the plugin can judge, a sentence without identity; "": it is
        one. Then nothing else may be returned.
    """

    segments: tuple[Segment, ...] = ()
    measurements: tuple[Measurement, ...] = ()
    notes: tuple[str, ...] = ()
    maps: tuple[Map, ...] = ()
    qualities: tuple[Quality, ...] = ()
    refusal: str = ""


@dataclass(frozen=True, kw_only=True)
class Labels:
    """What is known to be true of a case. Training and evaluation see it, a run never does.

    Attributes
    ----------
    masks : mapping of segment name to bool, shape (slices, rows, columns)
        The reference region of each ``[segments.NAME]`` that somebody outlined, on the grid of
        the volume it was drawn on; all False: looked at, and nothing there.
    values : mapping of column name to str or float
        The patient's row of the table of labels, or what a cohort drew.
    second_rois : mapping of role name to tuple of Roi
        As `Case.rois`, by a second reader of the same images; empty: read once.
    """

    masks: Mapping[str, NDArray[np.bool_]] = field(default_factory=dict)
    values: Mapping[str, str | float] = field(default_factory=dict)
    second_rois: Mapping[str, tuple[Roi, ...]] = field(default_factory=dict)


class Plugin(Protocol):
    """What `plugin.py` must offer as a class named ``Plugin``."""

    def load(self, device: str) -> None:
        """Read weights and get warm on `device`; called once per process."""

    def run(self, case: Case) -> Result:
        """Compute the result of one case."""
