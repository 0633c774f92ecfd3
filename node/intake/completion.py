"""When is a study complete: quiet time, and counts at a query peer (S13, S14)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

from node.dicom.find import NOT_IMAGES, count_images
from node.errors import QueryFailed
from node.logs import get_logger, hashed
from node.settings import Condition, PeerSettings, Settings
from node.storage.completion_rows import (
    INCOMPLETE,
    ReceivingStudy,
    complete_study,
    counts_by_series,
    keep_counts,
    receiving_studies,
    restart_quiet_time,
)
from node.storage.database import Database
from node.storage.presence_rows import open_associations

#: Two equal counts that shorten the wait lie at least so far apart (S13).
_APART_S = 30.0
#: No question before it was quiet so long: a PACS that forwards while receiving has our count.
_FIRST_COUNT_S = 10.0
#: A study with fewer images than its archive waits for a person after so many quiet times, and
#: at the latest after an hour.
_LONGEST_QUIETS = 10.0
_LONGEST_S = 3600.0
_SERIES_NAMED = 3
#: Rows that lie further ahead were written before the clock was set back.
_CLOCK_SLACK_S = 2.0

#: Asks a peer for the instances by image series of a study; raises `QueryFailed`.
CountAtPeer = Callable[[PeerSettings, str], Mapping[str, int]]

log = get_logger(__name__)


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """A study is complete, or will not be."""

    reason: str
    #: Images that the archive has are missing: no rule may run on a guess.
    hold: bool = False


def sweep(
    db: Database,
    settings: Settings,
    *,
    now: float,
    count_at_peer: CountAtPeer | None = None,
) -> tuple[str, ...]:
    """Close every study that is complete by now; return their UIDs.

    Parameters
    ----------
    now : float
        Seconds since the epoch.
    count_at_peer : callable, optional
        How to ask a query peer; default is C-FIND with our first AE title.
    """
    count = count_at_peer or partial(_count_by_find, calling_ae=settings.ae_titles[0])
    closed = []
    for receiving in receiving_studies(db):
        ahead = receiving.last_received_at - now
        if ahead > _CLOCK_SLACK_S:  # else the study would wait until the clock is there again
            restart_quiet_time(db, receiving, now=now)
            name = hashed(receiving.study_instance_uid)
            log.warning("the clock went back", study=name, seconds=round(ahead))
            continue
        verdict = _judge(db, settings, receiving, now=now, count_at_peer=count)
        if verdict and complete_study(
            db, receiving, now=now, reason=verdict.reason, hold=verdict.hold
        ):
            closed.append(receiving.study_instance_uid)
            name = hashed(receiving.study_instance_uid)
            log.info("study held" if verdict.hold else "study complete", study=name)
    return tuple(closed)


def _judge(
    db: Database,
    settings: Settings,
    receiving: ReceivingStudy,
    *,
    now: float,
    count_at_peer: CountAtPeer,
) -> Verdict | None:
    quiet_s = quiet_time(settings, receiving.called_ae, receiving.peer)
    if receiving.has_only_new_contours:
        quiet = now - receiving.last_received_at
        over = quiet >= min(settings.roi_quiet_s, quiet_s)
        return Verdict(reason=f"only contours came, none for {quiet:.0f} s") if over else None
    peer = query_peer(settings, receiving.peer)
    here: Mapping[str, int] = {}
    busy = False
    if peer is not None and now - receiving.last_received_at >= _FIRST_COUNT_S:
        found = counts_by_series(db, receiving.id, NOT_IMAGES)
        here = {uid: count for uid, (_, count) in found.items()}
        if _count_is_due(receiving, now):
            receiving = _count(db, receiving, peer, here, now=now, count_at_peer=count_at_peer)
        busy = _is_connected(db, receiving, peer)
    return decide(
        receiving,
        here=here,
        quiet_s=quiet_s,
        peer="" if peer is None else peer.name,
        association_open=busy,
        now=now,
    )


def decide(
    receiving: ReceivingStudy,
    *,
    here: Mapping[str, int],
    quiet_s: float,
    peer: str,
    association_open: bool,
    now: float,
) -> Verdict | None:
    """Return whether a study is complete, None while it is not.

    Parameters
    ----------
    receiving : ReceivingStudy
        With the last counts of the query peer.
    here : mapping of series UID to instances
        Our own count by image series.
    quiet_s : float
        The quiet time that holds for this study.
    peer : str
        Name of the query peer, "" if there is none.
    association_open : bool
        The query peer, or the sender, is connected to us.
    """
    quiet = now - receiving.last_received_at
    since = f"no image for {quiet:.0f} s"
    counted = receiving.archive_counted_at
    if not peer or counted is None or counted < receiving.last_received_at:
        return Verdict(reason=since) if quiet >= quiet_s else None
    there = receiving.archive_counts
    if there is None:
        reason = f"{since}; {peer} did not answer the count"
        return Verdict(reason=reason) if quiet >= quiet_s else None
    missing = {uid: n for uid, n in there.items() if here.get(uid, 0) < n}
    if missing:
        if quiet < max(quiet_s, min(_LONGEST_QUIETS * quiet_s, _LONGEST_S)):
            return None
        return Verdict(reason=f"{INCOMPLETE}{_shown(missing, here)} at {peer}; {since}", hold=True)
    if _unchanged(receiving, counted) and not association_open:
        total = sum(there.values())
        return Verdict(reason=f"all {total} images of {peer}, unchanged over {_APART_S:.0f} s")
    return Verdict(reason=f"{since}; none missing at {peer}") if quiet >= quiet_s else None


def quiet_time(settings: Settings, called_ae: str, peer: str) -> float:
    """Return the longest quiet time of the rules that could match a study so received (S13)."""
    known = {"called_ae": called_ae, "peer": peer}
    times = [rule.quiet_s for rule in settings.rules if _could_hold(rule.when, known) is not False]
    return max(times, default=settings.quiet_s)


def query_peer(settings: Settings, sender: str) -> PeerSettings | None:
    """Return who is asked for counts: the sender if it can be, else the first that can."""
    able = [peer for peer in settings.peers if peer.query and peer.port is not None]
    return next((peer for peer in able if peer.name == sender), able[0] if able else None)


def _could_hold(condition: Condition, known: Mapping[str, str]) -> bool | None:
    """Return whether a condition holds by what is known without headers; None: perhaps."""
    if condition.operator == "not":
        inner = [_could_hold(child, known) for child in condition.children]
        return not inner[0] if inner and len(set(inner)) == 1 and inner[0] is not None else None
    if condition.operator in {"all", "any"}:
        return _joined(condition.operator, [_could_hold(c, known) for c in condition.children])
    if condition.name not in known:
        return None
    if condition.operator == "equals":
        return known[condition.name] == condition.value
    if condition.operator == "in" and isinstance(condition.value, tuple):
        return known[condition.name] in condition.value
    return None  # a pattern: perhaps, which can only wait longer


def _joined(operator: str, parts: list[bool | None]) -> bool | None:
    decisive = operator == "any"
    if decisive in parts:
        return decisive
    return None if None in parts else not decisive


def _count_is_due(receiving: ReceivingStudy, now: float) -> bool:
    counted = receiving.archive_counted_at
    return counted is None or counted < receiving.last_received_at or now - counted >= _APART_S


def _count(
    db: Database,
    receiving: ReceivingStudy,
    peer: PeerSettings,
    here: Mapping[str, int],
    *,
    now: float,
    count_at_peer: CountAtPeer,
) -> ReceivingStudy:
    """Ask the peer, keep its answer, and return the study with it."""
    before = _fresh_counts(receiving)
    equal_since = None
    try:
        counts: Mapping[str, int] | None = count_at_peer(peer, receiving.study_instance_uid)
    except QueryFailed as failure:
        log.warning("count failed", peer=peer.name, sentence=str(failure))
        counts = before
    else:
        if counts == here and counts:
            equal_since = receiving.archive_equal_since if counts == before else None
            equal_since = now if equal_since is None else equal_since
    keep_counts(db, receiving.id, counts=counts, counted_at=now, equal_since=equal_since)
    return ReceivingStudy(
        **{
            **vars(receiving),
            "archive_counts": counts,
            "archive_counted_at": now,
            "archive_equal_since": equal_since,
        }
    )


def _fresh_counts(receiving: ReceivingStudy) -> Mapping[str, int] | None:
    """Return the last counts if nothing arrived since they were taken."""
    counted = receiving.archive_counted_at
    fresh = counted is not None and counted >= receiving.last_received_at
    return receiving.archive_counts if fresh else None


def _unchanged(receiving: ReceivingStudy, counted: float) -> bool:
    since = receiving.archive_equal_since
    return since is not None and since >= receiving.last_received_at and counted - since >= _APART_S


def _is_connected(db: Database, receiving: ReceivingStudy, peer: PeerSettings) -> bool:
    titles = {receiving.calling_ae, peer.ae_title}
    return any(
        found.peer == peer.name or found.calling_ae in titles for found in open_associations(db)
    )


def _shown(missing: Mapping[str, int], here: Mapping[str, int]) -> str:
    named = list(missing.items())[:_SERIES_NAMED]
    text = ", ".join(f"{here.get(uid, 0)} of {n} images of series {uid}" for uid, n in named)
    more = len(missing) - len(named)
    return f"{text} and {more} more series" if more else text


def _count_by_find(peer: PeerSettings, study_uid: str, *, calling_ae: str) -> Mapping[str, int]:
    return count_images(peer, study_uid, calling_ae=calling_ae)
