"""The ``[rois.NAME]`` tables of a ``plugin.toml``: regions that somebody draws (S21)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from node.errors import ManifestError
from node.manifest import Code, RoiRole
from node.manifest_tables import CodeRow, PluginTable, RoiTable
from node.toml_file import fail, nearest


def roi_roles(plugin: PluginTable, where: str) -> Mapping[str, RoiRole]:
    """Return the ROI roles of a plugin by name.

    Raises
    ------
    ManifestError
        If one lies on no input, waits for its own plugin, or nothing could ever serve it.
    """
    for name, roi in plugin.rois.items():
        for fault in _faults(f"rois.{name}", roi, plugin):
            fail(ManifestError, where, fault)
    return {name: _role(name, roi) for name, roi in plugin.rois.items()}


def codes_of_rois(plugin: PluginTable) -> Iterator[tuple[str, CodeRow]]:
    """Yield every code of the tables with its place in the file."""
    for name, roi in plugin.rois.items():
        for key, codes in (("codes", roi.codes), ("sites", roi.sites)):
            for number, code in enumerate(codes, start=1):
                yield f"rois.{name}.{key}[{number}]", code


def _faults(at: str, roi: RoiTable, plugin: PluginTable) -> Iterator[str]:
    if roi.input not in plugin.inputs:
        hint = nearest(roi.input, plugin.inputs)
        yield f'{at}.input = "{roi.input}": there is no such input{hint}'
    if roi.from_plugin == plugin.name:
        yield f'{at}.from = "{roi.from_plugin}": a plugin cannot wait for its own result'
    if roi.from_plugin and roi.when_missing != "automatic":
        yield (
            f'{at}.when_missing = "{roi.when_missing}": with from it must be "automatic"; '
            "a drawn region comes first all the same"
        )
    if roi.when_missing == "automatic" and not roi.from_plugin:
        yield f'{at}.when_missing = "automatic" needs from: the plugin whose result serves'
    if not roi.sources and not roi.from_plugin:
        yield f"{at}.sources = []: nothing could serve; name SEG, RTSTRUCT or SR, or say from"
    if not roi.codes and roi.from_plugin:
        yield f"{at}.codes is missing: with from, they say which of its segments serves"


def _role(name: str, roi: RoiTable) -> RoiRole:
    return RoiRole(
        name=name,
        from_plugin=roi.from_plugin or "",
        codes=tuple(Code(*code) for code in roi.codes),
        sites=tuple(Code(*code) for code in roi.sites),
        **roi.model_dump(exclude={"from_plugin", "codes", "sites"}),
    )
