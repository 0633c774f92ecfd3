"""When to come again: exponential back-off by class of error, never the end of trying (S23)."""

from __future__ import annotations

import random
from dataclasses import dataclass

from node.delivery.answers import Verdict


@dataclass(frozen=True, kw_only=True)
class Backoff:
    """Delays that double from `first_s` to `longest_s`."""

    first_s: float
    longest_s: float

    def delay_s(self, attempts: int, *, seed: int) -> float:
        """Return the seconds until the next attempt.

        Parameters
        ----------
        attempts : int
            How many failed so far, this one included; 1 or more.
        seed : int
            Delivery id: shifts the delay by up to 20 %, always the same way for the same
            attempt, so that a thousand deliveries do not come back in one second.
        """
        doubled = self.first_s * 2.0 ** min(attempts - 1, 30)
        # Not for secrets: the same delivery must find the same delay after a restart.
        jitter = random.Random(f"{seed}:{attempts}").uniform(0.8, 1.2)
        return min(doubled, self.longest_s) * jitter


_BY_VERDICT = {
    Verdict.UNREACHABLE: Backoff(first_s=5.0, longest_s=600.0),
    Verdict.NO_ANSWER: Backoff(first_s=5.0, longest_s=600.0),
    Verdict.NO_RESOURCES: Backoff(first_s=60.0, longest_s=1800.0),
    Verdict.PROCESSING_FAILED: Backoff(first_s=60.0, longest_s=3600.0),
    Verdict.NOT_ADMITTED: Backoff(first_s=60.0, longest_s=3600.0),
}

#: A delivery whose patient differs at the destination; a person must look, then it goes on.
_HELD = Backoff(first_s=300.0, longest_s=3600.0)

#: How long a stored object may stay unfound before a person must look (S24).
PROOF_PATIENCE_S = 24 * 3600.0
_PROOF_FIRST_S = 5.0
_PROOF_LONGEST_S = 3600.0


def retry_at(verdict: Verdict, attempts: int, *, now: float, seed: int) -> float:
    """Return when an object is offered again after an answer that allows it.

    Raises
    ------
    ValueError
        If `verdict` does not allow another attempt.
    """
    if verdict not in _BY_VERDICT:
        raise ValueError(f"no retry after {verdict}")
    return now + _BY_VERDICT[verdict].delay_s(attempts, seed=seed)


def held_until(attempts: int, *, now: float, seed: int) -> float:
    """Return when to compare a held delivery's patient with the destination's again (S3)."""
    return now + _HELD.delay_s(attempts, seed=seed)


def prove_at(sent_at: float, *, now: float, seed: int) -> float:
    """Return when to look again for an object that was not found yet.

    The wait equals the time since it was sent, within 5 s and 1 h: it doubles by itself.
    """
    wait = min(max(now - sent_at, _PROOF_FIRST_S), _PROOF_LONGEST_S)
    return now + wait * random.Random(seed).uniform(0.8, 1.2)
