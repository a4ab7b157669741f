"""How sure a mean is: bootstrap intervals."""

from __future__ import annotations

from typing import Any

import numpy as np

from whitebox_loc._validation import check_generator, check_int, check_numbers, check_real

__all__ = ["MOST_RESAMPLES", "mean_interval"]

CHUNK = 1_000_000
"""Resampled values held in memory at a time."""

MOST_RESAMPLES = 10_000_000
"""More would take hours for digits that nobody reads."""


def mean_interval(
    values: Any, *, level: float = 0.95, resamples: int = 2000, seed: Any = 0
) -> tuple[float, float]:
    """Return the percentile bootstrap interval of a mean.

    Parameters
    ----------
    values : array (n,)
        One finite number an image. Leave out those where it is undefined, and say how many.
    level : float, default 0.95
        Share of repetitions in which the interval is meant to hold the mean of the population,
        above 0.
        For few images, below about 20, it holds it less often.
    resamples : int, default 2000
        Samples of n drawn with replacement.
    seed : int or Generator, default 0
        Source of randomness.

    Returns
    -------
    (float, float)
        Lower and upper end; NaN for fewer than two values.

    Raises
    ------
    ValueError, TypeError
        If an argument is out of range, or a value is NaN or infinite.

    References
    ----------
    B. Efron, "Bootstrap methods: another look at the jackknife", 1979,
    doi:10.1214/aos/1176344552.

    Examples
    --------
    >>> values = np.array([2.0, 2.0, np.nan, 2.0])
    >>> mean_interval(values[~np.isnan(values)])
    (2.0, 2.0)
    >>> low, high = mean_interval(np.arange(100.0))
    >>> bool(low < 49.5 < high)
    True
    """
    values = check_numbers("values", values)
    if values.ndim != 1:
        raise ValueError(f"`values` must have shape (n,); got {values.shape}.")
    level = check_real("level", level, above=0, high=1)
    resamples = check_int("resamples", resamples, low=1, high=MOST_RESAMPLES)
    rng = check_generator(seed)
    if len(values) < 2:
        return float("nan"), float("nan")
    step = max(1, CHUNK // len(values))
    means = [
        values[rng.integers(len(values), size=(min(step, resamples - done), len(values)))].mean(1)
        for done in range(0, resamples, step)
    ]
    low, high = np.quantile(np.concatenate(means), [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
