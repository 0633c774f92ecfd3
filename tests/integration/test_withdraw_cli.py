"""withdraw, recall, withdrawals and rerun as an administrator types them."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog
from typer.testing import CliRunner

from node.cli import app
from node.cli.withdrawal import NOT_ALL_GONE
from node.model import Identity, Job, JobState
from node.storage.job_rows import jobs_of_study
from tests.make import free_port
from tests.withdrawing import WithdrawingSite, place


@pytest.fixture
def cli(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SENTINEL_SETTINGS", raising=False)
    monkeypatch.setenv("COLUMNS", "250")

    def call(*arguments: str, say: str = "") -> Any:
        try:
            return CliRunner().invoke(app, list(arguments), input=say)
        finally:
            structlog.reset_defaults()  # the command's log went to a stream that is closed now

    return call


@pytest.fixture
def site(cli: Any, tmp_path: Path) -> Iterator[WithdrawingSite]:
    (tmp_path / "sentinel.toml").write_text(
        f'[node]\nport = {free_port()}\ndata_dir = "data"\n'
        '[[rules]]\nname = "all ct"\nplugin = "commissioning"\nwhen = {}\nshadow = true\n'
    )
    assert cli("upgrade").exit_code == 0
    found = WithdrawingSite(tmp_path, place())
    yield found
    found.db.close()


def rows(cli: Any, *arguments: str) -> list[dict[str, Any]]:
    return json.loads(cli(*arguments, "--json").stdout)


def test_s08_recall_lists_every_result_with_its_destinations(cli, site):
    sent, waiting, other = site.run(), site.run(), site.run(plugin_version="9.0.0")
    site.deliver()
    listed = rows(cli, "recall", "--plugin", "ball@1.2.0")
    assert [row["job"] for row in listed] == [sent.id, waiting.id]
    first = listed[0]
    assert (first["destination"], first["objects"]) == ("pacs", "seg sr")
    assert (first["states"], first["withdrawn"]) == ("2 PROVEN", "")
    by_digest = rows(cli, "recall", "--digest", ("ab" * 32)[:12])
    assert [row["job"] for row in by_digest] == [sent.id, waiting.id, other.id]
    assert len(rows(cli, "recall", "--plugin", "ball")) == 3


def test_s08_recall_takes_days(cli, site):
    site.run()  # ended on 2026-09-21
    assert len(rows(cli, "recall", "--plugin", "ball", "--from", "2026-09-21")) == 1
    assert len(rows(cli, "recall", "--plugin", "ball", "--to", "2026-09-21")) == 1
    assert not rows(cli, "recall", "--plugin", "ball", "--to", "2026-09-20")
    assert not rows(cli, "recall", "--plugin", "ball", "--from", "2026-09-22")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "say which results"),
        (("--digest", "abc"), "8 digits"),
        (("--plugin", "ball", "--from", "May"), "no date"),
        (("--plugin", "ball", "--from", "2026-10-01", "--to", "2026-09-01"), "after"),
        (("--digest", "xyzxyzxyz"), "0-9 and a-f"),
        (("--digest", "a" * 65), "64 digits"),
        (("--digest", "cd" * 32), "known here: ball@1.2.0 abababababab"),
        (("--plugin", "bell"), "no result of plugin bell; known here: ball"),
        (("--plugin", "ball@9.9.9"), "no result of plugin ball@9.9.9; known here: ball@1.2.0"),
    ],
)
def test_recall_says_what_it_needs(cli, site, arguments, words):
    site.run()
    done = cli("recall", *arguments)
    assert done.exit_code == 1
    assert words in done.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ("--plugin", "@"),
        ("--plugin", " @ "),
        ("--plugin", "@1.2.0"),
        ("--plugin", "ball@"),
        ("--plugin", ""),
        ("--plugin", "", "--digest", "ab" * 32),
        ("--plugin", "ball", "--digest", ""),
        ("--plugin", "ball", "--from", ""),
        ("--plugin", "ball", "--to", ""),
    ],
)
def test_s08_recall_takes_an_empty_part_for_no_wildcard(cli, site, arguments):
    site.run()
    done = cli("recall", *arguments, "--withdraw", "--yes", "--wait", "0")
    assert done.exit_code == 1
    assert "empty" in done.stderr
    assert not site.taken()


def test_recall_that_matches_nothing_names_what_and_when(cli, site):
    site.run()
    done = cli("recall", "--plugin", "ball@1.2.0", "--from", "2026-09-22", "--to", "2026-09-23")
    assert done.exit_code == 0
    said = " ".join(done.stdout.split())
    assert said == "No result of ball@1.2.0 ended from 2026-09-22 to 2026-09-23."


def test_recall_before_any_result_says_so(cli, site):
    done = cli("recall", "--plugin", "ball")
    assert done.exit_code == 1
    assert "no plugin has made a result here" in done.stderr


def test_s08_recall_withdraws_all_of_them_after_a_question(cli, site):
    first, second = site.run(), site.run(rule="other")
    site.deliver()
    ask = ("recall", "--plugin", "ball@1.2.0", "--withdraw", "--wait", "0")
    assert cli(*ask, say="n\n").exit_code == 1
    assert not site.taken()
    done = cli(*ask, "--reason", "swapped sides", say="y\n")
    assert done.exit_code == NOT_ALL_GONE
    assert "4 deliveries of 2 jobs at pacs" in done.stderr
    assert "4 are under way" in done.stderr
    assert len(site.taken(first)) == len(site.taken(second)) == 2
    site.settle(time.time() + 10)
    found = rows(cli, "withdrawals")
    assert {row["reason"] for row in found} == {"swapped sides"}
    assert {row["state"] for row in found} == {"VISIBLE"}


def test_s08_the_question_counts_only_jobs_with_something_left(cli, site):
    first = site.run()
    site.run(rule="other")
    site.deliver()
    cli("withdraw", first.id, "--yes", "--wait", "0")
    done = cli("recall", "--plugin", "ball", "--withdraw", "--wait", "0", say="n\n")
    assert "2 deliveries of 1 jobs at pacs" in done.stderr


def test_s08_withdraw_of_what_never_left_is_done_at_once(cli, site):
    job = site.run()
    assert cli("withdraw", job.id, "--yes", "--wait", "0").exit_code == NOT_ALL_GONE
    site.settle(time.time() + 10)
    done = cli("withdraw", job.id, "--yes", "--wait", "0")
    assert done.exit_code == 0, done.output
    assert done.stdout.count("NOT SENT") == 2


def test_s08_tasks_are_listed_in_check_until_a_person_says_done(cli, site):
    job = site.run()
    site.deliver()
    cli("withdraw", job.id, "--yes", "--wait", "0")
    site.settle(time.time() + 10)
    assert "2 withdrawn objects are still found" in " ".join(cli("check").stdout.split())
    tasks = rows(cli, "withdrawals", "--tasks")
    assert [row["state"] for row in tasks] == ["VISIBLE"] * 2
    done = cli("withdraw", job.id, "--yes", "--wait", "0", "--reason", "too late")
    assert done.exit_code == NOT_ALL_GONE
    assert "asked for before; the reason given now is not used" in " ".join(done.stderr.split())
    assert "2 are still found there" in done.stderr and "by hand in the PACS" in done.stderr
    assert {row["reason"] for row in rows(cli, "withdrawals")} == {""}
    for row in tasks:
        assert cli("withdrawals", "--done", str(row["withdrawal"])).exit_code == 0
    again = cli("withdraw", job.id, "--yes", "--wait", "0")
    assert (again.exit_code, "still found" in again.stderr) == (0, False)
    assert "seg PROVEN (withdrawn: VISIBLE, done by hand)" in " ".join(
        cli("explain", job.study_instance_uid).stdout.split()
    )
    assert cli("withdrawals", "--tasks").stdout.strip() == "No task."
    assert "no open task" in cli("withdrawals", "--done", "77").stderr
    assert "withdrawn objects" not in cli("check").stdout


def test_withdraw_of_an_unknown_job_is_one_sentence(cli, site):
    done = cli("withdraw", "0" * 32)
    assert (done.exit_code, "no job" in done.stderr) == (1, True)


@pytest.mark.parametrize("command", ["withdraw", "recall"])
def test_a_reason_longer_than_a_note_takes_is_refused(cli, site, command):
    job = site.run()
    what = [job.id] if command == "withdraw" else ["--plugin", "ball", "--withdraw"]
    done = cli(command, *what, "--yes", "--wait", "0", "--reason", "x" * 1001)
    assert done.exit_code == 1
    assert "1001 characters" in done.stderr and "1000" in done.stderr
    assert not site.taken()


def test_a_long_reason_is_cut_in_the_table_and_whole_in_json(cli, site):
    job, reason = site.run(), ("swapped sides " * 60).strip()
    cli("withdraw", job.id, "--yes", "--wait", "0", "--reason", reason)
    assert {row["reason"] for row in rows(cli, "withdrawals")} == {reason}
    table = " ".join(cli("withdrawals").stdout.split())
    assert "…" in table and table.count("swapped sides") < 20


def test_the_listings_fit_a_narrow_window(cli, site, monkeypatch):
    job = site.run()
    site.deliver()
    cli("withdraw", job.id, "--yes", "--wait", "0")
    monkeypatch.setenv("COLUMNS", "60")
    for command in (("recall", "--plugin", "ball"), ("withdrawals",)):
        lines = cli(*command).stdout.splitlines()
        assert lines
        assert all(len(line) <= 60 or " " not in line.strip()[:59] for line in lines), lines


def test_rerun_makes_a_new_run(cli, site):
    job = site.run()
    done = cli("rerun", job.id)
    assert done.exit_code == 0
    assert "is run 2 of it" in done.stdout
    states = {row["state"] for row in rows(cli, "jobs")}
    assert states == {"COMPLETED", "SCHEDULED"}
    again = cli("rerun", job.id)
    assert again.exit_code == 1


def corrected(tmp_path: Path, *, name: str = "all ct", shadow: bool = False) -> None:
    """The settings after a rule's destination was corrected."""
    (tmp_path / "sentinel.toml").write_text(
        f'[node]\nport = {free_port()}\ndata_dir = "data"\n'
        '[[destinations]]\nname = "right"\nkind = "folder"\npath = "out"\n'
        'grade = "research"\n'
        f'[[rules]]\nname = "{name}"\nplugin = "commissioning"\nwhen = {{}}\n'
        + ("shadow = true\n" if shadow else 'destinations = ["right"]\n')
    )


def again_of(site: WithdrawingSite, job: Job) -> Job:
    return jobs_of_study(site.db, job.study_instance_uid)[-1]


def test_a_rerun_goes_where_the_rule_sends_today(cli, site, tmp_path):
    job = site.run(plugin="commissioning", plugin_version="1.0.0")
    corrected(tmp_path)
    done = cli("rerun", job.id)
    assert "its result goes to: right." in done.stdout
    again = again_of(site, job)
    assert (again.run_number, again.destinations, again.shadow) == (2, ("right",), False)
    assert job.destinations == ("pacs",)


@pytest.mark.parametrize("plugin", ["commissioning", "ball"])
def test_a_rerun_without_its_rule_keeps_its_destinations(cli, site, tmp_path, plugin):
    job = site.run(plugin=plugin, rule="all ct" if plugin == "ball" else "gone")
    corrected(tmp_path)
    assert cli("rerun", job.id).exit_code == 0
    assert again_of(site, job).destinations == ("pacs",)


def test_a_rerun_of_a_rule_in_shadow_now_goes_nowhere(cli, site, tmp_path):
    job = site.run(plugin="commissioning", plugin_version="1.0.0")
    corrected(tmp_path, shadow=True)
    assert "goes to: nowhere: shadow." in cli("rerun", job.id).stdout
    assert again_of(site, job).shadow


def test_a_retried_job_goes_where_the_rule_sends_today(cli, site, tmp_path):
    job = site.run(plugin="commissioning", plugin_version="1.0.0", state=JobState.FAILED)
    corrected(tmp_path)
    assert cli("jobs", "--retry", job.id).exit_code == 0
    again = again_of(site, job)
    assert (again.id, again.state) == (job.id, JobState.SCHEDULED)
    assert again.destinations == ("right",)


def test_s08_what_was_done_stands_in_the_trail(cli, site, tmp_path):
    job = site.run()
    site.deliver()
    cli("withdraw", job.id, "--yes", "--wait", "0", "--reason", "swapped sides")
    trail = "".join(
        path.read_text() for path in (tmp_path / "data" / "audit").rglob("*") if path.is_file()
    )
    assert "withdrawal asked for" in trail
    assert "swapped sides" in trail


def test_s08_explain_shows_every_run_the_newest_first_with_what_holds_it(cli, site):
    first = site.run()
    site.deliver()
    cli("withdraw", first.id, "--yes", "--wait", "0", "--reason", "swapped sides")
    site.settle(time.time() + 10)
    second = site.run()
    other = Identity(
        patient_id="OTHER", issuer_of_patient_id="", patient_name="", patient_birth_date=""
    )
    site.pacs().studies[first.study_instance_uid] = other
    site.deliver(time.time() + 20)

    text = cli("explain", first.study_instance_uid).stdout
    document = json.loads(cli("explain", first.study_instance_uid, "--json").stdout)

    assert 0 < text.index(f"job {second.id}, run 2") < text.index(f"job {first.id}, run 1")
    newest, oldest = text[: text.index(first.id)], text[text.index(first.id) :]
    assert "to pacs (profile plain): seg PENDING, sr PENDING" in newest
    assert "seg, sr: IDENTITY_DIFFERS: PatientID of the study differ" in newest
    assert "seg PROVEN (withdrawn: VISIBLE), sr PROVEN (withdrawn: VISIBLE)" in oldest
    assert [one["run_number"] for one in document["jobs"]] == [2, 1]
    (held,) = document["jobs"][0]["deliveries"]
    assert held["reasons"]["sr"].startswith("IDENTITY_DIFFERS: ")
    assert document["jobs"][1]["deliveries"][0]["withdrawn"] == {"seg": "VISIBLE", "sr": "VISIBLE"}
