"""Where and with what an evaluation ran, and which groups its cases fall into."""

from __future__ import annotations

import platform
from collections.abc import Iterable, Sequence
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from node import __version__
from node.manifest import EvaluationSpec
from node.training.report import Known

_MOST_GROUPS = 8


def strata(known: Sequence[Known], spec: EvaluationSpec | None) -> tuple[str, ...]:
    """Return the facts in words that tell a few groups of cases apart; no labels."""
    labels = {spec.outcome, spec.time, spec.event} if spec else set()
    values: dict[str, set[str]] = {}
    for one in known:
        for name, value in one.facts.items():
            if isinstance(value, str | bool) and name not in labels:
                values.setdefault(name, set()).add(str(value))
    return tuple(sorted(name for name, found in values.items() if 2 <= len(found) <= _MOST_GROUPS))


def processor() -> str:
    """Return the name of this machine's processor."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor())


def versions() -> dict[str, str]:
    """Return the versions of Python, of us, and of the libraries that are there."""
    ours = {"python": platform.python_version(), "sentinel-node": __version__}
    return ours | installed(("numpy", "torch", "monai", "lifelines"))


def installed(names: Iterable[str]) -> dict[str, str]:
    """Return the versions of those of the named libraries that are there."""
    found = {}
    for name in names:
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return found
