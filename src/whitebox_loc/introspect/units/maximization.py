"""Activation maximisation: the image at which a unit, or any other target, is largest."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from whitebox_loc._types import Array, ArrayLike, Model, Seed, Tensor
from whitebox_loc._validation import (
    check_bool,
    check_generator,
    check_int,
    check_ints,
    check_model,
    check_real,
    shortened,
)
from whitebox_loc.introspect.targets import Target
from whitebox_loc.introspect.targets.builders import as_targets
from whitebox_loc.introspect.targets.query import read_targets
from whitebox_loc.introspect.tracing.capture import Forward, forward, traced
from whitebox_loc.introspect.tracing.inputs import Inputs, blank
from whitebox_loc.introspect.tracing.layers import channel_indices, split_call
from whitebox_loc.introspect.tracing.reading import layer_output
from whitebox_loc.introspect.tracing.refusals import check_answer


@dataclass(frozen=True, eq=False)
class Maximized:
    """Images made to raise something, and how far they raise it.

    Attributes
    ----------
    labels : tuple of str
        What each image maximises.
    images : float32 array (k, height, width, channels)
        In [0, 1].
    values : float32 array (k,)
        The target at each image: for a channel its mean over all places.
    start : float32 array (k,)
        The target at the grey image with faint noise from which the search began.
    """

    labels: tuple[str, ...]
    images: Array
    values: Array
    start: Array


def maximize(
    model: Model,
    layer: str | None = None,
    channel: int | Sequence[int] | None = None,
    *,
    position: int | Sequence[int] | None = None,
    target: Any = None,
    steps: int = 200,
    learning_rate: float = 0.05,
    jitter: int = 2,
    total_variation: float = 0.0,
    fourier: bool = True,
    seed: Seed = 0,
    example: ArrayLike = None,
    batch_size: int = 32,
) -> Maximized:
    """Search for images in [0, 1] that maximise channels of a layer, or targets.

    Adam climbs from a grey image with faint noise. The derivative is divided by its root
    mean square image by image. A target without derivative there, such as a channel that a
    ReLU keeps at zero in all places, stays at its `start`.

    Parameters
    ----------
    model, layer
        As for `top_images`.
    channel : int or sequence of int, optional
        Indices on the last axis of the layer's output; all by default. They are maximised
        together, each by an image of its own.
    position : int or tuple of int, optional
        Index on the axes between batch and channel; by default the mean over all places.
    target : str, int, callable, Target or list of those, optional
        In place of a layer, as for `saliency`.
    steps, learning_rate
        Of Adam: a step of a pixel's brightness, or of a Fourier coefficient.
    jitter : int, default 2
        In every step the image is shifted by at most so many rows and columns, round the
        border; it keeps patterns away that live on one pixel.
    total_variation : float, default 0
        Weight of a penalty: the mean absolute difference between neighbouring pixels, in
        units of the target per unit of brightness.
    fourier : bool, default True
        Climb in the coefficients of a Fourier transform, long waves scaled up, whose
        sigmoid is the image; otherwise in the pixels, cut to [0, 1].
    seed : int or numpy.random.Generator, default 0
        Source of the first image and of the shifts; both are the same for all channels.
    example : array or structure of arrays, optional
        What the model takes, if it does not know the shape of its image or has several
        inputs. Of the image only the shape counts; other inputs are held fixed.
    batch_size : int, default 32
        Most images at a time.

    Returns
    -------
    Maximized

    Raises
    ------
    ValueError, TypeError
        If an argument is not one of the above.

    References
    ----------
    C. Olah, A. Mordvintsev, L. Schubert, "Feature visualization", Distill 2017,
    doi:10.23915/distill.00007; D. P. Kingma, J. Ba, "Adam", ICLR 2015, arXiv:1412.6980.

    Examples
    --------
    >>> import whitebox_loc as wb
    >>> maxima = maximize(wb.models.localizer(size=(12, 16)), "conv2", [0, 3], steps=5)
    >>> maxima.images.shape, bool((maxima.values > maxima.start).all())
    ((2, 12, 16, 1), True)
    """
    inputs = blank(check_model(model), example)
    steps = check_int("steps", steps, low=1, high=_MOST)
    rate = check_real("learning_rate", learning_rate, low=0)
    jitter = check_int("jitter", jitter, low=0, high=_MOST)
    smoothing = check_real("total_variation", total_variation, low=0)
    check_bool("fourier", fourier)
    generator = check_generator(seed)
    check_int("batch_size", batch_size, low=1)
    height, width, channels = inputs.image.shape[1:]
    waves = _waves(height, width) if fourier else None
    shape = inputs.image.shape[1:] if waves is None else (channels, *waves.shape, 2)
    first = (generator.standard_normal(shape) * 0.01).astype(np.float32)
    if not fourier:
        first += np.float32(0.5)
    shifts = generator.integers(-jitter, jitter + 1, (steps, 2)).astype(np.int32)
    climb = _Climb(model, inputs, first, shifts, rate, smoothing, waves)
    labels, parts = list[str](), []
    for goal in _goals(model, inputs, layer, channel, position, target, batch_size):
        labels.extend(goal.labels)
        parts.append(climb.run(goal))
    images, values, start = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    return Maximized(tuple(labels), images, values, start)


_MOST = 10**6
"""Steps beyond are a mistake: the shift of each is drawn before the first is made."""


@dataclass(frozen=True, eq=False)
class _Goal:
    """What one batch of images maximises, an image a label.

    `read` makes values (m,) of a traced pass and of `data`, an array (m, ...).
    """

    labels: list[str]
    key: Any
    watch: tuple[str, ...]
    read: Callable[[Forward, Tensor], Tensor]
    data: Array


def _goals(
    model: Model,
    inputs: Inputs,
    layer: str | None,
    channel: ArrayLike,
    position: ArrayLike,
    target: Any,
    batch_size: int,
) -> Iterable[_Goal]:
    if (layer is None) == (target is None):
        raise TypeError(
            f"Give either `layer` or `target`; got layer={shortened(layer)} and "
            f"target={shortened(target)}."
        )
    if layer is not None:
        return _unit_goals(model, inputs, layer, channel, position, batch_size)
    return (_target_goal(model, each) for each in as_targets(target))


def _target_goal(model: Model, target: Target) -> _Goal:
    data = np.zeros((1, 0), np.float32) if target.data is None else target.data
    if len(data) != 1:
        raise ValueError(
            f"`target` {target.label!r} must be about one image here; got {len(data)} boxes."
        )

    def read(passed: Forward, data: Tensor) -> Tensor:
        return read_targets([target], passed, [data], "identity")[0][0]

    return _Goal([target.label], target.key, target.watched(model), read, data)


def _unit_goals(
    model: Model, inputs: Inputs, layer: str, channel: Any, position: Any, batch_size: int
) -> Iterator[_Goal]:
    output = layer_output(model, inputs.packed, layer)
    count, places = output.shape[-1], output.shape[1:-1]
    place: tuple[int, ...] | None = None
    if position is not None:
        indices = check_ints("position", position, empty=True)
        if len(indices) != len(places):
            raise ValueError(
                f"`position` must have {len(places)} indices for layer {layer!r} of shape "
                f"{output.shape[1:]}; got {indices}."
            )
        place = tuple(
            check_int(f"position[{i}]", p, low=-n, high=n - 1)
            for i, (p, n) in enumerate(zip(indices, places, strict=True))
        )
    chosen = channel_indices("channel", channel, count)

    def read(passed: Forward, weights: Tensor) -> Tensor:
        values = tf.cast(passed.single_call(layer).output, tf.float32)
        if place is not None:
            values = values[(slice(None), *place)]
        means = tf.reduce_mean(values, list(range(1, values.shape.rank - 1)))
        return tf.reduce_sum(means * weights, -1)

    for start in range(0, len(chosen), batch_size):
        part = chosen[start : start + batch_size]
        labels = [f"{layer}[{one}]" for one in part]
        weights = np.eye(count, dtype=np.float32)[part]
        yield _Goal(labels, ("unit", layer, place), (split_call(layer)[0],), read, weights)


@dataclass(frozen=True, eq=False)
class _Climb:
    """Adam from one first image and along one sequence of shifts, for any goals.

    Its state is pixels or, with weights `waves`, coefficients of a Fourier transform.
    """

    model: Model
    inputs: Inputs
    first: Array
    shifts: Array
    learning_rate: float
    smoothing: float
    waves: Array | None

    def run(self, goal: _Goal) -> tuple[Array, Array, Array]:
        """Return images, values there, and values at the first image."""
        name, first = f"Maxima of {', '.join(goal.labels)}", self._repeated(self.first[None], goal)
        evaluate = self._compile(goal, first)
        unmoved = np.zeros(2, np.int32)
        _, start, _ = evaluate(first, unmoved)
        check_answer(name, start, self.model)
        # Names of their own leave the numbers of Keras's automatic names as they are.
        state = keras.Variable(first, dtype="float32", name="state")
        adam = keras.optimizers.Adam(self.learning_rate, epsilon=1e-8, name="climb")
        for shift in self.shifts:
            slope = evaluate(state.numpy(), shift)[2]
            size = np.sqrt(np.mean(slope**2, axis=tuple(range(1, slope.ndim)), keepdims=True))
            adam.apply([tf.constant(-slope / np.where(size > 0, size, 1.0))], [state])
            if self.waves is None:
                state.assign(keras.ops.clip(state, 0.0, 1.0))
        images, values, _ = evaluate(state.numpy(), unmoved)
        check_answer(name, values, self.model)
        check_answer(name, images, self.model)
        return images, values, start

    def _repeated(self, array: Array, goal: _Goal) -> Array:
        return np.repeat(array, len(goal.labels), axis=0)

    def _compile(self, goal: _Goal, state: Array) -> Callable[..., list[Array]]:
        others = len(self.inputs.others)

        def build(frame: Tensor, *tensors: Tensor) -> tuple[Tensor, Tensor, Tensor]:
            data, now, shift = tensors[others:]
            images = frame + self._images(now)
            moved = tf.roll(images, shift, axis=(1, 2))
            packed = self.inputs.pack((moved, *tensors[:others]))
            value = goal.read(forward(self.model, packed, watch=goal.watch), data)
            variation = tf.image.total_variation(images) / self.inputs.image[0].size
            total = tf.reduce_sum(value - self.smoothing * variation)
            slope = tf.gradients(total, now)[0]
            return images, value, tf.zeros_like(now) if slope is None else slope

        extra = [goal.data, state, tf.TensorSpec((2,), tf.int32)]
        key = goal.key and ("maximize", goal.key, self.smoothing, self.waves is None)
        run = traced(self.model, key, self.inputs, build, extra=extra)
        # The image goes in as zeros: the model's input is made of the coefficients inside.
        arrays = [*(self._repeated(a, goal) for a in self.inputs.arrays), goal.data]
        fixed = [tf.convert_to_tensor(a) for a in arrays]
        return lambda now, shift: [t.numpy() for t in run(*fixed, *map(tf.constant, (now, shift)))]

    def _images(self, state: Tensor) -> Tensor:
        if self.waves is None:
            return state
        waves = tf.complex(state[..., 0], state[..., 1]) * tf.constant(self.waves, tf.complex64)
        logits = tf.signal.irfft2d(waves, self.inputs.image.shape[1:3])
        return tf.sigmoid(tf.transpose(logits, (0, 2, 3, 1)))


def _waves(height: int, width: int) -> Array:
    """Return weights (height, width // 2 + 1) of the coefficients of a Fourier transform.

    One over the frequency, as in photographs, so that all scales move at once; normalised
    so that coefficients of standard deviation 1 make pixels of standard deviation 1.
    """
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None])
    weights = 1 / np.maximum(frequency, 1 / max(height, width))
    # A coefficient adds its real part to each pixel; all columns but the first (and the last,
    # of an even width) do so twice, once for the conjugate that is left out.
    copies = np.full(weights.shape, 2.0)
    copies[:, 0] = 1
    if width % 2 == 0:
        copies[:, -1] = 1
    # The inverse transform divides by the number of pixels.
    variance = ((copies * weights) ** 2).sum() / (height * width) ** 2
    return (weights / np.sqrt(variance)).astype(np.float32)
