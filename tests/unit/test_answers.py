import pytest

from node.delivery.answers import (
    Verdict,
    answer_of_failure,
    answer_of_http,
    answer_of_status,
    failure,
    must_prove_content,
)
from node.errors import DeliveryFailed


@pytest.mark.parametrize(
    ("status", "verdict"),
    [
        (0x0000, Verdict.STORED),
        (0xB000, Verdict.STORED_WITH_WARNING),
        (0xB007, Verdict.STORED_WITH_WARNING),
        (0xB006, Verdict.STORED_IN_PART),
        (0xA700, Verdict.NO_RESOURCES),
        (0xA701, Verdict.NO_RESOURCES),
        (0xA702, Verdict.NO_RESOURCES),
        (0xA7FF, Verdict.NO_RESOURCES),
        (0x0110, Verdict.PROCESSING_FAILED),
        (0x0111, Verdict.DUPLICATE),
        (0xA900, Verdict.REFUSED),
        (0xA9FF, Verdict.REFUSED),
        (0xC000, Verdict.REFUSED),
        (0xCFFF, Verdict.REFUSED),
        (0x0117, Verdict.REFUSED),
        (0x0122, Verdict.REFUSED),
        (0x0124, Verdict.REFUSED),
        # What no table knows is a dead letter with its number.
        (0x0001, Verdict.REFUSED),
        (0x0106, Verdict.REFUSED),
        (0xA600, Verdict.REFUSED),
        (0xA800, Verdict.REFUSED),
        (0xB001, Verdict.REFUSED),
        (0xFE00, Verdict.REFUSED),
        (0xFF00, Verdict.REFUSED),
    ],
)
def test_s23_each_status_has_its_verdict_and_shows_its_number(status, verdict):
    answer = answer_of_status(status)
    assert answer.verdict is verdict
    assert answer.status == f"{status:04X}"
    assert f"({status:04X})" in answer.sentence
    assert bool(answer.code) == (verdict is Verdict.REFUSED)


def test_s23_every_16_bit_status_has_a_verdict():
    stored = {s for s in range(0x10000) if answer_of_status(s).verdict.is_stored}
    assert stored == {0x0000, 0xB000, 0xB006, 0xB007, 0x0111}


@pytest.mark.parametrize(
    ("status", "verdict"),
    [
        (400, Verdict.REFUSED),
        (401, Verdict.NOT_ADMITTED),
        (403, Verdict.NOT_ADMITTED),
        (404, Verdict.NOT_ADMITTED),
        (413, Verdict.REFUSED),
        (429, Verdict.NO_RESOURCES),
        (500, Verdict.PROCESSING_FAILED),
        (502, Verdict.NO_ANSWER),
        (503, Verdict.NO_RESOURCES),
        (507, Verdict.NO_RESOURCES),
    ],
)
def test_s23_http_answers_fall_into_the_same_classes(status, verdict):
    answer = answer_of_http(status)
    assert (answer.verdict, answer.status) == (verdict, f"HTTP {status}")


@pytest.mark.parametrize("verdict", list(Verdict))
def test_every_verdicts_word_fits_the_status_column(verdict):
    error = failure(verdict, "why")
    answer = answer_of_failure(error)
    assert error.retry
    assert (answer.verdict, answer.sentence) == (verdict, "why")
    assert len(answer.status) <= 19
    if verdict.ends_association:
        assert len(answer.status) <= 16


def test_a_failure_of_unknown_origin_counts_as_no_answer():
    assert answer_of_failure(DeliveryFailed("x", retry=True)).verdict is Verdict.NO_ANSWER


def test_s25_only_what_concerns_the_connection_or_room_ends_an_association():
    ends = {verdict for verdict in Verdict if verdict.ends_association}
    assert ends == {
        Verdict.NO_RESOURCES,
        Verdict.UNREACHABLE,
        Verdict.NOT_ADMITTED,
        Verdict.NO_ANSWER,
    }


def test_s23_only_content_proves_a_duplicate_or_a_part():
    assert [s for s in ("0000", "B000", "B006", "B007", "0111") if must_prove_content(s)] == [
        "B006",
        "0111",
    ]
