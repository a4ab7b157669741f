"""Boxes of whole pixels with one edge moved, and which of them an image can show."""

from __future__ import annotations

import numpy as np

from whitebox_loc._types import Array


def are_legal(boxes: Array, size: tuple[int, int]) -> Array:
    """Return which ``yxyx`` boxes (..., 4) lie inside an image of `size` and have area."""
    start, end = boxes[..., :2], boxes[..., 2:]
    return np.asarray(((start >= 0) & (start < end) & (end <= np.array(size))).all(-1))


def edge_limits(boxes: Array, size: tuple[int, int]) -> tuple[Array, Array]:
    """Return the least and greatest legal place (n, 4) of each edge while the others stay."""
    start, end = boxes[:, :2], boxes[:, 2:]
    low = np.concatenate([np.zeros_like(start), start + 1], axis=1)
    return low, np.concatenate([end - 1, np.broadcast_to(size, end.shape)], axis=1)


def move_edges(boxes: Array, shifts: Array, size: tuple[int, int]) -> tuple[Array, Array]:
    """Move each edge of each box alone, by each shift; above 0 is down or right.

    Returns the ``yxyx`` boxes (n, shifts, 4 edges, 4), and which moves are legal, bool (n, shifts,
    4 edges): the box has area before and after it, inside the image.

    >>> moved, legal = move_edges(np.array([[0, 1, 5, 7]]), np.array([-1]), (12, 16))
    >>> moved[0, 0].tolist()
    [[-1, 1, 5, 7], [0, 0, 5, 7], [0, 1, 4, 7], [0, 1, 5, 6]]
    >>> legal[0, 0].tolist()
    [False, True, True, True]
    """
    moved = boxes[:, None, None] + shifts[:, None, None] * np.eye(4, dtype=shifts.dtype)
    return moved, are_legal(moved, size) & are_legal(boxes, size)[:, None, None]
