"""The page of a report on masks."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from pathlib import Path

from node.training.report.about import Document
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
    "dice": "Dice, mean per CT",
    "iou": "IoU, mean per CT",
    "precision": "Precision, mean per CT",
    "recall": "Recall, mean per CT",
    "sensitivity": "Sensitivity per lesion, match IoU 0.5",
    "fp_per_scan": "False positives per CT with a tumour",
    "fp_per_tumor_free_scan": "False positives per tumour-free CT",
    "fp_per_scan_all": "False positives per CT, all CTs",
}
_GROUP_HEAD = ("", "CTs", "tumour-free", "Dice", "sensitivity", "FP/CT", "FP/tumour-free CT")
_FREE_NOTE = "The paper gives no false positives per tumour-free CT."


def page_of(document: Document, folder: Path, captions: Mapping[str, str]) -> str:
    """Return the HTML of a document, with the pictures in `folder` inside of it."""
    return page(
        document,
        counts=_counts(document),
        parts=(
            headline(document, _NAMES, of="CTs"),
            _notes(document),
            section("Beside simple rules", _baselines(document)),
            section("Curves", pictures(folder, captions, ("froc-",)) + _average(document)),
            section("By size of the lesion", _by_size(document)),
            section("Dice", pictures(folder, captions, ("dice-",)) + _surface(document)),
            section("Cases", pictures(folder, captions, ("worst", "median", "best", "false-"))),
            section("By institution", _groups("All institutions", document["by_institution"])),
            *(section(f"By {name}", _groups(name, g)) for name, g in document["by_fact"].items()),
            section("Every case", _cases(document)),
        ),
    )


def _counts(document: Document) -> str:
    counts = document["counts"]
    places = f" of {counts['institutions']} institutions" if counts["institutions"] else ""
    return (
        f"{counts['scans']} CTs{places}: {counts['scans_with_tumor']} with a tumour "
        f"({counts['lesions']} lesions), {counts['tumor_free_scans']} tumour-free "
        f"({100 * counts['tumor_free_share']:.1f} %)."
    )


def _notes(document: Document) -> str:
    """Return the sentences below the figures."""
    bootstrap, reference = document["bootstrap"], document["reference"]
    lines = [
        f"Intervals: percentile bootstrap by patient, {bootstrap['runs']} runs, seed "
        f"{bootstrap['seed']}; (-): fewer than {LEAST_PATIENTS} patients count, too few for an "
        "interval. Sensitivity of all or none: Wilson's interval of the patients. Dice, IoU, "
        "precision and recall are means over the CTs with a tumour; an empty mask scores 0 in all "
        "four.",
    ]
    lines += about_the_paper(document)
    if reference and "fp_per_tumor_free_scan" not in reference["figures"]:
        lines.append(_FREE_NOTE)
    return sentences([*lines, *document["notes"]])


def _baselines(document: Document) -> str:
    rows = [
        [escape(name), interval(rule["dice"], 3), interval(rule["model_minus_baseline"], 3)]
        for name, rule in document["baselines"].items()
    ]
    return table(("rule", "Dice", "model minus rule"), rows) if rows else ""


def _average(document: Document) -> str:
    average = document["froc_over_score"]["average_sensitivity"]
    rates = ", ".join(f"{rate:g}" for rate in average["at_fp_per_scan_all"])
    value = number(average["value"], 3)
    words = f"Mean sensitivity of curve (b) at {rates} false positives per CT"
    return sentences([f"{words} (all CTs; CAMELYON16): {value}."])


def _by_size(document: Document) -> str:
    rows = [
        [
            escape(name),
            str(row["lesions"]),
            interval(row["sensitivity"]),
            interval(row["dice"]),
            interval(row["false_positives_of_this_size_per_scan_all"]),
        ]
        for name, row in document["by_size"]["classes"].items()
    ]
    head = (
        "diameter of the sphere of the same volume",
        "lesions",
        "sensitivity",
        "Dice of CTs whose largest lesion it is",
        "false positives of this size per CT",
    )
    return table(head, rows)


def _surface(document: Document) -> str:
    surface = document["surface"]
    rows = [
        [name, number(surface[key]["mean"]), number(surface[key]["median"])]
        for key, name in (
            ("hd95_mm", "HD95, mm"),
            ("assd_mm", "ASSD, mm"),
            ("surface_dice", f"surface Dice at {surface['tolerance_mm']:g} mm"),
        )
    ]
    head = (f"{surface['scans']} CTs with a tumour and a mask", "mean", "median")
    return table(head, rows)


def _groups(title: str, groups: Mapping[str, Document]) -> str:
    if len(groups) < 2:
        return ""
    rows = [
        [
            escape(name or "(not said)"),
            str(row["scans"]),
            str(row["tumor_free_scans"]),
            *(
                interval(row[key])
                for key in ("dice", "sensitivity", "fp_per_scan", "fp_per_tumor_free_scan")
            ),
        ]
        for name, row in groups.items()
    ]
    return folded(title, table(_GROUP_HEAD, rows), len(groups))


def _cases(document: Document) -> str:
    rows = [
        [
            escape(case["case"]),
            escape(case["institution"]),
            "tumour-free" if case["tumor_free"] else number(case["dice"], 3),
            number((case["surface"] or {}).get("hd95_mm"), 1),
            f"{case['hits']} of {len(case['lesions'])}",
            str(case["false_positives"]),
            ", ".join(f"{lesion['diameter_mm']:.0f}" for lesion in case["lesions"]),
        ]
        for case in document["cases"]
    ]
    head = ("case", "institution", "Dice", "HD95, mm", "found", "false positives", "lesions, mm")
    return folded("All cases", table(head, rows), len(rows), beyond=0)
