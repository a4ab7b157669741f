"""The operations between an image and a target, and ways to send something back through them.

Whatever the style of a model, its trace is one graph of TensorFlow operations, and it is
these that propagation methods go through: operations that Keras wraps in no layer are
reached like any other, and one without a rule cannot be passed by mistake.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import keras
import tensorflow as tf

from whitebox_loc.introspect.capture import Forward
from whitebox_loc.introspect.layers import named_layers

__all__ = [
    "ACTIVATIONS",
    "MATRICES",
    "MAXIMA",
    "MOVES",
    "SUMS",
    "Route",
    "again",
    "ancestors",
    "as_float32",
    "owners",
    "pull",
    "refuse",
    "sent_back",
    "tensors_in",
]

# Their outputs are the same for all images of one shape.
_SHAPES = frozenset({"Shape", "ShapeN", "Size", "Rank", "ZerosLike", "OnesLike"})

_HALVES = {kind.as_datatype_enum: kind for kind in (tf.float16, tf.bfloat16)}

MOVES = frozenset(
    {
        *("Identity", "IdentityN", "Cast", "CheckNumerics"),
        *("Reshape", "ExpandDims", "Squeeze", "Transpose", "ReverseV2", "Roll"),
        *("Pad", "PadV2", "MirrorPad", "StridedSlice", "Slice", "GatherV2", "GatherNd"),
        *("ConcatV2", "Pack", "Unpack", "Split", "SplitV", "Tile", "BroadcastTo"),
        *("SpaceToBatchND", "BatchToSpaceND", "SpaceToDepth", "DepthToSpace"),
        *("ResizeNearestNeighbor", "Select", "SelectV2"),
    }
)
"""Each number of the output is one of the input, or a constant."""

SUMS = frozenset(
    {
        *("AddV2", "Add", "AddN", "Sub", "BiasAdd", "Neg", "Sum", "Mean", "AvgPool"),
        *("AvgPool3D", "ResizeBilinear", "Cumsum"),
    }
)
"""Linear, without weights that could be told apart."""

MATRICES = {
    "Conv2D": (0, 1),
    "Conv3D": (0, 1),
    "DepthwiseConv2dNative": (0, 1),
    "Conv2DBackpropInput": (2, 1),
    "MatMul": (0, 1),
    "BatchMatMulV2": (0, 1),
}
"""Linear in each of two inputs: where the signal stands, and where the weights."""

MAXIMA = frozenset({"Max", "MaxPool", "MaxPool3D", "Maximum"})
"""The largest of several numbers."""

ACTIVATIONS = frozenset({"Relu", "Relu6", "LeakyRelu", "Elu", "Selu", "Tanh", "Softsign"})
"""One number to one number, and 0 to 0."""


@dataclass(frozen=True)
class Route:
    """The operations on the ways from `source` to `ends`, in the order of their creation.

    Attributes
    ----------
    source : tensor
    operations : list of tf.Operation
    reached : set of tensor references
        What depends on the source, on a way to the ends or not.
    """

    source: Any
    operations: list[Any]
    reached: frozenset[Any]

    @classmethod
    def between(cls, source: Any, ends: Sequence[Any], *, floats: bool) -> Route:
        """Find the route; with `floats` only through numbers that can change a little."""
        reached = {source.ref()}
        for operation in source.graph.get_operations():
            if operation.type not in _SHAPES and any(t.ref() in reached for t in operation.inputs):
                outputs = operation.outputs
                reached |= {t.ref() for t in outputs if t.dtype.is_floating or not floats}
        behind = ancestors(ends, stop=[source])
        on_the_way = [
            operation
            for operation in source.graph.get_operations()
            if operation in behind and any(t.ref() in reached for t in operation.outputs)
        ]
        found = [o for o in on_the_way if o is not source.op]
        return cls(source, found, frozenset(reached))

    def active(self, operation: Any) -> list[int]:
        """Return which inputs of an operation depend on the source."""
        return [i for i, t in enumerate(operation.inputs) if t.ref() in self.reached]

    @cached_property
    def consumers(self) -> Mapping[Any, list[Any]]:
        """Operations of the route that take a tensor, by its reference."""
        found: dict[Any, list[Any]] = {}
        for operation in self.operations:
            for tensor in operation.inputs:
                found.setdefault(tensor.ref(), []).append(operation)
        return found


def ancestors(tensors: Iterable[Any], stop: Iterable[Any] = ()) -> set[Any]:
    """Return all operations that tensors are computed by, not looking beyond `stop`."""
    limit = {t.ref() for t in stop}
    waiting, found = [t for t in tensors if t.ref() not in limit], set()
    while waiting:
        operation = waiting.pop().op
        if operation not in found:
            found.add(operation)
            waiting.extend(t for t in operation.inputs if t.ref() not in limit)
    return found


Back = Callable[[Any, list[Any]], Iterable[tuple[Any, Any]]]


def sent_back(route: Route, seeds: Iterable[tuple[Any, Any]], back: Back) -> Any:
    """Send something from the ends of a route to its source, and return what arrives.

    Parameters
    ----------
    route : Route
    seeds : pairs (tensor, what it starts with)
    back : callable
        From an operation and what has come to each of its outputs (None: nothing) to pairs
        (tensor, what it gets). What a tensor gets from several operations is added.
    """
    arrived: dict[Any, Any] = {}

    def add(pairs: Iterable[tuple[Any, Any]]) -> None:
        for tensor, value in pairs:
            key = tensor.ref()
            arrived[key] = arrived[key] + value if key in arrived else value

    add(seeds)
    for operation in reversed(route.operations):
        values = [arrived.get(t.ref()) for t in operation.outputs]
        if any(value is not None for value in values):
            add(back(operation, values))
    found = arrived.get(route.source.ref())
    return tf.zeros_like(route.source) if found is None else found


def again(operation: Any, inputs: Sequence[Any]) -> list[Any]:
    """Run an operation of the graph on other inputs, float32 for float16; return its outputs."""
    attributes = {}
    for name, value in operation.node_def.attr.items():
        if name[0] != "_":
            attributes[name] = type(value)()
            attributes[name].CopyFrom(value)
            if value.type in _HALVES:
                attributes[name].type = tf.float32.as_datatype_enum
    kinds = [tf.float32 if t.dtype in _HALVES.values() else t.dtype for t in operation.outputs]
    made = operation.graph.create_op(operation.type, list(inputs), kinds, attrs=attributes)
    return list(made.outputs)


def pull(
    operation: Any, active: Sequence[int], values: Sequence[Any], at: Sequence[Any] | None = None
) -> list[tuple[Any, Any]]:
    """Multiply what came to the outputs with the derivative; in float32.

    Parameters
    ----------
    operation : tf.Operation
    active : sequence of int
        The inputs that something is sent to.
    values : sequence of tensors or None
        One an output.
    at : sequence of tensors, optional
        Inputs at which the derivative is taken; those of the operation by default.

    Returns
    -------
    list of pairs (input of the operation, what it gets)
    """
    if operation.type in ("Cast", "Identity", "IdentityN", "StopGradient"):
        # Shares are float32 whatever the numbers are cast to.
        return [(operation.inputs[i], values[i]) for i in active if values[i] is not None]
    inputs = [as_float32(t) for t in (operation.inputs if at is None else at)]
    # Copies of the inputs are constants to each other, even where one is made of another,
    # and tf.gradients, which visits all that its sources lead to, finds one operation.
    for i in active:
        inputs[i] = tf.identity(inputs[i])
    outputs = again(operation, inputs)
    there = [i for i, value in enumerate(values) if value is not None]
    sources = [inputs[i] for i in active]
    found = tf.gradients(
        [outputs[i] for i in there],
        sources,
        [values[i] for i in there],
    )
    return [(operation.inputs[i], g) for i, g in zip(active, found, strict=True)]


def as_float32(tensor: Any) -> Any:
    """Return a floating tensor in float32, so that mixed precision does not round shares."""
    if tensor.dtype.is_floating and tensor.dtype != tf.float32:
        return tf.cast(tensor, tf.float32)
    return tensor


def owners(model: keras.Model, passed: Forward) -> dict[Any, tuple[str, keras.Layer]]:
    """Return the path and layer to which each operation of a traced pass belongs.

    `passed` must have watched all layers; the innermost layer owns an operation.
    """
    claims = []
    for path, layer in named_layers(model).items():
        for call in passed.calls.get(path, ()):
            own = ancestors(tensors_in(call.output), stop=tensors_in(call.inputs))
            claims.append((own, (path, layer)))
    # Smaller sets overwrite larger ones; of equal ones, contents their container.
    claims.sort(key=lambda claim: -len(claim[0]))
    return {operation: owner for own, owner in claims for operation in own}


def tensors_in(structure: Any) -> list[Any]:
    """Return the tensors of a structure."""
    return [t for t in tf.nest.flatten(structure) if tf.is_tensor(t)]


def refuse(method: str, operation: Any, owner: tuple[str, Any] | None, why: str) -> ValueError:
    """Return the error for an operation that a method has no rule for."""
    what = f"operation {operation.name!r}"
    if owner is not None:
        what = f"layer {owner[0]!r} ({type(owner[1]).__name__})"
    return ValueError(
        f"Method {method!r} cannot pass {what}: {why}. Replace it by layers that the method "
        "knows, explain a target in front of or behind it (introspect.targets.unit), or use "
        "method='integrated_gradients', which needs derivatives only."
    )
