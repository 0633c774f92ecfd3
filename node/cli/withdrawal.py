"""Commands that take results back: withdraw, recall, withdrawals, rerun."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Annotated

import typer

from node.cli.common import (
    JsonOption,
    SettingsOption,
    clock_time,
    console,
    error_console,
    opened_node,
    sentences,
    show,
)
from node.cli.listings import LimitOption
from node.cli.recalling import recalled
from node.errors import NodeError
from node.model import Job, WithdrawalState
from node.parts import Node
from node.storage.withdrawal_rows import Taken, withdrawals

#: Exit status: asked for, but not everything is gone.
NOT_ALL_GONE = 3
_STEP_S = 0.5
#: Characters of a reason in a table; `--json` has all of it.
_REASON_SHOWN = 80
_GONE = (WithdrawalState.HIDDEN, WithdrawalState.NOT_SENT)
_ON_THE_WAY = (WithdrawalState.REQUESTED, WithdrawalState.PREPARED)

ReasonOption = Annotated[
    str,
    typer.Option(help="Why; it stands in the note that is sent. At most 1,000 characters."),
]
WaitOption = Annotated[
    float, typer.Option(min=0, help="Seconds to wait for proof that the objects are gone.")
]
YesOption = Annotated[bool, typer.Option("--yes", help="Ask nothing.")]


def add_to(app: typer.Typer) -> None:
    """Add these commands."""
    for command in (withdraw, recall, rerun):
        app.command()(command)
    app.command("withdrawals")(list_withdrawals)


def withdraw(
    job: Annotated[str, typer.Argument(help="Job whose result is taken back.")],
    reason: ReasonOption = "",
    wait: WaitOption = 30.0,
    yes: YesOption = False,
    settings: SettingsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Take a result back at every destination, and prove that it is gone (S8)."""
    from node.storage.job_rows import get_job
    from node.withdrawals import check_reason

    with sentences(), opened_node(settings) as node:
        check_reason(reason)
        chosen = get_job(node.db, job)
        _confirm(node, [chosen], yes=yes)
        _withdraw(node, [chosen], reason=reason, wait_s=wait, as_json=as_json)


def recall(  # noqa: PLR0913 one parameter for each option
    plugin: Annotated[
        str | None, typer.Option(help="NAME@VERSION; NAME alone means every version.")
    ] = None,
    digest: Annotated[
        str | None, typer.Option(help="SHA-256 of the package, or its beginning.")
    ] = None,
    since: Annotated[str | None, typer.Option("--from", help="First day, YYYY-MM-DD, UTC.")] = None,
    until: Annotated[str | None, typer.Option("--to", help="Last day.")] = None,
    withdraw_all: Annotated[
        bool, typer.Option("--withdraw", help="Take all of them back, after a question.")
    ] = False,
    reason: ReasonOption = "",
    wait: WaitOption = 60.0,
    yes: YesOption = False,
    settings: SettingsOption = None,
    as_json: JsonOption = False,
) -> None:
    """List every result of a plugin with its destinations; with --withdraw take them back."""
    from node.withdrawals import check_reason

    with sentences(), opened_node(settings) as node:
        check_reason(reason)
        meant = recalled(plugin, digest, since, until)
        found = meant.jobs(node.db)
        if not withdraw_all or not found:
            rows = [row for one in found for row in _results(node, one)]
            show(rows, as_json=as_json, empty=meant.nothing)
            return
        _confirm(node, found, yes=yes)
        _withdraw(node, found, reason=reason, wait_s=wait, as_json=as_json)


def list_withdrawals(
    tasks: Annotated[
        bool, typer.Option("--tasks", help="Only what waits for a person: still found there.")
    ] = False,
    done: Annotated[
        int,
        typer.Option(help="Number of a task that you did by hand in the PACS.", show_default=False),
    ] = 0,
    settings: SettingsOption = None,
    as_json: JsonOption = False,
    limit: LimitOption = 100,
) -> None:
    """List what was taken back, from where, and whether it is gone."""
    from node.storage.withdrawal_rows import end_task

    with sentences(), opened_node(settings) as node:
        if done:
            if not end_task(node.db, done, now=time.time()):
                raise NodeError(f"{done} is no open task; `withdrawals --tasks` lists them")
            node.audit.record("withdrawal task done", str(done))
            console.print(f"The task {done} is done.")
            return
        found = withdrawals(node.db, tasks=tasks, limit=limit)
        empty = "No task." if tasks else "Nothing was withdrawn."
        show([_row(one, whole=as_json) for one in found], as_json=as_json, empty=empty)


def rerun(
    job: Annotated[str, typer.Argument(help="Job that has ended.")],
    settings: SettingsOption = None,
) -> None:
    """Compute the same work again, for the destinations that its rule names now.

    Its result replaces the old one once it is proven (S8).
    """
    from node.routing.ways import way_of_today
    from node.storage.job_rows import get_job
    from node.storage.job_rows import rerun as schedule

    with sentences(), opened_node(settings) as node:
        way = way_of_today(node.settings, get_job(node.db, job))
        again = schedule(node.db, job, way=way, now=time.time())
        node.audit.record("job run again", job, run=again.run_number)
        to = "nowhere: shadow" if again.shadow else ", ".join(again.destinations) or "nowhere"
        console.print(
            f"The job {again.id} is run {again.run_number} of it; its result goes to: {to}.",
            markup=False,
            soft_wrap=True,
        )


def _confirm(node: Node, jobs: Sequence[Job], *, yes: bool) -> None:
    """Show what would be taken back, and ask."""
    from node.storage.withdrawal_rows import deliveries_to_withdraw

    counts = {one.id: len(deliveries_to_withdraw(node.db, one.id)) for one in jobs}
    meant = [one for one in jobs if counts[one.id]]
    if not meant or yes:
        return
    places = sorted({name for one in meant for name in one.destinations})
    error_console.print(
        f"{sum(counts.values())} deliveries of {len(meant)} jobs at {', '.join(places)} will be "
        "taken back.",
        markup=False,
        soft_wrap=True,
    )
    typer.confirm("Take them back?", abort=True, err=True)


def _withdraw(
    node: Node, jobs: Sequence[Job], *, reason: str, wait_s: float, as_json: bool
) -> None:
    """Ask for it, wait for proof, and say of each object what became of it."""
    from node.withdrawals import withdraw_job

    asked = sum(withdraw_job(node, one.id, reason=reason, now=time.time()) for one in jobs)
    ids = [one.id for one in jobs]
    deadline = time.monotonic() + wait_s
    found = withdrawals(node.db, jobs=ids)
    while _under_way(found) and time.monotonic() < deadline:
        time.sleep(_STEP_S)
        found = withdrawals(node.db, jobs=ids)
    show(
        [_row(one, whole=as_json) for one in found],
        as_json=as_json,
        empty="Nothing of it was to be sent.",
    )
    if found and not asked:
        unused = "; the reason given now is not used: the first one stands" if reason else ""
        error_console.print(f"All of it was asked for before{unused}.", soft_wrap=True)
    _say_how_it_ended(found)


def _under_way(found: Sequence[Taken]) -> bool:
    return any(one.withdrawal.state in _ON_THE_WAY for one in found)


def _say_how_it_ended(found: Sequence[Taken]) -> None:
    left = [
        one for one in found if one.withdrawal.state not in _GONE and one.withdrawal.done_at is None
    ]
    waiting = sum(one.withdrawal.state in _ON_THE_WAY for one in left)
    if waiting:
        error_console.print(
            f"{waiting} are under way; the running node goes on: `sentinel-node withdrawals`",
            soft_wrap=True,
        )
    if len(left) > waiting:
        error_console.print(
            f"{len(left) - waiting} are still found there, or cannot be looked for: take them "
            "back by hand in the PACS, then `sentinel-node withdrawals --done NUMBER`",
            soft_wrap=True,
        )
    if left:
        raise typer.Exit(NOT_ALL_GONE)


def _results(node: Node, job: Job) -> list[dict[str, object]]:
    """Return one row for each destination of a job; one without where it went nowhere."""
    from node.storage.delivery_rows import list_deliveries

    taken = {one.delivery.id: one.withdrawal for one in withdrawals(node.db, jobs=[job.id])}
    rows = [
        (delivery, evidence)
        for delivery, evidence in list_deliveries(node.db, job_id=job.id)
        if not evidence.withdraws
    ]
    places = list(dict.fromkeys(delivery.destination for delivery, _ in rows)) or [""]
    listed: list[dict[str, object]] = []
    for place in places:
        own = [(d, e) for d, e in rows if d.destination == place]
        back = [taken[d.id] for d, _ in own if d.id in taken]
        listed.append(
            {
                "job": job.id,
                "study": job.study_instance_uid,
                "plugin": job.plugin_name_version,
                "digest": job.plugin_digest[:12],
                "ended": clock_time(job.ended_at),
                "destination": place or "nowhere",
                "objects": " ".join(evidence.role for _, evidence in own),
                "states": _counted(str(delivery.state) for delivery, _ in own),
                "withdrawn": _counted(str(one.state) for one in back),
            }
        )
    return listed


def _cut(text: str) -> str:
    """Return a reason as a table has room for it.

    Examples
    --------
    >>> len(_cut("x" * 1000)), _cut("swapped sides")
    (80, 'swapped sides')
    """
    return text if len(text) <= _REASON_SHOWN else f"{text[: _REASON_SHOWN - 1]}…"


def _counted(words: Iterable[str]) -> str:
    """Return words with how often each comes.

    Examples
    --------
    >>> _counted(["PROVEN", "PROVEN", "FAILED"])
    '2 PROVEN, 1 FAILED'
    """
    return ", ".join(f"{count} {word}" for word, count in Counter(words).items())


def _row(one: Taken, *, whole: bool) -> dict[str, object]:
    taken = one.withdrawal
    return {
        "withdrawal": taken.id,
        "job": one.delivery.job_id,
        "object": one.evidence.role,
        "sop_instance_uid": one.evidence.sop_instance_uid,
        "destination": one.delivery.destination,
        "state": str(taken.state),
        "by": taken.means,
        "asked": clock_time(taken.requested_at),
        "looked": clock_time(taken.looked_at),
        "done": clock_time(taken.done_at),
        "reason": taken.reason if whole else _cut(taken.reason),
        "found": taken.sentence,
    }
