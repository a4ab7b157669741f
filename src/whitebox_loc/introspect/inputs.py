"""The images that a model is asked about, beside whatever else the model takes."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import tensorflow as tf

__all__ = ["Inputs", "check_images", "fixed_spec", "tensor_specs"]


@dataclass(frozen=True)
class Inputs:
    """One image batch and, for models of several inputs, the arrays that go with it.

    Attributes
    ----------
    image : float32 (n, height, width, channels)
    others : tuple of arrays (n, ...)
    structure : Any
        What the model takes, with the number of the array in place of each array; the
        image is number 0.
    """

    image: np.ndarray
    others: tuple[np.ndarray, ...]
    structure: Any

    def __len__(self) -> int:
        return len(self.image)

    @cached_property
    def signature(self) -> Hashable:
        """Shape, dtype and structure of one example: equal ones share compiled functions."""
        arrays = tuple((a.shape[1:], a.dtype.str) for a in (self.image, *self.others))
        return arrays, repr(self.structure)

    def pack(self, arrays: Any) -> Any:
        """Give arrays or tensors (image first) the structure that the model takes."""
        return tf.nest.map_structure(lambda number: arrays[number], self.structure)


def check_images(images: Any) -> Inputs:
    """Check what a public function got as `images`: an array, or a structure of arrays."""
    if not isinstance(images, (dict, list, tuple)):
        return Inputs(_check_image(images), (), 0)
    flat = [np.asarray(a) for a in tf.nest.flatten(images)]
    pictures = [i for i, a in enumerate(flat) if a.ndim == 4]
    if len(pictures) != 1:
        raise ValueError(
            "`images` given as a structure must hold exactly one image array, of shape "
            f"(n, height, width, channels); got shapes {[a.shape for a in flat]}."
        )
    image = _check_image(flat[pictures[0]])
    others = [np.asarray(a, np.float32 if a.dtype.kind == "f" else None) for a in flat]
    del others[pictures[0]]
    if any(a.shape[:1] != image.shape[:1] for a in others):
        raise ValueError(
            f"`images` must hold arrays of one length, {len(image)} images; got shapes "
            f"{[a.shape for a in flat]}."
        )
    numbers = list(range(1, len(flat)))
    numbers.insert(pictures[0], 0)
    return Inputs(image, tuple(others), tf.nest.pack_sequence_as(images, numbers))


def tensor_specs(arrays: Any) -> list[tf.TensorSpec]:
    """Return specs of the arrays with the number of examples left open."""
    return [tf.TensorSpec((None, *a.shape[1:]), tf.as_dtype(a.dtype)) for a in arrays]


def fixed_spec(array: np.ndarray) -> tf.TensorSpec:
    """Return the spec of an array that keeps its shape."""
    return tf.TensorSpec(array.shape, tf.as_dtype(array.dtype))


def _check_image(image: Any) -> np.ndarray:
    array = np.asarray(image)
    if array.dtype.kind != "f":
        raise TypeError(
            f"`images` must hold floats in the range that the model takes; got dtype "
            f"{array.dtype}. Pass images.astype('float32'), divided by 255 for a model of "
            "this library."
        )
    if array.ndim != 4 or 0 in array.shape:
        raise ValueError(
            "`images` must have shape (n, height, width, channels), n at least 1; got "
            f"{array.shape}. Use images[None] for a single image."
        )
    return np.ascontiguousarray(array, np.float32)
