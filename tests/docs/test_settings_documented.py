"""docs/rules-and-settings.md says everything the settings file may hold, and nothing else."""

import re
import tomllib
from pathlib import Path

import pytest

from node.condition_file import JOINING_OPERATORS, OWN_NAMES, VALUE_OPERATORS, parse_condition
from node.profiles import MAX_SEG_FRAMES, PROFILES
from node.settings_file import PhaseTable, RoiTable, SettingsFile, parse_settings
from node.toml_file import Table

PAGE = (Path(__file__).parents[2] / "docs" / "rules-and-settings.md").read_text()
ROW = r"^\| `(\w+)` \|([^|\n]*)\|([^|\n]*)\|([^|\n]*)\|([^|\n]*)\|$"
SECTIONS = {
    "`[node]`": "node",
    "`[receive]`": "receive",
    "`[web]`": "web",
    "`[[peers]]`": "peers",
    "`[[destinations]]`": "destinations",
    "`[profiles.NAME]`": "profiles",
    "`[[rules]]`": "rules",
    "`[[releases]]`": "releases",
}


def table_of(key: str) -> type[Table]:
    annotation = SettingsFile.model_fields[key].annotation
    if isinstance(annotation, type) and issubclass(annotation, Table):
        return annotation
    return next(a for a in annotation.__args__ if isinstance(a, type) and issubclass(a, Table))


def rows(heading: str) -> dict[str, list[str]]:
    """Key → cells of the last table below a heading."""
    section = re.split(r"^#{2,3} ", PAGE, flags=re.MULTILINE)
    (text,) = [one for one in section if one.startswith(heading + "\n")]
    table = text[text.rindex("|---|") :]
    lines = re.findall(r"^\| `(.+?)` \|(.*)\|$", table, flags=re.MULTILINE)
    return {key: cells.split("|") for key, cells in lines}


def test_every_table_has_its_section():
    assert set(SECTIONS.values()) == set(SettingsFile.model_fields)


def test_every_key_of_a_region_is_documented():
    assert set(rows("`[rules.rois.NAME]`")) == set(RoiTable.model_fields)


def test_every_key_of_the_phases_is_documented_with_its_default():
    said = rows("`[rules.phases]`")

    assert set(said) == set(PhaseTable.model_fields)
    for name, (default, _) in said.items():
        written = tomllib.loads(f"x = {default.strip(' `')}")["x"]
        assert tuple(written) == PhaseTable.model_fields[name].default, name


@pytest.mark.parametrize(("heading", "key"), SECTIONS.items())
def test_every_key_is_documented_and_every_documented_key_exists(heading: str, key: str):
    assert set(rows(heading)) == set(table_of(key).model_fields)


@pytest.mark.parametrize(("heading", "key"), SECTIONS.items())
def test_defaults_and_keys_that_must_be_said_are_true(heading: str, key: str):
    for name, (default, meaning) in rows(heading).items():
        field = table_of(key).model_fields[name]
        assert meaning.strip(), name
        if "must be said" in default:
            assert field.is_required() or name == "destinations", name
        elif re.fullmatch(r" `.*` ", default) and name != "quiet_s":
            said = tomllib.loads(f"x = {default.strip(' `')}")["x"]
            actual = field.default
            assert said == (list(actual) if isinstance(actual, tuple) else actual), name


def test_every_operator_has_an_example_that_is_understood():
    operators = rows("Conditions")
    listed = re.findall(r"^\| (?:`(\S+)`|list) \|", PAGE, flags=re.MULTILINE)
    assert {*JOINING_OPERATORS, *VALUE_OPERATORS, "="} <= set(listed)
    for name in OWN_NAMES:
        assert f"`{name}`" in PAGE
    for operator, cells in operators.items():
        for example in re.findall(r"`([^`]+)`", cells[0]):
            condition = parse_condition(tomllib.loads(example), where=operator)
            assert condition.children


def test_the_example_is_a_settings_file():
    (example,) = re.findall(r"```toml\n(.*?)```", PAGE, flags=re.DOTALL)

    settings = parse_settings(example, Path("/etc"))

    assert [rule.name for rule in settings.rules] == ["overlay check", "adult abdomen"]


def test_every_ready_profile_is_documented_as_it_is():
    said = {name: cells for name, *cells in re.findall(ROW, PAGE, flags=re.MULTILINE)}
    assert set(said) == set(PROFILES)
    for name, (seg, sr, besides, _) in said.items():
        profile = PROFILES[name]
        assert profile.seg in seg
        assert (str(profile.max_seg_frames) in seg) == (profile.max_seg_frames != MAX_SEG_FRAMES)
        assert profile.sr in sr
        assert ("secondary captures" in besides) == profile.secondary_capture
        assert ("key objects" in besides) == profile.key_objects
        assert ("parametric maps" in besides) == profile.parametric_map
        assert (profile.iocm, profile.presentation_state) == ("none", False)


def test_every_decision_is_documented():
    source = Path(__file__).parents[2] / "node"
    text = (source / "routing" / "dispatch.py").read_text()
    text += (source / "storage" / "routing_rows.py").read_text()
    said = {"scheduled", "waiting", "same work", "refused", "held", "not matched"}
    for outcome in said:
        assert f'"{outcome}"' in text
        assert f"| `{outcome}` |" in PAGE
