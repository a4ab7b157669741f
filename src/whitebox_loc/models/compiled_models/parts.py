"""Pieces that compiled models are made of: stock Keras layers with a name and given weights.

All are float32 whatever the global policy says, because positions do not fit into halves.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import keras
import numpy as np

from whitebox_loc._types import Array, ArrayLike, Model, Tensor

T = TypeVar("T")


def part(kind: type[keras.layers.Layer], name: str, *arguments: Any, **options: Any) -> keras.Layer:
    """Return a layer in float32."""
    return kind(*arguments, name=name, dtype="float32", **options)


def weighted(layer: keras.Layer, inputs: Tensor, *weights: ArrayLike) -> Tensor:
    """Apply a layer and give it its weights."""
    outputs = layer(inputs)
    layer.set_weights([np.asarray(w, np.float32) for w in weights])
    return outputs


def dense(
    inputs: Tensor, name: str, kernel: ArrayLike, bias: ArrayLike = None, **options: Any
) -> Tensor:
    """Apply ``Dense``: inputs (n, a) times kernel (a, b), plus bias (b,) if there is one."""
    kernel = np.asarray(kernel, np.float32)
    layer = part(keras.layers.Dense, name, kernel.shape[1], use_bias=bias is not None, **options)
    return weighted(layer, inputs, kernel, *([] if bias is None else [np.atleast_1d(bias)]))


def profiles(size: tuple[int, int], channels: int) -> tuple[Tensor, list[Tensor]]:
    """Return the input, and maxima of its mean over channels along rows and along columns.

    They are ``row_profile`` (n, height) and ``column_profile`` (n, width). Pixels that share a
    maximum share its gradient.
    """
    images = keras.Input((*size, channels), name="image")
    mean = part(keras.layers.Conv2D, "grey", 1, 1, use_bias=False)
    grey = weighted(mean, images, np.full((1, 1, channels, 1), 1 / channels))
    plane = part(keras.layers.Reshape, "plane", size)(grey)
    turned = part(keras.layers.Permute, "turned_plane", (2, 1))(plane)
    rows = part(keras.layers.GlobalMaxPooling1D, "row_profile")(turned)
    return images, [rows, part(keras.layers.GlobalMaxPooling1D, "column_profile")(plane)]


@dataclass(frozen=True)
class Places:
    """One edge on one axis of `length` pixels; the `first` of its axis is top or left."""

    name: str
    length: int
    first: bool

    @property
    def reach(self) -> Array:
        """Distance (length,) from the border on the edge's other side to a pixel's far side."""
        up = np.arange(1, self.length + 1)
        return up[::-1] if self.first else up

    def coordinate(self, reach: Tensor) -> Tensor:
        """Return the coordinate (n, 1) in pixels from the greatest reach (n, 1)."""
        sign, bias = (-1, self.length) if self.first else (1, 0)
        return dense(reach, self.name, [[sign]], bias)


def places(lines: Sequence[T], size: tuple[int, int]) -> list[tuple[T, Places]]:
    """Return the edges in the order of the output, each with the row or column line it lies on."""
    height, width = size
    edges = (
        Places("top", height, True), Places("left", width, True),
        Places("bottom", height, False), Places("right", width, False),
    )  # fmt: skip
    return [(lines[index % 2], edge) for index, edge in enumerate(edges)]


def outermost(profile: Tensor, edge: Places) -> Tensor:
    """Return the coordinate (n, 1) of the lit pixel of greatest reach."""
    return edge.coordinate(farthest(profile, edge))


def farthest(profile: Tensor, edge: Places) -> Tensor:
    """Return the greatest reach of a lit pixel of the profile, (n, 1); 0 if none is lit."""
    reach = dense(profile, f"{edge.name}_places", np.diag(edge.reach))
    line = part(keras.layers.Reshape, f"{edge.name}_line", (edge.length, 1))(reach)
    return part(keras.layers.GlobalMaxPooling1D, f"{edge.name}_farthest")(line)


def answer(
    images: Tensor, corners: list[Tensor] | Tensor, size: tuple[int, int], name: str
) -> Model:
    """Return the model from pixels (n, 1) a coordinate, or (n, 4), to fractions."""
    if isinstance(corners, list):
        corners = part(keras.layers.Concatenate, "corners")(corners)
    height, width = size
    # Multiplies in float32 on any device; a dense layer may round its factors.
    scale = [1 / height, 1 / width, 1 / height, 1 / width]
    box = part(keras.layers.Rescaling, "box", scale)(corners)
    return keras.Model(images, box, name=name)
