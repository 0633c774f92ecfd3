"""What archives that we did not write take: Orthanc, DCMTK's dcmqrscp and storescp."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from typer.testing import CliRunner

from node.cli import app
from node.delivery.probe import COMMITMENT, KINDS, LABEL_MAP, SEG, SR_3D, probe_destination, suits
from node.profiles import OHIF, PROFILES, STANDARD
from tests.delivering import settings_for
from tests.make import free_port
from tests.peers import ENVIRONMENT, dcmqrscp, dcmtk, run_tool, wait_until

pytestmark = pytest.mark.peer

#: As DCMTK 3.6.7 answers what a SEG is proposed in, by the option it was started with.
BOTH, IMPLICIT = ("Explicit VR LE", "Implicit VR LE"), ("Implicit VR LE",)


def ask(port: int, ae_title: str, profile=STANDARD):
    settings = settings_for(port=port, ae_title=ae_title, timeout_s=20.0, profile=profile)
    return probe_destination(settings, "NODE", maps=True)


@contextmanager
def storescp(folder: Path, *options: str) -> Iterator[int]:
    """Run DCMTK's plain receiver; yield its port."""
    folder.mkdir(parents=True)
    port = free_port()
    echo = [dcmtk("echoscu"), "127.0.0.1", str(port)]
    process = subprocess.Popen(
        [dcmtk("storescp"), *options, "-od", str(folder), str(port)],
        env=ENVIRONMENT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_until(lambda: _answers(echo), timeout_s=15, what="storescp to answer")
        yield port
    finally:
        process.kill()
        process.wait()


def _answers(echo: list[str]) -> bool:
    try:
        run_tool(echo, timeout_s=5)
    except (AssertionError, subprocess.SubprocessError):
        return False
    return True


def test_orthanc_takes_every_kind_and_keeps_nothing_of_a_probe(start_orthanc):
    server = start_orthanc()

    found = ask(server.dicom_port, "ORTHANC")

    assert found.warnings == ()
    assert all(found.accepted[kind][:2] == BOTH for kind in KINDS)
    assert all(suits(profile, found.accepted, maps=True) for profile in PROFILES.values())
    assert server.instances() == []


def test_orthanc_without_unknown_classes_refuses_label_maps(start_orthanc, tmp_path):
    server = start_orthanc()
    server.stop()
    configuration = json.loads((server.folder / "orthanc.json").read_text())
    configuration["UnknownSopClassAccepted"] = False
    (server.folder / "orthanc.json").write_text(json.dumps(configuration))
    server.start()

    found = ask(server.dicom_port, "ORTHANC")

    assert found.accepted[LABEL_MAP] == ()
    assert found.accepted[SEG][:2] == BOTH
    assert found.warnings == ()


def test_orthanc_by_rest_takes_all_and_tells_of_its_plugins(start_orthanc):
    settings = settings_for(kind="orthanc", url=start_orthanc().url, timeout_s=20.0, profile=OHIF)

    found = probe_destination(settings, "NODE", maps=False)

    assert found.place.startswith("Orthanc 1.")
    assert (found.accepted, found.warnings) == ({}, ())
    assert "every kind" in found.notes[0] and "DICOMweb plugin" in found.notes[1]


def test_dcmqrscp_knows_neither_label_maps_nor_commitment(tmp_path):
    with dcmqrscp(tmp_path / "dcmqrscp") as port:
        found = ask(port, "DCMTK")

    assert {kind for kind, taken in found.accepted.items() if not taken} == {LABEL_MAP, COMMITMENT}
    assert found.accepted[SR_3D] == BOTH
    assert found.warnings == ()


def test_s27_a_storescp_that_takes_implicit_only_is_warned_of(tmp_path, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    with storescp(tmp_path / "plain") as port:
        assert ask(port, "STORESCP").accepted[SEG] == BOTH
    with storescp(tmp_path / "implicit", "+xi") as port:
        found = ask(port, "STORESCP", OHIF)
        settings = tmp_path / "sentinel.toml"
        settings.write_text(
            '[node]\ndata_dir = "data"\n[[destinations]]\nname = "pacs"\nkind = "dicom"\n'
            'grade = "test"\nprofile = "ohif"\nae_title = "STORESCP"\nhost = "127.0.0.1"\n'
            f"port = {port}\n"
        )
        done = CliRunner().invoke(app, ["probe", "pacs", "--settings", str(settings)])

    assert found.accepted[SEG] == IMPLICIT
    assert len(found.warnings) == 2
    assert done.exit_code == 1
    assert "WARNING: profile ohif sends Segmentation in Explicit VR LE" in done.output
    assert "takes it only in Implicit VR LE" in done.output
