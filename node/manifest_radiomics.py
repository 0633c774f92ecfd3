"""The ``[radiomics]`` table of a ``plugin.toml``: which features are taken, and how (E16)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from node.errors import ManifestError
from node.manifest_tables import RadiomicsTable
from node.radiomics_settings import CLASSES, RadiomicsSettings, feature_names
from node.toml_file import Table, fail, nearest, parse_table


def radiomics_of(table: RadiomicsTable | None, where: str) -> RadiomicsSettings | None:
    """Return the settings that a checked table says; None for a plugin without one.

    Raises
    ------
    ManifestError
        If keys contradict each other, or a feature that shall be dropped does not exist.
    """
    if table is None:
        return None
    for fault in _faults(table):
        fail(ManifestError, where, fault)
    settings = RadiomicsSettings(**table.model_dump())
    if not feature_names(settings):
        fail(ManifestError, where, "radiomics.drop leaves no feature")
    return settings


class _Only(Table):
    radiomics: RadiomicsTable


def radiomics_settings(table: Mapping[str, Any], where: str = "plugin.toml") -> RadiomicsSettings:
    """Return the settings of a ``[radiomics]`` table as TOML has it.

    Raises
    ------
    ManifestError
        One sentence: an unknown key with the nearest known one, a value that cannot be.

    Examples
    --------
    >>> table = {"image_types": ["original"], "classes": ["glcm"], "pre_crop": True}
    >>> radiomics_settings({**table, "bin_width": 25}).bin_width
    25.0
    """
    # With its name around it, for a sentence that has the whole path of the key.
    only = parse_table(_Only, {"radiomics": table}, where=where, error=ManifestError)
    settings = radiomics_of(only.radiomics, where)
    assert settings is not None
    return settings


def _idle(table: RadiomicsTable) -> Iterator[str]:
    """Yield what is written and would have no effect: it was meant to have one."""
    said, resamples = table.model_fields_set, table.spacing_mm is not None
    if "interpolator" in said and not resamples:
        yield "radiomics.interpolator needs spacing_mm: nothing is resampled without it"
    if "wavelet" in said and "wavelet" not in table.image_types:
        yield 'radiomics.wavelet needs "wavelet" in image_types'
    if "pad_voxels" in said and not (table.pre_crop or resamples):
        yield "radiomics.pad_voxels needs pre_crop = true or spacing_mm: else nothing is cut"
    if table.remove_outliers_sd is not None and not table.normalize:
        yield "radiomics.remove_outliers_sd needs normalize = true"
    if table.normalize_scale != 1.0 and not table.normalize:
        yield "radiomics.normalize_scale needs normalize = true"


def _faults(table: RadiomicsTable) -> Iterator[str]:
    if (table.bin_width is None) == (table.bin_count is None):
        yield "radiomics needs bin_width or bin_count, and not both"
    if ("log" in table.image_types) != bool(table.log_sigma_mm):
        yield 'radiomics.log_sigma_mm goes with "log" in image_types: say both or none'
    if table.clip is not None and not table.clip[0] < table.clip[1]:
        yield f"radiomics.clip = {list(table.clip)}: the first number must be below the second"
    yield from _idle(table)
    for key in ("image_types", "classes", "log_sigma_mm", "drop"):
        values = getattr(table, key)
        if len(set(values)) < len(values):
            yield f"radiomics.{key} names something twice"
    known = [f"{name}_{one}" for name in table.classes for one in CLASSES[name]]
    for name in table.drop:
        if name not in known:
            hint = nearest(name, known)
            yield f'radiomics.drop: "{name}" is no feature of the classes{hint}'
