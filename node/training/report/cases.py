"""What an evaluation keeps of one case: figures, lesions, components, a picture. No masks."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from node.errors import LearningError
from node.plugin import Case, Result, Segment
from node.toolkit.froc import ScanMatch, label_components, match_scan, pairwise_iou
from node.toolkit.metrics import Overlap, overlap
from node.toolkit.surface import bounding_box, surface_distances
from node.training.report.about import Known
from node.training.report.picture import Picture, take_picture

#: Measurement of a finding that orders the components of the classic FROC.
SCORE_NAME = "detection_score"
#: Tolerance of the surface Dice.
TOLERANCE_MM = 2.0
Mask = NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class Region:
    """A 26-connected component of a mask."""

    volume_ml: float
    #: Of a component of the prediction: its finding's `detection_score`; 1 without one.
    score: float = 1.0

    @property
    def diameter_mm(self) -> float:
        """Return the diameter of the sphere of the same volume."""
        return float((6000.0 * self.volume_ml / math.pi) ** (1.0 / 3.0))


@dataclass(frozen=True, kw_only=True)
class Surface:
    """Distances between the surfaces of the two masks."""

    hd95_mm: float
    assd_mm: float
    #: Share of both surfaces within `TOLERANCE_MM` of the other.
    surface_dice: float


@dataclass(frozen=True, kw_only=True, eq=False)
class SegmentationCase:
    """One evaluated scan.

    Attributes
    ----------
    overlap : Overlap
        All NaN for a scan without a tumour.
    surface : Surface or None
        None unless both masks hold something.
    lesions, components : tuples of Region
        Of the reference; of the prediction.
    iou : float64, shape (lesions, components)
    baseline_dice : mapping of name to float
        What simple rules reach; NaN for a scan without a tumour.
    filled : float
        Part of the volume that the prediction fills.
    picture : Picture or None
    """

    known: Known
    overlap: Overlap
    surface: Surface | None
    lesions: tuple[Region, ...]
    components: tuple[Region, ...]
    iou: NDArray[np.float64]
    baseline_dice: Mapping[str, float]
    filled: float
    picture: Picture | None

    @property
    def tumor_free(self) -> bool:
        """Return whether the reference is empty."""
        return not self.lesions

    @property
    def match(self) -> ScanMatch:
        """Return which component found which lesion."""
        return match_scan(self.iou, [component.score for component in self.components])

    @property
    def largest_mm(self) -> float:
        """Return the diameter of the largest lesion; 0 without one."""
        return max((lesion.diameter_mm for lesion in self.lesions), default=0.0)


def assess_case(
    case: Case,
    truth: Mask,
    result: Result,
    *,
    known: Known,
    baselines: Mapping[str, Mask] | None = None,
    segment: str = "",
) -> SegmentationCase:
    """Compare what a plugin returned with the reference.

    Parameters
    ----------
    case : Case
        What the plugin got.
    truth : bool, shape (slices, rows, columns)
        The reference on the grid of the segments; all False for a scan without a tumour.
    result : Result
        What `Plugin.run` returned.
    known : Known
        Identity and facts of the case.
    baselines : mapping of name to bool, shape of `truth`
        The masks of `score(case)` in the plugin's ``train.py``.
    segment : str
        Name of the segment that `truth` is a reference of; "" takes all of them together.

    Raises
    ------
    LearningError
        If a mask does not have the shape of `truth`.
    """
    segments = [s for s in result.segments if not segment or s.name == segment]
    truth, prediction = truth.astype(bool), np.zeros(truth.shape, bool)
    for found in segments:
        prediction |= _on_grid(found.mask, truth, f"segment {found.name}")
    role = segments[0].role if segments else _role_of_shape(case, truth.shape)
    volume = case.volumes[role]
    box = bounding_box(truth | prediction)
    lesions, components, iou = _regions(
        truth[box], prediction[box], volume.voxel_volume_mm3 / 1000.0
    )
    scores = _scores(components[0], [(s, s.mask[box] != 0) for s in segments], result)
    return SegmentationCase(
        known=known,
        overlap=overlap(truth, prediction),
        surface=_surface(truth[box], prediction[box], volume.spacing_mm),
        lesions=tuple(Region(volume_ml=ml) for ml in lesions[1]),
        components=tuple(
            Region(volume_ml=ml, score=score)
            for ml, score in zip(components[1], scores, strict=True)
        ),
        iou=iou,
        baseline_dice={
            name: overlap(truth, _on_grid(mask, truth, f"baseline {name}")).dice
            for name, mask in (baselines or {}).items()
        },
        filled=float(prediction.mean()),
        picture=take_picture(volume, truth, prediction),
    )


def _on_grid(mask: NDArray[np.generic], truth: Mask, name: str) -> Mask:
    """Return a mask as bool; refuse one on another grid."""
    if mask.shape != truth.shape:
        raise LearningError(f"{name} has shape {mask.shape}, the reference has {truth.shape}")
    found: Mask = mask != 0
    return found


def _role_of_shape(case: Case, shape: tuple[int, ...]) -> str:
    """Return the input that a reference must lie on, when no segment says it."""
    for role, volume in case.volumes.items():
        if volume.array.shape == shape:
            return role
    raise LearningError(f"no input of the case has the reference's shape {shape}")


_Labelled = tuple[NDArray[np.int32], list[float]]


def _regions(
    truth: Mask, prediction: Mask, voxel_ml: float
) -> tuple[_Labelled, _Labelled, NDArray[np.float64]]:
    """Return labels and volumes of the lesions, of the components, and their IoU."""
    both: list[_Labelled] = []
    for mask in (truth, prediction):
        labels, count = label_components(mask)
        voxels = np.bincount(labels.ravel(), minlength=count + 1)[1:]
        both.append((labels, [float(v) * voxel_ml for v in voxels]))
    lesions, components = both
    counts = (len(lesions[1]), len(components[1]))
    return lesions, components, pairwise_iou(lesions[0], components[0], counts)


def _scores(
    labels: NDArray[np.int32], segments: list[tuple[Segment, Mask]], result: Result
) -> list[float]:
    """Return each component's score: that of the finding with most voxels in it."""
    count = int(labels.max(initial=0))
    score, most = np.ones(count + 1), np.zeros(count + 1, np.int64)
    for segment, mask in segments:
        voxels = np.bincount(labels[mask], minlength=count + 1)
        said = [
            m.value
            for m in result.measurements
            if m.name == SCORE_NAME
            and m.finding == segment.finding
            and m.segment in (None, segment.name)
        ]
        score = np.where(voxels > most, said[0] if said else 1.0, score)
        most = np.maximum(most, voxels)
    return [float(value) for value in score[1:]]


def _surface(truth: Mask, prediction: Mask, spacing_mm: tuple[float, ...]) -> Surface | None:
    """Measure the surfaces, where there are two."""
    if not (truth.any() and prediction.any()):
        return None
    found = surface_distances(truth, prediction, spacing_mm)
    return Surface(
        hd95_mm=found.hausdorff_mm(95.0),
        assd_mm=found.symmetric_average_mm(),
        surface_dice=found.dice(TOLERANCE_MM),
    )
