"""What the report says of an earlier study: values with their change, or a possible prior (S10)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from pydicom import Dataset

from node.dicom import codes
from node.manifest import Code
from node.results.follow_up import Earlier, PossiblePrior, Tracked
from node.results.request import EncodeRequest, Finding, measurements_of
from node.results.sentences import unit_text
from node.results.sr_items import container, date, number, text, uid
from node.storage.prior_rows import PriorFinding, PriorValue

#: A change in percent is said of sizes only: half as many HU, or of a probability, is no news.
_SIZES = frozenset({"mm", "cm", "mm2", "cm2", "mm3", "cm3", "ml", "mL", "L"})
#: Findings of one possible prior that are named; the others are counted.
_MOST_FINDINGS = 5


@dataclass(frozen=True, kw_only=True)
class Change:
    """One number today and then, both as their reports say them."""

    name: Code
    unit: Code
    now: float
    before: float
    digits: int

    @property
    def difference(self) -> float:
        """Return now minus before."""
        return round(self.now - self.before, self.digits) + 0.0  # never -0.0

    @property
    def percent(self) -> float | None:
        """Return the change in percent of the earlier value, None where it says nothing."""
        if self.unit.value not in _SIZES or self.before <= 0:
            return None
        return round(100 * (self.now - self.before) / self.before, 1) + 0.0


def changes_of(request: EncodeRequest, finding: Finding) -> tuple[Change, ...]:
    """Return the numbers of a finding that its earlier result has too, in the same unit."""
    tracked = request.follow_up.tracked.get(finding.key)
    before = {} if tracked is None else {_concept(one): one for one in tracked.values}
    found = []
    for measurement in measurements_of(request).get(finding.key, []):
        spec = request.manifest.measurements[measurement.name]
        old = before.get((spec.name, spec.code.value, spec.code.scheme, spec.unit.value))
        if old is not None:
            digits = min(spec.digits, old.digits)
            now = round(measurement.value, spec.digits)
            found.append(
                Change(name=spec.code, unit=spec.unit, now=now, before=old.value, digits=digits)
            )
    return tuple(found)


def _concept(one: PriorValue) -> tuple[str, str, str, str]:
    return (one.name, one.code.value, one.code.scheme, one.unit.value)


# --- for people ------------------------------------------------------------------------------


def follow_up_sentences(request: EncodeRequest) -> Iterator[str]:
    """Yield what is compared with which study, finding by finding, then possible priors."""
    found = request.follow_up
    if found.compared is not None:
        yield f"Compared with the {_study(request, found.compared)}: {found.link}."
        yield from _comparisons(request, found.compared)
    yield from (_possible(request, one) for one in found.possible)


def _comparisons(request: EncodeRequest, earlier: Earlier) -> Iterator[str]:
    others = []
    for finding in request.findings:
        tracked = request.follow_up.tracked.get(finding.key)
        if tracked is None or tracked.earlier is None:
            if tracked is None or tracked.same_as is None:
                others.append(finding.label)
            continue
        said = "; ".join(_change(one, earlier) for one in changes_of(request, finding))
        yield f"{finding.label}: {said or f'found on {earlier.day} too, nothing to compare'}."
    if others:
        yield f"No finding of {earlier.day} is beyond doubt the same: {', '.join(others)}."


def _change(one: Change, earlier: Earlier) -> str:
    unit, digits = unit_text(one.unit), one.digits
    percent = "" if one.percent is None else f", {one.percent:+.1f} %"
    now, before = f"{one.now:.{digits}f} {unit}".rstrip(), f"{one.before:.{digits}f} {unit}"
    by = f"{one.difference:+.{digits}f} {unit}".rstrip()
    return f"{one.name.meaning} {now}, on {earlier.day} {before.rstrip()} ({by}{percent})"


def _possible(request: EncodeRequest, one: PossiblePrior) -> str:
    named = [_finding(each) for each in one.findings[:_MOST_FINDINGS]]
    more = len(one.findings) - len(named)
    if not named:
        return f"possible prior: {_study(request, one.earlier)}: nothing found."
    what = "; ".join([*named, *([f"and {more} more"] if more else [])])
    return f"possible prior: {_study(request, one.earlier)}: {what}. Not compared: {one.why}."


def _study(request: EncodeRequest, earlier: Earlier) -> str:
    series = f", series “{earlier.series_description}”" if earlier.series_description else ""
    return f"study of {earlier.day}{series}, {request.manifest.title} {earlier.plugin_version}"


def _finding(one: PriorFinding) -> str:
    values = ", ".join(
        f"{each.code.meaning} {each.value:.{each.digits}f} {unit_text(each.unit)}".rstrip()
        for each in one.values
    )
    return f"{one.label}: {values}" if values else one.label


# --- for machines ----------------------------------------------------------------------------


def derived_measurements(request: EncodeRequest) -> Dataset | None:
    """Return the container of all changes (TID 1500, row 9); None if nothing is compared.

    Apart from the groups of today's measurements, so that nobody takes an earlier value for
    one of today.
    """
    items = [
        _derived(finding, tracked, tracked.earlier, change)
        for finding, tracked in _tracked(request)
        if tracked.earlier is not None
        for change in changes_of(request, finding)
    ]
    if not items:
        return None
    derived = container(codes.DERIVED_MEASUREMENTS)
    derived.ContentSequence = items
    return derived


def _tracked(request: EncodeRequest) -> Iterator[tuple[Finding, Tracked]]:
    tracked: Mapping[tuple[str, int], Tracked] = request.follow_up.tracked
    for finding in request.findings:
        if finding.key in tracked:
            yield finding, tracked[finding.key]


def _derived(finding: Finding, tracked: Tracked, earlier: Earlier, change: Change) -> Dataset:
    """Return one change, inferred from the value of today and the earlier one (TID 1420)."""
    today = number("INFERRED FROM", change.name, change.now, change.unit)
    before = number("INFERRED FROM", change.name, change.before, change.unit)
    before.ContentSequence = [
        date("HAS OBS CONTEXT", codes.STUDY_DATE, earlier.study_date),
        uid("HAS OBS CONTEXT", codes.STUDY_INSTANCE_UID, earlier.study_instance_uid),
    ]
    about = [
        text("HAS OBS CONTEXT", codes.TRACKING_IDENTIFIER, finding.label),
        uid("HAS OBS CONTEXT", codes.TRACKING_UID, tracked.uid),
    ]
    percent = (
        []
        if change.percent is None
        else [number("HAS PROPERTIES", codes.CHANGE_PERCENT, change.percent, codes.PERCENT)]
    )
    derived = number("CONTAINS", codes.CHANGE, change.difference, change.unit)
    derived.ContentSequence = [*about, *percent, today, before]
    return derived
