"""Overlap of boxes: IoU, GIoU, DIoU and CIoU, exact where they can be, finite everywhere.

No epsilon enters a ratio. Areas and squared lengths below the smallest normal float32 (1.2e-38)
count as zero, and a ratio over zero is 0. Gradients grow like one over the shorter side, as they
must, and are finite for sides of 0 or at least 1e-30.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from whitebox_loc._types import Array, ArrayLike
from whitebox_loc._validation import check_bool, check_choice
from whitebox_loc.boxes._arrays import align, as_boxes, check_numeric, namespace
from whitebox_loc.boxes.formats import FORMATS, is_relative, to_columns

Size = tuple[int, int] | None

# Below it, 1 / area overflows float32 and with it the gradient.
_ZERO = float(np.finfo(np.float32).tiny)


def iou(
    a: ArrayLike, b: ArrayLike, format: str = "yxyx", *, pairwise: bool = False, size: Size = None
) -> ArrayLike:
    """Intersection over union: the share of the two boxes' joint area that both cover.

    Parameters
    ----------
    a, b : array_like or tensor, shape (..., 4)
        Boxes in `format`; leading dimensions broadcast.
    format : str
        Format of both, a name from `FORMATS`. Relative boxes need no image size.
    pairwise : bool
        Compare every box of `a`, shape (..., n, 4), with every box of `b`, shape (..., m, 4).
    size : (height, width), optional
        Image size in pixels, to measure relative boxes in pixels. It changes only
        the distances of `diou` and `ciou`: areas all shrink by the same factor.

    Returns
    -------
    array or tensor, shape (...) or (..., n, m)
        In [0, 1]: 1 exactly for equal boxes with area, 0 if one of them is empty.
        NumPy computes in float64; tensors in their own dtype, halves in float32.

    Raises
    ------
    ValueError, TypeError
        In NumPy, for boxes that are not finite, have swapped corners (or negative sizes), or do not
        broadcast. Tensors never raise for their values: there a swapped box is an empty one.

    References
    ----------
    P. Jaccard, "The distribution of the flora in the alpine zone", New Phytologist, 1912.

    Examples
    --------
    >>> iou([[0, 0, 4, 4]], [[0, 0, 4, 4], [0, 0, 2, 4], [9, 9, 9, 9]], pairwise=True)
    array([[1. , 0.5, 0. ]])
    """
    return _iou_and_union(_pair(a, b, format, pairwise, size))[0]


def giou(
    a: ArrayLike, b: ArrayLike, format: str = "yxyx", *, pairwise: bool = False, size: Size = None
) -> ArrayLike:
    """Generalized IoU: IoU minus the share of the enclosing box that neither box covers.

    Parameters, shapes and errors are those of `iou`. The value lies in (-1, 1], at most at the
    IoU; -1 is reached only by boxes without area, and without area around them it is the IoU.

    References
    ----------
    H. Rezatofighi et al., "Generalized Intersection over Union", CVPR 2019.

    Examples
    --------
    >>> giou([[0, 0, 2, 2]], [[0, 6, 2, 8]])
    array([-0.5])
    """
    pair = _pair(a, b, format, pairwise, size)
    overlap, union = _iou_and_union(pair)
    height, width = _hull(pair)
    hull = height * width
    # A hull is never smaller than the union; only rounding can say so.
    return overlap - _ratio(pair.xp, pair.xp.maximum(hull - union, 0.0), hull)


def diou(
    a: ArrayLike, b: ArrayLike, format: str = "yxyx", *, pairwise: bool = False, size: Size = None
) -> ArrayLike:
    """Distance IoU: IoU minus the squared ratio of centre distance to enclosing diagonal.

    Parameters, shapes and errors are those of `iou`. The value lies in (-1, 1] for
    boxes with area. Relative boxes are measured in fractions, where an image that is not
    square is distorted; give `size` to measure distances in pixels.

    References
    ----------
    Z. Zheng et al., "Distance-IoU Loss", AAAI 2020.

    Examples
    --------
    >>> diou([[0, 0, 3, 4]], [[0, 4, 3, 8]]).round(4)
    array([-0.2192])
    """
    pair = _pair(a, b, format, pairwise, size)
    return _iou_and_union(pair)[0] - _distance(pair)


def ciou(
    a: ArrayLike, b: ArrayLike, format: str = "yxyx", *, pairwise: bool = False, size: Size = None
) -> ArrayLike:
    """Complete IoU: DIoU minus ``alpha * v``, a penalty on different aspect ratios.

    ``v = 4 / pi**2 * (atan(w_a / h_a) - atan(w_b / h_b))**2`` and
    ``alpha = v / (1 - IoU + v)``, which is a constant to the gradient. A box without
    height and width counts as square. Parameters, shapes and errors are those of `iou`; for
    `size` see `diou`. The value lies in (-1.5, 1] for boxes with area.

    References
    ----------
    Z. Zheng et al., "Distance-IoU Loss", AAAI 2020, equations 8 to 11.

    Examples
    --------
    >>> ciou([[0, 0, 2, 2]], [[0, 0, 2, 2]])
    array([1.])
    """
    pair = _pair(a, b, format, pairwise, size)
    overlap, _ = _iou_and_union(pair)
    return overlap - _distance(pair) - _aspect_penalty(pair, overlap)


class _Pair(NamedTuple):
    """Two broadcastable sets of boxes as (top, left, bottom, right), each of shape (...)."""

    xp: Any
    a: tuple[ArrayLike, ...]
    b: tuple[ArrayLike, ...]


def _pair(a: ArrayLike, b: ArrayLike, format: str, pairwise: bool, size: Size) -> _Pair:
    check_choice("format", format, FORMATS)
    xp = namespace(a, b)
    if xp is not np:
        check_numeric("a", a)
        check_numeric("b", b)
        a, b = align(a, b)
    a, b = as_boxes("a", a, xp, halves=False), as_boxes("b", b, xp, halves=False)
    if check_bool("pairwise", pairwise):
        _check_rank("a", a)
        _check_rank("b", b)
    if xp is np:
        a, b = a.astype(np.float64), b.astype(np.float64)
        _check_order("a", a, format)
        _check_order("b", b, format)
        _check_broadcast(a, b, pairwise)
    corners = "rel_yxyx" if is_relative(format) and size is None else "yxyx"
    first = to_columns(a, format, corners, size)
    second = to_columns(b, format, corners, size)
    if pairwise:
        first = tuple(column[..., :, None] for column in first)
        second = tuple(column[..., None, :] for column in second)
    return _Pair(xp, first, second)


def _iou_and_union(pair: _Pair) -> tuple[ArrayLike, ArrayLike]:
    """Return IoU and joint area; both swapped and empty boxes have area 0."""
    xp, (top_a, left_a, bottom_a, right_a), (top_b, left_b, bottom_b, right_b) = pair
    height = xp.minimum(bottom_a, bottom_b) - xp.maximum(top_a, top_b)
    width = xp.minimum(right_a, right_b) - xp.maximum(left_a, left_b)
    shared = xp.maximum(height, 0.0) * xp.maximum(width, 0.0)
    height_a, width_a = _sides(xp, pair.a)
    height_b, width_b = _sides(xp, pair.b)
    # For equal boxes A + A - A is A without rounding, so the ratio is exactly 1.
    union = height_a * width_a + height_b * width_b - shared
    return _ratio(xp, shared, union), union


def _hull(pair: _Pair) -> tuple[ArrayLike, ArrayLike]:
    """Return height and width of the smallest box around all corners of both, also swapped ones."""
    xp, (top_a, left_a, bottom_a, right_a), (top_b, left_b, bottom_b, right_b) = pair

    def extent(*sides: ArrayLike) -> ArrayLike:
        low_a, high_a, low_b, high_b = sides
        high = xp.maximum(xp.maximum(high_a, low_a), xp.maximum(high_b, low_b))
        return high - xp.minimum(xp.minimum(low_a, high_a), xp.minimum(low_b, high_b))

    return extent(top_a, bottom_a, top_b, bottom_b), extent(left_a, right_a, left_b, right_b)


def _distance(pair: _Pair) -> ArrayLike:
    """Return the squared distance of the centres over the squared diagonal of the hull."""
    xp, (top_a, left_a, bottom_a, right_a), (top_b, left_b, bottom_b, right_b) = pair
    down = 0.5 * (top_a + bottom_a) - 0.5 * (top_b + bottom_b)
    across = 0.5 * (left_a + right_a) - 0.5 * (left_b + right_b)
    height, width = _hull(pair)
    return _ratio(xp, down * down + across * across, height * height + width * width)


def _aspect_penalty(pair: _Pair, overlap: ArrayLike) -> ArrayLike:
    turn = _aspect(pair.xp, pair.a) - _aspect(pair.xp, pair.b)
    v = (4 / math.pi**2) * turn * turn
    alpha = _ratio(pair.xp, v, 1.0 - overlap + v)
    return _constant(pair.xp, alpha) * v


def _aspect(xp: Any, corners: tuple[ArrayLike, ...]) -> ArrayLike:
    """Return atan(width / height), with the gradient of a box of any scale finite."""
    # The derivative of atan2 divides by h**2 + w**2, which underflows for tiny boxes. Divided by
    # the longer side, taken as a constant, the sum of squares is at least 1.
    height, width = _sides(xp, corners)
    longest = xp.maximum(height, width)
    solid = longest > _ZERO
    scale = _constant(xp, xp.where(solid, longest, 1.0))
    return xp.arctan2(xp.where(solid, width / scale, 1.0), xp.where(solid, height / scale, 1.0))


def _sides(xp: Any, corners: tuple[ArrayLike, ...]) -> tuple[ArrayLike, ArrayLike]:
    top, left, bottom, right = corners
    return xp.maximum(bottom - top, 0.0), xp.maximum(right - left, 0.0)


def _ratio(xp: Any, numerator: ArrayLike, denominator: ArrayLike) -> ArrayLike:
    """Return the ratio, or 0 over zero; NaN over NaN."""
    # The inner `where` keeps the branch that is not taken from dividing by zero, because its NaN
    # gradient would come through the outer one: 0 * NaN is NaN.
    # NaN is greater than nothing, and must not become 0. Not the negation of "at most": TensorFlow
    # takes it for "greater" when it optimizes a graph.
    positive = (denominator > _ZERO) | xp.isnan(denominator)
    return xp.where(positive, numerator / xp.where(positive, denominator, 1.0), 0.0)


def _constant(xp: Any, value: ArrayLike) -> ArrayLike:
    return value if xp is np else xp.stop_gradient(value)


def _check_order(name: str, boxes: Array, format: str) -> None:
    sized = ("rel_" if is_relative(format) else "") + "yxhw"
    sides = to_columns(boxes, format, sized)[2:]
    for side, word, low, high in zip(
        sides, ("height", "width"), ("top", "left"), ("bottom", "right"), strict=True
    ):
        wrong = np.argwhere(side < 0)
        if len(wrong):
            where = tuple(int(i) for i in wrong[0])
            raise ValueError(
                f"`{name}` must hold boxes of {word} >= 0; box {where} is "
                f"{boxes[where].tolist()} in format {format!r}, of {word} {side[where]:g}. "
                f"Swap its {low} and {high}, or pass the `format` the boxes are written in."
            )


def _check_rank(name: str, boxes: ArrayLike) -> None:
    if len(boxes.shape) < 2:
        raise ValueError(
            f"`{name}` must have shape (..., n, 4) with pairwise=True; "
            f"got shape {tuple(boxes.shape)}. Put a single box in a list."
        )


def _check_broadcast(a: Array, b: Array, pairwise: bool) -> None:
    drop = -2 if pairwise else -1
    try:
        np.broadcast_shapes(a.shape[:drop], b.shape[:drop])
    except ValueError:
        raise ValueError(
            f"`a` and `b` must hold the same number of boxes, or broadcast; got shapes {a.shape} "
            f"and {b.shape}. Use pairwise=True to compare every box of `a` with every box of `b`."
        ) from None
