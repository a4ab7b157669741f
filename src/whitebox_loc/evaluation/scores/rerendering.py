"""Legal variants of an image: its box with some edges moved, drawn anew.

One seed gives image i the same levels and noise whatever its box.
"""

from __future__ import annotations

import itertools

import numpy as np

from whitebox_loc._types import Array, ArrayLike
from whitebox_loc._validation import check_boxes
from whitebox_loc.boxes.moves import are_legal
from whitebox_loc.data.scenes import Scene
from whitebox_loc.evaluation.scores.signs import evidence_of
from whitebox_loc.introspect.targets import COORDINATES

ORDERS = tuple(itertools.permutations(range(4)))


def check_world(boxes: ArrayLike, scene: Scene | None, images: Array) -> tuple[Array, Scene]:
    """Return boxes and scene, which drawing anew needs, if they fit the images."""
    if boxes is None or not isinstance(scene, Scene):
        raise ValueError(
            "`boxes` and `scene` must be given to draw images anew: the true boxes in yxyx pixels "
            f"and the Scene of the images; got {type(boxes).__name__} and {type(scene).__name__}."
        )
    boxes = check_boxes("boxes", boxes)
    if boxes.shape != (len(images), 4):
        raise ValueError(
            f"`boxes` must have shape ({len(images)}, 4), one box for each of the `images`; got "
            f"{boxes.shape}."
        )
    if (*scene.size, scene.channels) != images.shape[1:]:
        raise ValueError(
            f"`scene` must have the size and channels of `images`, {images.shape[1:]}; got "
            f"{(*scene.size, scene.channels)}."
        )
    return boxes.astype(np.int64), scene


def edge_states(boxes: Array, size: tuple[int, int], step: int) -> tuple[Array, Array]:
    """Return boxes (n, 16, 4) with every subset of edges moved, and whether all have area (n,).

    Bit e of a state tells whether edge e (top, left, bottom, right) has moved: outwards by `step`
    pixels, inwards where the border leaves no room.
    """
    height, width = size
    room = np.stack([boxes[:, 0], boxes[:, 1], height - boxes[:, 2], width - boxes[:, 3]], axis=1)
    outward = np.array([-step, -step, step, step])
    moves = np.where(room >= step, outward, -outward)
    bits = (np.arange(16)[:, None] >> np.arange(4)) & 1
    states = boxes[:, None] + bits * moves[:, None]
    # State 0 is the box itself.
    legal: Array = np.all(are_legal(states, size), axis=1)
    return np.where(legal[:, None, None], states, boxes[:, None]), legal


def edge_mass(maps: Array, boxes: Array, scene: Scene, labels: ArrayLike) -> Array:
    """Return the mass |a| (n, 4) that maps have on the evidence of each edge."""
    size = np.abs(maps.astype(np.float64))
    masks = [evidence_of(boxes, scene, edge, labels) for edge in COORDINATES]
    return np.stack([(size * mask).sum((1, 2)) for mask in masks], axis=1)


def edge_order_area(responses: Array, mass: Array, *, insert: bool) -> Array:
    """Return the mean response (n,) while edges move, or `insert` moves back, one by one.

    From the responses (n, 16) in each state of `edge_states`, by decreasing mass (n, 4); edges of
    equal mass come in every order, and the result is the mean over them.
    """
    largest = mass.max(1, keepdims=True)
    # Sums of equal values may differ in their last bits; that makes no order.
    rank = np.round(mass / np.where(largest > 0, largest, 1), 9)
    total, count = np.zeros(len(mass)), np.zeros(len(mass))
    for order in ORDERS:
        states = np.cumsum([0, *(1 << edge for edge in order)])
        curve = responses[:, 15 - states if insert else states]
        fits = (np.diff(rank[:, order], axis=1) <= 0).all(1)
        total += np.where(fits, np.trapezoid(curve, axis=1) / 4, 0)
        count += fits
    return total / count
