"""Soft rendering in TensorFlow: each pixel is the area that the box covers of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from whitebox_loc._types import ArrayLike, Tensor
from whitebox_loc._validation import check_memory, check_size
from whitebox_loc.boxes._arrays import check_numeric

if TYPE_CHECKING:
    import tensorflow as tf


def render_soft(boxes: ArrayLike, size: tuple[int, int]) -> tf.Tensor:
    """Draw boxes with fractional corners, differentiably in the corners.

    A pixel's brightness is the area of it that the box covers: the product of the covered parts of
    its row and its column. On whole pixels this equals `render` of a plain rectangle.

    Parameters
    ----------
    boxes : array_like or Tensor of float, shape (n, 4)
        Boxes as ``yxyx`` in pixels. What lies outside the image is cut off. NumPy values must
        be finite; the numbers of a tensor are not looked at.
    size : tuple of int
        Height and width of the image in pixels.

    Returns
    -------
    Tensor, shape (n, height, width, 1)
        Brightness in 0..1, of the boxes' dtype (float32 for whole numbers).

    Raises
    ------
    ValueError, TypeError
        If `boxes` does not hold numbers (n, 4), or `size` is not two whole numbers from 1.

    Notes
    -----
    The gradient is that of the covered area. Where an edge lies between two pixels, it is the
    derivative towards the *inside* of the box: exactly one row or column carries it, on the border
    of the image too, and ``d sum(image) / d bottom`` is the width. It is zero for an edge outside
    the image, and for an empty or swapped box, whose image is zero.

    Examples
    --------
    >>> render_soft([[0.0, 0.5, 1.5, 2.0]], size=(2, 3)).numpy()[0, :, :, 0]
    array([[0.5 , 1.  , 0.  ],
           [0.25, 0.5 , 0.  ]], dtype=float32)
    """
    import tensorflow as tf

    height, width = check_size("size", size)
    check_numeric("boxes", boxes)
    boxes = tf.convert_to_tensor(boxes)  # Lists of Python numbers as float32, NumPy's as they are.
    check_memory(
        "size", size, 8.0 * height * width * (boxes.shape[:1].num_elements() or 1), "images"
    )
    if not boxes.shape.is_compatible_with((None, 4)):
        raise ValueError(f"`boxes` must have shape (n, 4); got shape {tuple(boxes.shape)}.")
    if boxes.dtype.is_integer:
        boxes = tf.cast(boxes, tf.float32)
    top, left, bottom, right = tf.unstack(boxes, 4, axis=-1)
    rows = _coverage(top, bottom, height)
    columns = _coverage(left, right, width)
    return (rows[:, :, None] * columns[:, None, :])[..., None]


def _coverage(low: Tensor, high: Tensor, length: int) -> Tensor:
    """Return the covered part of each pixel of a line, ``(n, length)``."""
    import tensorflow as tf

    start = tf.range(length, dtype=low.dtype)
    below_high = high[:, None] - start
    below_low = low[:, None] - start
    zero, one = tf.zeros_like(below_high), tf.ones_like(below_high)
    # The covered part is ramp(high - start) - ramp(low - start). The ramps differ only in which end
    # of their slope passes the gradient, so that each edge moves the pixel inside.
    up_to_high = tf.where(below_high > 1, one, tf.where(below_high <= 0, zero, below_high))
    up_to_low = tf.where(below_low >= 1, one, tf.where(below_low < 0, zero, below_low))
    empty = (high <= low)[:, None]
    return tf.where(empty, zero, up_to_high - up_to_low)
