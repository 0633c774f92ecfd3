"""The pictures of a classifier's report."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from node.training.report.about import Document
from node.training.report.classes import Rows
from node.training.report.classified import ClassifiedCase
from node.training.report.drawing import OTHER, OURS, PAPER, SHOWN, canvas, gallery

#: Every file that `draw_classification` may write.
CLASSIFIER_PICTURES = (
    *("roc.png", "calibration.png", "decision-curve.png", "survival.png"),
    *("worst-missed.png", "worst-alarms.png"),
)
_SIZE = (5.6, 4.8)


def draw_classification(folder: Path, document: Document, rows: Rows) -> dict[str, str]:
    """Write every picture; return file name to what it shows, in the order of the page."""
    captions = {
        "roc.png": "ROC curve. The cross is the threshold.",
        "calibration.png": "What was said of the cases, and how many had it: bins of equal width "
        "(points) and of equal count (rings); below, how often what was said.",
        "decision-curve.png": "Net benefit of acting at or above a probability, for each case.",
    }
    _roc(folder / "roc.png", document)
    _calibration(folder / "calibration.png", document)
    _decision(folder / "decision-curve.png", document)
    if document["survival"]:
        _survival(folder / "survival.png", document["survival"])
        captions["survival.png"] = (
            "Kaplan and Meier's curves of those called positive and negative at the threshold, "
            "with 95 % intervals."
        )
    for name, outcome, caption in (
        ("worst-missed.png", True, "Cases with the outcome of lowest probability."),
        ("worst-alarms.png", False, "Cases without the outcome of highest probability."),
    ):
        some = worst(rows, outcome=outcome)
        if some:
            gallery(folder / name, [(case.picture, _title(case)) for case in some])
            legend = " Green: what was outlined. Magenta: what the plugin found."
            if any(case.picture and case.picture.heat is not None for case in some):
                legend += " Over the image: its map, brighter is more."
            captions[name] = caption + legend
    return captions


def worst(rows: Rows, *, outcome: bool) -> list[ClassifiedCase]:
    """Return the cases of one class that the model is most wrong about, worst first."""
    some = [row for row in rows if row.outcome == outcome]
    return sorted(some, key=lambda row: row.probability if outcome else -row.probability)[:SHOWN]


def _title(case: ClassifiedCase) -> str:
    said = "no answer" if case.said is None else f"p = {case.said:.2f}"
    law = "" if case.oracle is None else f", the law {case.oracle:.2f}"
    return f"{case.name}\n{'has it' if case.outcome else 'has it not'}, {said}{law}"


def _roc(path: Path, document: Document) -> None:
    roc, table = document["roc"], document["confusion"]
    with canvas(path, _SIZE) as axes:
        ax = axes[0, 0]
        ax.plot([0, 1], [0, 1], color=PAPER, lw=0.8, ls=":")
        false = [1 - value for value in roc["specificity"]]
        words = f"this model, AUROC {_said(document['intervals']['auroc'])}"
        ax.plot(false, roc["sensitivity"], color=OURS, label=words)
        ours = (1 - table["specificity"]["estimate"], table["sensitivity"]["estimate"])
        ax.plot(*ours, "x", ms=9, mew=2, color=OURS, label=f"p >= {table['threshold']:g}")
        if document["oracle_auroc"] is not None:
            oracle = _said(document["intervals"]["oracle_auroc"])
            ax.plot([], [], " ", label=f"the law itself, AUROC {oracle}")
        figures = (document["reference"] or {}).get("figures", {})
        if {"sensitivity", "specificity"} <= figures.keys():
            at = (1 - figures["specificity"], figures["sensitivity"])
            label = "the paper's own figure: other data, not ours"
            ax.plot(*at, "*", ms=12, mfc="none", color=PAPER, label=label)
        ax.set(xlabel="1 - specificity", ylabel="sensitivity", xlim=(-0.01, 1), ylim=(0, 1.01))
        _finish(ax)


def _calibration(path: Path, document: Document) -> None:
    points = document["calibration"]
    said = [case["counted_as"] for case in document["cases"]]
    with canvas(path, (5.6, 5.6), (2, 1)) as axes:
        ax, below = axes[0, 0], axes[1, 0]
        ax.plot([0, 1], [0, 1], color=PAPER, lw=0.8, ls=":", label="what is said comes true")
        for name, style, label in (
            ("equal_width", "o-", "bins of equal width"),
            ("equal_count", "o", "bins of equal count"),
        ):
            x, y = ([one[key] for one in points[name]] for key in ("said", "came"))
            fill = OURS if name == "equal_width" else "none"
            ax.plot(x, y, style, color=OURS, mfc=fill, alpha=0.8, label=label)
        ax.set(ylabel="share with the outcome", xlim=(0, 1), ylim=(-0.02, 1.02))
        below.hist(said, bins=[n / 20 for n in range(21)], color=OURS, edgecolor="white")
        below.set(xlabel="probability said", ylabel="cases", xlim=(0, 1))
        _finish(ax)


def _decision(path: Path, document: Document) -> None:
    curve = document["decision_curve"]
    with canvas(path, _SIZE) as axes:
        ax = axes[0, 0]
        x = curve["thresholds"]
        ax.plot(x, curve["model"], color=OURS, label="by this model")
        ax.plot(x, curve["everybody"], color=OTHER, ls="--", label="treat all")
        ax.axhline(0, color=PAPER, lw=0.9, label="treat none")
        top = max(max(curve["model"]), max(curve["everybody"]), 0.01)
        ax.set(xlabel="threshold probability", ylabel="net benefit", ylim=(-0.25 * top, 1.1 * top))
        _finish(ax)


def _survival(path: Path, survival: Document) -> None:
    with canvas(path, _SIZE) as axes:
        ax = axes[0, 0]
        for (name, curve), color in zip(survival["curves"].items(), (OURS, OTHER), strict=False):
            x = curve["time"]
            ax.step(x, curve["survival"], where="post", color=color, label=f"called {name}")
            band: dict[str, Any] = {"step": "post", "color": color, "alpha": 0.15}
            ax.fill_between(x, curve["low"], curve["high"], **band)
        test = survival["log_rank"]
        if test:
            ax.plot([], [], " ", label=f"log-rank p = {test['p_value']:.2g}")
        ax.set(xlabel="time", ylabel="share without the event", ylim=(0, 1.02))
        _finish(ax)


def _finish(ax: Any) -> None:
    ax.grid(alpha=0.3)
    ax.figure.legend(loc="outside lower center", fontsize=8)


def _said(interval: Document) -> str:
    if interval["low"] is None:
        return f"{interval['estimate']:.3f}"
    return f"{interval['estimate']:.3f} ({interval['low']:.3f} to {interval['high']:.3f})"
