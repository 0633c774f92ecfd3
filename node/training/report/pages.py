"""The page of a report: one file, no script, nothing from a network."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from node.training.report.statistics import LEAST_PATIENTS, Document

_STYLE = """
body{font:15px/1.5 system-ui,sans-serif;color:#1b1f24;background:#fff;margin:2rem auto;
max-width:62rem;padding:0 1rem}
.say{background:#fff3c4;border-left:5px solid #d9a400;padding:.7rem 1rem;font-weight:600}
.bad{background:#fde2e1;border-left:5px solid #c62828;padding:.7rem 1rem;font-weight:600}
h1{font-size:1.6rem}h2{font-size:1.2rem;margin-top:2.2rem;border-bottom:1px solid #ddd}
table{border-collapse:collapse;margin:.8rem 0;font-variant-numeric:tabular-nums}
th,td{padding:.25rem .8rem .25rem 0;text-align:left;border-bottom:1px solid #eee;
vertical-align:top}td{white-space:nowrap}
th{font-weight:600;color:#444}.paper{color:#777;font-style:italic}
.wide{overflow-x:auto}.hash{white-space:normal;font:12px/1.4 monospace;overflow-wrap:anywhere}
figure{margin:1.2rem 0}img{max-width:100%;height:auto;border:1px solid #eee}
figcaption,.small{color:#555;font-size:.88rem}summary{cursor:pointer;margin:.6rem 0}
"""
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
    plugin = document["plugin"]
    title = f"{plugin['title']}: evaluation"
    parts = [
        f'<p class="say">{escape(document["statement"])}</p>',
        f'<p class="bad">{escape(document["collapsed_reason"])} This is no result.</p>'
        if document["collapsed"]
        else "",
        f"<h1>{escape(title)}</h1>",
        f"<p>{escape(plugin['name'])}@{escape(plugin['version'])}, grade "
        f"{escape(plugin['grade'])}, {escape(document['date'])}. {_counts(document)}</p>",
        _figures(document),
        _notes(document),
        _section("Beside simple rules", _baselines(document)),
        _section("Curves", _pictures(folder, captions, ("froc-",)) + _average(document)),
        _section("By size of the lesion", _by_size(document)),
        _section("Dice", _pictures(folder, captions, ("dice-",)) + _surface(document)),
        _section("Cases", _pictures(folder, captions, ("worst", "median", "best", "false-"))),
        _section("By institution", _groups("All institutions", document["by_institution"])),
        *(_section(f"By {name}", _groups(name, g)) for name, g in document["by_fact"].items()),
        _section("Every case", _cases(document)),
        _section("What was evaluated, on what, with what", _provenance(document)),
    ]
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head>\n<body>\n"
        + "\n".join(part for part in parts if part)
        + "\n</body></html>\n"
    )


def _section(title: str, body: str) -> str:
    return f"<h2>{escape(title)}</h2>\n{body}" if body else ""


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table; cells are HTML already."""
    top = "".join(f"<th>{cell}</th>" for cell in head)
    lines = "".join("<tr>" + "".join(f"<td>{c}</td>" for c in row) + "</tr>\n" for row in rows)
    return f'<div class="wide"><table><thead><tr>{top}</tr></thead>\n{lines}</table></div>'


def _number(value: float | None, digits: int = 2) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def _interval(interval: Mapping[str, Any], digits: int = 2) -> str:
    """Return an estimate with its interval; (-) where there are too few patients for one."""
    text = _number(interval["estimate"], digits)
    if interval["estimate"] is None:
        return text
    if interval["low"] is None or interval["high"] is None:
        return f"{text} (-)"
    return f"{text} ({interval['low']:.{digits}f} to {interval['high']:.{digits}f})"


def _counts(document: Document) -> str:
    counts = document["counts"]
    places = f" of {counts['institutions']} institutions" if counts["institutions"] else ""
    return (
        f"{counts['scans']} CTs{places}: {counts['scans_with_tumor']} with a tumour "
        f"({counts['lesions']} lesions), {counts['tumor_free_scans']} tumour-free "
        f"({100 * counts['tumor_free_share']:.1f} %)."
    )


def _figures(document: Document) -> str:
    """Return the headline figures; the paper's beside them, named as the paper's."""
    reference = document["reference"] or {"figures": {}}
    figures = reference["figures"]
    head = ["", "this model, these CTs (95 % interval)"]
    if figures:
        head.append('<span class="paper">the paper\'s own figure: other data, not ours</span>')
    rows = []
    for key, name in _NAMES.items():
        row = [name, _interval(document["intervals"][key], 3)]
        if figures:
            row.append(f'<span class="paper">{_number(figures.get(key))}</span>')
        rows.append(row)
    return _table(head, rows)


def _notes(document: Document) -> str:
    """Return the sentences below the figures."""
    bootstrap, reference = document["bootstrap"], document["reference"]
    lines = [
        f"Intervals: percentile bootstrap by patient, {bootstrap['runs']} runs, seed "
        f"{bootstrap['seed']}; (-): fewer than {LEAST_PATIENTS} patients count, too few for an "
        "interval. Dice, IoU, precision and recall are means over the CTs with a tumour; an empty "
        "mask scores 0 in all four.",
    ]
    if reference:
        about = f" ({reference['data']})" if reference["data"] else ""
        lines.append(f"The paper: {reference['source']}{about}.")
        lines += reference["notes"]
        if "fp_per_tumor_free_scan" not in reference["figures"]:
            lines.append(_FREE_NOTE)
    lines += document["notes"]
    return "".join(f'<p class="small">{escape(line)}</p>' for line in lines)


def _baselines(document: Document) -> str:
    rows = [
        [escape(name), _interval(rule["dice"], 3), _interval(rule["model_minus_baseline"], 3)]
        for name, rule in document["baselines"].items()
    ]
    return _table(("rule", "Dice", "model minus rule"), rows) if rows else ""


def _pictures(folder: Path, captions: Mapping[str, str], prefixes: tuple[str, ...]) -> str:
    """Return the pictures whose names begin so, as data inside the page."""
    return "".join(
        f'<figure><img alt="{escape(caption)}" src="data:image/png;base64,'
        f'{base64.b64encode((folder / name).read_bytes()).decode()}">'
        f"<figcaption>{escape(caption)}</figcaption></figure>\n"
        for name, caption in captions.items()
        if name.startswith(prefixes)
    )


def _average(document: Document) -> str:
    average = document["froc_over_score"]["average_sensitivity"]
    rates = ", ".join(f"{rate:g}" for rate in average["at_fp_per_scan_all"])
    return (
        f'<p class="small">Mean sensitivity of curve (b) at {rates} false positives per CT '
        f"(all CTs; CAMELYON16): {_number(average['value'], 3)}.</p>"
    )


def _by_size(document: Document) -> str:
    rows = [
        [
            escape(name),
            str(row["lesions"]),
            _interval(row["sensitivity"]),
            _interval(row["dice"]),
            _interval(row["false_positives_of_this_size_per_scan_all"]),
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
    return _table(head, rows)


def _surface(document: Document) -> str:
    surface = document["surface"]
    rows = [
        [name, _number(surface[key]["mean"]), _number(surface[key]["median"])]
        for key, name in (
            ("hd95_mm", "HD95, mm"),
            ("assd_mm", "ASSD, mm"),
            ("surface_dice", f"surface Dice at {surface['tolerance_mm']:g} mm"),
        )
    ]
    head = (f"{surface['scans']} CTs with a tumour and a mask", "mean", "median")
    return _table(head, rows)


def _groups(title: str, groups: Mapping[str, Document]) -> str:
    if len(groups) < 2:
        return ""
    rows = [
        [
            escape(name or "(not said)"),
            str(row["scans"]),
            str(row["tumor_free_scans"]),
            *(
                _interval(row[key])
                for key in ("dice", "sensitivity", "fp_per_scan", "fp_per_tumor_free_scan")
            ),
        ]
        for name, row in groups.items()
    ]
    table = _table(_GROUP_HEAD, rows)
    if len(groups) <= 12:
        return table
    return f"<details><summary>{escape(title)} ({len(groups)})</summary>{table}</details>"


def _cases(document: Document) -> str:
    rows = [
        [
            escape(case["case"]),
            escape(case["institution"]),
            "tumour-free" if case["tumor_free"] else _number(case["dice"], 3),
            _number((case["surface"] or {}).get("hd95_mm"), 1),
            f"{case['hits']} of {len(case['lesions'])}",
            str(case["false_positives"]),
            ", ".join(f"{lesion['diameter_mm']:.0f}" for lesion in case["lesions"]),
        ]
        for case in document["cases"]
    ]
    head = ("case", "institution", "Dice", "HD95, mm", "found", "false positives", "lesions, mm")
    return f"<details><summary>{len(rows)} cases</summary>{_table(head, rows)}</details>"


def _provenance(document: Document) -> str:
    plugin, data = document["plugin"], document["data"]
    rows = [
        ("plugin", f"{plugin['name']}@{plugin['version']}"),
        ("digest of its files", plugin["digest"]),
        *((f"weights {name}, SHA-256", value) for name, value in plugin["weights_sha256"].items()),
        ("training", plugin["training"]),
        ("data", f"{data['kind']}: {data['description']}"),
        ("cohort.toml, SHA-256", data["cohort_sha256"]),
        ("seed of the cohort", "" if data["seed"] is None else str(data["seed"])),
        ("date", document["date"]),
        *document["machine"].items(),
        *document["versions"].items(),
    ]
    cells = [(escape(k), f'<span class="hash">{escape(str(v))}</span>') for k, v in rows if v]
    return _table(("", ""), cells)
