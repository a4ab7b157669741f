"""Boxes of a model in which part of one layer is replaced, compiled once for all parts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from whitebox_loc.introspect.capture import compiled, forward
from whitebox_loc.introspect.inputs import Inputs
from whitebox_loc.introspect.layers import find_layers
from whitebox_loc.introspect.outputs import box_output
from whitebox_loc.introspect.reading import activations

__all__ = ["Swap"]


class Swap:
    """One layer of a model, to be read and to be replaced in part.

    Parameters
    ----------
    model : keras.Model
    inputs : Inputs
        The images that the boxes are about.
    layer : str
        Of one floating-point output and one call.
    batch_size : int

    Attributes
    ----------
    shape : tuple of int
        Of the layer's output for one image.
    """

    def __init__(self, model: keras.Model, inputs: Inputs, layer: str, batch_size: int) -> None:
        find_layers(model, [layer], "layer")
        self.model, self.inputs, self.layer, self.batch_size = model, inputs, layer, batch_size
        self.shape = self.read(inputs, np.arange(1)).shape[1:]
        specs = [
            tf.TensorSpec((None, *self.shape), tf.float32),
            tf.TensorSpec(self.shape, tf.bool),
        ]
        self._run = compiled(model, ("swap", layer), inputs, self._build, extra=specs)

    def batches(self) -> Iterator[slice]:
        """Cut the images into slices."""
        for start in range(0, len(self.inputs), self.batch_size):
            yield slice(start, min(start + self.batch_size, len(self.inputs)))

    def read(self, inputs: Inputs, rows: np.ndarray) -> np.ndarray:
        """Return the layer's output (m, ...) for some rows of inputs."""
        arrays = inputs.pack([a[rows] for a in (inputs.image, *inputs.others)])
        found = activations(self.model, arrays, self.layer, batch_size=self.batch_size)
        values = found.get(self.layer)
        if not isinstance(values, np.ndarray) or values.dtype.kind != "f" or values.ndim < 2:
            raise ValueError(
                f"`layer` must name one tensor of floats; {self.layer!r} stands for {list(found)}. "
                "Ask for one call, such as 'path#2', of a layer of one output."
            )
        return values

    def mean(self) -> np.ndarray:
        """Return the layer's mean over all images, added up in float64."""
        total = np.zeros(self.shape)
        for part in self.batches():
            total += self.read(self.inputs, np.arange(len(self.inputs))[part]).sum(0, np.float64)
        return (total / len(self.inputs)).astype(np.float32)

    def boxes(self, part: slice, instead: np.ndarray, mask: np.ndarray) -> np.ndarray:
        """Return boxes (m, 4) of a batch, the layer replaced by `instead` where `mask` is true."""
        arrays = [a[part] for a in (self.inputs.image, *self.inputs.others)]
        whole = np.broadcast_to(mask, self.shape)
        return self._run(*map(tf.convert_to_tensor, (*arrays, instead, whole))).numpy()

    def boxes_everywhere(self) -> np.ndarray:
        """Return the boxes (n, 4) of all images, nothing replaced."""
        nothing = np.zeros(self.shape, bool)
        found = [
            self.boxes(part, np.zeros((part.stop - part.start, *self.shape), np.float32), nothing)
            for part in self.batches()
        ]
        return np.concatenate(found)

    def _build(self, *tensors: Any) -> Any:
        *given, instead, mask = tensors

        def replaced(output: Any) -> Any:
            return tf.where(mask, tf.cast(instead, output.dtype), output)

        passed = forward(self.model, self.inputs.pack(given), replace={self.layer: replaced})
        return tf.cast(box_output(passed), tf.float32)
