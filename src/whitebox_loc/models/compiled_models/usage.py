"""Model truth: which pixels a compiled model uses, from its formula; see docs/compiled.md.

Each function takes lit pixels, bool (n, height, width), and returns used ones, bool
(4, n, height, width), for top, left, bottom and right.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from whitebox_loc._types import Array


def extreme_usage(lit: Array) -> Array:
    """Farthest lit pixel: all beyond it, and the lit pixels of its line."""
    return _four_ways(_before_and_first, lit)


def swapped_usage(lit: Array) -> Array:
    """Left and right from each other's pixels."""
    return extreme_usage(lit)[[0, 3, 2, 1]]


def corner_usage(lit: Array) -> Array:
    """Bottom and right from the pixels of top and left."""
    return extreme_usage(lit)[[0, 1, 0, 1]]


def side_usage(lit: Array) -> Array:
    """Count of lit lines: each pixel of a dark line, and the lit pixels of a lit one."""
    rows = ~lit.any(2, keepdims=True) | lit
    columns = ~lit.any(1, keepdims=True) | lit
    return np.stack([rows, columns, rows, columns])


def no_usage(lit: Array) -> Array:
    """Nothing."""
    return np.zeros((4, *lit.shape), bool)


def edge_usage(lit: Array) -> Array:
    """Sum over all edges of one orientation; images of one box or none."""
    return _four_ways(_edges_of_one_box, lit)


def opposite_usage(lit: Array) -> Array:
    """Opposite edge and number of lit lines; images of one box or none."""
    return _four_ways(_opposite_of_one_box, lit)


def shows_one_box(lit: Array) -> Array:
    """Return whether each image shows one full rectangle or nothing, (n,)."""
    filled = np.ones(len(lit), bool)
    for axis in (1, 2):
        line = lit.any(3 - axis).astype(int)
        starts = (np.diff(line, axis=1, prepend=0) == 1).sum(1)
        filled &= starts <= 1
    frame = lit.any(2, keepdims=True) & lit.any(1, keepdims=True)
    return filled & (lit == frame).all((1, 2))


def _four_ways(top: Callable[[Array], Array], lit: Array) -> Array:
    """Apply the rule for top to all coordinates: left is top of the transposed image, etc."""

    def bottom(image: Array) -> Array:
        return top(image[:, ::-1])[:, ::-1]

    turned = lit.transpose(0, 2, 1)
    left, right = (rule(turned).transpose(0, 2, 1) for rule in (top, bottom))
    return np.stack([top(lit), left, bottom(lit), right])


def _before_and_first(lit: Array) -> Array:
    rows = np.asarray(lit.any(2))
    until = np.logical_or.accumulate(rows, axis=1)
    # A row is the first lit one if it is lit and no row before it is.
    first = rows & (np.cumsum(rows, axis=1) == 1)
    return ~until[:, :, None] | (lit & first[:, :, None])


def _edges_of_one_box(lit: Array) -> Array:
    rows, length = np.asarray(lit.any(2)), lit.shape[1]
    top, bottom = _ends(rows)
    high, wide = bottom - top, np.asarray(lit.any(1)).sum(1)
    y = np.arange(length)
    first, last, behind = (y == edge[:, None] for edge in (top, bottom - 1, bottom))
    idle = first[:, :, None] & ~lit
    # The last row, if the canvas ends there: darkening it makes no edge below.
    idle |= (last & ((high >= 2) & (bottom == length))[:, None])[:, :, None] & lit
    # Behind a single pixel: an edge there needs that pixel dark, which is a change by itself.
    single = (high == 1) & (wide == 1)
    idle |= (behind & single[:, None])[:, :, None] & lit.any(1, keepdims=True)
    return ~(idle & np.asarray(rows.any(1))[:, None, None])


def _opposite_of_one_box(lit: Array) -> Array:
    rows, length = np.asarray(lit.any(2)), lit.shape[1]
    top, bottom = _ends(rows)
    # One lit row below the first: without it nothing is lit, and 0 is answered instead.
    lone = (bottom - top == 1) & (top > 0)
    y = np.arange(length)
    last, behind = (y == edge[:, None] for edge in (bottom - 1, bottom))
    idle = (last & ~((bottom < length) | lone)[:, None]) | (behind & lone[:, None])
    # With nothing lit, a lit first row is answered by 0 as well.
    idle = np.where(np.asarray(rows.any(1))[:, None], idle, y == 0)
    return ~idle[:, :, None] & (lit | ~rows[:, :, None])


def _ends(line: Array) -> tuple[Array, Array]:
    """Return first and last + 1 of the lit run of each line (n, length)."""
    return line.argmax(1), line.shape[1] - line[:, ::-1].argmax(1)
