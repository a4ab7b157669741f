"""A saliency method made of legal images: what each moved edge does, on the pixels it changes."""

from __future__ import annotations

from typing import Any

import numpy as np

from whitebox_loc._types import Array, ArrayLike
from whitebox_loc._validation import as_array, check_int, whole_boxes
from whitebox_loc.data import Scene, as_scene, render
from whitebox_loc.data.scenes import level_range
from whitebox_loc.introspect.methods.intervention.copied_edges import (
    Moves,
    copied_maps,
    legal_moves,
)
from whitebox_loc.introspect.methods.record import Maps
from whitebox_loc.introspect.methods.reference_boxes import boxes_of_rows
from whitebox_loc.introspect.targets.query import Query


def edge_move(
    query: Query,
    *,
    boxes: ArrayLike = None,
    scene: Any = None,
    labels: ArrayLike = None,
    step: int = 1,
) -> Maps:
    """Share what the target does when an edge moves among the pixels that the move changes.

    Each edge of an image's box moves `step` pixels out and in, where the box stays in the
    image and keeps area: up to eight other legal images. If a move changes pixels by d and
    the target by t, it gives each pixel ``t d / sum(d**2)``: the smallest map whose products
    with the changes add up to t. So the map is signed like a derivative: above and below the top
    edge, brighter is a smaller top. The maps of all moves are added up: a pixel inside a corner
    belongs to two edges. Pixels that no move changes have 0, and the map of an empty box is 0.

    `boxes` are ``yxyx`` in pixels, one an image or one for all; by default the bounding box
    of the pixels nearer to the brightest than to the darkest of the image (to the darkest, if the
    scene's foreground is the darker). With a `scene` and the `labels` of its shapes, the
    difference of the two clean renders, sharp or blurred but without noise, patterns and
    distractors, is added to the image and cut at 0 and 1. Without one, the line next to the edge
    is copied, which draws the same as the scene for plain rectangles; beyond the border lies the
    darkest brightness of the image.
    """
    step = check_int("step", step, low=1, high=max(query.images.shape[1:3]))
    size = query.images.shape[1:3]
    if scene is not None:
        scene = as_scene(scene)
        if scene.size != size:
            raise ValueError(
                f"`scene` must be of the images' size, {size}; got {scene.size}. Use "
                "as_scene(scene, size=...)."
            )
    corners = _all_boxes(boxes, query, scene)
    kinds = _all_labels(labels, query, scene)
    moves = legal_moves(corners, step, size)
    if scene is None:
        return Maps(copied_maps(query, corners, moves))
    return Maps(_redrawn_maps(query, corners, moves, scene, kinds))


def _redrawn_maps(query: Query, boxes: Array, moves: Moves, scene: Scene, labels: Array) -> Array:
    """Return the maps of moves that are drawn as the scene draws."""
    start = query.values_everywhere().astype(np.float64)
    maps = np.zeros((query.targets, *query.images.shape[:3]))
    for first in range(0, len(moves), query.batch_size):
        part = moves[first : first + query.batch_size]
        rows = part.rows
        moved = _redrawn_images(query.images, boxes, part, scene, labels)
        change = moved - query.images[rows]
        effect = query.values(moved, rows).numpy() - start[:, rows]
        size = np.square(change, dtype=np.float64).sum((1, 2, 3))
        share = effect / np.where(size > 0, size, 1.0)
        change = change.sum(-1, dtype=np.float64)
        for index, row in enumerate(rows):
            maps[:, row] += share[:, index, None, None] * change[index]
    return maps.astype(np.float32)


def _redrawn_images(
    images: Array, boxes: Array, moves: Moves, scene: Scene, labels: Array
) -> Array:
    """Return the versions of images with one edge moved, (moves, height, width, channels)."""
    return np.stack(
        [
            _redrawn(images[row], boxes[row], edge, place, scene, int(labels[row]))
            for row, edge, place in zip(moves.rows, moves.edges, moves.places, strict=True)
        ]
    )


def _redrawn(image: Array, box: Array, edge: int, place: int, scene: Scene, label: int) -> Array:
    """Return the image with an edge moved: plus the difference of two clean renders."""
    moved = box.copy()
    moved[edge] = place
    # Of a range of blurs, which of them the image has is not known.
    blur = sum(level_range(scene.blur)) / 2
    clean = Scene(size=scene.size, shapes=scene.shapes, blur=blur)
    before, after = render(np.stack([box, moved]), clean, labels=[label, label])
    contrast = _contrast(image, before[..., 0], scene)
    difference = (after - before).astype(np.float64) * contrast
    redrawn = np.clip(image + difference, 0.0, 1.0).astype(np.float32)
    return np.where(difference != 0, redrawn, image)


def _contrast(image: Array, shape: Array, scene: Scene) -> Array:
    """Return brightness of the shape minus that of the background (channels,)."""
    front, back = (level_range(level) for level in (scene.foreground, scene.background))
    if front[0] == front[1] and back[0] == back[1] and not scene.inverted:
        return np.full(image.shape[-1], np.float64(front[0]) - back[0])
    # Levels drawn for each image: the medians of both parts, which noise leaves alone. Blur can
    # leave a small shape darker than half.
    lit = shape > shape.max() / 2
    dark = image[~lit] if (~lit).any() else np.full((1, image.shape[-1]), sum(back) / 2)
    return np.median(image[lit], axis=0).astype(np.float64) - np.median(dark, axis=0)


def _all_boxes(boxes: ArrayLike, query: Query, scene: Scene | None) -> Array:
    """Return a box for each image: the given ones, or those found in the images."""
    if boxes is None:
        if scene is not None and scene.inverted:
            raise ValueError(
                f"`boxes` must be given for a scene that inverts images, inverted="
                f"{scene.inverted}: bright pixels do not show where the box is; got None."
            )
        inverted = scene is not None and (
            level_range(scene.foreground)[0] < level_range(scene.background)[0]
        )
        return np.stack([_find_box(-image if inverted else image) for image in query.images])
    height, width = query.images.shape[1:3]
    return whole_boxes(boxes_of_rows(boxes, query), (height, width))


def _find_box(image: Array) -> Array:
    """Return the bounding box of the pixels nearer to the brightest than to the darkest."""
    brightness = image.mean(axis=-1, dtype=np.float64)
    lit = brightness > (brightness.min() + brightness.max()) / 2
    if not lit.any():
        return np.zeros(4, np.int64)
    (rows,), (columns,) = np.nonzero(lit.any(axis=1)), np.nonzero(lit.any(axis=0))
    return np.array([rows[0], columns[0], rows[-1] + 1, columns[-1] + 1])


def _all_labels(labels: ArrayLike, query: Query, scene: Scene | None) -> Array:
    """Return the number of each image's shape."""
    if labels is None:
        return np.zeros(len(query), np.int64)
    numbers, count = as_array("labels", labels), 1 if scene is None else len(scene.shapes)
    if scene is None or numbers.shape != (query.given,) or numbers.dtype.kind not in "iu":
        raise ValueError(
            f"`labels` must be whole numbers of shape ({query.given},), one an image, beside a "
            f"`scene` that has the shapes; got {labels!r} and scene={scene!r}."
        )
    if numbers.size and not 0 <= numbers.min() <= numbers.max() < count:
        raise ValueError(
            f"`labels` must lie in 0 .. {count - 1}, the scene's shapes {scene.shapes}; got "
            f"{numbers.min()} .. {numbers.max()}."
        )
    return numbers[query.rows]
