"""Location scores: whether the map lies where the truth is."""

from __future__ import annotations

import numpy as np

from whitebox_loc._types import Array, ArrayLike
from whitebox_loc._validation import check_real
from whitebox_loc.evaluation.scores.checking import (
    check_maps,
    check_masks,
    check_signs,
    flat,
    ratio,
)


def mass_accuracy(maps: ArrayLike, masks: ArrayLike, *, signs: ArrayLike = None) -> Array:
    r"""Return the share of a map's mass \|a\| that lies on the mask.

    Parameters
    ----------
    maps : float array (n, height, width)
        Signed maps.
    masks : bool array (n, height, width)
        The truth.
    signs : -1, 1 or array (n, height, width) of -1, 0, 1, optional
        True signs. Mass then counts only where the map has the right sign.

    Returns
    -------
    float64 array (n,)
        0 to 1. NaN where the mask is empty or the map is zero everywhere: 0 / 0.

    Raises
    ------
    ValueError, TypeError
        If shapes differ, masks are not boolean, or a map is not finite.

    References
    ----------
    L. Arras et al., "CLEVR-XAI", 2022, doi:10.1016/j.inffus.2021.11.008.

    Examples
    --------
    >>> mass_accuracy([[[1.0, -3.0, 0.0]]], [[[False, True, True]]])
    array([0.75])
    >>> mass_accuracy([[[1.0, -3.0, 0.0]]], [[[False, True, True]]], signs=1)
    array([0.])
    """
    maps, hits = _hits(maps, masks, signs)
    # Over the greatest value first, so that the sum of a huge map stays finite.
    size = np.abs(flat(maps).astype(np.float64))
    largest = size.max(1, keepdims=True)
    share = size / np.where(largest, largest, 1)
    return _defined(masks, (share * flat(hits)).sum(1), share.sum(1))


def rank_accuracy(maps: ArrayLike, masks: ArrayLike, *, signs: ArrayLike = None) -> Array:
    """Return the share of the K strongest pixels that lie on a mask of K pixels.

    Parameters
    ----------
    maps, masks, signs
        As for `mass_accuracy`; with `signs` a pixel counts only if its sign is right, too.

    Returns
    -------
    float64 array (n,)
        0 to 1; NaN where the mask is empty. Among equally strong pixels all choices are
        equally likely, and the result is the mean over them: a constant or zero map has the
        value of guessing, K / pixels, whatever the order of the pixels in memory.

    Raises
    ------
    ValueError, TypeError
        As `mass_accuracy`, of whose paper it is.

    Examples
    --------
    >>> rank_accuracy([[[5.0, 1.0, 1.0, 0.0]]], [[[True, True, False, False]]])
    array([0.75])
    """
    maps, hits = _hits(maps, masks, signs)
    size, hits = np.abs(flat(maps)), flat(hits)
    count = flat(np.asarray(masks)).sum(1)
    ascending = np.sort(size, axis=1)
    last = np.clip(size.shape[1] - count, 0, size.shape[1] - 1)
    threshold = np.take_along_axis(ascending, last[:, None], axis=1)
    above, tied = size > threshold, size == threshold
    free = count - above.sum(1)
    on_mask = (above & hits).sum(1) + free * (tied & hits).sum(1) / tied.sum(1)
    return _defined(masks, on_mask, count)


def pointing_game(
    maps: ArrayLike, masks: ArrayLike, *, signs: ArrayLike = None, tolerance: float = 0.0
) -> Array:
    """Return whether the strongest pixel lies on the mask.

    Parameters
    ----------
    maps, masks, signs
        As for `mass_accuracy`; with `signs` the strongest pixel must have the right sign, too.
    tolerance : float, default 0
        Distance in pixels from the mask that still counts as a hit (the paper has 15 in images
        of some 500); next to the mask a pixel has no true sign, so that it cannot be used
        together with `signs`.

    Returns
    -------
    float64 array (n,)
        1 or 0; NaN where the mask is empty, which is no hit. If m pixels are equally strong,
        the share of them on the mask: the chance of a hit if one of them is chosen blindly.

    Raises
    ------
    ValueError, TypeError
        As `mass_accuracy`, or if both `tolerance` and `signs` are given.

    References
    ----------
    J. Zhang et al., "Top-down neural attention by excitation backprop", 2016, arXiv:1608.00507.

    Examples
    --------
    >>> pointing_game([[[1.0, -3.0, 0.0]], [[2.0, 0.0, 2.0]]], [[[False, True, True]]] * 2)
    array([1. , 0.5])
    """
    if check_real("tolerance", tolerance, low=0) and signs is not None:
        raise ValueError("`tolerance` must be 0 when `signs` are given: off the mask none is true.")
    maps, hits = _hits(maps, masks, signs)
    hits = flat(_near(hits, tolerance) if tolerance else hits)
    size = np.abs(flat(maps))
    best = size == size.max(1, keepdims=True)
    return _defined(masks, (best & hits).sum(1), best.sum(1))


def _hits(maps: ArrayLike, masks: ArrayLike, signs: ArrayLike) -> tuple[Array, Array]:
    """Return checked maps, and the pixels that count: on the mask and of right sign."""
    maps = check_maps(maps)
    hits = check_masks(masks, maps)
    right = check_signs(signs, maps)
    return maps, hits if right is None else hits & (np.sign(maps) == right) & (right != 0)


def _near(masks: Array, tolerance: float) -> Array:
    from scipy.ndimage import distance_transform_edt

    return np.stack([m if not m.any() else distance_transform_edt(~m) <= tolerance for m in masks])


def _defined(masks: ArrayLike, part: Array, whole: Array) -> Array:
    """Return part / whole, NaN for an empty mask and for 0 / 0."""
    return np.where(flat(np.asarray(masks)).any(1), ratio(part, whole), np.nan)
