"""Which contour replaces which: never one that could still be meant."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.dicom.regions import Region
from node.routing.edits import latest_object, newest_edits


@dataclass(frozen=True)
class Found:
    region: Region


def region(uid: str, at: str, **changes: object) -> Found:
    plain = Region(
        name="tumor",
        number=1,
        source_kind="SEG",
        sop_class_uid="1.2",
        sop_instance_uid=uid,
        series_instance_uid="1.4",
        study_instance_uid="1.5",
        patient_id="P",
        issuer_of_patient_id="",
        creator="Reader^One",
        created_at=at,
        path=Path("x"),
    )
    return Found(replace(plain, **changes))  # type: ignore[arg-type]


def uids(found: list[Found]) -> list[str]:
    return [one.region.sop_instance_uid for one in found]


OLD = region("old", "20260301101500")
NEW = region("new", "20260301113000")


def test_the_later_one_of_a_series_and_author_stays() -> None:
    assert uids(newest_edits([OLD, NEW])) == ["new"]
    assert uids(newest_edits([NEW, OLD])) == ["new"]


@pytest.mark.parametrize(
    "changes",
    [
        {"creator": "Reader^Two"},
        {"series_instance_uid": "1.9"},
        {"name": "tumor 2"},
        {"name": ""},
        {"source_kind": "RTSTRUCT"},
        {"created_at": ""},
        {"created_at": OLD.region.created_at},
    ],
)
def test_what_may_be_another_thing_replaces_nothing(changes: dict[str, str]) -> None:
    other = Found(replace(NEW.region, **changes))  # type: ignore[arg-type]

    assert uids(newest_edits([OLD, other])) == ["old", "new"]


def test_a_tracking_uid_makes_an_edit_in_another_series() -> None:
    old = Found(replace(OLD.region, tracking_uid="1.7"))
    new = Found(replace(NEW.region, tracking_uid="1.7", series_instance_uid="1.9", name="x"))

    assert uids(newest_edits([old, new])) == ["new"]


def test_s21_two_tracking_uids_are_two_regions_whatever_their_names() -> None:
    old = Found(replace(OLD.region, name="Segment 1", tracking_uid="1.7"))
    new = Found(replace(NEW.region, name="Segment 1", tracking_uid="1.8"))

    assert uids(newest_edits([old, new])) == ["old", "new"]


def test_a_name_is_enough_where_one_of_two_has_no_tracking_uid() -> None:
    old = Found(replace(OLD.region, tracking_uid="1.7"))

    assert uids(newest_edits([old, NEW])) == ["new"]


@pytest.mark.parametrize(
    ("first", "then", "kept"),
    [
        (("1.1", "1.2"), ("1.3",), ["old", "new"]),
        (("1.1", "1.2"), ("1.2", "1.3"), ["new"]),
        ((), ("1.3",), ["new"]),
    ],
)
def test_s21_one_name_on_other_images_is_another_thing(first, then, kept) -> None:
    old = Found(replace(OLD.region, referenced_instances=first))
    new = Found(replace(NEW.region, referenced_instances=then))

    assert uids(newest_edits([old, new])) == kept


def test_an_edit_that_lacks_a_region_of_the_older_one_does_not_replace_it() -> None:
    second = Found(replace(OLD.region, name="node", number=2))

    assert uids(newest_edits([OLD, second, NEW])) == ["old", "old", "new"]


def test_the_latest_object_needs_one_moment() -> None:
    assert uids(latest_object([OLD, NEW])) == ["new"]
    assert uids(latest_object([OLD, region("other", OLD.region.created_at)])) == ["old", "other"]
    assert uids(latest_object([region("a", ""), region("b", "")])) == ["a", "b"]
    assert latest_object([]) == []


@given(
    st.lists(
        st.tuples(
            st.sampled_from("abcd"),
            st.sampled_from(["", "20260101", "20260102", "20260103"]),
            st.sampled_from(["One", "Two"]),
            st.sampled_from(["tumor", "node"]),
            st.sampled_from(["", "1.7", "1.8"]),
        ),
        max_size=8,
    ),
    st.randoms(use_true_random=False),
)
def test_order_does_not_matter_and_something_of_each_author_stays(drawn, random) -> None:
    moments = {uid: at for uid, at, *_ in drawn}
    authors = {uid: who for uid, _, who, *_ in drawn}
    found = [
        region(uid, moments[uid], creator=authors[uid], name=name, tracking_uid=tracking)
        for uid, _, _, name, tracking in drawn
    ]
    kept = newest_edits(found)
    shuffled = list(found)
    random.shuffle(shuffled)

    assert sorted(uids(newest_edits(shuffled))) == sorted(uids(kept))
    assert {one.region.creator for one in kept} == {one.region.creator for one in found}
    latest = {
        who: max(one.region.created_at for one in found if one.region.creator == who)
        for who in authors.values()
        if any(one.region.creator == who for one in found)
    }
    for who, at in latest.items():
        assert any(o.region.creator == who and o.region.created_at == at for o in kept)
