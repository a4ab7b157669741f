"""Layers with weights as relevance rules see them: one matrix, one bias, in float32."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import tensorflow as tf

from whitebox_loc._types import Tensor
from whitebox_loc.introspect.methods.propagation.operations import (
    MATRICES,
    MOVES,
    Operation,
    Route,
    again,
    as_float32,
)

_ADDITIONS = frozenset({"AddV2", "Add", "BiasAdd"})
_FACTORS = frozenset({"Mul"})
ADJUSTMENTS = _ADDITIONS | {"Sub", "ResizeBilinear"}
"""What is done to images before the first layer, besides moving and scaling numbers."""

# What Keras puts between a product and its bias.
_BETWEEN = frozenset(
    {"Identity", "Cast", "Reshape", "Squeeze", "ExpandDims", "Transpose", "BatchToSpaceND"}
)
# What may stand between a product and its input.
_IN_FRONT = _BETWEEN - {"BatchToSpaceND"} | {"Pad", "SpaceToBatchND"}
_NEVER_NEGATIVE = frozenset({"Relu", "Relu6", "Sigmoid", "Softmax"})
_KEEPS_SIGN = _BETWEEN | {"MaxPool", "Max", "AvgPool", "Mean", "Pad", "StridedSlice"}


class AffineLayer:
    """A product with weights, and the bias and batch normalization behind it as part of it.

    The `tail` are operations behind the product, from the first on, that only move, scale and
    shift; beside each, and as `signal`, stands which input depends on the image.

    Attributes
    ----------
    x, weight : float32 tensors
    ones : tensor of the shape of `x`
        1, and 0 where `x` is padding rather than a signal.
    bias : tensor of the shape of an output, or None
    output : tensor
        As the model has computed it, bias included: the same sum in another order is another
        number where it nearly cancels, and relevance is proportional to this one.
    """

    def __init__(
        self, operation: Operation, signal: int, tail: list[tuple[Operation, int]]
    ) -> None:
        self.operation, self.signal, self.tail = operation, signal, tail
        self.weights = sum(MATRICES[operation.type]) - signal
        self.x = as_float32(operation.inputs[signal])
        self.weight = as_float32(operation.inputs[self.weights])
        self.ones = _ones(operation.inputs[signal])
        kinds = {o.type for o, _ in tail}
        self.output = as_float32(self.last.outputs[0])
        product = as_float32(operation.outputs[0])
        shifts = kinds & _ADDITIONS
        self.bias = self._behind(tf.zeros_like(product), shift=True) if shifts else None
        self._scale = self._behind(tf.ones_like(product)) if kinds & _FACTORS else None

    @property
    def last(self) -> Operation:
        """The operation with the layer's output."""
        return self.tail[-1][0] if self.tail else self.operation

    @property
    def input(self) -> Tensor:
        """The tensor that the layer's input comes in."""
        return self.operation.inputs[self.signal]

    def apply(self, x: Tensor, weight: Tensor) -> Tensor:
        """Return the layer's output for another input and other weights, without bias."""
        inputs = list(self.operation.inputs)
        inputs[self.signal], inputs[self.weights] = x, weight
        return self._behind(again(self.operation, inputs)[0])

    def back(self, x: Tensor, weight: Tensor, values: Tensor) -> Tensor:
        """Return the derivative of ``sum(values * apply(x, weight))`` by x."""
        # Of a copy: tf.gradients visits everything that its source leads to.
        copy = tf.identity(x)
        return tf.gradients(self.apply(copy, weight), copy, values)[0]

    def signed(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the sums over i of the positive and of the negative ``x_i w_ij``, without bias.

        `x` is the layer's input, or another without negative numbers; for `signed_back` too.
        """
        above, below = self._split(x)
        positive, negative = (self.apply(above, self._part(sign)) for sign in (1, -1))
        if below is not None:
            positive += self.apply(below, self._part(-1))
            negative += self.apply(below, self._part(1))
        return self._exchanged(positive, negative)

    def signed_back(self, x: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
        """Return the sum over j of each x_i w_ij times the one or the other, by its sign."""
        first, second = self._exchanged(positive, negative)
        above, below = self._split(x)
        total = 0.0
        for part, sign in ((above, 1), (below, -1)):
            if part is not None:
                shares = self.back(part, self._part(sign), first)
                total += part * (shares + self.back(part, self._part(-sign), second))
        return total

    def _split(self, x: Tensor) -> tuple[Tensor, Tensor]:
        if x is not self.x or never_negative(self.input):
            return x, None
        return tf.maximum(x, 0.0), tf.minimum(x, 0.0)

    def _part(self, sign: int) -> Tensor:
        return tf.maximum(self.weight, 0.0) if sign > 0 else tf.minimum(self.weight, 0.0)

    def _exchanged(self, positive: Tensor, negative: Tensor) -> tuple[Tensor, Tensor]:
        # A negative scale behind the product makes its positive parts negative.
        if self._scale is None:
            return positive, negative
        upright = self._scale >= 0
        return (tf.where(upright, positive, negative), tf.where(upright, negative, positive))

    def _behind(self, tensor: Tensor, shift: bool = False) -> Tensor:
        for operation, signal in self.tail:
            inputs = [as_float32(t) for t in operation.inputs]
            inputs[signal] = tensor
            # Cast: all is in float32 already.
            skipped = operation.type == "Cast" or (operation.type in _ADDITIONS and not shift)
            tensor = tensor if skipped else again(operation, inputs)[0]
        return tensor


def affine_layers(route: Route, ends: Iterable[Tensor]) -> dict[Operation, AffineLayer]:
    """Return the layers on a route by the operation with their output; none goes beyond `ends`."""
    stops = {t.ref() for t in ends}
    layers = {}
    for operation in route.operations:
        active = route.active(operation)
        if operation.type in MATRICES and len(active) == 1:
            layer = AffineLayer(operation, active[0], _tail(route, operation.outputs[0], stops))
            layers[layer.last] = layer
    return layers


def sees_source(route: Route, tensor: Tensor) -> bool:
    """Whether a tensor is the image, or is it moved, resized, scaled or shifted by constants."""
    if tensor.ref() == route.source.ref():
        return True
    active = route.active(tensor.op)
    plain = tensor.op.type in MOVES or (
        len(active) == 1 and tensor.op.type in ADJUSTMENTS | _FACTORS | {"RealDiv"}
    )
    return plain and all(sees_source(route, tensor.op.inputs[i]) for i in active)


def never_negative(tensor: Tensor) -> bool:
    """Whether a tensor is known to have no negative numbers."""
    if tensor.op.type in _KEEPS_SIGN:
        return never_negative(tensor.op.inputs[0])
    return tensor.op.type in _NEVER_NEGATIVE


def _ones(tensor: Tensor) -> Tensor:
    """Return 1 for each number that is a signal, 0 for padding in front of the product."""
    if tensor.op.type not in _IN_FRONT:
        return tf.ones_like(as_float32(tensor))
    ones = _ones(tensor.op.inputs[0])
    skipped = tensor.op.type == "Cast"
    return ones if skipped else again(tensor.op, [ones, *tensor.op.inputs[1:]])[0]


def _tail(route: Route, tensor: Tensor, stops: set[Any]) -> list[tuple[Operation, int]]:
    tail: list[tuple[Operation, int]] = []
    while tensor.ref() not in stops:
        consumers = route.consumers.get(tensor.ref(), [])
        if len(consumers) != 1 or not _belongs(route, consumers[0], tensor):
            break
        operation = consumers[0]
        tail.append((operation, route.active(operation)[0]))
        tensor = operation.outputs[0]
    return tail


def _belongs(route: Route, operation: Operation, tensor: Tensor) -> bool:
    if operation.type in _ADDITIONS | _FACTORS:
        same = operation.outputs[0].shape.as_list() == tensor.shape.as_list()
        return len(route.active(operation)) == 1 and same
    return operation.type in _BETWEEN
