"""Bounds on the expectation of a softmax over positions, with what float32 rounds."""

from __future__ import annotations

import numpy as np

from whitebox_loc._types import Array
from whitebox_loc.verification.intervals import UNIT

EXP = 8 * UNIT
"""Largest relative error that a float32 exponential is taken to have: 4 units in the last place."""


def expectation(low: Array, high: Array) -> tuple[Array, Array]:
    """Return bounds on the expected position of softmax distributions, in positions.

    Parameters
    ----------
    low, high : arrays (..., n)
        Bounds on float32 logits.

    Returns
    -------
    low, high : arrays (...)
        Between which the float32 expectation lies, times n - 1. The lemma is in docs/proofs.md.
    """
    n = low.shape[-1]
    middle = (low + high) / 2
    depth = middle - middle.max(-1, keepdims=True)
    terms = np.exp(depth)
    shares = terms / terms.sum(-1, keepdims=True)
    positions = np.arange(n, dtype=np.float64)
    mean = shares @ positions
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
        # Each term is off by a factor of at most exp(off): its logit's interval, the rounding of
        # the difference to the largest logit, and the exponential.
        off = (high - low) / 2 + UNIT * (high.max(-1, keepdims=True) - low + 1) + EXP
        weights = np.exp(depth + off) / terms.sum(-1, keepdims=True) - shares
        slack = 1 - weights.sum(-1)
        moved = np.einsum("...n,...n", weights, np.abs(positions - mean[..., None])) / slack
        largest = (shares + weights) / slack[..., None]
        error = moved + rounding(count_terms(largest, n), mean + moved, n - 1)
    error = np.where(slack > 0, error, np.inf)
    return mean - error, mean + error


def count_terms(shares: Array, n: int) -> Array:
    """Return how many shares are so large that adding them can round; the rest sum to UNIT / 2."""
    return (shares >= UNIT / (2 * n)).sum(-1)


def rounding(terms: Array, mean: Array, largest: float, small: Array | float = 0.0) -> Array:
    """Return how far divisions, products and sums of an expectation can be off in float32.

    Parameters
    ----------
    terms : array (...)
        Number of terms that are not negligible, as of `count_terms`.
    mean : array (...)
        The expectation.
    largest : float
        Largest position.
    small : array (...)
        Share of all terms beyond those, at most; of fewer than 2^17 terms in all.
    """
    # To add a term loses no more than the term: once in the sum of terms, once in that of terms
    # times positions. Of second order is what the small ones lose among themselves: 2^-7 of them.
    lost = (1 + 2.0**-7) * np.asarray(small)
    relative = (2 * terms + 8) * UNIT + lost
    with np.errstate(divide="ignore", invalid="ignore"):
        off = (relative * mean + lost * largest) / (1 - relative) + 4 * UNIT * largest
    bound: Array = np.where(relative < 1, off, np.inf)
    return bound
