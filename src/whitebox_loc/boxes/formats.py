"""Box formats as linear maps, and conversion between any two of them."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, reduce
from operator import add

import numpy as np

from whitebox_loc._types import ArrayLike
from whitebox_loc._validation import check_choice, check_size
from whitebox_loc.boxes._arrays import as_boxes, namespace

COORDINATES = ("top", "left", "bottom", "right")
"""The four numbers of a box in ``yxyx``, by name."""

# A format is declared once: each row writes one number of (top, left, bottom, right)
# as coefficients of the format's own four numbers. Everything else is derived.
_CORNERS = {
    "yxyx": ((1, 0, 0, 0), (0, 1, 0, 0), (0, 0, 1, 0), (0, 0, 0, 1)),
    "xyxy": ((0, 1, 0, 0), (1, 0, 0, 0), (0, 0, 0, 1), (0, 0, 1, 0)),
    "yxhw": ((1, 0, 0, 0), (0, 1, 0, 0), (1, 0, 1, 0), (0, 1, 0, 1)),
    "xywh": ((0, 1, 0, 0), (1, 0, 0, 0), (0, 1, 0, 1), (1, 0, 1, 0)),
    "center_yxhw": ((1, 0, -0.5, 0), (0, 1, 0, -0.5), (1, 0, 0.5, 0), (0, 1, 0, 0.5)),
    "center_xywh": ((0, 1, 0, -0.5), (1, 0, -0.5, 0), (0, 1, 0, 0.5), (1, 0, 0.5, 0)),
}
_RELATIVE = "rel_"

RELATIVE_FORMATS = tuple(_RELATIVE + name for name in _CORNERS)
"""Names of the formats in fractions of the image height and width."""

FORMATS = (*_CORNERS, *RELATIVE_FORMATS)
"""Names of all formats."""


def convert(
    boxes: ArrayLike, source: str, target: str, *, size: tuple[int, int] | None = None
) -> ArrayLike:
    """Write boxes of one named format in another.

    Parameters
    ----------
    boxes : array_like or tensor, shape (..., 4)
        Boxes in format `source`. NumPy values must be finite. Swapped corners
        are converted like any other numbers.
    source, target : str
        Names from `FORMATS`. ``y`` and ``x`` are a corner (or, after ``center_``, the centre),
        ``h`` and ``w`` height and width, in pixels or, with ``rel_``, in fractions of the image's.
    size : (height, width), optional
        Image size in pixels, needed where pixels become fractions or the reverse.

    Returns
    -------
    array or tensor, shape (..., 4)
        A new array of the dtype of `boxes`. Whole numbers become float64
        in NumPy and float32 in TensorFlow.

    Raises
    ------
    ValueError, TypeError
        For an unknown format, a missing `size`, or boxes that are not four finite numbers each.

    Examples
    --------
    >>> convert([10, 20, 30, 60], "yxyx", "rel_yxhw", size=(100, 200))
    array([0.1, 0.1, 0.2, 0.2])
    """
    check_choice("source", source, FORMATS)
    check_choice("target", target, FORMATS)
    xp = namespace(boxes)
    columns = to_columns(as_boxes("boxes", boxes, xp), source, target, size)
    return xp.stack(columns, axis=-1)


def is_relative(name: str) -> bool:
    """Tell whether the format `name` holds fractions of the image rather than pixels."""
    return name in RELATIVE_FORMATS


def to_columns(
    boxes: ArrayLike, source: str, target: str, size: tuple[int, int] | None = None
) -> tuple[ArrayLike, ...]:
    """Return the four numbers of `target` as separate arrays of shape ``(...)``.

    Only plain operators touch the values, coefficient by coefficient: a matrix
    product would round to 10 bits on GPUs (TF32) and spread a NaN to its neighbours.
    """
    scale = _change_of_unit(source, target, size)
    columns = []
    for row, letter in zip(_linear_map(source, target), target[-4:], strict=True):
        value = reduce(add, (boxes[..., i] if c == 1 else c * boxes[..., i] for i, c in row))
        columns.append(scale(value, 0 if letter in "yh" else 1))
    return tuple(columns)


@cache
def _linear_map(source: str, target: str) -> tuple[tuple[tuple[int, float], ...], ...]:
    """Return, for each number of `target`, the (index, coefficient) pairs of `source`.

    All entries are 0, 1, -1 or a half, so the inverse and the product are exact.
    """
    forward = np.array(_CORNERS[source.removeprefix(_RELATIVE)], dtype=np.float64)
    backward = np.linalg.inv(np.array(_CORNERS[target.removeprefix(_RELATIVE)], dtype=np.float64))
    return tuple(
        tuple((i, float(c)) for i, c in enumerate(row) if c != 0) for row in backward @ forward
    )


def _change_of_unit(
    source: str, target: str, size: tuple[int, int] | None
) -> Callable[[ArrayLike, int], ArrayLike]:
    """Return a function of a value and its axis (0 vertical, 1 horizontal)."""
    lengths = None if size is None else check_size("size", size)
    if is_relative(source) == is_relative(target):
        return lambda value, axis: value
    if lengths is None:
        unit = {True: "fractions of the image", False: "pixels"}
        raise ValueError(
            f"`size` must be given to convert {source!r} ({unit[is_relative(source)]}) to "
            f"{target!r} ({unit[is_relative(target)]}); got None. Pass size=(height, width) of the "
            "image in pixels."
        )
    if is_relative(source):
        return lambda value, axis: value * float(lengths[axis])
    # Dividing rounds once; multiplying by 1 / length would round twice.
    return lambda value, axis: value / float(lengths[axis])
