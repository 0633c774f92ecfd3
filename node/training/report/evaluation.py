"""What a report on masks is written from."""

from __future__ import annotations

from dataclasses import dataclass

from node.training.report.about import About
from node.training.report.cases import SegmentationCase


@dataclass(frozen=True, kw_only=True)
class Evaluation(About):
    """One segmenting plugin on one set of cases."""

    cases: tuple[SegmentationCase, ...]
    #: Borders between the size classes: diameter of the sphere of the same volume.
    size_edges_mm: tuple[float, ...] = (30.0, 50.0)
