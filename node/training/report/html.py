"""Parts that every page has: one file, no script, nothing from a network."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from node.training.report.about import Document

#: Of every page.
STYLE = """
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


def page(document: Document, *, counts: str, parts: Sequence[str]) -> str:
    """Return the HTML of a document.

    Parameters
    ----------
    document : Document
    counts : str
        How many of what, a sentence.
    parts : sequence of str
        HTML, in order; "" is left out.
    """
    plugin = document["plugin"]
    title = f"{plugin['title']}: evaluation"
    collapsed = f'<p class="bad">{escape(document["collapsed_reason"])} This is no result.</p>'
    top = [
        f'<p class="say">{escape(document["statement"])}</p>',
        collapsed if document["collapsed"] else "",
        f"<h1>{escape(title)}</h1>",
        f"<p>{escape(plugin['name'])}@{escape(plugin['version'])}, grade "
        f"{escape(plugin['grade'])}, {escape(document['date'])}. {escape(counts)}</p>",
    ]
    last = section("What was evaluated, on what, with what", provenance(document))
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{escape(title)}</title><style>{STYLE}</style></head>\n<body>\n"
        + "\n".join(part for part in (*top, *parts, last) if part)
        + "\n</body></html>\n"
    )


def section(title: str, body: str) -> str:
    """Return a titled part; "" where there is nothing in it."""
    return f"<h2>{escape(title)}</h2>\n{body}" if body else ""


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table; cells are HTML already."""
    top = "".join(f"<th>{cell}</th>" for cell in head)
    lines = "".join("<tr>" + "".join(f"<td>{c}</td>" for c in row) + "</tr>\n" for row in rows)
    return f'<div class="wide"><table><thead><tr>{top}</tr></thead>\n{lines}</table></div>'


def number(value: float | None, digits: int = 2) -> str:
    """Return a number, or a dash where nothing was measured."""
    return "-" if value is None else f"{value:.{digits}f}"


def interval(interval: Mapping[str, Any], digits: int = 2) -> str:
    """Return an estimate with its interval; (-) where there are too few patients for one."""
    text = number(interval["estimate"], digits)
    if interval["estimate"] is None:
        return text
    if interval["low"] is None or interval["high"] is None:
        return f"{text} (-)"
    return f"{text} ({interval['low']:.{digits}f} to {interval['high']:.{digits}f})"


def headline(document: Document, names: Mapping[str, str], *, of: str, digits: int = 3) -> str:
    """Return the headline figures; the paper's beside them, named as the paper's."""
    reference = document["reference"] or {"figures": {}}
    figures = reference["figures"]
    head = ["", f"this model, these {of} (95 % interval)"]
    if figures:
        head.append('<span class="paper">the paper\'s own figure: other data, not ours</span>')
    rows = []
    for key, name in names.items():
        row = [name, interval(document["intervals"][key], digits)]
        if figures:
            row.append(f'<span class="paper">{number(figures.get(key))}</span>')
        rows.append(row)
    return table(head, rows)


def sentences(lines: Iterable[str]) -> str:
    """Return lines of small print."""
    return "".join(f'<p class="small">{escape(line)}</p>' for line in lines)


def about_the_paper(document: Document) -> list[str]:
    """Return whose the paper's figures are."""
    reference = document["reference"]
    if not reference:
        return []
    about = f" ({reference['data']})" if reference["data"] else ""
    return [f"The paper: {reference['source']}{about}.", *reference["notes"]]


def folded(title: str, body: str, rows: int, *, beyond: int = 12) -> str:
    """Return a table of many rows behind its title, one of few as it is."""
    if rows <= beyond:
        return body
    return f"<details><summary>{escape(title)} ({rows})</summary>{body}</details>"


def pictures(folder: Path, captions: Mapping[str, str], prefixes: tuple[str, ...]) -> str:
    """Return the pictures whose names begin so, as data inside the page."""
    return "".join(
        f'<figure><img alt="{escape(caption)}" src="data:image/png;base64,'
        f'{base64.b64encode((folder / name).read_bytes()).decode()}">'
        f"<figcaption>{escape(caption)}</figcaption></figure>\n"
        for name, caption in captions.items()
        if name.startswith(prefixes)
    )


def provenance(document: Document) -> str:
    """Return the table of plugin, data, machine and versions."""
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
    return table(("", ""), cells)
