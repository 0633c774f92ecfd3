"""Clinical values of a data folder: the table's word of a study, else its images' attributes."""

from __future__ import annotations

from collections.abc import Mapping

from pydicom import Dataset

from node.clinical_check import checked, from_text
from node.clinical_values import Value
from node.errors import LearningError
from node.manifest import ClinicalSpec
from node.routing.clinical import clinical_values


def values_for(
    specs: Mapping[str, ClinicalSpec], written: Mapping[str, str], header: Dataset
) -> dict[str, Value]:
    """Return what is known of each value that a plugin can use, in the manifest's units.

    Parameters
    ----------
    specs : mapping of name to ClinicalSpec
        Of the plugin's manifest.
    written : mapping of name to text
        The line of the table: ``yes``, ``g2``, ``61 a``.
    header : Dataset
        Of the images that were chosen for the plugin's first input.

    Raises
    ------
    ClinicalValueRefused
        If the table says what the manifest does not allow. An attribute that does not fit is
        left out, as in a run.
    """
    said = {name: _written(spec, written[name]) for name, spec in specs.items() if name in written}
    silent = {name: spec for name, spec in specs.items() if name not in written}
    for one in clinical_values(silent, {}, (), header):
        if one.value is not None:
            said[one.name] = one.value
    return said


def check_columns(specs: Mapping[str, ClinicalSpec], columns: Mapping[str, object]) -> None:
    """Refuse a plugin that would be given what it is to say.

    Raises
    ------
    LearningError
        If a label has the name of a clinical value.
    """
    both = sorted(specs.keys() & columns.keys())
    if both:
        raise LearningError(
            f"{both[0]} is a label of train.py and a clinical value of the manifest: the plugin "
            "would be told what it is to say; rename one of them"
        )


def _written(spec: ClinicalSpec, text: str) -> Value:
    if spec.kind in ("flag", "words"):
        return checked(spec, from_text(spec, text))
    number, _, unit = text.partition(" ")
    return checked(spec, from_text(spec, number), unit.strip())
