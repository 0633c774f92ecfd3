"""docs/risks.md names tests that exist for every safety rule, and all of them."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "risks.md").read_text()
ROWS = dict(re.findall(r"^\| S(\d+) \|(.*)$", PAGE, flags=re.MULTILINE))
TESTS = {
    (name, path.relative_to(ROOT).as_posix())
    for path in (ROOT / "tests").rglob("test_*.py")
    for name in re.findall(r"^def (test_\w+)", path.read_text(), flags=re.MULTILINE)
}
SAFETY_TESTS = sorted(name for name, _ in TESTS if re.match(r"test_s\d\d_", name))


@pytest.mark.parametrize("number", range(1, 29))
def test_every_safety_rule_has_a_row(number):
    assert str(number) in ROWS, f"S{number} has no row in docs/risks.md"


@pytest.mark.parametrize("number", range(1, 29))
def test_every_safety_rule_names_a_test_or_says_what_is_open(number):
    row = ROWS[str(number)]

    assert f"test_s{number:02}_" in row or "open:" in row


def test_every_test_that_the_page_names_exists():
    named = set(re.findall(r"`(test_\w+)`", PAGE))

    assert named <= {name for name, _ in TESTS}, named - {name for name, _ in TESTS}


def test_every_safety_test_stands_on_the_page():
    assert [name for name in SAFETY_TESTS if f"`{name}`" not in PAGE] == []
