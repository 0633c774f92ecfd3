"""DICOM keywords (PS3.6) as the settings and manifests may name them."""

from __future__ import annotations

import re
from functools import cache

from pydicom._dicom_dict import DicomDictionary  # the public functions cannot list it
from pydicom.datadict import dictionary_VM, dictionary_VR, tag_for_keyword

from node.toml_file import nearest

#: Value representations that no plugin needs, and that name people, places or objects.
_NOT_FOR_PLUGINS = frozenset({"PN", "UI", "SQ", "UN", "OB", "OW", "LT", "ST", "UT", "DA", "DT"})
_IDENTITY = re.compile(
    r"PatientID|OtherPatientIDs|IssuerOf|Accession|StudyID|Address|Telephone|Institution|"
    r"StationName|SerialNumber|Residence|Insurance|MilitaryRank|Religio|AdmissionID|Description$"
)


#: Value representations of numbers.
NUMERIC_VRS = frozenset({"DS", "IS", "US", "SS", "UL", "SL", "FL", "FD"})


@cache
def known_keywords() -> frozenset[str]:
    """Return every keyword of PS3.6."""
    return frozenset(entry[4] for entry in DicomDictionary.values() if entry[4])


def vr_of(keyword: str) -> str:
    """Return the value representation, "" if there is no such keyword.

    Examples
    --------
    >>> vr_of("SliceThickness"), vr_of("SliceThicknes")
    ('DS', '')
    """
    tag = tag_for_keyword(keyword)
    return "" if tag is None else dictionary_VR(tag)


def why_no_number(keyword: str) -> str:
    """Return why a keyword does not name one number of a header, "" if it does.

    Examples
    --------
    >>> why_no_number("EchoTime"), why_no_number("Modality")
    ('', 'Modality holds no number')
    """
    if fault := why_no_attribute(keyword):
        return fault
    if vr_of(keyword) not in NUMERIC_VRS:
        return f"{keyword} holds no number"
    return f"{keyword} may hold several numbers" if is_multi_valued(keyword) else ""


def is_multi_valued(keyword: str) -> bool:
    """Return whether the attribute may hold several values (PS3.6 value multiplicity)."""
    tag = tag_for_keyword(keyword)
    return tag is not None and dictionary_VM(tag) != "1"


def why_no_attribute(keyword: str) -> str:
    """Return why a plugin cannot have this attribute, "" if it can."""
    vr = vr_of(keyword)
    if not vr:
        return f"{keyword} is not a DICOM keyword{nearest(keyword, known_keywords())}"
    if _IDENTITY.search(keyword) or vr in _NOT_FOR_PLUGINS:
        return f"{keyword} could identify a person; a plugin gets no identity"
    return ""
