"""One way in for NumPy arrays and for tensors, without importing TensorFlow for the first."""

from __future__ import annotations

from typing import Any

import numpy as np

from whitebox_loc._validation import check_boxes

__all__ = [
    "align",
    "as_boxes",
    "check_numeric",
    "check_one_box",
    "is_tensor",
    "namespace",
    "to_tensor",
]


def is_tensor(value: Any) -> bool:
    """Tell whether `value` is a TensorFlow or Keras tensor, by the module of its type.

    Datasets, layers and models of these modules have no shape and are none.
    """
    theirs = type(value).__module__.partition(".")[0] in ("tensorflow", "keras")
    return theirs and hasattr(value, "shape") and hasattr(value, "dtype")


def namespace(*values: Any) -> Any:
    """Return ``keras.ops`` if one of the values is a tensor, ``numpy`` otherwise.

    Keras names its operations as NumPy does, so the same lines run on both.
    """
    if any(is_tensor(value) for value in values):
        from keras import ops

        return ops
    return np


def as_boxes(name: str, value: Any, xp: Any, *, halves: bool = True) -> Any:
    """Return `value` as a floating array or tensor of shape ``(..., 4)``.

    NumPy values are checked (see `check_boxes`) and whole numbers become
    float64; tensors are checked by their static shape only and whole numbers
    become float32. With ``halves=False``, 16-bit floats become float32.
    """
    if xp is np:
        array = check_boxes(name, value)
        return array if array.dtype.kind == "f" else array.astype(np.float64)
    tensor = to_tensor(check_numeric(name, value), halves=halves)
    if tensor.shape == () or tensor.shape[-1] not in (None, 4):
        raise ValueError(
            f"`{name}` must have shape (..., 4), four numbers to a box; "
            f"got shape {tuple(tensor.shape)}."
        )
    return tensor


def check_numeric(name: str, value: Any) -> Any:
    """Return a tensor of numbers as it is, anything else as an array, checked by `check_boxes`."""
    if not is_tensor(value):
        return check_boxes(name, value)
    dtype = getattr(value.dtype, "name", str(value.dtype))
    if not any(kind in dtype for kind in ("int", "float")):
        raise TypeError(f"`{name}` must hold numbers; got a tensor of dtype {dtype}.")
    return value


def align(a: Any, b: Any) -> tuple[Any, Any]:
    """Give both values the dtype of the one that is a tensor, or the wider if both are.

    16-bit floats count as float32: the other value must not be rounded to them.
    """
    import keras

    tensors = [to_tensor(value, halves=False) for value in (a, b) if is_tensor(value)]
    dtype = keras.backend.result_type(*(tensor.dtype for tensor in tensors))
    return tuple(keras.ops.cast(value, dtype) for value in (a, b))


def to_tensor(value: Any, *, halves: bool = True) -> Any:
    """Return `value` as a floating tensor, whole numbers (and maybe halves) as float32."""
    import keras

    tensor = keras.ops.convert_to_tensor(value)
    name = keras.backend.standardize_dtype(tensor.dtype)
    keep = ("float16", "bfloat16", "float32", "float64") if halves else ("float32", "float64")
    return tensor if name in keep else keras.ops.cast(tensor, "float32")


def check_one_box(*boxes: Any) -> None:
    """Raise a ValueError if boxes are more than one an image, of which some may be padding."""
    for value in boxes:
        shape = value.shape if hasattr(value, "shape") else np.shape(value)
        rank = shape.rank if hasattr(shape, "rank") else len(shape)
        if rank is not None and rank > 2:
            raise ValueError(
                f"Boxes must have shape (n, 4), one an image; got {tuple(shape)}. For several "
                "boxes an image, some of them padding, use training.evaluate_detector, "
                "metrics.mean_average_precision or detection_losses."
            )
