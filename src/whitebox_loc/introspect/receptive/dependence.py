"""Which pixels each number inside a traced model can depend on, by interval arithmetic.

Every tensor of the graph carries, for image rows and for image columns, the lowest and the
highest one that reaches each of its elements. An operation that only moves numbers is run
on the numbers of the elements themselves; one that mixes numbers takes the hull. What
weights or data happen to be plays no part: the answer holds for every one of them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn

import numpy as np

from whitebox_loc._types import Operation, Tensor
from whitebox_loc.introspect.receptive import intervals
from whitebox_loc.introspect.receptive.intervals import Reach, Regular, Window, attribute
from whitebox_loc.introspect.receptive.rearrangements import Unknown, rearranged, shape_of, value
from whitebox_loc.introspect.tracing.graphs import CALLS, REARRANGEMENTS, SHAPES, ancestors, body_of


def dependence(image: Tensor, target: Tensor) -> tuple[Reach, Reach] | None:
    """Return the rows and the columns of `image` that reach the elements of `target`.

    Both are tensors of one traced graph. None means that no pixel does.

    Raises
    ------
    Unknown
        If an operation on the way is not known.
    """
    _, height, width, _ = image.shape
    shape = (1, *image.shape[1:])
    rows, columns = (np.stack([np.arange(n), -1 - np.arange(n)]) for n in (height, width))
    start = (
        Reach(rows[:, None, :, None, None], shape, Regular(1, 1, 0, 1)),
        Reach(columns[:, None, None, :, None], shape, Regular(2, 1, 0, 1)),
    )
    return _followed([target], {image.ref(): start})[0]


Pair = tuple[Reach, Reach]


def _followed(tensors: list[Tensor], known: dict[Any, Pair | None]) -> list[Pair | None]:
    """Return the reach of tensors of a graph from that of some tensors that they depend on."""
    pairs = dict(known)
    behind = ancestors(tensors, stop=[reference.deref() for reference in known])
    for op in tensors[0].graph.get_operations() if behind else ():
        if op in behind:
            outputs = _outputs(op, [pairs[t.ref()] for t in op.inputs])
            pairs |= {t.ref(): pair for t, pair in zip(op.outputs, outputs, strict=True)}
    return [pairs[tensor.ref()] for tensor in tensors]


def _outputs(op: Operation, pairs: list[Pair | None]) -> list[Pair | None]:
    if op.type in SHAPES or not any(pairs):
        return [None] * len(op.outputs)
    if op.type in CALLS:
        body = body_of(op)
        if body is None:
            raise Unknown(op)
        inputs = [t.ref() for t in body.inputs]
        return _followed(body.outputs, dict(zip(inputs, pairs, strict=True)))
    if op.type == "IdentityN":
        return pairs  # a function with a derivative of its own, such as SiLU
    rule = _RULES.get(op.type, _refuse)
    rows, columns = (rule(op, [p and p[half] for p in pairs]) for half in (0, 1))
    return list(zip(rows, columns, strict=True))


Reaches = list[Reach | None]


def _refuse(op: Operation, reaches: Reaches) -> NoReturn:
    raise Unknown(op)


def _elementwise(op: Operation, reaches: Reaches) -> list[Reach]:
    """Let each element depend on the elements in its own place."""
    shapes = [
        shape_of(tensor) if reach is None else reach.shape
        for tensor, reach in zip(op.inputs, reaches, strict=True)
    ]
    if op.type in ("BiasAdd", "FusedBatchNormV3"):
        shapes = shapes[:1]  # the others are one number a channel
    hull = intervals.hull([r for r in reaches if r is not None], np.broadcast_shapes(*shapes))
    return [hull] * len(op.outputs)


def _matmul(op: Operation, reaches: Reaches) -> list[Reach]:
    """Mix the last axis into a new one, as a product with constant weights does."""
    reach = reaches[0]
    turned = attribute(op, "transpose_a") or attribute(op, "adj_x")
    if reach is None or reaches[1] is not None or turned:
        _refuse(op, reaches)
    turned = attribute(op, "transpose_b") or attribute(op, "adj_y")
    weights = shape_of(op.inputs[1])
    return [intervals.mix_groups(reach, reach.shape[-1], weights[-2] if turned else weights[-1])]


def _reduction(op: Operation, reaches: Reaches) -> list[Reach]:
    axes, keep = tuple(np.atleast_1d(value(op.inputs[1])).tolist()), op.get_attr("keep_dims")
    return [intervals.over(reaches[0], axes, keep=bool(keep), spread=False)]


def _convolution(op: Operation, reaches: Reaches) -> list[Reach]:
    """Slide a window over rows and columns; mix the channels of a group."""
    reach, kernel = _only_first(op, reaches), shape_of(op.inputs[1])
    dilations = op.get_attr("dilations")
    for axis in (1, 2):
        reach = intervals.slide(reach, axis, Window.of(op, axis, kernel[axis - 1], dilations[axis]))
    if op.type == "Conv2D":
        return [intervals.mix_groups(reach, kernel[2], kernel[3])]
    ends = np.repeat(reach.ends, kernel[3], -1) if reach.ends.shape[-1] > 1 else reach.ends
    return [intervals.small(ends, (*reach.shape[:-1], reach.shape[-1] * kernel[3]), reach.regular)]


def _pooling(op: Operation, reaches: Reaches) -> list[Reach]:
    reach = _only_first(op, reaches)
    sizes = op.get_attr("ksize")
    if sizes[0] != 1 or sizes[3] != 1:
        _refuse(op, reaches)
    for axis in (1, 2):
        reach = intervals.slide(reach, axis, Window.of(op, axis, sizes[axis], 1))
    return [reach]


def _transposed(op: Operation, reaches: Reaches) -> list[Reach]:
    """Read backwards the convolution that Conv2DBackpropInput turns round."""
    reach = reaches[2]
    if reach is None or op.get_attr("data_format") != b"NHWC":
        _refuse(op, reaches)
    kernel, lengths = shape_of(op.inputs[1]), value(op.inputs[0])
    dilations = op.get_attr("dilations")
    for axis in (1, 2):
        window = Window.of(op, axis, kernel[axis - 1], dilations[axis])
        length = int(lengths[axis])
        before, _ = window.place(length)
        starts = np.arange(length)[:, None] + before - window.dilation * np.arange(window.kernel)
        index = np.where(starts % window.stride == 0, starts // window.stride, -1)
        reach = intervals.gather(reach, axis, index)
    return [intervals.mix_groups(reach, reach.shape[-1], kernel[2])]


def _bilinear(op: Operation, reaches: Reaches) -> list[Reach]:
    """Let each output depend on the two neighbours that it lies between."""
    reach = _only_first(op, reaches)
    lengths = value(op.inputs[1])
    for axis, length in zip((1, 2), lengths.tolist(), strict=True):
        old = reach.shape[axis]
        if op.get_attr("align_corners"):
            at = np.arange(length) * ((old - 1) / max(length - 1, 1))
        elif op.get_attr("half_pixel_centers"):
            at = np.clip((np.arange(length) + 0.5) * (old / length) - 0.5, 0, old - 1)
        else:
            at = np.minimum(np.arange(length) * (old / length), old - 1)
        index = np.stack([np.floor(at), np.ceil(at)], axis=1).astype(int)
        reach = intervals.gather(reach, axis, index)
    return [reach]


def _only_first(op: Operation, reaches: Reaches) -> Reach:
    """Return the reach of images (n, rows, columns, channels), beside constants."""
    if reaches[0] is None or any(r is not None for r in reaches[1:]):
        _refuse(op, reaches)
    if attribute(op, "data_format") not in (None, b"NHWC"):
        _refuse(op, reaches)
    return reaches[0]


# fmt: off
_ELEMENTWISE = [
    "Abs", "Add", "AddN", "AddV2", "Atan", "BiasAdd", "Cast", "Ceil", "CheckNumerics",
    "ClipByValue", "Cos", "Div", "DivNoNan", "Elu", "EnsureShape", "Equal", "Erf", "Erfc",
    "Exp", "Expm1", "Floor", "FusedBatchNormV3", "Greater", "GreaterEqual", "Identity", "Inv",
    "IsFinite", "IsInf", "IsNan", "LeakyRelu", "Less", "LessEqual", "Log", "Log1p",
    "LogicalAnd", "LogicalNot", "LogicalOr", "Maximum", "Minimum", "Mul", "MulNoNan", "Neg",
    "NotEqual", "Pow", "PreventGradient", "RealDiv", "Reciprocal", "Relu", "Relu6", "Rint",
    "Round", "Rsqrt", "Select", "SelectV2", "Selu", "Sigmoid", "Sign", "Sin", "Softplus",
    "Softsign", "Sqrt", "Square", "SquaredDifference", "StopGradient", "Sub", "Tan", "Tanh",
    "TruncateDiv", "Xdivy", "Xlogy",
]
# fmt: on
_REDUCTIONS = ["All", "Any", "ArgMax", "ArgMin", "Max", "Mean", "Min", "Prod", "Sum"]

_RULES: dict[str, Callable[[Operation, Reaches], list[Reach]]] = {
    **dict.fromkeys(_ELEMENTWISE, _elementwise),
    **dict.fromkeys(_REDUCTIONS, _reduction),
    **dict.fromkeys(REARRANGEMENTS, rearranged),
    **dict.fromkeys(
        ["Softmax", "LogSoftmax"],
        lambda op, r: [intervals.over(r[0], (-1,), keep=True, spread=True)],
    ),
    **dict.fromkeys(["MatMul", "BatchMatMulV2"], _matmul),
    **dict.fromkeys(["Conv2D", "DepthwiseConv2dNative"], _convolution),
    **dict.fromkeys(["MaxPool", "AvgPool"], _pooling),
    "Conv2DBackpropInput": _transposed,
    "ResizeBilinear": _bilinear,
}
"""What is known of an operation of a graph: its reaches from those of its inputs."""
