"""Small pieces of data sets that SEG and SR share: copies, colours, numbers, coding schemes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from highdicom.color import CIELabColor
from pydicom import DataElement, Dataset
from pydicom.config import IGNORE
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.sequence import Sequence as ItemSequence
from pydicom.valuerep import PersonName, format_number_as_ds

from node.dicom.codes import PRIVATE_SCHEME, STANDARD_SCHEMES
from node.results.writing import Author

#: The element that is long and holds codes of ours only.
_PER_FRAME = "PerFrameFunctionalGroupsSequence"


def copy_elements(source: Dataset, target: Dataset, keywords: Iterable[str]) -> None:
    """Copy elements as they are, sequences without private parts; absent ones stay absent.

    Values are not validated: what the source says is copied, right or wrong (S5).
    """
    for keyword in keywords:
        if keyword in source:
            target.add(_plain_element(source[keyword]))


def plain_copy(source: Dataset) -> Dataset:
    """Return a copy without private and group length elements, detached from its file."""
    copy = Dataset()
    for element in source:
        if not element.tag.is_private and element.tag.element != 0:
            copy.add(_plain_element(element))
    return copy


def _plain_element(element: DataElement) -> DataElement:
    value = element.value
    if element.VR == "SQ":
        value = ItemSequence([plain_copy(item) for item in value])
    elif element.VR == "PN":
        # From the decoded text: a PersonName carries the bytes of its old character set.
        several = not isinstance(value, str | PersonName) and value is not None
        names = list(value) if several else [value or ""]
        value = [PersonName(str(name)) for name in names] if several else PersonName(str(names[0]))
    return DataElement(element.tag, element.VR, value, validation_mode=IGNORE)


def set_empty(target: Dataset, keywords: Iterable[str]) -> None:
    """Add type 2 elements that are absent, without a value."""
    for keyword in keywords:
        if keyword not in target:
            tag, vr = tag_for_keyword(keyword), dictionary_VR(keyword)
            assert tag is not None
            target.add(DataElement(tag, vr, [] if vr == "SQ" else None, validation_mode=IGNORE))


def decimal(value: float) -> str:
    """Return a number as a Decimal String of at most 16 characters (PS3.5 6.2).

    Examples
    --------
    >>> decimal(-123.456789012345678)
    '-123.45678901235'
    >>> decimal(2.0)
    '2.0'
    """
    return format_number_as_ds(float(value))


def decimals(values: Sequence[float]) -> list[str]:
    """Return numbers as Decimal Strings."""
    return [decimal(value) for value in values]


def short(text: str, length: int = 64) -> str:
    r"""Return `text` cut to what a value representation holds (LO: 64), without backslashes.

    The standard counts characters (PS3.5 6.2), dciodvfy and some archives count bytes: cut so
    that UTF-8 holds it either way.

    Examples
    --------
    >>> short("a\\b", 8), short("x" * 20, 8), short("é" * 20, 8)
    ('a/b', 'xxxxx…', 'éé…')
    """
    clean = " ".join(text.replace("\\", "/").split())
    whole = clean.encode()
    if len(whole) <= length:
        return clean
    return whole[: length - len("…".encode())].decode(errors="ignore") + "…"


def cielab(rgb: tuple[int, int, int]) -> list[int]:
    """Return sRGB (0-255 each) as Recommended Display CIELab Value (PS3.3 C.10.7.1.1).

    Examples
    --------
    >>> cielab((255, 255, 255))[0]
    65535
    """
    return [int(value) for value in CIELabColor.from_rgb(*rgb).value]


def add_coding_schemes(ds: Dataset, source: Dataset, manifest: Author) -> None:
    """Identify the coding schemes in `ds` that PS3.16 does not list (S26).

    Ours is described here, a plugin's by its manufacturer; the source's description of others
    is copied, where it has one.
    """
    used = {scheme for scheme in _schemes(ds) if scheme and scheme not in STANDARD_SCHEMES}
    if not used:
        return
    known = {
        str(item.get("CodingSchemeDesignator")): plain_copy(item)
        for item in source.get("CodingSchemeIdentificationSequence") or ()
    }
    ds.CodingSchemeIdentificationSequence = [
        known.get(scheme) or _scheme_item(scheme, manifest) for scheme in sorted(used)
    ]


def _scheme_item(scheme: str, manifest: Author) -> Dataset:
    item = Dataset()
    item.CodingSchemeDesignator = scheme
    if scheme in manifest.private_schemes:
        item.CodingSchemeName = short(f"Private codes of {manifest.title}")
        item.CodingSchemeResponsibleOrganization = manifest.manufacturer
    if scheme == PRIVATE_SCHEME:
        item.CodingSchemeName = "Sentinel Node private codes"
        item.CodingSchemeResponsibleOrganization = "Sentinel Node"
    return item


def _schemes(ds: Dataset) -> Iterator[str]:
    for element in ds:
        if element.keyword == "CodingSchemeDesignator":
            yield str(element.value)
        elif element.VR == "SQ" and element.keyword != _PER_FRAME:
            for item in element.value:
                yield from _schemes(item)
