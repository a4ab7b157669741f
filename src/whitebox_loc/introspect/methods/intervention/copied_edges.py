"""Moved edges drawn without a scene, by copying the line beside them, and the maps of that.

Everything but the list of moves happens in one compiled graph: an image goes in, its map
comes out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from whitebox_loc._types import Array, Tensor
from whitebox_loc.boxes.moves import move_edges
from whitebox_loc.introspect.methods.record import Read
from whitebox_loc.introspect.targets.query import Query


@dataclass(frozen=True)
class Moves:
    """Edges that are moved: of which image, which of top, left, bottom, right, and where to."""

    rows: Array
    edges: Array
    places: Array

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, part: Any) -> Moves:
        return Moves(self.rows[part], self.edges[part], self.places[part])


def legal_moves(boxes: Array, step: int, size: tuple[int, int]) -> Moves:
    """Return all moves by `step` pixels that leave a box with area inside the image, in order."""
    moved, legal = move_edges(boxes, np.array([-step, step]), size)
    rows, edges, sides = np.nonzero(legal.transpose(0, 2, 1))
    return Moves(rows, edges, moved[rows, sides, edges, edges])


def copied_maps(query: Query, boxes: Array, moves: Moves) -> Array:
    """Return the maps (k, n, height, width) of the moves."""
    shape = query.images.shape
    extra = [np.zeros((1, 4), np.int32), *[np.zeros(1, np.int32)] * 3]
    run = query.function(("copied_edges",), _build, extra)
    maps = np.zeros((query.targets, *shape[:3]), np.float32)
    # Whole images go along with their moves, of which there are eight at most.
    together = max(1, query.batch_size // 9)
    most = max(1, query.batch_size - together)
    for first in range(0, shape[0], together):
        rows = slice(first, min(first + together, shape[0]))
        begin, end = np.searchsorted(moves.rows, [rows.start, rows.stop])
        for start in range(begin, max(end, begin + 1), most):
            part = moves[start : min(start + most, end)]
            numbers = (boxes[rows], part.rows - first, part.edges, part.places)
            changes = run(*query.tensors(rows), *(tf.constant(a.astype(np.int32)) for a in numbers))
            maps[:, rows] += changes.numpy()
            query.count(rows.stop - rows.start + len(part))
    return maps


def copied_images(
    images: Tensor, boxes: Tensor, rows: Tensor, edges: Tensor, places: Tensor
) -> Tensor:
    """Return the images (moves, height, width, channels) with one edge moved each.

    A growing box repeats its last line over the pixels that its edge passes; a shrinking one,
    the line outside of it. Beyond the border lies the darkest brightness of the image.
    """
    image, box = tf.gather(images, rows), tf.gather(boxes, rows)
    old = tf.gather(box, edges, batch_dims=1)
    vertical, far = (edges % 2 == 0)[:, None], edges >= 2
    grows = (places > old) == far
    line = tf.where(far == grows, old - 1, old)
    passed = tf.stack([tf.minimum(old, places), tf.maximum(old, places)], 1)
    # Of the pixels that are written: first and last row, first and last column.
    height = tf.where(vertical, passed, tf.gather(box, [0, 2], axis=1))
    width = tf.where(vertical, tf.gather(box, [1, 3], axis=1), passed)
    written = (
        _inside(height, images.shape[1])[:, :, None] & _inside(width, images.shape[2])[:, None]
    )
    sides = tf.where(edges % 2 == 0, *images.shape[1:3])
    source = tf.clip_by_value(line, 0, sides - 1)
    darkest = tf.reduce_min(image, (1, 2))[:, None]
    beyond = ((line < 0) | (line >= sides))[:, None, None]
    # A row serves the moves up and down, a column the others; the remainder only keeps the one
    # that is not used inside the image.
    row = tf.gather(image, source % images.shape[1], axis=1, batch_dims=1)
    column = tf.gather(image, source % images.shape[2], axis=2, batch_dims=1)
    row, column = (tf.where(beyond, darkest, pixels) for pixels in (row, column))
    written, upright = written[..., None], vertical[..., None, None]
    image = tf.where(written & upright, row[:, None], image)
    return tf.where(written & ~upright, column[:, :, None], image)


def _inside(span: Tensor, length: int) -> Tensor:
    place = tf.range(length)[None]
    return (place >= span[:, :1]) & (place < span[:, 1:])


def _build(
    read: Read, images: Tensor, boxes: Tensor, rows: Tensor, edges: Tensor, places: Tensor
) -> Tensor:
    count = tf.shape(images)[0]
    # The whole images come first, as moves of the top edge to where it is.
    rows = tf.concat([tf.range(count), rows], 0)
    edges = tf.concat([tf.zeros_like(boxes[:, 0]), edges], 0)
    places = tf.concat([boxes[:, 0], places], 0)
    moved = copied_images(images, boxes, rows, edges, places)
    values = tf.stack(read(moved, rows=rows)[0])
    effect = values - tf.gather(values[:, :count], rows, axis=1)
    change = moved - tf.gather(images, rows)
    share = tf.math.divide_no_nan(effect, tf.reduce_sum(tf.square(change), (1, 2, 3)))
    change = change[..., 0] if change.shape[-1] == 1 else tf.reduce_sum(change, -1)
    # Segment by segment, so that an image without a number stays the only one.
    maps = [
        tf.math.unsorted_segment_sum(each[:, None, None] * change, rows, count)
        for each in tf.unstack(share)
    ]
    return tf.stack(maps)
