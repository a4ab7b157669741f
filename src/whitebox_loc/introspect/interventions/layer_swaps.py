"""Targets of a model with part of one layer replaced, compiled once for all parts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from whitebox_loc._types import Array, Model, Tensor
from whitebox_loc._validation import check_choice
from whitebox_loc.boxes.formats import COORDINATES
from whitebox_loc.introspect.targets import LINKS, Target
from whitebox_loc.introspect.targets.builders import as_targets
from whitebox_loc.introspect.targets.query import Query, Read
from whitebox_loc.introspect.tracing.inputs import Inputs
from whitebox_loc.introspect.tracing.layers import find_layers
from whitebox_loc.introspect.tracing.reading import activations
from whitebox_loc.introspect.tracing.refusals import check_answer


class Swap:
    """One layer of a model, of one floating-point output, to be read and replaced in part.

    No targets stand for the four coordinates; `shape` is that of the output for one image.
    """

    def __init__(
        self,
        model: Model,
        inputs: Inputs,
        layer: str,
        batch_size: int,
        targets: Sequence[Target],
        link: str,
    ) -> None:
        find_layers(model, [layer], "layer")
        self.model, self.inputs, self.layer, self.batch_size = model, inputs, layer, batch_size
        self.targets, self.link = tuple(targets or as_targets(COORDINATES)), link
        self._query = Query(model, inputs, self.targets, link, batch_size)
        self._query.check_log_odds()
        self.shape = self.read(inputs, np.arange(1)).shape[1:]
        extra = [tf.TensorSpec((None, *self.shape), tf.float32), tf.TensorSpec(self.shape, tf.bool)]
        self._run = self._query.function(("swap", layer), self._build, extra)

    def batches(self) -> Iterator[slice]:
        """Cut the images into slices."""
        return (part for part, _ in self._query.tiles(1))

    def read(self, inputs: Inputs, rows: Array) -> Array:
        """Return the layer's output (m, ...) for some rows of inputs."""
        images = inputs[rows].packed
        outputs = activations(self.model, images, self.layer, batch_size=self.batch_size)
        values = outputs.get(self.layer)
        if not isinstance(values, np.ndarray) or values.dtype.kind != "f" or values.ndim < 2:
            raise ValueError(
                f"`layer` must name one tensor of floats; {self.layer!r} stands for "
                f"{list(outputs)}. Ask for one call, such as 'path#2', of a layer of one output."
            )
        return values

    def mean(self) -> Array:
        """Return the layer's mean over all images, added up in float64."""
        total = np.zeros(self.shape)
        for part in self.batches():
            total += self.read(self.inputs, np.arange(len(self.inputs))[part]).sum(0, np.float64)
        return (total / len(self.inputs)).astype(np.float32)

    def values(self, part: slice, instead: Array, mask: Array) -> Array:
        """Return targets (m, t) of a batch, the layer being `instead` where `mask` is true."""
        whole = np.broadcast_to(mask, self.shape)
        fixed = map(tf.convert_to_tensor, (instead, whole))
        return self._run(*self._query.tensors(part), *fixed).numpy()

    def values_everywhere(self) -> Array:
        """Return the targets (n, t) of all images, nothing replaced."""
        nothing = np.zeros(self.shape, bool)
        batches = [
            self.values(part, np.zeros((part.stop - part.start, *self.shape), np.float32), nothing)
            for part in self.batches()
        ]
        return check_answer("Targets", np.concatenate(batches), self.model, self.link)

    def _build(self, read: Read, images: Tensor, instead: Tensor, mask: Tensor) -> Tensor:
        def replaced(output: Tensor) -> Tensor:
            return tf.where(mask, tf.cast(instead, output.dtype), output)

        return tf.stack(read(images, replace={self.layer: replaced})[0], axis=-1)


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
    return as_targets(target)
