"""Baselines: constant images, images of the caller, or images of a scene."""

from __future__ import annotations

import numpy as np

from whitebox_loc._types import Array, ArrayLike
from whitebox_loc._validation import as_array, shortened
from whitebox_loc.data import SCENES, Scene, as_scene, generate
from whitebox_loc.introspect.targets.query import Query


def baseline_images(baseline: ArrayLike, shape: tuple[int, ...], count: int = 8) -> Array:
    """Return what an option `baseline` stands for as images (b, height, width, channels).

    A number is a constant image; an array of the shape of an image is one image; a
    sequence of numbers or an array of images are several. A scene, or the name of one, is
    `count` of its images, those that it generates with seed 0.
    """
    if isinstance(baseline, Scene) or (isinstance(baseline, str) and baseline in SCENES):
        baseline = _scene_images(baseline, shape, count)
    array = as_array("baseline", baseline)
    if array.dtype.kind not in "iuf":
        raise TypeError(
            "`baseline` must be a number, an image, several of either, or a scene; got "
            f"{shortened(baseline)}. Scenes have names {list(SCENES)}."
        )
    if array.ndim <= 1:
        array = np.broadcast_to(array.reshape(-1, 1, 1, 1), (array.size, *shape))
    elif array.shape == shape:
        array = array[None]
    if array.shape[1:] != shape or not len(array) or not np.isfinite(array).all():
        raise ValueError(
            f"`baseline` must be finite: a number, an image of shape {shape}, or several of "
            f"either along a first axis; got shape {np.shape(baseline)}."
        )
    return np.ascontiguousarray(array, np.float32)


def mean_target(query: Query, bases: Array, weights: Array | None = None) -> Array:
    """Return the mean (k, n) of the targets at baselines (b, ...), with `weights` of sum 1 (b,)."""
    shares = np.full(len(bases), 1 / len(bases)) if weights is None else weights
    mean = np.zeros((query.targets, len(query)))
    for image, share in zip(bases, shares, strict=True):
        everywhere = np.broadcast_to(image, query.images.shape)
        mean += share * query.at(everywhere, np.arange(len(query))).values_everywhere()
    return mean


def _scene_images(scene: Scene | str, shape: tuple[int, ...], count: int) -> Array:
    fitting = {"size": shape[:2], "channels": shape[2]}
    scene = as_scene(scene, **(fitting if isinstance(scene, str) else {}))
    if (*scene.size, scene.channels) != tuple(shape):
        raise ValueError(
            f"`baseline` must be a scene of images of shape {tuple(shape)}; got one of shape "
            f"{(*scene.size, scene.channels)}. Use as_scene(scene, size=..., channels=...)."
        )
    return generate(scene, count, seed=0).images
