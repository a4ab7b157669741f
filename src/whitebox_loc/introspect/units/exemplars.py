"""The images of a stream to which a unit responds most, and its receptive field there."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from whitebox_loc._types import Array, ArrayLike, Model, Tensor
from whitebox_loc._validation import check_choice, check_int, check_ints, check_model, with_type
from whitebox_loc.data import SCENES, Scene, as_scene, batch_at
from whitebox_loc.introspect.receptive.fields import ReceptiveField, receptive_field
from whitebox_loc.introspect.tracing.capture import forward, traced
from whitebox_loc.introspect.tracing.inputs import Inputs, beside, check_images
from whitebox_loc.introspect.tracing.layers import split_call
from whitebox_loc.introspect.tracing.refusals import check_answer


@dataclass(frozen=True, eq=False)
class TopImages:
    """The k images with the strongest response of one channel, strongest first.

    Attributes
    ----------
    layer : str
    channel : int
    indices : int array (k,)
        Numbers of the images in the stream, from 0.
    values : float32 array (k,)
        The strongest response of the channel at any place of the image.
    positions : int array (k, axes)
        Where that is, on the layer's axes between batch and channel.
    windows : int array (k, 4)
        The pixels that the unit there can depend on, ``yxyx``, half open.
    images : float32 array (k, height, width, channels)
    """

    layer: str
    channel: int
    indices: Array
    values: Array
    positions: Array
    windows: Array
    images: Array

    @property
    def patches(self) -> list[Array]:
        """The images cut to the windows; smaller at the border."""
        pairs = zip(self.images, self.windows.tolist(), strict=True)
        return [image[top:bottom, left:right] for image, (top, left, bottom, right) in pairs]


def top_images(
    model: Model,
    layer: str,
    channel: int | Sequence[int],
    images: ArrayLike,
    *,
    k: int = 9,
    n: int | None = None,
    seed: int = 0,
    example: ArrayLike = None,
    batch_size: int = 256,
) -> Any:
    """Return the images to which channels of a layer respond most, and where.

    Parameters
    ----------
    model : keras.Model
        Any model; it is left as it is.
    layer : str
        Path as `list_layers` gives it, ``path#2`` for the second of several calls.
    channel : int or sequence of int
        Indices on the last axis of the layer's output; all of them in one pass.
    images : array, structure of arrays, Scene, str or iterable
        - a float array (n, height, width, channels), or the structure that the model takes;
        - a `whitebox_loc.data.Scene` or the name of one: its images ``batch_at(scene, 0)``,
          ``batch_at(scene, 1)``, ...;
        - any other iterable, such as a tf.data.Dataset or a generator, of batches: arrays,
          or tuples with the images first.
    k : int, default 9
        Images kept for each channel.
    n : int, optional
        Images looked at, at most. By default 2000 of a scene, otherwise all.
    seed : int, default 0
        Of a scene's images.
    example : structure of arrays, optional
        For a model of several inputs: beside drawn images the first rows are held fixed.
    batch_size : int, default 256
        Images in one pass of an array or a scene; an iterable keeps its batches.

    Returns
    -------
    TopImages
        Or a list of them, for a sequence of channels. Equal responses are in the order of
        the stream, and of the places in an image the first counts.

    Raises
    ------
    ValueError, TypeError
        If an argument is not one of the above.

    References
    ----------
    B. Zhou et al., "Object detectors emerge in deep scene CNNs", ICLR 2015,
    arXiv:1412.6856.

    Examples
    --------
    >>> import whitebox_loc as wb
    >>> model = wb.models.localizer(size=(20, 30))
    >>> exemplars = top_images(model, "conv2", 3, wb.data.Scene(size=(20, 30)), k=4, n=50)
    >>> exemplars.images.shape, exemplars.windows.shape, exemplars.patches[0].ndim
    ((4, 20, 30, 1), (4, 4), 3)
    """
    check_model(model)
    check_int("k", k, low=1)
    several = not isinstance(channel, (int, np.integer))
    indices = check_ints("channel", channel)
    best: list[_Best] = []
    field, count = None, 0
    for inputs in _batches(model, images, n, seed, example, batch_size):
        if field is None:
            field = receptive_field(model, layer, example=inputs.packed)
            last = field.shape[-1]
            best = [_Best(check_int("channel", c, low=-last, high=last - 1), k) for c in indices]
        values, places = _responses(model, layer, inputs)
        check_answer(f"Responses of layer {layer!r}", values, model)
        for one in best:
            one.add(values[:, one.channel], places[:, one.channel], inputs.image, count)
        count += len(inputs)
    if field is None:
        raise ValueError("`images` must hold at least one image; got none.")
    exemplars = [one.finished(field) for one in best]
    return exemplars if several else exemplars[0]


class _Best:
    """The k best images of one channel so far."""

    def __init__(self, channel: int, k: int) -> None:
        self.channel, self.k = channel, k
        self.rows: list[tuple[float, int, int, Array]] = []

    def add(self, values: Array, places: Array, images: Array, count: int) -> None:
        # A stable sort keeps the order of the stream among equals.
        for row in np.argsort(-values, kind="stable")[: self.k].tolist():
            where = count + row, int(places[row])
            self.rows.append((float(values[row]), *where, images[row].copy()))
        self.rows = sorted(self.rows, key=lambda entry: (-entry[0], entry[1]))[: self.k]

    def finished(self, field: ReceptiveField) -> TopImages:
        places = field.shape[:-1]
        flat = [place for _, _, place, _ in self.rows]
        positions = [np.unravel_index(p, places) if places else () for p in flat]
        windows = [field.window([int(i) for i in p], self.channel) for p in positions]
        return TopImages(
            layer=field.layer,
            channel=self.channel % field.shape[-1],
            indices=np.array([index for _, index, _, _ in self.rows]),
            values=np.array([value for value, _, _, _ in self.rows], np.float32),
            positions=np.array(positions, np.int64).reshape(len(flat), len(places)),
            windows=np.array(windows),
            images=np.stack([image for *_, image in self.rows]),
        )


def _responses(model: Model, layer: str, inputs: Inputs) -> tuple[Array, Array]:
    """Return each channel's largest value and the number of its place, both (n, channels)."""

    def build(*tensors: Tensor) -> tuple[Tensor, Tensor]:
        passed = forward(model, inputs.pack(tensors), watch=[split_call(layer)[0]])
        output = tf.cast(passed.single_call(layer).output, tf.float32)
        places = int(np.prod(output.shape[1:-1]))
        flat = tf.reshape(output, (-1, places, output.shape[-1]))
        return tf.reduce_max(flat, 1), tf.argmax(flat, 1)

    run = traced(model, ("top images", layer), inputs, build)
    maxima, places = run(*inputs.tensors())
    return maxima.numpy(), places.numpy()


def _batches(
    model: Model, images: ArrayLike, n: int | None, seed: int, example: ArrayLike, batch_size: int
) -> Iterator[Inputs]:
    check_int("batch_size", batch_size, low=1)
    left = None if n is None else check_int("n", n, low=1)
    stream: Iterable[Inputs]
    if isinstance(images, (Scene, str)):
        left = left or 2000
        if isinstance(images, str):
            check_choice("images", images, SCENES)
        scene = as_scene(images)
        stream = (
            beside(batch_at(scene, i, batch_size=batch_size, seed=seed).images, example)
            for i in range(-(-left // batch_size))
        )
    elif isinstance(images, (np.ndarray, tf.Tensor, dict, list, tuple)):
        array = np.asarray(images) if isinstance(images, tf.Tensor) else images
        whole = check_images(array, model)
        stream = (whole[i : i + batch_size] for i in range(0, len(whole), batch_size))
    elif isinstance(images, Iterable):
        # Of the range one batch is enough to warn.
        stream = (_one_batch(b, None if i else model) for i, b in enumerate(images))
    else:
        raise TypeError(
            "`images` must be an array of images, a Scene, the name of one, or an iterable of "
            f"batches; got {with_type(images)}."
        )
    for batch in stream:
        part = batch[:left]
        yield part
        left = None if left is None else left - len(part)
        if left == 0:
            return


def _one_batch(batch: Any, model: Model | None) -> Inputs:
    first = batch[0] if isinstance(batch, tuple) and batch else batch
    return check_images(tf.nest.map_structure(np.asarray, first), model)
