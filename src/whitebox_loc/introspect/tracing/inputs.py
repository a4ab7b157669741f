"""The images that go into a model, beside whatever else the model takes."""

from __future__ import annotations

import numbers
from collections.abc import Hashable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from whitebox_loc._types import Array, ArrayLike, Model
from whitebox_loc._validation import as_array, check_finite, check_model, shortened, warn_of_range


@dataclass(frozen=True)
class Inputs:
    """One image batch (n, height, width, channels) and the arrays (n, ...) that go with it.

    `structure` is what the model takes, with the number of the array in place of each array; the
    image is number 0.
    """

    image: Array
    others: tuple[Array, ...]
    structure: Any

    def __len__(self) -> int:
        return len(self.image)

    def __getitem__(self, rows: slice | Array) -> Inputs:
        return Inputs(self.image[rows], tuple(a[rows] for a in self.others), self.structure)

    @property
    def arrays(self) -> tuple[Array, ...]:
        """The image and the other arrays."""
        return (self.image, *self.others)

    @property
    def packed(self) -> Any:
        """The arrays in the structure that the model takes."""
        return self.pack(self.arrays)

    @cached_property
    def signature(self) -> Hashable:
        """Shape, dtype and structure of one example: equal ones share compiled functions."""
        return tuple((a.shape[1:], a.dtype.str) for a in self.arrays), repr(self.structure)

    def tensors(self, rows: slice | Array = slice(None)) -> list[tf.Tensor]:
        """Return some rows of the arrays as tensors."""
        return [tf.convert_to_tensor(a[rows]) for a in self.arrays]

    def pack(self, arrays: Any) -> Any:
        """Give arrays or tensors (image first) the structure that the model takes."""
        return tf.nest.map_structure(lambda number: arrays[number], self.structure)


def check_images(images: ArrayLike, model: Model | None = None, *, name: str = "images") -> Inputs:
    """Check the `images` of a public function: an array, or a structure of arrays.

    With `model` also whether it takes their shape, with a warning of floats in 0..255.
    """
    if model is not None:
        check_model(model)
    if isinstance(images, (dict, list, tuple)):
        inputs = _check_structure(name, images)
    else:
        inputs = Inputs(_check_image(name, images), (), 0)
    if model is not None:
        check_fit(name, inputs, model)
        if not _rescales(model):
            warn_of_range(name, inputs.image)
    return inputs


def _check_structure(name: str, images: ArrayLike) -> Inputs:
    _refuse_lists(name, images)
    flat = [as_array(name, a) for a in tf.nest.flatten(images)]
    pictures = [i for i, a in enumerate(flat) if a.ndim == 4]
    shapes = shortened([a.shape for a in flat])
    if len(pictures) != 1:
        raise ValueError(
            f"`{name}` given as a structure must hold exactly one image array, of shape "
            f"(n, height, width, channels); got shapes {shapes}."
        )
    image = _check_image(name, flat[pictures[0]])
    others = [a.astype(np.float32) if a.dtype.kind == "f" else a for a in flat]
    del others[pictures[0]]
    for other in others:
        if other.dtype.kind not in "iufb":
            raise TypeError(f"`{name}` must hold arrays of numbers; got dtype {other.dtype}.")
        check_finite(name, other)
    if any(a.shape[:1] != image.shape[:1] for a in others):
        raise ValueError(
            f"`{name}` must hold arrays of one length, {len(image)} images; got shapes {shapes}."
        )
    numbered = list(range(1, len(flat)))
    numbered.insert(pictures[0], 0)
    return Inputs(image, tuple(others), tf.nest.pack_sequence_as(images, numbered))


def _refuse_lists(name: str, images: ArrayLike) -> None:
    """Refuse lists of images and of numbers, with how to make an array of them."""
    if isinstance(images, dict):
        return
    shapes = {np.shape(a) if hasattr(a, "shape") else () for a in images}
    if len(images) and all(len(shape) == 3 for shape in shapes):
        advice = (
            f"Use np.stack({name})."
            if len(shapes) == 1
            else f"They are of {len(shapes)} different shapes: resize or pad them to one size, "
            "and use np.stack."
        )
        raise TypeError(
            f"`{name}` must be one array (n, height, width, channels); got a list of "
            f"{len(images)} images. {advice}"
        )
    first = images
    while isinstance(first, (list, tuple)) and len(first):
        first = first[0]
    if isinstance(first, numbers.Number):
        raise TypeError(
            f"`{name}` must be an array (n, height, width, channels); got lists of numbers. Use "
            f"np.asarray({name}, 'float32')."
        )


def tensor_specs(arrays: Any) -> list[tf.TensorSpec]:
    """Return specs of the arrays with the number of examples left open."""
    return [tf.TensorSpec((None, *a.shape[1:]), tf.as_dtype(a.dtype)) for a in arrays]


def fixed_spec(array: Array) -> tf.TensorSpec:
    """Return the spec of an array that keeps its shape."""
    return tf.TensorSpec(array.shape, tf.as_dtype(array.dtype))


def _check_image(name: str, image: ArrayLike) -> Array:
    if isinstance(image, (tf.data.Dataset, Iterator)):
        raise TypeError(
            f"`{name}` must be an array (n, height, width, channels); got a stream of them, a "
            f"{type(image).__name__}. Take one batch, such as next(iter({name})), and of a pair "
            "(images, boxes) the first part."
        )
    array = as_array(name, image)
    if array.dtype.kind not in "fiubc":
        raise TypeError(
            f"`{name}` must be a float array (n, height, width, channels), or the structure of "
            f"arrays that the model takes; got {shortened(image)} of type {type(image).__name__}."
        )
    if array.dtype.kind != "f":
        raise TypeError(
            f"`{name}` must hold floats in the range that the model takes; got dtype "
            f"{array.dtype}. Pass {name}.astype('float32'), divided by 255 for a model of "
            "this library."
        )
    if array.ndim != 4 or 0 in array.shape:
        raise ValueError(
            f"`{name}` must have shape (n, height, width, channels), n at least 1; got "
            f"{array.shape}. Use {name}[None] for a single image."
        )
    with np.errstate(over="ignore"):  # What is too large for float32 becomes infinite.
        return check_finite(name, np.ascontiguousarray(array, np.float32))


def check_fit(name: str, inputs: Inputs, model: Model) -> None:
    """Refuse arrays that a model which knows the shapes of its inputs does not take.

    What others do not take is refused by `capture.forward`, when the model itself fails.
    """
    limits = input_shapes(model)
    if not limits or isinstance(model, keras.Sequential) or not hasattr(model, "operations"):
        return
    shapes = [array.shape for array in tf.nest.flatten(inputs.packed)]
    if len(shapes) == len(limits) and all(map(_fits, shapes, limits)):
        return
    own, names = getattr(model, "_inputs_struct", None), inputs.structure
    if isinstance(names, dict) and not (isinstance(own, dict) and set(own) == set(names)):
        return  # Keras finds inputs by name, also in another order or beside others.
    rows = [("n", *limit[1:]) for limit in limits]
    text = ", ".join(str(row).replace("'", "").replace("None", "any") for row in rows)
    got = str(shapes[0]) if len(shapes) == 1 else str(shapes)
    raise ValueError(
        f"`{name}` must be of the shape that model {model.name!r} takes, {text}; got {got}."
    )


def _fits(shape: tuple[int, ...], limit: tuple[int | None, ...]) -> bool:
    if len(shape) == len(limit) + 1 and shape[-1] == 1:
        shape = shape[:-1]  # as Keras does
    pairs = zip(shape[1:], limit[1:], strict=False)
    return len(shape) == len(limit) and all(most in (None, length) for length, most in pairs)


def input_specs(model: Model) -> Any:
    """Return what a model takes, as tensors or specs in its structure; None if it is unknown."""
    if isinstance(model, keras.Sequential) and not model.built:
        return None
    inputs = getattr(model, "inputs", None)
    if inputs:
        return getattr(model, "_inputs_struct", inputs[0])
    # A subclassed model remembers the shape that it was first called with.
    shapes = (model.get_build_config() or {}).get("input_shape")
    if shapes is None:
        return None
    return keras.tree.map_shape_structure(lambda shape: tf.TensorSpec(shape, tf.float32), shapes)


def input_shapes(model: Model) -> list[Any]:
    """Return the shapes of the arrays that a model takes, none if it does not know them."""
    specs = input_specs(model)
    return [] if specs is None else [tuple(spec.shape) for spec in tf.nest.flatten(specs)]


def _rescales(model: Model) -> bool:
    """Return whether a model begins with what brings images into its range, so others fit, too."""
    # An operation that is no layer is one of those that `models.adapted` makes of `prepare`.
    for part in getattr(model, "operations", None) or model.layers:
        if isinstance(part, keras.Model):
            return _rescales(part)
        if isinstance(part, _RESCALING) or not isinstance(part, keras.Layer):
            return True
        if part.weights:
            return False
    return False


_RESCALING = (keras.layers.Rescaling, keras.layers.Normalization, keras.layers.Lambda)


def blank(model: Model, example: ArrayLike = None) -> Inputs:
    """Return one all-zero image that `model` takes, with the other inputs of `example`.

    Of `example`, what the model takes, the first row counts, and of its image only the shape.
    """
    if example is not None:
        inputs = check_images(example, name="example")
        check_fit("example", inputs, model)
        return replace(inputs[:1], image=np.zeros_like(inputs.image[:1]))
    shapes = input_shapes(model)
    if len(shapes) != 1 or len(shapes[0]) != 4 or None in shapes[0][1:]:
        raise ValueError(
            f"`example` must be given, an array (n, height, width, channels) or the structure "
            f"that the model takes: `model` {model.name!r} has inputs of shapes {shapes}, not one "
            "image of known size."
        )
    return Inputs(np.zeros((1, *shapes[0][1:]), np.float32), (), 0)


def beside(images: Array, example: ArrayLike = None) -> Inputs:
    """Return images as a model takes them, with the other inputs in the first row of `example`."""
    if example is None:
        return check_images(images)
    inputs = check_images(example, name="example")[np.zeros(len(images), int)]
    return replace(inputs, image=check_images(images).image)
