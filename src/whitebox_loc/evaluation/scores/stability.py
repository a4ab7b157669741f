"""Stability: whether the map stays when the image hardly changes."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from whitebox_loc._types import Array, ArrayLike, Seed
from whitebox_loc._validation import (
    check_bool,
    check_callable,
    check_generator,
    check_int,
    check_real,
)
from whitebox_loc.evaluation.scores.checking import (
    MOST_SAMPLES,
    check_maps,
    check_shown,
    flat,
    ratio,
)


def max_sensitivity(
    explain: Callable[[Array], ArrayLike],
    images: ArrayLike,
    *,
    radius: float = 0.02,
    samples: int = 8,
    relative: bool = True,
    seed: Seed = 0,
) -> Array:
    """Return the largest change of a map over random tiny changes of the image.

    Parameters
    ----------
    explain : callable
        From images (n, height, width, channels) to maps (n, height, width).
    images : float array (n, height, width, channels)
    radius : float, default 0.02
        Each pixel and channel changes by a uniform number in -radius..radius, in brightness;
        above 0.
    samples : int, default 8
        Changes tried. The maximum over all changes is at least as large.
    relative : bool, default True
        Divide the norm of the change by the norm of the map, so that maps of any unit compare;
        the paper does not.
    seed : int or Generator, default 0

    Returns
    -------
    float64 array (n,)
        At least 0; lower is better. NaN where no change was large enough to change the float32
        image, and with `relative` where the map is zero everywhere.

    Raises
    ------
    ValueError, TypeError
        If an argument is out of range, an image is not finite, or `explain` does not return one
        finite map an image.

    References
    ----------
    C.-K. Yeh et al., "On the (in)fidelity and sensitivity of explanations", 2019,
    arXiv:1901.09392.

    Examples
    --------
    >>> images = np.ones((2, 4, 4, 1), "float32")
    >>> max_sensitivity(lambda x: np.ones(x.shape[:3]), images)
    array([0., 0.])
    """
    images = check_shown(images)
    radius = check_real("radius", radius, above=0)
    check_int("samples", samples, low=1, high=MOST_SAMPLES)
    check_bool("relative", relative)
    check_callable("explain", explain, 1, "from images to maps")
    rng = check_generator(seed)
    maps = explained(explain, images)
    change = np.full(len(images), np.nan)
    for _ in range(samples):
        points = images + rng.uniform(-radius, radius, images.shape).astype(np.float32)
        distance = _norm(explained(explain, points) - maps)
        # An image that rounding leaves as it was says nothing.
        change = np.fmax(change, np.where((points != images).any((1, 2, 3)), distance, np.nan))
    return ratio(change, _norm(maps)) if relative else change


def explained(explain: Callable[[Array], ArrayLike], images: Array) -> Array:
    """Return ``explain(images)`` as float64, after checking that there is a map an image."""
    maps = check_maps(explain(images), "explain(images)")
    if maps.shape != images.shape[:3]:
        raise ValueError(
            f"`explain` must return one map an image, shape {images.shape[:3]}; got {maps.shape}."
        )
    return maps.astype(np.float64)


def _norm(maps: Array) -> Array:
    return np.linalg.norm(flat(maps), axis=1)
