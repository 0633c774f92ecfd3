"""Counts by C-FIND at a fake archive on loopback (S13)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest
from pydicom import Dataset
from pynetdicom import AE, evt
from pynetdicom.sop_class import StudyRootQueryRetrieveInformationModelFind, Verification

from node.dicom.find import count_images
from node.errors import QueryFailed
from node.settings import PeerSettings
from tests.make import free_port

PEER = PeerSettings(name="pacs", ae_title="PACS", hosts=("10.0.0.0/8", "127.0.0.1"), query=True)
STUDY = "1.2.3"


class FakeArchive:
    """Answers SERIES and IMAGE queries from a table."""

    def __init__(self, *, says_counts: bool = True, fails_with: int = 0):
        self.series = {"1.2.3.1": ("CT", 41), "1.2.3.2": ("MR", 2), "1.2.3.3": ("SR", 5)}
        self.says_counts = says_counts
        self.fails_with = fails_with
        self.calling: list[str] = []

    def answer(self, event: evt.Event) -> Iterator[tuple[int, Dataset | None]]:
        query = event.identifier
        self.calling.append(event.assoc.requestor.ae_title)
        if self.fails_with:
            first = next(self._answers(query))
            yield 0xFF00, first
            yield self.fails_with, None
            return
        for found in self._answers(query):
            yield 0xFF00, found

    def _answers(self, query: Dataset) -> Iterator[Dataset]:
        if query.StudyInstanceUID != STUDY:
            return
        if query.QueryRetrieveLevel == "IMAGE":
            for number in range(self.series[query.SeriesInstanceUID][1]):
                found = Dataset()
                found.SOPInstanceUID = f"{query.SeriesInstanceUID}.{number}"
                yield found
            return
        for uid, (modality, count) in self.series.items():
            found = Dataset()
            found.SeriesInstanceUID = uid
            found.Modality = modality
            if self.says_counts:
                found.NumberOfSeriesRelatedInstances = count
            yield found


@contextmanager
def served(archive: FakeArchive | None) -> Iterator[PeerSettings]:
    entity = AE(ae_title="PACS")
    handlers = []
    if archive is None:
        entity.add_supported_context(Verification)
    else:
        entity.add_supported_context(StudyRootQueryRetrieveInformationModelFind)
        handlers.append((evt.EVT_C_FIND, archive.answer))
    port = free_port()
    server = entity.start_server(("127.0.0.1", port), block=False, evt_handlers=handlers)
    try:
        yield replace(PEER, port=port)
    finally:
        server.shutdown()


def count(peer: PeerSettings, study: str = STUDY) -> dict[str, int]:
    return dict(count_images(peer, study, calling_ae="SENTINEL", timeout_s=2.0))


def test_s13_image_series_are_counted_and_reports_are_not() -> None:
    archive = FakeArchive()
    with served(archive) as peer:
        assert count(peer) == {"1.2.3.1": 41, "1.2.3.2": 2}
    assert archive.calling == ["SENTINEL"]


def test_s13_an_archive_without_the_optional_count_is_asked_for_its_images() -> None:
    with served(FakeArchive(says_counts=False)) as peer:
        assert count(peer) == {"1.2.3.1": 41, "1.2.3.2": 2}


def test_a_study_that_the_archive_does_not_know_has_no_series() -> None:
    with served(FakeArchive()) as peer:
        assert count(peer, "1.9") == {}


def test_a_part_of_an_answer_is_no_answer() -> None:
    with served(FakeArchive(fails_with=0xC001)) as peer, pytest.raises(QueryFailed, match="C001"):
        count(peer)


def test_an_archive_that_does_not_query_is_named() -> None:
    with served(None) as peer, pytest.raises(QueryFailed, match="pacs"):
        count(peer)


def test_an_archive_that_is_down_is_named_without_the_study() -> None:
    peer = replace(PEER, port=free_port())
    with pytest.raises(QueryFailed) as failure:
        count(peer)
    assert str(failure.value) == "pacs: the peer cannot be reached"


def test_a_peer_with_networks_only_cannot_be_asked() -> None:
    with pytest.raises(QueryFailed, match="only networks"):
        count(replace(PEER, hosts=("10.0.0.0/8",), port=104))
