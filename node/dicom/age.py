"""A patient's age at the study, the one way for guards, rules and plugins."""

from __future__ import annotations

import re
from datetime import date

from pydicom import Dataset

from node.dicom.values import lookup_in, text

_DAYS_PER_YEAR = 365.25
_YEARS = {"Y": 1.0, "M": 1 / 12, "W": 7 / _DAYS_PER_YEAR, "D": 1 / _DAYS_PER_YEAR}


def age_in_years(value: str) -> float | None:
    """Return an Age String (PS3.5 6.2, AS) in years; None if it is none.

    Examples
    --------
    >>> age_in_years("045Y"), age_in_years("018M"), age_in_years("45")
    (45.0, 1.5, None)
    """
    if not re.fullmatch(r"\d{1,3}[YMWD]", value, re.ASCII):
        return None
    return int(value[:-1]) * _YEARS[value[-1]]


def patient_age_years(header: Dataset) -> float | None:
    """Return Patient's Age in years, else from birth and study date, else None.

    Examples
    --------
    >>> ds = Dataset()
    >>> ds.PatientAge = "006M"
    >>> patient_age_years(ds)
    0.5
    """
    look = lookup_in(header)
    said = age_in_years(text(look("PatientAge")).upper())
    birth, taken = date_of(look("PatientBirthDate")), date_of(look("StudyDate"))
    if said is not None or birth is None or taken is None or taken < birth:
        return said
    return round((taken - birth).days / _DAYS_PER_YEAR, 2)


def date_of(value: object) -> date | None:
    """Return a DA value (PS3.5 6.2; the old form with points too) as a date; None if it is none.

    Examples
    --------
    >>> date_of("20240229").isoformat(), date_of("2024.02.29").isoformat(), date_of("202402")
    ('2024-02-29', '2024-02-29', None)
    """
    digits = text(value).replace(".", "")
    try:
        return date.fromisoformat(digits) if len(digits) == 8 else None
    except ValueError:
        return None
