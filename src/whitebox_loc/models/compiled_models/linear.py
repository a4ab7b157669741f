"""The best linear localizer, from its normal equations solved by hand."""

from __future__ import annotations

from fractions import Fraction

import keras
import numpy as np

from whitebox_loc._types import Array
from whitebox_loc.models.compiled_models.parts import answer, dense, part


def dense_linear(size: tuple[int, int], channels: int) -> keras.Model:
    """Build the linear model of least mean squared error over all boxes of the canvas."""
    weights, biases = linear_solution(size)
    kernel = np.repeat(weights.reshape(4, -1).T, channels, axis=0) / channels
    images = keras.Input((*size, channels), name="image")
    pixels = part(keras.layers.Flatten, "pixels")(images)
    return answer(images, dense(pixels, "corners", kernel, biases), size, "dense_linear")


def linear_solution(size: tuple[int, int]) -> tuple[Array, Array]:
    """Return weights (4, height, width) and biases (4,): docs/compiled.md#dense_linear."""
    height, width = size
    top, row_bias = _first_edge(height, width)
    left, column_bias = _first_edge(width, height)
    weights = np.empty((4, height, width))
    weights[0], weights[2] = top[:, None], -top[::-1, None]
    weights[1], weights[3] = left[None, :], -left[None, ::-1]
    return weights, np.array([row_bias, column_bias, height - row_bias, width - column_bias])


def linear_usage(lit: Array) -> Array:
    """Return the pixels with a weight: whatever the image, changing one changes the answer."""
    weights, _ = linear_solution(lit.shape[1:])
    return np.repeat((weights != 0)[:, None], len(lit), axis=1)


def _first_edge(along: int, across: int) -> tuple[Array, float]:
    """Return the weights (along,) and the bias for the first edge of an axis."""
    if along == 1:  # The edge is always at 0.
        return np.zeros(1), 0.0
    # Fractions, because whether a weight is 0 decides whether its pixel is used.
    covered = Fraction((along + 2) * (across + 2), 9 * (along + 1) * (across + 1))
    bias = (along - 1) * (Fraction(1, 3) - covered) / (1 - 4 * covered)
    cells = (along + 1) * (across + 1)
    line = [(2 * (3 * y + 1 - along) - 4 * bias) / cells for y in range(along)]
    return np.array([float(w) for w in line]), float(bias)
