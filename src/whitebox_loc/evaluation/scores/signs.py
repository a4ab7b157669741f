"""True signs: whether a coordinate grows or shrinks where its evidence brightens."""

from __future__ import annotations

import numpy as np

from whitebox_loc._types import Array, ArrayLike
from whitebox_loc._validation import check_boxes, check_choice
from whitebox_loc.data.render import check_labels
from whitebox_loc.data.scenes import Scene, as_scene, level_range
from whitebox_loc.evaluation.truth import EDGE_SIGNS, evidence_mask


def evidence_signs(
    boxes: ArrayLike,
    scene: Scene,
    coordinate: str = "top",
    *,
    labels: ArrayLike = None,
    images: ArrayLike = None,
) -> Array:
    """Return the sign of a coordinate's change by brightness on its evidence; 0 elsewhere.

    Parameters
    ----------
    boxes : array (n, 4)
        ``yxyx`` in pixels, half open.
    scene : Scene
        Its size; and where the shape is darker than the background all signs turn round.
    coordinate : str, default "top"
        One of the four, or a derived one.
    labels : int array (n,), optional
        Shape of each image, an index in ``scene.shapes``; the first by default.
    images : float array (n, height, width, channels), optional
        Needed for a scene that inverts a share of its images, to tell which.

    Returns
    -------
    int8 array (n, height, width)
        -1, 0 or 1. Where two edges with opposite signs share a pixel it has none: 0.

    Raises
    ------
    ValueError, TypeError
        As `evidence_mask`.

    Examples
    --------
    >>> evidence_signs([[1, 1, 3, 2]], Scene(size=(4, 3)), "center_y")[0]
    array([[ 0, -1,  0],
           [ 0, -1,  0],
           [ 0,  1,  0],
           [ 0,  1,  0]], dtype=int8)
    """
    edges = EDGE_SIGNS[check_choice("coordinate", coordinate, EDGE_SIGNS)]
    scene = as_scene(scene)
    masks = [sign * evidence_of(boxes, scene, edge, labels) for edge, sign in edges.items()]
    total = np.sum(masks, axis=0, dtype=np.int8)
    return (np.sign(total) * polarity(boxes, scene, images)[:, None, None]).astype(np.int8)


def polarity(boxes: ArrayLike, scene: Scene, images: ArrayLike = None) -> Array:
    """Return 1 for each image with a bright shape on a dark background, -1 for the opposite (n,).

    The scene says so, unless it inverts a share of its images: then inside and outside of the
    box are compared. Where there is no outside, as without `images`, none is taken for inverted.
    """
    bright = 1 if level_range(scene.foreground)[0] > level_range(scene.background)[1] else -1
    boxes = np.asarray(boxes)
    if scene.inverted == 1 or not scene.inverted or images is None:
        return np.full(len(boxes), -bright if scene.inverted == 1 else bright)
    grey = np.asarray(images, np.float64).mean(-1)
    rows, columns = np.arange(scene.size[0])[:, None], np.arange(scene.size[1])
    top, left, bottom, right = boxes.T[:, :, None, None]
    inside = (rows >= top) & (rows < bottom) & (columns >= left) & (columns < right)
    area, rest = inside.sum((1, 2)), (~inside).sum((1, 2))
    # Cross-multiplied means: 0 where one of the two parts is missing.
    excess = (grey * inside).sum((1, 2)) * rest - (grey * ~inside).sum((1, 2)) * area
    return np.where(excess == 0, bright, np.sign(excess)).astype(np.int64)


def evidence_of(boxes: ArrayLike, scene: Scene, coordinate: str, labels: ArrayLike = None) -> Array:
    """Return the evidence mask of a coordinate (n, height, width), each image with its shape."""
    boxes = check_boxes("boxes", boxes)
    shapes = [scene.shapes[kind] for kind in check_labels(labels, len(boxes), scene.shapes)]
    return evidence_mask(boxes, scene.size, coordinate, shape=shapes)
