"""Pieces that compiled models are made of: stock Keras layers with a name and given weights.

All are float32 whatever the global policy says, because positions do not fit into halves.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np


def part(kind: type[keras.layers.Layer], name: str, *arguments: Any, **options: Any) -> Any:
    """Return a layer in float32."""
    return kind(*arguments, name=name, dtype="float32", **options)


def weighted(layer: Any, inputs: Any, *weights: Any) -> Any:
    """Apply a layer and give it its weights."""
    outputs = layer(inputs)
    layer.set_weights([np.asarray(w, np.float32) for w in weights])
    return outputs


def dense(inputs: Any, name: str, kernel: Any, bias: Any = None, **options: Any) -> Any:
    """Apply ``Dense``: inputs (n, a) times kernel (a, b), plus bias (b,) if there is one."""
    kernel = np.asarray(kernel, np.float32)
    layer = part(keras.layers.Dense, name, kernel.shape[1], use_bias=bias is not None, **options)
    return weighted(layer, inputs, kernel, *([] if bias is None else [np.atleast_1d(bias)]))


def grey_image(size: tuple[int, int], channels: int) -> tuple[Any, Any]:
    """Return the input and ``grey`` (n, height, width, 1), the mean over channels."""
    images = keras.Input((*size, channels), name="image")
    mean = part(keras.layers.Conv2D, "grey", 1, 1, use_bias=False)
    return images, weighted(mean, images, np.full((1, 1, channels, 1), 1 / channels))


def profiles(grey: Any) -> tuple[Any, Any]:
    """Return ``row_profile`` (n, height) and ``column_profile`` (n, width): the maxima.

    Pixels that share a maximum share its gradient.
    """
    height, width = grey.shape[1:3]
    plane = part(keras.layers.Reshape, "plane", (height, width))(grey)
    turned = part(keras.layers.Permute, "turned_plane", (2, 1))(plane)
    rows = part(keras.layers.GlobalMaxPooling1D, "row_profile")(turned)
    return rows, part(keras.layers.GlobalMaxPooling1D, "column_profile")(plane)


@dataclass(frozen=True)
class Places:
    """One edge on one axis, and how far from the border on its other side it can be.

    Attributes
    ----------
    name : str
        Name of the coordinate, which its layers carry.
    length : int
        Pixels of the axis.
    first : bool
        Whether it is the first edge of the axis: top or left.
    """

    name: str
    length: int
    first: bool

    @property
    def reach(self) -> np.ndarray:
        """Distance (length,) from the border on the edge's other side to a pixel's far side.

        ``length - y`` for top and ``y + 1`` for bottom: the edge is where a lit pixel has the
        greatest reach.
        """
        up = np.arange(1, self.length + 1)
        return up[::-1] if self.first else up

    def coordinate(self, reach: Any) -> Any:
        """Return the coordinate (n, 1) in pixels from the greatest reach (n, 1)."""
        sign, bias = (-1, self.length) if self.first else (1, 0)
        return dense(reach, self.name, [[sign]], bias)


def places(size: tuple[int, int]) -> tuple[Places, ...]:
    """Return the four edges in the order of the output; even ones lie along the rows."""
    height, width = size
    return (
        Places("top", height, True),
        Places("left", width, True),
        Places("bottom", height, False),
        Places("right", width, False),
    )


def farthest(profile: Any, edge: Places) -> Any:
    """Return the greatest reach of a lit pixel of the profile, (n, 1); 0 if none is lit."""
    reach = dense(profile, f"{edge.name}_places", np.diag(edge.reach))
    line = part(keras.layers.Reshape, f"{edge.name}_line", (edge.length, 1))(reach)
    return part(keras.layers.GlobalMaxPooling1D, f"{edge.name}_farthest")(line)


def answer(images: Any, corners: Sequence[Any] | Any, size: tuple[int, int], name: str) -> Any:
    """Return the model from pixels (n, 1) a coordinate, or (n, 4), to fractions."""
    if isinstance(corners, (list, tuple)):
        corners = part(keras.layers.Concatenate, "corners")(list(corners))
    height, width = size
    # Multiplies in float32 on any device; a dense layer may round its factors.
    scale = [1 / height, 1 / width, 1 / height, 1 / width]
    box = part(keras.layers.Rescaling, "box", scale)(corners)
    return keras.Model(images, box, name=name)
