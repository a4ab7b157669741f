"""Interval arithmetic on the graph: where the float32 numbers of a forward pass can lie.

Bounds are computed in float64 and widened by what float32 can round, so they hold for the shipped
graph on any processor that multiplies and adds in float32, in whatever order (docs/proofs.md).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from whitebox_loc._types import Array, Model, Tensor
from whitebox_loc.verification.graphs import kind, refuse, walk

UNIT = 2.0**-24
"""Largest relative error of one float32 operation."""

TINY = 2.0**-100
"""More than what a product below the range of float32 can lose, a million times over."""

SMALLEST = 2.0**-126
"""Float32 numbers below it may be taken for 0."""

LARGEST = 2.0**127
"""Sums up to it are in the range of float32, whatever their order."""


@dataclass(frozen=True, eq=False)
class Interval:
    """All arrays between two, float64 tensors of one shape."""

    low: Tensor
    high: Tensor


def exact(values: Array) -> Interval:
    """Return the interval that holds one array alone."""
    tensor = tf.constant(np.asarray(values, np.float64))
    return Interval(tensor, tensor)


def bounds(model: Model, images: Interval) -> Interval:
    """Return between which bounds a model's float32 output lies for all images of an interval."""
    return walk(model, images, _apply)


def _apply(operation: Any, *values: Any) -> Interval:
    rule = _RULES.get(kind(operation))
    if rule is None:
        raise refuse(operation, f"no bounds are known for it; they are for {sorted(_RULES)}")
    if getattr(operation, "compute_dtype", "float32") != "float32":
        raise refuse(
            operation, f"bounds hold for float32; it computes in {operation.compute_dtype}"
        )
    if getattr(operation, "data_format", "channels_last") != "channels_last":
        raise refuse(operation, "channels must come last")
    return rule(operation, *values)


def _convolution(layer: Any, x: Interval) -> Interval:
    _check_convolution(layer, x.low.shape[1:-1])
    kernel = tf.cast(layer.kernel, tf.float64)

    def convolve(values: Tensor, weights: Tensor) -> Tensor:
        return tf.nn.convolution(
            values, weights, layer.strides, layer.padding.upper(), dilations=layer.dilation_rate
        )

    bias = tf.cast(layer.bias, tf.float64) if layer.use_bias else tf.zeros((), tf.float64)
    middle, half = (x.low + x.high) / 2, (x.high - x.low) / 2
    center = convolve(middle, kernel) + bias
    # As many roundings as there are products and the bias, in float32, in any order; two more
    # for the activation's and for float64 here, whose own errors are 2^-29 of these.
    terms = int(np.prod(kernel.shape[:-1])) + 3
    share = terms * UNIT / (1 - terms * UNIT)
    reach, sizes = tf.abs(middle) + half, tf.abs(kernel)
    sums = convolve(reach, sizes) + tf.abs(bias)
    if not bool(tf.reduce_max(sums) < LARGEST):
        raise refuse(layer, "its sums may exceed the range of float32")
    axes = list(range(len(kernel.shape) - 1))
    flushed = SMALLEST * (tf.reduce_sum(sizes, axes) + terms * tf.reduce_max(reach))
    width = convolve(half, sizes) + share * sums + flushed + TINY
    return _activation(layer, Interval(center - width, center + width))


def _check_convolution(layer: Any, sides: Any) -> None:
    if layer.groups != 1:
        raise refuse(layer, "no bounds are known for grouped convolutions")
    if layer.padding not in ("valid", "same"):
        raise refuse(layer, f"padding {layer.padding!r} is not known")
    steps = zip(layer.kernel_size, layer.dilation_rate, strict=True)
    spans = [(kernel - 1) * dilation + 1 for kernel, dilation in steps]
    if layer.padding == "valid" and any(np.less(sides, spans)):
        raise refuse(layer, f"its windows of {spans} lines do not fit in {list(sides)}")


def _activation(layer: Any, x: Interval) -> Interval:
    if layer.activation is keras.activations.linear:
        return x
    if layer.activation in (keras.activations.relu, keras.ops.relu, tf.nn.relu):
        return _monotone(x, tf.nn.relu)
    name = getattr(layer.activation, "__name__", str(layer.activation))
    raise refuse(
        layer, f"no bounds are known for the activation {name!r}, only for Keras' relu and linear"
    )


def _monotone(x: Interval, function: Callable[[Tensor], Tensor]) -> Interval:
    return Interval(function(x.low), function(x.high))


def _relu(layer: Any, x: Interval) -> Interval:
    if layer.max_value is not None or layer.negative_slope or layer.threshold:
        raise refuse(layer, "no bounds are known for other than plain ReLU")
    return _monotone(x, tf.nn.relu)


def _padding_1d(layer: Any, x: Interval) -> Interval:
    paddings = ((0, 0), layer.padding, (0, 0))
    return _monotone(x, lambda values: tf.pad(values, paddings))


def _padding_2d(layer: Any, x: Interval) -> Interval:
    paddings = ((0, 0), *layer.padding, (0, 0))
    return _monotone(x, lambda values: tf.pad(values, paddings))


def _maximum(operation: Any, x: Interval) -> Interval:
    if operation.initial is not None:
        raise refuse(operation, "no bounds are known for a maximum with an initial value")
    return _monotone(x, lambda v: tf.reduce_max(v, operation.axis, operation.keepdims))


def _same(layer: Any, x: Interval) -> Interval:
    return x


_RULES: dict[str, Callable[..., Interval]] = {
    "Conv1D": _convolution,
    "Conv2D": _convolution,
    "Activation": _activation,
    "ReLU": _relu,
    "ZeroPadding1D": _padding_1d,
    "ZeroPadding2D": _padding_2d,
    "Max": _maximum,
    "Dropout": _same,
    "SpatialDropout1D": _same,
    "SpatialDropout2D": _same,
}
