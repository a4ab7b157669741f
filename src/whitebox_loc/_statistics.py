"""How sure means are: bootstrap intervals of one mean, or of many over the same images."""

from __future__ import annotations

import numpy as np

from whitebox_loc._types import Array, ArrayLike, Seed
from whitebox_loc._validation import check_generator, check_int, check_numbers, check_real

CHUNK = 2_000_000
"""How often images are drawn, at most, for the resamples in memory at a time."""

MOST_RESAMPLES = 10_000_000
"""More would take hours for digits that nobody reads."""


def bootstrap_interval(
    values: Array, *, confidence: float = 0.95, resamples: int = 1000, seed: Seed = 0
) -> tuple[Array, Array]:
    """Return percentile bootstrap intervals of the means over the first axis.

    Parameters
    ----------
    values : array (n, ...)
        NaN where a number is undefined for an image; such images are left out of its mean.
    confidence : float, default 0.95
        Share of repetitions in which an interval is meant to hold the mean of the population.
    resamples : int, default 1000
        Samples of n images drawn with replacement, the same for all numbers.
    seed : int or Generator, default 0
        Source of randomness.

    Returns
    -------
    low, high : float64 arrays of the shape ``values.shape[1:]``
        NaN where fewer than two images have a number.

    References
    ----------
    B. Efron, "Bootstrap methods: another look at the jackknife", 1979,
    doi:10.1214/aos/1176344552.

    Examples
    --------
    >>> bootstrap_interval(np.array([[1.0, 3.0], [1.0, np.nan]]))
    (array([ 1., nan]), array([ 1., nan]))
    """
    confidence = check_real("confidence", confidence, low=0, high=1)
    resamples = check_int("resamples", resamples, low=1)
    generator = check_generator(seed)
    shape = np.shape(values)[1:]
    flat = np.asarray(values, np.float64).reshape(len(values), int(np.prod(shape)))
    ends = np.full((2, flat.shape[1]), np.nan)
    # Numbers that are defined for the same images share their samples.
    patterns, which = np.unique(~np.isnan(flat), axis=1, return_inverse=True)
    for index, defined in enumerate(patterns.T):
        columns = which.ravel() == index
        if defined.sum() >= 2:
            means = _resampled_means(flat[defined][:, columns], resamples, generator)
            levels = [(1 - confidence) / 2, (1 + confidence) / 2]
            ends[:, columns] = np.quantile(means, levels, axis=0)
    low, high = ends.reshape(2, *shape)
    return low, high


def mean_interval(
    values: ArrayLike, *, level: float = 0.95, resamples: int = 2000, seed: Seed = 0
) -> tuple[float, float]:
    """Return the percentile bootstrap interval of a mean.

    Parameters
    ----------
    values : array (n,)
        One finite number an image.
    level : float, default 0.95
        As `confidence` of `bootstrap_interval`, above 0. For few images, below about 20, the
        interval holds the mean less often.
    resamples, seed : int
        As for `bootstrap_interval`.

    Returns
    -------
    (float, float)
        NaN for fewer than two values.

    Examples
    --------
    >>> mean_interval([2.0, 2.0, 2.0])
    (2.0, 2.0)
    """
    values = check_numbers("values", values)
    if values.ndim != 1:
        raise ValueError(f"`values` must have shape (n,); got {values.shape}.")
    level = check_real("level", level, above=0, high=1)
    resamples = check_int("resamples", resamples, low=1, high=MOST_RESAMPLES)
    low, high = bootstrap_interval(values, confidence=level, resamples=resamples, seed=seed)
    return float(low), float(high)


def _resampled_means(values: Array, resamples: int, generator: np.random.Generator) -> Array:
    """Return means (resamples, k) of samples of all of n images, from how often each is drawn."""
    n = len(values)
    step = max(1, CHUNK // n)
    parts = []
    for start in range(0, resamples, step):
        count = min(step, resamples - start)
        draws = generator.integers(n, size=(count, n)) + n * np.arange(count)[:, None]
        counts = np.bincount(draws.ravel(), minlength=count * n).reshape(count, n)
        parts.append(counts @ values / n)
    return np.concatenate(parts)
