"""How alike two maps are, image by image."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from whitebox_loc._types import Array
from whitebox_loc.evaluation.scores.checking import flat


def rank_correlation(first: Array, second: Array) -> Array:
    """Return Spearman's correlation (n,) of maps (n, height, width), ties with mean ranks.

    NaN where the first map is constant: it ranks nothing. 0 where only the second is.
    """
    from scipy.stats import rankdata

    a, b = (rankdata(flat(maps), axis=1) for maps in (first, second))
    a, b = a - a.mean(1, keepdims=True), b - b.mean(1, keepdims=True)
    norms = np.sqrt((a**2).sum(1) * (b**2).sum(1))
    cosine = np.where(norms > 0, (a * b).sum(1) / np.where(norms > 0, norms, 1), 0)
    return np.where((a != 0).any(1), np.clip(cosine, -1, 1), np.nan)


def structural_similarity(first: Array, second: Array) -> Array:
    """Return the mean SSIM (n,) of maps (n, height, width), each divided by its largest |a|.

    Gaussian windows of 1.5 pixels, cut off at 5, and constants for values of range 2. NaN where
    the first map is zero everywhere.

    References
    ----------
    Z. Wang et al., "Image quality assessment", 2004, doi:10.1109/TIP.2003.819861.
    """
    a, b = _unit(first), _unit(second)
    mean_a, mean_b = _window(a), _window(b)
    var_a, var_b = _window(a * a) - mean_a**2, _window(b * b) - mean_b**2
    both = _window(a * b) - mean_a * mean_b
    c1, c2 = (0.01 * 2) ** 2, (0.03 * 2) ** 2
    top = (2 * mean_a * mean_b + c1) * (2 * both + c2)
    index = (top / ((mean_a**2 + mean_b**2 + c1) * (var_a + var_b + c2))).mean((1, 2))
    return np.where(flat(first).any(1), index, np.nan)


def _unit(maps: Array) -> Array:
    largest = np.abs(maps).max((1, 2), keepdims=True)
    return maps / np.where(largest > 0, largest, 1)


def _window(maps: Array) -> Array:
    from scipy.ndimage import gaussian_filter

    return gaussian_filter(maps, (0, 1.5, 1.5), radius=(0, 5, 5), mode="reflect")


SIMILARITIES: dict[str, Callable[[Array, Array], Array]] = {
    "spearman": rank_correlation,
    "ssim": structural_similarity,
}
"""Name to function from two batches of maps to (n,)."""
