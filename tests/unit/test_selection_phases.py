"""Roles that ask for a contrast phase: by what headers say, never by Series Number (S18)."""

import pytest
from pydicom import Dataset

from node.errors import RefusalCode
from node.manifest import InputRole
from node.routing.selection import Selection, select
from node.settings import PLAIN_PHASES, PhaseSettings
from tests.make import ct_series, with_identity_of
from tests.routing_site import manifest
from tests.unit.reading import series

ROLES = {
    phase: InputRole(name=phase, modality=("CT",), phase=phase)
    for phase in ("arterial", "portal_venous")
}


def ct(number: int, description: str, **overrides: object) -> list[Dataset]:
    return ct_series((4, 8, 8), SeriesNumber=number, SeriesDescription=description, **overrides)


def in_one_frame(*all_series: list[Dataset]) -> list[list[Dataset]]:
    return [with_identity_of(all_series[0][0], one) for one in all_series]


def choose(*all_series: list[Dataset], settings: PhaseSettings = PLAIN_PHASES) -> Selection:
    return select(manifest(inputs=ROLES), [series(one) for one in all_series], settings)


def numbers(selection: Selection) -> dict[str, int]:
    assert selection.refusal is None, selection.refusal
    return {role: int(one.header.SeriesNumber) for role, one in selection.inputs.items()}


def sentence(selection: Selection) -> str:
    assert selection.refusal is not None
    return selection.refusal.sentence


@pytest.mark.parametrize("order", [(2, 3), (3, 2)])
def test_s18_phases_in_two_series_are_told_apart_whatever_their_numbers(order: tuple[int, int]):
    arterial, portal = order
    both = in_one_frame(ct(arterial, "Leber art"), ct(portal, "Leber pv"))

    assert numbers(choose(*both)) == {"arterial": arterial, "portal_venous": portal}
    assert numbers(choose(*both[::-1])) == {"arterial": arterial, "portal_venous": portal}


def test_the_choice_says_what_named_the_phase():
    selection = choose(*in_one_frame(ct(2, "art"), ct(3, "pv"), ct(4, "nativ"), ct(5, "Leber")))

    said = {
        (one.role, one.series_number): one.phase or one.sentence for one in selection.candidates
    }
    assert said["arterial", 2] == "Series Description (art) says arterial"
    assert said["arterial", 3] == (
        "its contrast phase is portal_venous, not arterial: Series Description (pv) says "
        "portal_venous"
    )
    assert "is non_contrast, not portal_venous" in said["portal_venous", 4]
    assert "is not known, portal_venous is asked for" in said["portal_venous", 5]
    assert selection.notes[0] == "arterial: series 2 is the only one that fits"


def test_s18_a_series_of_no_known_phase_serves_no_role_with_a_phase():
    found = choose(*in_one_frame(ct(2, "Leber 1"), ct(3, "Leber 2")))

    assert found.refusal is not None
    assert found.refusal.code is RefusalCode.NO_SUITABLE_SERIES
    assert "none of 2 candidates serves the input arterial" in sentence(found)
    assert "its contrast phase is not known" in sentence(found)


def test_a_sites_words_make_it_known():
    site = PhaseSettings(arterial=("Leber 1",), portal_venous=("Leber 2",))

    found = choose(*in_one_frame(ct(2, "Leber 1"), ct(3, "Leber 2")), settings=site)

    assert numbers(found) == {"arterial": 2, "portal_venous": 3}


@pytest.mark.parametrize("there", ["art", "pv"])
def test_s18_one_phase_alone_is_refused_and_never_serves_both(there: str):
    found = choose(ct(2, f"Leber {there}"))

    missing = "portal_venous" if there == "art" else "arterial"
    assert found.refusal is not None
    assert found.refusal.code is RefusalCode.NO_SUITABLE_SERIES
    assert f"the only candidate does not serve the input {missing}: series 2: its" in sentence(
        found
    )


def test_s18_contradicting_headers_are_refused_with_both():
    against = ct(2, "art", ContrastBolusStartTime="100000", AcquisitionTime="100110")

    found = choose(*in_one_frame(against, ct(3, "pv")))

    assert found.refusal is not None
    assert found.refusal.code is RefusalCode.PHASE_CONTRADICTORY
    assert "series 2: its headers say different contrast phases: Series Descr" in sentence(found)


def test_a_series_beyond_doubt_serves_beside_one_that_contradicts_itself():
    against = ct(1, "art", ContrastBolusStartTime="100000", AcquisitionTime="100110")

    found = choose(*in_one_frame(ct(2, "art"), ct(3, "pv"), against))

    assert numbers(found) == {"arterial": 2, "portal_venous": 3}


def test_s17_phases_in_two_frames_of_reference_are_refused():
    found = choose(ct(2, "art"), ct(3, "pv"))

    assert found.refusal is not None
    assert found.refusal.code is RefusalCode.FRAME_OF_REFERENCE_MIXED
    assert "in another frame of reference than the other phases" in sentence(found)


def test_s17_a_worse_series_in_the_right_frame_of_reference_is_taken():
    thin = ct(2, "art", spacing=(1.0, 0.8, 0.7))
    thick, portal = in_one_frame(ct(3, "art"), ct(4, "pv"))

    assert numbers(choose(thin, thick, portal)) == {"arterial": 3, "portal_venous": 4}


def test_s17_of_two_whole_sets_both_phases_come_from_one():
    first = in_one_frame(ct(2, "art"), ct(9, "pv"))
    second = in_one_frame(ct(8, "art"), ct(3, "pv"))

    assert numbers(choose(*first, *second)) == {"arterial": 2, "portal_venous": 9}


def one_series(first: dict[str, object], second: dict[str, object]) -> list[Dataset]:
    one, other = in_one_frame(ct(5, "Leber art/pv", **first), ct(5, "Leber art/pv", **second))
    for ds in other:
        ds.SeriesInstanceUID = one[0].SeriesInstanceUID
    return one + other


ART = {"AcquisitionTime": "100030", "ContrastBolusStartTime": "100000", "ContentTime": None}
PV = ART | {"AcquisitionTime": "100110"}


@pytest.mark.parametrize(("first", "second"), [(ART, PV), (PV, ART)])
def test_s18_both_phases_inside_one_series_go_to_their_roles(first: dict, second: dict):
    found = choose(one_series(first, second))

    assert numbers(found) == {"arterial": 5, "portal_venous": 5}
    times = {r: dict(c.stack.frames[0].discriminators) for r, c in found.inputs.items()}
    assert times["arterial"]["AcquisitionTime"] == "100030"
    assert times["portal_venous"]["AcquisitionTime"] == "100110"


def test_s18_two_stacks_of_one_series_without_a_phase_of_their_own_are_refused():
    first = {"AcquisitionTime": "100030", "ContentTime": None}
    images = one_series(first, first | {"AcquisitionTime": "100110"})

    asked = PhaseSettings(evidence=("description", "order"))

    assert choose(images).refusal is not None
    assert numbers(choose(images, settings=asked)) == {"arterial": 5, "portal_venous": 5}


def test_s18_two_arterial_stacks_of_one_series_are_never_guessed_between():
    early = ART | {"AcquisitionTime": "100020"}
    images, portal = in_one_frame(one_series(early, ART), ct(6, "pv"))

    found = choose(images, portal)

    assert found.refusal is not None
    assert found.refusal.code is RefusalCode.PHASES_MIXED
