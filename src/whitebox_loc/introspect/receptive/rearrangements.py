"""Operations that only move numbers, followed by running them on the elements' own numbers."""

from __future__ import annotations

import inspect
import math
from dataclasses import replace
from typing import Any

import numpy as np
import tensorflow as tf

from whitebox_loc._types import Array, Operation, Tensor
from whitebox_loc.introspect.receptive.intervals import NONE, Reach, Regular, join, small

# What shapes and axes are computed with.
# fmt: off
_FOLDED = frozenset([
    "Add", "AddV2", "Cast", "ConcatV2", "ExpandDims", "Fill", "FloorDiv", "FloorMod", "GatherV2",
    "Identity", "Maximum", "Minimum", "Mul", "Neg", "Pack", "Prod", "Range", "Reshape", "Slice",
    "Squeeze", "StridedSlice", "Sub", "Tile", "Transpose",
])
# fmt: on

# Names in the definition of an operation, and those that Python knows.
_RENAMED = {("ExpandDims", "dim"): "axis", ("Squeeze", "squeeze_dims"): "axis"}


class Unknown(Exception):  # noqa: N818 - it is caught, and raised with the layer's name
    """An operation that cannot be followed."""

    def __init__(self, operation: Operation) -> None:
        super().__init__(f"operation {operation.type!r} ({operation.name})")


def rearranged(op: Operation, reaches: list[Reach | None]) -> list[Reach]:
    """Run an operation that only moves numbers on the numbers of the elements.

    Number 0 stands for what is not an element: padding, or a part that no pixel reaches.
    """
    tables: list[tuple[int, Reach]] = []
    arguments: list[Array] = []
    first = 1
    for index, (tensor, reach) in enumerate(zip(op.inputs, reaches, strict=True)):
        if reach is not None:
            count = math.prod(reach.shape)
            arguments.append(np.arange(first, first + count).reshape(reach.shape))
            tables.append((first, reach))
            first += count
        elif index in range(len(op.inputs))[_MOVED_INPUTS.get(op.type, slice(0))]:
            arguments.append(np.zeros(shape_of(tensor), np.int64))
        else:
            arguments.append(value(tensor))
    return [_looked_up(op, numbers, tables) for numbers in _run(op, arguments)]


# Inputs that are moved, also if they are constants; the others decide where to.
_MOVED_INPUTS = {"ConcatV2": slice(-1), "Pack": slice(None), "PadV2": slice(2, 3)}


def _looked_up(op: Operation, numbers: Array, tables: list[tuple[int, Reach]]) -> Reach:
    size = max(first + math.prod(reach.shape) for first, reach in tables)
    ends = np.full((2, size), NONE)
    regulars = []
    for first, reach in tables:
        part = slice(first, first + math.prod(reach.shape))
        ends[:, part] = np.broadcast_to(reach.ends, (2, *reach.shape)).reshape(2, -1)
        inside = np.where((numbers >= part.start) & (numbers < part.stop), numbers - first, -1)
        if inside.max(initial=-1) >= 0:
            regulars.append(_moved_regular(op, inside, reach, whole=len(tables) > 1))
    return small(ends[:, numbers], numbers.shape, join(regulars))


def _moved_regular(op: Operation, inside: Array, reach: Reach, whole: bool) -> Regular | None:
    """Find the axis along which the places of the old regular axis still come in steps."""
    regular = reach.regular
    if regular is None or op.type in ("SpaceToBatchND", "BatchToSpaceND"):
        return regular and _dealt_regular(op, regular)
    place = np.unravel_index(np.maximum(inside, 0), reach.shape)[regular.axis]
    for axis, length in enumerate(inside.shape):
        others = tuple(a for a in range(inside.ndim) if a != axis)
        low = np.where(inside < 0, NONE, place).min(axis=others)
        high = np.where(inside < 0, -NONE, place).max(axis=others)
        (real,) = np.nonzero(high >= 0)
        if len(real) < 2 or (low[real] != high[real]).any() or (whole and len(real) < length):
            continue
        step = int(high[real[1]] - high[real[0]]) // int(real[1] - real[0])
        begin = int(high[real[0]]) - step * int(real[0])
        if step >= 1 and (begin + step * real == high[real]).all():
            start = regular.start + begin * regular.stride
            return replace(regular, axis=axis, stride=step * regular.stride, start=start)
    return None


def _dealt_regular(op: Operation, regular: Regular) -> Regular | None:
    """Follow a dilated convolution, which TensorFlow computes on every d-th pixel.

    The image is padded and dealt out to d * d batches, and put together and cropped again
    behind the convolution. The batches are not regular; the whole is.
    """
    dealing = op.type == "SpaceToBatchND"
    block, cut = (value(tensor)[regular.axis - 1] for tensor in op.inputs[1:3])
    if regular.block != (1 if dealing else block):
        return None
    shift = -int(cut[0]) if dealing else int(cut[0])
    start = regular.start + shift * regular.stride
    return replace(regular, start=start, block=int(block) if dealing else 1)


def value(tensor: Tensor) -> Array:
    """Return a tensor that depends on no input of its graph."""
    constant = tf.get_static_value(tensor)
    if constant is not None:
        return np.asarray(constant)
    operation = tensor.op
    if not operation.inputs or operation.type not in _FOLDED:
        raise Unknown(operation)
    return _run(operation, [value(t) for t in operation.inputs])[tensor.value_index]


def shape_of(tensor: Tensor) -> tuple[int, ...]:
    """Return the shape of a tensor, which a trace for one image knows."""
    if not tensor.shape.is_fully_defined():
        raise Unknown(tensor.op)
    return tuple(tensor.shape)


def _run(op: Operation, arguments: list[Array]) -> list[Array]:
    """Run an operation of a graph on other numbers, outside of the graph."""
    function, rest = getattr(tf.raw_ops, op.type), list(arguments)
    parameters = inspect.signature(function).parameters
    keywords: dict[str, Any] = {}
    for argument in op.op_def.input_arg:
        name = _RENAMED.get((op.type, argument.name), argument.name)
        if argument.number_attr:
            count = op.get_attr(argument.number_attr)
            keywords[name], rest = rest[:count], rest[count:]
        else:
            keywords[name] = rest.pop(0)
    for attribute in op.op_def.attr:
        name = _RENAMED.get((op.type, attribute.name), attribute.name)
        if name in parameters:
            keywords[name] = op.get_attr(attribute.name)
    with tf.init_scope():
        outputs = [np.asarray(out) for out in tf.nest.flatten(function(**keywords))]
    if any(a.shape != shape_of(t) for a, t in zip(outputs, op.outputs, strict=True)):
        raise Unknown(op)
    return outputs
