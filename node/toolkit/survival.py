"""Time until something happens, where for some it has not happened yet. By lifelines."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from node.toolkit.bootstrap import Interval

Array = NDArray[np.float64]
#: Logarithms of hazard ratios beyond it are beyond float64 too.
_FARTHEST = 700.0
#: Types of a group's name that are a number, and those of them that may be NaN.
_NUMBERS = (int, float, np.number, np.bool_)
_FRACTIONS = (float, np.floating)


@dataclass(frozen=True, kw_only=True, eq=False)
class SurvivalCurve:
    """Kaplan and Meier's estimate, with Greenwood's interval on the log(-log) scale.

    Attributes
    ----------
    time : float64, shape (points,)
        Starts at 0; in the unit that was given.
    survival, low, high : float64, shape (points,)
        Share without the event from this time on.
    at_risk : int64, shape (points,)
        So many were watched up to this time.
    median : float
        When the curve first reaches one half; infinite if never.
    """

    time: Array
    survival: Array
    low: Array
    high: Array
    at_risk: NDArray[np.int64]
    median: float


@dataclass(frozen=True, kw_only=True)
class LogRank:
    """Whether groups differ."""

    statistic: float
    degrees: int
    p_value: float


@dataclass(frozen=True, kw_only=True)
class Hazard:
    """What one covariate does to the hazard, the others held where they are."""

    name: str
    #: For one unit more.
    ratio: Interval
    p_value: float


@dataclass(frozen=True, kw_only=True)
class CoxModel:
    """Cox's proportional hazards (1972), ties by Efron."""

    hazards: tuple[Hazard, ...]
    #: Harrell's C of the fitted risk, on the same cases.
    concordance: float
    log_likelihood: float

    def hazard(self, name: str) -> Hazard:
        """Return what one covariate does; ValueError, if the model has none of that name."""
        for one in self.hazards:
            if one.name == name:
                return one
        known = ", ".join(one.name for one in self.hazards)
        raise ValueError(f"there is no covariate {name}; the model has {known}")


def kaplan_meier(time: ArrayLike, event: ArrayLike, *, level: float = 0.95) -> SurvivalCurve:
    """Return the survival curve of some cases.

    Parameters
    ----------
    time : float, shape (cases,)
        Until the event, or until the case was last seen; any unit, >= 0.
    event : bool, shape (cases,)
        Whether it happened.

    Raises
    ------
    ValueError
        If shapes differ, a time is negative or not finite, or there is no case.
    """
    times, events = _checked(time, event)
    from lifelines import KaplanMeierFitter

    fitted: Any = KaplanMeierFitter(alpha=1.0 - level)
    fitted.fit(times, events)
    interval = fitted.confidence_interval_.to_numpy(float)
    points = fitted.survival_function_.index.to_numpy(float)
    return SurvivalCurve(
        time=points,
        survival=fitted.survival_function_.to_numpy(float)[:, 0],
        low=interval[:, 0],
        high=interval[:, 1],
        at_risk=np.array([int((times >= point).sum()) for point in points], np.int64),
        median=float(fitted.median_survival_time_),
    )


def log_rank(time: ArrayLike, event: ArrayLike, group: Sequence[object]) -> LogRank:
    """Compare two or more groups (Mantel 1966).

    Parameters
    ----------
    group : all numbers, or all words, length cases
        Equal numbers are one group, whatever their type: 1, 1.0 and True. Anything else goes by
        its text.

    Raises
    ------
    ValueError
        If there is only one group, a case has none (NaN or None), or numbers and words are mixed.
    """
    times, events = _checked(time, event)
    names = _group_names(group)
    count = len(set(names.tolist()))
    if names.shape != times.shape or count < 2:
        raise ValueError("a log-rank test needs a group for each case, and two groups")
    from lifelines.statistics import multivariate_logrank_test

    found: Any = multivariate_logrank_test(times, names, events)
    return LogRank(
        statistic=float(found.test_statistic), degrees=count - 1, p_value=float(found.p_value)
    )


def _group_names(group: Sequence[object]) -> NDArray[np.str_]:
    """Return one name for each case; raises unless all are numbers, or none is."""
    groups = list(group)
    if any(one is None or (isinstance(one, _FRACTIONS) and np.isnan(one)) for one in groups):
        raise ValueError("a case has no group (NaN or None); leave it out, or name its group")
    numeric = {isinstance(one, _NUMBERS) for one in groups}
    if len(numeric) > 1:
        raise ValueError("groups must be all numbers or all words; here are both: write them alike")
    first: dict[object, str] = {}  # by the number: 1 and 1.0 are the same key
    numbers = numeric == {True}
    return np.asarray([first.setdefault(o, str(o)) if numbers else str(o) for o in groups], str)


def cox(
    time: ArrayLike,
    event: ArrayLike,
    covariates: Mapping[str, ArrayLike],
    *,
    level: float = 0.95,
) -> CoxModel:
    """Fit the hazard ratios of some covariates.

    A class that a model predicted is not the class: its hazard ratio is nearer to 1 than the
    true one (E13).

    Parameters
    ----------
    covariates : mapping of name to float, shape (cases,)

    Raises
    ------
    ValueError
        If a covariate does not vary, no event happened, or no maximum is found.
    """
    times, events = _checked(time, event)
    columns = {name: np.asarray(values, float) for name, values in covariates.items()}
    for name, values in columns.items():
        if values.shape != times.shape or not np.isfinite(values).all():
            raise ValueError(f"covariate {name} has not one finite value for each case")
        if values.min() == values.max():
            raise ValueError(f"covariate {name} is the same in every case")
    if not events.any():
        raise ValueError("no event happened: a hazard cannot be estimated")
    # Of one size: lifelines refuses a column of little variance, whatever its unit.
    spreads = {name: float(values.std()) for name, values in columns.items()}
    scaled = {name: values / spreads[name] for name, values in columns.items()}
    fitted = _fitted(times, events, scaled, level)
    try:
        concordance = float(fitted.concordance_index_)
    except ZeroDivisionError as error:
        raise ValueError("of no two cases is known whose event came first") from error
    z = abs(float(_normal_quantile(level)))
    return CoxModel(
        hazards=tuple(_hazard(fitted, name, spreads[name], z, level) for name in columns),
        concordance=concordance,
        log_likelihood=float(fitted.log_likelihood_),
    )


def harrell_c(time: ArrayLike, event: ArrayLike, risk: ArrayLike) -> float:
    """Return the share of pairs in which the higher risk has the earlier event (Harrell 1982).

    Only pairs whose order is known count; equal risks count one half.

    Raises
    ------
    ValueError
        If there is no such pair.

    Examples
    --------
    >>> harrell_c([1, 2, 3], [1, 1, 0], [0.9, 0.2, 0.1])
    1.0
    """
    times, events = _checked(time, event)
    from lifelines.utils import concordance_index

    try:
        return float(concordance_index(times, -np.asarray(risk, float), events))
    except ZeroDivisionError as error:
        raise ValueError("of no two cases is known whose event came first") from error


def _fitted(
    times: Array, events: NDArray[np.bool_], columns: Mapping[str, Array], level: float
) -> Any:
    import pandas as pd
    from lifelines import CoxPHFitter
    from lifelines.exceptions import ConvergenceError, ConvergenceWarning

    fitter: Any = CoxPHFitter(alpha=1.0 - level)
    # Names of columns may be anything in a model's table, except the two of our own.
    frame = pd.DataFrame({f"x {name}": values for name, values in columns.items()})
    frame["time"], frame["event"] = times, events.astype(int)
    try:
        with warnings.catch_warnings():
            # It warns of what has no maximum, and gives a number all the same.
            warnings.simplefilter("error", ConvergenceWarning)
            fitter.fit(frame, duration_col="time", event_col="event")
    except (ConvergenceError, ConvergenceWarning, np.linalg.LinAlgError) as error:
        raise ValueError(
            "Cox's model finds no maximum: a covariate tells those with the event apart, or two "
            "say the same"
        ) from error
    return fitter


def _hazard(fitted: Any, name: str, spread: float, z: float, level: float) -> Hazard:
    weight = float(fitted.params_[f"x {name}"]) / spread
    error = float(fitted.standard_errors_[f"x {name}"]) / spread
    ends = (weight + sign * z * error for sign in (-1, 0, 1))
    low, middle, high = (math.exp(max(-_FARTHEST, min(_FARTHEST, end))) for end in ends)
    return Hazard(
        name=name,
        ratio=Interval(estimate=middle, low=low, high=high, level=level),
        p_value=float(fitted.summary["p"][f"x {name}"]),
    )


def _normal_quantile(level: float) -> float:
    from statistics import NormalDist

    return NormalDist().inv_cdf(0.5 + level / 2.0)


def _checked(time: ArrayLike, event: ArrayLike) -> tuple[Array, NDArray[np.bool_]]:
    times, events = np.asarray(time, float), np.asarray(event)
    if times.ndim != 1 or times.shape != events.shape or not times.size:
        raise ValueError(f"times {times.shape} and events {events.shape} are not one for each")
    if not (np.isfinite(times) & (times >= 0)).all():
        raise ValueError("a time is negative or not finite")
    if not np.isin(events, (0, 1)).all():
        raise ValueError("an event is neither 0 nor 1")
    return times, events.astype(np.bool_)
