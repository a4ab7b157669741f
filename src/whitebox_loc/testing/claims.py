"""Claims that contracts make about arrays, and what they say when one does not hold."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from whitebox_loc._types import Array, ArrayLike, Model

Place = Callable[[tuple[int, ...]], str]
"""From the index of a number to words that say where it is."""

CANCELLED = 16
"""Terms of a sum may be so many times larger than what is left of them."""

REPEATED = (
    "Look for random numbers without a seed, and for state that is kept from one call to the "
    "next; on a GPU also for sums in any order "
    "(tf.config.experimental.enable_op_determinism() fixes it)."
)


def rounding(model: Model, size: tuple[int, ...], scale: float, ways: int = 1) -> float:
    """Return how far two float32 computations of one thing may be apart.

    A sum of k products is rounded at most k times, each time by half a unit in the last place of
    a partial sum; another batch size or order rounds otherwise, so that two results differ by k
    units. An output is a chain of such sums, one a kernel, as long as the kernel's fan-in, and of
    sums along the image's sides; what is added up may be `CANCELLED` times larger than what
    remains. So the bound is the sum of these lengths, times that, times 2^-23, times `scale`, the
    largest of the numbers compared, and `ways`: 2 for a gradient, there and back.

    Examples
    --------
    >>> import keras
    >>> model = keras.Sequential([keras.Input((8,)), keras.layers.Dense(4)])
    >>> rounding(model, (2, 4), 1.0) == (8 + 2 + 4) * 16 * 2**-23
    True
    """
    fan_in = sum(math.prod(w.shape[:-1]) for w in model.weights if len(w.shape) > 1)
    return float(ways * (fan_in + sum(size)) * CANCELLED * np.finfo(np.float32).eps * scale)


def claim_finite(who: str, array: Array, place: Place, look: str) -> None:
    """Raise an AssertionError at the first number that is NaN or infinite."""
    bad = ~np.isfinite(array)
    if bad.any():
        first = _index(np.argmax(bad), array)
        raise AssertionError(
            f"{who} is not finite: {place(first)} is {array[first]}, {int(bad.sum())} such of "
            f"{array.size} numbers. {look}"
        )


def claim_close(
    who: str, values: Array, expected: ArrayLike, tolerance: float, place: Place, look: str
) -> None:
    """Raise an AssertionError at the largest difference if it is above the tolerance.

    `who` says what differs from what, such as "A depends on B". NaN equals NaN.
    """
    expected = np.asarray(expected, np.float64)
    if expected.shape != values.shape:
        raise AssertionError(
            f"{who}: shape {values.shape} is compared with shape {expected.shape}. {look}"
        )
    apart = np.abs(values.astype(np.float64) - expected)
    apart[np.isnan(values) & np.isnan(expected)] = 0
    apart[np.isnan(values) != np.isnan(expected)] = np.inf
    if apart.size and apart.max() > tolerance:
        worst = _index(np.argmax(apart), apart)
        raise AssertionError(
            f"{who}: {place(worst)} is {values[worst]:.6g}, and not {expected[worst]:.6g}; "
            f"{apart[worst]:.3g} apart where rounding allows {tolerance:.3g}. {look}"
        )


def claim_same_bytes(who: str, first: Array, again: Array, place: Place) -> None:
    """Raise an AssertionError if two answers to one question are not equal bit for bit."""
    if first.tobytes() != again.tobytes():
        claim_close(f"{who} answers one question in two ways", again, first, 0.0, place, REPEATED)
        raise AssertionError(f"{who} answers one question by zeros of two signs. {REPEATED}")


def _index(flat: np.intp, array: Array) -> tuple[int, ...]:
    return tuple(int(i) for i in np.unravel_index(int(flat), array.shape))
