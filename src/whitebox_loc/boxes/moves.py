"""Boxes of whole pixels with one edge moved, and which of them an image can show."""

from __future__ import annotations

import numpy as np


def are_legal(boxes: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Return which ``yxyx`` boxes (..., 4) lie inside an image of `size` and have area."""
    start, end = boxes[..., :2], boxes[..., 2:]
    return np.asarray(((start >= 0) & (start < end) & (end <= np.array(size))).all(-1))


def edge_limits(boxes: np.ndarray, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Return the least and greatest legal place (n, 4) of each edge while the others stay."""
    start, end = boxes[:, :2], boxes[:, 2:]
    low = np.concatenate([np.zeros_like(start), start + 1], axis=1)
    return low, np.concatenate([end - 1, np.broadcast_to(size, end.shape)], axis=1)


def move_edges(
    boxes: np.ndarray, shifts: np.ndarray, size: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """Move each edge of each box alone, by each shift; above 0 is down or right.

    A move is legal if the box has area before and after it, inside the image.

    Parameters
    ----------
    boxes : array (n, 4)
        ``yxyx`` in pixels.
    shifts : array (shifts,)
        In pixels.
    size : tuple of int
        Height and width of the image.

    Returns
    -------
    array (n, shifts, 4 edges, 4)
        The moved boxes.
    bool array (n, shifts, 4 edges)
        Which of them are legal.

    Examples
    --------
    >>> moved, legal = move_edges(np.array([[0, 1, 5, 7]]), np.array([-1]), (12, 16))
    >>> moved[0, 0].tolist()
    [[-1, 1, 5, 7], [0, 0, 5, 7], [0, 1, 4, 7], [0, 1, 5, 6]]
    >>> legal[0, 0].tolist()
    [False, True, True, True]
    """
    moved = boxes[:, None, None] + shifts[:, None, None] * np.eye(4, dtype=shifts.dtype)
    return moved, are_legal(moved, size) & are_legal(boxes, size)[:, None, None]
