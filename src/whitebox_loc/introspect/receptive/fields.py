"""Receptive fields: which pixels a unit can depend on, and how much it does on each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
import tensorflow as tf

from whitebox_loc._types import Array, ArrayLike, Model, Seed, Size, Tensor
from whitebox_loc._validation import (
    check_generator,
    check_int,
    check_ints,
    check_memory,
    check_model,
)
from whitebox_loc.introspect.receptive.dependence import dependence
from whitebox_loc.introspect.receptive.intervals import Reach
from whitebox_loc.introspect.receptive.rearrangements import Unknown
from whitebox_loc.introspect.tracing.capture import forward, trace, traced
from whitebox_loc.introspect.tracing.inputs import Inputs, blank, check_images, fixed_spec
from whitebox_loc.introspect.tracing.layers import find_layers
from whitebox_loc.introspect.tracing.reading import activations

Position: TypeAlias = int | Sequence[int] | None
"""Index on the axes between batch and channel."""


@dataclass(frozen=True, eq=False)
class ReceptiveField:
    """The pixels that the units of a layer can depend on, whatever the weights.

    Attributes
    ----------
    layer : str
    image_size : (int, int)
        Height and width of the image in pixels.
    shape : tuple of int
        Of the layer's output for one image: places, then channels.
    size : (int, int)
        Height and width of a window in pixels, beyond the border of the image, too; of windows
        that do not move in equal steps, those of the largest inside the image.
    stride : (int or None, int or None)
        Rows and columns between the windows of neighbours; None where steps are not equal.
    offset : (int or None, int or None)
        First row and column of the window of place 0; negative in padding.
    rows, columns : int arrays, broadcastable to ``(*shape, 2)``
        First row and the one behind the last of each unit's window, inside the image;
        equal for a unit that sees no pixel.
    """

    layer: str
    image_size: Size
    shape: tuple[int, ...]
    size: Size
    stride: tuple[int | None, int | None]
    offset: tuple[int | None, int | None]
    rows: Array
    columns: Array

    def window(self, position: Position = None, channel: int | None = None) -> Array:
        """Return the smallest box around the pixels that a unit can depend on.

        `position` is the index on the axes between batch and channel, such as (row, column), and
        `channel` that on the last; None stands for all of them together. The box, an int array
        (4,), is ``yxyx`` in pixels, half open, inside the image; zeros for no pixel at all.
        """
        index = _index(self.layer, self.shape, position, channel)
        box = np.zeros(4, np.int64)
        for axis, spans in enumerate((self.rows, self.columns)):
            low, high = (np.broadcast_to(spans[..., end], self.shape)[index] for end in (0, 1))
            visible = high > low
            if not visible.any():
                return np.zeros(4, np.int64)
            box[axis], box[axis + 2] = low[visible].min(), high[visible].max()
        return box


def receptive_field(model: Model, layer: str, *, example: ArrayLike = None) -> ReceptiveField:
    """Return which pixels each unit of a layer can depend on, exactly.

    The operations between the image and the layer are followed one by one.

    Parameters
    ----------
    model : keras.Model
        Any model; it is left as it is.
    layer : str
        Path as `list_layers` gives it, ``path#2`` for the second of several calls.
    example : array or structure of arrays, optional
        For a model that does not know the shape of its image or has several inputs: what it
        takes. Only shapes count.

    Returns
    -------
    ReceptiveField
        In pixels. Units behind Flatten and Dense or global pooling see the whole image.

    Raises
    ------
    ValueError
        If the layer does not exist, or no dependence on the image can be followed.

    References
    ----------
    A. Araujo, W. Norris, J. Sim, "Computing receptive fields of convolutional neural
    networks", Distill 2019, doi:10.23915/distill.00021.

    Examples
    --------
    >>> import whitebox_loc as wb
    >>> field = receptive_field(wb.models.localizer(size=(20, 30)), "conv2")
    >>> field.size, field.stride, field.offset
    ((5, 5), (1, 1), (-3, -3))
    >>> field.window((10, 0))
    array([ 7,  0, 12,  2])
    """
    find_layers(check_model(model), [layer], "layer")
    inputs = blank(model, example)
    # Also builds the weights, and refuses wrong names of layers.
    outputs = activations(model, inputs.packed, layer)
    if list(outputs) != [layer] or not isinstance(outputs[layer], np.ndarray):
        raise ValueError(
            f"`layer` must name one tensor; {layer!r} stands for {list(outputs)}, some of them of "
            "several outputs. Ask for one call, such as 'path#2'."
        )

    def build(*tensors: Tensor) -> Tensor:
        return forward(model, inputs.pack(tensors), watch=[layer]).single_call(layer).output

    # One image, so that the trace knows every shape.
    function = trace(build, [fixed_spec(array) for array in inputs.arrays])
    try:
        reaches = dependence(function.inputs[0], function.outputs[0])
    except Unknown as error:
        raise ValueError(
            f"`layer` {layer!r} depends on the image through {error}, which cannot be followed. "
            "Ask for a layer in front of it, or for effective_receptive_field."
        ) from None
    if reaches is None:
        raise ValueError(f"`layer` {layer!r} does not depend on the image.")
    image_size, shape = inputs.image.shape[1:3], reaches[0].shape[1:]
    (rows, down), (columns, across) = map(_along, reaches, image_size)
    size, stride, offset = zip(down, across, strict=True)
    return ReceptiveField(layer, image_size, shape, size, stride, offset, rows, columns)


def effective_receptive_field(
    model: Model,
    layer: str,
    position: Position = None,
    channel: int | None = None,
    *,
    images: ArrayLike = None,
    n: int = 32,
    seed: Seed = 0,
    example: ArrayLike = None,
    batch_size: int = 256,
) -> Array:
    """Return how strongly a unit responds to each pixel, on average over images.

    Parameters
    ----------
    model, layer, example
        As for `receptive_field`.
    position : int or tuple of int, optional
        Index on the axes between batch and channel; the middle by default.
    channel : int, optional
        Index on the last axis; by default the mean over all channels of what follows.
    images : float array (n, height, width, channels) or structure, optional
        Where derivatives are taken; by default `n` images of uniform noise in [0, 1].
    n, seed : int
        Number of noise images, and their source of randomness.
    batch_size : int, default 256
        Images in one pass.

    Returns
    -------
    float64 array (height, width)
        Mean over images of ``sum over image channels of |d unit / d pixel|``, activation
        per unit of brightness. Inside the theoretical window, and mostly much smaller.

    References
    ----------
    W. Luo et al., "Understanding the effective receptive field in deep convolutional
    neural networks", NeurIPS 2016, arXiv:1701.04128.

    Examples
    --------
    >>> import whitebox_loc as wb
    >>> model = wb.models.localizer(size=(20, 30))
    >>> rows, columns = effective_receptive_field(model, "conv2", (10, 12)).nonzero()
    >>> sorted(set(rows.tolist())), sorted(set(columns.tolist()))
    ([7, 8, 9, 10, 11], [9, 10, 11, 12, 13])
    """
    find_layers(check_model(model), [layer], "layer")
    inputs = _images(model, images, n, seed, example)
    shape = activations(model, inputs[:1].packed, layer)[layer].shape[1:]
    middle = tuple(length // 2 for length in shape[:-1])
    place = _index(layer, shape, middle if position is None else position, channel)
    channels = range(shape[-1]) if channel is None else [place[-1]]
    others = len(inputs.others)

    def build(image: Tensor, *beside: Tensor) -> Tensor:
        passed = forward(model, inputs.pack((image, *beside[:others])), watch=[layer])
        units = tf.cast(passed.single_call(layer).output, tf.float32)[(slice(None), *place[:-1])]
        (slope,) = tf.gradients(tf.reduce_sum(units * beside[others]), image)
        slope = tf.zeros_like(image) if slope is None else slope
        return tf.reduce_sum(tf.abs(slope), (0, 3))

    weights = tf.TensorSpec((shape[-1],), tf.float32)
    run = traced(model, ("effective", layer, place[:-1]), inputs, build, extra=[weights])
    total = np.zeros(inputs.image.shape[1:3])
    for start in range(0, len(inputs), check_int("batch_size", batch_size, low=1)):
        part = inputs.tensors(slice(start, start + batch_size))
        for index in channels:
            total += run(*part, tf.one_hot(index, shape[-1])).numpy()
    return total / (len(inputs) * len(channels))


def _along(reach: Reach, length: int) -> tuple[Array, tuple[Any, Any, Any]]:
    """Return the ends of the windows along an axis of the image, and size, stride and offset."""
    low, high = reach.ends[0], -reach.ends[1]
    ends = np.moveaxis(np.where(high > low, (low, high), 0), 0, -1)[0]
    largest, regular = int((ends[..., 1] - ends[..., 0]).max()), reach.regular
    moves = (regular.size, regular.stride, regular.start) if regular else (largest, None, None)
    return np.clip(ends, 0, length), moves


def _index(
    layer: str, shape: tuple[int, ...], position: Position, channel: int | None
) -> tuple[Any, ...]:
    """Return the index of a unit, or of several, in the output for one image."""
    *places, last = shape
    index: list[Any] = [slice(None)] * len(shape)
    if position is not None:
        indices = check_ints("position", position, empty=True)
        if len(indices) != len(places):
            raise ValueError(
                f"`position` must have one index for each of the {len(places)} axes between "
                f"batch and channel of layer {layer!r}, of shape {shape}; got {indices}."
            )
        for i, (place, n) in enumerate(zip(indices, places, strict=True)):
            index[i] = check_int(f"position[{i}]", place, low=-n, high=n - 1)
    if channel is not None:
        index[-1] = check_int("channel", channel, low=-last, high=last - 1)
    return tuple(index)


def _images(model: Model, images: ArrayLike, n: int, seed: Seed, example: ArrayLike) -> Inputs:
    if images is not None:
        return check_images(images)
    one, count = blank(model, example), check_int("n", n, low=1)
    check_memory("n", n, 4.0 * count * one.image.size, "images")
    noise = check_generator(seed).random((count, *one.image.shape[1:]), np.float32)
    return replace(one[np.zeros(count, int)], image=noise)
