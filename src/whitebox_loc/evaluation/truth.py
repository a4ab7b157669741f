"""Task truth: the pixels in which the image says where an edge is."""

from __future__ import annotations

from typing import Any

import numpy as np

from whitebox_loc._types import Array, ArrayLike
from whitebox_loc._validation import check_boxes, check_choice, check_int, check_memory, check_size
from whitebox_loc.data import SHAPES, Scene, render

EDGE_SIGNS: dict[str, dict[str, int]] = {
    "top": {"top": -1},
    "left": {"left": -1},
    "bottom": {"bottom": 1},
    "right": {"right": 1},
    "height": {"top": 1, "bottom": 1},
    "width": {"left": 1, "right": 1},
    "center_y": {"top": -1, "bottom": 1},
    "center_x": {"left": -1, "right": 1},
    "area": {"top": 1, "left": 1, "bottom": 1, "right": 1},
}
"""Coordinate to the edges that it depends on, with the sign of its change as their evidence
brightens. A row above the box that lights up moves the top up; a first row that goes dark moves
it down: on both sides of the top edge brighter means smaller."""


def evidence_mask(
    boxes: ArrayLike,
    size: tuple[int, int],
    coordinate: str = "top",
    *,
    shape: Any = "rectangle",
    thickness: int = 1,
) -> Array:
    """Return the pixels on both sides of a coordinate's edge.

    For ``top``, within the columns of the box:

    - outside: the `thickness` rows of pixels just above the box, all of them dark. To light
      one of them moves the edge up, by at most `thickness` pixels.
    - inside: the *lit* pixels of the shape in the first `thickness` rows of the box. To
      darken all of them, and nothing less, moves the edge down by `thickness` pixels.

    So a pixel belongs to the mask if it belongs to a minimal set of pixels that, lit or
    darkened together, move the edge of the shape's bounding box by at most `thickness` pixels.
    The other edges alike. An edge on the border of the image has an inside only. Corners
    inside the box belong to two edges; pixels diagonal to a corner belong to none.

    This is task truth: what the image says. It does not depend on any network. Blur, noise,
    patterns, distractors and occlusion do not change it: it is that of the whole, sharp shape.

    Parameters
    ----------
    boxes : array_like (n, 4)
        Boxes as ``yxyx`` in whole pixels, half open, inside the image.
    size : tuple of int
        Height and width of the image in pixels.
    coordinate : str, default "top"
        ``top``, ``left``, ``bottom`` or ``right``; or ``height``, ``width``, ``center_y``,
        ``center_x`` or ``area``, whose evidence is that of all edges they are made of.
    shape : str or sequence of str, default "rectangle"
        A name in `whitebox_loc.data.SHAPES`, or one for each box, such as
        ``[scene.shapes[label] for label in batch.labels]``.
    thickness : int, default 1
        Rows or columns on each side of the edge.

    Returns
    -------
    bool array (n, height, width)
        All false for an empty box, which draws nothing.

    Raises
    ------
    ValueError, TypeError
        If an argument is not one of the above.

    Examples
    --------
    >>> evidence_mask([[1, 1, 4, 4]], (5, 5))[0].astype(int)
    array([[0, 1, 1, 1, 0],
           [0, 1, 1, 1, 0],
           [0, 0, 0, 0, 0],
           [0, 0, 0, 0, 0],
           [0, 0, 0, 0, 0]])
    """
    height, width = check_size("size", size)
    edges = EDGE_SIGNS[check_choice("coordinate", coordinate, EDGE_SIGNS)]
    # Thicker than the image is as thick as it.
    thickness = min(check_int("thickness", thickness, low=1), max(height, width))
    boxes = check_boxes("boxes", boxes)
    check_memory("size", (height, width), 1.0 * len(boxes) * height * width, "masks")
    lit = _draw(boxes, (height, width), shape)
    corners = boxes.astype(np.int64)
    mask = np.zeros(lit.shape, bool)
    for edge in edges:
        if edge in ("top", "bottom"):
            mask |= _edge_evidence(lit, corners, edge, thickness)
        else:
            # Columns are the rows of the transposed image.
            turned, row = lit.transpose(0, 2, 1), {"left": "top", "right": "bottom"}[edge]
            evidence = _edge_evidence(turned, corners[:, [1, 0, 3, 2]], row, thickness)
            mask |= evidence.transpose(0, 2, 1)
    return mask


def _edge_evidence(lit: Array, boxes: Array, edge: str, thickness: int) -> Array:
    """Return the evidence of ``top`` or ``bottom`` in images whose `lit` pixels are the shape."""
    rows, columns = np.arange(lit.shape[1])[:, None], np.arange(lit.shape[2])
    top, left, bottom, right = boxes.T[:, :, None, None]
    extent = (columns >= left) & (columns < right) & (top < bottom)
    if edge == "top":
        outside = (rows >= top - thickness) & (rows < top)
        inside = (rows >= top) & (rows < top + thickness)
    else:
        outside = (rows >= bottom) & (rows < bottom + thickness)
        inside = (rows >= bottom - thickness) & (rows < bottom)
    # The inside ends with the box, because nothing beyond it is lit.
    return extent & (outside | (inside & lit))


def _draw(boxes: Array, size: tuple[int, int], shape: Any) -> Array:
    """Return the lit pixels (n, height, width) of the sharp shapes; check boxes and shapes."""
    several = isinstance(shape, (list, tuple, np.ndarray))
    names = list(shape) if several else [shape]
    for name in names:
        check_choice("shape", name, SHAPES)
    used = tuple(dict.fromkeys(names)) or ("rectangle",)
    scene = Scene(size=size, shapes=used)
    labels = None
    if several:
        if boxes.ndim == 2 and len(names) != len(boxes):
            raise ValueError(
                f"`shape` must be one name, or one for each of the {len(boxes)} boxes; got "
                f"{len(names)}."
            )
        labels = np.array([used.index(name) for name in names], np.int64)
    return render(boxes, scene, labels=labels, dtype="uint8")[..., 0] > 0
