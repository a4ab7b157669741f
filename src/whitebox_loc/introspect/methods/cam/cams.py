"""Class activation maps: the feature maps of a layer, each weighted by what it does.

All are signed. `layer` is the path of a layer with places, by default the last that the
targets depend on. Where weights are means of gradients it is the last in which these do not
cancel: in front of a softmax over all places, they add up to 0 whatever the image.
``relu=True`` keeps only what pushes the target up, as the papers do; `align` says how the
layer's places lie on the image, see `feature_maps.on_image`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import tensorflow as tf

from whitebox_loc._types import Array, Tensor
from whitebox_loc.introspect.methods.cam.feature_maps import (
    all_feature_maps,
    check_options,
    on_image,
)
from whitebox_loc.introspect.methods.obstacles import severed
from whitebox_loc.introspect.methods.record import Maps, Read
from whitebox_loc.introspect.targets.query import Query
from whitebox_loc.introspect.tracing.derivatives import gradient_of

# Distances of neighbouring numbers at 1 in the layers' precisions, where they are coarse.
_EPS = {tf.float16: 2.0**-10, tf.bfloat16: 2.0**-7}


Combine = Callable[[Tensor, Tensor, bool], Tensor]
"""From features (n, h, w, c), their gradients (k, n, h, w, c) and `relu` to maps (k, n, h, w)."""


def weighted(
    combine: Combine,
    query: Query,
    *,
    layer: str | None = None,
    relu: bool = False,
    align: str = "auto",
) -> Maps:
    """Return the maps that `combine` makes of the features of a layer and of their gradients.

    If it takes means of gradients, it is a layer where they do not cancel.
    """
    if combine not in MEANS.values():
        return Maps(_attempt(query, combine, layer, relu, align).maps)
    *others, last = attempts(query, combine, layer, relu, align)
    if layer is None and last.cancels:
        names = [attempt.layer for attempt in (*others, last)]
        raise ValueError(
            f"`layer` is None, but the gradients of targets {list(query.labels)} cancel over the "
            f"places of every layer, {names}, as they do in front of a softmax over places: their "
            "mean is 0. Use 'layercam' or 'ablationcam', which need no mean."
        )
    return Maps(last.maps)


@dataclass(frozen=True)
class Attempt:
    """Maps (k, n, height, width) of one layer, and how far its gradients cancel.

    `rest` are layers that could be tried instead, the last one first, `cancelled` (k, n) is the
    share of the gradients of all channels that is lost in their means over places, and `cancels`
    says whether nothing but rounding is left of some target's gradients.
    """

    maps: Array
    layer: str
    rest: list[str]
    cancelled: Array
    cancels: bool


def attempts(
    query: Query, combine: Combine, layer: str | None, relu: bool = False, align: str = "auto"
) -> list[Attempt]:
    """Return the maps of `layer`; without, of the last, and of others until one does not cancel."""
    tries = [_attempt(query, combine, layer, relu, align)]
    waiting = list(tries[0].rest)
    while waiting and tries[-1].cancels:
        tries.append(_attempt(query, combine, waiting.pop(0), relu, align))
    return tries


def _attempt(query: Query, combine: Combine, layer: str | None, relu: bool, align: str) -> Attempt:
    check_options(query, layer, relu, align)
    size, notes = query.images.shape[1:3], dict[str, Any]()

    def build(read: Read, images: Tensor) -> Tensor:
        layers, targets = all_feature_maps(query, read, images, layer)
        output = layers[0][1]
        notes["layers"], notes["eps"] = [name for name, _ in layers], _EPS.get(output.dtype, 0.0)
        gradients = _gradients(query, targets, output) if combine is not _eigencam else None
        maps = combine(tf.cast(output, tf.float32), gradients, relu)
        return finished(maps, size, relu, align), _means(gradients, output)

    run = query.function((combine.__name__, layer, relu, align), build, notes=notes)
    parts, means = list[Array](), list[Array]()
    for rows, _ in query.tiles(1):
        for arrays, part in zip((parts, means), run(*query.tensors(rows)), strict=True):
            arrays.append(part.numpy())
        query.count(len(parts[-1][0]))
    maps = np.concatenate(parts, axis=1)
    maps = np.ascontiguousarray(np.broadcast_to(maps, (query.targets, *maps.shape[1:])))
    left, size_of_all = np.concatenate(means, axis=-1)
    name, *rest = run.notes["layers"]
    share = 1 - np.divide(left, size_of_all, out=np.ones_like(left), where=size_of_all > 0)
    # A mean of opposite terms is rounded by some units of what is added; as a share of them, a
    # mean that is not 0 by symmetry would need a million places to be so small by chance.
    limit = max(1e-3, 8 * run.notes["eps"])
    cancels = bool((left.sum(-1) < limit * size_of_all.sum(-1)).any())
    return Attempt(maps, name, rest, share, cancels)


def _means(gradients: Tensor, output: Tensor) -> Tensor:
    """Return sums over channels of |mean gradient| and of the mean of |gradient|, (2, k, n)."""
    if gradients is None:
        return tf.zeros((2, 1, tf.shape(output)[0]))
    means = tf.abs(tf.reduce_mean(gradients, (2, 3))), tf.reduce_mean(tf.abs(gradients), (2, 3))
    return tf.reduce_sum(tf.stack(means), -1)


def finished(maps: Tensor, size: tuple[int, int], relu: bool, align: str) -> Tensor:
    """Rectify maps (k, n, h, w) of a layer if asked, and lay them on the image."""
    shape = tf.shape(maps)
    maps = tf.nn.relu(maps) if relu else maps
    flat = tf.reshape(maps, (-1, *maps.shape[2:], 1))
    return tf.reshape(on_image(flat, size, align), (shape[0], shape[1], *size))


def _gradients(query: Query, targets: list[Tensor], output: Tensor) -> Tensor:
    slopes = [gradient_of(target, output) for target in targets]
    for label, target, slope in zip(query.labels, targets, slopes, strict=True):
        if slope is None:
            between = [f"{o.type} ({o.name})" for o in severed(output, target)[0]]
            raise ValueError(
                f"Target {label!r} has no derivative by the layer: of what is between them, "
                f"{between or 'an operation'} has none. Use 'ablationcam', 'scorecam' or "
                "'occlusion'."
            )
    return tf.stack([tf.cast(slope, tf.float32) for slope in slopes])


def _gradcam(features: Tensor, slopes: Tensor, relu: bool) -> Tensor:
    """Weight each feature map with the mean of its gradient."""
    weights = tf.reduce_mean(slopes, (2, 3))
    return tf.einsum("knc,nhwc->knhw", weights, features)


def _gradcam_plus_plus(features: Tensor, slopes: Tensor, relu: bool) -> Tensor:
    """Weight each feature map with a sum of its gradient that favours rare activations.

    The paper uses positive gradients only; negative ones count here as the positive ones of
    the negated target do there. ``relu=True`` is the paper's map, up to its factor exp(target).
    """
    # The paper's g^2 / (2 g^2 + sum(A) g^3), shortened by g^2, so that it has no 0/0. The
    # paper's A come out of a ReLU; |A| keeps the share finite for layers without one.
    active = tf.reduce_sum(tf.abs(features), (1, 2), keepdims=True)
    used = tf.nn.relu(slopes) if relu else slopes
    weights = tf.reduce_sum(used / (2.0 + active * tf.abs(slopes)), (2, 3))
    return tf.einsum("knc,nhwc->knhw", weights, features)


def _layercam(features: Tensor, slopes: Tensor, relu: bool) -> Tensor:
    """Multiply each feature with its own gradient; with ``relu=True`` if that is positive."""
    used = tf.nn.relu(slopes) if relu else slopes
    return tf.reduce_sum(used * features, 4)


def _xgradcam(features: Tensor, slopes: Tensor, relu: bool) -> Tensor:
    """Weight each feature map with the mean of its gradient, weighted by the features.

    Before it is laid on the image, a map adds up to the sum of feature times gradient.
    """
    total, size = tf.reduce_sum(features, (1, 2)), tf.reduce_sum(tf.abs(features), (1, 2))
    # Features that cancel but for rounding have no mean place; they get weight 0.
    total = tf.where(tf.abs(total) > 1e-5 * size, total, 0.0)
    weights = tf.math.divide_no_nan(tf.reduce_sum(slopes * features, (2, 3)), total)
    return tf.einsum("knc,nhwc->knhw", weights, features)


def _eigencam(features: Tensor, slopes: Tensor, relu: bool) -> Tensor:
    """Project the features of each place on their first singular vector.

    The target does not matter. Singular vectors have no sign: the one is taken with which
    the map adds up to a positive number.
    """
    _, height, width, channels = features.shape
    flat = tf.cast(tf.reshape(features, (-1, height * width, channels)), tf.float64)
    # The smaller of the two products has the same singular values.
    if channels <= height * width:
        vector = tf.linalg.eigh(tf.matmul(flat, flat, transpose_a=True))[1][..., -1:]
        places = tf.matmul(flat, vector)[..., 0]
    else:
        squares, vectors = tf.linalg.eigh(tf.matmul(flat, flat, transpose_b=True))
        places = vectors[..., -1] * tf.sqrt(tf.nn.relu(squares[:, -1:]))
    sign = tf.where(tf.reduce_sum(places, 1, keepdims=True) < 0, -1.0, 1.0)
    places *= tf.cast(sign, tf.float64)
    return tf.cast(tf.reshape(places, (1, -1, height, width)), tf.float32)


MEANS = {"gradcam": _gradcam, "gradcam_plus_plus": _gradcam_plus_plus}
"""Methods whose weights are means of gradients, and how they combine features and gradients."""

gradcam, gradcam_plus_plus, layercam, xgradcam, eigencam = (
    partial(weighted, combine) for combine in (*MEANS.values(), _layercam, _xgradcam, _eigencam)
)
