"""Where path methods look: points and weights on the way."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np

from whitebox_loc._types import Array
from whitebox_loc._validation import check_choice, check_int, check_memory


def quadrature(rule: str, steps: int, size: int = 1) -> tuple[Array, Array]:
    """Return points in [0, 1] and weights that add up to 1, both (steps,) float64.

    The caller keeps `size` numbers for each step.
    """
    check_choice("rule", rule, RULES)
    # The points of Gauss are the eigenvalues of a matrix (steps, steps).
    high = 2000 if rule == "gauss_legendre" else None
    check_int("steps", steps, low=2 if rule == "trapezoid" else 1, high=high)
    check_memory("steps", steps, 8.0 * steps * size, "points on the way")
    return _cached(rule, steps)


def blur_matrices(length: int, sigmas: Array) -> tuple[Array, Array]:
    """Return matrices (s, length, length) that blur a line, and their derivatives by sigma.

    Row i of a matrix is the Gaussian around pixel i, sampled at whole pixels and scaled to
    sum 1 on the infinite line; beyond its ends the line is black. Sigma 0 is the identity.
    """
    far = np.arange(-length - int(10 * sigmas.max()) - 1, length + int(10 * sigmas.max()) + 2)
    safe = np.where(sigmas > 0, sigmas, 1.0)[:, None]
    kernel = np.exp(-0.5 * (far / safe) ** 2)
    slope = kernel * far**2 / safe**3
    total, total_slope = kernel.sum(1, keepdims=True), slope.sum(1, keepdims=True)
    slope = (slope - kernel * total_slope / total) / total
    kernel = kernel / total
    kernel[sigmas == 0], slope[sigmas == 0] = far == 0, 0.0
    offset = np.arange(length)[None, :] - np.arange(length)[:, None] - far[0]
    return kernel[:, offset], slope[:, offset]


@cache
def _cached(rule: str, steps: int) -> tuple[Array, Array]:
    # The roots of a polynomial of degree 50 take as long as one image's gradient.
    nodes, weights = RULES[rule](steps)
    nodes.flags.writeable = weights.flags.writeable = False
    return nodes, weights


def _gauss_legendre(steps: int) -> tuple[Array, Array]:
    nodes, weights = np.polynomial.legendre.leggauss(steps)
    return (nodes + 1) / 2, weights / 2


def _trapezoid(steps: int) -> tuple[Array, Array]:
    weights = np.full(steps, 1 / (steps - 1))
    weights[[0, -1]] /= 2
    return np.linspace(0, 1, steps), weights


def _midpoint(steps: int) -> tuple[Array, Array]:
    return (np.arange(steps) + 0.5) / steps, np.full(steps, 1 / steps)


RULES: dict[str, Callable[[int], tuple[Array, Array]]] = {
    "gauss_legendre": _gauss_legendre,
    "trapezoid": _trapezoid,
    "midpoint": _midpoint,
}
"""Quadrature rules: exact for polynomials of degree ``2 steps - 1``, 1 and 1."""
