"""Class activation maps without gradients: every channel is tried, one pass for each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import tensorflow as tf

from whitebox_loc._types import Array, ArrayLike, Tensor
from whitebox_loc._validation import check_bool
from whitebox_loc.introspect.methods.baselines import baseline_images
from whitebox_loc.introspect.methods.cam.cams import finished
from whitebox_loc.introspect.methods.cam.feature_maps import (
    check_options,
    feature_maps,
    on_image,
    spread_all,
)
from whitebox_loc.introspect.methods.record import Maps, Read
from whitebox_loc.introspect.targets.query import Query
from whitebox_loc.introspect.tracing.capture import Traced
from whitebox_loc.introspect.tracing.inputs import fixed_spec

# From the call name of a layer, `read`, images, the layer's output there, the targets (k, r),
# numbers of s channels and what else the method needs to the effect of each channel, (k, s, r).
Trial = Callable[..., Tensor]


def ablationcam(
    query: Query, *, layer: str | None = None, relu: bool = False, align: str = "auto"
) -> Maps:
    """Weight each feature map with the fall of the target when that map is set to zero.

    The paper also divides by the target: one factor a map, without meaning for coordinates,
    which may be 0. It is left out.
    """
    return _from_trials(query, ("ablationcam",), _falls, layer, relu, align)


def scorecam(
    query: Query,
    *,
    layer: str | None = None,
    relu: bool = False,
    align: str = "auto",
    baseline: ArrayLike = 0.0,
    softmax: bool = False,
) -> Maps:
    """Weight each feature map with the rise of the target when the image is seen through it.

    The map, laid on the image and scaled to 0 .. 1, mixes the image with the baseline; the
    rise is counted from the target at the baseline. The paper takes the softmax of the rises
    over channels, which is always positive and, for a coordinate in fractions of the image,
    nearly the same for all channels: hence only by choice.
    """
    check_options(query, layer, relu, align)
    check_bool("softmax", softmax)
    base, shape = baseline_images(baseline, query.images.shape[1:]), query.images.shape[1:]
    if len(base) != 1:
        raise ValueError(
            f"`baseline` must be one number or one image of shape {shape}; got {len(base)}."
        )
    trial = partial(_rises, align=align, black=not base.any())
    key = ("scorecam", align, not base.any(), softmax)
    return _from_trials(query, key, trial, layer, relu, align, [base], softmax=softmax)


def _falls(
    name: str, read: Read, images: Tensor, features: Tensor, values: Tensor, channels: Tensor
) -> Tensor:
    """Return by how much each target falls when a channel is set to zero."""
    keep = 1.0 - tf.one_hot(channels, features.shape[-1])
    without = features * tf.cast(keep, features.dtype)[:, None, None, None, :]
    without = tf.reshape(without, (-1, *features.shape[1:]))
    # TensorFlow computes of these images only what goes around the layer.
    copies = tf.shape(channels)[0]
    points = tf.tile(images, (copies, 1, 1, 1))
    targets = read(points, copies, replace={name: lambda output: without})[0]
    return values[:, None] - _by_copy(targets, copies)


def _rises(
    name: str, read: Read, images: Tensor, *tensors: Tensor, align: str, black: bool
) -> Tensor:
    """Return by how much each target rises when the baseline is seen through a channel."""
    features, _, channels, base = tensors
    maps = tf.cast(tf.gather(tf.transpose(features, (3, 0, 1, 2)), channels), tf.float32)
    laid = spread_all(maps, *_matrices(features.shape[1:3], images.shape[1:3], align))
    low = tf.reduce_min(laid, (2, 3), keepdims=True)
    high = tf.reduce_max(laid, (2, 3), keepdims=True)
    # A constant map hides all, and so has weight 0.
    share = tf.math.divide_no_nan(laid - low, high - low)[..., None]
    points = share * images if black else share * images + (1.0 - share) * base[0]
    # The baseline itself goes along as one more copy.
    points = tf.concat([points, tf.broadcast_to(base, tf.shape(images))[None]], 0)
    copies = tf.shape(channels)[0] + 1
    targets = _by_copy(read(tf.reshape(points, (-1, *images.shape[1:])), copies)[0], copies)
    return targets[:, :-1] - targets[:, -1:]


def _matrices(places: Sequence[int], size: tuple[int, int], align: str) -> tuple[Array, Array]:
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


def _by_copy(values: list[Tensor], copies: Tensor) -> Tensor:
    return tf.reshape(tf.stack(values), (len(values), copies, -1))


def _from_trials(
    query: Query,
    key: tuple[Any, ...],
    trial: Trial,
    layer: str | None,
    relu: bool,
    align: str,
    constants: Sequence[Array] = (),
    *,
    softmax: bool = False,
) -> Maps:
    """Return maps whose channels have the weights (k, c, r) that a `trial` finds."""
    check_options(query, layer, relu, align)
    look = _reader(query, layer)
    name, count = look.notes["layer"], look.notes["channels"]
    fixed = [fixed_spec(c) for c in constants]
    # All channels of an image in one batch, if they fit.
    together, beside = max(1, query.batch_size // (count + 2)), 1 + len(constants)
    whole = query.batch_size >= count + beside

    def weigh(features: Tensor, weights: Tensor) -> Tensor:
        weights = tf.nn.softmax(weights, axis=1) if softmax else weights
        maps = tf.einsum("kcr,rhwc->krhw", weights, tf.cast(features, tf.float32))
        return finished(maps, query.images.shape[1:3], relu, align)

    def at_once(read: Read, images: Tensor, *constants: Tensor) -> Tensor:
        _, features, targets = feature_maps(query, read, images, layer)
        channels, values = tf.range(features.shape[-1]), tf.stack(targets)
        return weigh(features, trial(name, read, images, features, values, channels, *constants))

    parts = []
    for first in range(0, len(query), together):
        tensors = query.tensors(slice(first, first + together))
        if whole:
            run = query.function((*key, "at once", layer, relu, align), at_once, fixed)
            parts.append(run(*tensors, *constants).numpy())
        else:
            features, values = look(*tensors)
            state = [features, tf.TensorSpec((query.targets, None)), np.zeros(1, np.int32)]
            run = query.function((*key, name), partial(trial, name), [*state, *fixed])
            most = max(1, query.batch_size - len(constants))
            starts = range(0, count, most)
            slices = [np.arange(i, min(i + most, count), dtype=np.int32) for i in starts]
            rises = [run(*tensors, features, values, part, *constants) for part in slices]
            parts.append(weigh(features, tf.concat(rises, 1)).numpy())
            query.count(len(constants) * (len(slices) - 1) * len(tensors[0]))
        query.count(len(tensors[0]) * (count + beside))
    return Maps(np.concatenate(parts, axis=1))


def _reader(query: Query, layer: str | None) -> Traced:
    """Return a function of `Query.tensors` to feature maps and targets, with the layer noted."""
    notes: dict[str, Any] = {}

    def build(read: Read, images: Tensor) -> Tensor:
        notes["layer"], output, targets = feature_maps(query, read, images, layer)
        notes["channels"] = output.shape[-1]
        return output, tf.stack(targets)

    return query.function(("feature_maps", layer), build, notes=notes)
