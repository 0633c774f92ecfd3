"""Whether contrast medium was given: agents that count, denials, and what says both."""

import pytest
from pydicom import Dataset

from node.dicom.contrast import contrast_of, describes_none, describes_some
from node.dicom.values import lookup_in
from tests.make import made


def given(agent: object = None, **header: object) -> bool | None:
    return contrast_of(lookup_in(made(ContrastBolusAgent=agent, **header))).given


@pytest.mark.parametrize(
    "agent",
    [
        *("GADOVIST", "Dotarem", "GADAVIST 7.5 ML", "Gadolinium, synthetic", "APPLIED", "Yes"),
        *("OMNIPAQUE 350", "OPTIRAY 320 NON-IONIC", "non ionic", "nonionic", "IV, no oral"),
        *("0.1 mmol/kg Clariscan", "POST CONTRAST", "ioversol", "Ultravist & oral", "7.5 ml"),
    ],
)
def test_an_agent_that_is_named_counts(agent: str) -> None:
    assert given(agent) is True


@pytest.mark.parametrize(
    "agent",
    [
        *("", None, "-", "NONE", "No", "N", "0", "0 ML", "n/a", "NA", "WITHOUT", "NATIVE"),
        *("none given", "PRE CONTRAST", "pre-contrast", "PRE GD", "NO GAD", "W/O", "W/O CONTRAST"),
        *("NO CONTRAST", "Non-contrast", "not given", "ohne KM", "kein Kontrastmittel", "sans PDC"),
        *("No IV, no oral", "unenhanced", "ohneKM", "noGd", "keinKM", "o. KM", "KM-frei"),
    ],
)
def test_no_agent_and_a_denial_do_not_count(agent: str | None) -> None:
    assert given(agent) is False


@pytest.mark.parametrize(
    "header",
    [
        {"agent": "GADOVIST", "ContrastBolusVolume": 0},
        {"agent": "GADOVIST", "ContrastBolusTotalDose": "0.0"},
        {"agent": "GADOVIST 0 ML"},
        {"agent": "no Gadovist"},
        {"agent": "PRE AND POST GADOVIST"},
        {"agent": "W & W/O"},
        {"agent": "oral only, no IV"},
        {"agent": "NONE", "ContrastBolusAgentSequence": [Dataset()]},
    ],
    ids=str,
)
def test_what_names_and_denies_says_neither(header: dict) -> None:
    assert given(**header) is None


def test_a_coded_agent_and_an_amount_count() -> None:
    assert given(ContrastBolusAgentSequence=[Dataset()]) is True
    assert given("Dotarem", ContrastBolusVolume="15") is True


def test_no_sentence_repeats_the_text() -> None:
    for agent in ("GADOVIST FOR MILLER", "no MILLER", "none"):
        said = contrast_of(lookup_in(made(ContrastBolusAgent=agent)))
        assert "miller" not in said.sentence.casefold()


@pytest.mark.parametrize(
    "description",
    [
        *("T1 TSE tra s/ contraste", "T1 TSE s/c", "T1 TSE non-CE", "T1 TSE ante mdc", "T1 PRECON"),
        *("T1 NC", "T1 pregad", "precontr", "T1 preGd", "T1 preinjection", "T1 pre inj", "nongad"),
        *("T1 NONC", "NCE", "T1 NO-C", "smdc", "T1 unenh", "T1 avant inj", "T1 bez kontrastu"),
        *("T1 nat", "T1 senza contrasto", "T1 ohne KM", "T1 NO CE"),
        *("t1_tse_tra_ohneKM", "T1 vorGd", "T1 sansGado", "T1 semContraste", "T1 nokm"),
        *("keinKM", "primaMDC", "ohneCM", "sinCIV", "sansInj", "T1 w/oGd", "T1 preMagnevist"),
        *("T1 före kontrast", "T1 før kontrast", "T1 innan kontrast", "T1 voor contrast"),
        *("T1 antes de contraste", "T1 prima del mdc", "T1 o. KM", "T1 o.KM", "T1 KM-frei"),
    ],
)
def test_a_series_described_as_without_an_agent_is_none_whatever_its_header_names(
    description: str,
) -> None:
    assert describes_none(description) and not describes_some(description)
    assert given("Dotarem", SeriesDescription=description) is None


@pytest.mark.parametrize(
    ("description", "some"),
    [
        *(("T1 TSE c/ contraste", True), ("T1 pos contraste", True), ("T1 FS POST", True)),
        *(("T1 post Gd", True), ("T1 nach KM", True), ("T1 +C", True), ("T1 postKM", True)),
        *(("native and post KM", True), ("native and postKM", True), ("T1 efter kontrast", True)),
        ("9" * 5000, False),
        *(("", False), (" ", False), (";", False), ("+", False), ("-", False), ("/", False)),
        *(("T1 TSE post OP", False), ("T1 FS post RT", False), ("T1 post biopsy", False)),
        ("T1 pre OP", False),
    ],
)
def test_only_what_is_after_an_injection_counts_as_with_an_agent(
    description: str, some: bool
) -> None:
    assert describes_some(description) is some and not describes_none(description)
    assert given("Dotarem", SeriesDescription=description) is True
