"""What an earlier result means for today's: tracking kept, values to compare, or only a hint."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field

from node.storage.prior_rows import PriorFinding, PriorValue

#: Segment name and finding number.
Key = tuple[str, int]


@dataclass(frozen=True, kw_only=True)
class Earlier:
    """An earlier study with a result of ours, as the report names it."""

    study_instance_uid: str
    #: YYYYMMDD.
    study_date: str
    series_description: str
    plugin_version: str

    @property
    def day(self) -> str:
        """Return the date for people.

        Examples
        --------
        >>> about = {"study_instance_uid": "1.2", "series_description": "", "plugin_version": "1"}
        >>> Earlier(study_date="20260103", **about).day
        '2026-01-03'
        """
        return f"{self.study_date[:4]}-{self.study_date[4:6]}-{self.study_date[6:]}"


@dataclass(frozen=True, kw_only=True)
class Tracked:
    """A finding of today that is one of an earlier result: it keeps UID and name (S10)."""

    uid: str
    label: str = ""
    #: None: the other result is of the same study, so there is nothing to compare.
    earlier: Earlier | None = None
    values: tuple[PriorValue, ...] = ()
    #: The finding on another input of this very run whose UID and name it has.
    same_as: Key | None = None


@dataclass(frozen=True, kw_only=True)
class PossiblePrior:
    """An earlier result, or what of it is left over, that nothing of today is known to be."""

    earlier: Earlier
    findings: tuple[PriorFinding, ...]
    #: Why nothing is compared, as half a sentence.
    why: str


@dataclass(frozen=True, kw_only=True)
class FollowUp:
    """All that earlier results say to a run; nothing by default (S10)."""

    tracked: Mapping[Key, Tracked] = field(default_factory=dict)
    #: What links the compared study to this one, as half a sentence; "" if none was compared.
    link: str = ""
    possible: tuple[PossiblePrior, ...] = ()
    #: Names of findings of the compared study that are not found again: nothing else is called so.
    taken: frozenset[str] = frozenset()
    #: For the job's report: which results were looked at, and what came of it; JSON-able.
    audit: tuple[Mapping[str, object], ...] = ()

    @property
    def compared(self) -> Earlier | None:
        """Return the study that findings are compared with."""
        return next((one.earlier for one in self.tracked.values() if one.earlier), None)


#: No earlier result is known.
NONE = FollowUp()


def names_of(follow_up: FollowUp, own: Mapping[Key, tuple[str, str]]) -> Mapping[Key, str]:
    """Return how each finding is called: tracked ones as before, new ones as nothing before.

    Parameters
    ----------
    own : mapping of finding to (its kind's name, its name in this run)

    Examples
    --------
    >>> own = {("m", 1): ("Mass", "Mass 1"), ("m", 2): ("Mass", "Mass 2")}
    >>> kept = {("m", 1): Tracked(uid="2.25.1", label="Mass 2")}
    >>> names_of(FollowUp(tracked=kept), own)
    {('m', 1): 'Mass 2', ('m', 2): 'Mass 1'}
    """
    tracked = follow_up.tracked
    names = {key: tracked[key].label if key in tracked else name for key, (_, name) in own.items()}
    if not tracked:
        return names
    used = {names[key] for key in own if key in tracked} | follow_up.taken
    free = [key for key in own if key not in tracked]
    clashing = [key for key in free if names[key] in used]
    used |= {names[key] for key in free}
    for key in clashing:
        numbered = (f"{own[key][0]} {number}" for number in itertools.count(1))
        names[key] = next(name for name in numbered if name not in used)
        used.add(names[key])
    for key, one in tracked.items():
        if one.same_as is not None:
            names[key] = names[one.same_as]
    return names
