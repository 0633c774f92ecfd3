"""The report of a classifier: figures, truth, changes, headers, pictures, what is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from node.errors import LearningError
from node.manifest import EvaluationSpec, Goal, Manifest, MeasuredGroups
from node.model import Grade
from node.plugin import Case, Labels, Map, Measurement, Result, Roi, Volume
from node.toolkit.auroc import auroc, auroc_interval
from node.toolkit.logistic import sigmoid
from node.training.report import (
    Change,
    Classification,
    ClassifiedCase,
    DataSource,
    Known,
    Scan,
    classify_case,
    paired,
    read_reference,
    write_report,
)
from node.training.report.changes import headers_of
from node.training.report.classified_figures import classification_document

SPEC = EvaluationSpec(
    probability="p",
    outcome="sick",
    also=("p_small",),
    factors=("size", "area"),
    time="months",
    event="back",
)
SHAPE = (4, 30, 30)


def drawn(count=160, seed=0):
    """Cases of a known law: log-odds 1.6 size + 1.0 area; the model sees both, noisily."""
    rng = np.random.default_rng(seed)
    size, area = rng.normal(0, 1, (2, count))
    law = sigmoid(1.6 * size + 1.0 * area)
    sick = rng.random(count) < law
    model = sigmoid(1.4 * size + 0.9 * area + rng.normal(0, 0.4, count))
    months = rng.exponential(30 / np.exp(0.9 * sick))
    stop = rng.uniform(6, 60, count)
    return [
        ClassifiedCase(
            known=Known(
                patient=f"P{n:03}",
                institution=f"inst-{n % 3}",
                facts={"phase": "venous" if n % 2 else "arterial", "oracle": float(law[n])},
            ),
            finding=0,
            outcome=bool(sick[n]),
            said=float(model[n]),
            also={"p_small": float(sigmoid(size[n]))},
            measured={"p": float(model[n]), "size": float(size[n]), "area": float(area[n])},
            oracle=float(law[n]),
            rules={"size alone": float(-size[n]), "coin": float(rng.random())},
            time=float(min(months[n], stop[n])),
            event=bool(months[n] <= stop[n]),
        )
        for n in range(count)
    ]


def evaluation(cases, **more):
    manifest = Manifest(
        folder=Path("nowhere"),
        name="judge",
        version="1.0.0",
        title="Judge <test>",
        intended_use="",
        source="",
        grade=Grade.PHANTOM,
        inputs={},
        evaluation=SPEC,
    )
    base = Classification(
        manifest=manifest,
        spec=SPEC,
        cases=tuple(cases),
        data=DataSource(kind="phantom", description="tests", seed=7),
        date="2026-11-21T11:30:00Z",
        group_by=("phase",),
        bootstrap_runs=200,
    )
    return replace(base, **more)


@pytest.fixture(scope="module")
def cases():
    return drawn()


@pytest.fixture(scope="module")
def report(tmp_path_factory, cases):
    folder = tmp_path_factory.mktemp("report")
    write_report(folder, evaluation(cases, changes=changes(cases), **scans(cases)))
    return folder


@pytest.fixture(scope="module")
def numbers(report):
    return json.loads((report / "report.json").read_text())


def moved(case, law, said):
    return replace(case, oracle=case.oracle + law, said=min(1.0, max(0.0, case.said + said)))


def changes(cases):
    """A cause followed in 9 of 10, noise of 0.01, a contour that costs, a covered lesion."""
    rng = np.random.default_rng(1)
    followed = [(c, moved(c, -0.01, 0.02 if n % 10 == 0 else -0.02)) for n, c in enumerate(cases)]
    noise = [(c, moved(c, 0, float(rng.choice([-0.01, 0.01])))) for c in cases]
    worse = [(c, replace(c, said=float(0.5 * c.said + 0.5 * rng.random()))) for c in cases]
    swapped = [(c, replace(c, said=c.also["p_small"])) for c in cases]
    covered = [(c, replace(c, said=float(rng.random()))) for c in cases]
    return tuple(
        Change(name=name, kind=kind, pairs=tuple(pairs))
        for name, kind, pairs in (
            ("size mirrored", "cause", followed[:100]),
            ("noise", "nuisance", noise[:100]),
            ("contour shifted", "input", worse),
            ("lesion blanked", "blank", covered),
            ("area swapped", "swap", swapped),
        )
    )


def scans(cases):
    """Headers that tell the outcome as drawn, and nothing in the controls."""
    rng = np.random.default_rng(2)

    def scan(case, kernel):
        features = {"kernel": kernel, "spacing": float(rng.choice([0.7, 0.8])), "rows": 512.0}
        return Scan(patient=case.known.patient, outcome=case.outcome, features=features)

    told = [scan(c, "B30" if c.outcome ^ bool(rng.random() < 0.2) else "B40") for c in cases]
    return {
        "scans": tuple(told),
        "control_scans": tuple(scan(c, str(rng.choice(["B30", "B40"]))) for c in cases),
    }


def test_the_figures_asked_for_are_numbers_at_the_top(numbers, cases):
    p = np.array([case.said for case in cases])
    y = np.array([case.outcome for case in cases])
    keys = ("auroc", "oracle_auroc", "sensitivity", "specificity", "accuracy", "brier", "ece")

    assert all(isinstance(numbers[key], float) for key in keys)
    assert numbers["auroc"] == pytest.approx(auroc(p[y], p[~y]))
    assert numbers["auroc_below_oracle"] == numbers["oracle_auroc"] - numbers["auroc"]
    assert numbers["brier"] == pytest.approx(np.mean((p - y) ** 2))
    assert numbers["sensitivity"] == pytest.approx(np.mean(p[y] >= 0.5))
    expected = auroc_interval(p[y], p[~y])
    assert numbers["intervals"]["auroc"]["low"] == pytest.approx(expected.low)
    assert numbers["collapsed"] is False and numbers["synthetic"] is True
    goal = numbers["goals"]["auroc_below_oracle"]
    assert goal["goal"] == "<= 0.06" and goal["met"] == (goal["value"] <= 0.06)


def test_a_rule_that_points_the_other_way_is_turned_round(numbers):
    rule = numbers["baselines"]["size alone"]

    assert rule["turned"] is True and rule["auroc"]["estimate"] > 0.6
    assert numbers["best_baseline_auroc"] == rule["auroc"]["estimate"]
    gain = rule["model_minus_this"]["difference"]["estimate"]
    assert gain == pytest.approx(numbers["auroc_above_best_baseline"])


def test_other_probabilities_are_compared_on_the_same_cases(numbers):
    other = numbers["others"]["p_small"]["model_minus_this"]

    assert other["difference"]["estimate"] > 0 and 0 <= other["p_value"] <= 1


def test_factors_that_both_matter_are_both_found(numbers):
    found = numbers["factors"]["factors"]

    for name in ("size", "area"):
        assert found[name]["odds_ratio_per_standard_deviation"]["low"] > 1
        assert found[name]["p_value"] < 0.01


def test_survival_has_curves_test_and_hazard_ratios(numbers):
    survival = numbers["survival"]

    assert set(survival["curves"]) == {"negative", "positive"}
    assert survival["log_rank"]["degrees"] == 1
    called = survival["hazard_ratios"]["called_positive"]["called positive"]["estimate"]
    true = survival["hazard_ratios"]["true_outcome"]["true outcome"]["estimate"]
    assert 1 < called < true * 1.5 and survival["harrell_c"] > 0.5


def test_changes_have_their_figures_and_goals(numbers):
    found = numbers["changes"]

    cause = found["cause"]["size mirrored"]
    assert cause["pairs"] == 100 and cause["share"] == pytest.approx(0.9) and cause["met"]
    noise = found["nuisance"]["noise"]
    assert noise["median_change"] == pytest.approx(0.01, abs=1e-6) and noise["met"]
    worse = found["input"]["contour shifted"]
    assert worse["loss"] > 0.05 and not worse["met"] and "p_small" in worse["changed_minus_also"]
    assert found["blank"]["lesion blanked"]["met"]
    swap = found["swap"]["area swapped"]
    assert swap["gain_left"] == 0.0 and swap["met"] and swap["loss"] > 0
    assert swap["learned_swapped"] is None and numbers["gain_left"] == 0.0
    assert numbers["least_cause_share"] == cause["share"]
    assert numbers["greatest_nuisance_change"] == noise["median_change"]
    assert numbers["greatest_input_loss"] == worse["loss"]
    assert abs(numbers["blank_auroc"] - 0.5) < 0.15


@pytest.mark.parametrize(("noise", "met"), [(0.0, True), (0.5, False)])
def test_a_network_that_learned_with_exchanged_parts_must_end_beside_the_others(cases, noise, met):
    rng = np.random.default_rng(3)
    rows = [
        replace(c, also={**c.also, "p_exchanged": c.also["p_small"] + noise * rng.normal()})
        for c in cases
    ]
    # The model itself is misled: it ends far below what never saw the part.
    misled = [(c, replace(c, said=float(0.5 * c.said + 0.5 * rng.random()))) for c in rows]
    swap = Change(name="area swapped", kind="swap", pairs=tuple(misled))
    spec = replace(SPEC, also=("p_small", "p_exchanged"), swapped="p_exchanged")

    numbers = classification_document(evaluation(rows, changes=(swap,), spec=spec))

    found = numbers["changes"]["swap"]["area swapped"]
    assert found["gain_left"] < -0.02 and set(found["changed_minus_also"]) == {"p_small"}
    assert found["met"] is met
    assert numbers["gain_left"] == found["learned_swapped"]["gain_left"]


def test_the_gain_over_the_best_other_number_stands_on_top(numbers):
    found = numbers["others"]["p_small"]["model_minus_this"]["difference"]

    assert numbers["least_gain"] == found["estimate"]
    assert numbers["least_gain_low"] == found["low"] < found["estimate"]


def test_headers_that_tell_the_outcome_are_seen(numbers):
    drawn, controls = (numbers["headers"][name] for name in ("as_drawn", "controls"))

    assert drawn["auroc"]["estimate"] > 0.7 and not drawn["met"]
    assert controls["met"] and numbers["header_auroc"] == controls["auroc"]["estimate"]
    assert "rows" not in drawn["features"] and "kernel = B30" in drawn["features"]


def test_headers_of_chance_are_called_chance_as_often_as_the_goal_says(cases):
    met = []
    for seed in range(40):
        rng = np.random.default_rng(seed)
        rows = [
            Scan(
                patient=f"{n}",
                outcome=bool(rng.random() < 0.4),
                features={"a": float(rng.normal()), "b": str(rng.integers(4))},
            )
            for n in range(120)
        ]
        found = headers_of(evaluation(cases, control_scans=tuple(rows)))
        met.append(found["controls"]["met"])

    assert np.mean(met) >= 0.85  # 0.95 is meant


def test_groups_have_their_tables(numbers):
    assert set(numbers["by_institution"]) == {"inst-0", "inst-1", "inst-2"}
    assert sum(g["cases"] for g in numbers["by_fact"]["phase"].values()) == 160


def test_each_group_stands_beside_the_law_of_that_group(numbers, cases):
    rows = [case for case in cases if case.known.facts["phase"] == "venous"]
    law, p = (np.array([getattr(r, name) for r in rows]) for name in ("oracle", "said"))
    y = np.array([row.outcome for row in rows])

    found = numbers["by_fact"]["phase"]["venous"]

    assert found["oracle_auroc"]["estimate"] == pytest.approx(auroc(law[y], law[~y]))
    below = auroc(law[y], law[~y]) - auroc(p[y], p[~y])
    assert found["auroc_below_oracle"] == pytest.approx(below)
    assert found["model_minus_oracle"]["difference"]["estimate"] == pytest.approx(-below)


def test_groups_by_a_measured_number_need_no_fact(cases, tmp_path):
    groups = MeasuredGroups(measurement="size", cuts=(-0.5, 0.5), unit="mm")
    goal = Goal(figure="greatest_group_below_oracle", greatest=0.1)
    spec = replace(SPEC, groups=(groups,), goals=(goal,))
    rows = [replace(cases[0], measured={}), *cases[1:]]

    numbers = write_report(tmp_path, evaluation(rows, spec=spec))

    found = numbers["by_measurement"]["size"]
    assert list(found) == ["<= -0.5 mm", "> -0.5 to 0.5 mm", "> 0.5 mm", ""]
    small = sum(case.measured["size"] <= -0.5 for case in rows[1:])
    assert found["<= -0.5 mm"]["cases"] == small and found[""]["cases"] == 1
    worst = max(one["auroc_below_oracle"] for name, one in found.items() if name)
    assert numbers["greatest_group_below_oracle"] == pytest.approx(worst)
    assert numbers["goals"]["greatest_group_below_oracle"]["met"] is (worst <= 0.1)
    page = (tmp_path / "report.html").read_text()
    assert "By size" in page and "&gt; -0.5 to 0.5 mm" in page and "AUROC of the law" in page


def test_measured_groups_of_patients_have_no_law(cases):
    groups = MeasuredGroups(measurement="size", cuts=(0.0,), unit="1")
    rows = [replace(case, oracle=None) for case in cases]

    numbers = classification_document(evaluation(rows, spec=replace(SPEC, groups=(groups,))))

    assert list(numbers["by_measurement"]["size"]) == ["<= 0", "> 0"]
    assert "oracle_auroc" not in numbers["by_measurement"]["size"]["> 0"]
    assert numbers["greatest_group_below_oracle"] is None


def test_a_second_probability_is_set_against_its_own_law_and_must_be_better(cases, tmp_path):
    rng = np.random.default_rng(5)
    full = [float(sigmoid(5 * c.outcome - 2.5 + 1.5 * rng.normal())) for c in cases]
    rows = [
        replace(
            c,
            known=replace(c.known, facts={**c.known.facts, "law of all": law}),
            also={"p_all": float(np.clip(law + rng.normal(0, 0.15), 0, 1))},
        )
        for c, law in zip(cases, full, strict=True)
    ]
    spec = replace(SPEC, also=("p_all",), better=("p_all",), laws=(("p_all", "law of all"),))

    numbers = write_report(tmp_path, evaluation(rows, spec=spec))

    found = numbers["others"]["p_all"]
    assert found["oracle_auroc"]["estimate"] > found["auroc"]["estimate"] > numbers["auroc"]
    gap = found["oracle_auroc"]["estimate"] - found["auroc"]["estimate"]
    assert found["auroc_below_oracle"] == pytest.approx(gap)
    assert found["this_minus_oracle"]["difference"]["high"] > -gap
    more = found["model_minus_this"]["difference"]
    assert numbers["least_better"] == pytest.approx(-more["estimate"])
    assert numbers["least_better_low"] == pytest.approx(-more["high"])
    assert numbers["goals"]["least_better_low"]["met"] is True
    assert "least_gain" not in numbers
    assert "AUROC of its law" in (tmp_path / "report.html").read_text()


@pytest.mark.parametrize(
    ("kept", "enrichment", "met"),
    [(2, 4.0, True), (2, float("inf"), True), (1, 2.9, False), (0, float("nan"), False)],
)
def test_planted_causes_have_figures_and_goals(cases, tmp_path, kept, enrichment, met):
    planted = {
        **{"families": 2, "families_kept": kept, "share": kept / 2},
        **{"share_causal": 0.2, "share_null": 0.0, "enrichment": enrichment},
    }
    whole = {**planted, "families_kept": 2, "share": 1.0, "enrichment": float("inf")}
    signature = {
        **{"name": "one", "classifier": "logistic", "given": {}, "threshold": 0.5, "counts": {}},
        **{"kept": [], "holds_patients": False, "notes": []},
        "planted": {"radiomic": planted, "other": whole},
    }
    goals = (
        Goal(figure="planted_share", least=0.8),
        Goal(figure="planted_enrichment", least=3.0),
    )
    spec = replace(SPEC, goals=goals)

    numbers = write_report(tmp_path, evaluation(cases, spec=spec, signatures=(signature,)))

    assert numbers["planted_share"] == kept / 2
    finite = enrichment if np.isfinite(enrichment) else None
    assert numbers["planted_enrichment"] == finite
    assert {one["met"] for one in numbers["goals"].values()} == {met}
    assert "planted causes" in (tmp_path / "report.html").read_text()


def test_goals_are_those_of_the_manifest(cases):
    goals = (
        Goal(figure="auroc_below_oracle", greatest=-1.0),
        Goal(figure="least_gain", least=-0.5),
        Goal(figure="least_gain_low", least=0.9),
    )

    found = classification_document(evaluation(cases, spec=replace(SPEC, goals=goals)))["goals"]

    assert {name: one["met"] for name, one in found.items()} == {
        "auroc_below_oracle": False,
        "least_gain": True,
        "least_gain_low": False,
    }
    assert found["auroc_below_oracle"]["goal"] == "<= -1"


def test_the_page_says_what_must_be_said(report, numbers):
    page = (report / "report.html").read_text()

    assert "Synthetic phantoms" in page and "Judge &lt;test&gt;" in page
    assert "<script" not in page and "not met" in page and "&lt; 0.001" in page
    pictures = {path.name for path in report.glob("*.png")}
    assert pictures >= {"roc.png", "calibration.png", "decision-curve.png", "survival.png"}
    assert pictures >= {"worst-missed.png", "worst-alarms.png"}
    assert page.count("data:image/png") == len(pictures)


def test_a_case_without_an_answer_counts_as_wrong(cases):
    silent = [replace(c, said=None) if n < 8 else c for n, c in enumerate(cases)]

    found = classification_document(evaluation(silent))

    assert found["counts"]["without_answer"] == 8
    assert found["auroc"] < classification_document(evaluation(cases))["auroc"]
    assert found["cases"][0]["probability"] is None
    assert found["cases"][0]["counted_as"] == (0.0 if cases[0].outcome else 1.0)


def test_a_constant_probability_is_reported_as_a_collapse(cases):
    why = "Collapsed: `p` is 0.43 in all 160 cases."
    alike = [replace(c, said=0.43) for c in cases]
    found = classification_document(evaluation(alike, collapsed=why))

    assert (found["collapsed"], found["collapsed_reason"]) == (True, why)
    assert found["auroc"] == 0.5
    interval = found["intervals"]["auroc"]
    assert (interval["low"], interval["high"]) == (None, None)  # (-) on the page, not 0.5 to 0.5


@pytest.mark.parametrize(
    ("some", "sentence"),
    [(lambda c: c.outcome, "have the outcome `sick`"), (lambda c: False, "nothing to report")],
)
def test_cases_that_cannot_be_judged_are_refused(cases, some, sentence):
    with pytest.raises(LearningError, match=sentence):
        classification_document(evaluation([c for c in cases if some(c)]))


def test_nodes_of_one_patient_make_nothing_surer(cases):
    once = classification_document(evaluation(cases))
    again = [replace(c, finding=f) for c in cases for f in (1, 2)]

    twice = classification_document(evaluation(again))

    for key in ("auroc", "sensitivity", "brier"):
        one, two = (d["intervals"][key] for d in (once, twice))
        assert two["estimate"] == pytest.approx(one["estimate"])
        assert two["high"] - two["low"] > 0.8 * (one["high"] - one["low"])
    assert twice["survival"] is None  # a patient has one survival, not one for each node


def test_two_reports_are_compared_case_by_case(tmp_path, cases):
    small = [replace(c, said=c.also["p_small"]) for c in cases]
    for name, some in (("a", cases), ("b", small), ("c", cases[1:])):
        write_report(tmp_path / name, evaluation(some))
    first, second, third = (tmp_path / name / "report.json" for name in "abc")

    found = paired(first, second)

    numbers = json.loads(first.read_text())["others"]["p_small"]["model_minus_this"]
    assert found.difference.estimate == pytest.approx(numbers["difference"]["estimate"])
    assert found.p_value == pytest.approx(numbers["p_value"])
    with pytest.raises(LearningError, match="not of the same cases"):
        paired(first, third)


# --- one case --------------------------------------------------------------------------------


def judged(values, measurements, *, facts=None, scores=None, rois=1, maps=()):
    affine = np.diag([1.0, 1.0, 3.0, 1.0])[:, [2, 1, 0, 3]]
    array = np.random.default_rng(0).normal(0, 10, SHAPE).astype(np.float32)
    masks = np.zeros((rois, *SHAPE), bool)
    for n in range(rois):
        masks[n, n + 1, 8:14, 9:16] = True
    case = Case(
        volumes={"ct": Volume(array=array, affine=affine, unit="[hnsf'U]", modality="CT")},
        rois={"node": tuple(Roi(mask=mask, role="ct") for mask in masks)},
    )
    result = Result(
        measurements=tuple(
            Measurement(name=n, value=v, segment=s, finding=f) for n, v, s, f in measurements
        ),
        maps=maps,
    )
    return classify_case(
        case,
        Labels(values=values),
        result,
        known=Known(patient="P1", facts=facts or {}),
        spec=replace(SPEC, scale=100.0),
        scores=scores,
    )


def test_percent_become_shares_and_the_studys_own_number_goes_before_the_greatest():
    (one,) = judged(
        {"sick": "Yes", "months": 12.0, "back": 1.0},
        [("p", 70.0, None, 1), ("p", 90.0, "node", 1), ("p", 40.0, "node", 2)],
        facts={"oracle": 0.8},
        scores={"size": np.array(3.0), "mask": np.zeros(SHAPE)},
    )

    assert one.outcome and one.said == 0.7 and one.oracle == 0.8
    assert one.rules == {"size": 3.0} and (one.time, one.event) == (12.0, True)
    (two,) = judged({"sick": "no"}, [("p", 90.0, "node", 1), ("p", 40.0, "node", 2)])
    assert not two.outcome and two.said == 0.9


def test_each_node_has_its_truth_its_number_and_its_picture():
    first, second = judged(
        {"sick_1": "no", "sick_2": "yes"},
        [("p", 20.0, "node", 1), ("p", 80.0, "node", 2)],
        facts={"oracle_1": 0.1, "oracle_2": 0.9, "bean_2": True, "phase": "venous"},
        scores={"size": np.array([1.0, 2.0]), "whole": np.array(5.0)},
        rois=2,
    )

    assert (first.outcome, first.said, first.oracle) == (False, 0.2, 0.1)
    assert (second.outcome, second.said, second.oracle) == (True, 0.8, 0.9)
    assert second.rules == {"size": 2.0} and second.name == "P1 finding 2"
    assert second.known.facts == {"oracle": 0.9, "bean": True, "phase": "venous"}
    assert first.known.facts == {"oracle": 0.1, "phase": "venous"}
    assert (first.picture.slice_index, second.picture.slice_index) == (1, 2)


def test_a_plugin_that_failed_said_nothing():
    (one,) = judged({"sick": 1.0}, [])

    assert one.said is None and one.probability == 0.0


def test_a_map_of_the_plugin_is_in_the_picture():
    heat = np.zeros(SHAPE, np.float32)
    heat[1, 10, 10] = 4.0

    (one,) = judged({"sick": "no"}, [], maps=(Map(name="cam", array=heat, role="ct"),))

    assert one.picture.heat.max() == 1.0 and one.picture.heat.shape == one.picture.grey.shape


@pytest.mark.parametrize(
    ("values", "sentence"),
    [({"sik": "yes"}, "P1 has no label `sick`"), ({"sick": 3.0}, "= 3.0 is a number")],
)
def test_labels_that_say_nothing_are_refused(values, sentence):
    with pytest.raises(LearningError, match=sentence):
        judged(values, [])


def test_the_papers_own_auroc_is_read(tmp_path):
    (tmp_path / "paper.toml").write_text('source = "x"\n[figures]\nauroc = 0.968\naccuracy = 0.9\n')

    assert read_reference(tmp_path / "paper.toml").figures["auroc"] == 0.968
