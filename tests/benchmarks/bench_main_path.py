"""300-slice CT, everything but the model: read, geometry, encode, check, deliver to Orthanc.

`make bench` runs it; the budget is E18's: 4 s in total on 2 cores.
"""

from __future__ import annotations

import statistics
import time
from pathlib import Path

import numpy as np
import pytest

from node import app
from node.cli.local import take_in
from node.delivery.deliver import Outlet, deliver_destination
from node.delivery.destination import open_destination
from node.inference.registry import builtin_plugin_folder
from node.inference.runner import RunOutcome
from node.intake.completion import sweep
from node.model import DestinationGrade
from node.phantom.study import make_ct_study
from node.pipeline import process
from node.plugin import Measurement, Result, Segment
from node.profiles import STANDARD
from node.routing.dispatch import dispatch_complete
from node.settings import Condition, DestinationSettings, RuleSettings, Settings
from node.storage.delivery_rows import list_deliveries
from node.storage.job_rows import get_report
from node.storage.lease_rows import claim_job
from tests.peers import orthanc

BUDGET_S = 4.0
RUNS = 5


class NoModel:
    """Returns the voxels at or above 300 HU at once: what the bench leaves out is the model."""

    device = "cpu"

    def run(self, manifest, case, *, job_folder):
        mask = case.volumes["ct"].array >= 300
        volume = float(mask.sum()) * case.volumes["ct"].voxel_volume_mm3 / 1000
        return RunOutcome(
            result=Result(
                segments=(Segment(name="dense", mask=mask, role="ct"),),
                measurements=(Measurement(name="volume", value=volume, segment="dense"),),
            ),
            peak_memory_mb=0.0,
            device="cpu",
            seconds=0.0,
            load_seconds=0.0,
        )


def one_run(folder: Path, paths, pacs) -> dict[str, float]:
    archive = DestinationSettings(
        name="archive",
        kind="dicom",
        grade=DestinationGrade.TEST,
        profile=STANDARD,
        ae_title="ORTHANC",
        host="127.0.0.1",
        port=pacs.dicom_port,
    )
    rule = RuleSettings(
        name="bench",
        plugin="commissioning",
        when=Condition(operator="all"),
        destinations=("archive",),
        quiet_s=0.0,
        max_age_days=float("inf"),
    )
    settings = Settings(data_dir=folder, rules=(rule,), destinations=(archive,), quiet_s=0.0)
    app.prepare_data(settings)
    node = app.open_node(settings)
    try:
        take_in(node, paths)
        sweep(node.db, settings, now=time.time() + 1)
        dispatch_complete(node.db, node.files, settings, node.manifests, now=time.time())
        job = claim_job(node.db, "bench", now=time.time(), lease_s=600)
        process(job, node, NoModel())
        seconds = dict(get_report(node.db, job.id)["seconds"])
        seconds.pop("run the plugin")
        outlet = Outlet(settings=archive, destination=open_destination(archive, "SENTINEL"))
        start = time.monotonic()
        deliver_destination(
            node.db,
            node.files,
            outlet,
            now=time.time(),
            owner="bench",
            allowed=lambda *_: None,
            on_event=lambda _: None,
        )
        seconds["deliver"] = time.monotonic() - start
        assert {str(d.state) for d, _ in list_deliveries(node.db)} <= {"SENT", "PROVEN"}
    finally:
        node.close()
    return seconds


@pytest.mark.peer
def test_300_slices_within_the_budget_everything_but_the_model(tmp_path):
    assert builtin_plugin_folder().is_dir()
    runs = []
    with orthanc(tmp_path / "pacs") as pacs:
        for number in range(RUNS):
            # Another study each time, or Orthanc would say that it has it already.
            study = make_ct_study(tmp_path / f"in{number}", seed=number, shape=(300, 512, 512))
            runs.append(one_run(tmp_path / f"node{number}", study.paths, pacs))
    stages = {name: statistics.median(run[name] for run in runs) for name in runs[0]}
    total = statistics.median(sum(run.values()) for run in runs)
    print(f"\n300-slice CT, median of {RUNS} runs, seconds a stage (budget {BUDGET_S:g} in total):")
    for name, seconds in stages.items():
        print(f"  {name:28} {seconds:6.2f}")
    print(f"  {'total':28} {total:6.2f}  (all: {np.round([sum(r.values()) for r in runs], 2)})")
    assert total <= BUDGET_S
