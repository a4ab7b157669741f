"""Interventions: the outputs of a model if a layer had another output."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from whitebox_loc._types import Array, ArrayLike, Model, Tensor
from whitebox_loc._validation import (
    as_array,
    check_callable,
    check_finite,
    check_int,
    check_model,
    shortened,
)
from whitebox_loc.introspect.tracing.capture import call_given, first_line, forward, traced
from whitebox_loc.introspect.tracing.fingerprints import function_fingerprint
from whitebox_loc.introspect.tracing.inputs import check_images
from whitebox_loc.introspect.tracing.layers import find_layers
from whitebox_loc.introspect.tracing.reading import readable, run_in_batches
from whitebox_loc.introspect.tracing.refusals import check_answer


def patch(
    model: Model, images: ArrayLike, replacements: Mapping[str, Any], *, batch_size: int = 256
) -> Any:
    """Return the model's outputs, floats as float32, when the outputs of some layers are replaced.

    Parameters
    ----------
    model, images
        As for `activations`.
    replacements : dict of str to array, number or function
        By layer path, as `list_layers` gives it; ``path#2`` is the second call of a layer
        that is called several times, ``path`` every call. A layer's output is replaced by

        - an array of its shape, ``(n, ...)``, or ``(1, ...)`` for the same in all images;
        - a number everywhere;
        - what a function makes of it: from tensor to tensor of the same shape, with
          TensorFlow or ``keras.ops``. It is compiled, and compiled again when a value it
          refers to is replaced, but not when an array it refers to is changed in place.
    batch_size : int, default 256
        Images in one pass.

    Raises
    ------
    ValueError
        If a layer does not exist, is not called where it can be replaced, or a
        replacement does not have the shape of its output.

    References
    ----------
    J. Vig et al., "Investigating gender bias in language models using causal mediation
    analysis", NeurIPS 2020, arXiv:2004.12265.

    Examples
    --------
    >>> import whitebox_loc as wb
    >>> model = wb.models.localizer(size=(12, 16))
    >>> images = wb.data.generate(wb.data.Scene(size=(12, 16)), 2, seed=0).images
    >>> boxes = patch(model, images, {"conv2": 0.0})
    >>> bool(np.allclose(boxes[0], boxes[1], rtol=0, atol=1e-6))  # nothing is left of the images
    True
    """
    inputs = check_images(images, check_model(model))
    if not isinstance(replacements, Mapping) or not replacements:
        raise TypeError(
            f"`replacements` must be a dict from layer path to array or function; "
            f"got {shortened(replacements)}."
        )
    find_layers(model, replacements, "replacements")
    arrays = {
        name: _check_array(name, value, len(inputs))
        for name, value in replacements.items()
        if not _is_function(name, value)
    }

    def build(*tensors: Tensor) -> Any:
        split = 1 + len(inputs.others)
        values = dict(zip(arrays, tensors[split:], strict=True))
        replace = {k: _replacement(k, v, values.get(k)) for k, v in replacements.items()}
        passed = forward(model, inputs.pack(tensors[:split]), replace=replace)
        return tf.nest.map_structure(readable, passed.outputs)

    extra = list(arrays.values())
    run = traced(model, _key(replacements), inputs, build, extra=extra)
    outputs = run_in_batches(run, inputs, check_int("batch_size", batch_size, low=1), extra)
    for output in tf.nest.flatten(outputs):
        check_answer("Outputs", output, model)
    return outputs


def _is_function(name: str, value: object) -> bool:
    what = "from the layer's output to a tensor of its shape"
    return callable(value) and bool(check_callable(f"replacements[{name!r}]", value, 1, what))


def _replacement(name: str, value: Any, array: Tensor) -> Callable[[Tensor], Tensor]:
    def replace(output: Tensor) -> Tensor:
        if array is None:
            fresh = _applied(name, value, output)
            pairs = zip(tf.nest.flatten(fresh), tf.nest.flatten(output), strict=True)
            return tf.nest.pack_sequence_as(output, [_like(name, a, b) for a, b in pairs])
        if tf.nest.is_nested(output):
            raise ValueError(
                f"`replacements` of {name!r}, a layer of several outputs, must be a function."
            )
        if array.shape.rank == 1:
            # A number, once an image.
            full = tf.reshape(array, [-1] + [1] * (output.shape.rank - 1))
            return tf.cast(full, output.dtype) + tf.zeros_like(output)
        return _like(name, array, output)

    return replace


def _applied(name: str, function: Callable[[Tensor], Tensor], output: Tensor) -> Tensor:
    fresh = call_given(f"replacements[{name!r}]", function, output)
    try:
        tf.nest.assert_same_structure(output, fresh)
        return tf.nest.map_structure(tf.convert_to_tensor, fresh)
    except Exception as error:
        raise ValueError(
            f"`replacements` of {name!r} must be a function from the layer's output, "
            f"{shortened(output)}, to a tensor of its shape; it returned {shortened(fresh)}. "
            f"({first_line(error)})"
        ) from error


def _like(name: str, fresh: Tensor, output: Tensor) -> Tensor:
    fresh = tf.convert_to_tensor(fresh)
    if not output.shape.is_compatible_with(fresh.shape):
        raise ValueError(
            f"`replacements` of {name!r} must have the shape of the layer's output, "
            f"{tuple(output.shape)}; got {tuple(fresh.shape)}."
        )
    return tf.ensure_shape(tf.cast(fresh, output.dtype), output.shape)


def _check_array(name: str, value: ArrayLike, n: int) -> Array:
    array = as_array(f"replacements[{name!r}]", value)
    if array.dtype.kind not in "iufb":
        raise TypeError(
            f"`replacements` of {name!r} must be an array, a number or a function; got "
            f"{shortened(value)}."
        )
    array = check_finite(f"replacements[{name!r}]", array.astype(np.float32))
    if array.ndim == 0:
        return np.full(n, array)
    if array.ndim == 1 or len(array) not in (1, n):
        raise ValueError(
            f"`replacements` of {name!r} must have shape (n, ...), n = {n} images, or (1, ...); "
            f"got {array.shape}."
        )
    return np.broadcast_to(array, (n, *array.shape[1:]))


def _key(replacements: Mapping[str, Any]) -> Hashable | None:
    states: list[Hashable] = []
    for name, value in replacements.items():
        state = function_fingerprint(value) if callable(value) else "array"
        if state is None:
            return None
        states.append((name, state))
    return ("patch", *states)
