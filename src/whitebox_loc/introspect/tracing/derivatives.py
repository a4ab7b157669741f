"""Gradients inside a trace: kept from vanishing in half precision, or with other rules for ReLU.

A graph can name another gradient for a kind of operation. That is set while the model is traced,
so that every ReLU is reached, also the activation of a convolution, and no model is changed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache

import keras
import tensorflow as tf

from whitebox_loc._types import Model, Operation, Tensor
from whitebox_loc.introspect.tracing.graphs import reached_from
from whitebox_loc.introspect.tracing.layers import named_layers

SCALE = 2.0**10
"""What gradients are multiplied by on their way through float16, as in loss scaling."""


def gradient_of(value: Tensor, source: Tensor) -> Tensor:
    """Return the gradient of ``sum(value)`` by a tensor (m, ...), None if there is no way.

    A coordinate changes little with a single pixel, and float16 knows nothing between 0 and
    6e-8. Through layers in float16 the gradient goes enlarged; should that be too much for an
    image, its gradient is taken as it is.
    """
    plain = tf.gradients(value, source)[0]
    operations = source.graph.get_operations()
    if plain is None or not any(t.dtype == tf.float16 for o in operations for t in o.outputs):
        return plain
    enlarged = tf.gradients(value * tf.cast(SCALE, value.dtype), source)[0]
    finite = tf.reduce_all(
        tf.math.is_finite(enlarged), tuple(range(1, enlarged.shape.rank)), keepdims=True
    )
    return tf.where(finite, tf.cast(enlarged, tf.float32) / SCALE, tf.cast(plain, tf.float32))


def slopes_of(values: list[Tensor], image: Tensor) -> list[Tensor]:
    """Return the gradient of each target by the image, zero where it does not depend on it."""
    # The image is the only source, and targets of different images are independent: the
    # gradient of the sum over images is each image's own gradient.
    slopes = [gradient_of(value, image) for value in values]
    return [tf.zeros_like(image) if slope is None else slope for slope in slopes]


RELU_RULES = ("guided", "deconv")
"""Pass only positive gradients, where the ReLU is open (guided) or everywhere (deconv)."""

_SMOOTH = frozenset(
    ("gelu", "silu", "hard_silu", "mish", "softplus", "squareplus", "sparse_plus", "celu")
)
"""Activations of Keras that stand where a ReLU might, and have no operation of their own."""


@contextmanager
def rectified(model: Model, rule: str | None) -> Iterator[None]:
    """Give every ReLU traced inside the derivative that `rule` names.

    A ValueError if the model has no ReLU, or one that cannot be reached; it names the layer.
    """
    if rule is None:
        yield
        return
    _register()  # Only one thread traces at a time.
    _check_layers(model, rule)
    graph = tf.compat.v1.get_default_graph()
    before = len(graph.get_operations())
    names = {kind: f"whitebox_loc_{rule}_{kind}" for kind in ("Relu", "Relu6")}
    with graph.gradient_override_map(names):
        yield
    _check_operations(graph.get_operations()[before:], rule)


@cache
def _register() -> None:
    for kind, ordinary in (("Relu", tf.raw_ops.ReluGrad), ("Relu6", tf.raw_ops.Relu6Grad)):
        tf.RegisterGradient(f"whitebox_loc_guided_{kind}")(
            lambda op, upstream, ordinary=ordinary: ordinary(
                gradients=tf.nn.relu(upstream), features=op.outputs[0]
            )
        )
        tf.RegisterGradient(f"whitebox_loc_deconv_{kind}")(lambda op, up: tf.nn.relu(up))


def _check_layers(model: Model, rule: str) -> None:
    for path, layer in named_layers(model).items():
        if isinstance(layer, keras.layers.ReLU) and (layer.threshold or layer.negative_slope):
            _refuse(rule, f"layer {path!r} is a ReLU with a threshold or negative slope")
        name = getattr(getattr(layer, "activation", None), "__name__", "")
        if name in _SMOOTH or isinstance(layer, keras.layers.PReLU):
            _refuse(rule, f"layer {path!r} has a {name or 'PReLU'}")


def _check_operations(operations: Sequence[Operation], rule: str) -> None:
    graphs = {operation.graph for operation in operations}
    floats = [t for graph in graphs for t in graph.inputs if t.dtype.is_floating]
    images = reached_from(floats, lambda tensor: tensor.dtype.is_floating)
    for operation in operations:
        kind, scope = operation.type, operation.name.rpartition("/")[0] or operation.name
        if kind in ("LeakyRelu", "Elu", "Selu"):
            _refuse(rule, f"layer {scope!r} has a {kind}")
        clips = kind == "Maximum" and any(_is_zero(t) for t in operation.inputs)
        # What shapes and coordinates are computed with is no activation.
        if clips and operation.outputs[0].ref() in images:
            _refuse(rule, f"layer {scope!r} computes max(x, 0) without an operation of its own")
        if _holds_relu(operation):
            _refuse(rule, f"layer {scope!r} has a ReLU inside a tf.function, loop or condition")
    if not any(operation.type in ("Relu", "Relu6") for operation in operations):
        raise ValueError(
            f"The {rule} rule needs a model with ReLU activations, and this one has none. "
            "Use method='gradient'."
        )


def _refuse(rule: str, why: str) -> None:
    raise ValueError(
        f"The {rule} rule replaces the derivative of ReLU, but {why}. Use an ordinary ReLU "
        "there (keras.layers.ReLU() or activation='relu'), or method='gradient'."
    )


def _is_zero(tensor: Tensor) -> bool:
    value = tf.get_static_value(tensor) if tensor.op.type == "Const" else None
    return value is not None and value.size == 1 and not value.any()


def _holds_relu(operation: Operation) -> bool:
    """Whether a function of the graph that an operation calls has a ReLU."""
    for attribute in operation.node_def.attr.values():
        if attribute.HasField("func"):
            inner = operation.graph._get_function(attribute.func.name)
            body = getattr(inner, "function_def", None) or getattr(inner, "definition", None)
            if body is not None and any(node.op in ("Relu", "Relu6") for node in body.node_def):
                return True
    return False
