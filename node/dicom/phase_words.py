"""Which contrast phase a text names: listed words of several languages, never a part of a word.

A text that names two phases, denies one, or puts a phase beside words that change it names none.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import product

from node.manifest import PHASES
from node.settings import PLAIN_PHASES, PhaseSettings

#: Letters or digits that stand together: "PV70s" is pv, 70, s. What could not be decoded counts
#: as a letter: it must not cut a word into two.
_TOKEN = re.compile(r"\d+|(?:[^\W\d_]|\ufffd)+")
#: The point inside "i.v." and "m.d.c."
_POINT = re.compile(r"(?<![^\W\d_])([^\W\d_])\.(?=[^\W\d_](?![^\W\d_]))")
#: What people glue before a word for contrast medium: "ohneKM", "postGd".
_BEFORE_MEDIUM = """
no non not without wo pre vor fore før voor avant ante antes ohne kein keine sans sin senza sem
zonder innan utan uten uden bez prima post nach apres dopo despues efter after with mit avec con
"""
#: Names of contrast media in a Series Description.
MEDIA = """
contrast contraste contrasto kontrast kontrastmittel km kmg mdc pdc gd gad gado gadolinium gadovist
gadavist dotarem prohance primovist clariscan multihance magnevist
"""
_MEDIUM = f"{MEDIA} kontrastu kontrastem cm civ iv inj injection injektion"
_GLUED = re.compile(f"({'|'.join(_BEFORE_MEDIUM.split())})({'|'.join(_MEDIUM.split())})")
_WITHOUT_OR = re.compile(r"(?<![^\W_])w/o(?=[^\W\d_])", re.IGNORECASE)
#: What a term says beside the phases: something that is no phase, or more than one thing.
_NOTHING, _UNSURE = "nothing", "unsure"


def _split(words: str) -> tuple[str, ...]:
    return tuple(words.split())


_NATIVE = """
native, nativ, natives, nativa, nativo, natif, noncontrast, non contrast, no contrast, noncon,
non con, ncct, unenhanced, non enhanced, nonenhanced, precontrast, pre contrast, without contrast,
without iv contrast, without iv, w o contrast, w o iv contrast, w o iv, wo contrast,
wo iv contrast, wo iv, plain,
ohne km, ohne iv km, ohne kontrast, ohne kontrastmittel, kein km, kein kontrastmittel, vor km,
vor kontrast, vor kontrastmittel,
sans injection, sans contraste, sans produit de contraste, sans pdc, sans iv, avant injection,
avant contraste, non injecte, non injectee,
sin contraste, sin contraste iv, sin civ, sem contraste,
senza mdc, senza mezzo di contrasto, senza contrasto, senza contrasto iv,
zonder contrast, blanco, utan kontrast, uten kontrast, uden kontrast, bez kontrastu,
без контраста, нативная, 平扫, 単純
"""
_ARTERIAL = """
art, arterial, hap, arteriell, arterielle, arteriellen, arterieller, arterielles,
arteriel, arterieel, arteriele, arteriosa, arterioso, arteriale, arteriales,
tetnicza, артериальная, 动脉期, 動脈相
"""
_PORTAL = """
pv, pvp, portal, venous, portalvenous, portovenous,
portalvenos, portalvenose, portalvenosen, portalvenoser, portovenos, portovenose, portvenos,
portvenose, portalvenoes, portalvenoese, portovenoes, portvenoes, portven, portalven,
venos, venose, venosen, venoser, venoes, venoese, ven,
veineux, veineuse, veineuses, venosa, venoso, venosas, portovenosa, portovenoso, portalvenosa,
portale, portales, portaal, veneus, veneuze, портальная, венозная,
门脉期, 门静脉期, 静脉期, 門脈相
"""
_DELAYED = """
delayed, late phase, spat, spatphase, spate phase, spaet, spaetphase, spaete phase,
tardif, tardive, tardiva, tardivo, tardia, tardio, retardada,
equil, equilibrium, equilibre, equilibrio, equilibration, aquilibrium, aequilibrium,
gleichgewicht, gleichgewichtsphase,
excretory, excretoire, excretora, escretoria, urographic, exkretorisch, ausscheidungsphase,
urogramm, отсроченная, 延迟期, 平衡期, 平衡相
"""
#: Places, illnesses, times between two phases, and phrases that name two things.
_NO_PHASE = """
portal vein, portal veins, portal hypertension, portal inflow, portal venous inflow,
portalvenous inflow, pulmonary arterial, pulmonary art, pulmonal arteriell, pulmonary venous,
pulmonal venos, with and without, with and w o, with without, w and w o, w wo, w w o, w and wo,
mit und ohne, avec et sans, avec ou sans, con y sin, con e senza, com e sem, met en zonder
"""
#: Beside a phase they make another time of it. The later ones may also stand for a phase.
_EARLY = _split(
    "early fruh fruhe fruher frueh fruehe frueher precoce precoz temprana temprano vroege"
)
_LATE = _split("late spate spater spaete spaeter")
_AFTER = _split("delayed spat spaet tardif tardive tardiva tardivo tardia tardio")
#: They say that there was contrast medium, or may have been: "native" beside one of them may be
#: the half of what was done.
_ENHANCED = frozenset(
    _split(
        """with w mit avec con com met med post after nach apres dopo despues contrast contraste
    contrasto kontrast kontrastmittel km mdc pdc iv injection enhanced"""
    )
)
_NOT = frozenset(
    _split(
        """no non not none without wo nicht ohne kein keine keinen pas sans sin senza sem zonder
    utan uten uden bez без"""
    )
)
#: Right before a phase they turn it into another time.
_BESIDE = frozenset(
    _split(
        """pre post before after pra prae vor nach avant apres prima dopo antes despues
    inter"""
    )
)

#: Tokens of a term → a phase of `PHASES`, `_NOTHING` or `_UNSURE`.
Terms = Mapping[tuple[str, ...], str]


@dataclass(frozen=True, kw_only=True)
class Said:
    """What a text says of the phase."""

    #: Each phase that it has words for, in the order of `PHASES`; () where one is denied.
    phases: tuple[str, ...] = ()
    #: Terms that were found, as they stand in our lists: never the text itself.
    words: tuple[str, ...] = ()

    @property
    def phase(self) -> str:
        """Return the phase, "" if it names none or several."""
        return self.phases[0] if len(self.phases) == 1 else ""


def read_words(text: str, settings: PhaseSettings = PLAIN_PHASES) -> Said:
    """Return which phase a text names.

    Parameters
    ----------
    text : str
        Series Description, Protocol Name or Image Comments.
    settings : PhaseSettings
        The site's own words; they go before ours.

    Examples
    --------
    >>> read_words("Leber ART 1.0 B30f").phase, read_words("Abd portalvenös 3mm").phase
    ('arterial', 'portal_venous')
    >>> read_words("Abdomen NON-CONTRAST").phase, read_words("PARTIAL HEART").phase
    ('non_contrast', '')
    >>> read_words("Leber art/pv").phases, read_words("Leber art/pv").phase
    (('arterial', 'portal_venous'), '')
    """
    terms = terms_of(settings)
    found: list[tuple[str, tuple[str, ...]]] = []
    rest: list[str] = []
    before, turned = "", False
    for kind, tokens in _matches(words_of(text), terms, _longest(settings)):
        if kind:
            found.append((kind, tokens))
            turned |= kind != _NOTHING and before in _BESIDE
        else:
            rest += tokens
        before = tokens[-1]
    kinds = {kind for kind, _ in found} - {_NOTHING}
    phases = tuple(phase for phase in PHASES if phase in kinds)
    unsure = turned or _UNSURE in kinds or bool(_NOT & set(rest))
    unsure |= "non_contrast" in kinds and bool(_ENHANCED & set(rest))
    return Said(
        phases=() if unsure else phases,
        words=tuple(dict.fromkeys(" ".join(t) for kind, t in found if kind != _NOTHING)),
    )


def tokens_of(text: str) -> tuple[str, ...]:
    """Return the words and numbers of a text, without case and accents.

    Examples
    --------
    >>> tokens_of("Früh-ARTÉRIEL_PV70s i.v.")
    ('fruh', 'arteriel', 'pv', '70', 's', 'iv')
    """
    plain = unicodedata.normalize("NFKD", text.casefold())
    kept = "".join(one for one in plain if not unicodedata.combining(one))
    return tuple(_TOKEN.findall(_POINT.sub(r"\1", kept)))


def words_of(text: str) -> tuple[str, ...]:
    """Return the words of a text, those apart that are glued to a word for contrast medium.

    Examples
    --------
    >>> words_of("T1 ohneKM"), words_of("w/oGd")
    (('t', '1', 'ohne', 'km'), ('w', 'o', 'gd'))
    """
    found: list[str] = []
    for word in tokens_of(_WITHOUT_OR.sub("w/o ", text)):
        glued = _GLUED.fullmatch(word)
        found += glued.groups() if glued else (word,)
    return tuple(found)


@lru_cache(maxsize=64)
def terms_of(settings: PhaseSettings) -> Terms:
    """Return every term, a site's own ones in place of ours."""
    terms: dict[tuple[str, ...], str] = dict(_OURS)
    for phase in PHASES:
        terms |= dict.fromkeys(map(tokens_of, getattr(settings, phase)), phase)
    return terms | dict.fromkeys(map(tokens_of, settings.ignore), _NOTHING)


@lru_cache(maxsize=64)
def _longest(settings: PhaseSettings) -> int:
    return max(map(len, terms_of(settings)))


def _matches(
    tokens: tuple[str, ...], terms: Terms, longest: int
) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield (kind, its tokens) from left to right, the longest term first; "" for other words."""
    at = 0
    while at < len(tokens):
        lengths = range(min(longest, len(tokens) - at), 0, -1)
        size = next((n for n in lengths if tokens[at : at + n] in terms), 0)
        some = tokens[at : at + max(size, 1)]
        yield (terms[some] if size else "", some)
        at += len(some)


def _listed(words: str) -> tuple[tuple[str, ...], ...]:
    return tuple(tokens_of(one) for one in words.replace("\n", " ").split(",") if one.strip())


def _pairs(
    some: Iterable[tuple[str, ...]], others: Iterable[tuple[str, ...]]
) -> Iterator[tuple[str, ...]]:
    return (one + other for one, other in product(some, others))


def _terms() -> Terms:
    lists = dict(zip(PHASES, map(_listed, (_NATIVE, _ARTERIAL, _PORTAL, _DELAYED)), strict=True))
    terms: dict[tuple[str, ...], str] = {}
    for phase, words in lists.items():
        terms |= dict.fromkeys(words, phase)
        terms |= {(f"{word[0]}phase",): phase for word in words if len(word) == 1}
    arterial, portal = lists["arterial"], lists["portal_venous"]
    early, late, after = (tuple((word,) for word in one) for one in (_EARLY, _LATE, _AFTER))
    # "Late arterial" is arterial. "Arterial late" may be two phases, and "late venous" is portal
    # venous to some and delayed to others.
    unsure = (
        *_pairs(arterial, (*late, *after)),
        *_pairs(after, arterial),
        *_pairs(portal, (*early, *late)),
        *_pairs((*early, *late), portal),
        *_pairs(early, lists["delayed"]),
    )
    terms |= dict.fromkeys(_pairs((*early, *late), arterial), "arterial")
    terms |= dict.fromkeys(_pairs(arterial, early), "arterial")
    ends = product(("spat", "spaet", "fruh", "frueh"), ("", "e", "en", "er", "es"))
    terms |= {(f"{start}arteriell{end}",): "arterial" for start, end in ends}
    return terms | dict.fromkeys((*unsure, *_listed(_NO_PHASE)), _UNSURE)


_OURS: Terms = _terms()
