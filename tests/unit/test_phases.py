"""The contrast phase of a stack by its headers: named by all images, or not at all."""

import pytest
from pydicom import Dataset

from node.dicom.phases import Phase, phases_of
from node.dicom.stacks import split_series
from node.settings import PhaseSettings
from tests.make import ct_series, enhanced_ct, made, with_identity_of
from tests.unit.reading import series

SHAPE = (4, 8, 8)
PLAIN = {"SeriesDescription": "Leber 5.0", "ContentTime": None}


def ct(**overrides: object) -> list[Dataset]:
    return ct_series(SHAPE, **{**PLAIN, **overrides})  # type: ignore[arg-type]


def both(first: dict, second: dict, **overrides: object) -> list[Dataset]:
    """Two stacks at the same places in one series."""
    one = ct(**overrides, **first)
    other = with_identity_of(one[0], ct(**overrides, **second))
    for ds in other:
        ds.SeriesInstanceUID = one[0].SeriesInstanceUID
    return one + other


def phases(datasets: list[Dataset], **settings: object) -> tuple[Phase, ...]:
    source = series(datasets)
    return phases_of(source, split_series(source), PhaseSettings(**settings))  # type: ignore[arg-type]


def phase(datasets: list[Dataset], **settings: object) -> Phase:
    (found,) = phases(datasets, **settings)
    return found


def bolus(start: str = "100000", scan: str = "100030", **more: object) -> dict[str, object]:
    return {"ContrastBolusStartTime": start, "AcquisitionTime": scan, **more}


NAMED = {
    "description": ({"SeriesDescription": "Leber ART"}, "arterial", "Series Description (art)"),
    "protocol": ({"ProtocolName": "Abdomen pv"}, "portal_venous", "Protocol Name (pv)"),
    "comments": ({"ImageComments": "Spätphase"}, "delayed", "Image Comments (spatphase)"),
    "code": ({"ContrastBolusAgentPhase": "PRE_CONTRAST"}, "non_contrast", "(PRE_CONTRAST)"),
    "time": (bolus(), "arterial", "30 s after the start of the bolus says arterial"),
    "late": (bolus(scan="100110.5"), "portal_venous", "70 s"),
    "before": (bolus(scan="095000"), "non_contrast", "-600 s"),
    "midnight": (bolus("235950", "000020"), "arterial", "30 s"),
    "all agree": (
        {"SeriesDescription": "art", **bolus()},
        "arterial",
        "Series Description (art) says arterial; the acquisition 30 s",
    ),
}


@pytest.mark.parametrize(("header", "name", "sentence"), NAMED.values(), ids=NAMED)
def test_s18_a_phase_is_named_by(header: dict, name: str, sentence: str):
    found = phase(ct(**header))

    assert (found.name, found.contradictory) == (name, False)
    assert sentence in found.sentence


UNKNOWN = {
    "nothing": ({}, "no header that we ask says it"),
    "several": ({"SeriesDescription": "Leber art/pv"}, "(art, pv) names no single phase"),
    "between two times": (bolus(scan="100050"), "50 s after the start of the bolus fits none"),
    "no bolus": ({"AcquisitionTime": "100030"}, "no header that we ask says it"),
    "no time": ({"AcquisitionTime": None, "ContrastBolusStartTime": "100000"}, "no header"),
    "same time": (bolus(scan="100000"), "0 s after the start of the bolus fits none"),
    "venous as code": ({"ContrastBolusAgentPhase": "VENOUS"}, "no header that we ask says it"),
    "order": ({"AcquisitionNumber": 1, "TemporalPositionIdentifier": 1}, "no header that we ask"),
    "some images": (
        {"per_instance": {2: {"ImageComments": "arterial"}}},
        "Image Comments says arterial on 1 of 4 images only",
    ),
}


@pytest.mark.parametrize(("header", "sentence"), UNKNOWN.values(), ids=UNKNOWN)
def test_s18_a_phase_is_not_known_from(header: dict, sentence: str):
    found = phase(ct(**header))

    assert (found.name, found.contradictory) == ("", False)
    assert sentence in found.sentence


AGAINST = {
    "description and time": (
        {"SeriesDescription": "Leber art", **bolus(scan="100110")},
        "Series Description (art) says arterial; the acquisition 70 s after the start of the "
        "bolus says portal_venous",
    ),
    "description and protocol": (
        {"SeriesDescription": "nativ", "ProtocolName": "art"},
        "says non_contrast; Protocol Name (art) says arterial",
    ),
    "code and description": (
        {"SeriesDescription": "pv", "ContrastBolusAgentPhase": "ARTERIAL"},
        "Contrast/Bolus Agent Phase (ARTERIAL) says arterial; Series Description (pv)",
    ),
    "image and image": (
        {"per_instance": {i: {"ImageComments": "art" if i < 2 else "pv"} for i in range(4)}},
        "Image Comments (art, pv) says arterial and portal_venous on different images",
    ),
}


@pytest.mark.parametrize(("header", "sentence"), AGAINST.values(), ids=AGAINST)
def test_s18_contradicting_evidence_names_no_phase(header: dict, sentence: str):
    found = phase(ct(**header))

    assert (found.name, found.contradictory) == ("", True)
    assert sentence in found.sentence


def test_a_site_says_which_evidence_counts():
    images = ct(SeriesDescription="Leber art", ProtocolName="Abdomen pv")

    assert phase(images).contradictory
    assert phase(images, evidence=("description", "time")).name == "arterial"


def test_a_site_says_its_words_and_times():
    images = ct(SeriesDescription="Leber 1", **bolus(scan="100050"))

    assert phase(images).name == ""
    assert phase(images, arterial=("Leber 1",)).name == "arterial"
    assert phase(images, arterial_s=(20.0, 52.0)).name == "arterial"


def test_s28_a_sentence_never_repeats_a_header():
    found = phase(ct(SeriesDescription="art Mustermann", ImageComments="Erika pv"))

    assert "muster" not in found.sentence.casefold()
    assert "erika" not in found.sentence.casefold()


ART, PV = {"AcquisitionTime": "100030"}, {"AcquisitionTime": "100110"}


def names(found: tuple[Phase, ...]) -> list[str]:
    return [one.name for one in found]


def test_s18_each_stack_of_one_series_has_the_phase_that_its_images_name():
    comments = both(ART | {"ImageComments": "arterial"}, PV | {"ImageComments": "portal"})
    times = both(ART, PV, ContrastBolusStartTime="100000")
    swapped = both(PV, ART, ContrastBolusStartTime="100000", SeriesDescription="Leber art/pv")

    assert names(phases(comments)) == ["arterial", "portal_venous"]
    assert names(phases(times)) == ["arterial", "portal_venous"]
    assert names(phases(swapped)) == ["arterial", "portal_venous"]


def test_s18_a_description_of_the_whole_series_names_no_stack_of_it():
    assert names(phases(both(ART, PV, SeriesDescription="Leber art/pv"))) == ["", ""]


def test_a_phase_in_the_description_contradicts_a_stack_of_another_time():
    found = phases(both(ART, PV, SeriesDescription="art", ContrastBolusStartTime="100000"))

    assert [(one.name, one.contradictory) for one in found] == [("arterial", False), ("", True)]


ORDER = ("description", "time", "order")


def test_s18_the_order_of_acquisitions_counts_only_where_the_site_says_so():
    images = both(PV, ART, SeriesDescription="Leber pv/art")

    first, second = phases(images, evidence=ORDER)

    assert [first.name, second.name] == ["arterial", "portal_venous"]
    assert second.sentence == (
        "Series Description names arterial and portal_venous, and this is the last of 2 "
        "acquisitions"
    )


NO_ORDER = {
    "three phases, two stacks": both(ART, PV, SeriesDescription="nativ art pv"),
    "no time": both(
        {"AcquisitionNumber": 1},
        {"AcquisitionNumber": 2},
        AcquisitionTime=None,
        SeriesDescription="art/pv",
    ),
    "the same time": both(
        {"ConvolutionKernel": "B30f"},
        {"ConvolutionKernel": "B50f"},
        AcquisitionTime="100030",
        SeriesDescription="art/pv",
    ),
    "hours apart": both(ART, {"AcquisitionTime": "130000"}, SeriesDescription="art/pv"),
    "one stack": ct(**ART, SeriesDescription="art/pv"),
    "unnamed": both(ART, PV),
}


@pytest.mark.parametrize("images", NO_ORDER.values(), ids=NO_ORDER)
def test_s18_the_order_names_nothing_from(images: list[Dataset]):
    assert set(names(phases(images, evidence=ORDER))) == {""}


def enhanced(**second: object) -> list[Dataset]:
    frames = {
        i: {"TemporalPositionIndex": 1 + i // 4, "InStackPositionNumber": 1 + i % 4}
        for i in range(8)
    }
    places = enhanced_ct((8, 8, 8), per_frame=frames, SeriesDescription="CT")
    groups = places.PerFrameFunctionalGroupsSequence
    for index, group in enumerate(groups):
        position = groups[index % 4].PlanePositionSequence
        group.PlanePositionSequence = [made(**{p.keyword: p.value for p in position[0]})]
        code = "ARTERIAL" if index < 4 else "PORTAL_VENOUS"
        group.ContrastBolusUsageSequence = [made(ContrastBolusAgentPhase=code)]
    return [places]


def test_s18_frames_of_an_enhanced_image_name_their_phase():
    assert names(phases(enhanced())) == ["arterial", "portal_venous"]


def test_two_agents_of_one_frame_that_say_two_phases_say_nothing():
    (images,) = enhanced()
    for group in images.PerFrameFunctionalGroupsSequence:
        group.ContrastBolusUsageSequence.append(made(ContrastBolusAgentPhase="DELAYED"))

    assert names(phases([images])) == ["", ""]
