"""A synthetic patient: what a model may see, what is true of it, and how it came about."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from node.plugin import Case, Labels


@dataclass(frozen=True, kw_only=True)
class Subject:
    """One drawn patient.

    Attributes
    ----------
    patient : str
        Name of the patient within its cohort; splits are by patient.
    institution : str
        Which virtual institution made the images.
    case : Case
        Volumes by input role.
    labels : Labels
        Masks on the grids of those volumes, and the patient's row of labels.
    facts : mapping of str to str, float or bool
        What the generator drew (size, family, phase …): for strata, never for a model.
    headers : mapping of role to mapping of DICOM keyword to value
        What the institution's scanner writes beside the pixels.
    """

    patient: str
    institution: str
    case: Case
    labels: Labels
    facts: Mapping[str, str | float | bool] = field(default_factory=dict)
    headers: Mapping[str, Mapping[str, object]] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Variant:
    """The same patient with one thing changed, for looking at what a model rests on.

    Attributes
    ----------
    name : str
        What was changed, as a report says it.
    kind : str
        ``cause`` (its risk is another), ``nuisance`` (nothing that matters), ``input`` (images or
        contours are less exact), ``swap`` (a part is another patient's), ``blank`` (the lesion is
        covered), ``control`` (an institution that the outcome has no say in).
    plan : what the cohort's `render` takes
    """

    name: str
    kind: str
    plan: Any


@dataclass(frozen=True, kw_only=True)
class Streams:
    """Independent random streams of one subject (E11): changing one leaves the others as they were.

    Attributes
    ----------
    outcome : draws what happens, from generator parameters
    anatomy : draws the body
    lesion : draws what is studied: its place, size, shape
    acquisition : draws scanner settings, pose and phase
    noise : draws the noise of the image
    """

    outcome: np.random.Generator
    anatomy: np.random.Generator
    lesion: np.random.Generator
    acquisition: np.random.Generator
    noise: np.random.Generator

    @classmethod
    def of(cls, *seed: int) -> Streams:
        """Return the streams of a seed: whole numbers >= 0, e.g. cohort seed, split, subject.

        Examples
        --------
        >>> first, again = Streams.of(7, 0, 3), Streams.of(7, 0, 3)
        >>> _ = first.noise.random(100)
        >>> bool(first.anatomy.random() == again.anatomy.random())
        True
        """
        parts = np.random.SeedSequence(list(seed)).spawn(5)
        outcome, anatomy, lesion, acquisition, noise = map(np.random.default_rng, parts)
        return cls(
            outcome=outcome, anatomy=anatomy, lesion=lesion, acquisition=acquisition, noise=noise
        )
