"""Class activation maps without gradients: every channel is tried, one pass for each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import tensorflow as tf

from whitebox_loc.introspect.inputs import fixed_spec
from whitebox_loc.introspect.methods.cams import finished
from whitebox_loc.introspect.methods.feature_maps import check_options, feature_maps, on_image
from whitebox_loc.introspect.methods.paths import baseline_images
from whitebox_loc.introspect.methods.record import Maps
from whitebox_loc.introspect.problem import Problem

__all__ = ["ablationcam", "scorecam"]

# From the call name of a layer to a function for `Problem.function`, which returns the
# targets (k, s, r) when s channels are tried on r images.
Trial = Callable[[str], Callable[..., Any]]


def ablationcam(
    problem: Problem, *, layer: str | None = None, relu: bool = False, align: str = "auto"
) -> Maps:
    """Weight each feature map with the fall of the target when that map is set to zero.

    The paper also divides by the target: one factor a map, without meaning for coordinates,
    which may be 0. It is left out.
    """

    def trial(name: str) -> Callable[..., Any]:
        def build(read: Any, images: Any, features: Any, channels: Any) -> Any:
            keep = 1.0 - tf.one_hot(channels, features.shape[-1])
            without = features * tf.cast(keep, features.dtype)[:, None, None, None, :]
            without = tf.reshape(without, (-1, *features.shape[1:]))
            # TensorFlow computes of these images only what goes around the layer.
            points = tf.tile(images, (tf.shape(channels)[0], 1, 1, 1))
            return _tried(read, points, channels, replace={name: lambda output: without})

        return build

    def fall(values: np.ndarray, tried: np.ndarray, rows: slice) -> np.ndarray:
        return values[:, None] - tried

    return _from_trials(problem, ("ablationcam",), trial, fall, layer, relu, align)


def scorecam(
    problem: Problem,
    *,
    layer: str | None = None,
    relu: bool = False,
    align: str = "auto",
    baseline: Any = 0.0,
    softmax: bool = False,
) -> Maps:
    """Weight each feature map with the rise of the target when the image is seen through it.

    The map, laid on the image and scaled to 0 .. 1, mixes the image with the baseline; the
    rise is counted from the target at the baseline. The paper takes the softmax of the rises
    over channels, which is always positive and, for a coordinate in fractions of the image,
    nearly the same for all channels: hence only by choice.
    """
    check_options(problem, layer, relu, align)
    if not isinstance(softmax, bool):
        raise TypeError(f"`softmax` must be True or False; got {softmax!r}.")
    size = problem.images.shape[1:3]
    base = _only_baseline(baseline, problem.images.shape[1:])
    black = not base.any()

    def trial(name: str) -> Callable[..., Any]:
        def build(read: Any, images: Any, features: Any, channels: Any, base: Any) -> Any:
            places = _matrices(features.shape[1:3], size, align)
            points = _seen_through(features, channels, *places, images, None if black else base[0])
            return _tried(read, tf.reshape(points, (-1, *images.shape[1:])), channels)

        return build

    everywhere = np.broadcast_to(base, problem.images.shape)
    start = problem.at(everywhere, np.arange(len(problem))).values_everywhere()

    def rise(values: np.ndarray, tried: np.ndarray, rows: slice) -> np.ndarray:
        rises = tried - start[:, None, rows]
        return tf.nn.softmax(rises, axis=1).numpy() if softmax else rises

    return _from_trials(
        problem, ("scorecam", align, black), trial, rise, layer, relu, align, [base]
    )


@partial(tf.function, jit_compile=True, autograph=False)
def _seen_through(
    features: Any, channels: Any, rows: Any, columns: Any, images: Any, base: Any
) -> Any:
    """Return images (s, r, h, w, c) mixed with a baseline by channels laid on them.

    One loop, made by XLA: the maps are as large as the images, and there are many.
    """
    chosen = tf.gather(tf.transpose(features, (3, 0, 1, 2)), channels)
    placed = tf.matmul(tf.matmul(rows, tf.cast(chosen, tf.float32)), columns, transpose_b=True)
    low = tf.reduce_min(placed, (2, 3), keepdims=True)
    high = tf.reduce_max(placed, (2, 3), keepdims=True)
    # A constant map says nothing about places; it hides all, and so weighs nothing.
    share = tf.math.divide_no_nan(placed - low, high - low)[..., None]
    return share * images if base is None else share * images + (1.0 - share) * base


def _matrices(places: Any, size: tuple[int, int], align: str) -> tuple[np.ndarray, np.ndarray]:
    """Return what lays a map (h, w) on the image, one side after the other.

    Columns of the middle of maps that are 1 in one row and 0 elsewhere, and the reverse.
    """
    height, width = places
    with tf.init_scope():
        bands = np.broadcast_to(np.eye(height, dtype=np.float32)[:, None], (height, width, height))
        rows = on_image(tf.constant(bands)[None], size, align)[0, :, size[1] // 2]
        bands = np.broadcast_to(np.eye(width, dtype=np.float32), (height, width, width))
        columns = on_image(tf.constant(bands)[None], size, align)[0, size[0] // 2]
        return rows.numpy(), columns.numpy()


def _tried(read: Any, points: Any, channels: Any, **options: Any) -> Any:
    copies = tf.shape(channels)[0]
    values = tf.stack(read(points, copies, **options)[0])
    return tf.reshape(values, (values.shape[0], copies, -1))


def _from_trials(
    problem: Problem,
    key: tuple[Any, ...],
    trial: Trial,
    weigh: Callable[[np.ndarray, np.ndarray, slice], np.ndarray],
    layer: str | None,
    relu: bool,
    align: str,
    constants: Sequence[np.ndarray] = (),
) -> Maps:
    """Return maps whose channels have the weights (k, c, r) that `weigh` makes of trials."""
    check_options(problem, layer, relu, align)
    look = _reader(problem, layer)
    parts = []
    for rows, _ in problem.tiles(1):
        tensors = problem.tensors(rows)
        features, values = look(*tensors)
        images, count = len(values[0]), features.shape[-1]
        name = look.notes["layer"]
        extra = [features, np.zeros(1, np.int32), *(fixed_spec(c) for c in constants)]
        run = problem.function((*key, name), trial(name), extra)
        tried = []
        for channels in _slices(count, max(1, problem.batch_size // images)):
            tried.append(run(*tensors, features, channels, *constants).numpy())
        problem.count(images * (1 + count))
        weights = weigh(values.numpy(), np.concatenate(tried, axis=1), rows)
        maps = tf.einsum("kcr,rhwc->krhw", weights, tf.cast(features, tf.float32))
        parts.append(finished(maps, problem.images.shape[1:3], relu, align).numpy())
    return Maps(np.concatenate(parts, axis=1))


def _reader(problem: Problem, layer: str | None) -> Any:
    """Return a function of `Problem.tensors` to feature maps and targets, with the layer noted."""
    notes: dict[str, Any] = {}

    def build(read: Any, images: Any) -> Any:
        notes["layer"], output, targets = feature_maps(problem, read, images, layer)
        return output, tf.stack(targets)

    return problem.function(("feature_maps", layer), build, notes=notes)


def _slices(count: int, together: int) -> list[Any]:
    numbers = np.arange(count, dtype=np.int32)
    return [tf.constant(numbers[i : i + together]) for i in range(0, count, together)]


def _only_baseline(baseline: Any, shape: tuple[int, ...]) -> np.ndarray:
    found = baseline_images(baseline, shape)
    if len(found) != 1:
        raise ValueError(
            f"`baseline` must be one number or one image of shape {shape}; got {len(found)}."
        )
    return found
