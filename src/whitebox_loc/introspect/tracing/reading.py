"""Outputs of layers for images, all of them in one pass, and a list of the layers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from whitebox_loc._types import Array, ArrayLike, Model, Tensor
from whitebox_loc._validation import check_choice, check_int, check_model, is_finite
from whitebox_loc.introspect.tracing.capture import Call, Forward, forward, trace, traced
from whitebox_loc.introspect.tracing.inputs import Inputs, check_images, input_specs
from whitebox_loc.introspect.tracing.layers import (
    find_layers,
    layer_names,
    named_layers,
    split_call,
)
from whitebox_loc.introspect.tracing.refusals import check_weights

REDUCTIONS = {name: getattr(tf, f"reduce_{name}") for name in ("mean", "max", "min", "sum")}
"""What `activations` can make of the places of a channel."""


@dataclass(frozen=True)
class LayerInfo:
    """One layer of a model.

    Attributes
    ----------
    path : str
        Names from the model's own layers downwards: ``"backbone/conv2"``.
    kind : str
        Class of the layer.
    output_shape : tuple or None
        Shape of its output, None for the batch axis; a list of shapes of several outputs or
        calls; None if it is not known.
    """

    path: str
    kind: str
    output_shape: Any


def activations(
    model: Model,
    images: ArrayLike,
    layers: str | Sequence[str] | None = None,
    *,
    reduce: str | None = None,
    batch_size: int = 256,
) -> dict[str, Any]:
    """Return outputs of layers for images, all layers in one pass, in inference.

    Parameters
    ----------
    model : keras.Model
        Any model; it is left as it is (a model without weights is built, as by any call).
    images : float array (n, height, width, channels)
        Or, for a model of several inputs, the structure that it takes, one image array in it.
    layers : str or sequence of str, optional
        Paths as `list_layers` gives them; all layers by default. Of a layer that is called
        several times, ``path`` stands for all calls, ``path#2`` for the second.
    reduce : {"mean", "max", "min", "sum"}, optional
        Make one number of each channel's places: arrays (n, channels).
    batch_size : int, default 256
        Images in one pass.

    Returns
    -------
    dict of str to array
        ``path -> (n, ...)``, float32 for floats of every precision, in the order of the
        model. A layer of several outputs has a structure of arrays.

    Raises
    ------
    ValueError
        If a layer does not exist, or is not called where its tensors can be read.

    Examples
    --------
    >>> import numpy as np
    >>> import whitebox_loc as wb
    >>> model = wb.models.localizer(size=(12, 16))
    >>> outputs = activations(model, np.zeros((2, 12, 16, 1), "float32"), ["conv1", "box"])
    >>> {path: a.shape for path, a in outputs.items()}
    {'conv1': (2, 16, 20, 8), 'box': (2, 4)}
    """
    inputs = check_images(images, check_model(model))
    names = list(named_layers(model)) if layers is None else layer_names(layers)
    find_layers(model, names)
    # Of all layers, those that only training uses cannot be read.
    require = layers is not None
    if reduce is not None:
        check_choice("reduce", reduce, REDUCTIONS)

    def build(*tensors: Tensor) -> dict[str, Any]:
        passed = forward(model, inputs.pack(tensors), watch=names, require=require)
        if names and not passed.calls:
            raise ValueError(
                f"No layer of `model` {model.name!r} can be read: its `call` is a tf.function, or "
                "runs its layers inside of one, a loop or a condition. Take the decorator away; "
                "Keras compiles the model anyway."
            )
        return {
            name: tf.nest.map_structure(lambda t: _reduced(t, reduce), call.output)
            for name, call in _calls(passed, names).items()
        }

    run = traced(model, ("activations", tuple(names), reduce, require), inputs, build)
    outputs = run_in_batches(run, inputs, check_int("batch_size", batch_size, low=1))
    if not all(map(is_finite, tf.nest.flatten(outputs))):
        # Finite weights may make infinities on purpose; those are returned.
        check_weights(model, "Activations cannot be given: some are NaN or infinite. ")
    return outputs


def list_layers(model: Model) -> list[LayerInfo]:
    """Return all layers of a model, nested ones included, in the order of the model.

    The shapes of a subclassed model are known after its first call.

    Examples
    --------
    >>> import whitebox_loc as wb
    >>> for layer in list_layers(wb.models.localizer(size=(16, 16), head="dense"))[-2:]:
    ...     print(layer.path, layer.kind, layer.output_shape)
    flatten Flatten (None, 32)
    box Dense (None, 4)
    """
    layers = named_layers(check_model(model))
    shapes = _output_shapes(model, layers)
    return [LayerInfo(k, type(layer).__name__, shapes.get(k)) for k, layer in layers.items()]


def layer_output(
    model: keras.Model, images: Any, layer: str, argument: str = "layer", **options: Any
) -> np.ndarray:
    """Return the output (n, ...) of a layer whose name, an `argument`, stands for one tensor.

    The other arguments are those of `activations`.
    """
    find_layers(model, [layer], argument)
    outputs = activations(model, images, layer, **options)
    output = outputs.get(layer)
    if not isinstance(output, np.ndarray) or output.ndim < 2:
        raise ValueError(
            f"`{argument}` must name one tensor; {layer!r} stands for {list(outputs)}. Ask for one "
            "call, such as 'path#2', of a layer of one output."
        )
    return output


def run_in_batches(
    run: Callable[..., Any], inputs: Inputs, batch_size: int, extra: Sequence[Array] = ()
) -> Any:
    """Run a compiled function over all images; `extra` arrays are cut like the images."""
    results: Any = None
    for start in range(0, len(inputs), batch_size):
        rows = slice(start, start + batch_size)
        part = run(*inputs.tensors(rows), *(tf.convert_to_tensor(a[rows]) for a in extra))
        if len(inputs) <= batch_size:
            return tf.nest.map_structure(lambda t: t.numpy(), part)
        if results is None:
            results = tf.nest.map_structure(
                lambda t: np.empty((len(inputs), *t.shape[1:]), t.dtype.as_numpy_dtype), part
            )
        for whole, piece in zip(tf.nest.flatten(results), tf.nest.flatten(part), strict=True):
            whole[rows] = piece.numpy()
    return results


def _calls(passed: Forward, names: Sequence[str]) -> dict[str, Call]:
    for name in names:
        if split_call(name)[1] is not None:
            passed.single_call(name)
    own = set(names)
    calls = passed.named_calls()
    return {name: calls[name] for name in calls if {name, split_call(name)[0]} & own}


def readable(tensor: Tensor) -> Tensor:
    """Return a tensor as callers get it: floats of every precision as float32."""
    tensor = tf.convert_to_tensor(tensor)
    return tf.cast(tensor, tf.float32) if tensor.dtype.is_floating else tensor


def _reduced(tensor: Tensor, reduce: str | None) -> Tensor:
    tensor = readable(tensor)
    places = list(range(1, tensor.shape.rank - 1))
    return REDUCTIONS[reduce](tensor, places) if reduce and places else tensor


def _output_shapes(model: Model, layers: dict[str, keras.Layer]) -> dict[str, Any]:
    specs = input_specs(model)
    if specs is None:
        return {}
    specs = tf.nest.map_structure(lambda t: tf.TensorSpec((None, *t.shape[1:]), t.dtype), specs)

    def build(*tensors: Tensor) -> dict[str, Any]:
        inputs = tf.nest.pack_sequence_as(specs, tensors)
        passed = forward(model, inputs, watch=list(layers), require=False)
        return {path: [c.output for c in calls] for path, calls in passed.calls.items()}

    outputs = trace(build, tf.nest.flatten(specs)).structured_outputs
    flat = {path: tf.nest.flatten(calls) for path, calls in outputs.items()}
    shapes = {path: [tuple(t.shape) for t in tensors] for path, tensors in flat.items()}
    return {path: s[0] if len(s) == 1 else s for path, s in shapes.items()}
