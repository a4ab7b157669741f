"""The operations between an image and a target, and ways to send something back through them.

Whatever the style of a model, its trace is one graph of TensorFlow operations, and it is
these that propagation methods go through: operations that Keras wraps in no layer are
reached like any other, and one without a rule cannot be passed by mistake.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeAlias

import keras
import tensorflow as tf

from whitebox_loc._types import Model, Tensor
from whitebox_loc.introspect.tracing.capture import Forward
from whitebox_loc.introspect.tracing.graphs import REARRANGEMENTS, ancestors, body_of, reached_from
from whitebox_loc.introspect.tracing.layers import named_layers

Operation: TypeAlias = Any
"""A `tf.Operation`, or a `_WrappedConvolution` that stands for one."""

_OTHERS = {kind.as_datatype_enum: kind for kind in (tf.float16, tf.bfloat16, tf.float64)}

MOVES = REARRANGEMENTS | {
    *("Identity", "IdentityN", "Cast", "CheckNumerics", "GatherNd", "Select", "SelectV2")
}
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

_CONVOLUTIONS = frozenset({"Conv2D", "Conv3D"})


@dataclass(frozen=True)
class Route:
    """The operations on the ways from `source` to `ends`, in the order of their creation.

    `reached` are references of what depends on the source, on a way to the ends or not.
    """

    source: Tensor
    operations: list[Operation]
    reached: frozenset[Any]

    @classmethod
    def between(cls, source: Tensor, ends: Sequence[Tensor], *, floats: bool) -> Route:
        """Find the route; with `floats` only through numbers that can change a little."""
        reached = reached_from([source], lambda t: not floats or changes_smoothly(t))
        behind = ancestors(ends, stop=[source])
        on_the_way = [
            operation
            for operation in source.graph.get_operations()
            if operation in behind and any(t.ref() in reached for t in operation.outputs)
        ]
        operations = [_unwrapped(o, reached) for o in on_the_way if o is not source.op]
        return cls(source, operations, frozenset(reached))

    def active(self, operation: Operation) -> list[int]:
        """Return which inputs of an operation depend on the source."""
        return [i for i, t in enumerate(operation.inputs) if t.ref() in self.reached]

    @cached_property
    def consumers(self) -> Mapping[Any, list[Operation]]:
        """Operations of the route that take a tensor, by its reference."""
        takers: dict[Any, list[Operation]] = {}
        for operation in self.operations:
            for tensor in operation.inputs:
                takers.setdefault(tensor.ref(), []).append(operation)
        return takers


def changes_smoothly(tensor: Tensor) -> bool:
    """Whether a tensor holds floats or, as the lists of loops do, tensors of any kind."""
    kind = tensor.dtype
    return not (kind.is_integer or kind.is_bool or kind == tf.string)


@dataclass(frozen=True, eq=False)
class _WrappedConvolution:
    """A function call that does nothing but convolve, read as the convolution.

    Keras leaves grouped convolutions to the compiler XLA, which takes functions. In sets and dicts
    of operations it equals the `call`. Inside are the convolution, `product`, and its input,
    `signal`; outside are its `inputs`, signal and weights.
    """

    call: Tensor
    product: Tensor
    signal: Tensor
    inputs: list[Tensor]

    def __hash__(self) -> int:
        return hash(self.call)

    def __eq__(self, other: object) -> bool:
        return self.call is getattr(other, "call", other)

    @property
    def type(self) -> str:
        return self.product.type

    @property
    def name(self) -> str:
        return self.call.name

    @property
    def outputs(self) -> list[Tensor]:
        return self.call.outputs

    def run(self, inputs: Sequence[Tensor]) -> list[Tensor]:
        """Convolve other inputs with other weights, outside of the function."""
        values = {self.signal.ref(): inputs[0], self.product.inputs[1].ref(): inputs[1]}
        return _replayed(self.product.graph.outputs, values, again)


# What Keras and TensorFlow put around the convolution in a function of its own.
_AROUND = frozenset(
    {
        *("Placeholder", "Const", "NoOp", "ReadVariableOp", "Identity", "Cast"),
        *("ExpandDims", "Squeeze", "Pad", "SpaceToBatchND", "BatchToSpaceND"),
    }
)


def _unwrapped(operation: Operation, reached: set[Any]) -> Operation:
    """Return an operation, or the convolution if it is a call of a function of only one."""
    body = body_of(operation)
    inside = [] if body is None else body.get_operations()
    products = [o for o in inside if o.type in _CONVOLUTIONS]
    if len(products) != 1 or any(o.type not in _AROUND for o in inside if o is not products[0]):
        return operation
    outside = {a.ref(): b for a, b in zip(body.inputs, operation.inputs, strict=True)}
    signals = [t for t in body.inputs if t.op in ancestors([products[0].inputs[0]])]
    depends = [t.ref() for t in body.inputs if outside[t.ref()].ref() in reached]
    if [t.ref() for t in signals] != depends or len(depends) != 1 or len(body.outputs) != 1:
        return operation
    signal = outside[signals[0].ref()]
    weights = _replayed([products[0].inputs[1]], outside, _copied)
    return _WrappedConvolution(operation, products[0], signals[0], [signal, *weights])


def _replayed(
    tensors: Sequence[Tensor], values: Mapping[Any, Tensor], copy: Callable[..., list[Tensor]]
) -> list[Tensor]:
    """Compute tensors of a function's graph outside of it, from `values` by reference."""
    known = dict(values)
    needed = ancestors(tensors, stop=[key.deref() for key in values])
    for operation in tensors[0].graph.get_operations():
        if operation in needed:
            outputs = copy(operation, [known[t.ref()] for t in operation.inputs])
            known |= {t.ref(): new for t, new in zip(operation.outputs, outputs, strict=True)}
    return [known[tensor.ref()] for tensor in tensors]


Pairs = Iterable[tuple[Tensor, Tensor]]
Back = Callable[[Operation, list[Tensor]], Pairs]


def sent_back(route: Route, seeds: Pairs, back: Back) -> Tensor:
    """Send something from the ends of a route to its source, and return what arrives.

    It starts with the `seeds`, pairs of a tensor and a value. `back` makes pairs of an operation
    and of what has come to each of its outputs (None: nothing); what a tensor gets is added up.
    """
    arrived: dict[Any, Any] = {}

    def add(pairs: Pairs) -> None:
        for tensor, value in pairs:
            key = tensor.ref()
            arrived[key] = arrived[key] + value if key in arrived else value

    add(seeds)
    for operation in reversed(route.operations):
        values = [arrived.get(t.ref()) for t in operation.outputs]
        if any(value is not None for value in values):
            add(back(operation, values))
    sum_at_source = arrived.get(route.source.ref())
    return tf.zeros_like(route.source) if sum_at_source is None else sum_at_source


def again(operation: Operation, inputs: Sequence[Tensor]) -> list[Tensor]:
    """Run an operation of the graph on other inputs, in float32; return its outputs."""
    if isinstance(operation, _WrappedConvolution):
        return operation.run(inputs)
    if operation.type in _CONVOLUTIONS:
        groups = inputs[0].shape[-1] // inputs[1].shape[-2]
        if groups > 1 and operation.get_attr("data_format").endswith(b"C"):
            # Without XLA, TensorFlow has no derivative of grouped convolutions on a CPU.
            parts = zip(*(tf.split(t, groups, -1) for t in inputs), strict=True)
            return [tf.concat([_copied(operation, p, wide=True)[0] for p in parts], -1)]
    return _copied(operation, inputs, wide=True)


def _copied(operation: Operation, inputs: Sequence[Tensor], *, wide: bool = False) -> list[Tensor]:
    attributes = {}
    for name, value in operation.node_def.attr.items():
        if name[0] != "_":
            attributes[name] = type(value)()
            attributes[name].CopyFrom(value)
            if wide and value.type in _OTHERS:
                attributes[name].type = tf.float32.as_datatype_enum
    others = _OTHERS.values() if wide else ()
    kinds = [tf.float32 if t.dtype in others else t.dtype for t in operation.outputs]
    graph = tf.compat.v1.get_default_graph()
    copy = graph.create_op(operation.type, list(inputs), kinds, attrs=attributes)
    return list(copy.outputs)


def pull(
    operation: Operation, active: list[int], values: list[Tensor], at: list[Tensor] | None = None
) -> list[tuple[Tensor, Tensor]]:
    """Multiply what came to the outputs with the derivative, in float32, for the `active` inputs.

    `values` are one an output, or None. The derivative is taken where the operation's inputs are,
    or `at` other ones.
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
    slopes = tf.gradients([outputs[i] for i in there], sources, [values[i] for i in there])
    return [(operation.inputs[i], g) for i, g in zip(active, slopes, strict=True)]


def as_float32(tensor: Tensor) -> Tensor:
    """Return a floating tensor in float32, so that mixed precision does not round shares."""
    if tensor.dtype.is_floating and tensor.dtype != tf.float32:
        return tf.cast(tensor, tf.float32)
    return tensor


def owners(model: Model, passed: Forward) -> dict[Any, tuple[str, keras.Layer]]:
    """Return path and layer, the innermost, of each operation of a pass that watched all layers."""
    claims = []
    for path, layer in named_layers(model).items():
        for call in passed.calls.get(path, ()):
            own = ancestors(tensors_in(call.output), stop=tensors_in(call.inputs))
            claims.append((own, (path, layer)))
    # Smaller sets overwrite larger ones; of equal ones, contents their container.
    claims.sort(key=lambda claim: -len(claim[0]))
    return {operation: owner for own, owner in claims for operation in own}


def tensors_in(structure: Any) -> list[Tensor]:
    """Return the tensors of a structure."""
    return [t for t in tf.nest.flatten(structure) if tf.is_tensor(t)]
