"""Checks that all scores share: maps, and what has one value a pixel beside them."""

from __future__ import annotations

from typing import Any

import numpy as np

from whitebox_loc._validation import check_finite
from whitebox_loc.introspect.inputs import check_images

__all__ = ["check_maps", "check_masks", "check_shown", "check_signs", "flat"]


def check_shown(images: Any) -> np.ndarray:
    """Return float32 images (n, height, width, channels), all finite and without company."""
    inputs = check_images(images)
    if inputs.others:
        raise ValueError("`images` must be one array: scores take models of one input.")
    return check_finite("images", inputs.image)


def check_maps(maps: Any, name: str = "maps") -> np.ndarray:
    """Return maps (n, height, width) as floats, all finite."""
    array = np.asarray(maps)
    if array.dtype.kind not in "iuf":
        raise TypeError(f"`{name}` must hold numbers; got dtype {array.dtype}.")
    if array.ndim != 3 or 0 in array.shape[1:]:
        raise ValueError(
            f"`{name}` must have shape (n, height, width); got {array.shape}. Use maps[None] for a "
            "single map."
        )
    return check_finite(name, array if array.dtype.kind == "f" else array.astype(np.float64))


def check_masks(masks: Any, maps: np.ndarray) -> np.ndarray:
    """Return masks as booleans of the maps' shape."""
    array = np.asarray(masks)
    if array.dtype != bool:
        raise TypeError(f"`masks` must be boolean; got dtype {array.dtype}. Use masks != 0.")
    if array.shape != maps.shape:
        raise ValueError(
            f"`masks` must have the maps' shape {maps.shape}, one mask a map; got {array.shape}."
        )
    return array


def check_signs(signs: Any, maps: np.ndarray) -> np.ndarray | None:
    """Return signs -1, 0 or 1 of the maps' shape, or None."""
    if signs is None:
        return None
    array = np.asarray(signs)
    if array.dtype.kind not in "if" or not np.isin(array, (-1, 0, 1)).all():
        raise ValueError("`signs` must hold -1, 0 and 1 only. Use np.sign(...).")
    if array.shape not in ((), maps.shape):
        raise ValueError(
            f"`signs` must be one number or have the maps' shape {maps.shape}; got {array.shape}."
        )
    return np.broadcast_to(array, maps.shape)


def flat(array: np.ndarray) -> np.ndarray:
    """Return (n, height, width) as (n, pixels)."""
    return array.reshape(len(array), -1)
