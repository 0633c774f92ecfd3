import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from node.errors import LearningError
from node.manifest import Manifest
from node.model import Grade
from node.plugin import Case, Measurement, Result, Segment, Volume
from node.toolkit.operating import wilson
from node.training.report import (
    DataSource,
    Evaluation,
    Known,
    Reference,
    assess_case,
    read_reference,
    write_report,
)
from node.training.report.figures import document_of

SHAPE = (16, 48, 56)
AFFINE = np.array(
    [[0, 0, 1.5, -40], [0, 1.25, 0, -30], [4.0, 0, 0, 10], [0, 0, 0, 1]], dtype=float
)  # (slice, row, column, 1) -> LPS+, steps 4, 1.25, 1.5 mm
VOXEL_ML = 4 * 1.25 * 1.5 / 1000
PAPER = Reference(
    source="Somebody et al.",
    data="164 CTs",
    figures={"dice": 0.82, "sensitivity": 0.87, "fp_per_scan": 0.61},
    notes=("The paper has no tumour-free CTs.",),
)


def ball(centre_mm, radius_mm):
    """A ball on the grid, its centre in mm from the first voxel."""
    at = np.indices(SHAPE).transpose(1, 2, 3, 0) * (4.0, 1.25, 1.5)
    return ((at - np.array(centre_mm)) ** 2).sum(axis=-1) <= radius_mm**2


def scan(*masks, seed=0):
    array = np.random.default_rng(seed).normal(-20, 25, SHAPE).astype(np.float32)
    for mask in masks:
        array[mask] += 80
    volume = Volume(array=array, affine=AFFINE, unit="[hnsf'U]", modality="CT")
    return Case(volumes={"ct": volume})


def result(*findings):
    """A result of (mask, score) pairs."""
    return Result(
        segments=tuple(
            Segment(name="tumor", mask=mask, role="ct", finding=n)
            for n, (mask, _) in enumerate(findings, start=1)
        ),
        measurements=tuple(
            Measurement(name="detection_score", value=score, segment="tumor", finding=n)
            for n, (_, score) in enumerate(findings, start=1)
        ),
    )


def known(number, **facts):
    return Known(patient=f"P{number:04}", institution=f"inst-{number % 3}", facts=facts)


def tumor_case(number, shift_mm=2.0, *, extra=False):
    rng = np.random.default_rng(number)
    centre = rng.uniform((24, 25, 30), (36, 35, 50))
    truth = ball(centre, rng.uniform(9, 17))
    findings = [(ball(centre + np.array([0, shift_mm, shift_mm]), 13), float(rng.uniform(0.5, 1)))]
    if extra:
        findings.append((ball((12, 50, 75), 6), 0.3))
    baselines = {"threshold": ball(centre, 22), "nothing": np.zeros(SHAPE, bool)}
    facts = known(number, family="ellipsoid" if number % 2 else "plaque")
    case = scan(truth, seed=number)
    return assess_case(case, truth, result(*findings), known=facts, baselines=baselines)


def free_case(number, *, false=False):
    findings = [(ball((30, 30, 40), 8), 0.6)] if false else []
    return assess_case(
        scan(seed=number), np.zeros(SHAPE, bool), result(*findings), known=known(number)
    )


def evaluation(*cases, **changes):
    manifest = Manifest(
        folder=Path("nowhere"),
        name="anterior_mediastinal_tumor",
        version="1.2.3",
        title="Anterior mediastinal tumour <test>",
        intended_use="",
        source="",
        grade=Grade.PHANTOM,
        weights={"model.safetensors": "a" * 64},
        digest="b" * 64,
        inputs={},
        training="trained on synthetic phantoms, no clinical validity",
    )
    base = Evaluation(
        manifest=manifest,
        cases=cases,
        data=DataSource(kind="phantom", description="tests", cohort_sha256="c" * 64, seed=7),
        date="2026-11-21T08:00:00+00:00",
        machine={"device": "cpu"},
        versions={"numpy": "2"},
        reference=PAPER,
        group_by=("family",),
        bootstrap_runs=200,
    )
    return replace(base, **changes)


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    cases = [tumor_case(n, extra=n % 4 == 0) for n in range(12)]
    cases += [free_case(100 + n, false=n == 0) for n in range(4)]
    write_report(folder, evaluation(*cases))
    return folder


@pytest.fixture(scope="module")
def numbers(report):
    return json.loads((report / "report.json").read_text())


def test_the_figures_asked_for_are_numbers_at_the_top(numbers):
    keys = ("dice", "sensitivity", "fp_per_scan", "fp_per_tumor_free_scan", "baseline_dice")

    assert all(isinstance(numbers[key], float) for key in keys)
    assert numbers["fp_per_tumor_free_scan"] == 0.25
    assert numbers["baseline_dice"] == numbers["baselines"]["threshold"]["dice"]["estimate"]
    assert numbers["collapsed"] is False
    assert numbers["synthetic"] is True


def test_dice_is_the_mean_over_the_cts_with_a_tumour(numbers):
    dice = [case["dice"] for case in numbers["cases"] if not case["tumor_free"]]

    assert len(dice) == 12
    assert numbers["dice"] == pytest.approx(np.mean(dice))
    interval = numbers["intervals"]["dice"]
    assert interval["low"] < numbers["dice"] < interval["high"]


def test_sensitivity_and_false_positives_are_those_at_match_iou_one_half(numbers):
    point = numbers["froc_over_match_iou"]["points"][-1]
    last = numbers["froc_over_score"]["points"][-1]

    assert point["match_iou"] == numbers["froc_over_score"]["match_iou"] == 0.5
    for key in ("sensitivity", "fp_per_scan"):
        assert point[key] == numbers[key] == pytest.approx(last[key])
    assert last["fp_per_tumor_free_scan"] == numbers["fp_per_tumor_free_scan"]
    free = numbers["counts"]["tumor_free_scans"]
    total = numbers["fp_per_scan"] * 12 + numbers["fp_per_tumor_free_scan"] * free
    assert numbers["fp_per_scan_all"] == pytest.approx(total / (12 + free))


def test_the_two_curves_are_labelled_apart(numbers, report):
    assert "swept" in numbers["froc_over_match_iou"]["meaning"]
    assert "classic" in numbers["froc_over_score"]["meaning"]
    page = (report / "report.html").read_text()
    assert "FROC (a), over the match IoU" in page
    assert "FROC (b), over the score" in page


def test_lesions_of_all_size_classes_are_all_lesions(numbers):
    classes = numbers["by_size"]["classes"]

    assert list(classes) == ["< 30 mm", "30-50 mm", ">= 50 mm"]
    assert sum(row["lesions"] for row in classes.values()) == numbers["counts"]["lesions"]


def test_institutions_and_facts_have_their_tables(numbers):
    assert list(numbers["by_institution"]) == ["inst-0", "inst-1", "inst-2"]
    assert set(numbers["by_fact"]["family"]) == {"", "ellipsoid", "plaque"}
    assert sum(row["scans"] for row in numbers["by_institution"].values()) == 16


def test_a_group_of_few_patients_has_no_interval(numbers):
    assert numbers["by_institution"]["inst-0"]["dice"]["low"] is None


def test_a_size_class_of_few_patients_has_no_interval_however_many_others_there_are(report):
    lone = assess_case(
        scan(), ball((30, 30, 40), 18), result((ball((30, 30, 40), 18), 1.0)), known=known(1)
    )
    small = [
        assess_case(scan(), ball((30, 30, 40), 9), Result(), known=known(n)) for n in range(2, 12)
    ]

    classes = document_of(evaluation(lone, *small))["by_size"]["classes"]

    assert classes["30-50 mm"]["lesions"] == 1
    for figure in ("sensitivity", "dice"):
        found = classes["30-50 mm"][figure]
        assert (found["estimate"], found["low"], found["high"]) == (1.0, None, None)
        assert classes["< 30 mm"][figure]["low"] is not None
    page = (report / "report.html").read_text()
    assert "(-): fewer than 8 patients count, too few for an interval" in page
    assert re.search(r"<td>\d\.\d\d \(-\)</td>", page)


def test_the_share_of_tumour_free_cts_is_the_one_counted(report, numbers):
    assert numbers["counts"]["tumor_free_share"] == 4 / 16
    assert "4 tumour-free (25.0 %)." in (report / "report.html").read_text()


def test_the_report_says_what_was_evaluated_on_what(numbers):
    assert numbers["plugin"]["name"] == "anterior_mediastinal_tumor"
    assert numbers["plugin"]["digest"] == "b" * 64
    assert numbers["plugin"]["weights_sha256"] == {"model.safetensors": "a" * 64}
    assert numbers["data"]["cohort_sha256"] == "c" * 64
    assert numbers["bootstrap"] == {
        "unit": "patient",
        "method": "percentile",
        "runs": 200,
        "seed": 0,
    }


def test_the_first_line_of_a_report_on_phantoms_says_that_they_prove_no_clinical_quality(report):
    body = (report / "report.html").read_text().split("<body>", 1)[1]

    first = re.sub("<[^>]*>", "", body.strip().splitlines()[0])
    assert first.startswith("Synthetic phantoms")
    assert "nothing about clinical quality" in first


def test_figures_of_the_paper_are_named_as_the_papers_and_never_ours(report, numbers):
    page = (report / "report.html").read_text()

    assert "the paper's own figure: other data, not ours" in page.replace("&#x27;", "'")
    assert "The paper has no tumour-free CTs." in page
    assert numbers["reference"]["figures"]["dice"] == 0.82
    assert 0.82 not in [numbers[key] for key in ("dice", "sensitivity")]


class Tags(HTMLParser):
    def __init__(self):
        super().__init__()
        self.open, self.links = [], []

    def handle_starttag(self, tag, attrs):
        if tag not in {"meta", "img", "br"}:
            self.open.append(tag)
        self.links += [v for k, v in attrs if k in {"src", "href", "srcset"}]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_the_page_is_one_file_without_script_or_network(report):
    page = (report / "report.html").read_text()
    tags = Tags()
    tags.feed(page)

    assert tags.open == []
    assert "<script" not in page
    assert "Anterior mediastinal tumour &lt;test&gt;" in page
    assert len(tags.links) == 8
    assert all(link.startswith("data:image/png;base64,") for link in tags.links)


def test_every_picture_is_a_file_of_its_own_too(report):
    names = {path.name for path in report.glob("*.png")}

    assert {"froc-match-iou.png", "froc-score.png", "dice-by-size.png"} <= names
    assert {"dice-histogram.png", "worst.png", "best.png", "false-positives.png"} <= names


def test_nothing_else_in_the_folder_is_touched(tmp_path):
    (tmp_path / "mine.png").write_bytes(b"mine")
    write_report(tmp_path, evaluation(tumor_case(1), free_case(2, false=True)))
    assert (tmp_path / "false-positives.png").exists()

    write_report(tmp_path, evaluation(tumor_case(1)))

    assert (tmp_path / "mine.png").read_bytes() == b"mine"
    assert not (tmp_path / "false-positives.png").exists()


def test_a_collapsed_model_is_reported_as_one(tmp_path):
    truth = ball((30, 30, 40), 12)
    cases = [assess_case(scan(), truth, Result(), known=known(n)) for n in range(3)]

    why = "Collapsed: its masks are empty in all 3 cases that have a region."
    document = write_report(tmp_path, evaluation(*cases, free_case(9), collapsed=why))

    assert (document["collapsed"], document["collapsed_reason"]) == (True, why)
    assert (document["dice"], document["sensitivity"], document["fp_per_scan"]) == (0, 0, 0)
    assert document["baseline_dice"] is None
    assert f"{why} This is no result." in (tmp_path / "report.html").read_text()


@pytest.mark.parametrize("estimate", [1.0, 0.0])
def test_when_all_or_none_are_found_the_interval_is_no_point(estimate):
    def case(number):
        truth = ball((30, 25 + number, 40), 12)
        said = truth if estimate else ball((30, 50, 75), 4)
        return assess_case(scan(truth), truth, result((said, 1.0)), known=known(number))

    cases = [case(n) for n in range(10)]

    document = document_of(evaluation(*cases))

    patients = wilson(round(10 * estimate), 10)
    found = document["intervals"]["sensitivity"]
    assert (found["estimate"], found["low"], found["high"]) == (
        estimate,
        patients.low,
        patients.high,
    )
    point = document["froc_over_match_iou"]["points"][0]["intervals"]["sensitivity"]
    assert point["estimate"] not in (0.0, 1.0) or point["low"] < point["high"]
    sizes = [row["sensitivity"] for row in document["by_size"]["classes"].values()]
    assert all(one["low"] is None or one["low"] < one["high"] for one in sizes)
    few = document_of(evaluation(*cases[:5]))["intervals"]["sensitivity"]
    assert (few["low"], few["high"]) == (None, None)


def test_controls_alone_with_no_finding_are_no_collapse(tmp_path):
    document = write_report(tmp_path, evaluation(*(free_case(n) for n in range(3))))

    assert document["collapsed"] is False
    assert document["dice"] is None
    assert document["sensitivity"] is None
    assert document["fp_per_tumor_free_scan"] == 0.0


def test_without_controls_there_is_no_figure_for_them():
    document = document_of(evaluation(tumor_case(1), tumor_case(2)))

    assert document["fp_per_tumor_free_scan"] is None


def test_a_report_of_nothing_is_refused(tmp_path):
    with pytest.raises(LearningError, match="no case"):
        write_report(tmp_path, evaluation())


def test_data_of_patients_get_another_first_line(tmp_path):
    case = tumor_case(1)
    write_report(tmp_path, evaluation(case, data=DataSource(kind="folder")))

    page = (tmp_path / "report.html").read_text()
    assert "Synthetic phantoms" not in page
    assert "Research use only" in page


def test_the_same_evaluation_gives_the_same_numbers():
    cases = [tumor_case(n) for n in range(9)]

    assert document_of(evaluation(*cases)) == document_of(evaluation(*cases))


def test_volume_and_diameter_of_a_lesion_are_in_ml_and_mm():
    truth = ball((30, 30, 40), 14)

    case = assess_case(scan(), truth, Result(), known=known(1))

    assert case.lesions[0].volume_ml == pytest.approx(truth.sum() * VOXEL_ML)
    assert case.lesions[0].diameter_mm == pytest.approx(28, abs=1.0)


def test_a_component_has_the_score_of_its_finding_and_one_without_any():
    found, other = ball((30, 20, 20), 6), ball((30, 40, 65), 6)
    both = result((other, 0.25), (found, 0.75))

    case = assess_case(scan(), found, both, known=known(1))
    bare = assess_case(scan(), found, Result(segments=both.segments), known=known(1))

    by_component = {p.component for p in case.match.pairs}
    assert [case.components[i].score for i in by_component] == [0.75]
    assert sorted(c.score for c in case.components) == [0.25, 0.75]
    assert {c.score for c in bare.components} == {1.0}


def test_only_the_named_segment_is_compared():
    truth = ball((30, 30, 40), 12)
    said = Result(
        segments=(
            Segment(name="tumor", mask=truth.astype(np.uint8), role="ct"),
            Segment(name="organ", mask=np.ones(SHAPE, bool), role="ct"),
        )
    )

    assert assess_case(scan(), truth, said, known=known(1), segment="tumor").overlap.dice == 1.0
    assert assess_case(scan(), truth, said, known=known(1)).overlap.dice < 0.5


@pytest.mark.parametrize("where", ["segment", "baseline"])
def test_a_mask_on_another_grid_is_refused(where):
    truth, small = ball((30, 30, 40), 12), np.ones((2, 3, 4), bool)
    said = result((small, 1.0)) if where == "segment" else Result()
    rules = {"threshold": small} if where == "baseline" else {}

    with pytest.raises(LearningError, match=where):
        assess_case(scan(), truth, said, known=known(1), baselines=rules)


def test_the_picture_shows_the_slice_with_most_of_the_reference():
    truth = ball((28, 30, 40), 12)

    case = assess_case(scan(truth), truth, result((truth, 1.0)), known=known(1))

    assert case.picture is not None
    assert case.picture.slice_index == 7
    assert case.picture.pixel_mm == (1.25, 1.5)
    assert case.picture.truth.sum() == truth[7].sum()
    assert case.picture.grey.shape == case.picture.prediction.shape


def test_nothing_to_see_is_no_picture():
    assert free_case(1).picture is None


def test_the_papers_figures_are_read_from_a_file_beside_the_manifest(tmp_path):
    path = tmp_path / "paper.toml"
    path.write_text('source = "S"\ndata = "D"\nnotes = ["N"]\n[figures]\ndice = 0.82\n')

    expected = Reference(source="S", data="D", notes=("N",), figures={"dice": 0.82})
    assert read_reference(path) == expected
    assert read_reference(tmp_path / "absent.toml") is None


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ('source = "S"\n[figures]\ndise = 0.8\n', "did you mean 'dice'"),
        ('source = "S"\n[figures]\ndice = "good"\n', "must be a number"),
        ("[figures]\ndice = 0.8\n", "whose figures"),
        ('sauce = "S"\n', "did you mean 'source'"),
        ("source = \n", "paper.toml"),
    ],
)
def test_a_file_of_figures_that_says_something_else_is_refused(tmp_path, text, sentence):
    path = tmp_path / "paper.toml"
    path.write_text(text)

    with pytest.raises(LearningError, match=re.escape(sentence)):
        read_reference(path)
