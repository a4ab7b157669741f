"""Controls: maps whose quality is known before they are scored, the truth itself among them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from whitebox_loc._types import Array, ArrayLike
from whitebox_loc._validation import check_choice, check_real
from whitebox_loc.data.scenes import Scene
from whitebox_loc.evaluation.scores.signs import evidence_signs, polarity
from whitebox_loc.evaluation.truth import EDGE_SIGNS


@dataclass(frozen=True)
class Control:
    """A row of CONTROLS.

    Attributes
    ----------
    name : str
    function : callable
        ``function(images, boxes, coordinate, scene, truth, rng)`` to signed float32 maps
        (n, height, width). `truth` is a bool mask, or the exact signed map where it is known.
    knows : {"the truth", "the image", "nothing"}
        The source of its maps. None has access to the model, except through a truth about it.
    summary : str
    """

    name: str
    function: Callable[..., Array]
    knows: str
    summary: str


def oracle(
    images: ArrayLike,
    boxes: ArrayLike,
    coordinate: str,
    scene: Scene,
    truth: ArrayLike,
    rng: np.random.Generator,
) -> Array:
    """Return the truth with its signs: an exact map as it is, a mask as -1 and 1."""
    truth = np.asarray(truth)
    if truth.dtype != bool:
        return truth.astype(np.float32)
    check_choice("coordinate", coordinate, EDGE_SIGNS)
    # Signs are those of the edges; of whatever shape, its evidence lies within the rectangle's.
    plain = replace(scene, shapes=("rectangle",))
    signs = evidence_signs(boxes, plain, coordinate, images=images)
    # A model may use pixels far from any edge. If all edges have one sign they have it, too.
    edges = set(EDGE_SIGNS[coordinate].values())
    sign = edges.pop() if len(edges) == 1 else 1
    elsewhere = sign * polarity(boxes, scene, images)[:, None, None]
    return (truth * np.where(signs == 0, elsewhere, signs)).astype(np.float32)


def blurred_oracle(*arguments: Any, sigma: float = 1.5) -> Array:
    """Return the oracle after a Gaussian blur of `sigma` pixels."""
    from scipy.ndimage import gaussian_filter

    check_real("sigma", sigma, low=0)
    return gaussian_filter(oracle(*arguments), (0, sigma, sigma), mode="constant")


def edge_detector(images: ArrayLike, *_: Any) -> Array:
    """Return the Sobel magnitude of the image, channels averaged."""
    from scipy.ndimage import correlate

    grey = np.asarray(images, np.float32).mean(-1)
    # `scipy.ndimage.sobel` would smooth along the batch, too.
    down = np.outer([-1, 0, 1], [1, 2, 1])
    return np.hypot(*(correlate(grey, way[None], mode="nearest") for way in (down, down.T)))


def constant(images: ArrayLike, *_: Any) -> Array:
    """Return 1 everywhere."""
    return np.ones(np.shape(images)[:3], np.float32)


def random(images: ArrayLike, *others: Any) -> Array:
    """Return independent Gaussian numbers."""
    rng: np.random.Generator = others[-1]
    return rng.standard_normal(np.shape(images)[:3], dtype=np.float32)


def one_pixel(images: ArrayLike, *others: Any) -> Array:
    """Return 1 at one random pixel: as simple as a map can be."""
    rng: np.random.Generator = others[-1]
    n, height, width = np.shape(images)[:3]
    maps = np.zeros((n, height * width), np.float32)
    maps[np.arange(n), rng.integers(height * width, size=n)] = 1
    return maps.reshape(n, height, width)


def empty(images: ArrayLike, *_: Any) -> Array:
    """Return 0 everywhere."""
    return np.zeros(np.shape(images)[:3], np.float32)


def sign_flipped(*arguments: Any) -> Array:
    """Return the oracle times -1: the right pixels for the wrong reason."""
    return -oracle(*arguments)


_ROWS = (
    Control("oracle", oracle, "the truth", "the truth with its signs"),
    Control("blurred_oracle", blurred_oracle, "the truth", "the oracle, blurred by 1.5 pixels"),
    Control("edge_detector", edge_detector, "the image",
            "Sobel magnitude: all edges alike, whatever the coordinate and the model"),
    Control("constant", constant, "nothing", "1 everywhere"),
    Control("random", random, "nothing", "Gaussian noise, drawn anew for each map"),
    Control("one_pixel", one_pixel, "nothing", "1 at a random pixel, drawn anew for each map"),
    Control("empty", empty, "nothing", "0 everywhere"),
    Control("sign_flipped", sign_flipped, "the truth", "the oracle times -1"),
)  # fmt: skip

CONTROLS = {row.name: row for row in _ROWS}
"""Name to control. To add one: a function and a row."""
