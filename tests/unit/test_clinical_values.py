"""Clinical values: what a manifest allows, which source decides, and what starts a new run."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from pydicom import Dataset

from node.audit import Audit
from node.clinical import Said, enter, known
from node.clinical_check import checked, from_text
from node.clinical_values import ClinicalValue
from node.errors import ClinicalValueRefused, ManifestError
from node.manifest import Code, Range, RoiRole
from node.manifest_file import parse_manifest
from node.model import JobState, StudyState
from node.parts import Node
from node.routing.explain import explain_text
from node.storage.clinical_rows import NoSuchStudy
from node.storage.job_rows import rerun
from tests.clinical_case import (
    AGE,
    CM,
    G1,
    G2,
    GRADE,
    INVASION,
    MM,
    NODES,
    SIZE,
    SPECS,
    TOML,
    YEAR,
    YES,
    code,
    num,
    replaces,
    report,
)
from tests.make import ct_series
from tests.regions_case import binary, blob
from tests.routing_site import RULE, RoutingSite, manifest

SHAPE = (4, 8, 8)
ENDLESS = replace(SPECS["nodes"], range=Range())


# --- values ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "given", "unit", "value"),
    [
        ("size", 21, "mm", 21.0),
        ("size", 2.1, "cm", 21.0),
        ("grade", " G2 ", "", "g2"),
        ("invasion", False, "", False),
        ("nodes", 3, "", 3),
        ("nodes", 3.0, "1", 3),
        ("age", 240, "mo", 20.0),
    ],
)
def test_a_value_comes_in_the_unit_of_the_manifest(name, given, unit, value):
    found = checked(SPECS[name], given, unit)

    assert (found, type(found)) == (value, type(value))


@pytest.mark.parametrize(
    ("name", "given", "unit", "sentence"),
    [
        ("size", 300, "mm", "size = 300 mm: it is out of range; allowed: 1 to 200 mm"),
        ("size", 30, "cm", "size = 30 cm: that is 300 mm, out of range; allowed: 1 to 200 mm"),
        ("size", 30, "", "size = 30: its unit is missing, say one of mm, cm, m"),
        ("size", 30, "kg", "size = 30 kg: its unit must be one of mm, cm, m"),
        ("size", 30, "MM", "its unit must be one of mm"),
        ("size", "30", "mm", "it is text: write a number without quotes"),
        ("size", "big", "mm", "it is not a number"),
        ("size", True, "mm", "it is not a number"),
        ("size", float("nan"), "mm", "not a number that can be used"),
        ("size", 10**400, "mm", "not a number that can be used"),
        ("grade", "g3", "", "grade = g3: there is no such choice; allowed: one of g1, g2"),
        ("grade", 2, "", "there is no such choice"),
        ("grade", "g1", "mm", "it takes no unit"),
        ("invasion", "yes", "", "it is text: write true or false without quotes"),
        ("invasion", "maybe", "", "it is neither yes nor no"),
        ("invasion", 1, "", "it is neither yes nor no"),
        ("nodes", 2.5, "", "it is not a whole number; allowed: a whole number, 0 to 60"),
        ("nodes", 3, "%", "not a whole number"),
    ],
)
def test_what_does_not_fit_is_refused_with_value_unit_and_range(name, given, unit, sentence):
    with pytest.raises(ClinicalValueRefused) as refused:
        checked(SPECS[name], given, unit)

    assert sentence in str(refused.value)


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("size", "2.5", 2.5),
        ("size", "2,5", "2,5"),
        ("size", "1_000", "1_000"),
        ("size", "nan", "nan"),
        ("nodes", "3", 3),
        ("invasion", "Yes", True),
        ("invasion", "maybe", "maybe"),
        ("grade", "3", "3"),
    ],
)
def test_words_of_a_command_line_become_what_the_manifest_says(name, text, value):
    found = from_text(SPECS[name], text)

    assert (found, type(found)) == (value, type(value))


@pytest.mark.parametrize("given", [2**53 - 1, 1 - 2**53, 0, float(2**53 - 1), -3.0])
def test_a_whole_number_that_is_kept_exactly_is_taken(given):
    assert checked(ENDLESS, given) == given


@pytest.mark.parametrize(
    "given", [123456789012345678, 2**53 + 1, -(2**53) - 1, 2**53, float(2**53), 1e17, -1e300]
)
def test_a_whole_number_that_would_change_is_refused(given):
    with pytest.raises(ClinicalValueRefused, match=r"beyond 9007199254740991 .*; allowed: a whole"):
        checked(ENDLESS, given)


@pytest.mark.parametrize("text", ["123456789012345678", "9007199254740993.0", "1e17"])
def test_a_whole_number_of_a_command_line_is_not_rounded(text):
    with pytest.raises(ClinicalValueRefused, match="beyond 9007199254740991"):
        checked(ENDLESS, from_text(ENDLESS, text))


# --- the manifest ----------------------------------------------------------------------------

_HEAD = """
name = "m"
version = "1.0.0"
title = "M"
intended_use = "Tests."
source = "tests"
grade = "evaluated"
[inputs.ct]
modality = ["CT"]
"""


def parsed(folder: Path, table: str):
    (folder / "plugin.toml").write_text(_HEAD + table)
    (folder / "plugin.py").write_text("")
    return parse_manifest(folder)


def test_a_manifest_names_clinical_values(tmp_path):
    made = parsed(tmp_path, TOML)

    size, grade = made.clinical["size"], made.clinical["grade"]
    assert (size.kind, size.unit, size.range.high, size.label) == (
        "number",
        MM,
        200,
        "Size by pathology",
    )
    assert size.sr == (SIZE,)
    assert (grade.label, grade.choices, grade.unit) == ("Tumour grade", {"g1": G1, "g2": G2}, None)


_NUMBER = '[clinical.x]\nkind = "number"\ncode = ["81827009", "SCT", "Diameter"]\n'
_UNIT = 'unit = ["mm", "UCUM", "mm"]\n'
_WORDS = '[clinical.x]\nkind = "words"\ncode = ["GRADE", "99SENTINEL", "Grade"]\n'


@pytest.mark.parametrize(
    ("table", "sentence"),
    [
        (_NUMBER, "clinical.x.unit is missing"),
        (_NUMBER + _UNIT, "clinical.x.range is missing"),
        (_NUMBER + 'unit = ["furlong", "UCUM", "f"]\nrange = [0, 1]\n', '"furlong" is not known'),
        (_NUMBER + 'unit = ["mm", "DCM", "mm"]\nrange = [0, 1]\n', "must be of scheme UCUM"),
        (_NUMBER + _UNIT + "range = [2, 1]\n", "must not exceed the second"),
        (_NUMBER + _UNIT + "range = [0, 1]\nchoices.a = ['A', '99SENTINEL', 'A']\n", "belongs to"),
        (_NUMBER.replace("81827009", "81827008") + _UNIT + "range = [0, 1]\n", "81827008"),
        (_NUMBER + _UNIT + "range = [0, 1]\nattribute = 'PatientWeight'\n", "becomes mm"),
        (_NUMBER + _UNIT + "range = [0, 1]\nattribute = 'PatientSex'\n", "holds no number"),
        (_NUMBER + _UNIT + "range = [0, 1]\nattribute = 'ImageType'\n", "several values"),
        (_NUMBER + _UNIT + "range = [0, 1]\nattribute = 'PatientWeigt'\n", "PatientWeight"),
        (_WORDS, "clinical.x.choices is missing"),
        (_WORDS + "choices.a = ['A', '99SENTINEL', 'A']\nattribute = 'PatientID'\n", "identify"),
        (_WORDS + "choices.a = ['A', '99SENTINEL', 'A']\nrange = [0, 1]\n", "belongs to"),
        (
            _WORDS + "choices.a = ['A', '99SENTINEL', 'A']\nchoices.b = ['A', '99SENTINEL', 'B']\n",
            "one code twice",
        ),
        (_WORDS.replace("words", "word"), "must be one of"),
    ],
)
def test_a_table_that_cannot_be_obeyed_is_refused(tmp_path, table, sentence):
    with pytest.raises(ManifestError) as refused:
        parsed(tmp_path, table)

    assert sentence in str(refused.value)


# --- which source decides --------------------------------------------------------------------


@pytest.fixture
def site(tmp_path: Path) -> Iterator[RoutingSite]:
    found = RoutingSite(tmp_path)
    found.with_plugin(manifest(clinical=SPECS))
    yield found
    found.db.close()


def node_of(site: RoutingSite) -> Node:
    return Node(
        settings=site.settings,
        db=site.db,
        files=site.files,
        audit=Audit(site.settings.data_dir),
        manifests=site.manifests,
    )


def said(site: RoutingSite, **values: object) -> bool:
    """Enter values, each a value or (value, unit); return whether the rules look again."""
    pairs = {name: one if isinstance(one, tuple) else (one, "") for name, one in values.items()}
    found = {name: Said(value=v, unit=u, by="A. Reader") for name, (v, u) in pairs.items()}
    return enter(node_of(site), site.study_uid, found, way="command", now=site.now).again


def ct() -> list[Dataset]:
    return ct_series(SHAPE, PatientAge="060Y")


def used(site: RoutingSite) -> dict[str, object]:
    return {one.name: one.value for one in site.jobs[-1].clinical if one.used}


def value_of(site: RoutingSite, name: str) -> ClinicalValue:
    (found,) = [one for one in site.jobs[-1].clinical if one.name == name]
    return found


def test_attributes_and_reports_are_read_with_their_source(site):
    images = ct()
    sr = report(images[0], num(SIZE, 2.1, CM), code(GRADE, G2), code(INVASION, YES))

    site.route([*images, sr])

    assert used(site) == {"age": 60.0, "size": 21.0, "grade": "g2", "invasion": True}
    size, age = value_of(site, "size"), value_of(site, "age")
    assert (size.source, size.given, size.by) == ("report", "2.1 cm", "Reader^Ann")
    assert (size.sop_instance_uid, size.dated) == (sr.SOPInstanceUID, "20260301101500")
    assert (age.source, age.by, age.unit) == ("attribute", "PatientAge", "a")


def test_a_plugin_runs_without_any_of_its_values(site):
    site.route(ct_series(SHAPE, PatientAge=None, PatientBirthDate=None))

    (job,) = site.jobs
    assert (job.state, job.clinical) == (JobState.SCHEDULED, ())


def test_a_person_stands_above_the_report_and_the_report_above_the_attribute(site):
    images = ct()
    site.store([*images, report(images[0], num(AGE, 61, YEAR), num(SIZE, 20, MM))])
    said(site, size=(3, "cm"))

    site.route()

    assert used(site) == {"age": 61.0, "size": 30.0}
    size, age = value_of(site, "size"), value_of(site, "age")
    assert (size.source, size.by) == ("person", "A. Reader")
    assert size.against == ("report of 2026-03-01 by Reader^Ann: 20 mm",)
    assert age.against == ("attribute PatientAge: 60 a",)
    text = explain_text(site.db, site.study_uid)
    assert "clinical value size: 30 mm (entered by A. Reader); against it: report of" in text


def test_reports_that_contradict_each_other_settle_nothing(site):
    images = ct()
    reports = [report(images[0], num(SIZE, size, MM)) for size in (20, 20, 22)]

    site.route([*images, *reports])

    size = value_of(site, "size")
    assert (size.used, used(site)) == (False, {"age": 60.0})
    assert "contradict each other: report of 2026-03-01 by Reader^Ann: 20 mm; " in size.why_not
    assert "22 mm" in size.why_not
    assert "clinical value size: not used, CLINICAL_VALUE_REFUSED: size" in explain_text(
        site.db, site.study_uid
    )


@pytest.mark.parametrize(
    ("item", "why"),
    [
        (num(SIZE, 300, MM), "size = 300 mm: it is out of range; allowed: 1 to 200 mm"),
        (num(SIZE, 30, None), "its unit is missing"),
        (num(SIZE, "", MM), "(nothing)"),
        (code(SIZE, G2), "it is not a number"),
        (num(SIZE, "1e400", MM), "size = (1e400): it is not a number"),
    ],
)
def test_what_a_report_says_wrongly_is_left_out_with_the_reason(site, item, why):
    images = ct()

    site.route([*images, report(images[0], item)])

    assert site.jobs[0].state is JobState.SCHEDULED
    assert why in value_of(site, "size").why_not


def test_a_report_that_another_replaces_does_not_count_nor_does_an_unfinished_one(site):
    images = ct()
    old = report(images[0], num(SIZE, 20, MM))
    new = replaces(report(images[0], num(SIZE, 22, MM)), old)
    unfinished = report(images[0], num(NODES, 4, None), CompletionFlag="PARTIAL")
    preliminary = report(images[0], num(NODES, 5, None), PreliminaryFlag="PRELIMINARY")

    site.route([*images, old, new, unfinished, preliminary])

    assert used(site) == {"age": 60.0, "size": 22.0}
    (decision,) = site.decisions(site.study.revision)
    assert decision.document["clinical_notes"] == ["2 unfinished reports were not read"]


def test_s03_a_report_of_another_patient_gives_no_values(site):
    images = ct()
    reports = [report(images[0]), report(images[0], num(SIZE, 20, MM), PatientID="OTHER")]
    reports[1].SeriesInstanceUID = reports[0].SeriesInstanceUID  # only the first header is compared

    (decision,) = site.route([*images, *reports])

    assert (decision.outcome, decision.code) == ("refused", "IDENTITY_MIXED")


def test_s17_our_own_reports_are_no_source(site):
    from node.model import Origin

    images = ct()
    site.store([report(images[0], num(SIZE, 20, MM))], origin=Origin.OWN)

    site.route(images)

    assert used(site) == {"age": 60.0}


# --- what is entered later -------------------------------------------------------------------


def test_s01_a_value_that_is_entered_later_makes_a_new_run_of_plugins_that_name_it(site):
    other = manifest("other")
    site.manifests = {**site.manifests, other.name_version: other}
    site.with_rules(RULE, replace(RULE, name="other", plugin="other"))
    site.route(ct())
    first = {job.plugin: job for job in site.jobs}

    assert said(site, grade="g2")
    assert site.study.state is StudyState.COMPLETE
    site.dispatch()

    checks = [job for job in site.jobs if job.plugin == "check"]
    assert [job.state for job in checks] == [JobState.CANCELED, JobState.SCHEDULED]
    assert used(site) == {"age": 60.0, "grade": "g2"}
    assert checks[0].fingerprint != checks[1].fingerprint
    assert [job.id for job in site.jobs if job.plugin == "other"] == [first["other"].id]


def test_s01_equal_values_of_another_source_are_the_same_work(site):
    images = ct()
    site.route([*images, report(images[0], num(SIZE, 20, MM))])

    said(site, size=(2, "cm"))
    site.dispatch()

    (job,) = site.jobs
    assert job.state is JobState.SCHEDULED


def test_a_value_that_no_rule_wants_starts_nothing(site):
    site.route(ct())
    site.with_rules()

    assert not said(site, grade="g1")
    assert site.study.state is StudyState.ROUTED


def test_what_is_taken_back_does_not_hold_any_more(site):
    site.route(ct())
    said(site, grade="g1")
    site.dispatch()

    said(site, grade=None)
    site.dispatch()

    assert used(site) == {"age": 60.0}
    assert [one["value"] for one in known(node_of(site), site.study_uid)["entries"]] == ["g1", None]


def test_s15_the_age_of_a_study_does_not_hold_what_a_person_names(site):
    site.with_rules(replace(RULE, max_age_days=1e6))
    site.route(ct())
    site.with_rules(RULE)

    said(site, grade="g1")
    site.dispatch()

    assert site.study.state is StudyState.ROUTED
    assert used(site)["grade"] == "g1"


def test_s15_an_entry_does_not_release_a_study_that_is_held(site):
    site.route(ct_series(SHAPE, StudyDate="20200101"))
    assert site.study.state is StudyState.HELD

    assert not said(site, grade="g1")
    assert site.study.state is StudyState.HELD


def test_an_entry_while_the_rules_look_makes_them_look_again(site):
    site.store(ct())
    site.complete()
    before = site.study.revision

    assert said(site, grade="g1")

    assert (site.study.state, site.study.revision) == (StudyState.COMPLETE, before + 1)


def test_a_rerun_keeps_the_values(site):
    from node.storage.job_rows import claim_job, end_job

    site.route(ct())
    job = claim_job(site.db, "w", now=site.now, lease_s=30)
    end_job(site.db, job, "w", state=JobState.FAILED, code="X", reason="", now=site.now)

    assert rerun(site.db, job.id, now=site.now).clinical == job.clinical != ()


# --- what is refused at the door --------------------------------------------------------------


def test_an_entry_that_one_plugin_does_not_allow_is_refused_and_nothing_is_stored(site):
    site.route(ct())
    strict = replace(SPECS["size"], range=SPECS["size"].range.__class__(1, 25))
    site.manifests["strict@1.0.0"] = manifest("strict", clinical={"size": strict})

    with pytest.raises(ClinicalValueRefused, match=r"size = 3 cm: .*25 mm \(strict@1.0.0\)"):
        said(site, grade="g1", size=(3, "cm"))

    assert known(node_of(site), site.study_uid)["entries"] == []
    assert site.study.state is StudyState.ROUTED


@pytest.mark.parametrize("as_text", [False, True])
def test_a_whole_number_that_would_change_is_not_stored(site, as_text):
    site.with_plugin(manifest(clinical={"nodes": ENDLESS}))
    site.route(ct())
    node = node_of(site)
    given = str(2**53 + 1) if as_text else 2**53 + 1
    entry = {"nodes": Said(value=given, by="me")}

    with pytest.raises(ClinicalValueRefused, match=f"nodes = {2**53 + 1}: .*beyond"):
        enter(node, site.study_uid, entry, way="http", now=1.0, as_text=as_text)

    assert known(node, site.study_uid)["entries"] == []


def test_a_whole_number_of_a_report_that_would_change_is_left_out(site):
    site.with_plugin(manifest(clinical={"nodes": ENDLESS}))
    images = ct()

    site.route([*images, report(images[0], num(NODES, "9007199254740993", None))])

    nodes = value_of(site, "nodes")
    assert nodes.value is None and "beyond 9007199254740991" in nodes.why_not


def test_unknown_names_studies_and_people_are_refused(site):
    site.route(ct())
    node = node_of(site)
    with pytest.raises(ClinicalValueRefused, match='did you mean "grade"'):
        said(site, grad="g1")
    with pytest.raises(ClinicalValueRefused, match="say who enters it"):
        enter(node, site.study_uid, {"grade": Said(value="g1", by=" ")}, way="http", now=1.0)
    for uid in ("1.2.3", "../x", "no uid", "1.2\udcfc"):
        with pytest.raises(NoSuchStudy):
            enter(node, uid, {"grade": Said(value="g1", by="me")}, way="http", now=1.0)
        with pytest.raises(NoSuchStudy):
            known(node, uid)


@pytest.mark.parametrize(
    ("by", "why"),
    [
        ("", "no letter"),
        ("^", "no letter"),
        ("a^b^c^d^e^f^g^h", "more than 5 parts"),
        ("a=b^c^d^e^f^g", "more than 5 parts"),
        ("a=b=c=d", "more than 3 ways of writing"),
        ("a\\b", "backslash"),
        ("a" * 65, "longer than 64"),
        ("a\x85b", "nobody sees"),
        ("a\u202eb", "nobody sees"),
        ("a\u200bb", "nobody sees"),
        ("a\u2028b", "nobody sees"),
        ("a\u00adb", "nobody sees"),
    ],
)
def test_a_name_that_no_report_can_hold_is_refused_at_once(site, by: str, why: str):
    site.route(ct())
    node = node_of(site)

    with pytest.raises(ClinicalValueRefused, match=f"grade: say who enters it.*{why}"):
        enter(node, site.study_uid, {"grade": Said(value="g1", by=by)}, way="http", now=1.0)

    assert known(node, site.study_uid)["entries"] == []


@pytest.mark.parametrize("by", ["Müller^Anna^^Dr.^MD", "Yamada^Tarou=山田^太郎=やまだ^たろう", "x"])
def test_a_name_that_dicom_allows_is_taken(site, by: str):
    site.route(ct())
    said_by = {"grade": Said(value="g1", by=f" {by} ")}

    (entry,) = enter(node_of(site), site.study_uid, said_by, way="http", now=1.0).entries

    assert entry.entered_by == by


@pytest.mark.parametrize(
    ("name", "said_so"),
    [
        ("gr\ud800", Said(value="g1", by="me")),
        ("grade", Said(value="\udcfc", by="me")),
        ("size", Said(value=2, unit="\ud800", by="me")),
        ("grade", Said(value="g1", by="M\udcfcller")),
    ],
)
def test_half_a_character_is_refused(site, name: str, said_so: Said):
    site.route(ct())

    with pytest.raises(ClinicalValueRefused, match="half a character") as refused:
        enter(node_of(site), site.study_uid, {name: said_so}, way="http", now=1.0)

    assert str(refused.value).isascii()


def test_s28_the_trail_says_who_entered_what_without_uid_or_value(site):
    site.route(ct())
    said(site, size=(2.75, "cm"))

    (path,) = (site.settings.data_dir / "audit").iterdir()
    line = json.loads(path.read_text().splitlines()[-1])
    assert (line["action"], line["name"], line["by"]) == (
        "clinical value entered",
        "size",
        "A. Reader",
    )
    assert site.study_uid not in path.read_text() and "2.75" not in path.read_text()


def test_a_job_that_waits_for_a_contour_starts_with_the_values_of_that_time(site):
    images = ct()
    neoplasm = Code("108369006", "SCT", "Neoplasm")
    tumor = RoiRole(name="tumor", input="ct", codes=(neoplasm,))
    site.with_plugin(manifest(rois={"tumor": tumor}, clinical=SPECS))
    site.route(images)
    assert [job.state for job in site.jobs] == [JobState.WAITING]
    site.store([binary(images, blob(SHAPE))])  # the study is open again, so no sweep sees the entry
    said(site, grade="g1")

    site.route()

    (job,) = site.jobs
    assert (job.state, len(job.rois)) == (JobState.SCHEDULED, 1)
    assert used(site) == {"age": 60.0, "grade": "g1"}


def test_a_value_that_another_unit_makes_endless_is_refused():
    spec = replace(SPECS["size"], range=Range(low=0, high=math.inf))

    with pytest.raises(ClinicalValueRefused, match="in mm it is not a number that can be used"):
        checked(spec, 1e307, "m")
