"""Judges an outlined nasopharyngeal carcinoma on MR: how likely it comes back after treatment."""

import numpy as np
from prepare import (
    FOLDER,
    LEARNED_WITH,
    SETTINGS,
    TUMOR,
    check_regions,
    measured,
    model_named,
    network,
    region_of,
    table_with,
)

from node.plugin import Measurement, Quality, Result, Segment
from node.toolkit.radiomics.extract import NoFeatures
from node.toolkit.signature import Signature, check_settings, kept_names
from node.toolkit.signature.shown import kept_measurements, kept_words, unlike_words
from node.toolkit.training import read_weights

#: Which signature of the weights file speaks by which measurement.
SIGNATURES = {"p_recurrence": "model.", "p_radiomic": "radiomic."}


class Plugin:
    def load(self, device):
        """Read the signatures; they count with NumPy, on any device."""
        arrays = read_weights(FOLDER / "weights.safetensors")
        check_settings(arrays, LEARNED_WITH)
        self.models = {
            name: Signature.from_arrays(arrays, prefix) for name, prefix in SIGNATURES.items()
        }
        self.sequence, _, _ = model_named(SETTINGS["model"])
        # Of all features, the few that they look at are measured.
        self.wanted = kept_names(*self.models.values())
        if any(block.endswith("deep") for block in self.wanted):
            network()  # a file that is missing or another one is said now, not of a patient

    def run(self, case):
        try:
            check_regions(case)
            found = measured(case, self.wanted)
        except NoFeatures as error:
            return Result(refusal=f"no features can be taken of the tumour: {error}")
        table, segment = table_with([found], self.wanted), TUMOR[self.sequence]
        model = self.models["p_recurrence"]
        (said,) = model.intervals(table)
        measurements = [
            Measurement(
                name="p_recurrence",
                value=100 * said.estimate,
                interval=(100 * said.low, 100 * said.high),
                segment=segment,
            ),
            Measurement(
                name="p_radiomic",
                value=100 * float(self.models["p_radiomic"].probability(table)[0]),
                segment=segment,
            ),
            Measurement(name="score", value=float(model.score(table)[0]), segment=segment),
            Measurement(name="threshold", value=100 * SETTINGS["threshold"], segment=segment),
            *kept_measurements(model, table, segment=segment, leave=("clinical",)),
        ]
        risk = "high" if said.estimate >= SETTINGS["threshold"] else "low"
        return Result(
            segments=(
                Segment(name=segment, mask=region_of(case, self.sequence), role=self.sequence),
            ),
            measurements=tuple(measurements),
            qualities=(Quality(name="risk_group", choice=risk, segment=segment),),
            notes=(
                *unlike_words(model, table),
                f"Model {SETTINGS['model']}; features kept: {kept_words(model)}.",
                *network_note(self.wanted),
                *values_used(model, case.values),
                *not_known(table),
            ),
        )


def network_note(blocks):
    """Return a sentence on the network of deep features, where any are kept."""
    if not any(block.endswith("deep") for block in blocks):
        return ()
    return (f"Deep features are outputs of {SETTINGS['backbone']}.",)


def values_used(model, values):
    """Return a sentence on the known clinical values: the report lists all, used or not."""
    if not values:
        return ()
    kept = {one.name.removeprefix("log10_") for one in model.kept if one.block == "clinical"}
    used = ", ".join(name.replace("_", " ") for name in values if name in kept)
    if used:
        return (f"Clinical values used: {used}.",)
    return (f"Model {SETTINGS['model']} used no clinical value.",)


def not_known(table):
    """Return a sentence on clinical values that are asked for and not known."""
    block = table.blocks.get("clinical")
    if block is None or not np.isnan(block.values).any():
        return ()
    lacking = zip(block.names, np.isnan(block.values[0]), strict=True)
    names = ", ".join(name for name, lacks in lacking if lacks)
    return (f"Not known, taken as the mean of the cases learned from: {names}.",)
