"""S13 and S14, line by line; time is passed in, the query peer is a function."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from node.errors import QueryFailed
from node.intake.completion import query_peer, quiet_time, sweep
from node.model import Origin, Study, StudyState
from node.settings import Condition, PeerSettings, RuleSettings, Settings
from node.storage.completion_rows import release_held
from node.storage.database import Database
from node.storage.intake_rows import (
    NewInstance,
    change_study,
    get_study,
    note_own_uids,
    record_instance,
)
from node.storage.migrate import migrate
from node.storage.presence_rows import OpenAssociation, close_association, open_association

STUDY = "1.2.3"
PACS = PeerSettings(name="pacs", ae_title="PACS", hosts=("127.0.0.1",), port=104, query=True)
CT = "1.2.840.10008.5.1.4.1.1.2"
SR = "1.2.840.10008.5.1.4.1.1.88.33"


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Database]:
    url = f"sqlite:///{tmp_path / 'node.db'}"
    migrate(url, tmp_path)
    database = Database(url)
    yield database
    database.close()


@pytest.fixture
def plain(tmp_path: Path) -> Settings:
    return Settings(data_dir=tmp_path)


@pytest.fixture
def asking(plain: Settings) -> Settings:
    return replace(plain, peers=(PACS,))


class Archive:
    """A query peer that counts what it is told to."""

    def __init__(self, **counts: int):
        self.counts: dict[str, int] | None = {f"1.2.3.{k[1:]}": n for k, n in counts.items()}
        self.asked: list[str] = []

    def __call__(self, peer: PeerSettings, study_uid: str) -> Mapping[str, int]:
        self.asked.append(study_uid)
        if self.counts is None:
            raise QueryFailed(f"{peer.name} cannot be reached")
        return dict(self.counts)


def receive(
    db: Database, number: int, *, at: float, series: str = "1.2.3.1", **changes: object
) -> None:
    new = NewInstance(
        study_instance_uid=STUDY,
        series_instance_uid=series,
        sop_instance_uid=f"{series}.{number}",
        sop_class_uid=CT,
        transfer_syntax_uid="1.2.840.10008.1.2.1",
        modality="CT",
        content_sha256=f"{number:064x}",
        pixel_sha256="",
        path=f"studies/{number}.dcm",
        size_bytes=1,
        received_at=at,
        calling_ae="PACS",
        called_ae="SENTINEL",
        peer="pacs",
    )
    record_instance(db, replace(new, **changes))  # type: ignore[arg-type]


def study_of(db: Database) -> Study:
    found = get_study(db, STUDY)
    assert found is not None
    return found


def rule(quiet_s: float, *children: Condition) -> RuleSettings:
    when = Condition(operator="all", children=children)
    return RuleSettings(name=f"r{quiet_s}", plugin="p", when=when, quiet_s=quiet_s)


def called(title: str) -> Condition:
    return Condition(operator="equals", name="called_ae", value=title)


# --- quiet time ------------------------------------------------------------------------------


def test_s13_a_study_is_complete_after_120_quiet_seconds(db: Database, plain: Settings) -> None:
    receive(db, 1, at=1000.0)
    assert sweep(db, plain, now=1119.9) == ()
    assert sweep(db, plain, now=1120.0) == (STUDY,)
    found = study_of(db)
    assert (found.state, found.revision, found.completed_at) == (StudyState.COMPLETE, 1, 1120.0)
    assert found.completed_reason == "no image for 120 s"


def test_s13_each_arrival_starts_the_quiet_time_again(db: Database, plain: Settings) -> None:
    receive(db, 1, at=1000.0)
    receive(db, 2, at=1100.0)
    assert sweep(db, plain, now=1219.0) == ()
    assert sweep(db, plain, now=1220.0) == (STUDY,)


def test_a_clock_that_went_back_starts_the_quiet_time_again(db: Database, plain: Settings) -> None:
    receive(db, 1, at=90_000.0)
    assert sweep(db, plain, now=1000.0) == ()
    assert sweep(db, plain, now=1119.0) == ()
    assert sweep(db, plain, now=1120.0) == (STUDY,)


def test_s13_a_completed_study_is_not_completed_twice(db: Database, plain: Settings) -> None:
    receive(db, 1, at=1000.0)
    sweep(db, plain, now=1120.0)
    assert sweep(db, plain, now=1300.0) == ()


@pytest.mark.parametrize(
    ("conditions", "expected"),
    [
        ([()], 300.0),
        ([(called("SENTINEL"),)], 300.0),
        ([(called("OTHER"),)], 120.0),
        ([(called("OTHER"), Condition(operator="equals", name="Modality", value="CT"))], 120.0),
        ([(Condition(operator="equals", name="Modality", value="CT"),)], 300.0),
        ([(Condition(operator="in", name="peer", value=("pacs", "ct")),)], 300.0),
        ([(Condition(operator="in", name="peer", value=("mr",)),)], 120.0),
        ([(Condition(operator="not", children=(called("SENTINEL"),)),)], 120.0),
        ([(Condition(operator="not", children=(called("OTHER"),)),)], 300.0),
        ([(Condition(operator="like", name="called_ae", value="OTH*"),)], 300.0),
        ([(Condition(operator="any", children=(called("A"), called("SENTINEL"))),)], 300.0),
        ([(Condition(operator="any", children=(called("A"), called("B"))),)], 120.0),
    ],
)
def test_s13_the_longest_quiet_time_of_the_rules_that_could_match_counts(
    plain: Settings, conditions: list[tuple[Condition, ...]], expected: float
) -> None:
    settings = replace(plain, rules=tuple(rule(300.0, *each) for each in conditions))
    assert quiet_time(settings, "SENTINEL", "pacs") == expected


def test_s13_without_a_rule_that_could_match_the_default_holds(plain: Settings) -> None:
    settings = replace(plain, quiet_s=7.0, rules=(rule(300.0, called("OTHER")),))
    assert quiet_time(settings, "SENTINEL", "pacs") == 7.0


# --- counts at a query peer --------------------------------------------------------------------


def test_s13_fewer_here_than_there_extends_the_wait(db: Database, asking: Settings) -> None:
    archive = Archive(s1=3)
    receive(db, 1, at=1000.0)
    receive(db, 2, at=1000.0)
    assert sweep(db, asking, now=1120.0, count_at_peer=archive) == ()
    assert sweep(db, asking, now=1500.0, count_at_peer=archive) == ()
    receive(db, 3, at=1510.0)
    assert sweep(db, asking, now=1520.0, count_at_peer=archive) == ()
    assert sweep(db, asking, now=1550.0, count_at_peer=archive) == (STUDY,)
    assert study_of(db).state is StudyState.COMPLETE


def test_s13_a_whole_series_that_is_missing_here_extends_the_wait(
    db: Database, asking: Settings
) -> None:
    receive(db, 1, at=1000.0)
    archive = Archive(s1=1, s2=40)
    assert sweep(db, asking, now=1130.0, count_at_peer=archive) == ()


def test_s13_what_never_comes_is_held_for_a_person_and_never_runs_silently(
    db: Database, asking: Settings
) -> None:
    receive(db, 1, at=1000.0)
    archive = Archive(s1=3)
    assert sweep(db, asking, now=2199.0, count_at_peer=archive) == ()
    assert sweep(db, asking, now=2200.0, count_at_peer=archive) == (STUDY,)
    found = study_of(db)
    assert found.state is StudyState.HELD
    assert found.completed_reason.startswith(
        "incomplete: 1 of 3 images of series 1.2.3.1 at pacs; no image for 1200 s"
    )


def test_s13_a_held_study_goes_on_when_the_rest_arrives(db: Database, asking: Settings) -> None:
    receive(db, 1, at=1000.0)
    archive = Archive(s1=2)
    sweep(db, asking, now=2200.0, count_at_peer=archive)
    receive(db, 2, at=3000.0)
    assert study_of(db).state is StudyState.RECEIVING
    sweep(db, asking, now=3010.0, count_at_peer=archive)
    assert sweep(db, asking, now=3040.0, count_at_peer=archive) == (STUDY,)
    assert (study_of(db).state, study_of(db).revision) == (StudyState.COMPLETE, 2)


def test_s13_a_person_gives_a_held_study_to_the_rules(db: Database, asking: Settings) -> None:
    receive(db, 1, at=1000.0)
    sweep(db, asking, now=2200.0, count_at_peer=Archive(s1=2))
    assert release_held(db, STUDY, reason="released")
    found = study_of(db)
    assert (found.state, found.revision) == (StudyState.COMPLETE, 1)
    assert found.completed_reason.endswith("; released")
    assert not release_held(db, STUDY, reason="released")


def test_s13_nothing_waits_longer_than_an_hour(db: Database, asking: Settings) -> None:
    settings = replace(asking, quiet_s=900.0)
    receive(db, 1, at=1000.0)
    assert sweep(db, settings, now=4599.0, count_at_peer=Archive(s1=2)) == ()
    assert sweep(db, settings, now=4600.0, count_at_peer=Archive(s1=2)) == (STUDY,)


def test_s13_one_equal_count_does_not_shorten_the_wait(db: Database, asking: Settings) -> None:
    receive(db, 1, at=1000.0)
    assert sweep(db, asking, now=1010.0, count_at_peer=Archive(s1=1)) == ()
    assert sweep(db, asking, now=1039.9, count_at_peer=Archive(s1=1)) == ()


def test_s13_two_equal_counts_30_s_apart_shorten_it(db: Database, asking: Settings) -> None:
    archive = Archive(s1=1)
    receive(db, 1, at=1000.0)
    for now in (1009.0, 1010.0, 1015.0, 1039.0):
        assert sweep(db, asking, now=now, count_at_peer=archive) == ()
    assert sweep(db, asking, now=1040.0, count_at_peer=archive) == (STUDY,)
    assert len(archive.asked) == 2
    assert "unchanged over 30 s" in study_of(db).completed_reason


def test_s13_a_count_that_grows_with_ours_does_not_shorten_it(
    db: Database, asking: Settings
) -> None:
    """A PACS that forwards while receiving has our count after almost every image."""
    archive = Archive(s1=1)
    receive(db, 1, at=1000.0)
    sweep(db, asking, now=1010.0, count_at_peer=archive)
    receive(db, 2, at=1035.0)
    archive.counts = {"1.2.3.1": 2}
    assert sweep(db, asking, now=1046.0, count_at_peer=archive) == ()
    assert sweep(db, asking, now=1075.0, count_at_peer=archive) == ()
    assert sweep(db, asking, now=1076.0, count_at_peer=archive) == (STUDY,)


@pytest.mark.parametrize("who", [("pacs", "PACS"), ("", "PACS"), ("pacs", "PACS2")])
def test_s13_an_open_association_of_that_peer_forbids_to_shorten(
    db: Database, asking: Settings, who: tuple[str, str]
) -> None:
    archive = Archive(s1=1)
    receive(db, 1, at=1000.0)
    peer, title = who
    opened = OpenAssociation(id="a", peer=peer, calling_ae=title, receiver="r", opened_at=1000.0)
    open_association(db, opened, limit=9)
    sweep(db, asking, now=1010.0, count_at_peer=archive)
    assert sweep(db, asking, now=1040.0, count_at_peer=archive) == ()
    close_association(db, "a")
    assert sweep(db, asking, now=1041.0, count_at_peer=archive) == (STUDY,)


def test_s13_an_archive_that_knows_less_does_not_shorten(db: Database, asking: Settings) -> None:
    receive(db, 1, at=1000.0)
    receive(db, 2, at=1000.0)
    archive = Archive(s1=1)
    for now in (1010.0, 1045.0, 1080.0):
        assert sweep(db, asking, now=now, count_at_peer=archive) == ()
    assert sweep(db, asking, now=1120.0, count_at_peer=archive) == (STUDY,)


def test_s13_an_archive_that_does_not_know_the_study_changes_nothing(
    db: Database, asking: Settings
) -> None:
    receive(db, 1, at=1000.0, modality="SR", sop_class_uid=SR)
    for now in (1010.0, 1045.0):
        assert sweep(db, asking, now=now, count_at_peer=Archive()) == ()
    assert sweep(db, asking, now=1120.0, count_at_peer=Archive()) == (STUDY,)


def test_s13_an_archive_that_does_not_answer_leaves_the_quiet_time(
    db: Database, asking: Settings
) -> None:
    archive = Archive()
    archive.counts = None
    receive(db, 1, at=1000.0)
    assert sweep(db, asking, now=1119.0, count_at_peer=archive) == ()
    assert sweep(db, asking, now=1120.0, count_at_peer=archive) == (STUDY,)
    assert "pacs did not answer the count" in study_of(db).completed_reason


def test_s13_an_archive_that_falls_silent_is_remembered_to_have_more(
    db: Database, asking: Settings
) -> None:
    archive = Archive(s1=3)
    receive(db, 1, at=1000.0)
    sweep(db, asking, now=1010.0, count_at_peer=archive)
    archive.counts = None
    assert sweep(db, asking, now=1120.0, count_at_peer=archive) == ()


def test_s13_reports_segmentations_and_our_own_objects_do_not_count(
    db: Database, asking: Settings
) -> None:
    with db.write() as connection:
        note_own_uids(connection, ["1.2.3.9.7"], 1.0)
    receive(db, 1, at=1000.0)
    receive(db, 5, at=1000.0, series="1.2.3.5", modality="SR", sop_class_uid=SR)
    receive(db, 6, at=1000.0, series="1.2.3.6", modality="SEG")
    receive(db, 7, at=1000.0, series="1.2.3.9", modality="OT")
    receive(db, 8, at=1000.0, series="1.2.3.8", origin=Origin.RETRIEVED)
    archive = Archive(s1=1)
    sweep(db, asking, now=1010.0, count_at_peer=archive)
    assert sweep(db, asking, now=1040.0, count_at_peer=archive) == (STUDY,)


def test_s13_two_versions_of_one_instance_count_once(db: Database, asking: Settings) -> None:
    receive(db, 1, at=1000.0)
    receive(db, 1, at=1000.0, content_sha256="f" * 64)
    archive = Archive(s1=1)
    sweep(db, asking, now=1010.0, count_at_peer=archive)
    assert sweep(db, asking, now=1040.0, count_at_peer=archive) == (STUDY,)


def test_s13_the_sender_is_asked_before_other_archives(asking: Settings) -> None:
    other = replace(PACS, name="archive")
    silent = replace(PACS, name="modality", query=False)
    settings = replace(asking, peers=(silent, PACS, other))
    assert query_peer(settings, "archive") is other
    assert query_peer(settings, "modality") is PACS
    assert query_peer(replace(asking, peers=(silent,)), "modality") is None


# --- revisions ---------------------------------------------------------------------------------


def test_s14_a_late_image_is_a_new_revision(db: Database, plain: Settings) -> None:
    receive(db, 1, at=1000.0)
    sweep(db, plain, now=1120.0)
    change_study(db, STUDY, StudyState.COMPLETE, StudyState.ROUTED, now=1121.0)
    receive(db, 2, at=2000.0)
    assert study_of(db).state is StudyState.RECEIVING
    assert sweep(db, plain, now=2120.0) == (STUDY,)
    assert study_of(db).revision == 2


@pytest.mark.parametrize(
    "changes",
    [
        {"modality": "SR", "sop_class_uid": SR},
        {"modality": "SR", "sop_class_uid": "1.2.840.10008.5.1.4.1.1.88.67"},
        {"modality": "KO", "sop_class_uid": "1.2.840.10008.5.1.4.1.1.88.59"},
        {"modality": "PR", "sop_class_uid": "1.2.840.10008.5.1.4.1.1.11.1"},
        {"modality": "SEG", "sop_instance_uid": "1.2.3.1.77"},
    ],
    ids=["SR", "dose", "KOS", "PR", "our own"],
)
def test_s14_reports_and_our_own_never_reopen_a_study(
    db: Database, plain: Settings, changes: dict[str, object]
) -> None:
    with db.write() as connection:
        note_own_uids(connection, ["1.2.3.1.77"], 1.0)
    receive(db, 1, at=1000.0)
    sweep(db, plain, now=1120.0)
    receive(db, 2, at=2000.0, series="1.2.3.9", **changes)
    assert study_of(db).state is StudyState.COMPLETE
    assert sweep(db, plain, now=9000.0) == ()
    assert study_of(db).revision == 1


def test_an_image_that_arrives_during_the_count_keeps_the_study_open(
    db: Database, asking: Settings
) -> None:
    def count(peer: PeerSettings, study_uid: str) -> Mapping[str, int]:
        receive(db, 2, at=1120.0)
        return {"1.2.3.1": 1}

    receive(db, 1, at=1000.0)
    assert sweep(db, asking, now=1120.0, count_at_peer=count) == ()
    assert study_of(db).state is StudyState.RECEIVING


# --- contours --------------------------------------------------------------------------------

SEG = {"modality": "SEG", "sop_class_uid": "1.2.840.10008.5.1.4.1.1.66.4", "series": "1.2.3.9"}


def test_s14_a_contour_that_comes_later_has_a_short_quiet_time_of_its_own(
    db: Database, plain: Settings
) -> None:
    receive(db, 1, at=1000.0)
    sweep(db, plain, now=1120.0)
    change_study(db, STUDY, StudyState.COMPLETE, StudyState.ROUTED, now=1121.0)

    receive(db, 2, at=5000.0, **SEG)

    assert sweep(db, plain, now=5004.9) == ()
    assert sweep(db, plain, now=5005.0) == (STUDY,)
    found = study_of(db)
    assert (found.revision, found.completed_reason) == (2, "only contours came, none for 5 s")
    assert sweep(db, replace(plain, roi_quiet_s=0.5), now=5006.0) == ()


def test_a_second_contour_starts_the_short_time_again(db: Database, plain: Settings) -> None:
    receive(db, 1, at=1000.0)
    sweep(db, plain, now=1120.0)
    receive(db, 2, at=5000.0, **SEG)
    receive(db, 3, at=5003.0, **SEG)

    assert sweep(db, plain, now=5007.9) == ()
    assert sweep(db, plain, now=5008.0) == (STUDY,)


def test_s13_a_contour_among_new_images_shortens_nothing(db: Database, plain: Settings) -> None:
    receive(db, 1, at=1000.0)
    receive(db, 2, at=1001.0, **SEG)
    assert sweep(db, plain, now=1120.9) == ()
    assert sweep(db, plain, now=1121.0) == (STUDY,)

    receive(db, 3, at=5000.0)
    receive(db, 4, at=5001.0, **SEG)
    assert sweep(db, plain, now=5120.9) == ()
    assert sweep(db, plain, now=5121.0) == (STUDY,)


def test_a_late_image_that_was_recorded_after_the_end_is_no_contour(
    db: Database, plain: Settings
) -> None:
    receive(db, 1, at=1000.0)
    sweep(db, plain, now=1120.0)

    receive(db, 2, at=1119.0)

    assert sweep(db, plain, now=1200.0) == ()
    assert sweep(db, plain, now=1239.0) == (STUDY,)


def test_s13_a_study_that_lacked_images_is_counted_again_when_a_contour_comes(
    db: Database, asking: Settings
) -> None:
    archive = Archive(s1=2)
    receive(db, 1, at=1000.0)
    assert sweep(db, asking, now=1120.0, count_at_peer=archive) == ()
    assert sweep(db, asking, now=3000.0, count_at_peer=archive) == (STUDY,)
    assert study_of(db).state is StudyState.HELD

    receive(db, 2, at=5000.0, **SEG)
    asked = len(archive.asked)

    assert sweep(db, asking, now=5006.0, count_at_peer=archive) == ()
    assert sweep(db, asking, now=5125.0, count_at_peer=archive) == ()
    assert len(archive.asked) > asked
