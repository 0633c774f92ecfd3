"""What pins a plugin bit for bit: the hashes of its files."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from importlib.util import find_spec
from pathlib import Path

from node.errors import ManifestError
from node.toml_file import nearest

_CACHES = frozenset({"__pycache__", ".mypy_cache", ".ruff_cache", ".pytest_cache"})
#: Formats that run code when they are read.
_PICKLES = frozenset({".pkl", ".pickle", ".joblib", ".dill"})


def missing_libraries(libraries: Iterable[str]) -> tuple[str, ...]:
    """Return which of these modules this interpreter cannot import; none is loaded."""
    return tuple(name for name in libraries if find_spec(name.partition(".")[0]) is None)


def folder_digest(folder: Path) -> str:
    """Return the SHA-256 that pins the plugin in `folder`."""
    return digest_of(file_hashes(folder))


def file_hashes(folder: Path) -> dict[str, str]:
    """Return relative path → SHA-256 of every file that counts, sorted by path.

    Caches of Python and of checkers do not count; links are refused, since what they lead
    to would not be pinned.
    """
    hashes: dict[str, str] = {}
    for path in sorted(folder.rglob("*"), key=lambda p: p.relative_to(folder).as_posix()):
        relative = path.relative_to(folder)
        if _CACHES & set(relative.parts) or path.suffix == ".pyc":
            continue
        if path.is_symlink():
            raise ManifestError(f"{relative} is a link; a plugin folder holds plain files only")
        if path.is_file():
            with path.open("rb") as file:
                hashes[relative.as_posix()] = hashlib.file_digest(file, "sha256").hexdigest()
    return hashes


def digest_of(hashes: Mapping[str, str]) -> str:
    """Return one SHA-256 over sorted paths and hashes."""
    lines = (f"{path}\0{sha256}\n" for path, sha256 in sorted(hashes.items()))
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def check_weights(weights: Mapping[str, str], hashes: Mapping[str, str]) -> None:
    """Raise `ManifestError` unless each weights file is there with its hash."""
    for name, sha256 in weights.items():
        if Path(name).suffix.lower() in _PICKLES:
            raise ManifestError(
                f"weights {name}: pickles run code when they are read; use safetensors"
            )
        if name not in hashes:
            raise ManifestError(f"weights {name}: no such file{nearest(name, hashes)}")
        if hashes[name] != sha256:
            raise ManifestError(
                f"weights {name} has SHA-256 {hashes[name]}, the manifest says {sha256}"
            )


def check_cohort(name: str, sha256: str, hashes: Mapping[str, str]) -> None:
    """Raise `ManifestError` unless the file that phantoms are drawn by is there with its hash."""
    if name not in hashes:
        raise ManifestError(f"cohort.file = {name}: no such file{nearest(name, hashes)}")
    if hashes[name] != sha256:
        raise ManifestError(
            f"{name} has SHA-256 {hashes[name]}, the manifest's [cohort] says {sha256}; a law is "
            "fixed before the first training, so weights trained on the other one do not count"
        )
