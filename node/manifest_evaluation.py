"""The ``[evaluation]`` table of a ``plugin.toml``: by which number a classifier is judged."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import pairwise

from node.errors import ManifestError
from node.manifest import GOALS, EvaluationSpec, Goal, MeasuredGroups
from node.manifest_tables import EvaluationTable, GoalsTable, PluginTable
from node.toml_file import fail, nearest

#: UCUM units of a probability, and what divides its value.
PROBABILITY_UNITS = {"1": 1.0, "%": 100.0}
_MIDDLE = 0.5
#: Goals that are the most a figure may be; of the others the number is the least.
_GREATEST = ("auroc_below_oracle", "greatest_group_below_oracle", "log_rank_p")


def evaluation_of(plugin: PluginTable, where: str) -> EvaluationSpec | None:
    """Return what an evaluation looks at; None for a plugin that is no classifier.

    Raises
    ------
    ManifestError
        If a name is none of the plugin's measurements or parameters, the probability has another
        unit than 1 or %, the threshold is none, only one of time and event is there, or cut
        points or a goal are none.
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
        laws=tuple(table.laws.items()),
        groups=tuple(
            MeasuredGroups(measurement=name, cuts=cuts, unit=plugin.measurements[name].unit[0])
            for name, cuts in table.groups.items()
        ),
        goals=tuple(_goals(table.goals).values()),
        **table.model_dump(exclude={"threshold", "laws", "groups", "goals"}),
    )


def _goals(table: GoalsTable) -> dict[str, Goal]:
    """Return the goals by figure: those of any classifier, and what the manifest says instead."""
    goals = {goal.figure: goal for goal in GOALS}
    for figure, given in table:
        if isinstance(given, tuple):
            goals[figure] = Goal(figure=figure, least=given[0], greatest=given[1])
        elif given is not None:
            end = "greatest" if figure in _GREATEST else "least"
            goals[figure] = Goal(figure=figure, **{end: given})
    return goals


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
    yield from _faults_beside(plugin, table)
    if table.threshold:
        yield from _unknown("evaluation.threshold", table.threshold, plugin.parameters, "parameter")
        value = plugin.parameters[table.threshold]
        if isinstance(value, bool | str) or not 0.0 < value < 1.0:
            named = f"parameters.{table.threshold} = {value!r}"
            yield f"evaluation.threshold: {named} is not from 0 to 1"
    if bool(table.time) != bool(table.event):
        yield "evaluation.time and evaluation.event are columns of one survival: say both or none"


def _faults_beside(plugin: PluginTable, table: EvaluationTable) -> Iterator[str]:
    """Yield what is wrong with the other probabilities, the groups and the goals."""
    for key, names in (("better", table.better), ("laws", tuple(table.laws))):
        for name in names:
            yield from _unknown(f"evaluation.{key}", name, table.also, "name in `also`")
    for name, cuts in table.groups.items():
        yield from _unknown("evaluation.groups", name, plugin.measurements, "measurement")
        if any(second <= first for first, second in pairwise(cuts)):
            yield f"evaluation.groups.{name} = {_listed(cuts)} does not rise"
    law = table.goals.oracle_auroc
    if law is not None and law[0] > law[1]:
        yield f"evaluation.goals.oracle_auroc = {_listed(law)} is no range"


def _listed(numbers: Iterable[float]) -> str:
    return f"[{', '.join(f'{one:g}' for one in numbers)}]"


def _unknown(key: str, name: str, known: Iterable[str], what: str) -> Iterator[str]:
    if name not in known:
        yield f'{key} = "{name}": there is no such {what}{nearest(name, known)}'
