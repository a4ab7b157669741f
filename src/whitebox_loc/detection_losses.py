"""Losses of networks that find boxes as points: heat map, size and offset of each cell."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from whitebox_loc._types import Array, ArrayLike, Size, Tensor
from whitebox_loc._validation import check_int, check_memory, check_size, shortened
from whitebox_loc.boxes._arrays import ROUNDING as SLACK
from whitebox_loc.boxes._arrays import check_fractions, finite_tensor, is_symbolic, numbers_of

__all__ = ["CenterTargets", "center_cells", "center_loss", "center_targets", "heat_map_loss"]

SPREAD = 0.09
"""Standard deviation of a box's peak in the heat map, as a share of the box's side."""

ROUNDING = 1e-3
"""More than the error, in cells, of a centre that was a fraction of the image in between."""

NEAR = 0.05
"""Cells whose target is above this also count in the losses of size and place."""


class CenterTargets(NamedTuple):
    """The output of a perfect network for each cell.

    Attributes
    ----------
    heat : tensor (n, rows, columns, classes)
        In [0, 1]: 1 in the cell of a box's centre, falling off around it.
    weight : tensor (n, rows, columns)
        How much each cell counts in the losses of size and offset: its heat if above 0.05, or 0.
    size : tensor (n, rows, columns, 2)
        Height and width, as fractions of the image, of the box whose peak is highest there.
    offset : tensor (n, rows, columns, 2)
        From the cell's corner to that box's centre, down and across, in cells.
    count : tensor, scalar
        Number of boxes in the batch.
    cells : tensor (2,)
        How many cells the image spans, down and across, not always whole.
    """

    heat: Tensor
    weight: Tensor
    size: Tensor
    offset: Tensor
    count: Tensor
    cells: Tensor


def center_targets(
    boxes: ArrayLike, labels: ArrayLike, grid: Size, stride: int, size: Size, classes: int = 1
) -> CenterTargets:
    """Return the output of a perfect network for each cell.

    A box's peak is a Gaussian around the cell of its centre, in each direction as wide as
    0.09 of the box's side. Peaks of one class are joined by their maximum.

    Parameters
    ----------
    boxes : tensor (n, k, 4)
        True boxes in ``rel_yxyx``, within the image.
    labels : int tensor (n, k)
        Their classes, 0 .. classes - 1; -1 where there is no box. With one class every label
        of at least 0 is that class.
    grid, stride : (int, int) and int
        Rows and columns of cells, and pixels a cell.
    size : (int, int)
        Height and width of the image in pixels.
    classes : int, default 1
        Number of classes.

    Returns
    -------
    CenterTargets
        Inside a compiled function, `heat`, `weight` and so the losses are NaN if a box or label
        is wrong.

    Raises
    ------
    ValueError, TypeError
        If a box is not within the image or swapped, a label is no class, the grid does not span
        the image, or shapes do not fit.

    References
    ----------
    X. Zhou, D. Wang and P. Kraehenbuehl, "Objects as points", 2019, arXiv:1904.07850 (peaks).
    Z. Liu et al., "Training-time-friendly network for real-time object detection", AAAI 2020,
    arXiv:1909.00700 (peaks in proportion to both sides; sizes learned around the centre too).

    Examples
    --------
    >>> targets = center_targets([[[0.0, 0.0, 0.5, 0.5]]], [[0]], (4, 4), 2, (8, 8))
    >>> [part.numpy()[0, 1, 1].tolist() for part in (targets.heat, targets.offset, targets.size)]
    [[1.0], [0.0, 0.0], [0.5, 0.5]]
    """
    classes = check_int("classes", classes, low=1)
    if not is_symbolic(labels):
        labels = _check_labels(labels, classes)
    grid, cells = _check_grid(grid, stride, size)
    boxes = _check_boxes(boxes, labels)
    # A peak for each of four coordinates, in as many bytes.
    peaks = float(math.prod(grid)) * (boxes.shape.num_elements() or 4)
    check_memory("classes", classes, classes * peaks, "heat maps")
    labels = tf.cast(labels, tf.int64)
    centers = (boxes[..., :2] + boxes[..., 2:]) / 2 * cells
    sides = boxes[..., 2:] - boxes[..., :2]
    home = tf.cast(_home(centers, grid), tf.float32)
    valid = labels >= 0
    poison = _poison(boxes, labels, classes)
    # A peak narrower than a cell is that cell alone; the width only has to be positive.
    width = tf.maximum(SPREAD * sides * cells, 1e-2)
    lines = [tf.range(n, dtype=tf.float32) for n in grid]
    down, across = (
        tf.exp(-0.5 * ((line - home[..., i, None]) / width[..., i, None]) ** 2)
        for i, line in enumerate(lines)
    )
    peaks = down[..., :, None] * across[..., None, :] * tf.cast(valid, tf.float32)[..., None, None]
    kinds = tf.one_hot(labels if classes > 1 else tf.zeros_like(labels), classes)
    heat = tf.reduce_max(peaks[..., None] * kinds[:, :, None, None, :], axis=1) + poison
    highest = tf.reduce_max(peaks, axis=1)
    owner = tf.argmax(peaks, axis=1)
    corners = tf.stack(tf.meshgrid(*lines, indexing="ij"), -1)
    return CenterTargets(
        heat=heat,
        weight=tf.where(highest > NEAR, highest, 0.0) + poison,
        size=tf.gather(sides, owner, batch_dims=1),
        offset=tf.gather(centers, owner, batch_dims=1) - corners,
        count=tf.reduce_sum(tf.cast(valid, tf.float32)),
        cells=cells,
    )


def center_cells(boxes: ArrayLike, grid: Size, stride: int, size: Size) -> Tensor:
    """Return row and column, int32 (..., 2), of the cells that the centres of boxes lie in.

    `boxes`, a tensor (..., 4), are ``rel_yxyx`` within the image; the rest as for `center_targets`.

    Examples
    --------
    >>> center_cells([[0.0, 0.0, 0.5, 1.0]], (4, 4), 2, (8, 8)).numpy().tolist()
    [[1, 2]]
    """
    grid, cells = _check_grid(grid, stride, size)
    if not is_symbolic(boxes):
        check_fractions("boxes", boxes)
    boxes = tf.cast(boxes, tf.float32)
    return _home((boxes[..., :2] + boxes[..., 2:]) / 2 * cells, grid)


def _home(centers: Tensor, grid: Size) -> Tensor:
    """Return the cells, int32 (..., 2), that centres lie in."""
    # A centre on the line between two cells must not fall to the first one by the rounding of
    # fractions; centres of boxes of whole pixels are half a pixel apart, so none is moved wrongly.
    # That of an empty box at the far border belongs to the last cell.
    places = tf.cast(tf.floor(centers + ROUNDING), tf.int32)
    return tf.minimum(places, tf.constant(grid) - 1)


def _poison(boxes: ArrayLike, labels: ArrayLike, classes: int) -> Tensor:
    """Return 0, or NaN if one of the boxes or labels is wrong: scalar float32."""
    within = (boxes >= -SLACK) & (boxes <= 1 + SLACK)
    right = tf.reduce_all(within, -1) & tf.reduce_all(boxes[..., 2:] >= boxes[..., :2] - SLACK, -1)
    if classes > 1:
        right &= labels < classes
    return tf.where(tf.reduce_all(right | (labels < 0)), 0.0, np.float32(np.nan))


def _check_grid(grid: object, stride: object, size: object) -> tuple[Size, Tensor]:
    """Return rows and columns of cells, and how many cells the image spans, float32 (2,)."""
    stride = check_int("stride", stride, low=1)
    height, width = check_size("size", size)
    if not isinstance(grid, (tuple, list)) or len(grid) != 2:
        raise TypeError(f"`grid` must be whole numbers (rows, columns); got {shortened(grid)}.")
    rows, columns = (check_int(f"grid[{i}]", side, low=1) for i, side in enumerate(grid))
    check_memory("grid", (rows, columns), 4.0 * rows * columns, "cells")
    least = -(-height // stride), -(-width // stride)
    if rows < least[0] or columns < least[1]:
        raise ValueError(
            f"`grid` must span the image, at least {least} cells of `stride` {stride} for `size` "
            f"{(height, width)}; got {(rows, columns)}."
        )
    return (rows, columns), tf.constant([height / stride, width / stride], tf.float32)


def _check_boxes(boxes: ArrayLike, labels: ArrayLike) -> Tensor:
    """Return boxes (n, k, 4) as float32, with labels (n, k); padding is not looked at."""
    if not is_symbolic(boxes):
        array = numbers_of("boxes", boxes)
        if array.ndim != 3 or array.shape[-1] != 4 or array.dtype.kind not in "iuf":
            raise ValueError(
                "`boxes` must hold numbers of shape (n, k, 4); got an array of shape "
                f"{array.shape} and dtype {array.dtype}."
            )
        if not is_symbolic(labels):
            if labels.shape != array.shape[:2]:
                raise ValueError(
                    f"`labels` must have shape {array.shape[:2]}, one for each of the `boxes`; "
                    f"got {labels.shape}."
                )
            # Padding may hold anything.
            check_fractions("boxes", np.where((labels >= 0)[..., None], array, 0))
    boxes = tf.cast(boxes, tf.float32)
    if not boxes.shape[:-1].is_compatible_with(labels.shape) or boxes.shape[-1] != 4:
        raise ValueError(
            "`boxes` must have shape (n, k, 4) and `labels` (n, k); got "
            f"{tuple(boxes.shape)} and {tuple(labels.shape)}."
        )
    return boxes


def _check_labels(labels: ArrayLike, classes: int) -> Array:
    """Return labels as an array, if they are whole numbers and, of several classes, classes."""
    array = numbers_of("labels", labels)
    if array.dtype.kind not in "iu" or array.ndim != 2:
        raise TypeError(
            "`labels` must be whole numbers of shape (n, k); got an array of shape "
            f"{array.shape} and dtype {array.dtype}."
        )
    if classes > 1 and array.size and array.max() >= classes:
        raise ValueError(
            f"`labels` must lie in 0 .. {classes - 1}, or be negative where there is no box; got "
            f"{array.max()}. Pass as many `classes` as there are."
        )
    return array


def heat_map_loss(targets: CenterTargets, logits: ArrayLike) -> Tensor:
    """Focal loss of the heat map with less penalty around a centre.

    With target y and probability p, a cell with y = 1 costs ``-(1 - p)**2 log p`` and any other
    ``-(1 - y)**4 p**2 log(1 - p)``, in nats; the sum over cells and classes is divided by the
    number of boxes, or by 1 if there are none.

    Parameters
    ----------
    targets : CenterTargets
        From `center_targets`.
    logits : tensor (n, rows, columns, classes)
        Scores of the classes against "nothing", whose score is 0: p is their softmax, with one
        class a sigmoid.

    Returns
    -------
    tensor, scalar float32
        Finite in value and gradient for logits of up to 1e30 in magnitude.

    References
    ----------
    X. Zhou et al., "Objects as points", 2019, arXiv:1904.07850, equation 1.

    Examples
    --------
    >>> targets = center_targets([[[0.0, 0.0, 1.0, 1.0]]], [[0]], (1, 1), 2, (2, 2))
    >>> round(float(heat_map_loss(targets, [[[[0.0]]]])), 4)
    0.1733
    """
    logits = _check_maps("logits", logits, targets, "heat")
    y = targets.heat
    log_p, log_rest = _log_shares(logits)
    p, rest = tf.exp(log_p), tf.exp(log_rest)
    centers = tf.where(y >= 1, rest**2 * log_p, 0.0)
    others = tf.where(y >= 1, 0.0, (1 - y) ** 4 * p**2 * log_rest)
    return -tf.reduce_sum(centers + others) / tf.maximum(targets.count, 1.0)


def center_loss(
    targets: CenterTargets, size_logits: ArrayLike, offset: ArrayLike
) -> tuple[Tensor, Tensor]:
    """Mean errors of size and of place, in proportion to the box.

    Height and width cost the absolute difference of their logarithms, offsets the absolute
    difference over the true side: to first order the share of the overlap that is lost. Both are
    summed over the two directions, and averaged over cells by ``targets.weight``; 0 without boxes.

    Parameters
    ----------
    targets : CenterTargets
        From `center_targets`.
    size_logits, offset : tensors (n, rows, columns, 2)
        Log-odds of height and width as fractions of the image; from the cell's corner to the
        centre, in cells.

    Returns
    -------
    tuple of two scalar float32 tensors
        Losses of size and of offset.

    Examples
    --------
    >>> import numpy as np
    >>> targets = center_targets([[[0.0, 0.0, 0.5, 0.5]]], [[0]], (1, 1), 8, (8, 8))
    >>> quarter = np.full((1, 1, 1, 2), np.log(0.25 / 0.75))  # half the side, at the right place
    >>> of_size, of_place = center_loss(targets, quarter, np.full((1, 1, 1, 2), 0.25))
    >>> round(float(of_size) / 2, 4), float(of_place)
    (0.6931, 0.0)
    """
    size_logits = _check_maps("size_logits", size_logits, targets, "size")
    offset = _check_maps("offset", offset, targets, "size")
    weight = targets.weight[..., None]
    total = tf.maximum(tf.reduce_sum(targets.weight), 1e-6)
    # Cells without a box have size 0; they weigh 0, but the logarithm must be finite.
    sides = tf.maximum(targets.size, 1e-6)
    wrong_size = tf.abs(tf.math.log_sigmoid(size_logits) - tf.math.log(sides))
    wrong_place = tf.abs(offset - targets.offset) / (sides * targets.cells)
    size, place = (tf.reduce_sum(weight * wrong) / total for wrong in (wrong_size, wrong_place))
    return size, place


def _check_maps(name: str, value: ArrayLike, targets: CenterTargets, part: str) -> Tensor:
    """Return the output of a network as float32, if it has the shape of a part of the targets."""
    if not isinstance(targets, CenterTargets):
        raise TypeError(
            "`targets` must be the CenterTargets that center_targets returns; got "
            f"{type(targets).__name__}."
        )
    tensor, shape = tf.cast(finite_tensor(name, value), tf.float32), getattr(targets, part).shape
    if not tensor.shape.is_compatible_with(shape):
        raise ValueError(
            f"`{name}` must have shape {tuple(shape)}, as `targets` have; got "
            f"{tuple(tensor.shape)}."
        )
    return tensor


def _log_shares(logits: Tensor) -> tuple[Tensor, Tensor]:
    """Return log p and log(1 - p) of each class, both without cancellation."""
    every = tf.concat([logits, tf.zeros_like(logits[..., :1])], axis=-1)
    log_p = tf.nn.log_softmax(every)
    classes = logits.shape[-1]
    # Row c leaves out class c: a number that no logarithm of a share reaches.
    without = -1e35 * tf.eye(classes, classes + 1)
    log_rest = tf.reduce_logsumexp(log_p[..., None, :] + without, axis=-1)
    return log_p[..., :classes], log_rest
