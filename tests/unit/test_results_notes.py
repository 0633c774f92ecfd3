"""Notes about a run: did not run, withdrawn, rejected; same bytes each time, no fault of ours."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from pydicom.uid import Comprehensive3DSRStorage, ComprehensiveSRStorage

from node.errors import EvidenceRejected
from node.model import Evidence
from node.profiles import OHIF, PLAIN_PACS, STANDARD
from node.results.check import check_note
from node.results.encode import EncodedObject, encode
from node.results.not_run import not_run_report
from node.results.notes import NoteRequest
from node.results.withdrawal import Retraction, author_of, rejection, withdrawn_report
from tests.results_case import (
    full_request,
    items_of,
    job,
    manifest,
    parsed,
    source_header,
    synthetic_headers,
)

GAP = "slice gap 12 mm > 5 mm"


def note(**changes: Any) -> NoteRequest:
    plain = NoteRequest(
        job=job(), manifest=manifest(), source=source_header(), role="notrun", at=1_790_000_900.0
    )
    return replace(plain, **changes)


def not_run(**changes: Any) -> EncodedObject:
    return not_run_report(note(**changes), [source_header()], code="SLICE_MISSING", sentence=GAP)


def texts(made: EncodedObject) -> list[str]:
    """What it says to people: comments, or the description of a selection."""
    said = ("121106", "113012")
    items = [item for ds in items_of(parsed(made), "ContentSequence") for item in ds]
    return [
        str(item.TextValue)
        for item in items
        if item.ValueType == "TEXT" and item.ConceptNameCodeSequence[0].CodeValue in said
    ]


def evidence_of(made: EncodedObject) -> Evidence:
    names = ("study_instance_uid", "series_instance_uid", "sop_instance_uid", "sop_class_uid")
    return Evidence(
        id=1,
        job_id=job().id,
        role=made.role,
        transfer_syntax_uid=made.transfer_syntax_uid,
        path="x",
        sha256="0" * 64,
        size_bytes=len(made.content),
        position=made.position,
        **{name: getattr(made, name) for name in names},
    )


def a_run(profile=STANDARD) -> tuple[list[EncodedObject], NoteRequest, Retraction]:
    """The objects of a run, and what takes them back."""
    made = list(encode(full_request(synthetic_headers(), profile)))
    report = parsed(next(one for one in made if one.role == "sr"))
    what = Retraction(evidence=tuple(map(evidence_of, made)), reason="left and right swapped")
    return made, note(source=report, manifest=author_of(report, job()), role="rejection"), what


def test_s07_a_report_says_that_ai_did_not_run_and_why():
    made = not_run()
    ds = parsed(made)
    assert f"AI did not run: {GAP}" in texts(made)
    assert any("1.2.0" in text and "SLICE_MISSING" in text for text in texts(made))
    assert "Research use only. Not for diagnosis or treatment." in texts(made)
    assert ds.SeriesDescription == "RESEARCH AI did not run: Ball Finder"
    assert (ds.PatientID, ds.AccessionNumber, ds.SeriesNumber >= 9000) == ("P1", "A100", True)
    assert ds.ConceptNameCodeSequence[0].CodeValue == "126001"  # no crash in OHIF
    codes = items_of(ds, "CodeValue")
    assert "111245" in codes
    assert not {"111241", "111242"} & set(codes)


def test_s07_a_report_of_a_released_plugin_does_not_say_research():
    made = not_run(content_qualification="PRODUCT")
    assert parsed(made).SeriesDescription == "AI did not run: Ball Finder"
    assert not any("Research" in text for text in texts(made))


def test_s01_a_note_is_the_same_bytes_each_time_and_names_one_time():
    assert not_run().content == not_run().content
    assert parsed(not_run()).ContentTime == parsed(not_run()).SeriesTime
    other = not_run(role="notrun2")
    assert other.sop_instance_uid != not_run().sop_instance_uid


@pytest.mark.parametrize("charset", ["ISO_IR 192", "ISO_IR 100", "ISO_IR 144"])
def test_s06_a_note_keeps_the_name_in_every_charset(charset: str):
    assert str(parsed(not_run(charset=charset)).PatientName) == "Müller^Änne"


@pytest.mark.parametrize("title", ["quality", "safety"])
@pytest.mark.parametrize("profile", [STANDARD, OHIF, PLAIN_PACS], ids=lambda p: p.name)
def test_s08_a_rejection_names_every_object_of_the_run(title: str, profile):
    made, request, what = a_run(profile)
    note_ = rejection(request, what, title=title)
    ds = parsed(note_)
    code = {"quality": "113001", "safety": "113037"}[title]
    assert ds.ConceptNameCodeSequence[0].CodeValue == code
    named = [i for i in ds.ContentSequence if i.ValueType in ("IMAGE", "COMPOSITE")]
    assert [i.ReferencedSOPSequence[0].ReferencedSOPInstanceUID for i in named] == [
        one.sop_instance_uid for one in made
    ]
    composites = {i.ReferencedSOPSequence[0].ReferencedSOPClassUID for i in named}
    assert len(composites) == len({one.sop_class_uid for one in made})
    assert "left and right swapped" in texts(note_)[0]
    assert check_note(note_, request.source)["tree_rules"] == "passed"


@pytest.mark.parametrize("profile", [STANDARD, OHIF, PLAIN_PACS], ids=lambda p: p.name)
def test_s08_a_report_says_withdrawn_and_what_to_see(profile):
    _, request, what = a_run(profile)
    seen = replace(what, see="the newer result in series 9034")
    made = withdrawn_report(replace(request, role="withdrawn"), seen)
    ds = parsed(made)
    first, reason, *_ = texts(made)
    assert first.startswith("WITHDRAWN, see the newer result in series 9034.")
    assert "Ball Finder 1.2.0" in first
    assert reason == "Reason: left and right swapped."
    assert ds.SeriesDescription == "RESEARCH WITHDRAWN: Ball Finder"
    # Who asks an archive for reports by title or code gets no valid ones.
    assert ds.ConceptNameCodeSequence[0].CodeMeaning == "Withdrawn result"
    assert ds.SeriesDescriptionCodeSequence[0].CodeValue == "WITHDRAWN"
    assert request.source.ConceptNameCodeSequence[0].CodeMeaning != "Withdrawn result"
    assert "99SENTINEL" in items_of(ds, "CodingSchemeDesignator")
    assert {*items_of(ds, "ReferencedSOPInstanceUID")} >= {
        one.sop_instance_uid for one in what.evidence
    }
    assert check_note(made, request.source)["identity"] == "passed"


def test_s08_a_report_withdrawn_without_a_reason_points_at_none():
    _, request, what = a_run()
    made = withdrawn_report(replace(request, role="withdrawn"), replace(what, reason=""))
    first, *more = texts(made)
    assert first.startswith("WITHDRAWN. Do not use this result of Ball Finder 1.2.0")
    assert not any("reason" in one.casefold() for one in (first, *more))


def test_a_note_is_of_the_class_of_sr_that_its_profile_says():
    _, request, what = a_run()
    plain = {"sr_class": "comprehensive"}
    for made, usual, source in (
        (not_run(**plain), not_run(), source_header()),
        (
            withdrawn_report(replace(request, role="withdrawn", **plain), what),
            withdrawn_report(replace(request, role="withdrawn"), what),
            request.source,
        ),
    ):
        assert made.sop_class_uid == ComprehensiveSRStorage
        assert usual.sop_class_uid == Comprehensive3DSRStorage
        assert made.sop_instance_uid != usual.sop_instance_uid
        check_note(made, source)


def test_s08_a_note_on_did_not_run_can_be_withdrawn_too():
    gone = not_run()
    report = parsed(gone)
    request = note(source=report, manifest=author_of(report, job()), role="withdrawn")
    made = withdrawn_report(request, Retraction(evidence=(evidence_of(gone),), reason="it ran"))
    assert "NOTRUN" in texts(made)[0]
    check_note(made, report)


def test_s05_the_validator_finds_no_fault_of_ours_in_notes():
    _, request, what = a_run()
    for made, source in (
        (not_run(), source_header()),
        (rejection(request, what, title="safety"), request.source),
        (withdrawn_report(replace(request, role="withdrawn"), what), request.source),
    ):
        facts = check_note(made, source)["dciodvfy"]
        # It knows an older PS3.3, without Device UID in Contributing Equipment, and no private
        # scheme: that of the title of a withdrawn result.
        known = ("DeviceUID", "CodingSchemeDesignator Unrecognized defined term")
        unknown = [said for said in facts["own_warnings"] if not any(k in said for k in known)]
        assert facts["ran"] and not unknown, facts


def test_s03_a_note_of_another_patient_is_stopped():
    with pytest.raises(EvidenceRejected, match=r"identity.*PatientID"):
        check_note(not_run(), source_header(PatientID="P2"), find_validator=lambda: None)
