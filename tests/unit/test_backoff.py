import pytest

from node.delivery.answers import Verdict
from node.delivery.backoff import held_until, prove_at, retry_at

RETRIED = [
    (Verdict.UNREACHABLE, 5.0, 600.0),
    (Verdict.NO_ANSWER, 5.0, 600.0),
    (Verdict.NO_RESOURCES, 60.0, 1800.0),
    (Verdict.PROCESSING_FAILED, 60.0, 3600.0),
    (Verdict.NOT_ADMITTED, 60.0, 3600.0),
]


@pytest.mark.parametrize(("verdict", "first", "longest"), RETRIED)
def test_delays_double_from_the_first_to_the_longest(verdict, first, longest):
    for attempts in range(1, 40):
        delay = retry_at(verdict, attempts, now=1000.0, seed=7) - 1000.0
        middle = min(first * 2 ** (attempts - 1), longest)
        assert 0.8 * middle <= delay <= 1.2 * middle


def test_trying_never_ends_whatever_the_count():
    assert retry_at(Verdict.UNREACHABLE, 10**6, now=0.0, seed=1) <= 720.0


def test_jitter_is_the_deliverys_own_and_the_same_after_a_restart():
    times = [retry_at(Verdict.UNREACHABLE, 3, now=0.0, seed=seed) for seed in range(100)]
    again = [retry_at(Verdict.UNREACHABLE, 3, now=0.0, seed=seed) for seed in range(100)]
    assert times == again
    assert len(set(times)) == 100


@pytest.mark.parametrize("verdict", [v for v in Verdict if v not in {r[0] for r in RETRIED}])
def test_what_is_stored_or_refused_is_not_retried(verdict):
    with pytest.raises(ValueError, match="no retry"):
        retry_at(verdict, 1, now=0.0, seed=1)


def test_s24_proof_waits_as_long_as_it_has_waited_within_5_s_and_an_hour():
    for age, wait in [(0.0, 5.0), (20.0, 20.0), (7200.0, 3600.0)]:
        at = prove_at(1000.0, now=1000.0 + age, seed=3) - 1000.0 - age
        assert 0.8 * wait <= at <= 1.2 * wait


def test_s24_proof_takes_few_questions_a_day():
    now, questions = 5.0, 0
    while now < 24 * 3600:
        now, questions = prove_at(0.0, now=now, seed=questions), questions + 1
    assert questions < 45


def test_s03_a_held_delivery_is_compared_again_within_minutes_then_hourly():
    assert 240.0 <= held_until(1, now=0.0, seed=1) <= 360.0
    assert 2880.0 <= held_until(50, now=0.0, seed=1) <= 4320.0
