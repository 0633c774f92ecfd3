"""One run: one seed, one node, one storm, one verdict."""

from __future__ import annotations

import re
import shutil
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from tests.chaos.archive import ChaosArchive
from tests.chaos.checker import Checker
from tests.chaos.faults import Storm
from tests.chaos.healing import come_to_rest
from tests.chaos.plan import Image, Plan, draw
from tests.chaos.rows import read_rows
from tests.chaos.senders import Material, Sender, make_material
from tests.chaos.site import ChaosSite, make_site
from tests.site import assert_log_without_patient_data

#: Half-received files are removed at a start when they are older than an hour.
_LEFTOVER_S = 3700.0


@dataclass
class Verdict:
    """How a run ended."""

    problems: list[str] = field(default_factory=list)
    facts: dict[str, object] = field(default_factory=dict)


class Watch:
    """Seconds of each part of a run."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._last = time.monotonic()

    def note(self, name: str) -> None:
        now = time.monotonic()
        self.seconds[name] = round(now - self._last, 1)
        self._last = now


def run_seed(seed: int, folder: Path, *, keep: bool = False) -> tuple[Plan, Verdict]:
    """Run one seed in `folder`, which is removed if all went well."""
    plan = draw(seed)
    folder.mkdir(parents=True)
    material = make_material(plan, folder / "in")
    verdict = Verdict()
    with ChaosArchive(folder / "archive") as archive:
        site = make_site(
            folder / "site", archive, plugin_s=plan.plugin_s, min_free_mb=plan.min_free_mb
        )
        site.prepare()
        try:
            _run(plan, site, archive, material, verdict)
        except Exception as error:  # noqa: BLE001 - the plan must be printed whatever broke
            verdict.problems.append(f"the run broke off: {type(error).__name__}: {error}")
        finally:
            _end(site, keep=keep or bool(verdict.problems), folder=folder)
    return plan, verdict


def _run(
    plan: Plan, site: ChaosSite, archive: ChaosArchive, material: Material, verdict: Verdict
) -> None:
    storm = Storm(site, archive)
    watch = Watch()
    senders = [Sender(n, site.port, b, material) for n, b in enumerate(plan.senders)]
    site.keep_running()
    site.wait(lambda: site.state().get("ready") is True, "the node to be ready", 90)
    watch.note("start")
    for sender in senders:
        sender.start()
    try:
        storm.throw(plan.faults)
    finally:
        storm.end()
    watch.note("storm")
    _wait_for_supervisor(site)
    deadline = time.monotonic() + 45
    through = [sender.join(max(0.1, deadline - time.monotonic())) for sender in senders]
    if not all(through):
        verdict.problems.append("a sender did not get its images through after the storm")
    acknowledged: set[Image] = set().union(*(s.sent.acknowledged for s in senders))
    watch.note("sent")
    checker = Checker(plan, material, site, archive)
    rest = come_to_rest(site, checker, acknowledged)
    watch.note("rest")
    verdict.problems += [f"never came to rest: {p}" for p in rest.pending] + rest.broken
    verdict.problems += _restart_and_check(site, checker, acknowledged)
    watch.note("restart")
    verdict.facts = (
        {"seconds": watch.seconds}
        | _facts(storm, archive, senders)
        | {
            "alarms": _alarms(site),
            "restarted by hand": rest.restarted,
            "clock let run, s": round(rest.skipped_s),
            "supervisor ended": site.statuses,
        }
    )


def _restart_and_check(site: ChaosSite, checker: Checker, acknowledged: set[Image]) -> list[str]:
    """Stop, start an hour later, stop: nothing changes, and nothing is left over."""
    site.stop_keeping()
    problems = _stop(site)
    before = read_rows(site.data)
    if site.can_step:
        site.step_clock(_LEFTOVER_S)
    site.start()
    problems += _stop(site)
    after = read_rows(site.data)
    problems += checker.broken(after, acknowledged)
    if (len(before.job), len(before.evidence)) != (len(after.job), len(after.evidence)):
        problems.append("a restart made work anew")
    if site.can_step:
        problems += checker.after_stop()
    try:
        assert_log_without_patient_data(site)
    except AssertionError as error:
        problems.append(str(error))
    return problems


def _wait_for_supervisor(site: ChaosSite) -> None:
    site.wait_quietly(lambda: site.state().get("ready") is True, 45)


def _stop(site: ChaosSite) -> list[str]:
    status = site.stop()
    return [f"SIGTERM ended the node with status {status}"] if status else []


def _facts(storm: Storm, archive: ChaosArchive, senders: list[Sender]) -> dict[str, object]:
    answers: Counter[str] = Counter()
    for sender in senders:
        answers.update(sender.sent.statuses)
    return {
        "hits": dict(Counter(storm.hits)),
        "misses": storm.misses,
        "answers": dict(answers),
        "archive": archive.moods,
    }


def _alarms(site: ChaosSite) -> dict[str, int]:
    """What would have called a person, and traces of defects."""
    log = site.log.read_text(errors="replace")
    found = Counter(re.findall(r"alarm: [\w ]+", log))
    found["Traceback"] = log.count("Traceback (most recent")
    return dict(found)


def _end(site: ChaosSite, *, keep: bool, folder: Path) -> None:
    site.stop_keeping()
    for process in site.processes():
        process.kill()
    if site.process is not None:
        site.process.wait(20)
    if keep and site.mounted:
        shutil.copytree(site.data, site.folder / "data-kept", dirs_exist_ok=True)
    site.unmount()
    if not keep:
        shutil.rmtree(folder, ignore_errors=True)
    for timer in threading.enumerate():
        if isinstance(timer, threading.Timer):
            timer.cancel()
