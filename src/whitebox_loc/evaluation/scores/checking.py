"""Checks that all scores share: maps, and what has one value a pixel beside them."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from whitebox_loc._types import Array, ArrayLike
from whitebox_loc._validation import as_array, check_finite, check_memory, check_numbers
from whitebox_loc.data.scenes import Scene
from whitebox_loc.introspect.tracing.inputs import check_images

MOST_SAMPLES = 1_000_000
"""More random changes of an image would take days for digits that nobody reads."""


def check_drawing(n: int, scenes: Iterable[Scene]) -> None:
    """Refuse more images of a scene than any memory holds."""
    for scene in scenes:
        size = 4 * n * scene.size[0] * scene.size[1] * scene.channels
        check_memory("n", n, size, "images")


def check_shown(images: ArrayLike) -> Array:
    """Return float32 images (n, height, width, channels), all finite and without company."""
    inputs = check_images(images)
    if inputs.others:
        raise ValueError("`images` must be one array: scores take models of one input.")
    return check_finite("images", inputs.image)


def check_maps(maps: ArrayLike, name: str = "maps") -> Array:
    """Return maps (n, height, width) as floats, all finite."""
    array = check_numbers(name, maps)
    if array.ndim != 3 or 0 in array.shape[1:]:
        raise ValueError(
            f"`{name}` must have shape (n, height, width); got {array.shape}. Use maps[None] for a "
            "single map."
        )
    return array


def check_masks(masks: ArrayLike, maps: Array) -> Array:
    """Return masks as booleans of the maps' shape."""
    array = as_array("masks", masks)
    if array.dtype != bool:
        raise TypeError(f"`masks` must be boolean; got dtype {array.dtype}. Use masks != 0.")
    if array.shape != maps.shape:
        raise ValueError(
            f"`masks` must have the shape of `maps`, {maps.shape}, one mask a map; got "
            f"{array.shape}."
        )
    return array


def check_signs(signs: ArrayLike, maps: Array) -> Array | None:
    """Return signs -1, 0 or 1 of the maps' shape, or None."""
    if signs is None:
        return None
    array = as_array("signs", signs)
    if array.dtype.kind not in "if" or not np.isin(array, (-1, 0, 1)).all():
        raise ValueError("`signs` must hold -1, 0 and 1 only. Use np.sign(...).")
    if array.shape not in ((), maps.shape):
        raise ValueError(
            f"`signs` must be one number or have the shape of `maps`, {maps.shape}; got "
            f"{array.shape}."
        )
    return np.broadcast_to(array, maps.shape)


def flat(array: Array) -> Array:
    """Return (n, height, width) as (n, pixels)."""
    return array.reshape(len(array), int(np.prod(array.shape[1:])))


def ratio(part: Array, whole: Array) -> Array:
    """Return part / whole, NaN where the whole is not above 0."""
    return np.divide(part, whole, out=np.full(np.shape(part), np.nan), where=whole > 0)
