"""Judges an outlined neuroendocrine tumour of the pancreas on CT, and pathology where known."""

from statistics import NormalDist

import numpy as np
from prepare import (
    CT,
    FOLDER,
    LEARNED_WITH,
    PATHOLOGY,
    SETTINGS,
    TUMOR,
    factors_of,
    measured,
    network,
    pathology_of,
    region_of,
)

from node.plugin import Measurement, Quality, Result, Segment
from node.toolkit.diameters import longest_in_plane
from node.toolkit.logistic import Logistic, sigmoid
from node.toolkit.outlines import incomplete
from node.toolkit.radiomics import NoFeatures
from node.toolkit.signature import Signature, check_settings, kept_names, table_of
from node.toolkit.signature.shown import kept_measurements, kept_words, unlike_words
from node.toolkit.training import read_weights

_LEVEL = 0.95
UNUSED = "No clinical value was used."


class Plugin:
    def load(self, device):
        """Read the signature and the nomogram; they count with NumPy, on any device."""
        arrays = read_weights(FOLDER / "weights.safetensors")
        check_settings(arrays, LEARNED_WITH)
        self.signature = Signature.from_arrays(arrays, "rdp.")
        self.nomogram = nomogram_from(arrays)
        # Of all features, the few that it looks at are measured.
        self.wanted = kept_names(self.signature)
        if "deep" in self.wanted:
            network()  # a file that is missing or another one is said now, not of a patient

    def run(self, case):
        volume, mask = region_of(case)
        if why := incomplete(mask, volume.spacing_mm):
            return Result(refusal=f"the outline does not hold the whole tumour: {why}")
        try:
            found = measured(volume, mask, self.wanted)
        except NoFeatures as error:
            return Result(refusal=f"no features can be taken of the tumour: {error}")
        table = table_of([found], self.wanted)
        (rdp,) = self.signature.intervals(table, level=_LEVEL)
        measurements = [
            Measurement(
                name="p_rdp",
                value=100 * rdp.estimate,
                interval=percent(rdp.low, rdp.high),
                segment=TUMOR,
            )
        ]
        nomogram, note = self._by_pathology(rdp.estimate, case.values)
        score = float(self.signature.score(table)[0])
        measurements += [
            *nomogram,
            Measurement(name="score", value=score, segment=TUMOR),
            Measurement(name="threshold", value=100 * SETTINGS["threshold"], segment=TUMOR),
        ]
        longest = longest_in_plane(mask, volume.spacing_mm[1:])
        if longest is not None:
            measurements.append(
                Measurement(name="diameter", value=longest[0], segment=TUMOR, line=longest[1])
            )
        there = "present" if rdp.estimate >= SETTINGS["threshold"] else "absent"
        kept = f"Kept features: {kept_words(self.signature)}; by {self.signature.classifier}."
        if "deep" in self.wanted:
            kept += f" Deep features are outputs of {SETTINGS['backbone']}."
        return Result(
            segments=(Segment(name=TUMOR, mask=mask, role=CT),),
            measurements=(
                *measurements,
                *kept_measurements(self.signature, table, segment=TUMOR),
            ),
            qualities=(Quality(name="nodal_class", choice=there, segment=TUMOR),),
            # The report lists every known value, used or not.
            notes=(
                *unlike_words(self.signature, table),
                kept,
                note,
                *(() if nomogram or not case.values else (UNUSED,)),
            ),
        )

    def _by_pathology(self, probability, values):
        """Return the nomogram's measurement, or none, and the sentence about it."""
        missing = [name.replace("_", " ") for name in PATHOLOGY if name not in values]
        if missing:
            return [], f"No nomogram: pathology does not say {', '.join(missing)}."
        if self.nomogram is None:
            return [], "No nomogram: it was trained without pathology."
        factors = factors_of(np.array([probability]), pathology_of(values)[None])
        low, middle, high = interval_of(self.nomogram, factors)
        said = Measurement(
            name="p_nomogram", value=100 * middle, interval=percent(low, high), segment=TUMOR
        )
        return [said], (
            "The nomogram rests on pathology (vascular invasion, perineural invasion, grade): it "
            "is no judgement before an operation. Threshold and class are of the images alone."
        )


def percent(low, high):
    return 100 * low, 100 * high


def interval_of(model, factors):
    """Return low end, estimate and high end, by the delta method on the log-odds."""
    design = np.append(factors[0], 1.0)
    reach = NormalDist().inv_cdf(0.5 + _LEVEL / 2) * np.sqrt(design @ model.covariance @ design)
    middle = model.log_odds(factors)[0]
    return tuple(float(p) for p in sigmoid([middle - reach, middle, middle + reach]))


def nomogram_arrays(model):
    """Return what a weights file keeps of a nomogram."""
    return {
        "nomogram.weights": np.append(model.weights, model.intercept),
        "nomogram.covariance": model.covariance,
    }


def nomogram_from(arrays):
    """Return the nomogram of a weights file; None: it has none."""
    if "nomogram.weights" not in arrays:
        return None
    weights = np.asarray(arrays["nomogram.weights"], np.float64)
    return Logistic(
        weights=weights[:-1],
        intercept=float(weights[-1]),
        covariance=np.asarray(arrays["nomogram.covariance"], np.float64),
    )
