"""The command line as a newcomer uses it: on a folder, without a network, with bad input."""

import contextlib
import json
import shutil
import sqlite3

import numpy as np
import pydicom
import pytest
from typer.main import get_command
from typer.testing import CliRunner

from node.cli import app
from node.cli.network import _status_words
from node.inference.registry import builtin_plugin_folder
from node.intake.versions import resolve_versions
from node.phantom.study import make_ct_study
from node.storage.database import Database
from node.storage.files import Files
from node.storage.intake_rows import conflicting_instances
from tests.clinical_case import TOML
from tests.integration.test_versions import Site as Versions
from tests.make import (
    ct_series,
    enhanced_ct,
    free_port,
    part10,
    with_identity_of,
    write_series,
)
from tests.regions_case import ABNORMAL, binary, blob, segment
from tests.results_case import items_of
from tests.roi_plugin import write_phase_plugin, write_roi_plugin


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    return make_ct_study(tmp_path_factory.mktemp("study"), shape=(20, 128, 128))


@pytest.fixture
def cli(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SENTINEL_SETTINGS", raising=False)
    monkeypatch.setenv("COLUMNS", "250")

    def call(*arguments):
        return CliRunner().invoke(app, [str(a) for a in arguments])

    return call


def folder_of(study):
    return study.paths[0].parent


def test_run_writes_evidence_numbers_and_a_picture(cli, study, tmp_path):
    done = cli("run", folder_of(study), "--plugin", "commissioning", "--out", tmp_path / "out")

    assert done.exit_code == 0, done.output
    result = json.loads((tmp_path / "out" / "result.json").read_text())
    numbers = {m["name"]: m["value"] for m in result["measurements"]}
    seg = pydicom.dcmread(tmp_path / "out" / "seg.dcm")
    assert numbers["volume"] == pytest.approx(study.volume_ml, rel=1e-6)
    assert seg.SeriesDescription.startswith("RESEARCH")
    assert int(np.count_nonzero(seg.pixel_array)) == int(np.count_nonzero(study.truth))
    assert (tmp_path / "out" / "sr.dcm").is_file()
    assert result["pictures"] and (tmp_path / "out" / result["pictures"][0]).is_file()
    assert "ran" in done.output


def test_run_takes_names_of_regions_and_says_what_is_missing(cli, tmp_path):
    ct = ct_series((4, 12, 10))
    drawn = binary(ct, blob((4, 12, 10)), SegmentSequence=[segment(1, "GTV 1", ABNORMAL)])
    write_series(tmp_path / "study", [*ct, drawn])
    plugins = write_roi_plugin(tmp_path / "plugins")
    ask = ("run", tmp_path / "study", "--plugin", "contour_volume", "--plugins", plugins, "--out")

    without = cli(*ask, tmp_path / "no")
    wrong = cli(*ask, tmp_path / "no", "--roi", "tumor")
    unknown = cli(*ask, tmp_path / "no", "--roi", "tumour=GTV*")
    done = cli(*ask, tmp_path / "out", "--roi", "tumor=gtv*")

    assert without.exit_code == wrong.exit_code == unknown.exit_code == 1
    assert "no region for tumor" in without.output and "1 other region is here" in without.output
    assert "say by which name it goes: --roi ROLE=NAME" in without.output
    assert "write the region's name and a pattern" in wrong.output
    assert 'needs no region "tumour" (did you mean "tumor"?)' in unknown.output
    assert done.exit_code == 0, done.output


def test_run_takes_clinical_values_and_refuses_what_the_plugin_does_not_know(cli, tmp_path):
    ct = ct_series((4, 12, 10))
    write_series(tmp_path / "study", [*ct, binary(ct, blob((4, 12, 10)))])
    plugins = write_roi_plugin(tmp_path / "plugins")
    with (plugins / "contour_volume" / "plugin.toml").open("a") as manifest:
        manifest.write(TOML)
    ask = ("run", tmp_path / "study", "--plugin", "contour_volume", "--plugins", plugins)
    ask += ("--clinical", "grade=g2", "--out")

    unknown = cli(*ask, tmp_path / "no", "--clinical", "grad=g2")
    bare = cli(*ask, tmp_path / "no", "--clinical", "size")
    unit = cli(*ask, tmp_path / "no", "--clinical", "size=31 kg")
    twice = cli(*ask, tmp_path / "no", "--clinical", "grade=g1")
    done = cli(*ask, tmp_path / "out", "--clinical", "size=3.1 cm")

    assert twice.exit_code == 1 and "--clinical grade is said twice" in twice.output
    assert unknown.exit_code == bare.exit_code == unit.exit_code == 1
    assert "grad" in unknown.output and "grade" in unknown.output
    assert "write a name and a value" in bare.output
    assert "kg" in unit.output and "mm" in unit.output
    assert done.exit_code == 0, done.output
    said = str(pydicom.dcmread(tmp_path / "out" / "sr.dcm"))
    assert "Tumour grade" in said and "'G2'" in said and "31" in said


def test_run_takes_words_for_contrast_phases(cli, tmp_path):
    portal = ct_series((4, 12, 10), SeriesNumber=2, SeriesDescription="Leber 2")
    arterial = ct_series((4, 12, 10), SeriesNumber=3, SeriesDescription="Leber 1")
    drawn = binary(portal, blob((4, 12, 10)))
    write_series(tmp_path / "study", [*portal, *with_identity_of(portal[0], arterial), drawn])
    plugins = write_phase_plugin(tmp_path / "plugins")
    ask = ("run", tmp_path / "study", "--plugin", "two_phases", "--plugins", plugins, "--out")
    words = ("--phase", "arterial=Leber 1", "--phase", "portal_venous=leber 2")

    without = cli(*ask, tmp_path / "no")
    unknown = cli(*ask, tmp_path / "out", "--phase", "arteriell=Leber 1")
    done = cli(*ask, tmp_path / "out", *words)

    assert without.exit_code == unknown.exit_code == 1
    assert "its contrast phase is not known, arterial is asked for" in without.output
    assert 'there is no phase arteriell (did you mean "arterial"?)' in unknown.output
    assert done.exit_code == 0, done.output


def test_run_makes_what_a_viewer_profile_wants(cli, study, tmp_path):
    done = cli(
        *("run", folder_of(study), "--plugin", "commissioning", "--out", tmp_path / "out"),
        *("--profile", "plain_pacs"),
    )
    wrong = cli(
        *("run", folder_of(study), "--plugin", "commissioning", "--out", tmp_path / "no"),
        *("--profile", "plain_pcas"),
    )

    assert done.exit_code == 0, done.output
    made = {path.stem for path in (tmp_path / "out").glob("*.dcm")}
    assert {"sr", "sc"} <= made and "seg" not in made
    assert wrong.exit_code == 1
    assert 'no profile `plain_pcas` (did you mean "plain_pacs"?)' in wrong.output


def test_s20_an_enhanced_multiframe_ct_is_a_source_like_any_other(cli, tmp_path):
    made = enhanced_ct(shape=(12, 64, 64))
    write_series(tmp_path / "in", [made])

    done = cli("run", tmp_path / "in", "--plugin", "commissioning", "--out", tmp_path / "out")

    assert done.exit_code == 0, done.output
    seg = pydicom.dcmread(tmp_path / "out" / "seg.dcm")
    frames = seg.PerFrameFunctionalGroupsSequence
    sources = [f.DerivationImageSequence[0].SourceImageSequence[0] for f in frames]
    numbers = [int(source.ReferencedFrameNumber) for source in sources]
    assert len(set(numbers)) == len(numbers) == seg.NumberOfFrames
    assert set(numbers) <= set(range(1, 13))


def test_a_note_of_the_plugin_stands_in_the_report_once(cli, tmp_path):
    values = np.zeros((12, 32, 32), np.int16)
    values[2, 5, 5] = values[8, 20, 20] = 500  # no two in one slice: commissioning notes that
    write_series(tmp_path / "in", ct_series(shape=values.shape, values=values))

    done = cli("run", tmp_path / "in", "--plugin", "commissioning", "--out", tmp_path / "out")

    assert done.exit_code == 0, done.output
    said = items_of(pydicom.dcmread(tmp_path / "out" / "sr.dcm"), "TextValue")
    assert [text for text in said if text.startswith("No slice holds two")] == [
        "No slice holds two of the voxels, so there is no diameter."
    ]


def test_run_refuses_a_missing_slice_with_code_sentence_and_status(cli, tmp_path):
    series = ct_series(shape=(12, 32, 32))
    write_series(tmp_path / "in", series[:5] + series[6:])

    done = cli("run", tmp_path / "in", "--plugin", "commissioning", "--out", tmp_path / "out")

    assert done.exit_code == 1
    assert "SLICE_MISSING" in done.output or "NO_SUITABLE_SERIES" in done.output
    result = json.loads((tmp_path / "out" / "result.json").read_text())
    assert result["state"] == "REFUSED"
    assert result["reason"]
    assert list((tmp_path / "out").glob("*.dcm")) == []


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["run", "nowhere", "--plugin", "commissioning", "--out", "out"], "no folder nowhere"),
        (["run", ".", "--plugin", "commissioning", "--out", "out"], "no DICOM file"),
        (["studies"], "no settings file found"),
        (["check", "--settings", "absent.toml"], "there is no settings file absent.toml"),
        (["send", "nowhere", "127.0.0.1", "104"], "no file or folder nowhere"),
    ],
)
def test_bad_input_is_answered_by_one_sentence(cli, arguments, words):
    done = cli(*arguments)

    assert done.exit_code == 1
    assert words in " ".join(done.output.split())
    assert "Traceback" not in done.output


def test_run_names_the_nearest_plugin(cli, study, tmp_path):
    done = cli("run", folder_of(study), "--plugin", "comissioning", "--out", tmp_path / "out")

    assert done.exit_code == 1
    assert "commissioning" in done.output


def test_run_leaves_a_filled_folder_alone(cli, study, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "notes.txt").write_text("mine")

    done = cli("run", folder_of(study), "--plugin", "commissioning", "--out", tmp_path / "out")

    assert done.exit_code == 1
    assert "not empty" in done.output
    assert (tmp_path / "out" / "notes.txt").read_text() == "mine"


def test_run_refuses_two_studies_in_one_folder(cli, tmp_path):
    make_ct_study(tmp_path / "in" / "a", seed=1, shape=(4, 64, 64))
    make_ct_study(tmp_path / "in" / "b", seed=2, shape=(4, 64, 64))

    done = cli("run", tmp_path / "in", "--plugin", "commissioning", "--out", tmp_path / "out")

    assert done.exit_code == 1
    assert "2 studies" in done.output


def test_plugins_list_and_check_need_no_settings(cli):
    listed = cli("plugins", "list", "--json")
    checked = cli("plugins", "check")

    rows = [row["plugin"] for row in json.loads(listed.output)]
    assert rows == sorted(rows)
    assert "commissioning@1.0.0" in rows
    assert checked.exit_code == 0, checked.output
    assert "commissioning@1.0.0: ok" in checked.output


def test_a_folder_without_a_plugin_is_said(cli, tmp_path):
    (tmp_path / "empty").mkdir()
    for command in ("check", "list"):
        done = cli("plugins", command, "--folder", tmp_path / "empty")

        assert done.exit_code == 1
        assert "there is no plugin in" in done.output and "plugin.toml" in done.output


def test_help_shows_every_word_and_every_default(cli):
    def commands(command, path):
        yield command, path
        for name, below in getattr(command, "commands", {}).items():
            yield from commands(below, [*path, name])

    for command, path in commands(get_command(app), []):
        texts = [command.help or "", *(getattr(one, "help", None) or "" for one in command.params)]
        assert not any("[" in text for text in texts), path  # rich would take it for a colour
    page = " ".join(cli("train", "--help").output.split())
    assert "A new folder for the trained plugin. [default: (NAME-trained)]" in page


def site(tmp_path, more=""):
    path = tmp_path / "sentinel.toml"
    path.write_text(
        f'[node]\nport = {free_port()}\ndata_dir = "data"\n{more}\n'
        '[[rules]]\nname = "all"\nplugin = "commissioning"\nwhen = {}\nshadow = true\n'
    )
    return path


def test_upgrade_prepares_and_listings_are_empty_then(cli, tmp_path):
    site(tmp_path)

    assert cli("upgrade").exit_code == 0
    assert json.loads(cli("studies", "--json").output) == []
    assert json.loads(cli("jobs", "--json").output) == []
    assert json.loads(cli("deliveries", "--json").output) == []
    assert json.loads(cli("quarantine", "--json").output) == []


def test_listings_before_the_first_start_say_what_to_do(cli, tmp_path):
    site(tmp_path)

    done = cli("studies")

    assert done.exit_code == 1
    assert "sentinel-node upgrade" in " ".join(done.output.split())


def test_an_unknown_key_is_refused_with_the_nearest_known(cli, tmp_path):
    site(tmp_path, more="promiscous = true")

    done = cli("check")

    assert done.exit_code == 1
    assert "promiscuous" in done.output


def test_switching_off_an_unknown_plugin_lists_the_known(cli, tmp_path):
    site(tmp_path)
    cli("upgrade")

    done = cli("plugins", "off", "comissioning", "--reason", "test")

    assert done.exit_code == 1
    assert "commissioning" in done.output


def test_explain_of_an_unknown_study_says_so(cli, tmp_path):
    site(tmp_path)
    cli("upgrade")

    done = cli("explain", "1.2.3.4")

    assert done.exit_code == 1
    assert "studies" in done.output


def test_s02_choose_lists_all_conflicts_and_what_differs(cli, tmp_path):
    site(tmp_path)
    cli("upgrade")
    assert "No instance is in conflict" in cli("choose").output
    files = Files(tmp_path / "data")
    here = Versions(db=Database(f"sqlite:///{tmp_path / 'data' / 'node.db'}"), files=files)
    images = ct_series((2, 8, 8))
    for at, image in enumerate(images):
        here.receive(part10(image), at=1000.0 + at)
    images[0].PixelData = images[0].PixelData[::-1]
    images[1].ImagePositionPatient = [9, 9, 9]
    for at, image in enumerate(images):
        here.receive(part10(image), at=2000.0 + at)
    resolve_versions(here.db, files, now=3000.0)
    versions = conflicting_instances(here.db)

    listed = cli("choose").output

    for image in images:
        assert f"SOP Instance UID {image.SOPInstanceUID}" in listed
    assert len(versions) == 4
    assert all(version.content_sha256 in listed for version in versions)
    assert f"study {images[0].StudyInstanceUID}" in listed
    assert "from PACS at 1970-01-01" in listed
    assert "not as the first: pixels\n" in listed
    assert "not as the first: ImagePositionPatient\n" in listed

    done = cli("choose", versions[0].sop_instance_uid, versions[0].content_sha256)
    here.db.close()

    assert done.exit_code == 0, done.output
    assert f"STORED     {versions[0].content_sha256}" in done.output


def test_echo_of_a_folder_destination(cli, tmp_path):
    (tmp_path / "out").mkdir()
    site(tmp_path, more="")
    with (tmp_path / "sentinel.toml").open("a") as file:
        file.write(
            '[[destinations]]\nname = "share"\nkind = "folder"\ngrade = "test"\npath = "out"\n'
        )

    assert "can be written" in cli("echo", "share").output
    refused = cli("echo", "shrae")
    assert refused.exit_code == 1
    assert "share" in refused.output


def test_an_error_of_the_system_is_one_sentence(cli, study):
    done = cli("run", folder_of(study), "--plugin", "commissioning", "--out", "/proc/x")

    assert done.exit_code == 1
    assert isinstance(done.exception, SystemExit)
    assert "SYSTEM_ERROR" in done.output and "/proc/x" in done.output


def test_check_before_the_first_start_is_fine_and_makes_nothing(cli, tmp_path):
    site(tmp_path)

    done = cli("check")

    assert done.output.count("will be made at the first start") == 2
    assert "no  rows" not in done.output and "no  data folder" not in done.output
    assert not (tmp_path / "data").exists()
    assert "NOT_STARTED" in cli("jobs").output


def test_check_tells_rows_of_another_program_from_none(cli, tmp_path):
    site(tmp_path)
    (tmp_path / "data").mkdir()
    with contextlib.closing(sqlite3.connect(tmp_path / "data" / "node.db")) as rows:
        rows.execute("CREATE TABLE other (a)")

    done = cli("check")

    assert done.exit_code == 1
    assert "no  rows" in done.output


def test_check_and_echo_name_a_destination_that_is_down(cli, tmp_path):
    port = free_port()
    with site(tmp_path).open("a") as file:
        file.write(
            '[[destinations]]\nname = "pacs"\nkind = "dicom"\ngrade = "test"\n'
            f'ae_title = "PACS"\nhost = "127.0.0.1"\nport = {port}\n'
            '[[destinations]]\nname = "share"\nkind = "folder"\ngrade = "test"\npath = "gone"\n'
        )

    checked, asked = cli("check"), cli("echo", "pacs")

    assert checked.exit_code == asked.exit_code == 1
    assert "no  destination pacs" in checked.output
    assert "no  destination share" in checked.output
    for words in (f"PACS at 127.0.0.1:{port}", "Connection refused", "firewall"):
        assert words in asked.output
    assert "library message" not in asked.output


def test_a_listing_takes_states_and_refuses_unknown_ones(cli, tmp_path):
    site(tmp_path)
    cli("upgrade")

    assert "No such job" in cli("jobs", "--state", "failed").output
    assert "No such delivery" in cli("deliveries", "--state", "FAILED").output
    refused = cli("jobs", "--state", "faild")
    assert refused.exit_code == 1 and "FAILED" in refused.output


def test_retry_and_switching_on_say_one_sentence(cli, tmp_path):
    site(tmp_path)
    cli("upgrade")

    assert cli("deliveries", "--retry").output == "0 dead letters will be sent again.\n"
    assert cli("plugins", "on", "commissioning").output == "commissioning was on already.\n"
    cli("plugins", "off", "commissioning", "--reason", "test")
    assert "go through the rules again (0)" in cli("plugins", "on", "commissioning").output


def test_a_switched_off_plugin_is_seen_in_check_and_list(cli, tmp_path):
    site(tmp_path)
    cli("upgrade")
    cli("plugins", "off", "commissioning", "--reason", "overlay shifted")

    assert "commissioning is switched off (overlay shifted)" in cli("check").output
    rows = {row["plugin"]: row for row in json.loads(cli("plugins", "list", "--json").output)}
    assert rows["commissioning@1.0.0"]["off"] == "off: overlay shifted"


@pytest.mark.parametrize(
    ("status", "words"),
    [(0xA700, "resources"), (0xA900, "match"), (0xC000, "understand"), (0x0124, "authorised")],
)
def test_a_refused_store_says_what_its_status_means(status, words):
    assert words in _status_words(status)


def test_a_plugin_without_its_libraries_is_named_and_spoils_nothing(cli, tmp_path):
    folder = tmp_path / "plugins" / "commissioning"
    shutil.copytree(builtin_plugin_folder() / "commissioning", folder)
    manifest = folder / "plugin.toml"
    manifest.write_text('libraries = ["no_such_library"]\n' + manifest.read_text())

    checked = cli("plugins", "check", "--folder", tmp_path / "plugins")

    assert checked.exit_code == 0, checked.output
    assert "needs no_such_library, not installed here" in checked.output
