"""Frames without files, for tests of what reads headers only."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pydicom import Dataset

from node.dicom.frames import Frame, SourceSeries
from node.dicom.source import frames_of
from tests.make import ct_series


def frames(datasets: Sequence[Dataset]) -> tuple[Frame, ...]:
    """Return the frames of data sets that were never written."""
    return tuple(f for ds in datasets for f in frames_of(ds, Path("never-read.dcm")))


def series(datasets: Sequence[Dataset]) -> SourceSeries:
    """Return one series of data sets that were never written."""
    first = datasets[0]
    return SourceSeries(
        series_instance_uid=first.SeriesInstanceUID,
        study_instance_uid=first.StudyInstanceUID,
        modality=first.Modality,
        headers=tuple(datasets),
        frames=frames(datasets),
    )


def ct_frames(shape: tuple[int, int, int] = (6, 4, 4), **overrides: object) -> tuple[Frame, ...]:
    """Return the frames of a plain axial CT."""
    return frames(ct_series(shape, **overrides))  # type: ignore[arg-type]
