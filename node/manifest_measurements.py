"""Which numbers a plugin may return: the ``[measurements]`` of a manifest, and its features.

A signature that is trained again keeps other features than before. So each feature of
``[radiomics]`` is declared by that table, and a series of numbers by one table with ``count``.
"""

from __future__ import annotations

from collections.abc import Iterator

from node.manifest import Code, MeasurementSpec
from node.manifest_tables import CodeRow, MeasurementTable, PluginTable
from node.radiomics_codes import code_of, unit_of
from node.radiomics_settings import RadiomicsSettings, feature_names

#: Digits after the point of a feature: many are small, and none is read as a size.
_FEATURE_DIGITS = 6
# PS3.5 6.2: SH holds 16 characters, LO 64.
_LONGEST_CODE, _LONGEST_MEANING = 16, 64


def feature_measurement(name: str) -> str:
    """Return the name of the measurement that a radiomics feature is returned by.

    Examples
    --------
    >>> feature_measurement("wavelet-LLH_glcm_Contrast")
    'wavelet-llh_glcm_contrast'
    """
    return name.lower()


def measurement_specs(
    plugin: PluginTable, radiomics: RadiomicsSettings | None
) -> dict[str, MeasurementSpec]:
    """Return every measurement of a manifest by name; its own tables go before features."""
    features = () if radiomics is None else feature_names(radiomics)
    own = [one for name, table in plugin.measurements.items() for one in _specs(name, table)]
    hu = radiomics is not None and _is_hu(plugin, radiomics)
    return {spec.name: spec for spec in (*(_feature(one, hu) for one in features), *own)}


def is_feature(name: str, radiomics: RadiomicsSettings | None) -> bool:
    """Return whether a measurement is a radiomics feature of the manifest."""
    return radiomics is not None and name in {
        feature_measurement(one) for one in feature_names(radiomics)
    }


def count_faults(plugin: PluginTable) -> Iterator[str]:
    """Yield what is wrong with tables that stand for several measurements, in words."""
    for name, table in plugin.measurements.items():
        if table.count is None:
            continue
        last, at = table.count - 1, f"measurements.{name}"
        if len(f"{table.code[0]}-{last}") > _LONGEST_CODE:
            yield f"{at}.code is too long: with -{last} it may have {_LONGEST_CODE} characters"
        if len(f"{table.code[2]} {last}") > _LONGEST_MEANING:
            yield f"{at}.code: its meaning with {last} may have {_LONGEST_MEANING} characters"
        if not table.code[1].startswith("99"):
            yield f"{at}.count goes with a private code: {table.code[1]} has no numbered ones"
        others = (f"{name}_{number}" for number in range(table.count))
        if twice := next((one for one in others if one in plugin.measurements), None):
            yield f"{at}.count = {table.count} declares {twice}, which has a table of its own"


def _specs(name: str, table: MeasurementTable) -> Iterator[MeasurementSpec]:
    if table.count is None:
        yield _spec(name, table, table.code)
        return
    value, scheme, meaning = table.code
    for number in range(table.count):
        code = (f"{value}-{number}", scheme, f"{meaning} {number}")
        yield _spec(f"{name}_{number}", table, code)


def _spec(name: str, table: MeasurementTable, code: CodeRow) -> MeasurementSpec:
    return MeasurementSpec(
        name=name,
        code=Code(*code),
        unit=Code(*table.unit),
        method=Code(*table.method) if table.method else None,
        derivation=Code(*table.derivation) if table.derivation else None,
        digits=table.digits,
        interval=table.interval,
    )


def _feature(name: str, hu: bool) -> MeasurementSpec:
    return MeasurementSpec(
        name=feature_measurement(name),
        code=Code(*code_of(name)),
        unit=Code(*unit_of(name, hu=hu)),
        digits=_FEATURE_DIGITS,
    )


def _is_hu(plugin: PluginTable, radiomics: RadiomicsSettings) -> bool:
    """Return whether features are taken of HU, whichever of the inputs they are taken of."""
    changed = radiomics.normalize or radiomics.shift != 0
    return not changed and all(role.values == "HU" for role in plugin.inputs.values())
