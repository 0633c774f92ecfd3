"""The page of a report on a classifier."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from pathlib import Path

from node.training.report.about import Document
from node.training.report.compared import signature_section
from node.training.report.html import (
    about_the_paper,
    folded,
    headline,
    interval,
    number,
    page,
    pictures,
    section,
    sentences,
    table,
)
from node.training.report.statistics import LEAST_PATIENTS

_NAMES = {
    "auroc": "AUROC",
    "oracle_auroc": "AUROC of the law itself",
    "sensitivity": "Sensitivity at the threshold",
    "specificity": "Specificity at the threshold",
    "accuracy": "Accuracy at the threshold",
    "brier": "Brier score (0 is best)",
    "ece": "Expected calibration error",
    "calibration_slope": "Calibration slope (1 is right)",
    "calibration_intercept": "Calibration intercept (0 is right)",
}
_KINDS = {
    "cause": "One cause turned round: the probability goes the law's way",
    "nuisance": "What must not matter, drawn again",
    "input": "What the plugin gets, made less exact",
    "swap": "A part taken from another patient",
    "blank": "The lesion covered",
}
_LAW_HEAD = ("AUROC of the law", "model minus law, same cases")
_GROUP_HEAD = ("", "cases", "with outcome", "AUROC", "sensitivity", "specificity", "mean p")


def classification_page(document: Document, folder: Path, captions: Mapping[str, str]) -> str:
    """Return the HTML of a document, with the pictures in `folder` inside of it."""
    names = {key: name for key, name in _NAMES.items() if key in document["intervals"]}
    shown = ("calibration", "decision")
    return page(
        document,
        counts=_counts(document),
        parts=(
            headline(document, names, of="cases"),
            _notes(document),
            section("Beside simple rules", _beside(document["baselines"], "rule")),
            section("Beside its other numbers", _others(document["others"])),
            section("ROC", pictures(folder, captions, ("roc",)) + _confusion(document)),
            section("Calibration and use", pictures(folder, captions, shown)),
            section("Survival", pictures(folder, captions, ("survival",)) + _survival(document)),
            signature_section(document["signatures"]),
            section("Measured factors", _factors(document)),
            section("What it rests on", _changes(document)),
            section("Worst cases", pictures(folder, captions, ("worst",))),
            section("By institution", _groups("All institutions", document["by_institution"])),
            *(section(f"By {n}", _groups(n, g)) for n, g in document["by_measurement"].items()),
            *(section(f"By {name}", _groups(name, g)) for name, g in document["by_fact"].items()),
            section("Every case", _cases(document)),
        ),
    )


def _counts(document: Document) -> str:
    counts = document["counts"]
    places = f" of {counts['institutions']} institutions" if counts["institutions"] else ""
    outcome = document["evaluation"]["outcome"]
    return (
        f"{counts['cases']} cases of {counts['patients']} patients{places}: "
        f"{counts['with_outcome']} with the outcome `{outcome}`."
    )


def _notes(document: Document) -> str:
    """Return the sentences below the figures."""
    several = document["counts"]["cases"] > document["counts"]["patients"]
    shares = "percentile bootstrap by patient (of all or none: Wilson's)" if several else "Wilson's"
    bootstrap = document["bootstrap"]
    lines = [
        f"Intervals: AUROC by DeLong on the logit scale{' and by patient' if several else ''}; "
        f"shares {shares}; Brier score by bootstrap of patients, {bootstrap['runs']} runs, seed "
        f"{bootstrap['seed']}; (-): fewer than {LEAST_PATIENTS} patients count, or none is known. "
        f"Positive is a probability of {document['confusion']['threshold']:g} or more.",
    ]
    unanswered = document["counts"]["without_answer"]
    if unanswered:
        lines.append(f"{unanswered} cases have no probability; they count as wrong.")
    return sentences([*lines, *about_the_paper(document), *document["notes"]])


def _beside(rules: Mapping[str, Document], what: str) -> str:
    rows = [
        [
            escape(name) + (" (turned round)" if rule.get("turned") else ""),
            interval(rule["auroc"], 3),
            interval(rule["model_minus_this"]["difference"], 3),
            _p(rule["model_minus_this"]["p_value"]),
        ]
        for name, rule in rules.items()
    ]
    head = (what, "AUROC", "model minus this, same cases", "p")
    return table(head, rows) if rows else ""


def _others(others: Mapping[str, Document]) -> str:
    """Return the other numbers beside the model, and those with a law of their own beside that."""
    rows = [
        [
            escape(name),
            interval(found["oracle_auroc"], 3),
            interval(found["this_minus_oracle"]["difference"], 3),
            _p(found["this_minus_oracle"]["p_value"]),
        ]
        for name, found in others.items()
        if "oracle_auroc" in found
    ]
    head = ("number", "AUROC of its law", "this minus its law, same cases", "p")
    return _beside(others, "number") + (table(head, rows) if rows else "")


def _confusion(document: Document) -> str:
    found = document["confusion"]
    head = (f"p >= {found['threshold']:g}", "has it", "has it not", "")
    return table(
        head,
        [
            [
                "called positive",
                str(found["true_positives"]),
                str(found["false_positives"]),
                f"positive predictive value {interval(found['positive_predictive_value'])}",
            ],
            [
                "called negative",
                str(found["false_negatives"]),
                str(found["true_negatives"]),
                f"negative predictive value {interval(found['negative_predictive_value'])}",
            ],
        ],
    )


def _survival(document: Document) -> str:
    survival = document["survival"]
    if not survival:
        return ""
    rows = [
        [escape(model.replace("_", " ")), escape(name), interval(hazard), _p(hazard["p_value"])]
        for model, hazards in survival["hazard_ratios"].items()
        for name, hazard in hazards.items()
        if name != "sentence"
    ]
    faults = [h["sentence"] for h in survival["hazard_ratios"].values() if "sentence" in h]
    test = survival["log_rank"]
    apart = f"log-rank test of the two groups p = {_p(test['p_value'])}; " if test else ""
    words = (
        f"{survival['patients']} patients, {survival['events']} events; {apart}Harrell's C of the "
        f"probability {number(survival['harrell_c'], 3)}. The hazard ratio of a class that was "
        "predicted is nearer to 1 than that of the class itself."
    )
    return table(("model", "covariate", "hazard ratio", "p"), rows) + sentences([words, *faults])


def _factors(document: Document) -> str:
    found = document["factors"]
    if "factors" not in found:
        return sentences([found["sentence"]]) if found else ""
    rows = [
        [
            escape(name),
            number(factor["standard_deviation"]),
            interval(factor["odds_ratio_per_standard_deviation"]),
            _p(factor["p_value"]),
        ]
        for name, factor in found["factors"].items()
    ]
    head = ("factor", "standard deviation (SD)", "odds ratio for 1 SD, the others held", "p")
    return table(head, rows)


def _changes(document: Document) -> str:
    parts = []
    goals = [
        [escape(name.replace("_", " ")), number(found["value"], 3), "all cases", _goal(found)]
        for name, found in document["goals"].items()
    ]
    if goals:
        parts.append(table(("Beside the law and the rules", "figure", "of", "goal"), goals))
    for kind, title in _KINDS.items():
        changes = document["changes"][kind]
        rows = [
            [escape(name), *_change(kind, found), _goal(found)] for name, found in changes.items()
        ]
        if rows:
            parts.append(table((title, "figure", "of", "goal"), rows))
    rows = [
        [escape(name.replace("_", " ")), _auroc(found), f"{found['cases']} cases", _goal(found)]
        for name, found in document["headers"].items()
    ]
    if rows:
        parts.append(table(("Headers and geometry alone", "figure", "of", "goal"), rows))
    return "".join(parts)


def _change(kind: str, found: Document) -> list[str]:
    """Return figure and count of one change."""
    if kind == "cause":
        return [f"share {interval(found['interval'])}", f"{found['pairs']} pairs"]
    if kind == "nuisance":
        return [
            f"median change of p {number(found['median_change'], 3)}",
            f"{found['pairs']} pairs",
        ]
    if kind == "swap":
        left = f"gain left {number(found['gain_left'], 3)}, {_auroc(found)}"
        if control := found["learned_swapped"]:
            left += f"; learned with exchanged parts: {number(control['gain_left'], 3)}"
        return [left, f"{found['cases']} cases"]
    if kind == "input":
        loss = f"loss {number(found['loss'], 3)}, {_auroc(found)}"
        return [loss, _counted(found)]
    return [_auroc(found), _counted(found)]


def _counted(found: Document) -> str:
    """Return how many cases there were, and how many of them got no answer."""
    left = found["without_answer"]
    return f"{found['cases']} cases" + (f", {left} without an answer" if left else "")


def _auroc(found: Document) -> str:
    return f"AUROC {interval(found['auroc'], 3)}"


def _goal(found: Document) -> str:
    return f"{escape(found['goal'])}: {'met' if found['met'] else '<b>not met</b>'}"


def _groups(title: str, groups: Mapping[str, Document]) -> str:
    if len(groups) < 2:
        return ""
    # Where the law of one group is known, that of all is: it is the cohort's.
    has_law = any("oracle_auroc" in row for row in groups.values())
    rows = [
        [
            escape(name or "(not said)"),
            str(row["cases"]),
            str(row["with_outcome"]),
            *(interval(row[key]) for key in ("auroc", "sensitivity", "specificity")),
            number(row["mean_probability"]),
            *(_of_law(row) if has_law else ()),
        ]
        for name, row in groups.items()
    ]
    head = (*_GROUP_HEAD, *(_LAW_HEAD if has_law else ()))
    return folded(title, table(head, rows), len(rows))


def _of_law(row: Document) -> tuple[str, str]:
    """Return the AUROC of the law in a group, and the model's minus it."""
    apart = row.get("model_minus_oracle")
    return (
        interval(row["oracle_auroc"]) if "oracle_auroc" in row else "-",
        interval(apart["difference"], 3) if apart else "-",
    )


def _cases(document: Document) -> str:
    rows = [
        [
            escape(case["case"]),
            escape(case["institution"]),
            "yes" if case["outcome"] else "no",
            number(case["probability"], 3),
            number(case["oracle"], 3),
            ", ".join(f"{escape(k)} {v:.4g}" for k, v in case["measured"].items()),
        ]
        for case in document["cases"]
    ]
    head = ("case", "institution", "outcome", "p", "p of the law", "measured")
    return folded("All cases", table(head, rows), len(rows), beyond=0)


def _p(value: float | None) -> str:
    if value is None:
        return "-"
    return "&lt; 0.001" if value < 0.001 else f"{value:.3f}"
