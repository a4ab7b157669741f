"""Methods that hide parts of the image and see what becomes of the targets."""

from __future__ import annotations

import math

import numpy as np
import tensorflow as tf

from whitebox_loc._types import Array, ArrayLike, Seed, Tensor
from whitebox_loc._validation import check_generator, check_int, check_memory, check_real
from whitebox_loc.introspect.methods.interpolation import hats, spread
from whitebox_loc.introspect.methods.perturbation.masks import Masks, Sums, weighted_sums
from whitebox_loc.introspect.methods.record import Maps
from whitebox_loc.introspect.methods.reference_boxes import boxes_of_rows
from whitebox_loc.introspect.targets.query import Query


def occlusion(query: Query, *, patch: int = 8, stride: int = 4, baseline: ArrayLike = 0.0) -> Maps:
    """Average the fall of the target over all windows that hide the pixel.

    Windows of `patch` x `patch` pixels lie `stride` pixels apart, also partly beyond the
    border, so that all pixels are in as many. Several baselines are averaged.
    """
    check_int("patch", patch, low=1)
    check_int("stride", stride, low=1)
    if stride > patch:
        raise ValueError(
            f"`stride` must be at most `patch`, {patch}, or pixels between windows would not be "
            f"hidden at all; got {stride}."
        )
    count = math.prod(-(-(n + patch - stride) // stride) for n in query.images.shape[1:3])
    if count > 10**6:
        raise ValueError(
            f"`patch` and `stride`, {patch} and {stride}, make {count} windows; at most 1000000 "
            "are tried. Take a smaller `patch` or a larger `stride`."
        )
    starts = [np.arange(stride - patch, n, stride) for n in query.images.shape[1:3]]
    corners = np.stack(np.meshgrid(*starts, indexing="ij"), -1).reshape(-1, 2).astype(np.int32)
    masks = Masks(_draw_windows, (corners,), (np.array(patch, np.int32),))
    sums = weighted_sums(query, masks, baseline)
    return Maps((-sums.product / sums.hidden).astype(np.float32))


def rise(
    query: Query,
    *,
    samples: int = 1000,
    cells: int = 7,
    probability: float = 0.5,
    baseline: ArrayLike = 0.0,
    seed: Seed = 0,
) -> Maps:
    """Estimate the mean of the target over random masks that show the pixel, less its mean.

    Masks are random grids of `cells` x `cells`, interpolated and shifted. The paper's map is
    this one plus the target's mean over all masks, the same number at every pixel, and up to
    samples / (samples - 1), which takes the bias away.
    """
    masks = _random_grids(query, samples, cells, probability, seed)
    return Maps(_slopes(weighted_sums(query, masks, baseline), samples, probability))


def drise(
    query: Query,
    *,
    boxes: ArrayLike = None,
    samples: int = 1000,
    cells: int = 7,
    probability: float = 0.5,
    baseline: ArrayLike = 0.0,
    seed: Seed = 0,
) -> Maps:
    """Do as `rise` for the IoU of the predicted box with a reference box.

    `boxes` are ``rel_yxyx``, one an image or one for all; by default those predicted for the
    whole images. The map is the same for all targets. The IoU is the part of the paper's
    similarity that one box without classes has; `targets.detection` is the whole, for `rise`.
    """
    masks = _random_grids(query, samples, cells, probability, seed)
    chosen = None if boxes is None else boxes_of_rows(boxes, query).astype(np.float32)
    sums = weighted_sums(query, masks, baseline, overlap=True, boxes=chosen)
    return Maps(np.repeat(_slopes(sums, samples, probability), query.targets, axis=0))


def _slopes(sums: Sums, count: int, probability: float) -> Array:
    """Return the covariance (k, n, h, w) of target and visibility over masks, by `probability`."""
    mean = sums.change[..., None, None] / count
    covariance = (mean * sums.hidden - sums.product) / (count - 1)
    return covariance.astype(np.float32) / np.float32(probability)


def _random_grids(query: Query, samples: int, cells: int, probability: float, seed: Seed) -> Masks:
    check_int("samples", samples, low=2, high=10**7)
    check_int("cells", cells, low=1, high=1000)
    check_memory("samples", samples, 8.0 * samples * cells**2, "grids")
    check_real("probability", probability, low=0.0, high=1.0)
    if probability in (0.0, 1.0):
        raise ValueError(
            f"`probability` must lie between 0 and 1, or all masks are equal; got {probability}."
        )
    generator = check_generator(seed)
    height, width = query.images.shape[1:3]
    grids = generator.random((samples, cells, cells)) < probability
    cell = np.array([-(-height // cells), -(-width // cells)], np.int32)
    shifts = generator.integers(0, cell, size=(samples, 2), dtype=np.int32)
    return Masks(_draw_grids, (grids.astype(np.float32), shifts), (cell,))


def _draw_windows(size: tuple[int, int], corners: Tensor, patch: Tensor) -> Tensor:
    def inside(length: int, first: Tensor) -> Tensor:
        offset = tf.range(length)[None] - first[:, None]
        return tf.cast((offset >= 0) & (offset < patch), tf.float32)

    rows, columns = inside(size[0], corners[:, 0]), inside(size[1], corners[:, 1])
    return rows[:, :, None] * columns[:, None]


def _draw_grids(size: tuple[int, int], grids: Tensor, shifts: Tensor, cell: Tensor) -> Tensor:
    # Interpolating the grid to (cells + 1) * cell pixels and cutting the image out at the
    # shift is one matrix a side: hats around the middles of the grid's cells.
    cells = grids.shape[1]

    def side(axis: int) -> Tensor:
        scale = cells / ((cells + 1) * tf.cast(cell[axis], tf.float32))
        pixel = tf.cast(tf.range(size[axis])[None] + shifts[:, axis, None], tf.float32)
        return hats((pixel + 0.5) * scale - 0.5, cells)

    return 1.0 - spread(grids, side(0), side(1))
