"""Who is learned from, who says when to stop, who is only tested: by patient, never by image."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from node.errors import LearningError
from node.training.table import SPLITS, TABLE_NAME, Faults, Row

TRAIN_SPLIT, TUNING_SPLIT, TEST_SPLIT = SPLITS
#: The same for every training: a patient of the test split is never learned from by any seed.
_SALT = "sentinel-node split"
_TUNING_FROM, _TEST_FROM = 0.7, 0.8
#: Cohorts of different splits draw from seeds that are far apart, whatever `cohort.py` does.
_FIRST_SEED: Mapping[str, int] = {
    TRAIN_SPLIT: 0,
    TUNING_SPLIT: 1_000_000,
    TEST_SPLIT: 2_000_000,
}
#: Seeds that a person may give are below it.
SEEDS = 1_000_000
_MOST_LINES = 10
#: Kept in `training.json` of each study: so many slices, so much of each hash.
_SLICES_KEPT, _SLICE_LETTERS = 4, 12


def split_of(patient: str) -> str:
    """Return the split of a patient whom the table gives none: 70, 10 and 20 of 100.

    Examples
    --------
    >>> split_of("P-1") == split_of("P-1")
    True
    >>> many = [split_of(f"P-{number}") for number in range(1000)]
    >>> [round(many.count(split) / 1000, 1) for split in ("train", "tuning", "test")]
    [0.7, 0.1, 0.2]
    """
    digest = hashlib.sha256(f"{_SALT}:{patient}".encode()).digest()
    place = int.from_bytes(digest[:8], "big") / 2**64
    if place < _TUNING_FROM:
        return TRAIN_SPLIT
    return TUNING_SPLIT if place < _TEST_FROM else TEST_SPLIT


def check_seed(option: str, seed: int) -> None:
    """Raise `LearningError` unless random streams can begin with this number."""
    if not 0 <= seed < SEEDS:
        raise LearningError(f"{option} {seed} is not from 0 to {SEEDS - 1}; choose another one")


def cohort_seed(split: str, seed: int) -> int:
    """Return the seed that a cohort draws a split with; no two splits ever share one.

    Raises
    ------
    LearningError
        If `seed` is negative or so large that it would be another split's.

    Examples
    --------
    >>> cohort_seed("train", 7), cohort_seed("test", 7)
    (7, 2000007)
    """
    check_seed("--seed", seed)
    return _FIRST_SEED[split] + seed


@dataclass(frozen=True, kw_only=True)
class Content:
    """What the images of one case are, without saying whose."""

    #: Of the whole case: every value of every volume.
    sha256: str
    #: Of each slice that is not all one value.
    slices: frozenset[str]

    @property
    def few(self) -> tuple[str, ...]:
        """Return what a training keeps of the slices: the smallest hashes, shortened.

        The same ones whatever the order, and most of them are left where slices are taken out.
        """
        return tuple(one[:_SLICE_LETTERS] for one in sorted(self.slices)[:_SLICES_KEPT])


def check_leaks(rows: Sequence[tuple[Row, str, Content]], faults: Faults) -> None:
    """Note each line whose images, or some of them, another split or another patient has as well.

    Two patients with the same images may come to lie on both sides of a fold.

    Parameters
    ----------
    rows : sequence of (row, its split, what its images are)
    faults : Faults
        Gets a sentence for each.
    """
    first: dict[str, tuple[Row, str]] = {}
    for row, split, content in rows:
        places = [first.setdefault(one, (row, split)) for one in sorted(content.slices)]
        met = {
            other.line: (other, other_split)
            for other, other_split in places
            if (other.patient, other_split) != (row.patient, split)
        }
        for other, other_split in met.values():
            whose = "" if other.patient == row.patient else ", which names another patient"
            faults.add(
                f"leak: images of this study (split {split}) have the same pixels as images of "
                f"line {other.line} (split {other_split}){whose}; take one of them out",
                row.line,
            )


def was_learned(learned: Mapping[str, object], content: Content) -> bool:
    """Return whether the weights were learned from a case.

    Parameters
    ----------
    learned : mapping
        What `training.json` of the plugin says, {} where there is none. Without ``slices``
        (phantoms, files of before) only whole cases are compared.
    content : Content
        Of the case.
    """
    slices = set(str(learned.get("slices", "")).split())
    return content.sha256[:16] in str(learned.get("cases", "")).split() or any(
        one[:_SLICE_LETTERS] in slices for one in content.slices
    )


def check_unseen(
    learned: Mapping[str, object], contents: Sequence[Content], lines: Sequence[int] = ()
) -> None:
    """Raise `LearningError` if some of the test cases were learned from, with their lines.

    Parameters
    ----------
    learned, contents
        As `was_learned` takes them.
    lines : sequence of int
        Where each case stands in the table; empty for phantoms.
    """
    seen = [was_learned(learned, content) for content in contents]
    if not any(seen):
        return
    found = [str(line) for line, is_seen in zip(lines, seen, strict=False) if is_seen]
    more = ", …" if len(found) > _MOST_LINES else ""
    where = f": {TABLE_NAME} line {', '.join(found[:_MOST_LINES])}{more}" if found else ""
    raise LearningError(
        f"{sum(seen)} of {len(contents)} test cases were learned from (training.json){where}; "
        "their figures would say nothing: evaluate on others"
    )
