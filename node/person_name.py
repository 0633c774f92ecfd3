"""Text that a person types: whole characters, and names that a DICOM object can hold."""

from __future__ import annotations

import unicodedata

#: PS3.5 6.2 (PN): alphabetic, ideographic, phonetic; family, given, middle, prefix, suffix.
_MOST_GROUPS = 3
_MOST_COMPONENTS = 5
#: The standard allows it for each group; our row holds as much for the whole name.
_LONGEST = 64
#: Control, format and bidi characters, lone surrogates, private and unknown ones, line ends.
_NOT_SHOWN = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})


def is_whole(text: str) -> bool:
    r"""Return whether text can be written at all: no half of a character stands alone in it.

    JSON can name such a half, and a command line that is not UTF-8 becomes one.

    Examples
    --------
    >>> is_whole("Müller"), is_whole("\ud800"), is_whole("M\udcfcller")
    (True, False, False)
    """
    return not any(unicodedata.category(one) == "Cs" for one in text)


def why_no_person_name(name: str) -> str:
    r"""Return what is wrong with a person's name, in words; "" if nothing is.

    Examples
    --------
    >>> why_no_person_name("Müller^Anna"), why_no_person_name("Yamada^Tarou=山田^太郎")
    ('', '')
    >>> why_no_person_name("a^b^c^d^e^f")
    'it has more than 5 parts between ^'
    """
    groups = name.split("=")
    if len(name) > _LONGEST:
        return f"it is longer than {_LONGEST} characters"
    if any(unicodedata.category(one) in _NOT_SHOWN for one in name):
        return "it holds characters that nobody sees (control, format or direction of text)"
    if "\\" in name:
        return "it holds a backslash, which parts several names"
    if not any(one.isalnum() for one in name):
        return "it has no letter"
    if len(groups) > _MOST_GROUPS:
        return f"it has more than {_MOST_GROUPS} ways of writing between ="
    if any(group.count("^") >= _MOST_COMPONENTS for group in groups):
        return f"it has more than {_MOST_COMPONENTS} parts between ^"
    return ""
