"""A folder of DICOM studies with regions and a table: trained on, evaluated on, refused by line."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread
from typer.testing import CliRunner

from node.cli import app
from node.errors import LearningError
from node.toolkit.workers import Workers
from node.training.cases import StudyTask, load
from node.training.folder import studies_of
from node.training.store import Store
from tests.learners import make_learner
from tests.make import ct_series, rtstruct, shared_data, write_series

SHAPE = (6, 24, 24)
#: Corners of the region in rows and columns; it is on slices 2 and 3.
LOW, HIGH = 6, 14


@pytest.fixture
def data(tmp_path) -> Path:
    folder = tmp_path / "data"
    folder.mkdir()
    return folder


@pytest.fixture
def learner(tmp_path) -> Path:
    return make_learner(tmp_path, labels='LABELS = {"mvi": ["yes", "no"]}')


def add(data: Path, patient: str, *, seed: int, outlined: bool = True, roi="Bright mass", **header):
    """Write a study with noise and a bright region, and an RTSTRUCT around it."""
    values = np.random.default_rng(seed).normal(0, 10, SHAPE).round().astype(np.int16)
    if outlined:
        values[2:4, LOW:HIGH, LOW:HIGH] += 100
    series = ct_series(
        SHAPE, values=values, origin=(0, 0, 0), spacing=(3, 1, 1), PatientID=patient, **header
    )
    folder = data / f"{patient}-{seed}"
    write_series(folder, series)
    if outlined:
        low, high = LOW - 0.5, HIGH - 0.5
        corners = [(low, low), (high, low), (high, high), (low, high)]
        points = {z: np.array([(x, y, 3.0 * z) for x, y in corners]) for z in (2, 3)}
        lines = [(z, points[z]) for z in (2, 3)]
        write_series(
            folder / "truth", [rtstruct(series, {roi: lines}, ApprovalStatus="UNAPPROVED")]
        )
    return series


def table(data: Path, *lines: str) -> None:
    (data / "labels.csv").write_text("\n".join(lines) + "\n")


@pytest.fixture(scope="module")
def workers():
    with Workers(1) as pool:
        yield pool


@pytest.fixture
def look(data, learner, tmp_path, workers):
    def studies() -> tuple[StudyTask, ...]:
        return studies_of(
            data,
            learner,
            {"mvi": ("yes", "no")},
            workers=workers,
            store=Store(tmp_path / "cache"),
            advance=lambda _done, _total: None,
        )

    return studies


def refusal(look) -> str:
    with pytest.raises(LearningError) as refused:
        look()
    return str(refused.value)


def test_studies_become_cases_with_masks_and_labels(data, look):
    add(data, "P-1", seed=1)
    add(data, "P-2", seed=2, outlined=False)
    table(data, "patient,split,regions,mvi", "P-1,train,outlined,yes", "P-2,test,none,no")

    tasks = look()
    first, second = (load(task) for task in tasks)

    assert [task.split for task in tasks] == ["train", "test"]
    assert first.labels.values == {"mvi": "yes"} and first.patient == "line 2"
    expected = np.zeros(SHAPE, bool)
    expected[2:4, LOW:HIGH, LOW:HIGH] = True
    np.testing.assert_array_equal(first.labels.masks["mass"], expected)
    assert first.case.volumes["ct"].spacing_mm == (3.0, 1.0, 1.0)
    assert not second.labels.masks["mass"].any()
    assert "P-1" not in repr(first)


ROI = """
[rois.bright_mass]
input = "ct"
codes = [["4147007", "SCT", "Mass"]]
when_missing = "refuse"
"""


def read_again(data: Path, series, name: str, *, roi="Bright mass", by=1) -> None:
    """Write what a second reader outlined: the same region, `by` columns on."""
    low, high = LOW - 0.5, HIGH - 0.5
    corners = [(low + by, low), (high + by, low), (high + by, high), (low + by, high)]
    lines = [(z, np.array([(x, y, 3.0 * z) for x, y in corners])) for z in (2, 3)]
    drawn = rtstruct(series, {roi: lines}, ApprovalStatus="UNAPPROVED")
    write_series(data / name / "second_reader" / "of it", [drawn])


def test_what_a_second_reader_outlined_comes_beside_the_reference(data, learner, look):
    with (learner / "plugin.toml").open("a") as manifest:
        manifest.write(ROI)
    read_again(data, add(data, "P-1", seed=1), "P-1-1")
    add(data, "P-2", seed=2)
    table(data, "patient,split,mvi", "P-1,train,yes", "P-2,test,no")

    twice, once = (load(task) for task in look())

    expected = np.zeros(SHAPE, bool)
    expected[2:4, LOW:HIGH, LOW:HIGH] = True
    np.testing.assert_array_equal(twice.labels.masks["mass"], expected)
    (own,), (second,) = (one["bright_mass"] for one in (twice.case.rois, twice.labels.second_rois))
    np.testing.assert_array_equal(own.mask, expected)
    np.testing.assert_array_equal(second.mask, np.roll(expected, 1, axis=2))
    assert once.labels.second_rois == {} and once.case.rois["bright_mass"][0].mask.any()


def test_a_second_reader_without_the_region_is_refused_by_line(data, learner, look):
    with (learner / "plugin.toml").open("a") as manifest:
        manifest.write(ROI)
    read_again(data, add(data, "P-1", seed=1), "P-1-1", roi="Aorta")
    table(data, "patient,mvi", "P-1,yes")

    said = refusal(look)

    assert "line 2: the second reader: 0 regions for the role `bright_mass`" in said
    assert "there: `Aorta`" in said


CLINICAL = """
[clinical.age]
kind = "number"
code = ["121033", "DCM", "Subject Age"]
unit = ["a", "UCUM", "year"]
range = [18, 110]
attribute = "PatientAge"

[clinical.grade]
kind = "words"
code = ["371469007", "SCT", "Histologic grade (observable entity)"]
choices.g1 = ["54102005", "SCT", "G1 grade (finding)"]
choices.g2 = ["1663004", "SCT", "G2 grade (finding)"]

[clinical.invasion]
kind = "flag"
code = ["INV", "99SENTINEL", "Invasion"]
"""


def test_clinical_values_of_the_table_and_of_the_images_reach_the_plugin(data, learner, look):
    with (learner / "plugin.toml").open("a") as manifest:
        manifest.write(CLINICAL)
    add(data, "P-1", seed=1, PatientAge="061Y")
    add(data, "P-2", seed=2, PatientAge="061Y")
    table(
        data,
        "patient,split,mvi,age,grade,invasion",
        "P-1,train,yes,732 mo,G2,no",
        "P-2,test,no,,,yes",
    )

    first, second = (load(task).case.values for task in look())

    assert first == {"age": 61, "grade": "g2", "invasion": False}
    assert second == {"age": 61, "invasion": True}


@pytest.mark.parametrize(
    ("cells", "said"),
    [
        ("7 a,g1,no", "age = 7 a: "),
        ("61,g1,no", "age = 61: "),
        ("61 mm,g1,no", "age = 61 mm: "),
        ("61 a,g9,no", "grade = g9: "),
        ("61 a,g1,perhaps", "invasion = perhaps: it is neither yes nor no"),
    ],
)
def test_a_clinical_value_that_does_not_fit_is_refused_with_its_line(
    data, learner, look, cells, said
):
    with (learner / "plugin.toml").open("a") as manifest:
        manifest.write(CLINICAL)
    add(data, "P-1", seed=1)
    table(data, "patient,split,mvi,age,grade,invasion", f"P-1,train,yes,{cells}")

    sentence = refusal(look)

    assert "labels.csv line 2: " in sentence and said in sentence


def test_a_label_is_never_handed_to_the_plugin_as_a_clinical_value(data, learner, look):
    with (learner / "plugin.toml").open("a") as manifest:
        manifest.write(CLINICAL.replace("clinical.invasion", "clinical.mvi"))
    add(data, "P-1", seed=1)
    table(data, "patient,split,mvi", "P-1,train,yes")

    assert "mvi is a label of train.py and a clinical value" in refusal(look)


def test_linked_studies_are_read_and_a_loop_of_links_ends(data, look, tmp_path):
    elsewhere = tmp_path / "archive"
    elsewhere.mkdir()
    add(elsewhere, "P-1", seed=1)
    (data / "a-link").symlink_to(elsewhere)
    (data / "same").symlink_to(elsewhere / "P-1-1")
    (elsewhere / "P-1-1" / "loop").symlink_to(data)
    (data / "gone").symlink_to(tmp_path / "nowhere")
    table(data, "patient,split,mvi", "P-1,train,yes")

    (task,) = look()

    assert len(task.images) == SHAPE[0]
    assert load(task).labels.masks["mass"].any()


def test_a_study_that_was_looked_at_is_not_read_again(data, look, tmp_path):
    add(data, "P-1", seed=1)
    table(data, "patient,split,mvi", "P-1,train,yes")
    look()
    kept = {path: path.stat().st_mtime_ns for path in (tmp_path / "cache").rglob("*.json")}

    look()

    assert {p: p.stat().st_mtime_ns for p in (tmp_path / "cache").rglob("*.json")} == kept
    assert not any(b"P-1" in path.read_bytes() for path in kept)  # S28: no identity on the way


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (["P-1,train,yes"], "labels.csv has no line for patient 'P-2' (6 images in P-2-2)"),
        (["P-1,train,yes", "P-2,test,no", "P-3,test,no"], "line 4: no image of patient 'P-3'"),
        (["P-1,train,yes", "P-2,test,"], "line 3: no `mvi` for this patient"),
        (["P-1,train,yes", "P-2,test,often"], "line 3: mvi = 'often' is not one of yes, no"),
        (["P-1,train,yes", "P-1,train,yes"], "line 3: patient 'P-1' is there already in line 2"),
        (["P-1,train,yes", "P-1,test,yes"], "line 3: leak: patient 'P-1' is in split test"),
    ],
)
def test_table_and_folder_must_agree(data, look, lines, said):
    add(data, "P-1", seed=1)
    add(data, "P-2", seed=2)
    table(data, "patient,split,mvi", *lines)

    assert said in refusal(look)


def test_one_study_under_two_patients_is_a_leak(data, look):
    uid = add(data, "P-1", seed=1)[0].StudyInstanceUID
    add(data, "P-2", seed=2, StudyInstanceUID=uid)
    table(data, "patient,split,mvi", "P-1,train,yes", "P-2,test,no")

    words = refusal(look)

    assert "line 2: leak: its study lies under 2 Patient IDs" in words
    assert "line 3: leak" in words


def test_the_same_pixels_in_two_splits_or_of_two_patients_are_a_leak(data, look):
    add(data, "P-1", seed=1)
    add(data, "P-2", seed=1)
    table(data, "patient,split,mvi", "P-1,train,yes", "P-2,test,no")
    assert "line 3: leak: images of this study (split test)" in refusal(look)

    # In two folds they would be learned from and tested on.
    table(data, "patient,split,mvi", "P-1,train,yes", "P-2,train,no")
    assert "(split train), which names another patient; take one" in refusal(look)


def test_several_studies_of_a_patient_need_their_own_lines(data, look):
    uids = [add(data, "P-1", seed=seed)[0].StudyInstanceUID for seed in (1, 2)]
    table(data, "patient,split,mvi", "P-1,train,yes")
    assert "line 2: patient 'P-1' has 2 studies; give each its own line" in refusal(look)

    table(data, "patient,study,split,mvi", f"P-1,{uids[0]},train,yes")
    assert "labels.csv has no line for a study of patient 'P-1'" in refusal(look)

    table(data, "patient,study,split,mvi", *(f"P-1,{uid},train,yes" for uid in uids))
    assert [load(task).patient for task in look()] == ["line 2", "line 2"]  # drawn together

    table(data, "patient,study,split,mvi", *(f"P-1,{uid}9,train,yes" for uid in uids))
    assert "patient 'P-1' has no study" in refusal(look)


def test_regions_that_are_missing_or_too_many_are_said_with_their_line(data, look):
    add(data, "P-1", seed=1, roi="Heart")
    add(data, "P-2", seed=2)
    table(data, "patient,split,regions,mvi", "P-1,train,outlined,yes", "P-2,test,none,no")

    words = refusal(look)

    assert "line 2: no region named `Bright mass` among its SEG and RTSTRUCT (there: `Heart`)" in (
        words
    )
    assert "line 3: the column `regions` says none, yet there is a region" in words


def test_two_objects_that_outline_the_same_are_refused(data, look):
    series = add(data, "P-1", seed=1)
    points = np.array([(2.0, 2.0, 6.0), (5.0, 2.0, 6.0), (5.0, 5.0, 6.0)])
    write_series(data / "second", [rtstruct(series, {"mass 2": [(2, points)]})])
    table(data, "patient,split,mvi", "P-1,train,yes")

    assert "line 2: 2 objects outline `mass`" in refusal(look)


def test_a_study_that_the_node_would_refuse_is_refused_with_its_line(data, look):
    series = add(data, "P-1", seed=1)
    uid = series[3].SOPInstanceUID
    gone = [p for p in (data / "P-1-1").glob("*.dcm") if uid.encode() in p.read_bytes()]
    gone[0].unlink()
    table(data, "patient,split,mvi", "P-1,train,yes")

    assert "labels.csv line 2: the only candidate does not serve the input ct" in refusal(look)


def test_a_folder_without_images_or_split_is_said(data, look, learner, tmp_path):
    table(data, "patient,split,mvi", "P-1,train,yes")
    assert "no DICOM file (Part 10)" in refusal(look)

    add(data, "P-1", seed=1)
    done = CliRunner().invoke(
        app, ["train", str(learner), "--data", str(data), "--cache", str(tmp_path / "cache")]
    )
    assert done.exit_code == 1 and "no patient is in split tuning" in done.output


def test_of_regions_on_several_images_those_on_the_chosen_ones_count(data, look):
    series = add(data, "P-1", seed=1)
    other = ct_series((4, 24, 24), PatientID="P-1", SeriesNumber=9, KVP=80)
    for one in other:
        one.StudyInstanceUID = series[0].StudyInstanceUID
        one.FrameOfReferenceUID = series[0].FrameOfReferenceUID
    points = np.array([(2.0, 2.0, -30.0), (5.0, 2.0, -30.0), (5.0, 5.0, -30.0)])
    write_series(data / "other", [*other, rtstruct(other, {"mass": [(0, points)]})])
    table(data, "patient,split,mvi", "P-1,train,yes")

    (task,) = look()

    assert load(task).labels.masks["mass"][2:4, LOW:HIGH, LOW:HIGH].all()


def test_contours_of_a_real_study_are_the_published_mask(learner, tmp_path, workers):
    nibabel = pytest.importorskip("nibabel")
    real = shared_data("sts-sarcoma/STS_003")
    manifest = learner / "plugin.toml"
    manifest.write_text(manifest.read_text().replace('"Bright mass"', '"GTV mass CT"'))
    shutil.copytree(real, tmp_path / "data", dirs_exist_ok=True)
    table(tmp_path / "data", "patient,split", "STS_003,train")

    (task,) = studies_of(
        tmp_path / "data",
        learner,
        {},
        workers=workers,
        store=Store(tmp_path / "cache"),
        advance=lambda _done, _total: None,
    )

    published = np.asarray(nibabel.load(real / "CT" / "mask.nii.gz").dataobj) > 0
    mask = load(task).labels.masks["mass"]
    assert task.images and mask.shape == published.T.shape
    np.testing.assert_array_equal(mask, published.T)


def test_a_plugin_learns_from_studies_and_is_evaluated_on_others(
    data, learner, tmp_path, monkeypatch
):
    monkeypatch.setenv("COLUMNS", "250")
    lines = []
    for number in range(6):
        split = ("train", "train", "train", "tuning", "test", "test")[number]
        outlined = number not in (1, 5)
        add(data, f"P-{number}", seed=number, outlined=outlined)
        lines.append(f"P-{number},{split},{'outlined' if outlined else 'none'},yes")
    table(data, "patient,split,regions,mvi", *lines)
    more = ["--data", str(data), "--cache", str(tmp_path / "cache"), "--device", "cpu"]
    (learner / "README.md").write_text("Trained on synthetic phantoms.\n")

    done = CliRunner().invoke(app, ["train", str(learner), "--out", str(tmp_path / "out"), *more])
    assert done.exit_code == 0, done.output
    report = tmp_path / "report"
    done = CliRunner().invoke(
        app, ["evaluate", str(tmp_path / "out"), "--report", str(report), *more]
    )

    assert done.exit_code == 0, done.output
    everything = [*report.iterdir(), *(tmp_path / "out").iterdir()]
    assert not any(b"P-4" in path.read_bytes() for path in everything)
    document = json.loads((report / "report.json").read_text())
    assert document["dice"] > 0.95 and document["synthetic"] is False
    assert not (tmp_path / "out" / "README.md").exists()  # it speaks of other weights
    sentence = "trained on 3 studies of a data folder (seed 0), not evaluated"
    assert sentence in (tmp_path / "out" / "plugin.toml").read_text()

    slices = json.loads((tmp_path / "out" / "training.json").read_text())["slices"]
    assert len(set(slices.split())) == 4 * 4 and len(slices) / 4 < 60  # 17 kB of 320 studies

    for number in (0, 2):
        lines[number] = lines[number].replace("train", "test")
    table(data, "patient,split,regions,mvi", *lines)
    done = CliRunner().invoke(
        app, ["evaluate", str(tmp_path / "out"), "--report", str(tmp_path / "again"), *more]
    )

    said = "2 of 4 test cases were learned from (training.json): labels.csv line 2, 4; their"
    assert done.exit_code == 1 and said in done.output, done.output
    assert not (tmp_path / "again").exists()

    def last(path: Path) -> float:
        return float(dcmread(path, stop_before_pixels=True).ImagePositionPatient[2])

    max((data / "P-2-2").glob("*.dcm"), key=last).unlink()  # a slice less is no new study
    done = CliRunner().invoke(
        app, ["evaluate", str(tmp_path / "out"), "--report", str(tmp_path / "again"), *more]
    )
    assert done.exit_code == 1 and said in done.output, done.output
