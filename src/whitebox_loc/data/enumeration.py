"""The legal boxes of a scene in a fixed order: how many there are, and the box of each number."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np

from whitebox_loc._types import Array
from whitebox_loc.data.splits import count_places, find_places


class Geometry(NamedTuple):
    """What decides which boxes are legal; `border` asks that they touch the image's border."""

    size: tuple[int, int]
    #: Of height, width and shorter side, in pixels.
    limits: tuple[tuple[int, int], tuple[int, int], tuple[int, int]]
    aspect: tuple[float, float] | None
    border: bool
    region: str


def count_legal(geometry: Geometry) -> int:
    """Return how many boxes are legal."""
    return int(_size_table(geometry)[2][-1])


def legal_boxes(geometry: Geometry, numbers: Array) -> Array:
    """Return the boxes (n, 4) with the given numbers (n,)."""
    (height, width), _, _, border, region = geometry
    heights, widths, counts = _size_table(geometry)
    which = np.searchsorted(counts, numbers, side="right") - 1
    h, w = heights[which], widths[which]
    place = numbers - counts[which]
    rows, columns = height - h + 1, width - w + 1
    if border:
        top, left = _border_place(place, rows, columns)
    else:
        top, left = find_places(place, rows, columns, region)
    return np.stack([top, left, top + h, left + w], axis=-1)


@lru_cache(maxsize=8)  # 24 bytes a pixel of the image each
def _size_table(geometry: Geometry) -> tuple[Array, Array, Array]:
    """Return the legal heights, widths, and the running count of boxes up to each."""
    (height, width), (heights, widths, short), aspect, border, region = geometry
    h = np.arange(heights[0], heights[1] + 1, dtype=np.int64)[:, None]
    w = np.arange(widths[0], widths[1] + 1, dtype=np.int64)[None, :]
    shorter = np.minimum(h, w)
    legal = (shorter >= short[0]) & (shorter <= short[1])
    if aspect is not None:
        legal &= (w >= aspect[0] * h) & (w <= aspect[1] * h)
    rows, columns = height - h + 1, width - w + 1
    places = count_places(rows, columns, region)
    if border:
        places = places - np.maximum(rows - 2, 0) * np.maximum(columns - 2, 0)
    row, column = np.nonzero(legal)
    counts = np.concatenate([[0], np.cumsum(places[legal], dtype=np.int64)])
    return h[row, 0], w[0, column], counts


def _border_place(place: Array, rows: Array, columns: Array) -> tuple[Array, Array]:
    """Find the places with these numbers on the frame of a grid: outer rows, then columns."""
    outer = np.minimum(rows, 2) * columns
    row, left = np.divmod(place, columns)
    middle, side = np.divmod(place - outer, np.minimum(columns, 2))
    on_row = place < outer
    top = np.where(on_row, row * (rows - 1), middle + 1)
    return top, np.where(on_row, left, side * (columns - 1))
