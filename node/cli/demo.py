"""The command demo: a whole node, an archive and a synthetic study, on loopback."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from node.cli.common import console, sentences
from node.cli.network import send_with_progress
from node.dicom.network import RemoteAE
from node.errors import NodeError
from node.model import Delivery, DeliveryState, Evidence, Job, JobState
from node.phantom.study import PhantomStudy, make_ct_study
from node.settings_file import load_settings
from node.storage.database import Database
from node.storage.delivery_rows import list_deliveries
from node.storage.job_rows import get_job, get_report, list_jobs

_WAIT_S = 120.0
_QUIET_S = 2.0
_ORTHANC = shutil.which("Orthanc", path=f"{os.environ.get('PATH', '')}:/usr/sbin")


@dataclass(frozen=True, kw_only=True)
class Archive:
    """The demo's PACS."""

    title: str
    ae_title: str
    port: int


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(demo)


def demo(
    exit_: Annotated[
        bool, typer.Option("--exit", help="Stop when the result has arrived; else on Ctrl-C.")
    ] = False,
    folder: Annotated[
        Path | None, typer.Option(help="Where to keep everything.", show_default="a new folder")
    ] = None,
) -> None:
    """Start a node and an archive, send a synthetic CT study, show what becomes of it."""
    # A `kill` or a closed terminal ends what was started here, as Ctrl-C does.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)
    with sentences(), ExitStack() as stack:
        place = _new_folder(folder)
        console.print(f"Everything is in {place}", soft_wrap=True)
        with console.status("drawing a synthetic CT study (a phantom, no person)"):
            study = make_ct_study(place / "study")
        archive = stack.enter_context(_archive(place))
        port = _free_port()
        settings = _write_settings(place, port, archive)
        with console.status("starting the node"):
            stack.enter_context(_node(settings, place))
        remote = RemoteAE(host="127.0.0.1", port=port, ae_title="SENTINEL", calling_ae="DEMO_PACS")
        sent = send_with_progress(study.paths, remote)
        if not all(one.stored for one in sent):
            raise NodeError("the node did not take the study; its log is beside the settings")
        table = _wait_for_result(settings, study, archive, since=time.time())
        console.print(table)
        if not exit_:
            console.print(
                f"The node listens on 127.0.0.1:{port} as SENTINEL; try\n"
                f"  sentinel-node studies --settings {settings}\n"
                f"  sentinel-node explain {study.study_instance_uid} --settings {settings}\n"
                "Ctrl-C stops it.",
                soft_wrap=True,
            )
            _wait_for_interrupt()


def _new_folder(given: Path | None) -> Path:
    if given is None:
        return Path(tempfile.mkdtemp(prefix="sentinel-demo-"))
    if given.exists() and any(given.iterdir()):
        raise NodeError(f"the folder {given} is not empty; name a new one")
    given.mkdir(parents=True, exist_ok=True)
    return given.resolve()


@contextmanager
def _archive(place: Path) -> Iterator[Archive]:
    """Run Orthanc where it is installed, else our own small archive."""
    folder = place / "archive"
    folder.mkdir()
    port = _free_port()
    if _ORTHANC:
        command = [_ORTHANC, str(_orthanc_settings(folder, port))]
        archive = Archive(title="Orthanc", ae_title="ORTHANC", port=port)
    else:
        command = [sys.executable, "-m", "node.phantom.archive", "--port", str(port)]
        command += ["--folder", str(folder)]
        archive = Archive(title="demo archive", ae_title="ARCHIVE", port=port)
    with _process(command, place / "archive.log", lambda: _listens(port), archive.title):
        yield archive


def _orthanc_settings(folder: Path, port: int) -> Path:
    path = folder / "orthanc.json"
    path.write_text(
        json.dumps(
            {
                "Name": "Demo archive",
                "StorageDirectory": str(folder / "data"),
                "IndexDirectory": str(folder / "data"),
                "HttpPort": _free_port(),
                "RemoteAccessAllowed": False,
                "DicomAet": "ORTHANC",
                "DicomPort": port,
                "DicomAlwaysAllowStore": True,
                "DicomAlwaysAllowFind": True,
                "DicomAlwaysAllowGet": True,
            }
        )
    )
    return path


@contextmanager
def _node(settings: Path, place: Path) -> Iterator[None]:
    command = [sys.executable, "-m", "node", "serve", "--settings", str(settings)]
    state = place / "data" / "run" / "state.json"
    with _process(command, place / "node.log", lambda: _is_ready(state), "the node"):
        yield


@contextmanager
def _process(command: list[str], log: Path, ready: Callable[[], bool], name: str) -> Iterator[None]:
    """Run a server until the end of the block; its words go to `log`."""
    with log.open("wb") as file:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
            env={**os.environ, "TCP_NODELAY": "1"},  # or DCMTK and Orthanc wait 40 ms an object
            start_new_session=True,
        )
    try:
        deadline = time.monotonic() + 60
        while not ready():
            if process.poll() is not None or time.monotonic() > deadline:
                raise NodeError(f"{name} did not start; it said:\n{log.read_text()[-2000:]}")
            time.sleep(0.05)
        yield
    finally:
        process.terminate()
        try:
            process.wait(40)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _write_settings(place: Path, port: int, archive: Archive) -> Path:
    path = place / "sentinel.toml"
    path.write_text(
        f"""# Written by `sentinel-node demo`.
[node]
ae_titles = ["SENTINEL"]
bind = "127.0.0.1"
port = {port}
data_dir = "data"

[[peers]]
name = "demo pacs"
ae_title = "DEMO_PACS"
hosts = ["127.0.0.1"]

[[destinations]]
name = "{archive.title}"
kind = "dicom"
grade = "test"
profile = "standard"
ae_title = "{archive.ae_title}"
host = "127.0.0.1"
port = {archive.port}

[[rules]]
name = "overlay check"
plugin = "commissioning"
when = {{ Modality = "CT" }}
destinations = ["{archive.title}"]
quiet_s = {_QUIET_S}
"""
    )
    load_settings(path)
    return path


def _wait_for_result(
    settings: Path, study: PhantomStudy, archive: Archive, *, since: float
) -> Table:
    """Wait until everything is proven in the archive, saying how far it is."""
    db = Database(load_settings(settings).resolved_database_url)
    deadline = time.monotonic() + _WAIT_S
    try:
        with console.status("waiting") as status:
            while time.monotonic() < deadline:
                jobs = list_jobs(db)
                rows = list_deliveries(db)
                status.update(_progress(jobs, rows))
                if rows and all(d.state is DeliveryState.PROVEN for d, _ in rows):
                    arrived = max(d.proven_at or 0.0 for d, _ in rows)
                    return _table(db, jobs[0].id, study, archive, seconds=arrived - since)
                if jobs and jobs[0].state in {JobState.REFUSED, JobState.FAILED}:
                    raise NodeError(f"job {jobs[0].state}: {jobs[0].reason}")
                time.sleep(0.1)
    finally:
        db.close()
    raise NodeError(f"no proven result after {_WAIT_S:.0f} s; see {settings.parent}/node.log")


def _progress(jobs: Sequence[Job], rows: Sequence[tuple[Delivery, Evidence]]) -> str:
    if not jobs:
        return f"received; waiting {_QUIET_S:.0f} s for more images, then the rules look"
    if not rows:
        return f"job {jobs[0].plugin_name_version}: {jobs[0].state}"
    proven = sum(delivery.state is DeliveryState.PROVEN for delivery, _ in rows)
    return f"{proven} of {len(rows)} objects proven in the archive"


def _table(
    db: Database, job_id: str, study: PhantomStudy, archive: Archive, *, seconds: float
) -> Table:
    job = get_job(db, job_id)
    report = get_report(db, job_id)
    table = Table(title="What happened", show_header=False)
    table.add_column()
    table.add_column(overflow="fold")
    table.add_row("study", f"{len(study.paths)} slices, {job.study_instance_uid}")
    table.add_row("plugin", f"{job.plugin_name_version} (rule “{job.rule}”)")
    table.add_row("finding", ", ".join(report["segments"]) or "nothing found")
    for number in report["measurements"]:
        words = number["name"].replace("_", " ")
        table.add_row(words, f"{number['value']:.2f} {number['unit']}")
    table.add_row("truth of the phantom", f"{study.volume_ml:.2f} cm3 at or above 300 HU")
    table.add_row("delivered", f"SEG and SR, stored and found again in {archive.title}")
    table.add_row(
        "last image → stored result", f"{seconds:.1f} s, of which {_QUIET_S:.0f} s quiet time"
    )
    table.add_row("overlay", str(report["picture"]))
    return table


def _wait_for_interrupt() -> None:
    try:
        signal.pause()
    except KeyboardInterrupt:
        console.print("stopping")


def _is_ready(state: Path) -> bool:
    try:
        return bool(json.loads(state.read_text())["ready"])
    except (OSError, ValueError, KeyError):
        return False


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True
