"""Faithfulness in numbers: whether the map predicts by how much the target changes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import keras
import numpy as np

from whitebox_loc._types import Array, ArrayLike, Seed
from whitebox_loc._validation import (
    check_bool,
    check_choice,
    check_generator,
    check_int,
    check_numbers,
    check_real,
)
from whitebox_loc.boxes.moves import edge_limits
from whitebox_loc.data import Scene
from whitebox_loc.data.render import render
from whitebox_loc.evaluation.scores.checking import MOST_SAMPLES, check_maps, ratio
from whitebox_loc.evaluation.scores.rerendering import check_world
from whitebox_loc.evaluation.scores.responses import Responses

PERTURBATIONS = ("noise", "square", "render")
"""Kinds of change that `infidelity` makes."""

FARTHEST = 3
"""Most pixels that an edge moves with ``perturbation="render"``."""


def infidelity(
    model: keras.Model,
    images: ArrayLike,
    maps: ArrayLike,
    target: Any = "top",
    *,
    perturbation: str = "noise",
    samples: int = 32,
    noise: float = 0.2,
    side: int | None = None,
    scaled: bool = False,
    relative: bool = False,
    boxes: ArrayLike = None,
    scene: Scene | None = None,
    labels: ArrayLike = None,
    seed: Seed = 0,
    batch_size: int = 256,
) -> Array:
    """Return how badly a map predicts the target's change under random changes of the image.

    The mean over random I of the square of I·a - (f(x) - f(x - I)).

    Parameters
    ----------
    model : keras.Model
    images : float array (n, height, width, channels)
    maps : float array (n, height, width)
        In the target's own unit per unit of brightness (fractions for coordinates), as
        `saliency` returns them.
    target : default "top"
        As for `saliency`, one target.
    perturbation : {"noise", "square", "render"}, default "noise"
        Gaussian noise, alike in all channels; a random square set to black; or one edge of the
        box moved by 1 to 3 pixels in an image that is drawn anew, which leaves it legal.
    samples : int, default 32
        Changes of each image.
    noise : float, default 0.2
        Standard deviation of "noise", in brightness; above 0.
    side : int, optional
        Side of "square" in pixels; a quarter of the image's shorter side by default.
    scaled : bool, default False
        Multiply each map by the factor that suits it best, as the paper does for methods whose
        maps have no unit. It forgives a wrong sign, too.
    relative : bool, default False
        Divide by the mean square of the target's change.
    boxes, scene, labels
        For "render": true boxes (``yxyx`` pixels), scene and shapes. A scene with random levels
        or noise draws them anew.
    seed : int or Generator, default 0
        For "render" an int.
    batch_size : int, default 256
        Most images in one pass.

    Returns
    -------
    float64 array (n,)
        Pixels squared, at least 0; with `relative` a share, 0 to 1 if also `scaled`, NaN if the
        target never changes. Lower is better. A linear model with its gradient has 0. NaN where
        no sample changes the image, such as "square" on a black one: nothing was tried.

    Raises
    ------
    ValueError, TypeError
        If an argument is not one of the above, or an image or a map is not finite.

    Notes
    -----
    Maps are sums over channels. I·a takes the mean of I over channels, which is exact where all
    channels change alike, as in the scenes of this library without noise.

    References
    ----------
    C.-K. Yeh et al., "On the (in)fidelity and sensitivity of explanations", 2019,
    arXiv:1901.09392.

    Examples
    --------
    >>> import whitebox_loc as wb
    >>> images = wb.data.generate(wb.data.Scene(size=(8, 8)), 2, seed=0).images
    >>> model = wb.models.localizer(size=(8, 8))
    >>> maps = wb.introspect.saliency(model, images, "top")
    >>> infidelity(model, images, maps, "top", samples=4).shape
    (2,)
    """
    responses = Responses(model, images, target, batch_size)
    maps = responses.check_maps(maps).astype(np.float64)
    check_int("samples", samples, low=1, high=MOST_SAMPLES)
    check_bool("scaled", scaled)
    check_bool("relative", relative)
    if check_choice("perturbation", perturbation, PERTURBATIONS) == "render":
        boxes, scene = check_world(boxes, scene, responses.images)
        check_int("seed", seed, low=0)
        base = render(boxes, scene, labels=labels, seed=seed)
        variants = _edge_moves(boxes, scene, labels, seed)
    else:
        base = responses.images
        variants = _edited(base, perturbation, noise, side, check_generator(seed))
    before = responses.at(base)
    forecasts, answers = np.empty((2, len(maps), samples))
    some_change = np.zeros(len(maps), bool)
    for sample in range(samples):
        variant = next(variants)
        some_change |= (variant != base).any((1, 2, 3))
        forecasts[:, sample] = ((base - variant).mean(-1, dtype=np.float64) * maps).sum((1, 2))
        answers[:, sample] = before - responses.at(variant)
    error = np.where(some_change, _mean_square(forecasts, answers, scaled), np.nan)
    if not relative:
        return responses.pixels_per_unit**2 * error
    return ratio(error, (answers**2).mean(1))


def completeness_gap(maps: ArrayLike, gap: ArrayLike) -> Array:
    r"""Return the completeness gap as a share of the difference that the map should add up to.

    Parameters
    ----------
    maps : float array (n, height, width)
    gap : float array (n,)
        Sum of the map minus the target's difference to the reference: `SaliencyInfo.gap`.

    Returns
    -------
    float64 array (n,)
        \|gap\| / \|difference\|, at least 0; lower is better. NaN where the target does not
        differ from the reference, and there is nothing to share out.

    Raises
    ------
    ValueError, TypeError
        If a map or a gap is not finite, or there is not one gap a map.

    References
    ----------
    M. Sundararajan et al., "Axiomatic attribution for deep networks", 2017, arXiv:1703.01365.

    Examples
    --------
    >>> completeness_gap([[[1.0, 2.0]]], [0.6])
    array([0.25])
    """
    maps, gap = check_maps(maps), check_numbers("gap", gap)
    if gap.shape != (len(maps),):
        raise ValueError(
            f"`gap` must have shape ({len(maps)},), one for each of the `maps`; got {gap.shape}."
        )
    return ratio(np.abs(gap), np.abs(maps.sum((1, 2), dtype=np.float64) - gap))


def _mean_square(forecasts: Array, answers: Array, scaled: bool) -> Array:
    if scaled:
        power = (forecasts**2).sum(1)
        factor = (forecasts * answers).sum(1) / np.where(power > 0, power, 1)
        forecasts = forecasts * factor[:, None]
    return ((forecasts - answers) ** 2).mean(1)


def _edited(
    images: Array, kind: str, noise: float, side: int | None, rng: np.random.Generator
) -> Iterator[Array]:
    """Yield the images with noise or a black square."""
    n, height, width = images.shape[:3]
    noise = check_real("noise", noise, above=0)
    shorter = min(height, width)
    side = max(1, shorter // 4) if side is None else check_int("side", side, low=1, high=shorter)
    while True:
        if kind == "noise":
            grain = rng.standard_normal((n, height, width, 1), dtype=np.float32)
            yield images - np.float32(noise) * grain
            continue
        row = np.arange(height) - rng.integers(height - side + 1, size=n)[:, None]
        column = np.arange(width) - rng.integers(width - side + 1, size=n)[:, None]
        inside = (row >= 0) & (row < side), (column >= 0) & (column < side)
        yield np.where((inside[0][:, :, None] & inside[1][:, None])[..., None], 0, images)


def _edge_moves(boxes: Array, scene: Scene, labels: ArrayLike, seed: int) -> Iterator[Array]:
    """Yield images with one edge moved by 1 to `FARTHEST` pixels, as far as is legal."""
    rng, rows = np.random.default_rng(seed), np.arange(len(boxes))
    limits = np.stack(edge_limits(boxes, scene.size))
    while True:
        edge = rng.integers(4, size=len(boxes))
        far = rng.integers(1, FARTHEST + 1, size=len(boxes)) * rng.choice([-1, 1], size=len(boxes))
        low, high = limits[:, rows, edge]
        place, variants = boxes[rows, edge], boxes.copy()
        variants[rows, edge] = np.where(low <= high, np.clip(place + far, low, high), place)
        yield render(variants, scene, labels=labels, seed=seed)
