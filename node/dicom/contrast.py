"""Whether contrast medium was given, by what a header says: yes, no, or two things at once.

People write denials into Contrast/Bolus Agent, and scanners copy an agent into the series before
the injection. A text that denies and names, an agent of which nothing was given, or an agent in a
series that is described as one without, says neither yes nor no.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import pairwise

from node.dicom.phase_words import MEDIA, read_words, tokens_of, words_of
from node.dicom.values import Lookup, number, text

#: Words that deny, and those of a time before the injection.
_DENIALS = frozenset(
    tokens_of(
        """no non none not nil nothing without wo native nativ nativa nativo natif plain
    unenhanced nonenhanced noncontrast noncon pre precontrast pregad before vor
    avant antes ante prima prae fore før foran innan voor
    ohne kein keine keinen keines nicht sans sin senza sem zonder geen utan uten uden bez без"""
    )
)
#: Pairs that say "without contrast medium": "o. KM" is "ohne Kontrastmittel".
_NONE_PAIRS = frozenset(
    {
        *(("o", word) for word in ("km", "kl", "cm", "kontrast", "kontrastmittel")),
        *((word, "frei") for word in ("km", "kontrast", "kontrastmittel")),
        ("contrast", "free"),
    }
)
#: Two words that deny, as w/o and n/a are read.
_DENYING_PAIRS = _NONE_PAIRS | {("w", "o"), ("n", "a")}
#: Between a word that denies and what it denies: "antes de contraste".
_ARTICLES = frozenset(
    tokens_of("de do del della dello di du da des der den dem the la el il lo l any iv ev")
)
#: Words beside a denial that name no agent.
_NAMELESS = frozenset(
    tokens_of(
        """contrast contrasto contraste kontrast kontrastmittel km kmg mdc pdc civ medium media
    agent mittel enhanced enhancement enhancing bolus injection injected given applied administered
    used gegeben gad gado gadolinium gd gbca iodine iv intravenous dye study series scan image phase
    ml cc"""
    )
)
#: Whole texts that deny where the same word elsewhere would not.
_WHOLE = frozenset({("n",), ("na",), ("nan",), ("nc",)})
#: After "non" they name a kind of agent; after "no" a way that it did not take.
_IONIC = frozenset(tokens_of("ionic ionisch ionique ionico ionica"))
_OTHER_WAYS = frozenset(tokens_of("oral rectal po"))
#: What stands for contrast medium beside a sign, and the signs: "-C", "C-", "s/c", "+C", "C+".
_MEDIUM = r"(?:c|ce|cm|km|gd|gad|gado)"
_WITHOUT = re.compile(
    rf"(?:^|[\s_(\[,;])(?:[-\u2212\u2013]\s?{_MEDIUM}|{_MEDIUM}[-\u2212\u2013]"
    rf"|s/\s?(?:{_MEDIUM}|contrast\w*|mdc|mc|gadol\w*))(?=$|[\s_)\],;])"
)
_WITH = re.compile(rf"\+\s?{_MEDIUM}(?![a-z0-9])|(?<![a-z0-9]){_MEDIUM}\+")
_MEDIA = frozenset(tokens_of(MEDIA))
#: What else a word that denies may stand before, where no name of a medium follows.
_DENIED = _MEDIA | frozenset(
    tokens_of(
        """c ce cm kl enhanced enhancement inj injection injektion iniezione inyeccion injecao
    kontrastu kontrastem contrasted"""
    )
)
#: Words that by themselves say that a series is of before or without contrast medium.
_NONE = frozenset(
    tokens_of(
        """precon precontr precontrast pregd pregad pregado preinj preinjection noncon nonc nongd
    nongad noncontrast nonenhanced unenhanced unenh nce nc smdc nat kontrastfrei"""
    )
)
#: Words of a series after the injection; "T1c" is T1 with contrast medium.
_AFTER = _MEDIA | frozenset(tokens_of("enhanced ce"))
_LATER = frozenset(tokens_of("post nach apres dopo despues efter"))
#: What a series may be after that is no injection: "post OP".
_EVENTS = frozenset(
    tokens_of(
        """op operation operative operativ surgery surgical surg rt rtx xrt crt chemo chemotherapy
    radiotherapy radiation radiatio therapy therapie tx treatment biopsy bx resection"""
    )
)
_T1C = re.compile(r"(?<![a-z0-9])t1(?:w)?[-_ ]?(?:c|ce|gd)(?![a-z0-9])")
#: Millilitres; of each it is said how much was given.
_AMOUNTS = ("ContrastBolusVolume", "ContrastBolusTotalDose")


@dataclass(frozen=True, kw_only=True)
class Contrast:
    """What a header says of contrast medium."""

    #: None: it says two things that do not go together.
    given: bool | None
    #: Why, without the text of the header (S28).
    sentence: str


def contrast_of(look: Lookup) -> Contrast:
    """Return whether contrast medium was given."""
    named, denied = read_agent(text(look("ContrastBolusAgent")))
    coded = bool(look("ContrastBolusAgentSequence"))
    if denied and (named or coded):
        return Contrast(
            given=None, sentence="the header names a contrast agent and denies that one was given"
        )
    if denied:
        return Contrast(given=False, sentence="Contrast/Bolus Agent denies that one was given")
    if not named and not coded:
        return Contrast(given=False, sentence="contrast agent is not named")
    if any(number(look(amount)) == 0 for amount in _AMOUNTS):
        return Contrast(given=None, sentence="a contrast agent is named, and the amount given is 0")
    if describes_none(text(look("SeriesDescription"))):
        return Contrast(
            given=None,
            sentence="a contrast agent is named, and the Series Description says without one",
        )
    return Contrast(given=True, sentence="contrast agent is named")


def describes_none(description: str) -> bool:
    """Return whether a Series Description says that it is of before or without contrast medium.

    Examples
    --------
    >>> [describes_none(one) for one in ("T1 tra -C", "T1 s/c", "T1 sin contraste", "T1 pre Gd")]
    [True, True, True, True]
    >>> [describes_none(one) for one in ("T1 w/o Gd", "T1 ohne Gd", "T1 vor KM")]
    [True, True, True]
    >>> [describes_none(one) for one in ("T1 s/ contraste", "T1 non-CE", "T1 PRECON")]
    [True, True, True]
    >>> [describes_none(one) for one in ("T1 ohneKM", "T1_tra_vorGd", "T1 postKM", "")]
    [True, True, False, False]
    >>> [describes_none(one) for one in ("T1 tra +C", "T1-C", "T1 pre OP", "native and post KM")]
    [False, False, False, False]
    """
    if _WITHOUT.search(description.casefold()):
        return True
    said = read_words(description)
    if said.phases:
        return said.phase == "non_contrast"
    words = tuple(word for word in words_of(description) if word not in _ARTICLES)
    if _NONE_PAIRS & set(pairwise(words)):
        return True
    denied = _denials(words)
    # "Pre" alone may be of an operation: what is denied must be named.
    return bool(_NONE & set(words)) or any(
        word in _DENIED and at - 1 in denied for at, word in enumerate(words)
    )


def describes_some(description: str) -> bool:
    """Return whether a Series Description names contrast medium as given.

    Examples
    --------
    >>> [describes_some(one) for one in ("T1 +C", "T1 post Gd", "T1CE", "T1 TSE", "T1 -C")]
    [True, True, True, False, False]
    >>> describes_some("T1 FS post"), describes_some("T1 post OP")
    (True, False)
    """
    low, words = description.casefold(), words_of(description)
    named = _WITH.search(low) or _T1C.search(low) or _AFTER & set(words)
    later = any(
        word in _LATER and following not in _EVENTS
        # A description may hold no word at all.
        for word, following in pairwise((*words, ""))
    )
    return bool(named or later) and not describes_none(description)


def read_agent(said: str) -> tuple[bool, bool]:
    """Return whether a text names an agent, and whether it denies one.

    Examples
    --------
    >>> read_agent("GADAVIST 7.5 ML"), read_agent("W/O"), read_agent("")
    ((True, False), (False, True), (False, False))
    >>> read_agent("no Gadovist"), read_agent("OPTIRAY 320 NON-IONIC")
    ((True, True), (True, False))
    """
    words = _without_harmless(words_of(said))
    if words in _WHOLE:
        return False, True
    denials = _denials(words)
    if not denials:
        return bool(words), False
    rest = {word for at, word in enumerate(words) if at not in denials}
    return any(word not in _NAMELESS and not word.isdigit() for word in rest), True


def _denials(words: tuple[str, ...]) -> set[int]:
    """Return the places of words that deny: of a number too, where none is above 0."""
    found = {at for at, word in enumerate(words) if word in _DENIALS}
    for at, pair in enumerate(pairwise(words)):
        if pair in _DENYING_PAIRS:
            found |= {at, at + 1}
    # What is left of a number without its zeros; one of thousands of digits is no int.
    numbers = {at: word.strip("0") for at, word in enumerate(words) if word.isdecimal()}
    return found if any(numbers.values()) else found | set(numbers)


def _without_harmless(words: tuple[str, ...]) -> tuple[str, ...]:
    """Return the words without the "non" of "non ionic", and without "no oral" beside others."""
    kept: list[str] = []
    for word in words:
        before = kept[-1] if kept else ""
        if before == "non" and word in _IONIC:
            kept[-1] = word
        elif before == "no" and word in _OTHER_WAYS and len(kept) > 1:
            kept.pop()
        else:
            kept.append(word)
    return tuple(kept)
