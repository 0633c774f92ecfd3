"""Pages about signatures: a table of models, what is left by chance, what one is made of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import numpy as np

from node.manifest import Manifest
from node.toolkit.signature import Signature, prefixes_of
from node.toolkit.training import read_weights
from node.training.report.about import NOT_SYNTHETIC, SYNTHETIC, Document
from node.training.report.html import STYLE, folded, number, section, sentences, table

_SHARES = ("accuracy", "sensitivity", "specificity")
_STEPS = {
    "offered": "offered",
    "not_constant": "not constant",
    "two_readers": "two readers agree",
    "one_by_one": "one by one",
    "in_pairs": "in pairs",
    "kept": "kept",
}
#: What the model card says of classifiers whose parameters are rows of features (E15).
HOLDS_PATIENTS = (
    "The parameters of this classifier are rows of patients' features: the weights file is data "
    "of the patients that it was learned from."
)


# --- a table of models -----------------------------------------------------------------------


def compared_page(document: Mapping[str, Any]) -> str:
    """Return the HTML of a comparison."""
    plugin = document["plugin"]
    title = f"{plugin['title']}: {len(document['rows'])} models"
    about = (
        f"{plugin['name']}@{plugin['version']}, {document['date']}, seed {document['seed']}, "
        f"{document['seconds']:.0f} s. {document['train']} cases by nested cross-validation: "
        "features, scaling, classifier, calibration and threshold anew in every fold. "
        f"{document['tuning']} further cases that nothing was learned from."
    )
    parts = (
        rows_table(document["rows"]),
        sentences(
            [
                "Of many models the best looks better than it is: choose by the cross-validated "
                "figures, and judge the choice by `evaluate` on cases that are not in this table."
            ]
        ),
        section("Kept features", "".join(_kept_of(row) for row in _one_of_each(document["rows"]))),
    )
    return _page(document, title, about, parts)


def permuted_page(document: Mapping[str, Any]) -> str:
    """Return the HTML of what was learned with mixed outcomes."""
    plugin, goal = document["plugin"], document["goal"]
    model = f", model {document['model']}" if document["model"] else ""
    about = (
        f"{plugin['name']}@{plugin['version']}{model}, {document['date']}, seed "
        f"{document['seed']}, {document['seconds']:.0f} s. The outcomes of "
        f"{document['train'] + document['tuning']} cases were mixed {document['runs']} times; each "
        "time everything was selected and learned anew in every fold. A mean AUROC away from 0.5 "
        "says that something looked at the cases it was tested on."
    )
    met = "met" if goal["met"] else "<b>not met</b>"
    means = [
        *(number(document[key], 3) for key in ("mean", "least", "greatest")),
        f"{escape(goal['goal'])}: {met}",
    ]
    each = [[str(run), number(one, 3)] for run, one in enumerate(document["aurocs"], start=1)]
    parts = (
        table(("mean AUROC", "least", "greatest", "goal of the mean"), [means]),
        section("Every run", table(("run", "AUROC"), each)),
    )
    return _page(document, f"{plugin['title']}: mixed outcomes", about, parts)


def _page(document: Mapping[str, Any], title: str, about: str, parts: Sequence[str]) -> str:
    """Return a page that judges training cases."""
    say = SYNTHETIC if document["data"] == "phantoms" else NOT_SYNTHETIC
    every = (
        f'<p class="say">{escape(say)}</p>',
        f"<h1>{escape(title)}</h1>",
        f"<p>{escape(about)}</p>",
        *parts,
        section("Made with", sentences([f"{k} {v}" for k, v in document["versions"].items()])),
    )
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{escape(title)}</title><style>{STYLE}</style></head>\n<body>\n"
        + "\n".join(every)
        + "\n</body></html>\n"
    )


def rows_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return the table of models: cross-validated, and on the cases held out."""
    head = (
        *("model", "classifier", "kept features", "AUROC (95 % interval)", *_SHARES, "Brier"),
        *("AUROC, held out", *_SHARES),
    )
    return table(head, [_row(row) for row in rows])


def _row(row: Mapping[str, Any]) -> list[str]:
    inner, outer = row["cross_validated"], row["held_out"]
    kept = ", ".join(f"{count} {block}" for block, count in row["kept"].items())
    return [
        escape(row["model"]),
        escape(row["classifier"]),
        escape(kept),
        _area(inner),
        *(number(inner[share]) for share in _SHARES),
        number(inner["brier"], 3),
        _area(outer) if outer else "-",
        *(number(outer[share]) if outer else "-" for share in _SHARES),
    ]


def _area(figures: Mapping[str, Any]) -> str:
    low, high = number(figures["auroc_low"], 3), number(figures["auroc_high"], 3)
    return f"{number(figures['auroc'], 3)} ({low} to {high})"


def _one_of_each(rows: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Return the first row of each model: its classifiers share the features."""
    found: dict[str, Mapping[str, Any]] = {}
    for row in rows:
        found.setdefault(row["model"], row)
    return list(found.values())


def _kept_of(row: Mapping[str, Any]) -> str:
    lines = [
        [escape(one["block"]), escape(one["name"]), number(one["coefficient"], 4)]
        for one in row["features"]
    ]
    body = table(("block", "feature", "coefficient of the LASSO"), lines)
    return f"<h3>{escape(row['model'])}</h3>" + folded("Kept features", body, len(lines), beyond=0)


# --- one signature ---------------------------------------------------------------------------


def signatures_of(manifest: Manifest) -> list[Document]:
    """Return what the signatures in a plugin's weights files are made of; [] without any."""
    found = []
    for name in sorted(manifest.weights):
        path = manifest.folder / name
        if path.suffix != ".safetensors" or not path.is_file():
            continue
        arrays = read_weights(path)
        found += [
            _signature(prefix, Signature.from_arrays(arrays, prefix))
            for prefix in prefixes_of(arrays)
        ]
    return found


def _signature(prefix: str, one: Signature) -> Document:
    return {
        "name": prefix.strip("."),
        "classifier": one.classifier,
        "given": dict(one.given),
        "threshold": one.threshold,
        "counts": {block: dict(counts) for block, counts in one.counts.items()},
        "kept": [
            {
                "block": kept.block,
                "name": kept.name,
                "coefficient": kept.coefficient,
                "mean": kept.mean,
                "deviation": kept.deviation,
            }
            for kept in one.kept
        ],
        "holds_patients": one.holds_patients,
        "notes": list(one.notes),
    }


def signature_section(signatures: Sequence[Document]) -> str:
    """Return the part of a page on what was kept, with coefficients; "" where there is nothing."""
    return section("Signature", "".join(_one_signature(one) for one in signatures))


def _planted(blocks: Mapping[str, Document]) -> str:
    """Return the table of what was kept of the planted causes; "" where nobody knows it."""
    rows = [
        [
            escape(block),
            f"{one['families_kept']} of {one['families']}",
            f"{100 * one['share_causal']:.1f} %",
            f"{100 * one['share_null']:.1f} %",
            _times(one),
        ]
        for block, one in blocks.items()
    ]
    head = (
        *("planted causes, features", "families kept", "of their features kept"),
        *("of the others kept", "times as many"),
    )
    return table(head, rows) if rows else ""


def _times(one: Document) -> str:
    """Return how many times as many; where no other feature is kept there is no number."""
    if one["enrichment"] is None and one["share_causal"] > 0:
        return "no other is kept"
    return number(one["enrichment"], 1)


def _one_signature(one: Document) -> str:
    given = ", ".join(f"{key} = {value}" for key, value in one["given"].items())
    lines = [
        f"{one['name'] or 'Signature'}: {one['classifier']}"
        + (f" ({given})" if given else "")
        + f"; positive from {one['threshold']:.3f} on. Coefficients are those of the LASSO, for a "
        "difference of one standard deviation; the classifier has its own weights.",
        *([HOLDS_PATIENTS] if one["holds_patients"] else []),
        *one["notes"],
    ]
    steps = [
        [escape(block), *(str(counts.get(step, "-")) for step in _STEPS)]
        for block, counts in one["counts"].items()
    ]
    kept = sorted(one["kept"], key=lambda kept: -abs(np.nan_to_num(kept["coefficient"] or 0.0)))
    rows = [
        [
            escape(k["block"]),
            escape(k["name"]),
            number(k["coefficient"], 4),
            f"{k['mean']:.4g}",
            f"{k['deviation']:.4g}",
        ]
        for k in kept
    ]
    head = ("block", "feature", "coefficient", "mean", "standard deviation")
    return (
        sentences(lines)
        + table(("features", *_STEPS.values()), steps)
        + _planted(one.get("planted", {}))
        + folded("Kept features", table(head, rows), len(rows), beyond=40)
    )
