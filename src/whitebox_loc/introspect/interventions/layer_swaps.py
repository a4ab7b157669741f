"""Targets of a model with part of one layer replaced, compiled once for all parts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from whitebox_loc._validation import check_choice
from whitebox_loc.introspect.targets import LINKS, Target, as_target
from whitebox_loc.introspect.targets.outputs import COORDINATES
from whitebox_loc.introspect.targets.query import check_log_odds, one_a_row
from whitebox_loc.introspect.tracing.capture import forward, traced
from whitebox_loc.introspect.tracing.inputs import Inputs
from whitebox_loc.introspect.tracing.layers import find_layers
from whitebox_loc.introspect.tracing.reading import activations
from whitebox_loc.introspect.tracing.refusals import check_answer

__all__ = ["Swap", "targets_of"]


class Swap:
    """One layer of a model, to be read and to be replaced in part.

    Parameters
    ----------
    model : keras.Model
    inputs : Inputs
        The images that it is about.
    layer : str
        Of one floating-point output and one call.
    batch_size : int
    targets : sequence of Target, optional
        The targets; the four coordinates by default.
    link : {"identity", "logit"}

    Attributes
    ----------
    shape : tuple of int
        Of the layer's output for one image.
    """

    def __init__(
        self,
        model: keras.Model,
        inputs: Inputs,
        layer: str,
        batch_size: int,
        targets: Sequence[Target] = (),
        link: str = "identity",
    ) -> None:
        find_layers(model, [layer], "layer")
        self.model, self.inputs, self.layer, self.batch_size = model, inputs, layer, batch_size
        self.targets, self.link = tuple(targets) or tuple(map(as_target, COORDINATES)), link
        check_log_odds(model, inputs, self.targets, link, batch_size)
        self.shape = self.read(inputs, np.arange(1)).shape[1:]
        self._data = [one_a_row(t.data, len(inputs)) for t in self.targets if t.data is not None]
        keys = [target.key for target in self.targets]
        key = None if None in keys else ("swap", layer, link, *keys)
        extra = [
            *self._data,
            tf.TensorSpec((None, *self.shape), tf.float32),
            tf.TensorSpec(self.shape, tf.bool),
        ]
        self._run = traced(model, key, inputs, self._build, extra=extra)

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

    def values(self, part: slice, instead: np.ndarray, mask: np.ndarray) -> np.ndarray:
        """Return targets (m, t) of a batch, the layer being `instead` where `mask` is true."""
        arrays = [a[part] for a in (self.inputs.image, *self.inputs.others, *self._data)]
        whole = np.broadcast_to(mask, self.shape)
        return self._run(*map(tf.convert_to_tensor, (*arrays, instead, whole))).numpy()

    def values_everywhere(self) -> np.ndarray:
        """Return the targets (n, t) of all images, nothing replaced."""
        nothing = np.zeros(self.shape, bool)
        batches = [
            self.values(part, np.zeros((part.stop - part.start, *self.shape), np.float32), nothing)
            for part in self.batches()
        ]
        return check_answer("Targets", np.concatenate(batches), self.model, self.link)

    def _build(self, *tensors: Any) -> Any:
        *given, instead, mask = tensors
        count = 1 + len(self.inputs.others)
        data = iter(given[count:])

        def replaced(output: Any) -> Any:
            return tf.where(mask, tf.cast(instead, output.dtype), output)

        watch = sorted({name for target in self.targets for name in target.watched(self.model)})
        packed = self.inputs.pack(given[:count])
        passed = forward(self.model, packed, watch=watch, replace={self.layer: replaced})
        found = [
            target.read(passed, None if target.data is None else next(data), self.link)[0]
            for target in self.targets
        ]
        return tf.stack(found, axis=-1)


def targets_of(target: Any, link: str) -> list[Target]:
    """Return the targets asked for; none for the box."""
    check_choice("link", link, LINKS)
    if target is None:
        if link != "identity":
            raise ValueError(
                f"`link` {link!r} needs a `target`; got target=None, the box as it is. Name the "
                "coordinates, such as target=['top', 'left']."
            )
        return []
    names = list(target) if isinstance(target, (list, tuple)) else [target]
    if not names:
        raise ValueError("`target` must name at least one target; got an empty list.")
    return [as_target(t) for t in names]
