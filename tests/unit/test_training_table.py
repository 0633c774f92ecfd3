"""labels.csv: every fault is told with its line, several at once."""

from pathlib import Path

import pytest

from node.errors import LearningError
from node.training.folder import check_times
from node.training.splits import Content, check_leaks, check_unseen, cohort_seed, split_of
from node.training.table import Faults, Row, read_table


def table(folder: Path, *lines: str, **wanted):
    (folder / "labels.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return read_table(folder, wanted)


def refusal(folder: Path, *lines: str, **wanted) -> str:
    with pytest.raises(LearningError) as refused:
        table(folder, *lines, **wanted)
    assert refused.value.code == "DATA_INVALID"
    return str(refused.value)


def test_rows_are_read_with_numbers_words_and_splits(tmp_path):
    rows = table(
        tmp_path,
        "patient,split,regions,size_mm,mvi",
        "P-1, Train,outlined,12.5,yes",
        "",
        "P-2,test,none,3,no",
    )

    assert [(r.line, r.patient, r.split, r.outlined) for r in rows] == [
        (2, "P-1", "train", True),
        (4, "P-2", "test", False),
    ]
    assert rows[0].values == {"size_mm": 12.5, "mvi": "yes"}


def test_semicolons_a_byte_order_mark_and_quotes_are_read(tmp_path):
    (tmp_path / "labels.csv").write_bytes(
        '\ufeffpatient;note\r\n"P;1";"a\nb"\r\nP-2;c\r\n'.encode()
    )

    rows = read_table(tmp_path, {})

    assert [(r.line, r.patient) for r in rows] == [(2, "P;1"), (4, "P-2")]


@pytest.mark.parametrize(
    ("lines", "wanted", "said"),
    [
        (["patent", "P-1"], {}, "line 1: no column `patient`; rename `patent` if that is it"),
        (["patient", "P-1"], {"mvi": "text"}, "line 1: no column `mvi`"),
        (["patient,mvi,mvi", "P-1,a,b"], {}, "line 1: column `mvi` is there 2 times"),
        (["patient,", "P-1,"], {}, "line 1: a column has no name"),
        (["patient"], {}, "line 2: there is no patient in it"),
        (["patient,mvi", "P-1"], {}, "line 2: 1 cells, the header has 2"),
        (["patient,mvi", "P-1,"], {"mvi": "text"}, "line 2: no `mvi` for this patient"),
        (["patient,mvi", ",yes"], {}, "line 2: no patient"),
        (["patient,mm", "P-1,big"], {"mm": "number"}, "line 2: mm = 'big' is not a number"),
        (["patient,mm", "P-1,nan"], {"mm": "number"}, "line 2: mm = 'nan' is not a number"),
        (["patient,mm", "P-1,3", "P-2,x"], {}, "line 3: mm = 'x' is not a number"),
        (
            ["patient,mvi", "P-1,maybe"],
            {"mvi": ("yes", "no")},
            "line 2: mvi = 'maybe' is not one of yes, no",
        ),
        (["patient,split", "P-1,validation"], {}, "line 2: split = 'validation' is not one of"),
        (["patient,regions", "P-1,some"], {}, "line 2: regions = 'some' is not outlined or none"),
        (["patient", "P-1", "P-1"], {}, "line 3: patient 'P-1' is there already in line 2"),
        (
            ["patient,study", "P-1,1.2", "P-1,1.2"],
            {},
            "line 3: study '1.2' is there already in line 2",
        ),
        (
            ["patient,study,split", "P-1,1.2,train", "P-1,1.3,test"],
            {},
            "line 3: leak: patient 'P-1' is in split test, and in train in line 2",
        ),
        (["patient,x", 'P-1,"a'], {}, "not CSV"),
    ],
)
def test_a_fault_is_told_with_its_line(tmp_path, lines, wanted, said):
    assert said in refusal(tmp_path, *lines, **wanted)


@pytest.mark.parametrize(
    ("column", "meant"),
    [
        ("Split", "split"),
        ("SPLIT", "split"),
        ("sp lit", "split"),
        ("splits", "split"),
        ("spilt", "split"),
        ("Splt", "split"),
        ("region", "regions"),
        ("Regions", "regions"),
        ("regionen", ""),
        ("Study", "study"),
        ("studi", "study"),
        ("Patient", "patient"),
        ("patients", "patient"),
        ("note", ""),
    ],
)
def test_a_column_that_looks_like_a_reserved_one_is_asked_about(tmp_path, column, meant):
    lines = (f"patient,{column},mvi", "P-1,test,yes")
    if not meant:
        assert len(table(tmp_path, *lines, mvi="text")) == 1
        return
    for wanted in ({}, {"mvi": "text"}):
        words = refusal(tmp_path, *lines, **wanted)
        assert f"line 1: column `{column}`: did you mean `{meant}`?" in words


def test_a_label_that_the_plugin_declares_may_look_like_a_reserved_column(tmp_path):
    rows = table(tmp_path, "patient,region", "P-1,chest", region="text")

    assert dict(rows[0].values) == {"region": "chest"}
    assert "`Split`" in refusal(
        tmp_path, "patient,region,Split", "P-1,chest,test", **{"region": "text"}
    )


def test_all_faults_are_told_up_to_ten(tmp_path):
    words = refusal(tmp_path, "patient,mm", *(f"P-{n},x" for n in range(14)), mm="number")

    assert words.count("labels.csv line") == 10
    assert words.endswith("and 4 more")


def test_columns_that_nobody_asks_for_may_hold_anything(tmp_path):
    rows = table(tmp_path, "patient,mm,note", "P-1,3,", "P-2,4,7", mm="number")

    assert [dict(row.values) for row in rows] == [
        {"mm": 3.0, "note": ""},
        {"mm": 4.0, "note": 7.0},
    ]


def test_no_table_and_no_text_are_said(tmp_path):
    with pytest.raises(LearningError, match=r"no labels\.csv"):
        read_table(tmp_path, {})
    (tmp_path / "labels.csv").write_bytes(b"patient\nM\xfcller\n")
    with pytest.raises(LearningError, match="not UTF-8"):
        read_table(tmp_path, {})


def row(line: int, patient: str = "") -> Row:
    return Row(line=line, patient=patient or f"P-{line}", study="", split="", outlined=True)


def test_equal_pixels_in_two_splits_or_of_two_patients_are_a_leak():
    one = Content(sha256="a", slices=frozenset({"1", "2"}))
    other = Content(sha256="b", slices=frozenset({"2", "3"}))
    faults = Faults()
    check_leaks([(row(2, "A"), "train", one), (row(3, "A"), "train", other)], faults)
    faults.refuse()

    check_leaks([(row(2, "A"), "train", one), (row(3, "A"), "test", other)], faults)
    with pytest.raises(LearningError, match=r"line 3: leak: images of .* 2 \(split train\); take"):
        faults.refuse()

    faults = Faults()
    check_leaks([(row(2), "train", one), (row(3), "train", other)], faults)
    with pytest.raises(LearningError, match=r"line 3: leak: .*line 2 .*names another patient"):
        faults.refuse()


def test_what_was_learned_from_is_not_evaluated_on():
    check_unseen({}, [held("a")])
    check_unseen({"cases": "b" * 16}, [held("a")])
    with pytest.raises(LearningError, match=r"1 of 2 test cases .*\(training\.json\); their"):
        check_unseen({"cases": f"{'b' * 16} {'a' * 16}"}, [held("a"), held("c")])
    with pytest.raises(LearningError, match=r"12 of 13 .*: labels\.csv line 3, .*, 12, …; their"):
        check_unseen({"cases": "a" * 16}, [held("c"), *[held("a")] * 12], range(2, 15))


def held(word: str, *slices: str) -> Content:
    return Content(sha256=word * 64, slices=frozenset(one * 32 for one in slices))


def test_a_case_that_lost_slices_is_known_by_those_that_are_left():
    whole = held("a", *"123456789")
    learned = {"cases": whole.sha256[:16], "slices": " ".join(whole.few)}

    assert whole.few == tuple(one * 12 for one in "1234")
    for left in ("2345678", "4", "1"):
        with pytest.raises(LearningError, match="1 of 2 test cases were learned from"):
            check_unseen(learned, [held("b", *left), held("c", "0")])
    check_unseen(learned, [held("b", *"56789"), held("c")])
    with pytest.raises(LearningError):  # a training.json of before has no slices
        check_unseen({"cases": whole.sha256[:16]}, [whole])


def test_a_patients_split_does_not_depend_on_anything_else():
    assert [split_of(f"P-{n}") for n in range(6)] == [split_of(f"P-{n}") for n in range(6)]


def test_cohorts_of_different_splits_never_share_a_seed():
    drawn = {
        (split, seed): cohort_seed(split, seed)
        for split in ("train", "tuning", "test")
        for seed in (0, 1, 999_999)
    }
    assert len(set(drawn.values())) == len(drawn)
    for seed in (-1, 1_000_000):
        with pytest.raises(LearningError, match="--seed"):
            cohort_seed("train", seed)


def test_columns_of_clinical_values_are_kept_as_written_and_may_have_blanks(tmp_path):
    (tmp_path / "labels.csv").write_text(
        "patient,mvi,age,grade,note\nP-1,yes,61 a,g2,x\nP-2,no,,,\n", encoding="utf-8"
    )
    rows = read_table(tmp_path, {"mvi": ("yes", "no")}, ("age", "grade"))
    assert [dict(row.clinical) for row in rows] == [{"age": "61 a", "grade": "g2"}, {}]
    # Of a plugin that names no labels, too: blanks of such columns are no missing labels.
    assert [row.clinical for row in read_table(tmp_path, {}, ("age", "grade", "note"))][1] == {}


def test_a_column_that_is_almost_a_clinical_value_is_told(tmp_path):
    (tmp_path / "labels.csv").write_text("patient,mvi,EBV DNA\nP-1,yes,3\n", encoding="utf-8")
    with pytest.raises(LearningError, match="column `EBV DNA`: did you mean `ebv_dna`"):
        read_table(tmp_path, {"mvi": ("yes", "no")}, ("ebv_dna", "n"))


def test_times_to_an_event_are_numbers_from_0_on_or_blank(tmp_path):
    (tmp_path / "labels.csv").write_text(
        "patient,mvi,months\nP-1,yes,0\nP-2,no,\nP-3,no,-3\nP-4,no,later\n", encoding="utf-8"
    )
    rows = read_table(tmp_path, {"mvi": ("yes", "no")})
    check_times(rows[:2], "months")
    with pytest.raises(LearningError) as refused:
        check_times(rows, "months")
    assert str(refused.value).splitlines() == [
        "labels.csv line 4: months = -3.0 is no time; write a number from 0 on, or leave it blank",
        "labels.csv line 5: months = later is no time; write a number from 0 on, or leave it blank",
    ]
