"""Clinical values as a job uses them, each with where it came from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

#: A number in the manifest's unit, a choice's name, or a flag.
Value = float | int | str | bool

#: Sources, the first decides (docs/rules-and-settings.md, "Clinical values").
PERSON: Final = "person"
REPORT: Final = "report"
ATTRIBUTE: Final = "attribute"


@dataclass(frozen=True, kw_only=True)
class ClinicalValue:
    """What a job knows of one clinical value that its plugin can use."""

    name: str
    #: In the manifest's unit; None: not used, and `why_not` says why.
    value: Value | None
    #: UCUM; "" for words and flags.
    unit: str = ""
    #: ``person``, ``report`` or ``attribute``.
    source: str
    #: As it was given: ``2.1 cm``.
    given: str
    #: Who entered it, who wrote the report, or the attribute's keyword.
    by: str = ""
    #: When it was entered; None where the source is no entry.
    at: float | None = None
    #: Date and time of the report, DICOM's digits.
    dated: str = ""
    #: The report that it was read from.
    sop_class_uid: str = ""
    sop_instance_uid: str = ""
    series_instance_uid: str = ""
    #: Code and sentence: why it is not used.
    why_not: str = ""
    #: What other sources say differently, in words.
    against: tuple[str, ...] = ()

    @property
    def used(self) -> bool:
        """Return whether the plugin gets it."""
        return self.value is not None


def source_words(value: ClinicalValue) -> str:
    """Return where a value comes from, for people."""
    if value.source == PERSON:
        return f"entered by {value.by}"
    if value.source == ATTRIBUTE:
        return f"attribute {value.by}"
    day = value.dated[:8]
    dated = f" of {day[:4]}-{day[4:6]}-{day[6:]}" if len(day) == 8 else ""
    return f"report{dated}{f' by {value.by}' if value.by else ''}"


def value_words(value: ClinicalValue) -> str:
    """Return a value that is used with its unit, for people.

    Examples
    --------
    >>> value_words(ClinicalValue(name="n", value=21.0, unit="mm", source=PERSON, given="2.1 cm"))
    '21 mm'
    """
    if isinstance(value.value, bool):
        return "yes" if value.value else "no"
    shown = f"{value.value:.12g}" if isinstance(value.value, float) else str(value.value)
    return f"{shown} {value.unit}" if value.unit not in ("", "1") else shown
