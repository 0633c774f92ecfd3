"""What a report shows of a signature: its kept features with their values, and what they mean."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase

from node.plugin import Measurement
from node.toolkit.signature.signature import UNLIKE_SD, Signature
from node.toolkit.signature.table import Table

_MOST_NAMED = 3


def kept_measurements(
    signature: Signature, table: Table, *, segment: str | None = None, leave: Sequence[str] = ()
) -> tuple[Measurement, ...]:
    """Return each kept feature of one case with its value, in the order of the signature.

    Parameters
    ----------
    signature : Signature
    table : Table
        Of one case.
    segment : str or None
        What the features were taken of.
    leave : names of blocks
        That are left out: clinical values for instance, which the node lists with their sources.

    Examples
    --------
    >>> measurement_name("original_glcm_Contrast"), measurement_name("resnet50.output.0042")
    ('original_glcm_contrast', 'deep_42')
    """
    (values,) = signature.features(table)
    return tuple(
        Measurement(name=measurement_name(one.name), value=float(value), segment=segment)
        for one, value in zip(signature.kept, values, strict=True)
        if one.block not in leave
    )


def measurement_name(feature: str) -> str:
    """Return the name of the measurement of a feature.

    Of radiomics that which ``[radiomics]`` of a manifest declares; of deep features that of
    ``[measurements.deep]`` with ``count``.
    """
    stem, _, number = feature.rpartition(".")
    return f"deep_{int(number)}" if stem and number.isdigit() else feature.lower()


def kept_words(signature: Signature) -> str:
    """Return how many features of each block are kept, for a sentence."""
    counts = {block: counts["kept"] for block, counts in signature.counts.items()}
    return ", ".join(f"{count} {block.replace('_', ' ')}" for block, count in counts.items())


def unlike_words(signature: Signature, table: Table) -> tuple[str, ...]:
    """Return a sentence if nothing like the one case was learned from, else ()."""
    (names,) = signature.unlike(table)
    if not names:
        return ()
    named = ", ".join(names[:_MOST_NAMED]) + (", …" if len(names) > _MOST_NAMED else "")
    return (
        f"Nothing like this was learned from, so do not rely on the probability: {len(names)} of "
        f"{len(signature.kept)} kept features lie more than {UNLIKE_SD:g} standard deviations from "
        f"the mean of the cases learned from ({named}).",
    )


def families_of(
    names: Sequence[str], families: Mapping[str, Sequence[str]], *, none: str = ""
) -> dict[str, str]:
    """Return the family of each feature: the first with a pattern that fits.

    Parameters
    ----------
    names : of features
    families : mapping of family to patterns, ``*`` for any letters
        ``[families]`` of a `cohort.toml`.
    none : what a feature that fits no pattern belongs to

    Examples
    --------
    >>> families_of(["original_glcm_Idm", "x"], {"texture": ["original_gl*"]})
    {'original_glcm_Idm': 'texture', 'x': ''}
    """
    return {
        name: next(
            (
                family
                for family, patterns in families.items()
                if any(fnmatchcase(name, pattern) for pattern in patterns)
            ),
            none,
        )
        for name in names
    }
