"""The settings file: each key is read, each fault is one sentence."""

import string
import tomllib
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.errors import SettingsError
from node.manifest import InputRole, Manifest
from node.model import DestinationGrade, Grade
from node.settings import PLAIN_PHASES, Condition, PhaseSettings, ReleaseSettings, Settings
from node.settings_file import check_against, load_settings, missing_secrets, parse_settings

BASE = Path("/srv/sentinel")
NODE = '[node]\ndata_dir = "data"\n'
ARCHIVE = """
[[destinations]]
name = "archive"
kind = "dicom"
grade = "research"
ae_title = "PACS"
host = "10.0.0.5"
"""
RULE = """
[[rules]]
name = "check"
plugin = "commissioning"
when = { Modality = "CT" }
destinations = ["archive"]
"""
SITE = NODE + ARCHIVE + RULE


def parse(text: str) -> Settings:
    return parse_settings(text, BASE, environ={})


def test_the_smallest_file_has_only_a_data_folder():
    found = parse(NODE)

    assert found == Settings(data_dir=BASE / "data")
    assert found.resolved_database_url == f"sqlite:///{BASE}/data/node.db"


def test_every_key_is_read():
    found = parse(
        """
        [node]
        ae_titles = ["SENTINEL", "SENTINEL_TEST"]
        bind = "0.0.0.0"
        port = 104
        data_dir = "/data"
        database_url = "postgresql+psycopg://sentinel@db/node"
        promiscuous = true
        plugin_dirs = ["plugins", "/opt/plugins"]
        devices = ["cuda:0", "cpu"]
        quiet_s = 60
        log_level = "DEBUG"
        institution = "Klinikum"
        device_serial_number = "SN-1"

        [receive]
        max_associations = 4
        max_pdu_bytes = 65536
        idle_timeout_s = 30
        min_free_mb = 10
        max_header_mb = 8
        max_depth = 16

        [[peers]]
        name = "ct"
        ae_title = "CT1"
        hosts = ["10.1.0.0/16", "10.2.0.7"]
        port = 104
        called = ["SENTINEL"]
        store = false
        query = true
        assumed_charset = "ISO_IR 100"
        max_associations = 2

        [[destinations]]
        name = "orthanc"
        kind = "orthanc"
        grade = "clinical"
        url = "https://pacs:8043/"
        username = "node"
        password_env = "ORTHANC_PASSWORD"
        charset = "source"
        required = "sent"
        timeout_s = 5

        [[destinations]]
        name = "drop"
        kind = "folder"
        grade = "test"
        path = "out"

        [[rules]]
        name = "one"
        plugin = "commissioning"
        when = { called_ae = "SENTINEL", peer = ["ct"] }
        destinations = ["drop", "orthanc"]
        quiet_s = 5
        max_age_days = inf
        shadow = true

        [[releases]]
        plugin = "commissioning"
        digest = "%s"
        rule = "one"
        by = "Dr Example"
        on = 2026-01-31
        """
        % ("a" * 64)
    )

    assert found.ae_titles == ("SENTINEL", "SENTINEL_TEST")
    assert (found.bind, found.port, found.promiscuous) == ("0.0.0.0", 104, True)
    assert found.data_dir == Path("/data")
    assert found.plugin_dirs == (BASE / "plugins", Path("/opt/plugins"))
    assert found.receive.max_depth == 16
    assert found.peers[0].hosts == ("10.1.0.0/16", "10.2.0.7")
    assert found.destinations[0].grade is DestinationGrade.CLINICAL
    assert found.destinations[1].path == BASE / "out"
    assert found.rules[0].max_age_days == float("inf")
    assert found.rules[0].when == Condition(
        operator="all",
        children=(
            Condition(operator="equals", name="called_ae", value="SENTINEL"),
            Condition(operator="in", name="peer", value=("ct",)),
        ),
    )
    assert found.releases[0].on == "2026-01-31"


def test_a_rule_waits_as_long_as_the_node_unless_it_says_otherwise():
    assert parse(SITE.replace("[node]", "[node]\nquiet_s = 33")).rules[0].quiet_s == 33.0
    assert parse(SITE + "quiet_s = 0\n").rules[0].quiet_s == 0.0


FAULTS = {
    "no TOML": ("[node", "not valid TOML"),
    "no node table": ("", "node is missing"),
    "no data folder": ("[node]\nport = 1", "node.data_dir is missing"),
    "mistyped table": (NODE + "[[rulez]]\n", 'unknown key rulez (did you mean "rules"?)'),
    "mistyped key": (NODE + 'ae_title = ["A"]', 'node.ae_title (did you mean "ae_titles"?)'),
    "mistyped and missing": (
        SITE.replace("plugin =", "plugn ="),
        'unknown key rules["check"].plugn (did you mean "plugin"?)',
    ),
    "password": (
        NODE + ARCHIVE.replace("host =", 'password = "x"\nhost ='),
        '(did you mean "password_env"?)',
    ),
    "text for number": (NODE + 'port = "11112"', 'node.port = "11112"'),
    "true for number": (NODE + "quiet_s = true", "node.quiet_s = true"),
    "port": (NODE + "port = 70000", "node.port = 70000"),
    "negative time": (NODE + "quiet_s = -1", "node.quiet_s = -1"),
    "nan": (NODE + "quiet_s = nan", "node.quiet_s"),
    "log level": (NODE + 'log_level = "debug"', 'did you mean "DEBUG"?'),
    "device": (NODE + 'devices = ["gpu"]', "a device is auto, cpu, cuda"),
    "no device": (NODE + "devices = []", "node.devices"),
    "long AE title": (NODE + 'ae_titles = ["SENTINEL_NODE_ONE"]', "at most 16 characters"),
    "empty AE title": (NODE + 'ae_titles = ["  "]', "must not be empty"),
    "backslash in AE title": (NODE + "ae_titles = ['A\\B']", "without backslash"),
    "AE title twice": (NODE + 'ae_titles = ["A", "A "]', 'node.ae_titles has "A" twice'),
    "password in address": (
        NODE + 'database_url = "postgresql+psycopg://u:secret@h/d"',
        "PGPASSWORD",
    ),
    "other database": (NODE + 'database_url = "mysql://h/d"', "sqlite or postgresql"),
    "no address": (
        NODE + '[[peers]]\nname = "p"\nae_title = "P"\nhosts = ["pacs"]',
        "10.1.0.0/16",
    ),
    "host bits": (
        NODE + '[[peers]]\nname = "p"\nae_title = "P"\nhosts = ["10.1.2.3/16"]',
        "host bits",
    ),
    "character set": (
        NODE + '[[peers]]\nname = "p"\nae_title = "P"\nassumed_charset = "ISO_IR100"',
        'did you mean "ISO_IR 100"?',
    ),
    "query without port": (
        NODE + '[[peers]]\nname = "p"\nae_title = "P"\nquery = true',
        "needs port and a single address",
    ),
    "unknown called title": (
        NODE + '[[peers]]\nname = "p"\nae_title = "P"\ncalled = ["SENTINAL"]',
        'did you mean "SENTINEL"?',
    ),
    "peer twice": (
        NODE + 2 * '[[peers]]\nname = "p"\nae_title = "P"\n',
        'peers has "p" twice',
    ),
    "peers nobody can tell apart": (
        NODE
        + '[[peers]]\nname = "a"\nae_title = "P"\nhosts = ["10.0.0.0/8"]\n'
        + '[[peers]]\nname = "b"\nae_title = "P"\nhosts = ["10.1.0.1"]\n',
        "nobody could tell them apart",
    ),
    "unknown destination": (
        SITE.replace('["archive"]', '["archiv"]'),
        'there is no destination "archiv" (did you mean "archive"?)',
    ),
    "no destination": (SITE.replace('["archive"]', "[]"), "say shadow = true"),
    "destination twice in a rule": (
        SITE.replace('["archive"]', '["archive", "archive"]'),
        "names one twice",
    ),
    "rule twice": (SITE + RULE, 'rules has "check" twice'),
    "rule without condition": (
        SITE.replace('when = { Modality = "CT" }', ""),
        'rules["check"].when is missing',
    ),
    "unknown peer in a rule": (
        SITE.replace('Modality = "CT"', 'peer = "pacs"'),
        'there is no peer "pacs"',
    ),
    "unknown title in a rule": (
        SITE.replace('Modality = "CT"', 'not = { called_ae = ["SENTINAL"] }'),
        'did you mean "SENTINEL"?',
    ),
    "kind": (SITE.replace('"dicom"', '"dimse"'), "must be one of dicom, orthanc, folder"),
    "grade": (SITE.replace('"research"', '"clinic"'), 'did you mean "clinical"?'),
    "dicom without host": (SITE.replace('host = "10.0.0.5"', ""), "host is missing"),
    "key of another kind": (
        SITE.replace("host =", 'url = "http://p:1"\nhost ='),
        'belongs to kind = "orthanc"',
    ),
    "host": (SITE.replace("10.0.0.5", "10.0.0"), "neither an address nor a host name"),
    "password in url": (
        NODE + '[[destinations]]\nname="o"\nkind="orthanc"\ngrade="test"\nurl="http://u:p@h:1"',
        "use username and password_env",
    ),
    "release of another plugin": (
        SITE
        + f'[[releases]]\nplugin="x"\ndigest="{"a" * 64}"\nrule="check"\nby="B"\non="2026-01-01"',
        "runs commissioning, not x",
    ),
    "release date": (
        SITE + f'[[releases]]\nplugin="x"\ndigest="{"a" * 64}"\nrule="check"\nby="B"\non="31.1.26"',
        "write a date like",
    ),
    "release digest": (
        SITE + '[[releases]]\nplugin="x"\ndigest="AB"\nrule="check"\nby="B"\non="2026-01-01"',
        "releases[1].digest",
    ),
    "name with a line break": (SITE.replace('"check"', '"a\\nb"'), "printable characters"),
}


@pytest.mark.parametrize(("text", "sentence"), FAULTS.values(), ids=FAULTS)
def test_a_fault_is_one_sentence_that_says_what_to_do(text: str, sentence: str):
    with pytest.raises(SettingsError) as caught:
        parse(text)

    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value).replace("a\\nb", "")


def test_a_missing_or_foreign_file_is_named(tmp_path: Path):
    with pytest.raises(SettingsError, match="No such file"):
        load_settings(tmp_path / "none.toml")
    (tmp_path / "latin.toml").write_bytes(b'[node]\ndata_dir = "\xe4"')
    with pytest.raises(SettingsError, match="not UTF-8"):
        load_settings(tmp_path / "latin.toml")


def test_relative_paths_are_relative_to_the_file(tmp_path: Path):
    (tmp_path / "site.toml").write_text(NODE)

    assert load_settings(tmp_path / "site.toml").data_dir == tmp_path / "data"


def test_passwords_come_from_the_environment():
    text = NODE + '[[destinations]]\nname="o"\nkind="orthanc"\ngrade="test"\nurl="http://h:1"\n'
    text += 'username = "u"\npassword_env = "PW"\n'

    assert parse_settings(text, BASE, environ={"PW": "x", "HOME": "/"}).secrets == {"PW": "x"}
    assert missing_secrets(parse(text)) == ("PW",)


@given(st.text(alphabet=string.printable, max_size=200))
def test_no_text_makes_the_parser_crash(text: str):
    try:
        parse(text)
    except SettingsError as error:
        assert str(error)


_PRIMITIVE = st.one_of(
    st.integers(), st.floats(), st.booleans(), st.text(string.ascii_letters + '"\\é ', max_size=12)
)
_NAMES = ["Modality", "SliceThickness", "PatientAge", "StudyDate", "ImageType", "called_ae"]
_NAMES += ["min", "max", "has", "like", "matches", "not", "any", "all", "in", "PixelData", "x"]
_TABLES = st.recursive(
    _PRIMITIVE,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.sampled_from(_NAMES), inner, max_size=3)
    ),
    max_leaves=12,
)


@given(st.dictionaries(st.sampled_from(_NAMES), _TABLES, max_size=3))
def test_any_condition_is_read_or_refused_in_a_sentence(table: dict):
    from node.condition_file import parse_condition

    try:
        found = parse_condition(table, where="rule")
    except SettingsError as error:
        assert str(error).startswith("rule: when")
    else:
        assert found.operator == "all"


# --- S4 --------------------------------------------------------------------------------------

DIGEST = "d" * 64


def manifest(grade: Grade, name: str = "commissioning", version: str = "1.0.0") -> Manifest:
    return Manifest(
        folder=Path("/p"),
        name=name,
        version=version,
        title="t",
        intended_use="u",
        source="s",
        grade=grade,
        inputs={"ct": InputRole(name="ct", modality=("CT",))},
        digest=DIGEST,
    )


def site(grade: str, *, digest: str = "") -> Settings:
    text = SITE.replace('"research"', f'"{grade}"')
    if digest:
        text += f'[[releases]]\nplugin="commissioning"\ndigest="{digest}"\n'
        text += 'rule="check"\nby="B"\non="2026-01-01"\n'
    return parse(text)


GRADES = [
    (Grade.PHANTOM, "test", "", True),
    (Grade.PHANTOM, "research", "", True),
    (Grade.PHANTOM, "clinical", "", False),
    (Grade.PHANTOM, "clinical", DIGEST, False),
    (Grade.EVALUATED, "research", "", True),
    (Grade.EVALUATED, "clinical", "", False),
    (Grade.EVALUATED, "clinical", "e" * 64, False),
    (Grade.EVALUATED, "clinical", DIGEST, True),
]


@pytest.mark.parametrize(("grade", "destination", "released", "allowed"), GRADES)
def test_s04_only_a_released_plugin_may_write_to_a_clinical_destination(
    grade: Grade, destination: str, released: str, allowed: bool
):
    settings = site(destination, digest=released)

    if allowed:
        check_against(settings, {"commissioning@1.0.0": manifest(grade)})
        return
    with pytest.raises(SettingsError, match="GRADE_NOT_RELEASED"):
        check_against(settings, {"commissioning@1.0.0": manifest(grade)})


def test_s04_shadow_mode_is_no_way_around_the_grade():
    settings = parse(SITE.replace('"research"', '"clinical"') + "shadow = true\n")

    with pytest.raises(SettingsError, match="GRADE_NOT_RELEASED"):
        check_against(settings, {"x": manifest(Grade.PHANTOM)})


def test_s04_a_release_counts_for_its_rule_only():
    text = SITE.replace('"research"', '"clinical"') + RULE.replace('"check"', '"other"')
    text += f'[[releases]]\nplugin="commissioning"\ndigest="{DIGEST}"\n'
    text += 'rule="check"\nby="B"\non="2026-01-01"\n'

    with pytest.raises(SettingsError, match="other"):
        check_against(parse(text), {"x": manifest(Grade.EVALUATED)})


def test_an_unknown_plugin_is_refused_with_the_nearest_name():
    with pytest.raises(SettingsError, match='did you mean "commissionning"'):
        check_against(parse(SITE), {"x": manifest(Grade.PHANTOM, "commissionning")})


def test_two_versions_of_a_plugin_need_a_word_which_one():
    both = {f"commissioning@{v}": manifest(Grade.PHANTOM, version=v) for v in ("1.0.0", "1.1.0")}

    with pytest.raises(SettingsError, match="several versions"):
        check_against(parse(SITE), both)
    check_against(parse(SITE.replace('"commissioning"', '"commissioning@1.1.0"')), both)


def test_releases_are_values_with_everything_the_site_said():
    assert site("clinical", digest=DIGEST).releases == (
        ReleaseSettings(
            plugin="commissioning", digest=DIGEST, rule="check", by="B", on="2026-01-01"
        ),
    )


def test_what_a_rule_says_of_phases_is_read():
    said = parse(SITE + '[rules.phases]\narterial = ["Leber 1"]\ndelayed_s = [120, 600]\n')

    (rule,) = said.rules
    assert rule.phases == PhaseSettings(arterial=("Leber 1",), delayed_s=(120.0, 600.0))
    assert parse(SITE).rules[0].phases == PLAIN_PHASES


def test_a_rule_may_speak_of_phases_only_where_the_plugin_asks_for_one():
    said = parse(SITE + '[rules.phases]\narterial = ["Leber 1"]\n')
    plain = manifest(Grade.PHANTOM)
    asks = {"ct": InputRole(name="ct", modality=("CT",), phase="arterial")}

    with pytest.raises(SettingsError, match=r"no input of commissioning@1\.0\.0 asks for a phase"):
        check_against(said, {"x": plain})
    check_against(said, {"x": replace(plain, inputs=asks)})


def test_the_sample_of_these_tests_is_toml():
    assert tomllib.loads(SITE)["rules"][0]["name"] == "check"


def test_a_rule_for_a_plugin_whose_libraries_are_missing_is_refused_with_what_to_install():
    one = replace(manifest(Grade.PHANTOM), libraries=("numpy", "no_such_library"))

    with pytest.raises(SettingsError, match=r"needs no_such_library, not installed.*\[models\]"):
        check_against(parse(SITE), {"x": one})
    # Another interpreter has libraries of its own.
    check_against(parse(SITE), {"x": replace(one, python="/opt/models/bin/python")})
