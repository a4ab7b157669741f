"""One way in for NumPy arrays and for tensors, without importing TensorFlow for the first."""

from __future__ import annotations

from typing import Any

import numpy as np

from whitebox_loc._types import Array, ArrayLike, Tensor
from whitebox_loc._validation import as_array, check_boxes, shortened


def is_tensor(value: ArrayLike) -> bool:
    """Tell whether `value` is a TensorFlow or Keras tensor, by its type: others have no shape."""
    theirs = type(value).__module__.partition(".")[0] in ("tensorflow", "keras")
    return theirs and hasattr(value, "shape") and hasattr(value, "dtype")


def namespace(*values: ArrayLike) -> Any:
    """Return ``keras.ops`` if a value is a tensor, ``numpy``, which names alike, otherwise."""
    if any(is_tensor(value) for value in values):
        from keras import ops

        return ops
    return np


def as_boxes(name: str, value: ArrayLike, xp: Any, *, halves: bool = True) -> ArrayLike:
    """Return `value` as a floating array or tensor of shape ``(..., 4)``.

    NumPy values are checked (see `check_boxes`), tensors by their static shape only; whole numbers
    become float64 and float32. With ``halves=False``, 16-bit floats become float32.
    """
    if xp is np:
        array = check_boxes(name, value)
        return array if array.dtype.kind == "f" else array.astype(np.float64)
    check_numeric(name, value)
    tensor = to_tensor(value, halves=halves)
    if tensor.shape == () or tensor.shape[-1] not in (None, 4):
        raise ValueError(
            f"`{name}` must have shape (..., 4), four numbers to a box; "
            f"got shape {tuple(tensor.shape)}."
        )
    return tensor


def check_numeric(name: str, value: ArrayLike) -> None:
    """Raise unless `value` is a tensor of numbers, or something else that `check_boxes` takes."""
    if not is_tensor(value):
        check_boxes(name, value)
        return
    dtype = getattr(value.dtype, "name", str(value.dtype))
    if not any(kind in dtype for kind in ("int", "float")):
        raise TypeError(f"`{name}` must hold numbers; got a tensor of dtype {dtype}.")


def align(a: ArrayLike, b: ArrayLike) -> tuple[Tensor, Tensor]:
    """Give both values the dtype of the one that is a tensor, or the wider if both are.

    16-bit floats count as float32: the other value must not be rounded to them.
    """
    import keras

    tensors = [to_tensor(value, halves=False) for value in (a, b) if is_tensor(value)]
    dtype = keras.backend.result_type(*(tensor.dtype for tensor in tensors))
    return tuple(keras.ops.cast(value, dtype) for value in (a, b))


def to_tensor(value: ArrayLike, *, halves: bool = True) -> Tensor:
    """Return `value` as a floating tensor, whole numbers (and maybe halves) as float32."""
    import keras

    tensor = keras.ops.convert_to_tensor(value)
    name = keras.backend.standardize_dtype(tensor.dtype)
    keep = ("float16", "bfloat16", "float32", "float64") if halves else ("float32", "float64")
    return tensor if name in keep else keras.ops.cast(tensor, "float32")


def finite_tensor(name: str, value: ArrayLike) -> Tensor:
    """Return numbers as float tensor; outside a compiled function they must be finite."""
    if not is_symbolic(value):
        array = numbers_of(name, value)
        if array.dtype.kind not in "iuf" or not np.isfinite(array).all():
            raise ValueError(f"`{name}` must hold finite numbers; got {shortened(value)}.")
    return to_tensor(value, halves=False)


def check_pair(y_true: ArrayLike, y_pred: ArrayLike, *, fractions: bool = False) -> None:
    """Raise unless these are as many true as predicted boxes ``(n, 4)``, one an image.

    Inside a graph there are only shapes to look at. Otherwise all numbers must be finite, and
    true boxes must not be swapped; with `fractions` they must lie within the image.
    """
    shapes = _one_an_image("y_true", y_true), _one_an_image("y_pred", y_pred)
    if None not in shapes[0] + shapes[1] and shapes[0] != shapes[1]:
        raise ValueError(
            "`y_true` and `y_pred` must hold equally many boxes; got shapes "
            f"{shapes[0]} and {shapes[1]}."
        )
    if not is_symbolic(y_true):
        check_fractions("y_true", y_true, within=fractions)
    if not is_symbolic(y_pred):
        predicted = check_boxes("y_pred", numbers_of("y_pred", y_pred))
        # As numbers of Python, since halves know none as large.
        if predicted.size and not max(-float(predicted.min()), float(predicted.max())) <= LARGEST:
            raise ValueError(
                f"`y_pred` must hold fractions of the image, at most {LARGEST:g} in magnitude, so "
                f"that areas do not overflow; got {predicted.min():g} .. {predicted.max():g}."
            )


def _one_an_image(name: str, value: ArrayLike) -> tuple[int | None, ...]:
    """Return the shape of boxes, one an image, as far as it is known."""
    shape = value.shape if is_symbolic(value) else as_array(name, value).shape
    rank = shape.rank if hasattr(shape, "rank") else len(shape)
    if rank is None:
        return (None,)
    if rank != 2 or shape[-1] not in (None, 4):
        raise ValueError(
            f"`{name}` must have shape (n, 4), one box an image; got {tuple(shape)}. For several "
            "boxes an image, some of them padding, use training.evaluate_detector, "
            "metrics.mean_average_precision or detection_losses."
        )
    return tuple(shape)


def check_fractions(
    name: str, boxes: ArrayLike, *, within: bool = True, ordered: bool = True
) -> None:
    """Raise unless ``rel_yxyx`` boxes are finite, and `within` the image, `ordered` if asked."""
    array = check_boxes(name, numbers_of(name, boxes))
    where = _first((array < -ROUNDING) | (array > 1 + ROUNDING)) if within else None
    if where is not None:
        raise ValueError(
            f"`{name}` must be rel_yxyx boxes within the image, fractions in [0, 1]; box "
            f"{where} is {array[where].tolist()}. Convert pixel boxes with "
            'boxes.convert(boxes, "yxyx", "rel_yxyx", size=size).'
        )
    where = _first(array[..., 2:] < array[..., :2] - ROUNDING) if ordered else None
    if where is not None:
        raise ValueError(
            f"`{name}` must hold boxes of height and width >= 0; box {where} is "
            f"{array[where].tolist()}. Swap its corners, or convert it from its own format to "
            "rel_yxyx."
        )


LARGEST = 1e15
"""Areas of boxes of this size, and sums of some of them, are finite in float32."""

ROUNDING = 1e-5
"""More than float32 arithmetic on a few fractions is off by."""


def _first(wrong: Array) -> tuple[int, ...] | None:
    """Return where the first box with something wrong is, or None."""
    places = np.argwhere(wrong.any(axis=-1))
    return tuple(int(i) for i in places[0]) if len(places) else None


def check_weights(weights: ArrayLike, boxes: ArrayLike) -> None:
    """Raise unless `weights`, the `sample_weight` of Keras, is None or at least 0, one a box."""
    if weights is None or is_symbolic(weights):
        return
    array = numbers_of("sample_weight", weights)
    if array.dtype.kind not in "iufb":
        raise TypeError(f"`sample_weight` must hold numbers; got an array of dtype {array.dtype}.")
    n = boxes.shape[0] if hasattr(boxes, "shape") else len(boxes)
    if n is not None and array.shape not in ((n,), (n, 1)):
        raise ValueError(
            f"`sample_weight` must hold one weight a box, shape ({n},) or ({n}, 1); got shape "
            f"{array.shape}."
        )
    if not (np.isfinite(array) & (array >= 0)).all():
        raise ValueError(
            f"`sample_weight` must hold finite numbers >= 0; got {array.min()} .. {array.max()}."
        )


def is_symbolic(value: ArrayLike) -> bool:
    """Tell whether `value` is a tensor of a graph, whose numbers are not there yet."""
    if not is_tensor(value):
        return False
    import keras
    import tensorflow as tf

    return keras.backend.is_keras_tensor(value) or not tf.executing_eagerly()


def numbers_of(name: str, value: ArrayLike) -> Array:
    """Return what NumPy can look at: tensors as arrays, 16-bit floats as float32."""
    array = as_array(name, value)
    # NumPy knows no bfloat16, and in float16 the limits that numbers are held against overflow.
    half = array.dtype == np.float16 or (array.dtype.kind == "V" and is_tensor(value))
    return array.astype("float32") if half else array
