"""Wrappers that repeat a method under noise: its mean, variance and mean square."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import tensorflow as tf

from whitebox_loc._types import Array, Seed, Tensor
from whitebox_loc._validation import check_generator, check_int, check_memory, check_real
from whitebox_loc.introspect.methods.gradient.gradients import POINTWISE
from whitebox_loc.introspect.methods.record import Maps, Read
from whitebox_loc.introspect.targets.query import Query
from whitebox_loc.introspect.tracing.derivatives import slopes_of

# Sums over maps (k, s, r, height, width), and how s more of them add to it. In float32: an
# error of `samples` roundings is far below the noise.
Sums = tuple[Tensor, ...]
Collect = Callable[[Sums, Tensor], Sums]
Explain = Callable[[Query], Maps]


def under_noise(
    collect: Collect,
    finish: Callable[..., Array],
    query: Query,
    *,
    base: Any = "gradient",
    samples: int = 32,
    noise: float = 0.1,
    seed: Seed = 0,
    **options: Any,
) -> Maps:
    """Return what `finish` makes of the means over samples of what `collect` adds up.

    `base` is a row of `METHODS`, which takes the `options`; `noise` is the standard deviation of
    the Gaussian noise, in brightness. All images share the noise, so a map depends on its own
    image alone.
    """
    check_int("samples", samples, low=1)
    check_memory("samples", samples, 4.0 * samples * query.images[0].size, "noise")
    check_real("noise", noise, low=0.0)
    generator = check_generator(seed)
    n, sums = len(query), dict[int, Sums]()
    # All images share the noise, so samples are drawn once and images go through them in turn.
    together = max(1, min(samples, query.batch_size // n))
    most = min(n, max(1, query.batch_size // together))
    if base.name in POINTWISE:
        add = partial(_added_in_graph, query, base.name, collect)
    else:
        add = partial(_added_by_base, query, partial(base.function, **options), collect)
    for start in range(0, samples, together):
        count = min(together, samples - start)
        grain = generator.standard_normal((count, *query.images.shape[1:]), np.float32)
        grain *= np.float32(noise)
        for first in range(0, n, most):
            rows = slice(first, min(first + most, n))
            sums[first] = add(rows, grain, sums.get(first, ()))
    means = [
        np.concatenate([part.numpy() for part in parts], 1) / np.float32(samples)
        for parts in zip(*sums.values(), strict=True)
    ]
    return Maps(finish(*means))


def _sum(before: Sums, maps: Tensor) -> Sums:
    return _added(before, tf.reduce_sum(maps, 1))


def _sum_of_squares(before: Sums, maps: Tensor) -> Sums:
    return _added(before, tf.reduce_sum(tf.square(maps), 1))


def _sums_from_first(before: Sums, maps: Tensor) -> Sums:
    # Around the first map rather than around zero, little is lost in the difference.
    first = before[2] if before else maps[:, 0]
    away = maps - first[:, None]
    return (*_added(before, tf.reduce_sum(away, 1), tf.reduce_sum(tf.square(away), 1)), first)


def _added(before: Sums, *parts: Tensor) -> Sums:
    return tuple(a + b for a, b in zip(before, parts, strict=False)) if before else parts


def _added_in_graph(
    query: Query, name: str, collect: Collect, rows: slice, grain: Array, before: Sums
) -> Sums:
    """Draw, differentiate and collect in one compiled graph: nothing but sums leaves it."""
    path, rule = POINTWISE[name]
    size = query.images.shape[1:3]

    def build(read: Read, images: Tensor, grain: Tensor, *before: Tensor) -> Sums:
        samples = tf.shape(grain)[0]
        flat = tf.reshape(images + grain[:, None], (-1, *images.shape[1:]))
        values, _ = read(flat, samples, rule=rule)
        factor = path(flat)[1]
        slopes = slopes_of(values, flat)
        maps = [tf.reduce_sum(s if factor is None else s * factor[0], -1) for s in slopes]
        return collect(before, tf.reshape(tf.stack(maps), (len(maps), samples, -1, *size)))

    state = [tf.TensorSpec((query.targets, None, *size))] * len(before)
    run = query.function(("noise", collect, path, rule, len(before)), build, [grain, *state])
    query.count(len(grain) * (rows.stop - rows.start))
    return run(*query.tensors(rows), tf.constant(grain), *before)


def _added_by_base(
    query: Query, explain: Explain, collect: Collect, rows: slice, grain: Array, before: Sums
) -> Sums:
    images, numbers = query.images[rows], np.arange(rows.start, rows.stop)
    noisy = (images + grain[:, None]).reshape(-1, *images.shape[1:])
    maps = explain(query.at(noisy, np.tile(numbers, len(grain)))).values
    return collect(before, tf.reshape(maps, (-1, len(grain), *images.shape[:3])))


def _mean(mean: Array) -> Array:
    return mean


def _variance(mean: Array, square: Array, first: Array) -> Array:
    return np.maximum(square - mean**2, 0.0)


smoothgrad = partial(under_noise, _sum, _mean)
"""Average the base method's maps of the image plus noise."""

squaregrad = partial(under_noise, _sum_of_squares, _mean)
"""Average the squares of the base method's maps of the image plus noise."""

vargrad = partial(under_noise, _sums_from_first, _variance)
"""Take the variance, divided by the number of samples, of maps of the image plus noise."""
