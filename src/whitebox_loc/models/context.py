"""The head that compares a boundary with all others, for images of varied appearance."""

from __future__ import annotations

import keras
import numpy as np

from whitebox_loc._types import Tensor

DILATIONS = (1, 2, 4, 8, 16)


def context(
    images: Tensor, filters: tuple[int, ...], line_filters: int | None
) -> tuple[Tensor, Tensor]:
    """Return the boxes (n, 4) and the feature maps that they are read from.

    Unlike in the head ``"profile"``, the frame mirrors the image; a profile holds the mean of each
    feature beside its maximum, which one noisy pixel can set; convolutions of growing dilation
    compare a boundary with all others; and a summary of both profiles is added to each, which tells
    bright shapes from dark ones, and a weak edge of a weak image from a distractor.
    """
    layers, ops = keras.layers, keras.ops
    x = _features(images, filters)
    lines = {
        "row": _boundaries(x, 2, line_filters, "row"),
        "column": _boundaries(x, 1, line_filters, "column"),
    }
    pooled = [pool(line, axis=1) for line in lines.values() for pool in (ops.max, ops.mean)]
    summary = layers.Dense(line_filters, activation="relu", name="whole")(
        layers.Concatenate(name="summary")(pooled)
    )
    corners = [_coordinates(line, summary, name) for name, line in lines.items()]
    joined = layers.Concatenate(axis=-1, name="corners")(corners)
    return layers.Reshape((4,), name="box", dtype="float32")(joined), x


def _features(images: Tensor, filters: tuple[int, ...]) -> Tensor:
    frame, x = len(filters), images
    # Mirrored, so that a grey background has no edge at the border of the canvas; in steps, since
    # a canvas of one pixel can only be mirrored pixel by pixel.
    while (left := frame - (x.shape[1] - images.shape[1]) // 2) > 0:
        by = min(left, *x.shape[1:3])
        x = keras.ops.pad(x, ((0, 0), (by, by), (by, by), (0, 0)), mode="symmetric")
    for index, number in enumerate(filters, start=1):
        x = keras.layers.Conv2D(number, 3, name=f"conv{index}")(x)
        if index < frame:
            x = keras.layers.Activation("relu", name=f"relu{index}")(x)
    return x


def _boundaries(x: Tensor, axis: int, width: int | None, name: str) -> Tensor:
    """Return a line of features for each boundary between two rows (columns)."""
    layers, ops = keras.layers, keras.ops
    most = layers.Activation("relu", name=f"{name}_profile")(ops.max(x, axis=axis))
    mean = ops.mean(layers.Activation("relu", name=f"{name}_features")(x), axis=axis)
    both = layers.Concatenate(name=f"{name}_profiles")([most, mean])
    # Nothing is known outside of the canvas: zeros, unlike any line of a mirrored image.
    framed = layers.ZeroPadding1D(1, name=f"{name}_frame")(both)
    return layers.Conv1D(width, 2, activation="relu", name=f"{name}_boundary")(framed)


def _coordinates(line: Tensor, summary: Tensor, name: str) -> Tensor:
    """Return the expectations of two distributions over boundaries, as fractions."""
    layers, ops = keras.layers, keras.ops
    length, width = line.shape[1:]
    line = line + ops.expand_dims(layers.Dense(width, name=f"{name}_whole")(summary), 1)
    for dilation in DILATIONS:
        line = line + layers.Conv1D(
            width, 3, padding="same", dilation_rate=dilation, activation="relu",
            name=f"{name}_context{dilation}",
        )(line)  # fmt: skip
    logits = layers.Conv1D(2, 1, name=f"{name}_logits")(line)
    shares = layers.Softmax(axis=1, name=f"{name}_distribution", dtype="float32")(logits)
    places = (np.arange(length, dtype="float32") / (length - 1))[:, None]
    expectation = ops.sum(shares * places, axis=1)
    return layers.Reshape((2, 1), name=f"{name}_coordinates", dtype="float32")(expectation)
