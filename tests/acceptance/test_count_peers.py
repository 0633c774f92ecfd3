"""Counts by C-FIND at real archives of two independent makers (S13)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from node.dicom.find import count_images
from node.dicom.headers import read_header
from node.settings import PeerSettings
from tests.make import shared_data
from tests.peers import Orthanc, dcmqrscp, storescu

pytestmark = pytest.mark.peer


def count(ae_title: str, port: int, study: str) -> dict[str, int]:
    peer = PeerSettings(name="pacs", ae_title=ae_title, hosts=("127.0.0.1",), port=port, query=True)
    return dict(count_images(peer, study, calling_ae="SENTINEL"))


def study_and_series() -> tuple[Path, str, str]:
    folder = shared_data("crlm-ct-1004/ct")
    header = read_header(next(path for path in sorted(folder.iterdir()) if path.is_file()))
    return folder, str(header.StudyInstanceUID), str(header.SeriesInstanceUID)


def test_s13_orthanc_counts_a_series(start_orthanc: Callable[..., Orthanc]) -> None:
    folder, study, series = study_and_series()
    server = start_orthanc()
    server.upload(sorted(folder.iterdir())[:7])
    assert count("ORTHANC", server.dicom_port, study) == {series: 7}
    server.upload(sorted(folder.iterdir()))
    assert count("ORTHANC", server.dicom_port, study) == {series: 41}
    assert count("ORTHANC", server.dicom_port, "1.2.3") == {}


def test_s13_dcmqrscp_counts_a_series(tmp_path: Path) -> None:
    folder, study, series = study_and_series()
    with dcmqrscp(tmp_path) as port:
        storescu(folder, port, calling="SENTINEL", called="DCMTK")
        assert count("DCMTK", port, study) == {series: 41}
