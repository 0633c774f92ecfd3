"""What stands between a matching rule and a job: identity, age, scope, release, kill switch."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from pydicom import Dataset

from node.dicom.age import date_of, patient_age_years
from node.dicom.headers import identity_of
from node.dicom.values import lookup_in, text
from node.errors import RefusalCode, Refused
from node.manifest import Limits, Manifest
from node.model import Identity, Instance
from node.settings import RuleSettings, Settings
from node.settings_check import grade_refusal

_SECONDS_PER_DAY = 86400.0
#: East of us it may be tomorrow already; a date after that is wrong and says no age.
_CLOCKS_APART_DAYS = 1


@dataclass(frozen=True, kw_only=True)
class Guard:
    """One guard that was passed, for `explain`."""

    name: str
    sentence: str


# --- S3 --------------------------------------------------------------------------------------


def check_identity(headers: Sequence[Dataset]) -> Identity:
    """Return the one patient of these headers (S3).

    Patient ID, its issuer, name and birth date are compared after decoding. Where a header
    leaves issuer, name or birth date empty, it says nothing against the others.

    Raises
    ------
    Refused
        IDENTITY_MIXED without the values; IDENTITY_MISSING if none has a Patient ID;
        SOURCE_ATTRIBUTE_UNUSABLE if text cannot be decoded.
    """
    identities = [identity_of(header) for header in headers]
    for what, values in (
        ("Patient IDs", {one.patient_id for one in identities}),
        ("issuers of the Patient ID", _stated(one.issuer_of_patient_id for one in identities)),
        ("patient names", _stated(one.patient_name for one in identities)),
        ("birth dates", _stated(one.patient_birth_date for one in identities)),
    ):
        if len(values) > 1:
            raise Refused(RefusalCode.IDENTITY_MIXED, f"{len(values)} {what} in one study")
    if not identities[0].patient_id:
        raise Refused(
            RefusalCode.IDENTITY_MISSING,
            "Patient ID is empty, so nobody could say whose result it is; fill it in at "
            "the source and send the study again",
        )
    return identities[0]


def _stated(values: Iterable[str]) -> set[str]:
    return {value for value in values if value}


# --- S15 -------------------------------------------------------------------------------------


def too_old(header: Dataset, rule: RuleSettings, *, now: float) -> str:
    """Return why a routed study waits for a back-fill command, "" if it does not (S15).

    Days are counted between dates, since the time zone of Study Date is often unknown.
    """
    if math.isinf(rule.max_age_days):
        return ""
    look = lookup_in(header)
    taken = next(
        (
            day
            for key in ("StudyDate", "SeriesDate", "AcquisitionDate")
            if (day := date_of(look(key)))
        ),
        None,
    )
    if taken is None:
        return "the study has no date, so nobody can say how old it is"
    days = (datetime.fromtimestamp(now, UTC).date() - taken).days
    if days < -_CLOCKS_APART_DAYS:
        return f"the study is dated {-days} days ahead, so nobody can say how old it is"
    if days <= rule.max_age_days:
        return ""
    return f"the study is {days} days old, the rule takes {rule.max_age_days:g}"


def released_lately(released_at: float | None, rule: RuleSettings, *, now: float) -> bool:
    """Return whether an administrator released the study, not longer ago than the rule's age."""
    if released_at is None:
        return False
    return now - released_at <= rule.max_age_days * _SECONDS_PER_DAY


def is_known(images: Iterable[Instance], judged_at: float | None) -> bool:
    """Return whether a rule had all these images before.

    What came since is a contour on images that it took when they were young: what its job waits
    for, or an edit, and no PACS that drains its queue (S15, S21).

    Parameters
    ----------
    images : iterable of Instance
        Of the study, as peers routed them.
    judged_at : float or None
        When the rule last had the study; None: never.
    """
    return judged_at is not None and all(one.received_at <= judged_at for one in images)


# --- S4, S22 ---------------------------------------------------------------------------------


def check_plugin(
    manifest: Manifest, rule: RuleSettings, settings: Settings, off: Mapping[str, str]
) -> tuple[Guard, ...]:
    """Return the guards of the plugin itself that were passed.

    Raises
    ------
    Refused
        PLUGIN_DISABLED if its kill switch is on (S22), GRADE_NOT_RELEASED by S4.
    """
    if manifest.name in off:
        why = f": {off[manifest.name]}" if off[manifest.name] else ""
        raise Refused(
            RefusalCode.PLUGIN_DISABLED, f"plugin {manifest.name} is switched off here{why}"
        )
    destinations = [settings.destination(name) for name in rule.destinations]
    refusal = grade_refusal(manifest, rule.name, destinations, settings.releases)
    if refusal:
        raise Refused(RefusalCode.GRADE_NOT_RELEASED, refusal)
    grades = ", ".join(sorted({one.grade.value for one in destinations})) or "nowhere"
    return (
        Guard(name="kill switch", sentence="the plugin is switched on"),
        Guard(name="grade", sentence=f"graded {manifest.grade}, delivers to: {grades}"),
    )


def check_patient(limits: Limits, headers: Sequence[Dataset]) -> tuple[Guard, ...]:
    """Return the guards of age and body part that were passed by every chosen series (S22).

    Raises
    ------
    Refused
        AGE_UNKNOWN, AGE_OUT_OF_RANGE or BODY_PART_OUT_OF_SCOPE.
    """
    return tuple(guard for look in (_age, _body_part) for guard in _all(look, limits, headers))


def _all(
    look: Callable[[Limits, Dataset], Guard | None], limits: Limits, headers: Sequence[Dataset]
) -> tuple[Guard, ...]:
    found = [look(limits, header) for header in headers]
    return tuple(dict.fromkeys(guard for guard in found if guard is not None))


def _age(limits: Limits, header: Dataset) -> Guard | None:
    allowed = limits.age_years
    if allowed is None:
        return None
    age = patient_age_years(header)
    scope = f"{allowed.low:g} to {allowed.high:g} years"
    if age is None:
        raise Refused(RefusalCode.AGE_UNKNOWN, f"no age is known; the plugin is for {scope}")
    if age not in allowed:
        raise Refused(
            RefusalCode.AGE_OUT_OF_RANGE, f"the patient is {age:.3g} years old; it is for {scope}"
        )
    return Guard(name="age", sentence=f"{age:.3g} years; the plugin is for {scope}")


def _body_part(limits: Limits, header: Dataset) -> Guard | None:
    if not limits.body_parts:
        return None
    part = text(lookup_in(header)("BodyPartExamined"))
    scope = ", ".join(one or "(absent)" for one in limits.body_parts)
    if part.casefold() not in {one.strip().casefold() for one in limits.body_parts}:
        raise Refused(
            RefusalCode.BODY_PART_OUT_OF_SCOPE,
            f"Body Part Examined is {part[:16] or 'absent'}; the plugin is for {scope}",
        )
    return Guard(name="body part", sentence=f"{part or 'absent'}; the plugin is for {scope}")
