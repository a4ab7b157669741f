"""What all figures ask of their arguments: arrays of a shape, names, texts, axes."""

from __future__ import annotations

import numbers
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from whitebox_loc._types import Array, ArrayLike
from whitebox_loc._validation import as_array, check_boxes, shortened

MOST_AXES = 1000
"""A figure of more has no room for any, and takes minutes."""


def check_table(
    name: str, value: ArrayLike, shape: tuple[int | str, ...], why: str = "", *, nan: bool = True
) -> Array:
    """Return an array of numbers as float64; lengths given by a name may be any but 0.

    NaN, which is drawn as a gap, is refused on request; infinity always.
    """
    array = as_array(name, value)
    if array.dtype.kind not in "biuf":
        raise TypeError(f"`{name}` must hold numbers; got an array of dtype {array.dtype}.")
    pairs = zip(shape, array.shape, strict=False)
    fits = all(got > 0 if isinstance(want, str) else got == want for want, got in pairs)
    if array.ndim != len(shape) or not fits:
        expected = f"({', '.join(map(str, shape))}{',' * (len(shape) == 1)})"
        raise ValueError(f"`{name}` must have shape {expected}{why}; got {array.shape}.")
    array = np.asarray(array, np.float64)
    bad = ~np.isfinite(array) if not nan else np.isinf(array)
    if bad.any():
        where = tuple(int(i) for i in np.argwhere(bad)[0])
        raise ValueError(f"`{name}` must be finite; got {array[where]} at index {where}.")
    return array


def check_image(name: str, value: ArrayLike) -> Array:
    """Return an image (height, width) or (height, width, channels); uint8 is divided by 255."""
    ndim = np.ndim(as_array(name, value))
    shape = ("height", "width", "channels") if ndim == 3 else ("height", "width")
    image = check_table(
        name, value, shape, " or (height, width, channels)" * (ndim != 3), nan=False
    )
    return image / 255 if getattr(value, "dtype", None) == np.uint8 else image


def check_box(name: str, value: ArrayLike) -> Array:
    """Return one box (4,), finite."""
    box = check_boxes(name, value)
    if box.shape != (4,):
        raise ValueError(
            f"`{name}` must be one box of shape (4,); got shape {box.shape}. Draw an image of "
            "several boxes with whitebox_loc.plots.detections."
        )
    return box


def check_labels(
    name: str, value: object, count: int | None = None, *, kinds: tuple[type, ...] = (str,)
) -> list[Any]:
    """Return names, at least one or as many as are asked for, as a list."""
    if isinstance(value, str) or not isinstance(value, Iterable):
        raise TypeError(f"`{name}` must be a sequence of names; got {_typed(value)}.")
    names = list(value)
    for index, each in enumerate(names):
        if not isinstance(each, kinds):
            raise TypeError(f"`{name}[{index}]` must be a name; got {_typed(each)}.")
    if len(names) != (count if count is not None else max(len(names), 1)):
        expected = "at least one name" if count is None else f"{count} names"
        raise ValueError(f"`{name}` must hold {expected}; got {len(names)}.")
    return names


ANY_NAME = (str, numbers.Number, tuple)
"""Names of rows that stand for channels and places, too."""


def check_text(name: str, value: object) -> str:
    """Return a title or a label."""
    if not isinstance(value, str):
        raise TypeError(f"`{name}` must be a text; got {_typed(value)}.")
    return value


def check_mapping(name: str, value: object, what: str) -> Mapping[str, Any]:
    """Return a mapping whose keys are names."""
    if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
        raise TypeError(f"`{name}` must be a mapping of names to {what}; got {_typed(value)}.")
    return value


def check_ax(name: str, value: object) -> Axes:
    """Return matplotlib axes."""
    if not isinstance(value, Axes):
        raise TypeError(
            f"`{name}` must be matplotlib axes, or None for a new figure; got {_typed(value)}."
        )
    return value


def check_count(name: str, count: int, what: str) -> int:
    """Return how many axes a figure gets, unless that is beyond reason."""
    if count > MOST_AXES:
        raise ValueError(
            f"`{name}` holds {count:,} {what}; at most {MOST_AXES:,} are drawn. Take a part of it."
        )
    return count


def _typed(value: object) -> str:
    return f"{shortened(value)} of type {type(value).__name__}"
