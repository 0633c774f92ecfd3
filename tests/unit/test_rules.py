"""Each operator of a rule, with the edges that a physicist asks about."""

import re
import time
import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom import Dataset

from node.condition_file import parse_condition
from node.errors import SettingsError
from node.patterns import check_pattern
from node.routing.rules import evaluate, facts_of
from tests.make import ct_series, enhanced_ct

HEADER = {
    "Modality": "CT",
    "PatientAge": "018M",
    "PatientID": " P-1 ",
    "PatientName": "Müller^Eva^^",
    "ImageType": ["ORIGINAL", "PRIMARY", "AXIAL"],
    "PixelSpacing": ["0.70", "0.80"],
    "SliceThickness": "1.50",
    "SeriesNumber": "4",
    "SeriesDescription": "Abdomen pv 1.5 B30f",
    "StudyDate": "20260131",
    "StudyTime": "0930",
    "BodyPartExamined": "",
    "KVP": "",
    "ConvolutionKernel": ["Br40d", "3"],
}


def holds(when: str, **changes: object) -> bool:
    ds = Dataset()
    for keyword, value in {**HEADER, **changes}.items():
        setattr(ds, keyword, value)
    condition = parse_condition(tomllib.loads(f"when = {when}")["when"], where="rule")
    facts = facts_of(ds, condition, called_ae="SENTINEL", peer="ct 1")
    return evaluate(condition, facts).matched


TABLE = {
    "empty matches all": ("{}", True),
    # plain value
    "equal": ('{ Modality = "CT" }', True),
    "case counts": ('{ Modality = "ct" }', False),
    "spaces at the ends do not": ('{ PatientID = "P-1" }', True),
    "part is not equal": ('{ SeriesDescription = "Abdomen" }', False),
    "several keys are all asked": ('{ Modality = "CT", SeriesNumber = 5 }', False),
    "number with other zeros": ("{ SliceThickness = 1.5 }", True),
    "whole number": ("{ SeriesNumber = 4 }", True),
    "one of several values": ('{ ImageType = "AXIAL" }', True),
    "all values as DICOM writes them": ("{ ImageType = 'ORIGINAL\\PRIMARY\\AXIAL' }", True),
    "number of several": ("{ PixelSpacing = 0.7 }", True),
    "name without empty parts": ('{ PatientName = "Müller^Eva" }', True),
    "date": ('{ StudyDate = "20260131" }', True),
    "date as TOML has it": ("{ StudyDate = 2026-01-31 }", True),
    "time by its meaning": ("{ StudyTime = 09:30:00 }", True),
    "age in years": ("{ PatientAge = 1.5 }", True),
    "absent": ('{ StationName = "CT1" }', False),
    "empty is absent": ('{ BodyPartExamined = { like = "*" } }', False),
    # list
    "list": ('{ Modality = ["MR", "CT"] }', True),
    "list without it": ('{ Modality = ["MR", "PT"] }', False),
    # has
    "has": ('{ ImageType = { has = "AXIAL" } }', True),
    "has all of a list": ('{ ImageType = { has = ["AXIAL", "ORIGINAL"] } }', True),
    "has not all of a list": ('{ ImageType = { has = ["AXIAL", "MPR"] } }', False),
    "has no part of a word": ('{ ImageType = { has = "AXI" } }', False),
    # min, max
    "max is inside": ("{ SliceThickness = { max = 1.5 } }", True),
    "max": ("{ SliceThickness = { max = 1.4 } }", False),
    "min": ("{ SliceThickness = { min = 1 } }", True),
    "min and max": ("{ SliceThickness = { min = 2, max = 3 } }", False),
    "every value counts": ("{ PixelSpacing = { min = 0.75 } }", False),
    "numbers are no text": ("{ SeriesNumber = { min = 10 } }", False),
    "age of an infant": ("{ PatientAge = { max = 2 } }", True),
    "no adult": ("{ PatientAge = { min = 18 } }", False),
    "earliest date": ('{ StudyDate = { min = "20260131" } }', True),
    "latest date": ('{ StudyDate = { max = "20251231" } }', False),
    "time of day": ('{ StudyTime = { min = "0800", max = "17" } }', True),
    "empty number": ("{ KVP = { min = 0 } }", False),
    # like
    "like": ('{ SeriesDescription = { like = "*PV*" } }', True),
    "like is the whole": ('{ SeriesDescription = { like = "pv" } }', False),
    "like one of several": ('{ ConvolutionKernel = { like = "br4?d" } }', True),
    "like a class": ('{ Modality = { like = "[CM][TR]" } }', True),
    # matches
    "matches the whole": ('{ SeriesDescription = { matches = "Abdomen.*B\\\\d+f" } }', True),
    "matches no part": ('{ SeriesDescription = { matches = "B30f" } }', False),
    "matches by case": ('{ Modality = { matches = "c[Tt]" } }', False),
    # not
    "not": ('{ Modality = { not = "MR" } }', True),
    "not a list": ('{ Modality = { not = ["MR", "CT"] } }', False),
    "not an operator": ('{ SeriesDescription = { not = { like = "*scout*" } } }', True),
    "not and absent": ('{ StationName = { not = "CT1" } }', True),
    "not a table": ('{ not = { Modality = "CT", SeriesNumber = 5 } }', True),
    "not a table that holds": ('{ not = { Modality = "CT", SeriesNumber = 4 } }', False),
    "absent is asked by not": ('{ BodyPartExamined = { not = { like = "*" } } }', True),
    # any, all
    "any": ('{ any = [{ Modality = "MR" }, { SeriesNumber = 4 }] }', True),
    "any of none": ('{ any = [{ Modality = "MR" }, { SeriesNumber = 5 }] }', False),
    "all": ('{ all = [{ Modality = "CT" }, { SeriesNumber = 5 }] }', False),
    "nested": ('{ any = [{ not = { any = [{ Modality = "MR" }] } }] }', True),
    # who sent it where
    "called": ('{ called_ae = "SENTINEL" }', True),
    "peer": ('{ peer = { like = "CT*" } }', True),
    "other peer": ('{ peer = ["mr", "pt"] }', False),
}


@pytest.mark.parametrize(("when", "expected"), TABLE.values(), ids=TABLE)
def test_operator(when: str, expected: bool):
    assert holds(when) is expected


UNREADABLE = {
    "no number": ("{ SliceThickness = { max = 3 } }", {"SliceThickness": None}),
    "no age": ("{ PatientAge = { min = 0 } }", {"PatientAge": "45"}),
    "no date": ('{ StudyDate = { min = "00010101" } }', {"StudyDate": "31.1.2026"}),
}


@pytest.mark.parametrize(("when", "changes"), UNREADABLE.values(), ids=UNREADABLE)
def test_what_cannot_be_read_is_absent(when: str, changes: dict):
    assert not holds(when, **changes)
    assert holds(f"{{ not = {when} }}", **changes)


def test_a_value_that_only_the_frames_have_is_found():
    condition = parse_condition({"SliceThickness": {"max": 5}}, where="rule")
    image = enhanced_ct((4, 8, 8), spacing=(5.0, 0.8, 0.7))
    assert "SliceThickness" not in image

    assert evaluate(condition, facts_of(image, condition)).matched


def test_every_predicate_is_recorded_with_the_value_that_was_found():
    when = {
        "Modality": "MR",
        "any": [{"SliceThickness": {"max": 3}}, {"StationName": "X"}],
        "ImageType": ["A", "B"],
    }
    condition = parse_condition(when, where="rule")
    header = ct_series((2, 4, 4), spacing=(5.0, 0.8, 0.7))[0]

    evaluation = evaluate(condition, facts_of(header, condition))

    assert not evaluation.matched
    assert [(line.depth, line.said, line.held) for line in evaluation.lines] == [
        (0, "all", False),
        (1, "Modality = MR", False),
        (1, "any", False),
        (2, "all", False),
        (3, "SliceThickness max 3", False),
        (2, "all", False),
        (3, "StationName = X", False),
        (1, "ImageType one of A, B", False),
    ]
    found = [line.found for line in evaluation.lines if line.found]
    assert found[:3] == ["CT", "5", "absent"]


def test_a_long_value_is_shown_shortened():
    condition = parse_condition({"SeriesDescription": {"like": "x*"}}, where="rule")
    ds = Dataset()
    ds.SeriesDescription = "x" * 200

    line = evaluate(condition, facts_of(ds, condition)).lines[-1]

    assert line.held
    assert len(line.found) == 80


FAULTS = {
    "keyword": ('{ Modalty = "CT" }', 'neither a DICOM keyword nor an operator (did you mean "Mo'),
    "operator first": ('{ anyy = [{ Modality = "CT" }] }', '(did you mean "any"?)'),
    "own name": ('{ called = "X" }', '(did you mean "called_ae"?)'),
    "operator of a value": ("{ SliceThickness = { maximum = 3 } }", '(did you mean "max"?)'),
    "text for number": ('{ SliceThickness = "3" }', "must be a number, without quotes"),
    "text for age": ('{ PatientAge = { min = "018Y" } }', "a number of years"),
    "true for number": ("{ SeriesNumber = true }", "must be a number"),
    "infinite": ("{ SeriesNumber = inf }", "must be a number that SeriesNumber can have"),
    "number for text": ("{ PatientID = 12 }", "must be text, in quotes"),
    "date": ('{ StudyDate = "2026-01-31" }', '"YYYYMMDD"'),
    "time": ('{ StudyTime = "9:30" }', '"HHMMSS"'),
    "empty text": ('{ PatientID = " " }', "is empty"),
    "empty list": ("{ Modality = [] }", "is an empty list"),
    "empty table": ("{ Modality = {} }", "is empty"),
    "empty any": ("{ any = [] }", "must be a list of tables"),
    "any of a table": ('{ any = { Modality = "CT" } }', "must be a list of tables"),
    "any of nothing": ("{ any = [{}] }", "would match everything"),
    "not of nothing": ("{ not = {} }", "would match everything"),
    "not of a value": ('{ not = "CT" }', "must be a table of conditions"),
    "has on one value": ('{ Modality = { has = "CT" } }', 'use like = "*…*"'),
    "max of text": ('{ Modality = { max = "CT" } }', "Modality is none"),
    "max of a peer": ("{ peer = { max = 3 } }", "peer is none"),
    "like of a number": ('{ SliceThickness = { like = "1*" } }', "holds numbers"),
    "like of a list": ('{ Modality = { like = ["C*"] } }', "must be text"),
    "broken pattern": ('{ Modality = { matches = "C(T" } }', "not a regular expression"),
    "slow pattern": ('{ Modality = { matches = "(C+)+T" } }', "can run for ever"),
    "sequence": ('{ ReferencedImageSequence = "x" }', "holds a sequence"),
    "pixels": ('{ PixelData = "x" }', "no text and no number"),
    "deep": ("{ not = " * 20 + '{ Modality = "CT" }' + " }" * 20, "nested more than 16 deep"),
}


@pytest.mark.parametrize(("when", "sentence"), FAULTS.values(), ids=FAULTS)
def test_a_rule_that_cannot_be_obeyed_is_refused_at_start(when: str, sentence: str):
    table = tomllib.loads(f"when = {when}")["when"]

    with pytest.raises(SettingsError) as caught:
        parse_condition(table, where="site.toml: rules")

    assert sentence in str(caught.value)
    assert str(caught.value).startswith("site.toml: rules: when")


# --- patterns --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "pattern",
    ["CT", "T[12].*", ".*liver.*", "(ax|cor)ial", r"\d{1,3}mm", "(ab)?c", "(?i:ct)", "[A-Z]{2,8}"],
)
def test_plain_patterns_are_accepted(pattern: str):
    assert check_pattern(pattern) == ""


@pytest.mark.parametrize(
    "pattern",
    ["(a+)+", "(a|aa)+", "(a*)*b", "(a?){30}b", ".*.*.*.*b", "(?=a)a", r"(a)\1", "a{0,120}" * 5],
)
def test_patterns_that_could_run_for_ever_are_refused(pattern: str):
    assert check_pattern(pattern) != ""


@given(st.text(alphabet="ab.*+?()|[]{},1", max_size=14))
def test_every_accepted_pattern_is_quick_on_the_worst_value(pattern: str):
    if check_pattern(pattern):
        return
    start = time.perf_counter()
    re.compile(pattern).fullmatch("a" * 127 + "!")
    assert time.perf_counter() - start < 5.0


def test_a_value_too_long_for_patterns_matches_none():
    assert holds('{ SeriesDescription = { matches = "x*" } }', SeriesDescription="x" * 128)
    assert not holds('{ SeriesDescription = { matches = "x*" } }', SeriesDescription="x" * 129)


def test_the_operators_of_this_table_are_those_of_the_settings():
    from node.condition_file import JOINING_OPERATORS, VALUE_OPERATORS

    said = " ".join(when for when, _ in TABLE.values())
    for operator in {*JOINING_OPERATORS, *VALUE_OPERATORS}:
        assert f"{operator} =" in said, operator
    assert Path(__file__).name == "test_rules.py"
