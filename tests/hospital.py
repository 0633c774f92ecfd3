"""A whole node but its processes: a test gives it objects, turns its clock, and looks."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from pydicom import Dataset, dcmread, dcmwrite
from pydicom.uid import generate_uid

from node import app
from node.cli.local import take_in
from node.inference.child import load_module
from node.inference.runner import RunOutcome
from node.intake.completion import sweep
from node.manifest import Manifest
from node.model import DestinationGrade, Job
from node.parts import Node
from node.pipeline import process
from node.plugin import Case
from node.profiles import STANDARD, ViewerProfile
from node.routing.dispatch import dispatch_complete
from node.routing.waiting import look_at_waiting
from node.settings import Condition, DestinationSettings, RuleSettings, Settings
from node.storage.delivery_rows import evidence_of_job
from node.storage.job_rows import jobs_of_study
from node.worker import Worker


@dataclass
class Hospital:
    """A node whose clock the test turns."""

    node: Node
    worker: Worker
    folder: Path
    now: float

    def receive(self, datasets: Sequence[Dataset]) -> None:
        place = self.folder / generate_uid()
        place.mkdir()
        for number, ds in enumerate(datasets):
            dcmwrite(place / f"{number}.dcm", ds, enforce_file_format=True)
        take_in(self.node, sorted(place.iterdir()))

    def sweep(self) -> None:
        """Close and route what is quiet, and compute what is ready."""
        self.route()
        while self.worker.work_once() is not None:
            pass

    def route(self) -> None:
        self.now = max(self.now, time.time()) + 1
        node = self.node
        sweep(node.db, node.settings, now=self.now)
        look_at_waiting(node.db, node.settings, node.manifests, now=self.now)
        dispatch_complete(node.db, node.files, node.settings, node.manifests, now=self.now)

    def jobs(self, study_uid: str) -> tuple[Job, ...]:
        return jobs_of_study(self.node.db, study_uid)

    def report(self, job: Job) -> Dataset:
        (one,) = [e for e in evidence_of_job(self.node.db, job.id) if e.role == "sr"]
        return dcmread(self.node.files.absolute(one.path))


class Here:
    """Runs the plugin in this process: no child to start."""

    device = "cpu"

    def run(self, manifest: Manifest, case: Case, *, job_folder: Path) -> RunOutcome:
        plugin = load_module(manifest.folder).Plugin()
        plugin.load("cpu")
        result = plugin.run(case)
        return RunOutcome(
            result=result,
            peak_memory_mb=0.0,
            device="cpu",
            seconds=0.0,
            load_seconds=0.0,
        )


def rule_for(plugin: str, **said: object) -> RuleSettings:
    """Return a rule that gives every study to a plugin."""
    kept = {"name": plugin, "when": Condition(operator="all"), "destinations": ("pacs",), **said}
    return RuleSettings(plugin=plugin, quiet_s=0.0, max_age_days=float("inf"), **kept)  # type: ignore[arg-type]


@contextmanager
def open_hospital(
    folder: Path,
    plugins: Path,
    *rules: RuleSettings,
    profile: ViewerProfile = STANDARD,
    child: bool = False,
    also: ViewerProfile | None = None,
) -> Iterator[Hospital]:
    """Open a node whose plugins run in this process, unless `child`.

    It has a destination `pacs`; a second one, `web`, where the profile of `also` is given.
    """
    place = DestinationSettings(
        name="pacs",
        kind="folder",
        grade=DestinationGrade.TEST,
        path=folder / "pacs",
        profile=profile,
    )
    more = () if also is None else (replace(place, name="web", path=folder / "web", profile=also),)
    site = Settings(
        data_dir=folder / "data",
        rules=rules,
        destinations=(place, *more),
        plugin_dirs=(plugins,),
        quiet_s=0.0,
        roi_quiet_s=0.0,
    )
    app.prepare_data(site)
    node = app.open_node(site)
    compute = process if child else lambda job, node, _: process(job, node, Here())
    worker = Worker(node, device="cpu", owner="test", compute=compute)
    try:
        yield Hospital(node=node, worker=worker, folder=folder, now=time.time())
    finally:
        worker.close()
        node.close()
