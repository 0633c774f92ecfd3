"""Which plugins there are: manifests of folders and entry points, read without importing (E9)."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib.machinery import ModuleSpec
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path

import node
from node.errors import ManifestError
from node.manifest import Manifest
from node.manifest_file import MANIFEST_NAME, parse_manifest
from node.plugin_files import folder_digest

ENTRY_POINT_GROUP = "node.plugins"


def builtin_plugin_folder() -> Path:
    """Return the folder of built-in plugin folders, in a wheel or in a checkout.

    Raises
    ------
    ManifestError
        If this installation has lost them.
    """
    package = Path(node.__file__).resolve().parent
    for folder in (package / "_plugins", package.parent / "plugins"):
        if any(folder.glob(f"*/{MANIFEST_NAME}")):
            return folder
    raise ManifestError(f"this installation has no built-in plugins beside {package}")


def discover(
    folders: Sequence[Path], *, points: Iterable[EntryPoint] | None = None
) -> Mapping[str, Manifest]:
    """Return the plugins by ``name@version``, sorted. Runs no plugin code.

    Parameters
    ----------
    folders : sequence of Path
        Folders of plugin folders, or plugin folders themselves.
    points : iterable of EntryPoint
        Installed third-party plugins; default: entry point group ``node.plugins``.

    Raises
    ------
    ManifestError
        If a folder is missing, a manifest is wrong, or two are the same name@version.
    """
    installed = entry_points(group=ENTRY_POINT_GROUP) if points is None else points
    places = [place for folder in folders for place in _plugin_folders(folder)]
    places += [_folder_of(point) for point in installed]
    found: dict[str, Manifest] = {}
    for place in dict.fromkeys(place.resolve() for place in places):
        manifest = parse_manifest(place)
        twin = found.setdefault(manifest.name_version, manifest)
        if twin is not manifest:
            raise ManifestError(
                f"two plugins are {manifest.name_version}: {twin.folder} and {manifest.folder}"
            )
    return dict(sorted(found.items()))


def _plugin_folders(folder: Path) -> Iterator[Path]:
    if (folder / MANIFEST_NAME).is_file():
        yield folder
        return
    if not folder.is_dir():
        raise ManifestError(f"there is no folder of plugins {folder}")
    yield from sorted(path.parent for path in folder.glob(f"*/{MANIFEST_NAME}"))


def _folder_of(point: EntryPoint) -> Path:
    """Return the folder of the package or module that `point` names, without importing it."""
    spec = _find(point.module)
    for place in _places(spec):
        if (place / MANIFEST_NAME).is_file():
            return place
    raise ManifestError(
        f"entry point {point.name} = {point.value!r} leads to no folder with {MANIFEST_NAME}"
    )


def _places(spec: ModuleSpec | None) -> Iterator[Path]:
    if spec is not None and spec.submodule_search_locations:
        yield from (Path(place) for place in spec.submodule_search_locations)
    elif spec is not None and spec.origin:
        yield Path(spec.origin).parent


def _find(module: str) -> ModuleSpec | None:
    """Find a dotted name by the path finders; importlib.util.find_spec would import parents."""
    spec: ModuleSpec | None = None
    search: Sequence[str] | None = None
    parts = module.split(".")
    for depth in range(1, len(parts) + 1):
        name = ".".join(parts[:depth])
        finders = (getattr(finder, "find_spec", None) for finder in sys.meta_path)
        specs = (find(name, search, None) for find in finders if find is not None)
        spec = next((found for found in specs if found is not None), None)
        if spec is None:
            return None
        search = spec.submodule_search_locations
    return spec


def verify(manifest: Manifest) -> None:
    """Check that the plugin on disk is still the one that `manifest` pins.

    Raises
    ------
    ManifestError
        If a file changed since its manifest was read.
    """
    if folder_digest(manifest.folder) != manifest.digest:
        raise ManifestError(
            f"files of {manifest.name_version} changed since the node started; "
            "give the new ones a new version and restart"
        )


def check_not_shadowed(path: Sequence[str] | None = None) -> None:
    """Check that ``node`` means this package to every process of ours.

    Parameters
    ----------
    path : sequence of str
        Import path; default: this process's.

    Raises
    ------
    ManifestError
        If another package or module of that name stands before ours.
    """
    ours = Path(node.__file__).resolve().parent
    for entry in sys.path if path is None else path:
        folder = Path(entry or ".").resolve()
        if (folder / "node").resolve() == ours:
            return
        for other in (folder / "node" / "__init__.py", folder / "node.py"):
            if other.is_file():
                raise ManifestError(
                    f"another package named `node` at {other} shadows Sentinel Node's ({ours}); "
                    "uninstall it or give Sentinel Node a virtual environment of its own"
                )
