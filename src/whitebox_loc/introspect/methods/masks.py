"""Images seen through masks: drawn, mixed with a baseline and scored in one compiled graph.

What leaves the host for each mask is a few numbers (a corner, a coarse grid, one share a
segment), the same for all images, so that a map depends on its own image alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from whitebox_loc.boxes import iou
from whitebox_loc.introspect.methods.paths import baseline_images
from whitebox_loc.introspect.outputs import box_output
from whitebox_loc.introspect.problem import Problem

__all__ = ["Masks", "Sums", "scores", "segment_labels", "segment_masks", "weighted_sums"]


@dataclass(frozen=True)
class Masks:
    """A number of masks, as few numbers.

    Attributes
    ----------
    draw : callable
        From the image size, `arrays` of s masks and `shared` to the share of each pixel that
        is hidden, a tensor (s, height, width). A function of a module, since it is compiled.
    arrays : tuple of arrays (masks, ...)
    shared : tuple of arrays
        What all masks have in common.
    """

    draw: Callable[..., Any]
    arrays: tuple[np.ndarray, ...]
    shared: tuple[np.ndarray, ...] = ()

    def __len__(self) -> int:
        return len(self.arrays[0])


@dataclass(frozen=True)
class Sums:
    """Sums over masks, float64: of changes of the targets, of hidden shares, of products."""

    change: np.ndarray  # (k, n)
    hidden: np.ndarray  # (height, width)
    product: np.ndarray  # (k, n, height, width)


def scores(problem: Problem, masks: Masks, baseline: Any) -> np.ndarray:
    """Return the targets (k, n, masks) of the masked images, averaged over baselines."""
    found = np.zeros((problem.targets, len(problem), len(masks)))
    for rows, part, share, (values,) in _masked(problem, masks, baseline):
        found[:, rows, part] += share * values.numpy().transpose(0, 2, 1)
    return found


def weighted_sums(
    problem: Problem, masks: Masks, baseline: Any, start: np.ndarray, boxes: np.ndarray | None
) -> Sums:
    """Return sums of the changes from `start` (k, n), the targets at the images.

    With `boxes` (n, 4), the IoU of the predicted box with them is scored, and k is 1.
    """
    n, size = len(problem), problem.images.shape[1:3]
    change, hidden = np.zeros((len(start), n)), np.zeros(size)
    product = np.zeros((len(start), n, *size))
    for rows, _, share, (changes, shares, products) in _masked(
        problem, masks, baseline, start, boxes
    ):
        change[:, rows] += share * changes.numpy()
        product[:, rows] += share * products.numpy()
        if rows.start == 0:
            hidden += share * shares.numpy()
    return Sums(change, hidden, product)


def segment_labels(segments: Any, size: tuple[int, int]) -> np.ndarray:
    """Return what an option `segments` stands for as numbers 0 .. m - 1 (height, width).

    A grid has at most as many rows and columns as the image.
    """
    array = np.asarray(segments)
    if array.dtype.kind not in "iu" or array.shape not in ((2,), tuple(size)):
        raise ValueError(
            "`segments` must be two whole numbers (rows, columns) of a grid, or whole numbers of "
            f"shape {tuple(size)} that name each pixel's segment; got shape {array.shape} of "
            f"dtype {array.dtype}."
        )
    if array.shape != (2,):
        return np.unique(array, return_inverse=True)[1].reshape(size).astype(np.int32)
    if array.min() < 1:
        raise ValueError(
            f"`segments` of a grid must be at least (1, 1); got {tuple(array.tolist())}."
        )
    rows, columns = np.minimum(array, size)
    row = np.arange(size[0]) * rows // size[0]
    column = np.arange(size[1]) * columns // size[1]
    return (row[:, None] * columns + column).astype(np.int32)


def segment_masks(visible: np.ndarray, labels: np.ndarray) -> Masks:
    """Return masks that show a share of each segment, (masks, m)."""
    return Masks(_draw_segments, (np.asarray(visible, np.float32),), (labels,))


def _draw_segments(size: tuple[int, int], visible: Any, labels: Any) -> Any:
    return 1.0 - tf.gather(visible, labels, axis=1)


def _masked(
    problem: Problem,
    masks: Masks,
    baseline: Any,
    start: np.ndarray | None = None,
    boxes: np.ndarray | None = None,
) -> Iterator[tuple[slice, slice, float, Any]]:
    """Yield results for slices of images and masks, with the weight of their baseline."""
    bases = baseline_images(baseline, problem.images.shape[1:])
    beside = [] if start is None else [start.T.astype(np.float32)]
    beside += [] if boxes is None else [boxes]
    for base in bases:
        run = _compiled(problem, masks, base, beside, start is not None, boxes is not None)
        at = None
        for rows, part in problem.tiles(len(masks)):
            if at != rows:
                at, tensors = rows, problem.tensors(rows)
                own = [tf.convert_to_tensor(a[rows]) for a in beside]
            arrays = [tf.convert_to_tensor(a[part]) for a in masks.arrays]
            problem.count((rows.stop - rows.start) * (part.stop - part.start))
            yield rows, part, 1 / len(bases), run(*tensors, base, *own, *arrays, *masks.shared)


def _compiled(
    problem: Problem, masks: Masks, base: np.ndarray, beside: Any, weigh: bool, overlap: bool
) -> Any:
    black, drawn = not base.any(), len(masks.arrays) + len(masks.shared)
    size = problem.images.shape[1:3]

    def build(read: Any, images: Any, base: Any, *arrays: Any) -> Any:
        hidden = masks.draw(size, *arrays[-drawn:])
        count = tf.shape(hidden)[0]
        share = hidden[:, None, :, :, None]
        points = (1.0 - share) * images
        points = points if black else points + share * base
        values, passed = read(tf.reshape(points, (-1, *images.shape[1:])), count)
        if overlap:
            predicted = tf.cast(box_output(passed), tf.float32)
            values = [iou(predicted, tf.tile(arrays[1], (count, 1)), "rel_yxyx")]
        found = tf.reshape(tf.stack(values), (len(values), count, -1))
        if not weigh:
            return (found,)
        change = found - tf.transpose(arrays[0])[:, None]
        product = tf.einsum("ksr,shw->krhw", change, hidden)
        return tf.reduce_sum(change, 1), tf.reduce_sum(hidden, 0), product

    extra = [_fixed(base), *beside, *masks.arrays, *(_fixed(a) for a in masks.shared)]
    return problem.function((masks.draw, black, weigh, overlap), build, extra)


def _fixed(array: np.ndarray) -> tf.TensorSpec:
    return tf.TensorSpec(array.shape, tf.as_dtype(array.dtype))
