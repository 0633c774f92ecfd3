"""Earlier results of a patient through the real pipeline: kept, hinted at, or never used (S10)."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom import Dataset, dcmread
from sqlalchemy import update

from node import app
from node.cli.local import take_in
from node.dicom.registration import SPATIAL_REGISTRATION
from node.dicom.uids import derived_uid
from node.inference.runner import RunOutcome
from node.intake.completion import sweep
from node.intake.versions import resolve_versions
from node.model import DestinationGrade, Job, NewEvidence
from node.parts import Node
from node.phantom.image_files import write_file
from node.phantom.study import make_ct_study
from node.pipeline import process
from node.plugin import Measurement, Result, Segment
from node.priors import follow_up_of, places_of
from node.profiles import STANDARD
from node.results.check import check_objects
from node.results.encode import encode
from node.routing.dispatch import dispatch_complete
from node.routing.explain import explain_document, explain_text
from node.settings import Condition, DestinationSettings, RuleSettings, Settings
from node.storage.database import SCHEMA_REVISION, Database
from node.storage.job_rows import get_report, rerun
from node.storage.lease_rows import claim_job
from node.storage.migrate import back_up_sqlite
from node.storage.prior_rows import priors_of
from node.storage.tables import delivery, job
from node.withdrawals import withdraw_job
from tests.results_case import (
    ball_result,
    items_of,
    parsed,
    request_of,
    synthetic_headers,
)
from tests.unit.test_follow_up import comments, derived_of, number

SHAPE = (6, 48, 48)
FRAME = "1.2.826.0.1.3680043.8.498.1"
#: (first row, first column, size in voxels) of two findings; a voxel is 8.5 mm wide.
BOTH = ((8, 8, 6), (30, 30, 4))


class Spots:
    """Finds what a test says: a box on slices 2 and 3 for each spot."""

    device = "cpu"

    def __init__(self, *spots: tuple[int, int, int]):
        self.spots = spots

    def run(self, manifest: Any, case: Any, *, job_folder: Path) -> RunOutcome:
        volume = case.volumes["ct"]
        segments, values = [], []
        for finding, (row, column, size) in enumerate(self.spots, start=1):
            mask = np.zeros(volume.array.shape, bool)
            mask[2:4, row : row + size, column : column + size] = True
            ml = float(mask.sum()) * volume.voxel_volume_mm3 / 1000
            segments.append(Segment(name="dense", mask=mask, role="ct", finding=finding))
            values.append(Measurement(name="volume", value=ml, segment="dense", finding=finding))
        result = Result(segments=tuple(segments), measurements=tuple(values))
        return RunOutcome(
            result=result, peak_memory_mb=0.0, device="cpu", seconds=0.0, load_seconds=0.0
        )


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    opened = open_site(tmp_path)
    yield opened
    opened.close()


def open_site(tmp_path: Path) -> Node:
    place = DestinationSettings(
        name="pacs",
        kind="folder",
        grade=DestinationGrade.TEST,
        path=tmp_path / "pacs",
        profile=STANDARD,
    )
    rule = RuleSettings(
        name="check",
        plugin="commissioning",
        when=Condition(operator="all"),
        destinations=("pacs",),
        quiet_s=0.0,
        max_age_days=float("inf"),
    )
    settings = Settings(
        data_dir=tmp_path / "data", rules=(rule,), destinations=(place,), quiet_s=0.0
    )
    app.prepare_data(settings)
    return app.open_node(settings)


def study(folder: Path, day: str, **header: object) -> list[Path]:
    """Write a study of that day; each has a frame of reference of its own unless one is given."""
    now = datetime.fromisoformat(f"{day}T10:00:00").replace(tzinfo=UTC).timestamp()
    made = make_ct_study(folder / f"{day}{len(list(folder.glob('*')))}", shape=SHAPE, now=now)
    for path in made.paths:
        change(path, **header)
    return list(made.paths)


def change(path: Path, **header: object) -> None:
    ds = dcmread(path)
    for keyword, value in header.items():
        setattr(ds, keyword, value)
    ds.save_as(path)


def routed(node: Node, paths: Sequence[Path]) -> Job:
    """Take a study in and claim its job."""
    take_in(node, paths)
    resolve_versions(node.db, node.files, now=time.time())
    sweep(node.db, node.settings, now=time.time() + 1)
    dispatch_complete(node.db, node.files, node.settings, node.manifests, now=time.time())
    return claimed(node)


def claimed(node: Node) -> Job:
    found = claim_job(node.db, "test", now=time.time(), lease_s=600)
    assert found is not None
    return found


def run(node: Node, paths: Sequence[Path], *spots: tuple[int, int, int]) -> Run:
    return computed(node, routed(node, paths), *spots)


class Run:
    """One finished job with what it wrote."""

    def __init__(self, node: Node, done: Job, made: Sequence[NewEvidence]):
        self.job = done
        by_role = {one.role: dcmread(node.files.absolute(one.path)) for one in made}
        self.report: Dataset = by_role["sr"]
        segments = by_role["seg"].SegmentSequence if "seg" in by_role else []
        #: Tracking ID → Tracking UID.
        self.tracking = {str(one.TrackingID): str(one.TrackingUID) for one in segments}
        self.priors = [one["use"] for one in get_report(node.db, done.id)["priors"]]
        self.said = comments(self.report)

    @property
    def hints(self) -> list[str]:
        return [one for one in self.said if one.startswith("possible prior")]


def computed(node: Node, claimed_job: Job, *spots: tuple[int, int, int]) -> Run:
    made = process(claimed_job, node, Spots(*spots))
    return Run(node, claimed_job, made)


def registration(image: Path, folder: Path, *, earlier: str, matrix: np.ndarray) -> Path:
    """A Spatial Registration in the study of an image that maps another frame to its own."""
    source = dcmread(image, stop_before_pixels=True)
    ds = Dataset()
    for keyword in (
        *("PatientID", "IssuerOfPatientID", "PatientName", "PatientBirthDate", "PatientSex"),
        *("StudyInstanceUID", "StudyDate", "StudyTime", "StudyID", "AccessionNumber"),
        "FrameOfReferenceUID",
    ):
        setattr(ds, keyword, source[keyword].value)
    ds.SOPClassUID, ds.Modality = SPATIAL_REGISTRATION, "REG"
    ds.SOPInstanceUID = derived_uid("registration", str(folder), earlier)
    ds.SeriesInstanceUID = derived_uid("registration series", str(folder), earlier)
    step = Dataset()
    step.FrameOfReferenceTransformationMatrix = [f"{value:.6f}" for value in matrix.flat]
    step.FrameOfReferenceTransformationMatrixType = "RIGID"
    one, item = Dataset(), Dataset()
    one.MatrixSequence = [step]
    item.FrameOfReferenceUID, item.MatrixRegistrationSequence = earlier, [one]
    ds.RegistrationSequence = [item]
    path = folder / f"{ds.SOPInstanceUID}.dcm"
    write_file(path, ds)
    return path


def shifted(x: float) -> np.ndarray:
    matrix = np.eye(4)
    matrix[0, 3] = x
    return matrix


# --- kept -------------------------------------------------------------------------------------


def test_s10_in_the_same_frame_of_reference_findings_keep_their_tracking_uids(
    node: Node, tmp_path: Path
) -> None:
    first = run(node, study(tmp_path, "2026-01-03", FrameOfReferenceUID=FRAME), *BOTH)
    # The first finding grew, the plugin's order is another, and a third one came.
    today = ((30, 30, 4), (20, 40, 3), (8, 8, 7))
    second = run(node, study(tmp_path, "2026-03-01", FrameOfReferenceUID=FRAME), *today)

    label = "Display check: voxels >= 300 HU"
    assert list(first.tracking) == [f"{label} 1", f"{label} 2"]
    assert second.tracking.items() > first.tracking.items()
    assert list(second.tracking) == [f"{label} 2", f"{label} 3", f"{label} 1"]
    assert second.hints == []
    assert any(
        one.startswith(f"{label} 1: Volume ") and "on 2026-01-03" in one and ", +36.1 %)" in one
        for one in second.said
    )
    assert f"No finding of 2026-01-03 is beyond doubt the same: {label} 3." in second.said
    assert [number(one)[1] for one in derived_of(second.report)] == ["cm3", "cm3"]
    assert second.priors == [
        "compared: the Frame of Reference is the same, findings are matched by place one to one"
    ]


def test_s10_a_registration_of_the_study_links_both_and_is_applied(
    node: Node, tmp_path: Path
) -> None:
    before = study(tmp_path, "2026-01-03")
    first = run(node, before, *BOTH)
    now = study(tmp_path, "2026-03-01")
    spacing = float(dcmread(now[0]).PixelSpacing[0])
    frame = str(dcmread(before[0]).FrameOfReferenceUID)
    link = registration(now[0], tmp_path, earlier=frame, matrix=shifted(10 * spacing))
    # Ten columns further: without the registration nothing would lie where it lay.
    second = run(node, [*now, link], (8, 18, 6), (30, 40, 4))

    assert second.tracking == first.tracking
    assert second.priors[0].startswith("compared: a Spatial Registration of the study")
    assert len(derived_of(second.report)) == 2


def test_s10_a_rerun_keeps_the_tracking_uids_of_its_study_and_compares_nothing(
    node: Node, tmp_path: Path
) -> None:
    first = run(node, study(tmp_path, "2026-01-03"), *BOTH)
    rerun(node.db, first.job.id, now=time.time())
    second = computed(node, claimed(node), *BOTH)

    assert second.tracking == first.tracking
    assert second.report.SOPInstanceUID != first.report.SOPInstanceUID
    assert second.hints == [] and derived_of(second.report) == []
    assert second.priors == ["same study"]


def test_s10_a_finding_on_two_inputs_of_a_run_has_one_tracking_uid(node: Node) -> None:
    """The lymph node is on one input only; the tumour is on both, in one frame of reference."""
    plain = request_of(synthetic_headers(), ball_result())
    (tumour,) = plain.result.segments
    gland = np.zeros(tumour.mask.shape, bool)
    gland[0, 5, 6] = True
    segments = (
        tumour,
        replace(tumour, role="late", finding=2),
        Segment(name="node", mask=gland, role="late"),
    )
    request = replace(
        plain,
        result=Result(segments=segments),
        stacks={"ct": plain.stacks["ct"], "late": plain.stacks["ct"]},
        headers={"ct": plain.headers["ct"], "late": plain.headers["ct"]},
    )

    found = replace(request, follow_up=follow_up_of(request, places_of(request), node))
    first, second = (parsed(one) for one in encode(found)[:2])

    assert found.follow_up.audit == ()
    assert len(first.SegmentSequence) == 1 and len(second.SegmentSequence) == 2
    (one,), (same, other) = first.SegmentSequence, second.SegmentSequence
    assert (one.TrackingUID, one.TrackingID) == (same.TrackingUID, same.TrackingID)
    assert other.TrackingUID != one.TrackingUID
    check_objects(encode(found), found, find_validator=lambda: None)


# --- a hint only ------------------------------------------------------------------------------


def test_s10_without_registration_the_report_names_a_possible_prior_and_shares_nothing(
    node: Node, tmp_path: Path
) -> None:
    first = run(node, study(tmp_path, "2026-01-03"), *BOTH)
    second = run(node, study(tmp_path, "2026-03-01"), *BOTH)

    (hint,) = second.hints
    assert hint.startswith(
        "possible prior: study of 2026-01-03, series “Axial, synthetic”, "
        "Commissioning display check 1.0.0: Display check: voxels >= 300 HU 1: Volume "
    )
    assert hint.endswith("Not compared: no registration links both studies.")
    assert not set(first.tracking.values()) & set(second.tracking.values())
    assert derived_of(second.report) == []
    assert not any("%" in one for one in second.said)
    assert second.priors == ["possible prior: no registration links both studies"]


@pytest.mark.parametrize(
    ("today", "matched"),
    [
        # Moved away; then two where there was one.
        (((8, 20, 6),), 0),
        (((8, 8, 3), (8, 12, 3)), 0),
        (((9, 8, 6),), 1),
    ],
    ids=["moved", "split", "near"],
)
def test_s10_what_is_not_one_to_one_is_a_possible_prior(
    node: Node, tmp_path: Path, today: tuple[tuple[int, int, int], ...], matched: int
) -> None:
    first = run(node, study(tmp_path, "2026-01-03", FrameOfReferenceUID=FRAME), (8, 8, 6))
    second = run(node, study(tmp_path, "2026-03-01", FrameOfReferenceUID=FRAME), *today)

    assert len(set(first.tracking.values()) & set(second.tracking.values())) == matched
    assert len(second.hints) == 1 - matched
    assert len(derived_of(second.report)) == matched


def test_s10_another_major_version_is_a_possible_prior_with_its_number(
    node: Node, tmp_path: Path
) -> None:
    first = run(node, study(tmp_path, "2026-01-03", FrameOfReferenceUID=FRAME), *BOTH)
    with node.db.write() as connection:
        connection.execute(
            update(job).where(job.c.id == first.job.id).values(plugin_version="2.0.0")
        )
    second = run(node, study(tmp_path, "2026-03-01", FrameOfReferenceUID=FRAME), *BOTH)

    (hint,) = second.hints
    assert "Commissioning display check 2.0.0" in hint
    assert hint.endswith("Not compared: another major version of the plugin.")
    assert not set(first.tracking.values()) & set(second.tracking.values())


def test_s10_an_earlier_study_where_nothing_was_found_is_told(node: Node, tmp_path: Path) -> None:
    run(node, study(tmp_path, "2026-01-03"))
    second = run(node, study(tmp_path, "2026-03-01"), *BOTH)
    third = run(node, study(tmp_path, "2026-04-01"))

    assert second.hints[0].endswith("Commissioning display check 1.0.0: nothing found.")
    assert [one[:35] for one in third.hints] == [
        "possible prior: study of 2026-03-01",
        "possible prior: study of 2026-01-03",
    ]


# --- never ------------------------------------------------------------------------------------


def withdrawn(node: Node, first: Run) -> None:
    assert withdraw_job(node, first.job.id, reason="wrong side", now=time.time()) > 0


def superseded(node: Node, first: Run) -> None:
    values = {"reason_code": "SUPERSEDED"}
    with node.db.write() as connection:
        connection.execute(update(job).where(job.c.id == first.job.id).values(**values))


def in_shadow(node: Node, first: Run) -> None:
    with node.db.write() as connection:
        connection.execute(update(job).where(job.c.id == first.job.id).values(shadow=True))


def stopped(node: Node, first: Run) -> None:
    deliveries(node, first, state="CANCELED")


def held_for_another_patient(node: Node, first: Run) -> None:
    deliveries(node, first, reason="IDENTITY_DIFFERS: PatientID of the study differ")


def filed_under_another_patient(node: Node, first: Run) -> None:
    deliveries(node, first, state="FAILED", reason="PATIENT_DIFFERS: the destination files it …")


def refused_everywhere(node: Node, first: Run) -> None:
    deliveries(node, first, state="FAILED", reason="0122: SOP class not supported")


def deliveries(node: Node, first: Run, **values: str) -> None:
    with node.db.write() as connection:
        changed = update(delivery).where(delivery.c.job_id == first.job.id)
        connection.execute(changed.values(**values))


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Node, Run]]:
    folder = tmp_path_factory.mktemp("finished")
    opened = open_site(folder)
    yield opened, run(opened, study(folder, "2026-01-03", FrameOfReferenceUID=FRAME), *BOTH)
    opened.close()


@pytest.fixture
def copied(finished: tuple[Node, Run], tmp_path: Path) -> Iterator[tuple[Node, Run]]:
    """One finished run; what a test does to its rows stays with the test."""
    original, first = finished
    copy = back_up_sqlite(original.db.url, tmp_path / "rows", SCHEMA_REVISION)
    database = Database(f"sqlite:///{copy}")
    yield replace(original, db=database), first
    database.close()


def standing(node: Node, **asked: str) -> list[str]:
    plain = {
        "patient_id": "PHANTOM-0001",
        "issuer_of_patient_id": "SENTINEL-PHANTOM",
        "plugin": "commissioning",
        "but": "",
    }
    return [one.job.id for one in priors_of(node.db, **{**plain, **asked})]


@pytest.mark.parametrize(
    "what",
    [
        *(withdrawn, superseded, in_shadow, stopped, refused_everywhere),
        *(held_for_another_patient, filed_under_another_patient),
    ],
    ids=lambda one: one.__name__,
)
def test_s10_a_result_that_does_not_stand_is_no_prior(
    copied: tuple[Node, Run], what: Callable[[Node, Run], None]
) -> None:
    node, first = copied
    assert standing(node) == [first.job.id]

    what(node, first)

    assert standing(node) == []


@pytest.mark.parametrize(
    "asked",
    [
        {"patient_id": "ANOTHER"},
        {"issuer_of_patient_id": "ANOTHER"},
        {"issuer_of_patient_id": ""},
        {"plugin": "another"},
    ],
    ids=lambda one: "-".join(f"{word}={value}" for word, value in one.items()),
)
def test_s10_another_patient_issuer_or_plugin_has_no_priors_here(
    copied: tuple[Node, Run], asked: dict[str, str]
) -> None:
    node, first = copied

    assert standing(node, **asked) == []
    assert standing(node, but=first.job.id) == []


def test_s10_a_withdrawn_result_is_not_spoken_of(node: Node, tmp_path: Path) -> None:
    first = run(node, study(tmp_path, "2026-01-03", FrameOfReferenceUID=FRAME), *BOTH)
    withdrawn(node, first)
    second = run(node, study(tmp_path, "2026-03-01", FrameOfReferenceUID=FRAME), *BOTH)

    assert second.hints == [] and second.priors == []
    assert not set(first.tracking.values()) & set(second.tracking.values())


@pytest.mark.parametrize(
    ("header", "why"),
    [
        ({"PatientBirthDate": "19610101"}, "birth dates differ now"),
        ({"PatientName": "Other^Person"}, "patient names differ now"),
    ],
)
def test_s03_s10_one_number_with_two_persons_is_never_compared(
    node: Node, tmp_path: Path, header: dict[str, str], why: str
) -> None:
    run(node, study(tmp_path, "2026-01-03", FrameOfReferenceUID=FRAME), *BOTH)
    now = study(tmp_path, "2026-03-01", FrameOfReferenceUID=FRAME, **header)
    second = run(node, now, *BOTH)

    assert second.hints == [] and derived_of(second.report) == []
    assert second.priors == [f"left out: {why}"]


@pytest.mark.parametrize(
    ("settled", "why"),
    [(True, "Patient IDs differ now"), (False, "its images are here in two versions")],
    ids=["corrected", "not compared yet"],
)
def test_s03_s10_a_study_whose_patient_was_corrected_is_no_prior(
    node: Node, tmp_path: Path, settled: bool, why: str
) -> None:
    before = study(tmp_path, "2026-01-03", FrameOfReferenceUID=FRAME)
    run(node, before, *BOTH)
    waiting = routed(node, study(tmp_path, "2026-03-01", FrameOfReferenceUID=FRAME))
    for path in before:
        change(path, PatientID="THE OTHER ONE")
    take_in(node, before)
    if settled:
        resolve_versions(node.db, node.files, now=time.time())
    second = computed(node, waiting, *BOTH)

    assert second.hints == [] and derived_of(second.report) == []
    assert second.priors == [f"left out: {why}"]


def test_s10_a_registration_of_another_patient_links_nothing(node: Node, tmp_path: Path) -> None:
    before = study(tmp_path, "2026-01-03")
    run(node, before, *BOTH)
    now = study(tmp_path, "2026-03-01")
    frame = str(dcmread(before[0]).FrameOfReferenceUID)
    link = registration(now[0], tmp_path, earlier=frame, matrix=np.eye(4))
    waiting = routed(node, now)
    change(link, PatientID="ANOTHER")
    take_in(node, [link])
    second = computed(node, waiting, *BOTH)

    assert second.priors == ["possible prior: no registration links both studies"]


def test_s10_a_later_study_is_no_prior_of_an_earlier_one(node: Node, tmp_path: Path) -> None:
    run(node, study(tmp_path, "2026-03-01", FrameOfReferenceUID=FRAME), *BOTH)
    back_filled = run(node, study(tmp_path, "2026-01-03", FrameOfReferenceUID=FRAME), *BOTH)
    undated = study(tmp_path, "2026-04-01", StudyDate="", SeriesDate="", AcquisitionDate="")

    assert back_filled.hints == [] and back_filled.priors == []
    assert run(node, undated, *BOTH).priors == []


# --- on record --------------------------------------------------------------------------------


def test_s10_explain_says_which_results_were_looked_at_and_names_nobody(
    node: Node, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = run(node, study(tmp_path, "2026-01-03", FrameOfReferenceUID=FRAME), *BOTH)
    second = run(node, study(tmp_path, "2026-03-01", FrameOfReferenceUID=FRAME), *BOTH)

    text = explain_text(node.db, second.job.study_instance_uid)
    document = explain_document(node.db, second.job.study_instance_uid)

    assert (
        f"earlier result, job {first.job.id} (commissioning@1.0.0): compared: the Frame of "
        "Reference is the same, findings are matched by place one to one; 2 Tracking UIDs kept"
    ) in text
    (kept,) = document["jobs"][0]["priors"]
    assert kept["tracking_uids"] == sorted(first.tracking.values())
    for words in (text, str(document["jobs"]), capsys.readouterr().out):
        assert "PHANTOM-0001" not in words and "Phantom^Demo" not in words


def test_s10_every_edition_of_a_run_says_the_same(node: Node, tmp_path: Path) -> None:
    run(node, study(tmp_path, "2026-01-03", FrameOfReferenceUID=FRAME), *BOTH)
    places = tuple(
        replace(node.settings.destinations[0], name=name, charset=charset)
        for name, charset in (("pacs", "ISO_IR 192"), ("other", "source"))
    )
    rule = replace(node.settings.rules[0], destinations=("pacs", "other"))
    change_site = replace(node.settings, destinations=places, rules=(rule,))
    wider = replace(node, settings=change_site)
    paths = study(tmp_path, "2026-03-01", FrameOfReferenceUID=FRAME)
    for path in paths:
        change(path, SpecificCharacterSet="ISO_IR 100")

    made = process(routed(wider, paths), wider, Spots(*BOTH))

    reports = [dcmread(node.files.absolute(one.path)) for one in made if one.role == "sr"]
    assert len(reports) == 2
    assert comments(reports[0]) == comments(reports[1])
    assert items_of(reports[0], "UID") == items_of(reports[1], "UID")
