"""One job, destinations with different viewer profiles: each gets its own objects, once made."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from pydicom import dcmread
from typer.testing import CliRunner

from node import app
from node.cli import app as command
from node.cli.local import take_in
from node.delivery.deliver import Outlet, deliver_due
from node.delivery.destination import open_destination
from node.errors import EvidenceRejected, Refused
from node.inference.runner import RunOutcome
from node.intake.completion import sweep
from node.model import DeliveryState, DestinationGrade, Job
from node.parts import Node
from node.phantom.study import PhantomStudy, make_ct_study
from node.pipeline import process
from node.plugin import Measurement, Result, Segment
from node.profiles import DWV, OHIF, PLAIN_PACS, STANDARD, ViewerProfile
from node.results.check import check_objects
from node.routing.chain import Chain
from node.routing.dispatch import dispatch_complete
from node.routing.explain import explain_text
from node.settings import Condition, DestinationSettings, RuleSettings, Settings
from node.storage.delivery_rows import evidence_of_job, list_deliveries
from node.storage.job_rows import get_report
from node.storage.lease_rows import claim_job
from tests.delivering import SEG, SR, Peer

SEVERAL = {"pacs": PLAIN_PACS, "viewer": OHIF, "second viewer": replace(OHIF, name="ours")}


class Dense:
    """Returns the voxels at or above 300 HU without a child process."""

    device = "cpu"

    def run(self, manifest, case, *, job_folder):
        mask = case.volumes["ct"].array >= 300
        volume = float(np.count_nonzero(mask)) * case.volumes["ct"].voxel_volume_mm3 / 1000
        result = Result(
            segments=(Segment(name="dense", mask=mask, role="ct"),),
            measurements=(Measurement(name="volume", value=volume, segment="dense"),),
        )
        return RunOutcome(
            result=result, peak_memory_mb=0.0, device="cpu", seconds=0.0, load_seconds=0.0
        )


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> PhantomStudy:
    return make_ct_study(tmp_path_factory.mktemp("study"), shape=(12, 96, 96))


@contextmanager
def routed(
    folder: Path, study: PhantomStudy, profiles: dict[str, ViewerProfile], *, shadow: bool = False
) -> Iterator[tuple[Node, Job]]:
    """Open a node whose one job is claimed."""
    places = tuple(
        DestinationSettings(
            name=name,
            kind="folder",
            grade=DestinationGrade.TEST,
            path=folder / name,
            profile=profile,
        )
        for name, profile in profiles.items()
    )
    rule = RuleSettings(
        name="check",
        plugin="commissioning",
        when=Condition(operator="all"),
        destinations=tuple(profiles),
        quiet_s=0.0,
        max_age_days=float("inf"),
        shadow=shadow,
    )
    settings = Settings(data_dir=folder / "data", rules=(rule,), destinations=places, quiet_s=0.0)
    app.prepare_data(settings)
    node = app.open_node(settings)
    try:
        take_in(node, study.paths)
        sweep(node.db, settings, now=time.time() + 1)
        dispatch_complete(node.db, node.files, settings, node.manifests, now=time.time())
        job = claim_job(node.db, "test", now=time.time(), lease_s=600)
        assert job is not None
        yield node, job
    finally:
        node.close()


def deliver(node: Node) -> None:
    outlets = [
        Outlet(settings=one, destination=open_destination(one, "SENTINEL"))
        for one in node.settings.destinations
    ]
    deliver_due(
        node.db,
        node.files,
        outlets,
        now=time.time() + 1,
        owner="test",
        allowed=lambda *_: None,
        on_event=lambda _: None,
    )


def uids(folder: Path) -> dict[str, str]:
    """Role → SOP Instance UID of the files in a folder destination."""
    names = [path.stem.partition("_") for path in folder.glob("*/*.dcm")]
    return {role: uid for role, _, uid in names}


def test_s01_each_destination_gets_the_objects_of_its_profile_and_equal_ones_are_shared(
    tmp_path: Path, study: PhantomStudy
) -> None:
    with routed(tmp_path, study, SEVERAL) as (node, job):
        process(job, node, Dense())
        deliver(node)
        rows = list_deliveries(node.db)
        made = evidence_of_job(node.db, job.id)
        explained = explain_text(node.db, job.study_instance_uid)

    pacs, viewer = uids(tmp_path / "pacs"), uids(tmp_path / "viewer")
    assert "seg" not in pacs and {"sr", "sc"} <= set(pacs)
    assert set(viewer) == {"seg", "sr"}
    assert uids(tmp_path / "second viewer") == viewer
    assert pacs["sr"] != viewer["sr"]
    assert len(made) == len(pacs) + len(viewer)
    assert {delivery.state for delivery, _ in rows} == {DeliveryState.PROVEN}
    assert {(d.destination, d.profile) for d, _ in rows} == {
        ("pacs", "plain_pacs"),
        ("viewer", "ohif"),
        ("second viewer", "ours"),
    }
    assert "to viewer (profile ohif): seg PROVEN, sr PROVEN" in explained


def test_s01_a_second_attempt_makes_the_same_bytes_for_every_profile(
    tmp_path: Path, study: PhantomStudy
) -> None:
    with routed(tmp_path, study, {"viewer": OHIF, "dwv": DWV}) as (node, job):
        first = process(job, node, Dense())
        with pytest.raises(Exception, match="not attempt"):
            process(job, node, Dense())
        files = sorted(node.files.evidence_folder(job.id).glob("*.dcm"))
    assert sorted(node.files.absolute(one.path) for one in first) == files
    assert len({one.sop_instance_uid for one in first}) == len(first)


def test_s10_a_finding_has_one_tracking_uid_in_all_profiles(
    tmp_path: Path, study: PhantomStudy
) -> None:
    with routed(tmp_path, study, {"viewer": OHIF, "archive": STANDARD}) as (node, job):
        made = process(job, node, Dense())
        segs = [dcmread(node.files.absolute(one.path)) for one in made if one.role == "seg"]
    assert len({ds.SOPInstanceUID for ds in segs}) == 2
    assert len({ds.SegmentSequence[0].TrackingUID for ds in segs}) == 1


def test_s25_a_profile_that_cannot_hold_the_result_blocks_no_other(
    tmp_path: Path, study: PhantomStudy
) -> None:
    small = replace(OHIF, name="small", max_seg_frames=1)
    with routed(tmp_path, study, {"small": small, "pacs": PLAIN_PACS}) as (node, job):
        process(job, node, Dense())
        left_out = get_report(node.db, job.id)["left_out"]
        destinations = {delivery.destination for delivery, _ in list_deliveries(node.db)}
        explained = explain_text(node.db, job.study_instance_uid)
    assert destinations == {"pacs"}
    assert list(left_out) == ["small"]
    assert left_out["small"].startswith("RESULT_TOO_LARGE: 1 segment in ")
    assert "to small: nothing, RESULT_TOO_LARGE" in explained


def test_a_label_map_goes_out_with_the_report_on_its_segments(
    tmp_path: Path, study: PhantomStudy
) -> None:
    labels = replace(STANDARD, name="labels", seg="labelmap", key_objects=True)
    with routed(tmp_path, study, {"archive": labels, "pacs": PLAIN_PACS}) as (node, job):
        process(job, node, Dense())
        deliver(node)
        left_out = get_report(node.db, job.id)["left_out"]

    assert left_out == {}
    assert {"seg", "sr", "kos"} <= set(uids(tmp_path / "archive"))
    assert {"sr", "sc"} <= set(uids(tmp_path / "pacs"))


@pytest.fixture
def no_report_on_segments(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the gate reject every report that points at segments."""

    def gate(objects, request, **given):
        if request.sr_shape == "segment":
            raise EvidenceRejected("sr: dciodvfy: Error: ContentSequence is not ours")
        return check_objects(objects, request, **given)

    monkeypatch.setattr("node.pipeline.check_objects", gate)


@pytest.mark.usefixtures("no_report_on_segments")
def test_s25_an_edition_that_is_rejected_blocks_no_other(
    tmp_path: Path, study: PhantomStudy
) -> None:
    profiles = {"archive": STANDARD, "pacs": PLAIN_PACS, "viewer": OHIF}
    with routed(tmp_path, study, profiles) as (node, job):
        made = process(job, node, Dense())
        deliver(node)
        rows = list_deliveries(node.db)
        files = list(node.files.evidence_folder(job.id).glob("*.dcm"))
        left_out = get_report(node.db, job.id)["left_out"]
        explained = explain_text(node.db, job.study_instance_uid)
        jobs = CliRunner().invoke(
            command, ["jobs", "--json", "--settings", str(settings_of(tmp_path))]
        )

    assert {delivery.destination for delivery, _ in rows} == {"pacs", "viewer"}
    assert {delivery.state for delivery, _ in rows} == {DeliveryState.PROVEN}
    assert not uids(tmp_path / "archive")
    assert not any("sr=segment" in one.encoding for one in made)
    assert len(files) == len(made)
    why = "EVIDENCE_REJECTED: sr: dciodvfy: Error: ContentSequence is not ours"
    assert left_out == {"archive": why}
    assert f"to archive: nothing, {why}" in explained
    (row,) = json.loads(jobs.output)
    assert (row["state"], row["reason"]) == ("COMPLETED", f"nothing to archive, {why}")


def settings_of(folder: Path) -> Path:
    path = folder / "sentinel.toml"
    path.write_text('[node]\ndata_dir = "data"\n')
    return path


@pytest.mark.usefixtures("no_report_on_segments")
def test_s25_the_alarm_names_destination_profile_and_check(
    tmp_path: Path, study: PhantomStudy, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[tuple[str, dict[str, object]]] = []
    with routed(tmp_path, study, {"archive": STANDARD, "pacs": PLAIN_PACS}) as (node, job):
        monkeypatch.setattr(
            "node.pipeline.log.error", lambda event, **words: said.append((event, words))
        )
        process(job, node, Dense())

    (alarm,) = said
    assert alarm == (
        "alarm: a destination gets nothing",
        {
            "destination": "archive",
            "profile": "standard",
            "job": job.id,
            "rule": "check",
            "code": "EVIDENCE_REJECTED",
            "check": "sr: dciodvfy: Error: ContentSequence is not ours",
        },
    )


@pytest.mark.usefixtures("no_report_on_segments")
def test_a_job_fails_only_if_every_edition_does_and_our_fault_comes_first(
    tmp_path: Path, study: PhantomStudy
) -> None:
    small = replace(OHIF, name="small", max_seg_frames=1)
    with routed(tmp_path, study, {"small": small, "archive": STANDARD}) as (node, job):
        with pytest.raises(EvidenceRejected, match="is not ours"):
            process(job, node, Dense())
        assert list_deliveries(node.db) == ()
        assert not list(node.files.evidence_folder(job.id).glob("*.dcm"))


@pytest.mark.usefixtures("no_report_on_segments")
def test_s25_a_plugin_that_takes_the_result_is_told_why_there_is_none(
    tmp_path: Path, study: PhantomStudy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("node.pipeline.feeds_another", lambda *_: True)
    with routed(tmp_path, study, {"pacs": PLAIN_PACS}) as (node, job):
        process(job, node, Dense())
        left_out = get_report(node.db, job.id)["left_out"]
        chain = Chain(db=node.db, files=node.files, rulings=(SimpleNamespace(job=job),))
        found = chain.result_of("commissioning")
        destinations = {delivery.destination for delivery, _ in list_deliveries(node.db)}

    assert list(left_out) == ["(another plugin)"]
    assert destinations == {"pacs"}
    assert found.sentence == f"no segmentation of job {job.id} could be made"


def test_a_result_that_no_profile_can_hold_is_refused(tmp_path: Path, study: PhantomStudy) -> None:
    small = replace(OHIF, name="small", max_seg_frames=1)
    with (
        routed(tmp_path, study, {"small": small}) as (node, job),
        pytest.raises(Refused, match="frames"),
    ):
        process(job, node, Dense())


def test_a_shadow_job_makes_what_it_would_send_and_sends_nothing(
    tmp_path: Path, study: PhantomStudy
) -> None:
    with routed(tmp_path, study, SEVERAL, shadow=True) as (node, job):
        made = process(job, node, Dense())
        assert list_deliveries(node.db) == ()
    assert len({one.encoding for one in made}) == 2


# --- the command probe ------------------------------------------------------------------------


def call(*arguments: object) -> tuple[int, str]:
    done = CliRunner().invoke(command, [str(one) for one in arguments])
    return done.exit_code, done.output


def settings_file(folder: Path, port: int, profile: str) -> Path:
    path = folder / "sentinel.toml"
    path.write_text(
        f'[node]\ndata_dir = "data"\n[[destinations]]\nname = "pacs"\nkind = "dicom"\n'
        f'grade = "test"\nae_title = "ARCHIVE"\nhost = "127.0.0.1"\nport = {port}\n{profile}\n'
    )
    return path


def test_probe_says_what_is_taken_and_ends_with_1_where_the_profile_wants_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    with Peer(classes=(SEG, SR)) as peer:
        fits = settings_file(tmp_path, peer.port, 'profile = "ohif"')
        code, words = call("probe", "pacs", "--settings", fits)
        plain = settings_file(tmp_path, peer.port, "")
        bad_code, bad_words = call("probe", "pacs", "--settings", plain, "--json")
        unknown = call("probe", "psca", "--settings", plain)

    assert code == 0, words
    assert "profile ohif (OHIF 3.13.2)" in words
    assert "Label Map Segmentation" in words and "over 20000 frames" in words
    assert "takes all that these profiles send: none." in words
    assert "takes what these send as a rule, but not all: ohif, standard." in words
    assert "such a result does not arrive there" in words
    document = json.loads(bad_words)
    taken = {row["object"]: row["accepted in"] for row in document["objects"]}
    assert bad_code == 1
    assert taken["Segmentation"] == "Explicit VR LE"
    assert taken["Secondary Capture"] == "refused"
    assert len(document["warnings"]) == 1
    assert unknown[0] == 1 and "there are: pacs" in unknown[1]
