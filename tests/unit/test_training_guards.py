"""Collapsed models, edited manifests, which code an example depends on, the pinned law."""

import json
import os
import tomllib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from node.errors import LearningError, ManifestError
from node.manifest import EvaluationSpec
from node.manifest_file import parse_manifest
from node.plugin import Labels, Measurement, Result, Segment
from node.training import surroundings
from node.training.collapse import Answer, answer_of, collapsed
from node.training.manifest_edit import edited
from node.training.relevant import cohort_digest, examples_digest, parameters_before
from node.training.store import Store, check_new_folder, check_writable, whole_folder
from tests.learners import FIT, make_learner, write_fit


@pytest.fixture
def learner(tmp_path: Path) -> Path:
    return make_learner(tmp_path)


def answer(truth: bool, filled: float, likeness: tuple[float, ...] = ()) -> Answer:
    parts = {"mass": filled} if filled else {}
    return Answer(truth=truth, filled=parts, values={"likeness": likeness} if likeness else {})


def test_empty_masks_everywhere_are_a_collapse(learner):
    manifest = parse_manifest(learner)

    assert "empty in all 2" in collapsed(
        manifest, [answer(True, 0), answer(False, 0), answer(True, 0)]
    )
    assert collapsed(manifest, [answer(True, 0), answer(True, 0.01)]) == ""
    assert collapsed(manifest, [answer(False, 0), answer(False, 0)]) == ""


def test_a_mask_that_fills_everything_is_a_collapse(learner):
    manifest = parse_manifest(learner)

    assert "fills half of the image or more" in collapsed(manifest, [answer(True, 1.0)] * 4)
    assert collapsed(manifest, [answer(True, 1.0)] * 3 + [answer(True, 0.5)]) == ""


def test_a_constant_number_is_a_collapse_and_a_count_of_one_is_none(learner):
    manifest = parse_manifest(learner)

    def said(*values: float) -> str:
        return collapsed(manifest, [answer(True, 0.1 * n, (v,)) for n, v in enumerate(values, 1)])

    assert "`likeness` is 0.4 in all 4" in said(0.4, 0.4, 0.4, 0.40001)
    assert "`likeness` is 0 in all 3" in said(0.0, 0.0, 0.0)
    assert said(0.4, 0.5, 0.4) == ""
    assert said(1.0, 1.0, 1.0) == ""
    assert said(0.4, 0.4) == ""  # too few to tell


def outlined(*fills: float, truth: float = 0.1) -> list[Answer]:
    """Answers of one segment that fills so much of each image, and where somebody drew `truth`."""
    return [
        Answer(truth=True, filled={"mass": part}, outlined={"mass": truth}, values={})
        for part in fills
    ]


def test_a_mask_that_fills_half_although_nobody_drew_so_much_is_a_collapse(learner):
    manifest = parse_manifest(learner)

    assert "fills half of the image or more in all 1" in collapsed(manifest, outlined(0.5))
    assert "in all 2 cases" in collapsed(manifest, outlined(0.5, 0.9))
    assert collapsed(manifest, outlined(0.5, 0.4)) == ""
    assert collapsed(manifest, outlined(0.6, 0.7, truth=0.6)) == ""


def segments(*masks: np.ndarray) -> Answer:
    result = Result(segments=tuple(Segment(name="mass", mask=m, role="ct") for m in masks))
    return answer_of(result, Labels(masks={"mass": np.ones((1, 1, 1), bool)}))


def box(slices: int, low: int, high: int) -> np.ndarray:
    mask = np.zeros((slices, 6, 6), bool)
    mask[low:high, 1:3] = True
    return mask


def test_a_mask_that_is_the_same_everywhere_is_a_collapse_whatever_the_slices(learner):
    manifest = parse_manifest(learner)
    same = "its mask `mass` is the same in all 2 cases"

    assert same in collapsed(manifest, [segments(box(8, 0, 3)), segments(box(8, 0, 3))])
    assert same in collapsed(manifest, [segments(box(8, 0, 3)), segments(box(20, 0, 3))])
    halves = segments(box(8, 0, 1), box(8, 1, 3))  # two findings are one mask together
    assert same in collapsed(manifest, [segments(box(8, 0, 3)), halves])
    assert collapsed(manifest, [segments(box(8, 0, 3)), segments(box(8, 1, 4))]) == ""
    assert collapsed(manifest, [segments(box(8, 0, 3)), segments()]) == ""
    assert collapsed(manifest, [segments(box(8, 0, 3))]) == ""  # one case: nothing to compare


def test_a_classifier_that_says_nothing_or_the_same_has_collapsed(learner):
    manifest = replace(
        parse_manifest(learner),
        segments={},
        evaluation=EvaluationSpec(probability="likeness", outcome="sick"),
    )

    def said(*values: float | None) -> str:
        return collapsed(
            manifest,
            [
                Answer(truth=None, filled={}, values={} if v is None else {"likeness": (v,)})
                for v in values
            ],
        )

    assert "no case has a `likeness`" in said(None)
    assert "`likeness` is 0.43 in all 3 cases" in said(0.43, None, 0.43, 0.43)
    assert said(0.43, None, 0.43) == ""  # too few to tell
    assert said(0.43, 0.43, 0.44) == ""


def test_an_answer_keeps_parts_and_values_and_whether_there_is_something():
    mask = np.zeros((2, 2, 2), bool)
    mask[0] = True
    result = Result(
        segments=(Segment(name="mass", mask=mask, role="ct"),),
        measurements=(Measurement(name="likeness", value=0.5, segment="mass"),),
    )

    found = answer_of(result, Labels(masks={"mass": mask}))

    assert (found.truth, found.filled, found.outlined) == (True, {"mass": 0.5}, {"mass": 0.5})
    assert found.values == {"likeness": (0.5,)} and list(found.masks) == ["mass"]
    assert answer_of(Result(), Labels()).truth is None


def test_parameters_that_were_learned_are_set_where_they_stand():
    text = """version = "1"

[parameters]
# Where to cut.
threshold = 0.5   # ours
model = "a # b"
also = 3

[other]
threshold = 1
"""

    made = edited(text, {"version": "2"}, {"w": "0"}, {"threshold": 0.25, "model": "rf"})

    assert 'threshold = 0.25   # ours\nmodel = "rf"\nalso = 3' in made
    assert "[other]\nthreshold = 1\n" in made and 'version = "2"' in made


def test_a_parameter_on_several_lines_is_refused():
    text = '[parameters]\nx = """a\nb"""\n'
    with pytest.raises(LearningError, match="write x and each entry"):
        edited(text, {}, {"w": "0"}, {"x": "c"})


def test_an_edited_manifest_keeps_its_comments_and_order():
    text = (
        "# top\n"
        'name = "x"  # a name\n'
        "version = '1.0.0'\n"
        "\n"
        "[limits]\n"
        "time_s = 60\n"
        "[weights]  # by us\n"
        '"old.safetensors" = "00"\n'
        "# kept\n"
        "\n"
        "[parameters]\n"
        "a = 1\n"
    )

    made = edited(text, {"version": "1.0.0+a", "training": 'a "b"'}, {"new.safetensors": "11"})

    assert made.splitlines() == [
        "# top",
        'name = "x"  # a name',
        'version = "1.0.0+a"',
        'training = "a \\"b\\""',
        "",
        "[limits]",
        "time_s = 60",
        "[weights]  # by us",
        "# kept",
        '"new.safetensors" = "11"',
        "",
        "[parameters]",
        "a = 1",
    ]
    assert tomllib.loads(made)["training"] == 'a "b"'


@pytest.mark.parametrize("text", ['version = """\n1"""\n', 'weights = {"a" = "0"}\n'])
def test_a_manifest_that_cannot_be_edited_by_line_is_refused(text):
    with pytest.raises(LearningError, match="line by line"):
        edited(text, {"version": "2"}, {"b": "1"})


def test_another_fit_needs_no_new_examples_and_other_examples_do(learner):
    before = examples_digest(learner, with_cohort=True)

    write_fit(learner, FIT.replace("/ 2", "/ 3"))
    assert examples_digest(learner, with_cohort=True) == before

    train = learner / "train.py"
    train.write_text(train.read_text().replace("array[mask].mean()", "array[mask].max()"))
    assert examples_digest(learner, with_cohort=True) != before


def test_another_version_of_a_library_needs_new_examples(learner, monkeypatch):
    before = examples_digest(learner, with_cohort=True)
    monkeypatch.setattr(surroundings, "version", lambda name: f"9 of {name}")
    assert examples_digest(learner, with_cohort=True) != before


def test_a_module_that_examples_import_counts_as_does_the_law(learner):
    train = learner / "train.py"
    (learner / "extra.py").write_text("SCALE = 1\n")
    train.write_text(f"from extra import SCALE\n{train.read_text()}")
    unused = examples_digest(learner, with_cohort=True)
    (learner / "extra.py").write_text("SCALE = 2\n")
    assert examples_digest(learner, with_cohort=True) == unused

    train.write_text(train.read_text().replace("array[mask].mean()", "SCALE * array[mask].mean()"))
    used = examples_digest(learner, with_cohort=True)
    (learner / "extra.py").write_text("SCALE = 3\n")
    assert examples_digest(learner, with_cohort=True) != used

    law = cohort_digest(learner)
    (learner / "cohort.toml").write_text("bright_hu = 50\n")
    assert cohort_digest(learner) != law


def test_what_a_training_writes_into_the_manifest_changes_no_example(learner):
    before = examples_digest(learner, with_cohort=True)
    manifest = learner / "plugin.toml"

    manifest.write_text(manifest.read_text().replace('version = "0.1.0"', 'version = "0.2.0"'))

    assert examples_digest(learner, with_cohort=True) == before


def test_what_a_training_found_changes_no_example_and_another_setting_does(learner):
    manifest, told = learner / "plugin.toml", learner / "training.json"
    text = manifest.read_text() + "\n[parameters]\nthreshold = 0.5\nside_mm = 40.0\n"
    manifest.write_text(text)
    before = examples_digest(learner, with_cohort=True)

    for found in ("0.31", "0.62"):  # trained, and trained again in place
        told.write_text(
            json.dumps({"parameters_before": parameters_before(learner, {"threshold": found})})
        )
        manifest.write_text(text.replace("0.5", found))
        assert examples_digest(learner, with_cohort=True) == before
    manifest.write_text(text.replace("40.0", "50.0"))
    assert examples_digest(learner, with_cohort=True) != before


def test_another_law_than_the_pinned_one_is_refused(learner):
    assert parse_manifest(learner).cohort.file == "cohort.toml"

    (learner / "cohort.toml").write_text("bright_hu = 50\n")

    with pytest.raises(ManifestError, match=r"cohort\.toml has SHA-256 .*\[cohort\] says"):
        parse_manifest(learner)
    (learner / "cohort.toml").unlink()
    with pytest.raises(ManifestError, match=r"cohort\.toml: no such file"):
        parse_manifest(learner)


def test_what_nobody_uses_is_removed_after_two_weeks(tmp_path):
    store = Store(tmp_path)
    day = 86_400
    for key, used in (("a" * 40, 0), ("b" * 40, 13 * day)):
        store.write_example(key, {"x": np.zeros(1)})
        store.write(key, {"content": key})
        for path in (tmp_path / "kept" / key[:2]).iterdir():
            os.utime(path, (used, used))
    left = store.work_folder() / "left"
    left.mkdir()
    os.utime(left, (0, 0))

    store.prune(15.0 * day)

    assert store.read("a" * 40) is None and not store.example("a" * 40).exists()
    assert store.read("b" * 40) and store.example("b" * 40).exists()
    assert not left.exists()


def test_a_place_for_results_is_looked_at_before_the_work(tmp_path):
    plugin, file = tmp_path / "plugin", tmp_path / "file"
    plugin.mkdir()
    file.write_text("x")
    for place, words in (
        (file, "is a file"),
        (tmp_path, "not empty"),
        (plugin / "inside", "own folder"),
        (file / "below", "cannot be made"),
    ):
        with pytest.raises(LearningError, match=words):
            check_new_folder(place, outside=plugin)
    check_new_folder(tmp_path / "new" / "deep", outside=plugin)
    assert not (tmp_path / "new").exists()


def test_a_plugins_own_folder_is_tried_before_the_work(tmp_path):
    check_writable(tmp_path)
    assert list(tmp_path.iterdir()) == []

    with pytest.raises(LearningError, match=r"cannot be written: .*; give --out"):
        check_writable(Path("/proc/self"))  # not even by root


def test_a_report_that_ends_halfway_leaves_nothing_and_a_whole_one_comes_at_once(tmp_path):
    place = tmp_path / "new" / "report"
    with pytest.raises(KeyboardInterrupt), whole_folder(place, last="z") as draft:
        (draft / "page").write_text("half")
        raise KeyboardInterrupt
    assert list((tmp_path / "new").iterdir()) == []

    with whole_folder(place, last="a") as draft:
        (draft / "a").write_text("1")
        (draft / "b").mkdir()
    assert {path.name for path in place.iterdir()} == {"a", "b"}
    assert list((tmp_path / "new").iterdir()) == [place]


@pytest.mark.parametrize("damage", [b"", b"{}", b'{"sha256": "0", "slices": []}', b"\xff", None])
def test_a_document_is_there_as_it_was_written_or_not_at_all(tmp_path, damage):
    store = Store(tmp_path)
    store.write("a" * 40, {"sha256": "1", "slices": ["x"]})
    store.write("b" * 40, {"sha256": "2", "slices": []})
    assert store.read("a" * 40) == {"sha256": "1", "slices": ["x"]}

    path, other = (next(tmp_path.glob(f"kept/*/{key * 40}.json")) for key in "ab")
    path.write_bytes(other.read_bytes() if damage is None else damage)

    assert store.read("a" * 40) is None


def test_two_trainings_do_not_write_into_one_folder(tmp_path):
    with Store(tmp_path).alone_in("key", fresh=False) as folder:
        (folder / "checkpoint").touch()
        with (
            pytest.raises(LearningError, match="runs already, with this cache") as raised,
            Store(tmp_path).alone_in("key", fresh=True),
        ):
            pass
        assert raised.value.code == "TRAINING_RUNS" and (folder / "checkpoint").exists()
        with Store(tmp_path).alone_in("other", fresh=False) as other:
            assert other != folder

    with Store(tmp_path).alone_in("key", fresh=False) as again:
        assert again == folder and (folder / "checkpoint").exists()
    with Store(tmp_path).alone_in("key", fresh=True):
        assert not (folder / "checkpoint").exists()


@pytest.mark.parametrize("damaged", [b"", b"\xff\xfe", b"0123456789abcdef" * 2 + b"\n"])
def test_a_damaged_salt_is_made_anew_and_then_stays(tmp_path: Path, damaged: bytes) -> None:
    store = Store(tmp_path)
    whole = store.salt()
    assert store.salt() == whole
    (tmp_path / "salt").write_bytes(damaged)
    anew = store.salt()
    assert len(anew) == 32 and anew != whole and Store(tmp_path).salt() == anew
