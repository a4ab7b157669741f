"""Which of a scene's boxes are drawn: parts of the canvas, and shares of a finite set."""

from __future__ import annotations

import numpy as np

from whitebox_loc._types import Array

_QUADRANTS = ("top_left", "top_right", "bottom_left", "bottom_right")

#: Where the centre of the box may lie. A centre on the middle line of the canvas belongs to the
#: bottom or to the right.
REGIONS = ("anywhere", *_QUADRANTS, *(f"not_{name}" for name in _QUADRANTS))

#: The two parts of a split.
PARTS = ("train", "test")

Split = tuple[str, float, int]

_ROUNDS = 6


def count_places(rows: Array, columns: Array, region: str) -> Array:
    """Return how many of the ``rows * columns`` places of a box have their centre in a region."""
    if region == "anywhere":
        return rows * columns
    (_, inner_rows), (_, inner_columns) = _quadrant(rows, columns, region)
    inside = inner_rows * inner_columns
    return rows * columns - inside if region.startswith("not_") else inside


def find_places(place: Array, rows: Array, columns: Array, region: str) -> tuple[Array, Array]:
    """Return top and left of the places with these numbers among those of `count_places`."""
    if region == "anywhere":
        return np.divmod(place, columns)
    (first_row, inner_rows), (first_column, inner_columns) = _quadrant(rows, columns, region)
    if not region.startswith("not_"):
        top, left = np.divmod(place, np.maximum(inner_columns, 1))
        return top + first_row, left + first_column
    # First the half of the canvas that the quadrant does not meet, then the rest of its half.
    other_half = (rows - inner_rows) * columns
    row, column = np.divmod(place, columns)
    beside_row, beside = np.divmod(place - other_half, np.maximum(columns - inner_columns, 1))
    in_other_half = place < other_half
    top = np.where(in_other_half, row + np.where(first_row == 0, inner_rows, 0), 0)
    top = np.where(in_other_half, top, beside_row + first_row)
    left = np.where(in_other_half, column, beside + np.where(first_column == 0, inner_columns, 0))
    return top, left


def _quadrant(
    rows: Array, columns: Array, region: str
) -> tuple[tuple[Array, Array], tuple[Array, Array]]:
    """Return (first, number) of the rows and of the columns of places in a quadrant."""
    # A box of height h in a canvas of height H has H - h + 1 rows to begin in. Its centre,
    # top + h / 2, is above the middle for the first half of them, rounded down. The first row of
    # the lower half is never 0 unless the upper half is empty: then no row has to be left out.
    vertical, horizontal = region.removeprefix("not_").split("_")
    return _half(rows, vertical == "top"), _half(columns, horizontal == "left")


def _half(places: Array, first: bool) -> tuple[Array, Array]:
    before = places // 2
    return (np.zeros_like(places), before) if first else (before, places - before)


def count_part(total: int, split: Split | None) -> int:
    """Return how many of `total` boxes are in a part: the share rounded, or the rest."""
    if split is None:
        return total
    part, share, _ = split
    first = round(share * total)
    return first if part == "train" else total - first


def part_numbers(numbers: Array, total: int, split: Split | None) -> Array:
    """Return the boxes' numbers in the whole set from those in a part: its beginning or its end."""
    if split is None:
        return numbers
    part, _, seed = split
    start = 0 if part == "train" else total - count_part(total, split)
    return _shuffled(numbers + start, total, seed)


def _shuffled(numbers: Array, total: int, seed: int) -> Array:
    """Return where a fixed pseudo-random permutation of ``0 .. total - 1`` sends `numbers`.

    A Feistel network permutes the next larger power of four; a number that leaves the range is
    sent on until it is back (Black and Rogaway 2002, "Ciphers with arbitrary finite domains").
    There is no table of boxes: an image of 100 x 100 pixels has 25 million.
    """
    half = np.uint64(max(1, ((total - 1).bit_length() + 1) // 2))
    keys = np.random.SeedSequence(seed).generate_state(_ROUNDS, np.uint64)
    places = _feistel(numbers.astype(np.uint64), half, keys)
    while (outside := places >= total).any():
        places[outside] = _feistel(places[outside], half, keys)
    return places.astype(np.int64)


def _feistel(numbers: Array, half: np.uint64, keys: Array) -> Array:
    mask = (np.uint64(1) << half) - np.uint64(1)
    left, right = numbers >> half, numbers & mask
    for key in keys:
        left, right = right, left ^ (_mixed(right ^ key) & mask)
    return (left << half) | right


def _mixed(values: Array) -> Array:
    """Return 64 well mixed bits of each value: the finalizer of MurmurHash3 (A. Appleby)."""
    shift = np.uint64(33)
    for factor in (np.uint64(0xFF51AFD7ED558CCD), np.uint64(0xC4CEB9FE1A85EC53)):
        values = (values ^ (values >> shift)) * factor
    return values ^ (values >> shift)
