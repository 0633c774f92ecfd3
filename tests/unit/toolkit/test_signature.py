"""Signatures: what is kept, what they say, how they are judged, and leaks that are caught."""

from __future__ import annotations

import json
import warnings
from dataclasses import replace

import numpy as np
import pytest

from node.errors import LearningError, ManifestError
from node.toolkit.auroc import auroc
from node.toolkit.operating import confusion
from node.toolkit.signature import (
    Block,
    Cases,
    Kept,
    Signature,
    SignatureSettings,
    Table,
    check_blind,
    check_folds,
    check_settings,
    compare_classifiers,
    cross_validated,
    enrichment,
    fit_signature,
    nested_auroc,
    permutation_aurocs,
    settings_array,
    table_of,
)
from node.toolkit.signature.calibrated import calibrate
from node.toolkit.signature.fitting import Desk
from node.toolkit.signature.folds import folds_of, scaling_of
from node.toolkit.signature.judging import outer_folds
from node.toolkit.signature.selection import icc, lasso, mann_whitney, settling, uncorrelated
from node.toolkit.signature.shown import unlike_words
from tests.unit.toolkit.signature_cases import cases, joined

pytest.importorskip("sklearn", reason="scikit-learn is not installed")

CLINICAL = {"clinical": ("n",)}
QUICK = SignatureSettings(inner_folds=3, outer_folds=3, lasso_folds=4)


def truth_of(outcome, patients=None):
    """Return who had the outcome; nothing else is known of the cases."""
    return Cases(table_of([{"x": [0.0]}] * len(outcome), {"x": ["x"]}), outcome, patients).truth(0)


# --- what is kept ----------------------------------------------------------------------------


def test_causes_are_kept_with_their_coefficients():
    table, outcome = cases(160, effect=1.5)

    made = fit_signature(Cases(table, outcome), QUICK)

    found = {one.name: one for one in made.kept}
    assert {"cause_0", "cause_1", "cause_2"} <= set(found)
    assert all(found[f"cause_{i}"].coefficient > 0.03 for i in range(3))
    assert found["cause_0"].mean == pytest.approx(30 + 7 * 0.75, abs=2)
    counts = made.counts["radiomic"]
    assert list(counts) == [
        *("offered", "not_constant", "two_readers", "one_by_one", "in_pairs", "kept")
    ]
    assert counts["offered"] == 28 and counts["kept"] == len(made.kept) < counts["offered"]


def test_a_constant_feature_is_left_out_whatever_its_value():
    table, outcome = cases(60, null=3)
    block = table.blocks["radiomic"]
    flat = np.full((60, 1), 0.1)
    wide = Block(names=(*block.names, "flat"), values=np.hstack([block.values, flat]))

    made = fit_signature(Cases(Table(blocks={"radiomic": wide}), outcome), QUICK)

    assert "flat" not in [one.name for one in made.kept]
    assert made.counts["radiomic"]["not_constant"] == 6


def test_features_that_two_readers_do_not_agree_on_are_left_out():
    table, outcome = cases(100, causal=4, null=0, effect=2.0)
    block = table.blocks["radiomic"]
    chance = np.random.default_rng(5)
    second = block.values + chance.normal(0, 0.5, block.values.shape)
    second[:, 1] = chance.permutation(second[:, 1])
    second[60:] = np.nan  # outlined once
    twice = Table(blocks={"radiomic": replace(block, second=second)})

    made = fit_signature(Cases(twice, outcome), QUICK)

    assert made.counts["radiomic"]["two_readers"] == 3
    assert "cause_1" not in [one.name for one in made.kept]


def test_too_few_cases_of_a_second_reader_are_said():
    table, outcome = cases(60, null=2)
    block = table.blocks["radiomic"]
    second = np.full(block.values.shape, np.nan)
    second[:4] = block.values[:4]

    twice = Table(blocks={"radiomic": replace(block, second=second)})
    made = fit_signature(Cases(twice, outcome), QUICK)

    assert any("outlined by two readers" in note for note in made.notes)


def test_icc_is_that_of_shrout_and_fleiss():
    # Judges 1 and 4 of their table 2, worked out by hand from the mean squares.
    first, second = np.array([9.0, 6, 8, 7, 10, 6]), np.array([8.0, 2, 6, 5, 9, 4])[::1]
    n = 6
    both = np.stack([first, second], axis=1)
    rows = 2 * ((both.mean(axis=1) - both.mean()) ** 2).sum() / (n - 1)
    columns = n * ((both.mean(axis=0) - both.mean()) ** 2).sum()
    total = ((both - both.mean()) ** 2).sum()
    error = (total - rows * (n - 1) - columns) / (n - 1)
    wanted = (rows - error) / (rows + error + 2 * (columns - error) / n)

    assert icc(first[:, None], second[:, None])[0] == pytest.approx(wanted, abs=1e-12)
    assert icc(first[:, None], first[:, None] + 3)[0] < 1  # absolute agreement


def test_icc_of_all_four_judges_in_pairs_lies_around_the_published_one():
    judges = np.array(
        [[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7.0]]
    )
    pairs = [icc(judges[:, [a]], judges[:, [b]])[0] for a in range(4) for b in range(a)]
    assert min(pairs) < 0.29 < max(pairs)  # ICC(2,1) = 0.29 in the paper


def test_nothing_seen_is_no_agreement():
    assert icc(np.ones((5, 1)), np.ones((5, 1))).tolist() == [0.0]


def test_mann_whitney_is_vectorised_and_scipys():
    from scipy.stats import mannwhitneyu

    table, outcome = cases(50, null=4)
    values = np.round(table.blocks["radiomic"].values)
    wanted = [
        mannwhitneyu(one[outcome], one[~outcome], method="asymptotic").pvalue for one in values.T
    ]
    assert mann_whitney(values, outcome) == pytest.approx(wanted, rel=1e-12)
    assert mann_whitney(values[:, :0], outcome).size == 0


def test_of_two_alike_features_the_one_with_the_smaller_p_stays():
    chance = np.random.default_rng(0)
    first = chance.normal(0, 1, 80)
    alike, other = np.exp(first) + chance.normal(0, 1e-3, 80), chance.normal(0, 1, 80)
    values = np.stack([first, alike, other], axis=1)

    assert sorted(uncorrelated(values, np.array([0.03, 0.001, 0.04]), 0.9)) == [1, 2]
    assert sorted(uncorrelated(values, np.array([0.001, 0.03, 0.04]), 0.9)) == [0, 2]
    assert sorted(uncorrelated(values, np.array([0.001, 0.03, 0.04]), 1.0)) == [0, 1, 2]


def test_one_standard_error_keeps_no_more_than_the_least_error():
    table, outcome = cases(120, effect=0.8)
    truth = truth_of(outcome)
    values = table.blocks["radiomic"].values
    mean, deviation = scaling_of(values)
    kept = [
        np.count_nonzero(
            lasso((values - mean) / deviation, truth, SignatureSettings(rule=rule), [])
        )
        for rule in ("1se", "min")
    ]
    assert 0 < kept[0] < kept[1]


def test_where_lasso_keeps_nothing_one_feature_is_taken_and_that_is_said():
    table, outcome = cases(80, causal=0, null=4, seed=3)

    made = fit_signature(Cases(table, outcome), replace(QUICK, univariate_p=0.0))

    assert len(made.kept) == 1
    assert any("LASSO kept nothing" in note for note in made.notes)


def test_a_clinical_block_is_kept_whole():
    table, outcome = cases(80)
    stage = Block(names=("stage", "age"), values=np.random.default_rng(1).normal(0, 1, (80, 2)))
    both = Table(blocks={**table.blocks, "clinical": stage})

    made = fit_signature(Cases(both, outcome), replace(QUICK, whole=("clinical",)))

    assert [one.name for one in made.kept if one.block == "clinical"] == ["stage", "age"]
    assert np.isnan(made.kept[-1].coefficient)


def test_what_is_not_known_counts_as_the_mean_of_those_learned_from():
    table, outcome = cases(60, null=2)
    chance = np.random.default_rng(1)
    age = chance.normal(60, 5, (60, 1)) + 5 * outcome[:, None]
    age[chance.random(60) < 0.3] = np.nan
    with pytest.raises(ValueError, match="feature age is not finite"):
        Block(names=("age",), values=age)
    block = Block(names=("age",), values=age, lacking=True)
    both = Table(blocks={**table.blocks, "clinical": block})
    settings = replace(QUICK, whole=("clinical",))

    made = fit_signature(Cases(both, outcome), settings)

    (kept,) = [one for one in made.kept if one.block == "clinical"]
    assert kept.mean == pytest.approx(np.nanmean(age))
    mean = replace(block, values=np.where(np.isnan(age), kept.mean, age))
    filled = Table(blocks={**table.blocks, "clinical": mean})
    assert made.probability(both) == pytest.approx(made.probability(filled), abs=1e-12)
    assert nested_auroc(Cases(both, outcome), settings).auroc.estimate > 0.7  # its guard too
    with pytest.raises(ValueError, match="must be kept whole"):
        fit_signature(Cases(both, outcome), QUICK)


def test_other_warnings_go_on_their_way():
    from sklearn.exceptions import ConvergenceWarning

    notes: list[str] = []
    with pytest.warns(UserWarning, match="something else"), settling("It", notes):
        warnings.warn("did not converge", ConvergenceWarning, stacklevel=1)
        warnings.warn("something else", UserWarning, stacklevel=1)
    assert notes == ["It was stopped before it had settled"]


# --- what it says ----------------------------------------------------------------------------


def test_its_probability_is_calibrated_on_cases_it_did_not_learn_from():
    table, outcome = cases(300, effect=0.8)
    new, truth = cases(600, effect=0.8, seed=9)

    made = fit_signature(Cases(table, outcome), replace(QUICK, classifier="random_forest"))
    p = made.probability(new)

    for low, high in ((0.0, 0.3), (0.3, 0.7), (0.7, 1.0)):
        here = (p >= low) & (p < high)
        assert truth[here].mean() == pytest.approx(p[here].mean(), abs=0.12)
    assert confusion(p, truth, made.threshold).accuracy.estimate > 0.65


def test_the_interval_holds_the_share_of_patients_with_that_score():
    """The truth is a line on the log-odds, so that what the interval should hold is known."""
    held, runs = 0, 400
    at = np.array([0.3])
    from node.toolkit.logistic import log_odds_of, sigmoid
    from node.toolkit.signature.calibrated import drawn_in

    wanted = sigmoid(0.8 * log_odds_of(drawn_in(at)) - 0.2)[0]
    for seed in range(runs):
        chance = np.random.default_rng(seed)
        score = chance.uniform(0.02, 0.98, 150)
        outcome = chance.random(150) < sigmoid(0.8 * log_odds_of(drawn_in(score)) - 0.2)
        found = calibrate(score, truth_of(outcome), [])
        low, high = found.interval(at)
        held += low[0] <= wanted <= high[0]
    assert 0.92 <= held / runs <= 0.98


def test_patients_with_several_cases_make_the_interval_wider():
    chance = np.random.default_rng(0)
    score = np.repeat(chance.random(60), 4)
    outcome = np.repeat(chance.random(60) < 0.5, 4)
    alone = calibrate(score, truth_of(outcome), []).covariance
    several = calibrate(score, truth_of(outcome, np.repeat(np.arange(60), 4)), []).covariance
    assert several[1, 1] > 2 * alone[1, 1]


def test_scores_the_wrong_way_round_are_not_turned():
    outcome = np.arange(40) % 2 == 0
    score = np.where(outcome, 0.2, 0.8) + np.random.default_rng(0).normal(0, 0.05, 40)
    notes: list[str] = []

    found = calibrate(score, truth_of(outcome), notes)

    assert found.probability(np.array([0.1, 0.9])) == pytest.approx([0.5, 0.5])
    assert notes and "nothing was learned" in notes[0]


def test_the_number_of_workers_changes_nothing():
    table, outcome = cases(60, null=5)
    settings = replace(QUICK, classifier="random_forest", inner_folds=2)

    one, two = (fit_signature(Cases(table, outcome), settings, workers=n) for n in (1, 2))

    assert one.kept == two.kept
    assert np.array_equal(one.probability(table), two.probability(table))


def test_a_classifier_may_take_the_score_of_each_block_besides():
    """The sum that LASSO found of each block; none of a block that it did not look through."""
    table, outcome = cases(90)
    deep, _ = cases(90, seed=3, name="deep")
    clinical = Block(names=("stage",), values=np.arange(90.0)[:, None] % 4)
    table = joined(table, deep, Table(blocks={"clinical": clinical}))
    how = replace(QUICK, whole=("clinical",), classifier="random_forest")

    plain = fit_signature(Cases(table, outcome), how)
    found = fit_signature(Cases(table, outcome), replace(how, scores=True))

    assert [one.name for one in found.kept] == [one.name for one in plain.kept]
    scaled, taken = found.scaled(table), found.taken(table)
    assert np.array_equal(plain.taken(table), scaled)
    assert np.array_equal(taken[:, : len(found.kept)], scaled)
    blocks = (
        ("radiomic", "deep") if any(one.block == "deep" for one in found.kept) else ("radiomic",)
    )
    for column, block in enumerate(blocks, start=len(found.kept)):
        own = [n for n, one in enumerate(found.kept) if one.block == block]
        weights = [found.kept[n].coefficient for n in own]
        assert taken[:, column] == pytest.approx(scaled[:, own] @ weights)
    assert taken.shape[1] == len(found.kept) + len(blocks)
    stored = Signature.from_arrays(found.arrays("model."), "model.")
    assert stored.scores and np.array_equal(stored.probability(table), found.probability(table))
    assert not np.array_equal(plain.probability(table), found.probability(table))


def test_a_forest_that_takes_the_score_tells_a_sum_of_many_features_better():
    """A tree splits by one feature at a time; of many weak ones it sees few."""
    learned, outcome = cases(160, causal=12, null=0, effect=0.6)
    tested, truth = cases(600, seed=9, causal=12, null=0, effect=0.6)
    how = replace(QUICK, classifier="random_forest", correlation_most=1.0)

    def told(scores):
        model = fit_signature(Cases(learned, outcome), replace(how, scores=scores))
        said = model.score(tested)
        return auroc(said[truth], said[~truth])

    assert told(scores=True) > told(scores=False) + 0.005


def test_weights_from_before_there_were_scores_are_read():
    table, outcome = cases(60)
    signature = fit_signature(Cases(table, outcome), QUICK)
    arrays = signature.arrays()
    words = json.loads(arrays["words"].tobytes())
    del words["scores"]
    arrays["words"] = np.frombuffer(json.dumps(words).encode(), np.uint8)
    old = Signature.from_arrays(arrays)
    assert not old.scores and np.array_equal(old.score(table), signature.score(table))


def test_a_missing_feature_is_a_sentence():
    table, outcome = cases(60, null=2)
    made = fit_signature(Cases(table, outcome), QUICK)
    other = Table(blocks={"radiomic": Block(names=("x",), values=np.zeros((1, 1)))})
    with pytest.raises(ValueError, match="the feature cause_0 of block radiomic is missing"):
        made.probability(other)


def test_weights_without_a_signature_are_a_sentence():
    with pytest.raises(ManifestError, match="hold no signature"):
        Signature.from_arrays({"weights": np.zeros(3)})


@pytest.mark.parametrize("classifier", ["logistic", "random_forest", "knn", "gbdt", "mlp"])
def test_weights_of_which_a_part_is_missing_are_refused_when_they_are_read(classifier):
    """Not when the first patient is judged."""
    table, outcome = cases(60)
    made = fit_signature(Cases(table, outcome), replace(QUICK, classifier=classifier))
    arrays = made.arrays()
    parts = [name for name in arrays if name.startswith("model.")]

    assert np.array_equal(Signature.from_arrays(arrays).score(table), made.score(table))
    for part in parts:
        with pytest.raises(ManifestError, match="train again"):
            Signature.from_arrays({name: a for name, a in arrays.items() if name != part})
        # Fewer trees, or fewer neighbours, are a signature too.
        if len(arrays[part]) > 1 and classifier != "knn" and not part.startswith("model.roots"):
            with pytest.raises(ManifestError, match="train again"):
                Signature.from_arrays({**arrays, part: arrays[part][:-1]})
    for name in (one for one in arrays if one.endswith("~float64")):
        wrong = arrays[name].copy()
        wrong.view(np.float64).flat[-1] = np.nan
        with pytest.raises(ManifestError, match=r"not finite|train again"):
            Signature.from_arrays({**arrays, name: wrong})


def test_a_misspelt_block_that_is_to_be_kept_whole_is_refused():
    table, outcome = cases(60)
    both = joined(table, table_of([{"clinical": [float(n % 7)]} for n in range(60)], CLINICAL))
    for wrong in ("Clinical", "clincal"):
        with pytest.raises(ValueError, match="did you mean 'clinical'"):
            fit_signature(Cases(both, outcome), replace(QUICK, whole=(wrong,)))
    # What this table has not got is left out.
    others = ("clinical", "radiomic2", "dosiomic", "radiomic_mr")
    fit_signature(Cases(table, outcome), replace(QUICK, whole=others))


def test_readings_that_agree_on_nothing_are_said_to():
    table, outcome = cases(60)
    block = table.blocks["radiomic"]
    other = np.random.default_rng(3).normal(size=block.values.shape)
    wrong = Table(blocks={"radiomic": replace(block, second=other)})
    with pytest.raises(ValueError, match="two readings agree on none of 28 features by an ICC"):
        fit_signature(Cases(wrong, outcome), replace(QUICK, icc_least=0.9))


@pytest.mark.parametrize("level", [95, 1.0, 0.0, float("nan")])
def test_a_level_that_cannot_be_is_refused(level):
    table, outcome = cases(60)
    made = fit_signature(Cases(table, outcome), QUICK)
    with pytest.raises(ValueError, match=r"0\.95 is 95 %"):
        made.intervals(table, level=level)


@pytest.mark.parametrize("wrong", [("rf",), ()])
def test_classifiers_that_cannot_be_compared_are_refused_at_once(wrong):
    table, outcome = cases(20)
    with pytest.raises(ValueError, match="classifiers are some of logistic"):
        compare_classifiers(Cases(table, outcome), QUICK, classifiers=wrong)
    with pytest.raises(ValueError, match="runs = 0"):
        permutation_aurocs(Cases(table, outcome), QUICK, runs=0)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"classifier": "forest"}, "there is no classifier 'forest'"),
        ({"rule": "max"}, "rule is 'max'"),
        ({"icc_least": 2.0}, "icc_least = 2.0 is not from 0 to 1"),
        ({"inner_folds": 1}, "fewer than 2 folds"),
        ({"inner_folds": 2.5}, "inner_folds = 2.5 is no whole number"),
        ({"seed": True}, "seed = True is no whole number"),
        ({"whole": "clinical"}, "whole = 'clinical' is one text"),
        ({"seed": -1}, "seed = -1 is no whole number from 0 on"),
    ],
)
def test_settings_that_cannot_be_are_refused(change, sentence):
    with pytest.raises(ValueError, match=sentence):
        SignatureSettings(**change)


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: Block(names=("a",), values=np.zeros((3, 2))), "1 names do not fit"),
        (lambda: Block(names=("a", "a"), values=np.zeros((3, 2))), "have one name"),
        (lambda: Block(names=("a",), values=np.array([[np.nan]])), "feature a is not finite"),
        (
            lambda: Block(names=("a",), values=np.zeros((3, 1)), second=np.zeros((2, 1))),
            "second reader",
        ),
        (lambda: Block(names=("a",), values=[[1.0]]), "an array, not a list"),
        (lambda: Block(names=("a",), values=np.array([["1"]])), "numbers, not <U1"),
        (
            lambda: Block(names=("a",), values=np.zeros((1, 1)), second=np.array([[1e300]])),
            "second reading of case 0 has no number",
        ),
        (lambda: Block(names=("a",), values=np.array([[1e200]])), "feature a is over 1e.100"),
        (
            lambda: Block(
                names=("a", "b"),
                values=np.zeros((2, 2)),
                second=np.array([[np.nan, np.nan], [1.0, np.nan]]),
            ),
            "second reading of case 1 has no number of feature b",
        ),
        (
            lambda: Block(names=("a",), values=np.zeros((1, 1)), second=np.array([[np.inf]])),
            "second reading of case 0 has no number of feature a",
        ),
        (
            lambda: Cases(table_of([{"x": [0.0]}] * 3, {"x": ["x"]}), [0, 1]).truth(0),
            "3 cases have 2 outcomes",
        ),
        (lambda: truth_of([0, 2, 1]), "neither 0 nor 1"),
        (lambda: table_of([], {"a": ["x"]}), "there is no case"),
    ],
)
def test_tables_that_cannot_be_are_refused(make, sentence):
    with pytest.raises(ValueError, match=sentence):
        make()


def test_what_nobody_knows_in_a_second_reading_is_no_fault():
    unknown = np.array([[np.nan, 1.0], [0.0, 2.0]])
    Block(names=("a", "b"), values=unknown, second=unknown, lacking=True)


def test_a_table_is_made_of_examples():
    examples = [{"radiomic": [1.0, 2.0], "other": np.zeros(9)}, {"radiomic": [3.0, 4.0]}]
    table = table_of(examples, {"radiomic": ["a", "b"]})
    assert table.blocks["radiomic"].values.tolist() == [[1, 2], [3, 4]]


# --- how it is judged ------------------------------------------------------------------------


def test_nested_cross_validation_finds_what_is_there_and_no_more():
    table, outcome = cases(120, effect=1.0)
    nothing, _ = cases(120, causal=0, null=60, seed=4)

    there = nested_auroc(Cases(table, outcome), QUICK)
    absent = nested_auroc(Cases(nothing, outcome), QUICK)

    assert 0.80 < there.auroc.estimate < 0.98
    assert abs(absent.auroc.estimate - 0.5) < 0.17
    assert there.figures()["auroc_low"] < there.auroc.estimate < there.figures()["auroc_high"]
    assert len(there.signatures) == len(there.fold_aurocs) == 3


def test_mixed_labels_are_worth_nothing():
    table, outcome = cases(90, null=60, effect=1.5)
    found = permutation_aurocs(Cases(table, outcome), QUICK, runs=12)
    assert len(found) == 12 and abs(np.mean(found) - 0.5) < 0.06


def test_folds_hold_patients_together_and_outcomes_alike():
    groups = np.repeat(np.arange(50), 2)
    truth = truth_of(np.repeat(np.arange(50) % 3 == 0, 2), groups)
    folds = folds_of(truth, 5, seed=1)
    check_folds(folds, groups)
    assert {int(truth.outcome[tested].sum()) for _, tested in folds} <= {6, 8}
    assert sorted(np.concatenate([tested for _, tested in folds])) == list(range(100))


def scanned(count, noisy_have_it, *, seed):
    """Return cases of eight institutions, and how strong the noise is that a feature measures."""
    table, outcome = cases(count, seed=seed, null=6, effect=0.8)
    chance = np.random.default_rng([seed, 1])
    noisy = chance.random(count) < np.where(outcome, noisy_have_it, 1 - noisy_have_it)
    institution = chance.integers(4, size=count) + 4 * noisy
    (block,) = table.blocks.values()
    scanner = chance.normal(noisy * 2.0, 1.0)[:, None]
    wider = Block(
        names=(*block.names, "scanner"), values=np.concatenate([block.values, scanner], axis=1)
    )
    return Table(blocks={"radiomic": wider}), outcome, institution


def test_no_institution_tells_the_outcome():
    table, outcome, institution = scanned(240, 0.75, seed=3)
    turned, wanted, _ = scanned(240, 0.25, seed=4)

    def judged(made):
        kept = {one.name: abs(one.coefficient) for one in made.kept}
        p = made.probability(turned)
        return kept.get("scanner", 0.0), auroc(p[wanted], p[~wanted])

    fooled, below = judged(fit_signature(Cases(table, outcome), QUICK))
    made = fit_signature(Cases(table, outcome, institutions=institution), QUICK)
    unmoved, better = judged(made)

    assert fooled > 0.05 > 0.02 > unmoved
    assert better > below + 0.02
    # The guards of scaler and folds know how often each case counts.
    assert nested_auroc(Cases(table, outcome, institutions=institution), QUICK).auroc.low > 0.7


def test_cases_that_do_not_count_are_said_and_too_few_that_do_are_refused():
    table, outcome = cases(90, effect=1.5)
    own = np.where(outcome, "severe", "mild").astype("<U8")
    own[:60] = "both"
    made = fit_signature(Cases(table, outcome, institutions=own), QUICK)
    assert any("30 of 90 cases did not count" in note for note in made.notes)

    own[4:] = np.where(outcome, "severe", "mild")[4:]
    with pytest.raises(LearningError, match="institutions that have both"):
        fit_signature(Cases(table, outcome, institutions=own), QUICK)


@pytest.mark.parametrize("several", [False, True])
def test_institutions_of_which_none_has_both_outcomes_are_refused(several):
    """Whatever tells them apart would tell the outcome."""
    table, outcome = cases(80)
    own = np.arange(80).astype(str) if several else np.where(outcome, "a", "b")

    with pytest.raises(LearningError, match=r"none of \d+ institutions has patients with both"):
        fit_signature(Cases(table, outcome, institutions=own), QUICK)
    with pytest.raises(LearningError, match="would tell institutions apart"):
        nested_auroc(Cases(table, outcome, institutions=own), QUICK)


def test_both_outcomes_of_each_institution_count_alike():
    outcome = np.array([1, 0, 0, 0, 1, 1, 1, 0])
    institutions = ["a", "a", "a", "a", "b", "b", "c", "c"]
    table = table_of([{"x": [0.0]}] * 8, {"x": ["x"]})
    truth = Cases(table, outcome, institutions=institutions).truth(0)

    everybody = np.arange(8)
    assert truth.evened(everybody).tolist() == [0, 0, 0, 1, 2, 3, 6, 7]  # "b" has one outcome
    assert truth.evened(everybody[:6]).tolist() == [0, 0, 0, 1, 2, 3]
    assert truth.evened(everybody[4:6]).tolist() == [4, 5]  # of one institution: as they are
    assert truth.evened(np.array([1, 2, 4])).tolist() == []  # none has both
    assert truth_of(outcome).evened(everybody).tolist() == everybody.tolist()


def test_too_few_patients_for_the_folds_are_said():
    table, outcome = cases(8)
    with pytest.raises(LearningError, match="too few for 5 folds"):
        fit_signature(Cases(table, outcome), SignatureSettings())


def test_a_patient_in_two_folds_is_caught():
    table, outcome = cases(60, null=3)
    truth = truth_of(outcome, [f"patient {i // 2}" for i in range(60)])
    planted = folds_of(truth_of(outcome), 3, seed=0)  # by case, not by patient

    with pytest.raises(LearningError, match="patients that it is tested on") as caught:
        cross_validated(table, truth, planted, lambda rows: pytest.fail("it learned"))
    assert caught.value.code == "DATA_LEAK"


def scaled_by_all(table, truth, settings):
    """Return a learner with a planted leak: its features are scaled by every patient's values."""
    desk = Desk(table, truth, settings)

    def fit(rows):
        desk.select(desk.needed(rows))
        made = desk.fit(rows, tuple(table.blocks), settings.classifier)
        mean, deviation = scaling_of(made.features(table))
        kept = zip(made.kept, mean, deviation, strict=True)
        return replace(
            made,
            kept=tuple(replace(k, mean=float(m), deviation=float(d)) for k, m, d in kept),
        )

    return fit


def test_a_scaler_fitted_on_all_patients_is_caught():
    table, outcome = cases(60, null=3)
    truth = truth_of(outcome)

    with pytest.raises(LearningError, match="fit the scaler inside the fold") as caught:
        cross_validated(table, truth, outer_folds(truth, QUICK), scaled_by_all(table, truth, QUICK))
    assert caught.value.code == "DATA_LEAK"


def test_whatever_looks_at_tested_cases_is_caught_from_outside():
    table, outcome = cases(60, null=3)
    fold = folds_of(truth_of(outcome), 3, seed=0)[0]

    def ours(given, labels, rows):
        found = fit_signature(Cases(given.rows(rows), labels[rows]), QUICK)
        return found.probability(given)

    def leaky(given, labels, rows):
        return scaled_by_all(given, truth_of(labels), QUICK)(rows).probability(given)

    def selected_on_all(given, labels, rows):
        values = given.blocks["radiomic"].values
        best = mann_whitney(values, labels).argmin()
        return values[:, best]

    check_blind(ours, table, outcome, fold)
    for planted in (leaky, selected_on_all):
        with pytest.raises(LearningError, match="changes with the features and outcomes"):
            check_blind(planted, table, outcome, fold)


def test_a_feature_chosen_by_what_the_second_reader_says_of_tested_cases_is_caught():
    table, outcome = read_twice(*cases(60, null=9))
    fold = folds_of(truth_of(outcome), 3, seed=0)[0]

    def ours(given, labels, rows):
        return fit_signature(Cases(given.rows(rows), labels[rows]), QUICK).probability(given)

    def by_all_second_readings(given, labels, rows):
        block = given.blocks["radiomic"]
        best = np.nanstd(block.second, axis=0).argmax()
        return block.values[:, best]

    def by_how_many_were_read_twice(given, labels, rows):
        block = given.blocks["radiomic"]
        count = int(np.isfinite(block.second).all(axis=1).sum())
        return block.values[:, count % 12]

    check_blind(ours, table, outcome, fold)
    for planted in (by_all_second_readings, by_how_many_were_read_twice):
        with pytest.raises(LearningError, match="changes with the features and outcomes"):
            check_blind(planted, table, outcome, fold)


def test_which_values_of_tested_cases_are_known_is_nobodys_business():
    table, outcome = cases(60, null=3)
    block = table.blocks["radiomic"]
    values = block.values.copy()
    values[::5, 0] = np.nan
    table = Table(blocks={"radiomic": replace(block, values=values, lacking=True)})
    fold = folds_of(truth_of(outcome), 3, seed=0)[0]

    def by_what_is_missing(given, labels, rows):
        values = given.blocks["radiomic"].values
        return values[:, 1 + int(np.isnan(values[:, 0]).sum()) % 5]

    with pytest.raises(LearningError, match="changes with the features and outcomes"):
        check_blind(by_what_is_missing, table, outcome, fold)


def read_twice(table, outcome):
    """Return the table with a second reading of two cases of three."""
    chance = np.random.default_rng(4)
    block = table.blocks["radiomic"]
    second = block.values + chance.normal(0, 1, block.values.shape)
    second[::3] = np.nan
    return Table(blocks={"radiomic": replace(block, second=second)}), outcome


def test_features_that_nothing_like_was_learned_from_are_named():
    table, outcome = cases(80, effect=1.5)
    made = fit_signature(Cases(table, outcome), QUICK)
    block = table.blocks["radiomic"]
    values = block.values[:2].copy()
    first = made.kept[0]
    values[1, block.names.index(first.name)] = first.mean - 6.1 * first.deviation
    few = Table(blocks={"radiomic": replace(block, values=values, second=None)})

    assert made.unlike(few) == ((), (first.name,))
    assert unlike_words(made, few.rows([0])) == ()
    (said,) = unlike_words(made, few.rows([1]))
    assert f"1 of {len(made.kept)} kept features" in said and first.name in said


def test_weights_say_with_which_settings_they_learned():
    settings = {"radiomics": {"bin_width": 10, "log_sigma_mm": [1, 3]}, "classifier": "logistic"}
    arrays = settings_array(settings)

    check_settings(arrays, {**settings, "radiomics": {"log_sigma_mm": [1, 3], "bin_width": 10.0}})
    with pytest.raises(ManifestError, match=r"radiomics.bin_width = 25, they 10; put those back"):
        check_settings(arrays, {**settings, "radiomics": {"bin_width": 25, "log_sigma_mm": [1, 3]}})
    with pytest.raises(ManifestError, match="clip = nothing"):
        check_settings(settings_array({**settings, "clip": 3}), settings)
    with pytest.raises(ManifestError, match="train again"):
        check_settings({}, settings)


def test_held_out_cases_of_one_outcome_are_refused_before_anything_is_learned():
    table, outcome = cases(60)
    same = Cases(table.rows(np.flatnonzero(outcome)), outcome[outcome])
    with pytest.raises(LearningError, match="tuning cases all have one outcome"):
        compare_classifiers(Cases(table, outcome), QUICK, held_out=same)


def test_models_and_classifiers_are_compared_on_the_same_folds():
    first, outcome = cases(90, effect=0.9)
    deep, _ = cases(90, causal=0, null=8, seed=2, name="deep")
    table = joined(first, deep)
    held_out, truth = cases(60, effect=0.9, seed=7)
    further = joined(held_out, cases(60, causal=0, null=8, seed=8, name="deep")[0])

    rows = compare_classifiers(
        Cases(table, outcome),
        QUICK,
        models={"I": ["radiomic"], "II": ["radiomic", "deep"]},
        classifiers=["logistic", "knn"],
        held_out=Cases(further, truth),
    )

    assert [(r.model, r.classifier) for r in rows] == [
        *(("I", "logistic"), ("I", "knn"), ("II", "logistic"), ("II", "knn"))
    ]
    alone = nested_auroc(Cases(first, outcome), QUICK)
    assert rows[0].judged.auroc == alone.auroc
    document = rows[2].document()
    assert set(document["kept"]) == {"radiomic", "deep"}
    assert document["held_out"]["auroc"] > 0.75


def test_enrichment_counts_families_and_features():
    families = {f"a{i}": "a" for i in range(4)} | {f"b{i}": "b" for i in range(4)}
    families |= {f"n{i}": "" for i in range(8)}

    found = enrichment(["a0", "a1", "n0"], families, ["a", "b"])

    assert (found.share, found.enrichment) == (0.5, 2.0)
    with pytest.raises(ValueError, match="no family is known"):
        enrichment(["z"], families, ["a"])


def test_a_kept_feature_is_a_plain_value():
    one = Kept(block="b", name="n", coefficient=1.0, mean=0.0, deviation=1.0)
    assert (one.block, one.name) == ("b", "n")
