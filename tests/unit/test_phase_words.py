"""Which contrast phase a text names: listed words only, and never a guess."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.dicom.phase_words import read_words, terms_of
from node.manifest import PHASES
from node.settings import PLAIN_PHASES, PhaseSettings

NAMED = {
    "arterial": """
        ART|Leber ART 1.0 B30f|5.0 ARTERIAL|Abdomen arterielle Phase|ArtPhase|Art.-Phase_30s
        arteriell_2.0|late arterial|Early arterial phase|spätarteriell|Späte arterielle Phase
        frühe arterielle Phase|HAP 1.25|hepatic arterial phase|temps artériel|Artériel précoce
        fase arterial|fase arteriosa|Addome fase arteriosa precoce|LIVER-ART-1.5
        动脉期 1.0|動脈相|post contrast arterial|arteriële fase|ARTERIAL PHASE  W/C 30s""",
    "portal_venous": """
        PV|PVP 3mm|PV70s|portal venous|Portal-Venous|portalvenös|Leber portalvenöse Phase
        port.-ven.|VEN|Abd ven 5.0|VenPhase|venöse Phase|venous phase|temps portal
        temps veineux portal|fase portal venosa|fase venosa portale|fase portale|portovenös
        portalvenoes|门脉期|静脉期|portaalveneus portaal""",
    "non_contrast": """
        NATIV|Leber nativ 5.0|native|NON-CONTRAST|non contrast|Noncontrast|no contrast
        unenhanced|w/o contrast|WITHOUT CONTRAST|CT ABD W/O IV CONTRAST|plain|pre-contrast
        ohne KM|Abdomen ohne i.v. KM|nativ vor KM|sans injection|Abdo SANS IV|avant injection
        sin contraste|senza mdc|Addome senza m.d.c|zonder contrast|平扫""",
    "delayed": """
        delayed|DELAYED 5min|late phase|Spätphase|Leber spät|Spaetphase|temps tardif
        fase tardiva|fase tardía|equilibrium|phase à l'équilibre|Gleichgewichtsphase
        equilibrium phase 180s|EQUIL 3 MIN|excretory phase|延迟期|平衡期""",
}
UNNAMED = """
    |TEST SERIES|PARTIAL HEART|cartilage|Arthro|departs|Thorax-Abdomen|venography|Adventure
    Leber art/pv|ART+PV|nativ art pv spät|triphasic|multiphase|C+|CE|10s
    with and without contrast|mit und ohne KM|w/wo|W & W/O|avec et sans injection
    con e senza mdc|nativ + KM|native and post contrast|with contrast|con MDC|KM i.v.
    non-arterial|no arterial phase|ohne arterielle Phase|sans temps artériel|not venous
    pre arterial|post ART|prä-arteriell|art. tardive|Liver arterial + delayed|late venous
    spätvenös|frühvenös|early portal venous|venous late|portal vein thrombosis|CT portal vein
    portal inflow|pulmonary arterial|pulmonary art 1.0|portal hypertension|artven|arterial-late
"""


def listed(text: str) -> list[str]:
    return [one.strip() for line in text.splitlines() for one in line.split("|")]


@pytest.mark.parametrize(
    ("phase", "text"), [(p, t) for p, many in NAMED.items() for t in listed(many) if t]
)
def test_a_text_with_the_words_of_one_phase_names_it(phase: str, text: str):
    assert read_words(text).phase == phase


@pytest.mark.parametrize("text", listed(UNNAMED))
def test_s18_a_text_that_does_not_name_one_phase_for_sure_names_none(text: str):
    assert read_words(text).phase == ""


def test_a_text_with_two_phases_tells_both_in_their_order():
    assert read_words("Leber pv und art").phases == ("arterial", "portal_venous")


OURS = sorted((" ".join(term), kind) for term, kind in terms_of(PLAIN_PHASES).items())
SINGLE = [(term, kind) for term, kind in OURS if " " not in term and kind in PHASES]
LETTERS = "abcdefghijklmnopqrstuvwxyzäöüéèñ"


@given(
    term=st.sampled_from(SINGLE),
    before=st.text(LETTERS, max_size=4),
    after=st.text(LETTERS, max_size=4),
)
def test_s18_a_word_inside_a_longer_word_is_none(term: tuple[str, str], before: str, after: str):
    assert read_words(f"x{before}{term[0]}{after}q").words == ()


@given(
    term=st.sampled_from([one for one in OURS if one[1] in PHASES]),
    case=st.sampled_from([str.upper, str.lower, str.title]),
    between=st.sampled_from([" ", "_", "-", ".", ". ", " - ", "/"]),
    number=st.integers(0, 999),
)
def test_case_digits_and_signs_around_a_term_change_nothing(term, case, between: str, number: int):
    text, phase = term
    written = case(text).replace(" ", between)

    assert read_words(f"{number}{between}{written}{between}{number}").phase == phase


@given(
    one=st.sampled_from(SINGLE),
    other=st.sampled_from(SINGLE),
    between=st.sampled_from([" ", "/", "+", " und ", " & "]),
)
def test_s18_words_of_two_phases_never_name_one(one, other, between: str):
    said = read_words(f"{one[0]}{between}{other[0]}")

    assert said.phase in ("", one[1])
    assert one[1] == other[1] or said.phase == ""


@given(term=st.sampled_from(SINGLE), denial=st.sampled_from(["no", "nicht", "ohne", "not", "sans"]))
def test_s18_a_denied_phase_is_not_named(term: tuple[str, str], denial: str):
    word, phase = term
    if phase != "non_contrast":
        assert read_words(f"{denial} {word}").phase == ""
        assert read_words(f"{denial} xyz {word}").phase == ""


@given(text=st.text(max_size=64))
def test_any_text_is_read(text: str):
    said = read_words(text)

    assert said.phase in ("", *PHASES)
    known = {" ".join(term) for term in terms_of(PLAIN_PHASES)}
    assert set(said.words) <= known


def test_what_could_not_be_decoded_does_not_cut_a_word():
    assert read_words("pr\ufffdarteriell").phase == ""
    assert read_words("art\ufffdrielle").phase == ""


def test_a_site_names_phases_in_its_own_words():
    site = PhaseSettings(arterial=("Leber 1", "LAP"), portal_venous=("Leber 2", "Küche"))

    assert read_words("LEBER_1 1.0mm", site).phase == "arterial"
    assert read_words("leber 2", site).phase == "portal_venous"
    assert read_words("KUCHE", site).phase == "portal_venous"
    assert read_words("Leber 12", site).phase == ""
    assert read_words("Leber ART", site).phase == "arterial"


def test_a_sites_word_goes_before_ours_and_ours_may_be_left_out():
    assert read_words("venous", PhaseSettings(delayed=("venous",))).phase == "delayed"
    adaptive = PhaseSettings(ignore=("ART",))
    assert read_words("ART plan pv", adaptive).phase == "portal_venous"
    assert read_words("ART plan", adaptive) == replace(read_words("plan"), words=())
