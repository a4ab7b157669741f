"""Bilinear interpolation as products of matrices, one a side."""

from __future__ import annotations

from typing import Any

import tensorflow as tf


def hats(points: Any, places: int) -> Any:
    """Return the weights (..., places) of linear interpolation at `points`, cut to the places."""
    points = tf.convert_to_tensor(points)
    points = tf.clip_by_value(points, 0, places - 1)[..., None]
    distance = tf.abs(points - tf.range(places, dtype=points.dtype))
    return tf.cast(tf.nn.relu(1 - distance), tf.float32)


def spread(planes: Any, rows: Any, columns: Any) -> Any:
    """Return ``rows @ plane @ columns.T`` of planes (m, h, w)."""
    return tf.matmul(tf.matmul(rows, planes), columns, transpose_b=True)
