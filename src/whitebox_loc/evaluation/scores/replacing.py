"""Deletion and insertion: whether the target moves when what the map names is replaced."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from whitebox_loc._types import Array, ArrayLike, Seed
from whitebox_loc._validation import check_bool, check_choice, check_generator, check_int
from whitebox_loc.data import Scene
from whitebox_loc.data.render import render
from whitebox_loc.evaluation.scores.checking import flat
from whitebox_loc.evaluation.scores.rerendering import (
    check_world,
    edge_mass,
    edge_order_area,
    edge_states,
)
from whitebox_loc.evaluation.scores.responses import Responses

SPACINGS = ("log", "linear")

World = tuple[ArrayLike, Scene | None, ArrayLike, int]
"""Boxes, scene, labels and move of the caller."""


def deletion(
    model: keras.Model,
    images: ArrayLike,
    maps: ArrayLike,
    target: Any = "top",
    *,
    fill: str = "black",
    spacing: str = "log",
    steps: int = 16,
    boxes: ArrayLike = None,
    scene: Scene | None = None,
    labels: ArrayLike = None,
    move: int = 1,
    seed: Seed = 0,
    batch_size: int = 256,
    return_curve: bool = False,
) -> Any:
    r"""Return how far the target moves while pixels are replaced, strongest \|a\| first.

    For a class, the paper lets the score fall. A coordinate can move both ways, so that the
    curve is the distance \|f(x_k) - f(x)\| in pixels, x_k with the k strongest pixels replaced;
    the result is its mean. A true map moves the coordinate early and far.

    Parameters
    ----------
    model : keras.Model
    images : float array (n, height, width, channels)
    maps : float array (n, height, width)
    target : default "top"
        As for `saliency`, one target.
    fill : {"black", "mean", "blur", "render"}, default "black"
        What replaces pixels: 0; the image's mean; the image blurred with a standard deviation
        of an eighth of its shorter side; or nothing, since no pixel is edited. With "render" the
        four edges are ranked by the map's mass on the evidence of each, and move one after
        another by `move` pixels in an image that is drawn anew: every image is legal.
    spacing : {"log", "linear"}, default "log"
        At which k the curve is read: 0, 1, 2, 4, ... with each doubling counting alike, so that
        the few pixels of an edge matter; or the paper's equal steps.
    steps : int, default 16
        Number of steps for "linear"; each pixel is one where there are fewer of them.
    boxes, scene, labels
        For "render": true boxes (``yxyx`` pixels), scene and shapes. A scene with random levels
        or noise draws them anew, alike for all variants of an image.
    move : int, default 1
        For "render": pixels that an edge moves outwards; inwards where it is at the border.
    seed : int or Generator, default 0
        Order of pixels that the map does not tell apart; for "render" an int, the appearance.
    batch_size : int, default 256
        Most images in one pass.
    return_curve : bool, default False
        Also return the k and the curves (not for "render").

    Returns
    -------
    float64 array (n,)
        Mean distance in pixels (in the target's unit if it is no coordinate), at least 0.
        Higher is better. NaN with "render" for boxes that leave no legal move.
        With `return_curve` also int (k,) and float64 (n, k).

    Raises
    ------
    ValueError, TypeError
        If an argument is not one of the above, or an image or a map is not finite.

    References
    ----------
    V. Petsiuk et al., "RISE", 2018, arXiv:1806.07421.

    Examples
    --------
    >>> import whitebox_loc as wb
    >>> scene = wb.data.Scene(size=(8, 8))
    >>> batch = wb.data.generate(scene, 2, seed=0)
    >>> model = wb.models.localizer(size=(8, 8))
    >>> maps = wb.introspect.saliency(model, batch.images, "top")
    >>> deletion(model, batch.images, maps, fill="render", boxes=batch.boxes, scene=scene).shape
    (2,)
    """
    responses, world = Responses(model, images, target, batch_size), (boxes, scene, labels, move)
    return _replaced(responses, maps, fill, spacing, steps, world, seed, return_curve, insert=False)


def insertion(
    model: keras.Model, images: ArrayLike, maps: ArrayLike, target: Any = "top", *,
    fill: str = "black", spacing: str = "log", steps: int = 16, boxes: ArrayLike = None,
    scene: Scene | None = None, labels: ArrayLike = None, move: int = 1, seed: Seed = 0,
    batch_size: int = 256, return_curve: bool = False,
) -> Any:  # fmt: skip
    r"""Return how far the target stays from its value while pixels come back, strongest first.

    The mirror of `deletion`: all pixels are replaced at first. The curve is the distance
    \|f(x_k) - f(x)\| in pixels, x_k with all but the k strongest pixels replaced. A true map
    brings the coordinate back early. With ``fill="render"`` all four edges have moved at first.

    Parameters
    ----------
    model, ..., return_curve
        As for `deletion`.

    Returns
    -------
    float64 array (n,)
        Mean distance in pixels, at least 0. Lower is better (the paper's score of a class rises
        instead). Otherwise, with the errors and the paper, as `deletion`.

    Examples
    --------
    >>> import whitebox_loc as wb
    >>> images = wb.data.generate(wb.data.Scene(size=(8, 8)), 2, seed=0).images
    >>> model = wb.models.localizer(size=(8, 8))
    >>> maps = wb.introspect.saliency(model, images, "top")
    >>> scores, counts, curves = insertion(model, images, maps, fill="mean", return_curve=True)
    >>> counts.tolist()
    [0, 1, 2, 4, 8, 16, 32, 64]
    """
    responses, world = Responses(model, images, target, batch_size), (boxes, scene, labels, move)
    return _replaced(responses, maps, fill, spacing, steps, world, seed, return_curve, insert=True)


def _replaced(
    responses: Responses, maps: ArrayLike, fill: str, spacing: str, steps: int, world: World,
    seed: Seed, return_curve: bool, insert: bool,
) -> Any:  # fmt: skip
    maps = responses.check_maps(maps)
    check_bool("return_curve", return_curve)
    scale = responses.pixels_per_unit
    if check_choice("fill", fill, (*FILLS, "render")) == "render":
        if return_curve:
            raise ValueError('`return_curve` must be False with fill="render".')
        return scale * _edges_replaced(responses, maps, world, seed, insert)
    counts, places = _counts(maps[0].size, spacing, steps)
    rank = _ranks(maps, seed)
    filled = FILLS[fill](responses.images)

    def variants(rows: Array, numbers: Array) -> Array:
        first = (rank[rows] < counts[numbers, None, None])[..., None]
        return np.where(first != insert, filled[rows], responses.images[rows])

    before = responses.at(responses.images)[:, None]
    curves = scale * np.abs(responses.of(variants, len(counts)) - before)
    scores = np.trapezoid(curves, places, axis=1) / (places[-1] - places[0])
    return (scores, counts, curves) if return_curve else scores


def _edges_replaced(
    responses: Responses, maps: Array, world: World, seed: Seed, insert: bool
) -> Array:
    boxes, scene, labels, move = world
    boxes, scene = check_world(boxes, scene, responses.images)
    check_int("move", move, low=1, high=max(scene.size))
    check_int("seed", seed, low=0)
    states, legal = edge_states(boxes, scene.size, move)
    values = np.stack(
        [responses.at(render(states[:, s], scene, labels=labels, seed=seed)) for s in range(16)], 1
    )
    mass = edge_mass(maps, boxes, scene, labels)
    area = edge_order_area(np.abs(values - values[:, :1]), mass, insert=insert)
    return np.where(legal, area, np.nan)


def _counts(pixels: int, spacing: str, steps: int) -> tuple[Array, Array]:
    """Return the numbers of pixels at which a curve is read, and their places on its axis."""
    check_int("steps", steps, low=1)
    if check_choice("spacing", spacing, SPACINGS) == "linear":
        # More steps than pixels would meet each number of pixels, too, and some of them twice.
        steps = min(steps, pixels)
        counts = np.unique(np.round(np.linspace(0, pixels, steps + 1)).astype(np.int64))
        return counts, counts.astype(np.float64)
    powers = 2 ** np.arange(int(np.log2(pixels)) + 1)
    counts = np.unique([0, *powers, pixels])
    # 0 is one doubling before 1.
    return counts, np.log2(np.maximum(counts, 0.5))


def _ranks(maps: Array, seed: Seed) -> Array:
    """Return each pixel's place by decreasing |a|, equal ones in random order."""
    size = np.abs(flat(maps))
    chance = check_generator(seed).random(size.shape)
    # Sorting an order gives each pixel's place in it.
    return np.lexsort((chance, -size), axis=1).argsort(axis=1).reshape(maps.shape)


def _blur(images: Array) -> Array:
    from scipy.ndimage import gaussian_filter

    sigma = min(images.shape[1:3]) / 8
    return gaussian_filter(images, (0, sigma, sigma, 0), mode="nearest")


FILLS: dict[str, Callable[[Array], Array]] = {
    "black": np.zeros_like,
    "mean": lambda images: np.broadcast_to(images.mean((1, 2), keepdims=True), images.shape),
    "blur": _blur,
}
"""Name to function from images to what replaces their pixels."""
