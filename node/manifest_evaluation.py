"""The ``[evaluation]`` table of a ``plugin.toml``: by which number a classifier is judged."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from node.errors import ManifestError
from node.manifest import EvaluationSpec
from node.manifest_tables import EvaluationTable, PluginTable
from node.toml_file import fail, nearest

#: UCUM units of a probability, and what divides its value.
PROBABILITY_UNITS = {"1": 1.0, "%": 100.0}
_MIDDLE = 0.5


def evaluation_of(plugin: PluginTable, where: str) -> EvaluationSpec | None:
    """Return what an evaluation looks at; None for a plugin that is no classifier.

    Raises
    ------
    ManifestError
        If a name is none of the plugin's measurements or parameters, the probability has another
        unit than 1 or %, the threshold is none, or only one of time and event is there.
    """
    table = plugin.evaluation
    if table is None:
        return None
    for fault in _faults(plugin, table):
        fail(ManifestError, where, fault)
    threshold = plugin.parameters[table.threshold] if table.threshold else _MIDDLE
    return EvaluationSpec(
        scale=PROBABILITY_UNITS[plugin.measurements[table.probability].unit[0]],
        threshold=float(threshold),
        **table.model_dump(exclude={"threshold"}),
    )


def _faults(plugin: PluginTable, table: EvaluationTable) -> Iterator[str]:
    probabilities = [("probability", table.probability), *(("also", n) for n in table.also)]
    for key, name in (*probabilities, *(("factors", n) for n in table.factors)):
        yield from _unknown(f"evaluation.{key}", name, plugin.measurements, "measurement")
    for key, name in probabilities:
        unit = plugin.measurements[name].unit[0]
        if unit not in PROBABILITY_UNITS:
            yield f'evaluation.{key}: measurements.{name} has the unit "{unit}", not "1" or "%"'
    if table.swapped:
        yield from _unknown("evaluation.swapped", table.swapped, table.also, "name in `also`")
    if table.threshold:
        yield from _unknown("evaluation.threshold", table.threshold, plugin.parameters, "parameter")
        value = plugin.parameters[table.threshold]
        if isinstance(value, bool | str) or not 0.0 < value < 1.0:
            named = f"parameters.{table.threshold} = {value!r}"
            yield f"evaluation.threshold: {named} is not from 0 to 1"
    if bool(table.time) != bool(table.event):
        yield "evaluation.time and evaluation.event are columns of one survival: say both or none"


def _unknown(key: str, name: str, known: Iterable[str], what: str) -> Iterator[str]:
    if name not in known:
        yield f'{key} = "{name}": there is no such {what}{nearest(name, known)}'
