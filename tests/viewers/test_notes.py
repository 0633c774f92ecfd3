"""Notes about a run in OHIF: "did not run" and "withdrawn" open and say their sentence."""

from __future__ import annotations

import pydicom
import pytest

from node.dicom.headers import read_header
from node.model import Evidence
from node.results.not_run import not_run_report
from node.results.notes import NoteRequest
from node.results.withdrawal import Retraction, author_of, withdrawn_report
from tests.results_case import job, manifest
from tests.viewers.conftest import number
from tests.viewers.ohif import Ohif
from tests.viewers.test_reports import items_of, plain

pytestmark = pytest.mark.viewer


def evidence_of(path, role):
    ds = pydicom.dcmread(path, stop_before_pixels=True)
    return Evidence(
        id=1,
        job_id=job().id,
        role=role,
        study_instance_uid=str(ds.StudyInstanceUID),
        series_instance_uid=str(ds.SeriesInstanceUID),
        sop_instance_uid=str(ds.SOPInstanceUID),
        sop_class_uid=str(ds.SOPClassUID),
        transfer_syntax_uid=str(ds.file_meta.TransferSyntaxUID),
        path=path.name,
        sha256="0" * 64,
        size_bytes=1,
        position=1,
    )


def assert_shown(bench, study, folder, made):
    path = folder / f"{made.role}.dcm"
    path.write_bytes(made.content)
    sentences = [item.TextValue for item in items_of(pydicom.dcmread(path), "TEXT")]
    with bench.holding(study.files(path)) as uid, bench.page() as page:
        ohif = Ohif(page, bench.base, uid)
        ohif.load(number(path))
        assert ohif.error() == ""
        shown = plain(ohif.text())
    for sentence in sentences:
        assert plain(sentence) in shown
    return shown


def test_s07_did_not_run_opens_and_says_its_sentence(bench, computed, tmp_path):
    study = computed("axial")
    header = read_header(study.stack.paths[0])
    request = NoteRequest(
        job=job(), manifest=manifest(), source=header, role="notrun", at=1_790_000_900.0
    )
    sentence = "slice gap 12 mm > 5 mm"
    made = not_run_report(request, [header], code="SLICE_MISSING", sentence=sentence)
    assert f"AI did not run: {sentence}" in assert_shown(bench, study, tmp_path, made)


def test_s08_withdrawn_opens_and_says_its_sentence(bench, computed, tmp_path):
    study = computed("axial")
    report = read_header(study.sr)
    request = NoteRequest(
        job=job(),
        manifest=author_of(report, job()),
        source=report,
        role="withdrawn1",
        at=1_790_000_900.0,
    )
    what = Retraction(evidence=(evidence_of(study.sr, "sr"),), reason="left and right swapped")
    shown = assert_shown(bench, study, tmp_path, withdrawn_report(request, what))
    assert "WITHDRAWN, see" in shown
