from pathlib import Path

LONGEST = 400
REPOSITORY = Path(__file__).resolve().parents[2]


def test_no_module_is_longer_than_the_budget():
    lengths = {
        str(path.relative_to(REPOSITORY)): len(path.read_text(encoding="utf-8").splitlines())
        for folder in ("node", "plugins")
        for path in (REPOSITORY / folder).rglob("*.py")
    }
    assert lengths
    assert {name: lines for name, lines in lengths.items() if lines > LONGEST} == {}
