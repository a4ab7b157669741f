"""The response to edges by derivatives, for models that are smooth, and where they are not."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import tensorflow as tf

from whitebox_loc._types import Array, ArrayLike, Model
from whitebox_loc._validation import check_int, check_real, whole_boxes
from whitebox_loc.boxes.formats import COORDINATES
from whitebox_loc.boxes.moves import move_edges
from whitebox_loc.data import Scene, as_scene, render_soft
from whitebox_loc.introspect.interventions import edges
from whitebox_loc.introspect.tracing.refusals import check_answer

NUDGE = 2.0**-10
"""How far from the whole pixel, in pixels, a derivative is taken: far enough that the pixels of
the edge's line are no longer as bright as others and maxima are not tied, near enough that a
brightness times a position up to 1000 keeps its rank."""


@dataclass(frozen=True, eq=False)
class Response(edges.PerBox):
    """Derivatives of predicted coordinates by true edges, on both sides of each edge.

    Attributes
    ----------
    boxes : int64 array (n, 4)
        The true boxes, ``yxyx`` in pixels.
    inside, outside : float64 arrays (n, 4, 4)
        Element [i, j] is the derivative of predicted coordinate i by edge j, in pixels per
        pixel, as the edge starts to move into the box or out of it. `outside` is NaN for an
        edge on the border of the image, both are for an empty box.
    moves : EdgeMoves
        The predicted boxes when edges move by a whole pixel.
    tolerance : float
        Difference in pixels per pixel from which on numbers are said to differ.
    """

    boxes: Array
    inside: Array
    outside: Array
    moves: edges.EdgeMoves
    tolerance: float

    @cached_property
    def per_box(self) -> Array:
        """Jacobian of each box ``(n, 4, 4)``: the mean of the sides that there are."""
        return edges.mean_defined(np.stack([self.inside, self.outside]))

    @cached_property
    def kinked(self) -> Array:
        """Whether the two sides of an edge differ ``(n, 4 edges)``: there is no derivative."""
        return np.asarray(self._differ(self.inside, self.outside).any(axis=1))

    @cached_property
    def curved(self) -> Array:
        """Whether a derivative differs from the move by a pixel to its side ``(n, 4 edges)``."""
        return np.asarray(self._differ(*self._sides_and_moves).any(axis=(0, 2)))

    @property
    def notes(self) -> tuple[str, ...]:
        """One sentence for each edge and way in which the model is not smooth there."""
        sentences = []
        for j, edge in enumerate(COORDINATES):
            where = f"{edge}: on {{:.0%}} of the boxes the derivative"
            if self.kinked[:, j].any():
                sentences.append(
                    f"{where.format(self.kinked[:, j].mean())} into the box and out of it differ "
                    f"({_worst(self.inside, self.outside, j)}); no derivative describes this edge."
                )
            if self.curved[:, j].any():
                sentences.append(
                    f"{where.format(self.curved[:, j].mean())} differs from the move by one pixel "
                    f"({_worst(*self._sides_and_moves, j)}); trust edge_moves."
                )
        return tuple(sentences)

    @cached_property
    def _sides_and_moves(self) -> tuple[Array, Array]:
        """Derivatives into the box and out of it, and the moves to these sides (2, n, 4, 4)."""
        backward, forward = self.moves.by_step
        # Into the box is forward, down or right, for top and left.
        near = np.array([True, True, False, False])
        inward = np.where(near, forward, backward)
        outward = np.where(near, backward, forward)
        return np.stack([self.inside, self.outside]), np.stack([inward, outward])

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        """Return `per_box`."""
        return np.array(self.per_box, dtype=dtype)

    def _differ(self, first: Array, second: Array) -> Array:
        # Undefined numbers compare as equal.
        return np.abs(first - second) > self.tolerance


def response(
    model: Model,
    boxes: ArrayLike,
    scene: Scene | str = "uniform",
    *,
    tolerance: float = 0.1,
    batch_size: int = 64,
) -> Response:
    """Differentiate predicted coordinates by the true edges, through the rendered image.

    The refinement of `edge_moves` for smooth models: the Jacobian through
    `whitebox_loc.data.render_soft`, in which an edge may lie anywhere in a pixel. On a whole
    pixel the rendered image has a kink, since another line of pixels begins to change. So
    each edge is taken a thousandth of a pixel to either side, the others staying where they are.
    Where the model is not smooth, derivatives can be far from what it does when an edge really
    moves; `Response.notes` says where.

    Parameters
    ----------
    model : keras.Model
        As for `edge_moves`; differentiable.
    boxes : array_like (n, 4)
        True boxes as ``yxyx`` in whole pixels, half open, inside the image.
    scene : Scene or str, default "uniform"
        Plain rectangles of two fixed levels; other scenes have no soft rendering.
    tolerance : float, default 0.1
        Difference, in pixels per pixel, from which on derivatives and moves are said to differ.
    batch_size : int, default 64
        Most images in one pass.

    Returns
    -------
    Response
        As an array, the Jacobian (n, 4, 4): [i, j] is the derivative of predicted coordinate
        i by edge j in pixels per pixel.

    Raises
    ------
    ValueError
        If the model does not fit the scene.

    Examples
    --------
    >>> import whitebox_loc as wb
    >>> model = wb.models.localizer(size=(12, 16), head="dense")
    >>> answer = response(model, [[2, 3, 8, 9]], wb.data.Scene(size=(12, 16)))
    >>> answer.matrix.shape, np.asarray(answer).shape, answer.notes
    ((4, 4), (1, 4, 4), ())
    """
    scene = as_scene(scene)
    unusual = edges.unusual_fields(scene)
    if unusual:
        raise ValueError(
            f"`scene` must draw plain rectangles of two fixed levels, which can be drawn softly; "
            f"got {unusual[0]}={getattr(scene, unusual[0])!r}. Use edge_moves."
        )
    boxes = whole_boxes(boxes, scene.size)
    tolerance = check_real("tolerance", tolerance, low=0)
    check_int("batch_size", batch_size, low=1)
    predict = edges.Predictor(model, scene, batch_size)
    sides = np.full((2, len(boxes), 4, 4), np.nan)
    nudges = np.array([NUDGE, -NUDGE], np.float32)
    nudged, legal = move_edges(boxes.astype(np.float32), nudges, scene.size)
    for side, edge in np.ndindex(2, 4):
        # Down and right leads into the box from top and left, out of it from bottom and right.
        nudge = side if edge < 2 else 1 - side
        (rows,) = np.nonzero(legal[:, nudge, edge])
        for start in range(0, len(rows), batch_size):
            part = rows[start : start + batch_size]
            slopes = _slopes(predict, nudged[part, nudge, edge], scene, edge)
            sides[side, part, :, edge] = slopes
    moves = edges.edge_moves(model, boxes, scene, batch_size=batch_size)
    return Response(boxes, sides[0], sides[1], moves, tolerance)


def _slopes(predict: edges.Predictor, boxes: Array, scene: Scene, edge: int) -> Array:
    """Return derivatives (m, 4) of the predicted boxes by one edge, in pixels per pixel."""
    corners = tf.constant(boxes)
    contrast = float(scene.foreground) - float(scene.background)  # type: ignore[arg-type]
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(corners)
        soft = render_soft(corners, scene.size)
        images = scene.background + contrast * tf.repeat(soft, scene.channels, axis=-1)
        # The chain rule by hand: the model's own derivatives come from its compiled pass, which
        # must not be recorded. TensorFlow has no second derivatives of loops.
        with tape.stop_recording():
            weights = predict.query.gradients(images, np.zeros(len(boxes), np.int64))
            check_answer("Derivatives", weights.numpy(), predict.query.model)
        sums = [tf.reduce_sum(images * w) for w in tf.unstack(weights)]
    slopes = [tape.gradient(total, corners)[:, edge].numpy() for total in sums]
    return np.stack(slopes, axis=-1).astype(np.float64) * predict.scale


def _worst(first: Array, second: Array, edge: int) -> str:
    """Return as text the answers (..., 4) to an edge that differ most, and of which coordinate."""
    pair = np.stack([first[..., edge], second[..., edge]])
    size = np.abs(pair[0] - pair[1])
    where = np.unravel_index(np.nanargmax(size), size.shape)
    # As many digits as it takes to see the difference.
    digits = max(2, 1 - math.floor(math.log10(size[where])))
    one, other = (f"{values[where]:.{digits}f}" for values in pair)
    return f"at most {one} against {other} pixels per pixel, for {COORDINATES[where[-1]]}"
