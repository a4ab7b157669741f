"""A profile localizer that sees whole lines, for images of varied appearance.

It differs from ``wb.models.localizer(head="profile")`` in four ways, each against one failure:

- the frame around the image mirrors it, so that a grey background has no edge at the border;
- a profile holds the mean of each feature beside its maximum, which one noisy pixel can set;
- one-dimensional convolutions of growing dilation let a boundary be compared with all others;
- a summary of both profiles is added to each, which tells bright shapes from dark ones, and a
  weak edge of a weak image from a distractor.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

import whitebox_loc as wb

__all__ = ["context_localizer"]


def context_localizer(
    size: tuple[int, int] = (100, 100),
    channels: int = 1,
    filters: Sequence[int] = (12, 16),
    width: int = 32,
    dilations: Sequence[int] = (1, 2, 4, 8, 16),
    seed: int = 0,
) -> keras.Model:
    """Build the network: images to ``rel_yxyx`` boxes, trained by `wb.training.fit` as any other.

    >>> context_localizer(size=(20, 30)).count_params()
    43436
    """
    layers, ops = keras.layers, keras.ops
    images = keras.Input((*size, channels), name="image")
    x = _features(images, filters)
    lines = {"row": _boundaries(x, 2, width, "row"), "column": _boundaries(x, 1, width, "column")}
    pooled = [pool(line, axis=1) for line in lines.values() for pool in (ops.max, ops.mean)]
    summary = layers.Dense(width, activation="relu", name="whole")(
        layers.Concatenate(name="summary")(pooled)
    )
    corners = [_coordinates(line, summary, dilations, name) for name, line in lines.items()]
    boxes = layers.Reshape((4,), name="box", dtype="float32")(
        layers.Concatenate(axis=-1, name="corners")(corners)
    )
    return wb.models.reinitialize(keras.Model(images, boxes, name="context_localizer"), seed=seed)


def _features(images: Any, filters: Sequence[int]) -> Any:
    frame = len(filters)
    x = keras.ops.pad(
        images, ((0, 0), (frame, frame), (frame, frame), (0, 0)), mode="symmetric"
    )  # fmt: skip
    for index, number in enumerate(filters, start=1):
        x = keras.layers.Conv2D(number, 3, name=f"conv{index}")(x)
        if index < frame:
            x = keras.layers.Activation("relu", name=f"relu{index}")(x)
    return x


def _boundaries(x: Any, axis: int, width: int, name: str) -> Any:
    """Return a line of features for each boundary between two rows (columns)."""
    layers, ops = keras.layers, keras.ops
    most = layers.Activation("relu", name=f"{name}_profile")(ops.max(x, axis=axis))
    mean = ops.mean(layers.Activation("relu", name=f"{name}_features")(x), axis=axis)
    both = layers.Concatenate(name=f"{name}_profiles")([most, mean])
    # Nothing is known outside of the canvas: zeros, unlike any line of a mirrored image.
    framed = layers.ZeroPadding1D(1, name=f"{name}_frame")(both)
    return layers.Conv1D(width, 2, activation="relu", name=f"{name}_boundary")(framed)


def _coordinates(line: Any, summary: Any, dilations: Sequence[int], name: str) -> Any:
    """Return the expectations of two distributions over boundaries, as fractions."""
    layers, ops = keras.layers, keras.ops
    length, width = line.shape[1:]
    line = line + ops.expand_dims(layers.Dense(width, name=f"{name}_whole")(summary), 1)
    for dilation in dilations:
        line = line + layers.Conv1D(
            width, 3, padding="same", dilation_rate=dilation, activation="relu",
            name=f"{name}_context{dilation}",
        )(line)  # fmt: skip
    logits = layers.Conv1D(2, 1, name=f"{name}_logits")(line)
    shares = layers.Softmax(axis=1, name=f"{name}_distribution", dtype="float32")(logits)
    places = (np.arange(length, dtype="float32") / (length - 1))[:, None]
    expectation = ops.sum(shares * places, axis=1)
    return layers.Reshape((2, 1), name=f"{name}_coordinates", dtype="float32")(expectation)
