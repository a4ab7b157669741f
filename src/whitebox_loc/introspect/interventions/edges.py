"""The predicted box of a model when one true edge moves."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from whitebox_loc._statistics import bootstrap_interval
from whitebox_loc._types import Array, ArrayLike, Model, Seed
from whitebox_loc._validation import (
    as_array,
    check_int,
    check_ints,
    check_model,
    shortened,
    whole_boxes,
)
from whitebox_loc.boxes.formats import COORDINATES
from whitebox_loc.boxes.moves import move_edges
from whitebox_loc.data import Scene, as_scene, render
from whitebox_loc.data.sampling import branch, seed_root
from whitebox_loc.introspect.targets import as_target
from whitebox_loc.introspect.targets.query import Query
from whitebox_loc.introspect.tracing.inputs import Inputs
from whitebox_loc.introspect.tracing.refusals import check_answer


class PerBox:
    """The mean over boxes of a response ``per_box`` (n, 4, 4), and its interval."""

    @property
    def per_box(self) -> Array:
        """Response of each box; see the classes below."""
        raise NotImplementedError

    @cached_property
    def matrix(self) -> Array:
        """Mean response over boxes ``(4, 4)``: the identity for a perfect model.

        Element [i, j] is the change of predicted coordinate i per pixel that edge j moves, in
        pixels, NaN where no box has a legal move.
        """
        return mean_defined(self.per_box)

    @cached_property
    def interval(self) -> Array:
        """Lower and upper ends ``(2, 4, 4)`` of 95% bootstrap intervals of `matrix` over boxes."""
        return np.stack(bootstrap_interval(self.per_box))


@dataclass(frozen=True, eq=False)
class EdgeMoves(PerBox):
    """The predicted boxes of a model when one true edge moves.

    Attributes
    ----------
    boxes : int64 array (n, 4)
        The true boxes, ``yxyx`` in pixels.
    steps : tuple of int
        By how many pixels an edge moves; above 0 is down or right.
    base : float64 array (n, 4)
        Predicted boxes of the unmoved images, ``yxyx`` in pixels.
    predictions : float64 array (n, steps, 4 edges, 4 coordinates)
        Predicted boxes of the moved images, in pixels; NaN where a move is not legal.
    legal : bool array (n, steps, 4)
        Whether the moved box still lies in the image and has area.
    """

    boxes: Array
    steps: tuple[int, ...]
    base: Array
    predictions: Array
    legal: Array

    @cached_property
    def per_box(self) -> Array:
        """Response of each box ``(n, 4, 4)``: the mean over its legal moves.

        Element [i, j] as in `matrix`. With the steps -1 and 1, both legal, it is the central
        difference. NaN where no move of the edge is legal.
        """
        return mean_defined(self.by_step)

    @cached_property
    def by_step(self) -> Array:
        """Response of each box to each step ``(steps, n, 4, 4)``, NaN where it is not legal."""
        steps = np.array(self.steps, np.float64)[:, None, None]
        slopes = (self.predictions - self.base[:, None, None, :]) / steps
        return slopes.transpose(1, 0, 3, 2)


def edge_moves(
    model: Model,
    boxes: ArrayLike,
    scene: Scene | str = "uniform",
    *,
    labels: ArrayLike = None,
    steps: int | Sequence[int] = (-1, 1),
    batch_size: int = 256,
    seed: Seed = 0,
) -> EdgeMoves:
    """Move one true edge, draw a legal image of it, and read all four predictions.

    Unlike masked or blurred images, the moved ones are images of the task.

    Parameters
    ----------
    model : keras.Model
        Any model of one image input with one output of shape (n, 4), ``rel_yxyx`` boxes in
        fractions, or one named ``"box"``.
    boxes : array_like (n, 4)
        True boxes as ``yxyx`` in whole pixels, half open, inside the image.
    scene : Scene or str, default "uniform"
        What is drawn, of the size that the model takes. Its limits on sides and position
        do not bind the moved boxes.
    labels : array_like of int (n,), optional
        Index in ``scene.shapes`` of each image's shape; the first by default.
    steps : int or sequence of int, default (-1, 1)
        By how many pixels each edge moves, one at a time; none is 0.
    batch_size : int, default 256
        Most images drawn and shown at a time.
    seed : int, SeedSequence or Generator, default 0
        Source of the random part of the appearance. Each image has its own, and keeps it in
        all its moves; a texture moves with the upper left corner, an occlusion with the box.

    Raises
    ------
    ValueError
        If the model does not fit the scene.

    Examples
    --------
    >>> import whitebox_loc as wb
    >>> model = wb.models.localizer(size=(12, 16))
    >>> moves = edge_moves(model, [[2, 3, 8, 9], [0, 1, 5, 7]], wb.data.Scene(size=(12, 16)))
    >>> moves.matrix.shape, moves.predictions.shape
    ((4, 4), (2, 2, 4, 4))
    >>> moves.legal[1, 0].tolist()  # at the upper border, the top cannot move up
    [False, True, True, True]
    """
    scene = as_scene(scene)
    boxes = whole_boxes(boxes, scene.size)
    n = len(boxes)
    if labels is not None:
        labels = as_array("labels", labels)
        if labels.shape != (n,):
            raise ValueError(
                f"`labels` must have shape ({n},), one a box; got shape {labels.shape}."
            )
    steps = _check_steps(steps)
    check_int("batch_size", batch_size, low=1)
    moved, legal = move_edges(boxes, np.array(steps), scene.size)
    # The unmoved image comes first among those of a box.
    moves = 4 * len(steps)
    variants = np.concatenate([boxes[:, None], moved.reshape(n, moves, 4)], axis=1)
    needed = np.concatenate([np.ones((n, 1), bool), legal.reshape(n, moves)], axis=1)
    predicted = np.full((*needed.shape, 4), np.nan)
    image, variant = np.nonzero(needed)
    look = Look(scene, labels, seed)
    predict = Predictor(model, scene, batch_size)
    for start in range(0, len(image), batch_size):
        part = image[start : start + batch_size], variant[start : start + batch_size]
        predicted[part] = predict(look.draw(variants[part], part[0]))
    after = predicted[:, 1:].reshape(*legal.shape, 4)
    return EdgeMoves(boxes, steps, predicted[:, 0], after, legal)


def mean_defined(values: Array) -> Array:
    """Return means over the first axis without NaN; NaN where nothing else is left."""
    count = np.isfinite(values).sum(axis=0)
    return np.where(count > 0, np.nansum(values, axis=0) / np.maximum(count, 1), np.nan)


class Predictor:
    """Predicted boxes (m, 4) of images, ``yxyx`` in pixels."""

    def __init__(self, model: Model, scene: Scene, batch_size: int) -> None:
        shape = (*scene.size, scene.channels)
        _check_fit(check_model(model), shape)
        self.scale = np.array([*scene.size, *scene.size], np.float64)
        targets = [as_target(name) for name in COORDINATES]
        blank = Inputs(np.zeros((1, *shape), np.float32), (), 0)
        self.query = Query(model, blank, targets, "identity", batch_size)

    def __call__(self, images: Array) -> Array:
        """Return the predicted boxes of images, in pixels, float64."""
        values = self.query.values(images, np.zeros(len(images), np.int64))
        # NaN stands for moves that are not legal, and for nothing else.
        boxes = check_answer("Predicted boxes", values.numpy(), self.query.model)
        return boxes.T.astype(np.float64) * self.scale


class Look:
    """The appearance of n images, each with a random part of its own that moves do not change."""

    def __init__(self, scene: Scene, labels: Array | None, seed: Seed) -> None:
        self.scene, self.labels = scene, labels
        self.root = seed_root(seed)
        blur = ("blur",) if isinstance(scene.blur, float) else ()
        self.fixed = not unusual_fields(scene, ("shapes", *blur))

    def draw(self, boxes: Array, numbers: Array) -> Array:
        """Draw `boxes`, versions of the images `numbers`."""
        labels = None if self.labels is None else self.labels[numbers]
        if self.fixed:
            return render(boxes, self.scene, labels=labels)
        images = np.empty((len(boxes), *self.scene.size, self.scene.channels), np.float32)
        for i, number in enumerate(numbers.tolist()):
            label = None if labels is None else labels[i : i + 1]
            seed = branch(self.root, number)
            images[i] = render(boxes[i : i + 1], self.scene, labels=label, seed=seed)[0]
        return images


# What decides which boxes a scene draws, and the two levels.
_COMMON = (
    "size", "channels", "heights", "widths", "short_side", "aspect", "position", "region", "split",
    "foreground", "background",
)  # fmt: skip


def unusual_fields(scene: Scene, allowed: Sequence[str] = ()) -> list[str]:
    """Return the fields that make images differ from plain rectangles of two fixed levels."""
    levels = [n for n in ("foreground", "background") if not isinstance(getattr(scene, n), float)]
    return levels + [
        field.name
        for field in dataclasses.fields(scene)
        if field.name not in (*_COMMON, *allowed) and getattr(scene, field.name) != field.default
    ]


def _check_steps(steps: Any) -> tuple[int, ...]:
    # No image has as many pixels; far larger ones overflow where they are added to boxes.
    shifts = tuple(check_ints("steps", steps, low=-(10**6), high=10**6))
    if 0 in shifts or len(set(shifts)) < len(shifts):
        raise ValueError(
            "`steps` must be whole numbers of pixels, none 0 and none twice; got "
            f"{shortened(steps)}."
        )
    return shifts


def _check_fit(model: Model, shape: tuple[int, ...]) -> None:
    """Refuse models of several inputs, and of images that the scene does not draw."""
    try:
        expected = model.input_shape
    except (AttributeError, ValueError):
        return
    one = isinstance(expected, tuple) and len(expected) == 4
    if not one or not isinstance(expected[1], int | None):
        raise ValueError(
            f"`model` must take one image array, or the scene cannot draw what it takes; model "
            f"{model.name!r} takes {expected}."
        )
    if any(w not in (None, s) for w, s in zip(expected[1:], shape, strict=True)):
        raise ValueError(
            f"`scene` must draw what the model takes, images of shape {expected[1:]}; its images "
            f"have shape {shape}. Use as_scene(scene, size=..., channels=...)."
        )
