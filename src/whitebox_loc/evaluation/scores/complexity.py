"""Complexity scores: whether the map is about few pixels, true or not."""

from __future__ import annotations

import numpy as np

from whitebox_loc._types import Array, ArrayLike
from whitebox_loc.evaluation.scores.checking import check_maps, flat


def gini(maps: ArrayLike) -> Array:
    r"""Return the Gini index of \|a\|: how unequally the mass is spread over pixels.

    Parameters
    ----------
    maps : float array (n, height, width)

    Returns
    -------
    float64 array (n,)
        0 for a constant map, 1 - 1 / pixels for a single pixel; NaN for a map that is zero
        everywhere.

    Raises
    ------
    ValueError, TypeError
        If a map is not finite or has another shape.

    References
    ----------
    P. Chalasani et al., "Concise explanations of neural networks using adversarial training",
    2020, arXiv:1810.06583. N. Hurley and S. Rickard, 2009, arXiv:0811.4706, compare 16 measures.

    Examples
    --------
    >>> gini([[[1.0, 1.0], [1.0, 1.0]], [[0.0, 0.0], [-7.0, 0.0]]])
    array([0.  , 0.75])
    """
    share = np.sort(_shares(maps), axis=1)
    pixels = share.shape[1]
    weight = (2 * np.arange(1, pixels + 1) - pixels - 1) / pixels
    return share @ weight


def entropy(maps: ArrayLike) -> Array:
    r"""Return the entropy of \|a\| in nats: over how many pixels the mass is spread.

    Parameters
    ----------
    maps : float array (n, height, width)

    Returns
    -------
    float64 array (n,)
        0 for a single pixel, log(pixels) for a constant map; NaN for a map that is zero
        everywhere. Errors as `gini`.

    References
    ----------
    U. Bhatt et al., "Evaluating and aggregating feature-based model explanations", 2020,
    arXiv:2005.00631, call it complexity.

    Examples
    --------
    >>> np.isclose(entropy([[[1.0, -1.0], [0.0, 0.0]]]), np.log(2))
    array([ True])
    """
    share = _shares(maps)
    # 0 log 0 is 0, and `+ 0.` turns the -0 of a single pixel into 0.
    return -(share * np.log(np.where(share > 0, share, 1))).sum(1) + 0.0


def _shares(maps: ArrayLike) -> Array:
    """Return each pixel's share of the mass (n, pixels), NaN for a zero map."""
    size = np.abs(flat(check_maps(maps)).astype(np.float64))
    largest = size.max(1, keepdims=True)
    size = size / np.where(largest > 0, largest, np.nan)
    return size / size.sum(1, keepdims=True)
