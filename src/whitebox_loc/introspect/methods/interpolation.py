"""Bilinear interpolation as products of matrices, one a side."""

from __future__ import annotations

import tensorflow as tf

from whitebox_loc._types import Tensor


def hats(points: Tensor, places: int) -> Tensor:
    """Return the weights (..., places) of linear interpolation at `points`, cut to the places."""
    points = tf.convert_to_tensor(points)
    points = tf.clip_by_value(points, 0, places - 1)[..., None]
    distance = tf.abs(points - tf.range(places, dtype=points.dtype))
    return tf.cast(tf.nn.relu(1 - distance), tf.float32)


def spread(planes: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Return ``rows @ plane @ columns.T`` of planes (m, h, w)."""
    return tf.matmul(tf.matmul(rows, planes), columns, transpose_b=True)
