"""Images seen through masks: drawn, mixed with a baseline and scored in one compiled graph.

What leaves the host for each mask is a few numbers (a corner, a coarse grid, one share a
segment), the same for all images, so that a map depends on its own image alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import tensorflow as tf

from whitebox_loc._types import Array, ArrayLike, Tensor
from whitebox_loc._validation import as_array
from whitebox_loc.boxes import iou
from whitebox_loc.introspect.methods.baselines import baseline_images
from whitebox_loc.introspect.methods.record import Read
from whitebox_loc.introspect.targets.outputs import box_output
from whitebox_loc.introspect.targets.query import Query
from whitebox_loc.introspect.tracing.capture import Forward, Traced
from whitebox_loc.introspect.tracing.inputs import fixed_spec
from whitebox_loc.introspect.tracing.refusals import check_answer


@dataclass(frozen=True)
class Masks:
    """A number of masks, as few numbers: `arrays` (masks, ...) and what they have in common.

    `draw`, a function of a module, since it is compiled, makes of the image size, of the arrays
    of s masks and of `shared` the share of each pixel that is hidden, (s, height, width).
    """

    draw: Callable[..., Tensor]
    arrays: tuple[Array, ...]
    shared: tuple[Array, ...] = ()

    def __len__(self) -> int:
        return len(self.arrays[0])


@dataclass(frozen=True)
class Sums:
    """Sums over masks, float64: of changes of the targets, of hidden shares, of products."""

    change: Array  # (k, n)
    hidden: Array  # (height, width)
    product: Array  # (k, n, height, width)


def scores(query: Query, masks: Masks, baseline: ArrayLike) -> Array:
    """Return the targets (k, n, masks) of the masked images, averaged over baselines."""
    targets = np.zeros((query.targets, len(query), len(masks)))
    for rows, part, share, values in _passes(query, masks, baseline, _score, split=True):
        targets[:, rows, part] += share * values.numpy().transpose(0, 2, 1)
    # What is made of these by ranks and kernels would hide a NaN.
    return check_answer("Targets of masked images", targets, query.model, query.link)


def weighted_sums(
    query: Query,
    masks: Masks,
    baseline: ArrayLike,
    *,
    overlap: bool = False,
    boxes: Array | None = None,
) -> Sums:
    """Return sums of the changes from the targets at the whole images.

    With `overlap`, the IoU of the predicted box with `boxes` (n, 4) is scored, and k is 1;
    without `boxes`, with that predicted for the whole image.
    """
    n, size = len(query), query.images.shape[1:3]
    targets = 1 if overlap else query.targets
    sums = Sums(np.zeros((targets, n)), np.zeros(size), np.zeros((targets, n, *size)))
    finish = _overlap_sums if overlap else _target_sums
    # The whole image goes along with every slice of its masks, not into a batch of its own: the
    # fixed cost of a batch is that of a dozen images.
    passes = _passes(query, masks, baseline, finish, [] if boxes is None else [boxes], beside=1)
    for rows, _, share, (change, hidden, product) in passes:
        sums.change[:, rows] += share * change.numpy()
        sums.product[:, rows] += share * product.numpy()
        if rows.start == 0:
            sums.hidden[:] += share * hidden.numpy()
    return sums


def _passes(
    query: Query,
    masks: Masks,
    baseline: ArrayLike,
    finish: Callable[..., Any],
    own: Sequence[Array] = (),
    *,
    beside: int = 0,
    split: bool = False,
) -> Iterator[tuple[slice, slice, float, Any]]:
    """Yield images, masks, the weight of a baseline and what `finish` makes of them, by batches.

    The arrays `own` hold something for each image, and `beside` images go with each batch of it.
    """
    tiles = list(query.tiles(len(masks), beside=beside, split=split))
    masks = _drawn_once(query, masks, tiles)
    bases = baseline_images(baseline, query.images.shape[1:])
    for base in bases:
        run = _compiled(query, masks, base, own, finish)
        for rows, part in tiles:
            arrays = [*(tf.convert_to_tensor(a[rows]) for a in own), *_arrays(masks, part)]
            yield rows, part, 1 / len(bases), run(*query.tensors(rows), base, *arrays)
            query.count((rows.stop - rows.start) * (part.stop - part.start + beside))


def segment_labels(segments: ArrayLike, size: tuple[int, int]) -> Array:
    """Return what an option `segments` stands for as numbers 0 .. m - 1 (height, width)."""
    array = as_array("segments", segments)
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


def segment_masks(visible: Array, labels: Array) -> Masks:
    """Return masks that show a share of each segment, (masks, m)."""
    return Masks(_draw_segments, (np.asarray(visible, np.float32),), (labels,))


def _draw_segments(size: tuple[int, int], visible: Tensor, labels: Tensor) -> Tensor:
    return 1.0 - tf.gather(visible, labels, axis=1)


def _arrays(masks: Masks, part: slice) -> list[Tensor]:
    if masks.draw is _as_they_are:
        return list(masks.arrays)
    return [*(tf.convert_to_tensor(a[part]) for a in masks.arrays), *masks.shared]


def _drawn_once(query: Query, masks: Masks, tiles: list[tuple[slice, slice]]) -> Masks:
    """Return the masks as they are drawn, if more than one batch of images needs all of them."""
    if len(tiles) == 1 or any(part.stop - part.start < len(masks) for _, part in tiles):
        return masks
    draw, arrays = _drawing(masks.draw), _arrays(masks, tiles[0][1])
    return Masks(_as_they_are, (draw(query.images.shape[1:3], *arrays),))


@lru_cache(maxsize=16)
def _drawing(draw: Callable[..., Tensor]) -> Callable[..., Tensor]:
    # Shapes are few: of masks, images and segments in use.
    return tf.function(draw, autograph=False, reduce_retracing=True)


def _as_they_are(size: tuple[int, int], hidden: Tensor) -> Tensor:
    return hidden


def _compiled(
    query: Query, masks: Masks, base: Array, beside: Sequence[Array], finish: Callable[..., Any]
) -> Traced:
    """Return a function of images, a baseline, what goes beside the images, and masks.

    It returns what `finish` makes of the model's targets at the masked images.
    """
    black, drawn = not base.any(), len(masks.arrays) + len(masks.shared)
    size = query.images.shape[1:3]

    def build(read: Read, images: Tensor, base: Tensor, *arrays: Tensor) -> Tensor:
        hidden = masks.draw(size, *arrays[-drawn:])
        if finish is not _score:
            hidden = tf.pad(hidden, [[1, 0], [0, 0], [0, 0]])
        count = tf.shape(hidden)[0]
        share = hidden[:, None, :, :, None]
        points = (1.0 - share) * images
        points = points if black else points + share * base
        values, passed = read(tf.reshape(points, (-1, *images.shape[1:])), count)
        return finish(values, passed, hidden, count, *arrays[:-drawn])

    extra = [fixed_spec(base), *beside, *masks.arrays, *(fixed_spec(a) for a in masks.shared)]
    return query.function((masks.draw, black, finish, len(beside)), build, extra)


def _score(values: list[Tensor], passed: Forward, hidden: Tensor, count: Tensor) -> Tensor:
    return tf.reshape(tf.stack(values), (len(values), count, -1))


def _target_sums(
    values: list[Tensor], passed: Forward, hidden: Tensor, count: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    return _sums(_score(values, passed, hidden, count), hidden)


def _overlap_sums(
    values: list[Tensor], passed: Forward, hidden: Tensor, count: Tensor, *boxes: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    predicted = tf.reshape(tf.cast(box_output(passed), tf.float32), (count, -1, 4))
    truth = tf.broadcast_to(boxes[0] if boxes else predicted[0], tf.shape(predicted))
    flat = iou(tf.reshape(predicted, (-1, 4)), tf.reshape(truth, (-1, 4)), "rel_yxyx")
    return _sums(tf.reshape(flat, (1, count, -1)), hidden)


def _sums(values: Tensor, hidden: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return sums of changes, hidden shares and products; the first mask hides nothing."""
    change = values - values[:, :1]
    product = tf.einsum("ksr,shw->krhw", change, hidden)
    return tf.reduce_sum(change, 1), tf.reduce_sum(hidden, 0), product
