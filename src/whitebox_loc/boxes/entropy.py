"""Binary entropy and cross entropy of relative coordinates, number by number."""

from __future__ import annotations

from typing import Any

from whitebox_loc._types import ArrayLike
from whitebox_loc.boxes._arrays import namespace

TANGENT = 0.01
"""Share of the target below which a prediction is scored on the tangent of the logarithm.

Tied to the target, it never moves the minimum, and it bounds the slope by ``1 / 0.01``. A fixed
epsilon does one or the other: 1e-7 lets a coordinate at 0 have a gradient of 1e7, which Adam
remembers for a thousand steps, and a large one pulls every target below it to 0.
"""


def entropy(targets: ArrayLike) -> ArrayLike:
    """Binary entropy in nats of numbers in [0, 1]: the least `cross_entropy` can be.

    Examples
    --------
    >>> import numpy as np
    >>> entropy(np.array([0.0, 0.5, 1.0])).round(3)
    array([0.   , 0.693, 0.   ])
    """
    xp = namespace(targets)

    def log(p: ArrayLike) -> ArrayLike:
        # p log p tends to 0 with p: ask the logarithm about 1 there instead.
        return xp.log(xp.where(p > 0, p, 1.0))

    return 0.0 - targets * log(targets) - (1.0 - targets) * log(1.0 - targets)


def cross_entropy(
    targets: ArrayLike, predictions: ArrayLike, tangent: float = TANGENT
) -> ArrayLike:
    """Binary cross entropy in nats, convex and finite with a useful gradient everywhere.

    With ``p`` the prediction and ``t`` the target it is ``-t log p - (1 - t) log(1 - p)``,
    except that ``log p`` goes on as its tangent where ``p < tangent * t``, and ``log(1 - p)``
    where ``1 - p < tangent * (1 - t)``. A prediction outside [0, 1] also pays its distance to it.
    So for every target the minimum is at ``p = t``, the gradient points there from everywhere,
    never vanishes as if ``p`` were clipped, and is at most ``1 / tangent + 1``.

    Examples
    --------
    >>> import numpy as np
    >>> cross_entropy(np.array([0.5, 1.0, 0.0]), np.array([0.5, 1.0, -2.0])).round(3)
    array([0.693, 0.   , 2.   ])
    """
    xp = namespace(targets, predictions)
    below = xp.minimum(predictions, 1.0)
    above = xp.minimum(1.0 - predictions, 1.0)
    outside = xp.abs(predictions - xp.minimum(xp.maximum(predictions, 0.0), 1.0))
    hit = _weighted_log(xp, targets, below, tangent)
    miss = _weighted_log(xp, 1.0 - targets, above, tangent)
    return outside - hit - miss


def _weighted_log(xp: Any, weight: ArrayLike, p: ArrayLike, tangent: float) -> ArrayLike:
    """Return ``weight * log(p)``, and its tangent where ``p < tangent * weight``."""
    safe = xp.maximum(p, tangent * weight)
    # Zero times the logarithm of zero is meant to be zero: ask about 1 there instead.
    log = xp.log(xp.where(safe > 0, safe, 1.0))
    return weight * log + xp.where(weight > 0, (p - safe) / tangent, 0.0)
