"""Which edge the map of each coordinate lies on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from whitebox_loc._statistics import MOST_RESAMPLES, bootstrap_interval
from whitebox_loc._types import Array, ArrayLike, Seed
from whitebox_loc._validation import check_boxes, check_int, check_numbers
from whitebox_loc.evaluation.truth import evidence_mask
from whitebox_loc.introspect.targets import COORDINATES

CHUNK = 256
"""Images whose masks are in memory at a time."""


@dataclass(frozen=True, eq=False)
class CrossTalk:
    """Shares of the maps' mass on each edge; ``np.asarray`` of it is `matrix`.

    Attributes
    ----------
    matrix : float64 array (4, 4)
        [i, j] is the mean share of the mass of coordinate i's map on the evidence of edge j.
    low, high : float64 arrays (4, 4)
        Bootstrap interval of each over images.
    elsewhere : float64 array (4,)
        Mean share of the mass that lies on no edge. With the row of `matrix` it adds up to 1.
    used : int64 array (4,)
        Number of images behind each row: those with a box and a map that is not 0 everywhere.
    shares : float64 array (n, 4, 4)
        The shares of each image; NaN where they are undefined.
    confidence : float
        Of the intervals.
    """

    matrix: Array
    low: Array
    high: Array
    elsewhere: Array
    used: Array
    shares: Array
    confidence: float

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of `matrix`."""
        return self.matrix.shape

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        """Return `matrix`."""
        return np.array(self.matrix, dtype=dtype)

    def __getitem__(self, index: Any) -> Any:
        """Return what the same index gives of `matrix`."""
        return self.matrix[index]


def cross_talk(
    maps: ArrayLike,
    boxes: ArrayLike,
    *,
    shape: Any = "rectangle",
    thickness: int = 1,
    resamples: int = 1000,
    confidence: float = 0.95,
    seed: Seed = 0,
) -> CrossTalk:
    """Return which share of each coordinate's map lies on the evidence of which edge.

    The mass of a map is the sum of its absolute values. It is compared with task truth: an
    explanation may be true of a network that does read ``top`` off the left edge. Compare
    with the matrix of `whitebox_loc.introspect.edge_moves`, which is what the network does.

    A pixel on the evidence of several edges, such as one inside a corner, counts for each of
    them in equal parts, so that shares add up. So even a map that is even along both sides of
    its own edge and 0 elsewhere has less than 1 on the diagonal: for a box of w >= 2 pixels
    along the edge and at least 2 across it, ``1 - 1 / (2 w)``. For w = 1 the one pixel inside
    lies on three edges, which leaves 2 / 3.

    Parameters
    ----------
    maps : array_like (4, n, height, width)
        Signed maps of top, left, bottom and right, as `whitebox_loc.introspect.saliency`
        returns them for these four targets.
    boxes : array_like (n, 4)
        True boxes as ``yxyx`` in whole pixels, half open, inside the image.
    shape, thickness
        What lies in the boxes, as for `evidence_mask`.
    resamples : int, default 1000
        Bootstrap samples of the images.
    confidence : float, default 0.95
        Of the intervals.
    seed : int or Generator, default 0
        Source of the bootstrap samples.

    Returns
    -------
    CrossTalk
        Usable as the array (4, 4). An image whose map is 0 everywhere, or whose box is empty,
        has no shares and is left out of that row; a row without images is NaN.

    Raises
    ------
    ValueError, TypeError
        If an argument is not one of the above, or a map is not finite.

    Examples
    --------
    A map of its own edge's line inside the box, corners left out:

    >>> maps = np.zeros((4, 1, 6, 6))
    >>> maps[0, 0, 1, 2:4] = -1.0
    >>> talk = cross_talk(maps, [[1, 1, 5, 5]])
    >>> talk[0], talk.used
    (array([1., 0., 0., 0.]), array([1, 0, 0, 0]))
    """
    maps = check_numbers("maps", maps)
    if maps.ndim != 4 or maps.shape[0] != 4:
        raise ValueError(
            "`maps` must have shape (4, n, height, width), the maps of top, left, bottom and "
            f"right; got {maps.shape}."
        )
    boxes = check_boxes("boxes", boxes)
    if boxes.shape != (maps.shape[1], 4):
        raise ValueError(
            f"`boxes` must have shape ({maps.shape[1]}, 4), one box for each of the `maps`; got "
            f"{boxes.shape}."
        )
    check_int("resamples", resamples, low=1, high=MOST_RESAMPLES)
    shares = np.full((maps.shape[1], 4, 5), np.nan)
    several = isinstance(shape, (list, tuple, np.ndarray))
    if several and len(shape) != len(boxes):
        raise ValueError(
            f"`shape` must be one name, or one for each of the {len(boxes)} boxes; got "
            f"{len(shape)}."
        )
    for start in range(0, len(boxes), CHUNK):
        part = slice(start, start + CHUNK)
        kind = shape[part] if several else shape
        shares[part] = _shares(maps[:, part], boxes[part], kind, thickness)
    used = np.isfinite(shares[..., 0]).sum(axis=0)
    mean = np.nansum(shares, axis=0) / np.where(used > 0, used, np.nan)[:, None]
    low, high = bootstrap_interval(
        shares[..., :4], confidence=confidence, resamples=resamples, seed=seed
    )
    return CrossTalk(mean[:, :4], low, high, mean[:, 4], used, shares[..., :4], float(confidence))


def _shares(maps: Array, boxes: Array, shape: Any, thickness: int) -> Array:
    """Return shares (n, 4, 5) of each map's mass on the four edges and elsewhere."""
    mass = np.abs(maps.astype(np.float64))
    size = maps.shape[2:]
    masks = np.stack(
        [evidence_mask(boxes, size, edge, shape=shape, thickness=thickness) for edge in COORDINATES]
    ).astype(np.float64)
    count = masks.sum(axis=0)
    masks /= np.maximum(count, 1)
    masses = np.empty((len(boxes), 4, 5))
    masses[..., :4] = np.einsum("inyx,jnyx->nij", mass, masks)
    masses[..., 4] = np.einsum("inyx,nyx->ni", mass, (count == 0).astype(np.float64))
    total = mass.sum(axis=(2, 3)).T
    defined = (total > 0) & count.any(axis=(1, 2))[:, None]
    return np.where(defined[..., None], masses / np.where(defined, total, 1.0)[..., None], np.nan)
