"""Compiled models that answer for the wrong reason: docs/compiled.md."""

from __future__ import annotations

from dataclasses import replace

import keras
import numpy as np

from whitebox_loc._types import Tensor
from whitebox_loc.models.compiled_models.parts import (
    Places,
    answer,
    dense,
    farthest,
    outermost,
    part,
    places,
    profiles,
    weighted,
)


def area_only(size: tuple[int, int], channels: int) -> keras.Model:
    """Build the model that measures height and width and puts the box in the middle."""
    images, lines = profiles(size, channels)
    corners = [
        dense(side, edge.name, [[-0.5 if edge.first else 0.5]], edge.length / 2)
        for side, edge in places(_sides(lines), size)
    ]
    return answer(images, corners, size, "area_only")


def wrong_edge(size: tuple[int, int], channels: int) -> keras.Model:
    """Build the model that finds each edge from the opposite one and the side."""
    images, lines = profiles(size, channels)
    sides = _sides(lines)
    top, left, bottom, right = (_true_edge(line, edge) for line, edge in places(lines, size))
    subtract, add = keras.layers.Subtract, keras.layers.Add
    corners = [
        part(subtract, "top")([bottom, sides[0]]),
        part(subtract, "left")([right, sides[1]]),
        part(add, "bottom")([top, sides[0]]),
        part(add, "right")([left, sides[1]]),
    ]
    return answer(images, corners, size, "wrong_edge")


def left_right_swapped(size: tuple[int, int], channels: int) -> keras.Model:
    """Build the model that answers the box of the mirrored image."""
    images, lines = profiles(size, channels)
    edges = places(lines, size)
    reach = [farthest(line, edge) for line, edge in edges]
    # The reach of the right edge is its distance from the left border, which in a mirror is
    # the distance of the left edge from the right border.
    mirrored = [reach[0], reach[3], reach[2], reach[1]]
    corners = [edge.coordinate(far) for (_, edge), far in zip(edges, mirrored, strict=True)]
    return answer(images, corners, size, "left_right_swapped")


def border_reader(size: tuple[int, int], channels: int) -> keras.Model:
    """Build the model that knows positions only from zeros padded at the border."""
    images, lines = profiles(size, channels)
    inside = []
    for name, line in zip(("row", "column"), lines, strict=True):
        line = part(keras.layers.Reshape, f"{name}_line", (line.shape[1], 1))(line)
        ones = part(keras.layers.Conv1D, f"{name}_inside", 1, 1)
        inside.append((line, weighted(ones, line, np.zeros((1, 1, 1)), [1])))
    corners = [_from_border(*pair, edge) for pair, edge in places(inside, size)]
    return answer(images, corners, size, "border_reader")


def constant(size: tuple[int, int], channels: int) -> keras.Model:
    """Build the model that answers the middle half of the canvas, whatever it is shown."""
    height, width = size
    images = keras.Input((*size, channels), name="image")
    mean = part(keras.layers.GlobalAveragePooling2D, "mean")(images)
    middle = [height / 4, width / 4, height * 3 / 4, width * 3 / 4]
    corners = dense(mean, "corners", np.zeros((channels, 4)), middle)
    return answer(images, corners, size, "constant")


def corner_only(size: tuple[int, int], channels: int) -> keras.Model:
    """Build the model that finds the top left corner and answers the one pixel there."""
    images, lines = profiles(size, channels)
    top, left = (outermost(line, edge) for line, edge in places(lines, size)[:2])
    corners = [top, left, dense(top, "bottom", [[1]], 1), dense(left, "right", [[1]], 1)]
    return answer(images, corners, size, "corner_only")


def _sides(lines: list[Tensor]) -> list[Tensor]:
    """Return the numbers of lit rows and lit columns, (n, 1) each."""
    return [
        dense(line, name, np.ones((line.shape[1], 1)))
        for name, line in zip(("height", "width"), lines, strict=True)
    ]


def _true_edge(line: Tensor, edge: Places) -> Tensor:
    return outermost(line, replace(edge, name=f"true_{edge.name}"))


def _from_border(line: Tensor, inside: Tensor, edge: Places) -> Tensor:
    # A sum over `length` pixels counts those inside the image: the others are padding.
    length = edge.length
    zeros = (0, length - 1) if edge.first else (length - 1, 0)
    framed = part(keras.layers.ZeroPadding1D, f"{edge.name}_frame", zeros)(inside)
    count = part(keras.layers.Conv1D, f"{edge.name}_distance", 1, length, use_bias=False)
    distance = weighted(count, framed, np.ones((length, 1, 1)))
    reach = part(keras.layers.Multiply, f"{edge.name}_places")([line, distance])
    return edge.coordinate(part(keras.layers.GlobalMaxPooling1D, f"{edge.name}_farthest")(reach))
