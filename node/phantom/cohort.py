"""What every cohort with a law shares: its file, its institutions, its plans and their variants.

A plugin's `cohort.py` keeps one `Cohort` and a `Plan` of its own; what is drawn is its business.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from node.phantom.acquisition import Acquisition
from node.phantom.institutions import Institution, institutions
from node.phantom.law import Law, by_noise, in_first_group
from node.phantom.subject import Streams, Variant

#: Splits draw from streams of their own: no subject of one is ever in another.
SPLITS: Mapping[str, int] = {"train": 0, "tuning": 1, "test": 2}
#: What may change without changing the risk.
NUISANCES = ("institution", "noise", "table", "pose")
#: What a subject's streams are spawned for.
PLAN, BODY, SCAN, OTHER_SCAN = range(4)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """One subject before it is drawn; the same plan gives the same voxels.

    Attributes
    ----------
    split : str
        ``train``, ``tuning`` or ``test``.
    seed, index : int
        Which cohort, and which subject of it.
    institution : int
        Number of the institution among those of the split.
    changed : str
        Which of `NUISANCES` is another one than drawn; empty: none.
    altered : str
        What happens to images and contours without the risk knowing; empty: nothing.
    """

    split: str
    seed: int
    index: int
    institution: int = 0
    changed: str = ""
    altered: str = ""

    @property
    def patient(self) -> str:
        """Return the patient's name within the cohort."""
        return f"{self.split}-{self.seed}-{self.index:04d}"


PlanT = TypeVar("PlanT", bound=Plan)


@dataclass(frozen=True)
class Cohort:
    """A `cohort.toml` and what follows from it.

    Attributes
    ----------
    table : mapping
        What the file says; needs ``seed``, ``[institutions]`` (``train``, ``test``, ``share``)
        and ``[law]``.
    """

    table: Mapping[str, Any]

    @classmethod
    def beside(cls, module_file: str) -> Cohort:
        """Return the cohort of the `cohort.toml` beside a module: ``Cohort.beside(__file__)``."""
        path = Path(module_file).with_name("cohort.toml")
        return cls(tomllib.loads(path.read_text(encoding="utf-8")))

    @cached_property
    def law(self) -> Law:
        """Return the law of the outcome."""
        return Law.of(self.table["law"])

    @cached_property
    def _families(self) -> Mapping[str, tuple[Institution, ...]]:
        given = self.table["institutions"]
        return {
            family: tuple(institutions(given[family], seed=self.table["seed"], family=family))
            for family in ("train", "test")
        }

    def sites(self, split: str) -> tuple[Institution, ...]:
        """Return the institutions of a split; those of the test are never seen in training."""
        return self._families["test" if split == "test" else "train"]

    def streams(self, plan: Plan, purpose: int) -> Streams:
        """Return the streams of a subject for a purpose (`PLAN`, `BODY`, `SCAN`, …)."""
        return Streams.of(self.table["seed"], SPLITS[plan.split], plan.seed, plan.index, purpose)

    def site_of(self, plan: Plan, outcomes: Sequence[bool], rng: np.random.Generator) -> int:
        """Draw where a patient is scanned, as often as the file says by the outcome (E11)."""
        share = self.table["institutions"]["share"][plan.split]
        first = in_first_group(outcomes, share, rng)
        return int(rng.choice(by_noise(self.sites(plan.split))[0 if first else 1]))

    def apart(self, plan: PlanT) -> PlanT:
        """Return the same patient at an institution that the outcome has no say in."""
        chance = self.streams(plan, PLAN).noise
        return replace(plan, institution=int(chance.integers(len(self.sites(plan.split)))))

    def nuisance(self, plan: PlanT, what: str) -> PlanT:
        """Return the same patient with another institution, noise, table or pose."""
        if what != "institution":
            return replace(plan, changed=what)
        count = len(self.sites(plan.split))
        return replace(plan, changed=what, institution=(plan.institution + count // 2) % count)

    def scan(self, plan: Plan) -> Acquisition:
        """Return the CT scan of a plan: as its institution scans, but a part of the body.

        Needs ``[images]`` with ``slice_mm`` (least, greatest) and ``noise`` (share of a whole
        body's noise).
        """
        images, streams = self.table["images"], self.streams(plan, SCAN)
        other = self.streams(plan, OTHER_SCAN)
        drawn_from = other if plan.changed == "institution" else streams
        scan = Acquisition.drawn(self.sites(plan.split)[plan.institution], drawn_from.acquisition)
        if plan.changed == "pose":
            scan = replace(scan, pose=Acquisition.drawn(scan.institution, other.acquisition).pose)
        if plan.changed == "table":
            scan = replace(scan, table={"none": "flat", "flat": "curved"}.get(scan.table, "none"))
        scan = scan.with_slices(float(np.clip(scan.slice_mm, *images["slice_mm"])))
        return replace(scan, noise_hu=images["noise"] * scan.noise_hu, circle=False)

    def variants(
        self,
        plan: PlanT,
        *,
        kinds: Mapping[str, str],
        mirror: Callable[[PlanT, str], PlanT],
        nuisances: Iterable[str] = NUISANCES,
    ) -> list[Variant]:
        """Return the same patient with one thing changed, for each thing that may be.

        Parameters
        ----------
        plan : Plan
        kinds : mapping
            What `Plan.altered` may say, to the kind of variant: ``input``, ``swap``, ``blank``.
        mirror : function of plan and cause
            Returns the plan with that cause of the law turned round.
        nuisances : names
            What may change without changing the risk.
        """
        apart = self.apart(plan)
        return [
            # Noise tells institutions apart, and those go with the outcome: not where the lesion
            # is covered, and not in the control.
            *(
                Variant(
                    name=name,
                    kind=kind,
                    plan=replace(apart if kind == "blank" else plan, altered=name),
                )
                for name, kind in kinds.items()
            ),
            Variant(name="institution drawn apart", kind="control", plan=apart),
            *(
                Variant(name=cause, kind="cause", plan=mirror(plan, cause))
                for cause in self.law.causes
            ),
            *(
                Variant(name=what, kind="nuisance", plan=self.nuisance(plan, what))
                for what in nuisances
            ),
        ]
