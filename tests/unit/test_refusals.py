"""Did not run (S7): told after the grace and a count check, where wanted, and not in floods."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydicom import Dataset, dcmread
from sqlalchemy import insert, select, update
from structlog.testing import capture_logs

from node.audit import Audit
from node.errors import QueryFailed
from node.model import DeliveryState, DestinationGrade, Evidence, StudyState
from node.parts import Node
from node.refusals import MOST_EQUAL, TOO_MANY, tell_refusals
from node.settings import DestinationSettings, PeerSettings
from node.storage.delivery_rows import evidence_of_job, list_deliveries
from node.storage.refusal_rows import Telling, telling_of
from node.storage.tables import job as job_table
from node.storage.tables import own_uid
from node.storage.tables import study as study_table
from tests.make import ct_series
from tests.results_case import items_of
from tests.routing_site import PEER, RULE, RoutingSite, manifest

PACS = DestinationSettings(
    name="pacs", kind="folder", grade=DestinationGrade.RESEARCH, not_run=True
)
GRACE_S = RULE.grace_s


class Site(RoutingSite):
    """A routing site whose rule sends to a destination that wants to be told."""

    def __init__(self, folder: Path):
        super().__init__(folder)
        self.with_destinations(PACS)
        self.counts: dict[str, int] | None = None

    def with_destinations(self, *places: DestinationSettings) -> None:
        rule = replace(RULE, destinations=tuple(one.name for one in places))
        self.settings = replace(self.settings, destinations=places, rules=(rule,))

    @property
    def node(self) -> Node:
        return Node(
            settings=self.settings,
            db=self.db,
            files=self.files,
            audit=Audit(self.settings.data_dir),
            manifests=self.manifests,
        )

    def count_at_peer(self, _peer: PeerSettings, _study: str) -> dict[str, int]:
        if self.counts is None:
            raise QueryFailed("the archive did not answer")
        return self.counts

    def tell(self, after_s: float = GRACE_S) -> int:
        """Sweep so long after the last refusal."""
        last = max(one.ended_at or 0.0 for one in self.jobs)
        return tell_refusals(self.node, now=last + after_s, count_at_peer=self.count_at_peer)

    @property
    def notes(self) -> tuple[Evidence, ...]:
        return tuple(e for one in self.jobs for e in evidence_of_job(self.db, one.id))

    def parsed(self, note: Evidence) -> Dataset:
        return dcmread(self.files.absolute(note.path))

    def own_uids(self) -> set[str]:
        with self.db.read() as connection:
            return {row.sop_instance_uid for row in connection.execute(select(own_uid))}

    def why(self) -> tuple[Telling, str]:
        found = telling_of(self.db, self.jobs[-1].id)
        assert found is not None
        return found[0], found[1]


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    found = Site(tmp_path)
    yield found
    found.db.close()


def with_a_gap(**overrides: Any) -> list[Dataset]:
    images = ct_series((6, 8, 8), **overrides)
    return [*images[:3], *images[4:]]


def test_s07_a_refused_job_is_told_after_the_grace_once(site: Site):
    site.route(with_a_gap())
    assert site.tell(GRACE_S - 1) == 0
    assert site.tell(GRACE_S) == 1
    assert site.tell(GRACE_S + 60) == 0
    (note,) = site.notes
    ((delivery, _),) = list_deliveries(site.db)
    assert (delivery.destination, delivery.state) == ("pacs", DeliveryState.PENDING)
    assert (note.role, delivery.profile) == ("notrun", PACS.profile.name)
    words = items_of(site.parsed(note), "TextValue")
    assert f"AI did not run: {site.jobs[0].reason}" in words
    assert site.jobs[0].reason_code == "SLICE_MISSING"
    assert note.sop_instance_uid in site.own_uids()


def test_s07_the_rule_says_how_long_the_grace_is(site: Site):
    rule = replace(site.settings.rules[0], grace_s=60.0)
    site.with_rules(rule)
    site.route(with_a_gap())
    assert site.tell(59) == 0
    assert site.tell(60) == 1


def test_s07_nobody_is_told_unless_an_administrator_switched_it_on(site: Site):
    site.with_destinations(replace(PACS, not_run=False))
    site.route(with_a_gap())
    assert site.tell() == 0
    assert site.why() == (Telling.LEFT_OUT, "NOT_WANTED")
    # Switched on later, it does not tell of what was before.
    site.with_destinations(PACS)
    assert site.tell(GRACE_S + 100) == 0


def test_s07_only_destinations_that_want_it_are_told(site: Site):
    site.with_destinations(PACS, replace(PACS, name="quiet", not_run=False))
    site.route(with_a_gap())
    site.tell()
    assert [d.destination for d, _ in list_deliveries(site.db)] == ["pacs"]


def test_s07_destinations_with_other_profiles_get_the_same_report(site: Site):
    profile = site.settings.profiles["ohif"]
    site.with_destinations(PACS, replace(PACS, name="other", profile=profile))
    site.route(with_a_gap())
    site.tell()
    assert len({e.sop_instance_uid for _, e in list_deliveries(site.db)}) == 1
    assert len(list_deliveries(site.db)) == 2


def test_s07_a_study_that_still_grows_is_waited_for(site: Site):
    site.route(with_a_gap())
    with site.db.write() as connection:
        connection.execute(update(study_table).values(state=StudyState.RECEIVING.value))
    assert site.tell() == 0
    assert site.why() == (Telling.WAITS, "")


def test_s07_the_archive_is_counted_first(site: Site):
    peer = replace(PEER, query=True, port=104, hosts=("127.0.0.1",))
    site.settings = replace(site.settings, peers=(peer,))
    images = with_a_gap()
    site.route(images)
    assert site.tell(GRACE_S) == 0  # it does not answer
    uid = str(images[0].SeriesInstanceUID)
    site.counts = {uid: len(images) + 1}
    assert site.tell(GRACE_S + 60) == 0  # it has an image more
    site.counts = {uid: len(images)}
    assert site.tell(GRACE_S + 61) == 0  # asked a minute later, not at once
    assert site.tell(GRACE_S + 120) == 1


def test_s07_a_later_refusal_speaks_for_the_study(site: Site):
    first = with_a_gap()
    site.route(first)
    more = ct_series((9, 8, 8), StudyInstanceUID=first[0].StudyInstanceUID)
    for ds in more:
        ds.SeriesInstanceUID = "1.2.3.77"
    with site.db.write() as connection:
        connection.execute(update(study_table).values(state=StudyState.RECEIVING.value))
    site.with_plugin(manifest(inputs={}))
    site.store([more[0]])
    outcomes = [one.id for one in site.jobs]
    site.complete()
    site.dispatch()
    site.tell(GRACE_S)
    told = [e.job_id for e in site.notes]
    assert outcomes[0] not in told


@pytest.mark.parametrize("code", ["SLICE_MISSING", "IDENTITY_MIXED"])
def test_s03_nothing_is_told_of_a_study_with_two_patients(site: Site, code: str):
    images = with_a_gap() if code == "SLICE_MISSING" else ct_series((6, 8, 8))
    images[1].PatientID = "SOMEBODY-ELSE"
    site.route(images)
    assert site.jobs[0].reason_code == code
    assert site.tell() == 0
    assert site.why() == (Telling.LEFT_OUT, "IDENTITY_MIXED")


def equal_refusals(site: Site, count: int) -> None:
    """More refusals of the same rule, plugin and code at the same time, as rows."""
    with site.db.write() as connection:
        row = connection.execute(job_table.select()).first()
        for number in range(count):
            values = dict(row._mapping) | {"id": f"{number:032x}", "fingerprint": f"{number:064x}"}
            connection.execute(insert(job_table).values(**values))


def test_s07_more_than_twenty_equal_refusals_an_hour_stop_it_with_one_alarm(site: Site):
    site.route(with_a_gap())
    equal_refusals(site, MOST_EQUAL)
    with capture_logs() as logs:
        assert site.tell() == 0
        assert site.tell(GRACE_S + 60) == 0
    alarms = [line for line in logs if line["event"].startswith("alarm:")]
    assert len(alarms) == 1
    assert alarms[0]["code"] == "SLICE_MISSING"
    assert not site.notes
    told = [telling_of(site.db, one.id) for one in site.jobs]
    assert TOO_MANY in {one[1] for one in told if one}


def test_s07_twenty_equal_refusals_are_told(site: Site):
    site.route(with_a_gap())
    equal_refusals(site, MOST_EQUAL - 1)
    assert site.tell() >= 1


def test_s07_a_day_later_nobody_is_told_any_more(site: Site):
    site.route(with_a_gap())
    assert site.tell(25 * 3600) == 0
    assert not site.notes


def test_s07_a_shadow_rule_tells_nobody(site: Site):
    site.with_rules(replace(site.settings.rules[0], shadow=True))
    site.route(with_a_gap())
    assert site.tell() == 0


def test_s04_a_note_of_a_plugin_that_is_not_released_says_research(site: Site):
    site.route(with_a_gap())
    site.tell()
    ds = site.parsed(site.notes[0])
    assert ds.SeriesDescription.startswith("RESEARCH AI did not run")
    assert ds.ContentQualification == "RESEARCH"
