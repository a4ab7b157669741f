"""Compiled models that answer each coordinate from its own edge: docs/compiled.md."""

from __future__ import annotations

from collections.abc import Callable

import keras
import numpy as np

from whitebox_loc._types import Array, Tensor
from whitebox_loc.models.compiled_models.parts import (
    Places,
    answer,
    dense,
    outermost,
    part,
    places,
    profiles,
    weighted,
)

SHARPNESS = 8.0
"""Nats between neighbouring positions in `soft_argmax`: the second has weight e^-8."""


def integrator(size: tuple[int, int], channels: int) -> keras.Model:
    """Build the model that counts the rows before the first lit one, and so on."""
    return _from_profiles(size, channels, _integrated, "integrator")


def max_projection(size: tuple[int, int], channels: int) -> keras.Model:
    """Build the model that takes the farthest lit position."""
    return _from_profiles(size, channels, outermost, "max_projection")


def soft_argmax(size: tuple[int, int], channels: int) -> keras.Model:
    """Build the model that takes the expectation of a sharp softmax over positions."""
    return _from_profiles(size, channels, _expected, "soft_argmax")


def edge_filter(size: tuple[int, int], channels: int) -> keras.Model:
    """Build the model that filters for oriented edges and adds up their positions."""
    images = keras.Input((*size, channels), name="image")
    framed = part(keras.layers.ZeroPadding2D, "frame", 1)(images)
    filters = part(keras.layers.Conv2D, "edges", 4, 3, use_bias=False, activation="relu")
    edges = weighted(filters, framed, _oriented(channels))
    turned = part(keras.layers.Permute, "turned_edges", (2, 1, 3))(edges)
    lines = []
    for name, maps in (("row", turned), ("column", edges)):
        across, along = maps.shape[1:3]
        flat = part(keras.layers.Reshape, f"{name}_maps", (across, along * 4))(maps)
        lines.append(part(keras.layers.GlobalMaxPooling1D, f"{name}_edges")(flat))
    pairs = enumerate(places(lines, size))
    corners = [_position(line, edge, index) for index, (line, edge) in pairs]
    return answer(images, corners, size, "edge_filter")


def _from_profiles(
    size: tuple[int, int], channels: int, read: Callable[[Tensor, Places], Tensor], name: str
) -> keras.Model:
    images, lines = profiles(size, channels)
    return answer(images, [read(line, edge) for line, edge in places(lines, size)], size, name)


def _integrated(profile: Tensor, edge: Places) -> Tensor:
    # A cumulative maximum, as min(1, what came before twice + this one once). The weight 2
    # closes the minimum right behind the edge, so only the edge's own pixel has a gradient.
    before = np.triu(np.full((edge.length, edge.length), 2.0), 1) + np.eye(edge.length)
    kernel = before if edge.first else before.T
    sums = dense(profile, f"{edge.name}_sum", kernel)
    excess = dense(profile, f"{edge.name}_excess", kernel, -np.ones(edge.length), activation="relu")
    reached = part(keras.layers.Subtract, f"{edge.name}_reached")([sums, excess])
    count = dense(reached, f"{edge.name}_count", np.ones((edge.length, 1)))
    return edge.coordinate(count)


def _expected(profile: Tensor, edge: Places) -> Tensor:
    # Position j has reach j here; reach 0 stands for "nothing is lit" and has a fixed score
    # between that of a dark pixel, 0, and that of the least lit one.
    scores = np.zeros((edge.length, edge.length + 1))
    scores[np.arange(edge.length), edge.reach] = SHARPNESS * (edge.reach + 2)
    nothing = np.eye(edge.length + 1)[0] * 2 * SHARPNESS
    logits = dense(profile, f"{edge.name}_scores", scores, nothing)
    beliefs = part(keras.layers.Softmax, f"{edge.name}_distribution")(logits)
    reach = np.arange(edge.length + 1)[:, None]
    return edge.coordinate(dense(beliefs, f"{edge.name}_expectation", reach))


def _oriented(channels: int) -> Array:
    """Return kernels (3, 3, channels, 4): this pixel minus the one on the outer side."""
    kernels = np.zeros((3, 3, channels, 4))
    kernels[1, 1] = 1
    for index, (row, column) in enumerate(((0, 1), (1, 0), (2, 1), (1, 2))):
        kernels[row, column, :, index] = -1
    return kernels / channels


def _position(line: Tensor, edge: Places, index: int) -> Tensor:
    """Add up the reach of all edges of one orientation; one of them on any box."""
    kernel = np.zeros((edge.length, 4))
    # Positions of the axis, 1 for the first pixel, so that an edge there counts, too.
    kernel[:, index] = np.arange(1, edge.length + 1)
    return dense(line, edge.name, kernel.reshape(-1, 1), -1 if edge.first else 0)
