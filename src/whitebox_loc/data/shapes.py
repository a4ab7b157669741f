"""The shapes a scene can draw, each tight in its box to the pixel."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from whitebox_loc._types import Array
from whitebox_loc._validation import check_choice, check_int, check_memory


def shape_mask(shape: str, height: int, width: int) -> Array:
    """Return the lit pixels of a shape that fills a box.

    Parameters
    ----------
    shape : str
        A name in `SHAPES`.
    height, width : int
        Sides of the box in pixels, at least 1.

    Returns
    -------
    ndarray of bool, shape (height, width)
        Every border row and column holds a lit pixel: the box is the shape's bounding box.

    Raises
    ------
    ValueError, TypeError
        If there is no shape of that name, or a side is no whole number from 1.

    Examples
    --------
    >>> shape_mask("cross", 3, 5).astype(int)
    array([[0, 0, 1, 0, 0],
           [1, 1, 1, 1, 1],
           [0, 0, 1, 0, 0]])
    """
    shape = check_choice("shape", shape, SHAPES)
    height, width = check_int("height", height, low=1), check_int("width", width, low=1)
    # Distances of 64 bits, several at a time.
    check_memory("height", height, 32.0 * height, "pixels")
    check_memory("width", width, 32.0 * height * width, "pixels")
    # Doubled distances from the box's centre to pixel centres: whole, so that ties are exact.
    y = 2 * np.arange(height)[:, None] + 1 - height
    x = 2 * np.arange(width)[None, :] + 1 - width
    return np.broadcast_to(SHAPES[shape](y, x, height, width), (height, width))


def _rectangle(y: Array, x: Array, height: int, width: int) -> Array:
    return np.ones((height, width), bool)


def _ellipse(y: Array, x: Array, height: int, width: int) -> Array:
    return ((y * width) ** 2 + (x * height) ** 2 <= (height * width) ** 2) | _spine(y, x)


def _triangle(y: Array, x: Array, height: int, width: int) -> Array:
    rows_from_apex = (y + 1 + height) // 2
    return (np.abs(x) * height <= rows_from_apex * width) | (np.abs(x) <= 1)


def _diamond(y: Array, x: Array, height: int, width: int) -> Array:
    return (np.abs(y) * width + np.abs(x) * height <= height * width) | _spine(y, x)


def _cross(y: Array, x: Array, height: int, width: int) -> Array:
    return (3 * np.abs(y) < height) | (3 * np.abs(x) < width) | _spine(y, x)


def _ring(y: Array, x: Array, height: int, width: int) -> Array:
    hole = (2 * y * width) ** 2 + (2 * x * height) ** 2 < (height * width) ** 2
    border = (np.abs(y) == height - 1) | (np.abs(x) == width - 1)
    return _ellipse(y, x, height, width) & (border | ~hole)


def _spine(y: Array, x: Array) -> Array:
    """Light the middle lines, as a long thin curve on pixels may miss the ends of its box."""
    return (np.abs(y) <= 1) | (np.abs(x) <= 1)


#: Name -> function of the doubled centred coordinates ``y`` (height, 1) and ``x`` (1, width) and of
#: both sides, which returns the lit pixels. A new shape is a function and a row.
SHAPES: dict[str, Callable[[Array, Array, int, int], Array]] = {
    "rectangle": _rectangle, "ellipse": _ellipse, "triangle": _triangle,
    "diamond": _diamond, "cross": _cross, "ring": _ring,
}  # fmt: skip
