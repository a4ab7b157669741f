"""Linear models of what hiding segments of an image does to the targets.

A segment's number is spread evenly over its pixels, so that a map adds up over a segment to
the number of the segment.
"""

from __future__ import annotations

from collections.abc import Callable
from math import comb

import numpy as np

from whitebox_loc._types import Array, ArrayLike, Seed
from whitebox_loc._validation import check_generator, check_int, check_memory, check_real
from whitebox_loc.introspect.methods.perturbation.masks import scores, segment_labels, segment_masks
from whitebox_loc.introspect.methods.record import Maps
from whitebox_loc.introspect.targets.query import Query


def kernel_shap(
    query: Query,
    *,
    segments: ArrayLike = (4, 4),
    samples: int = 512,
    baseline: ArrayLike = 0.0,
    seed: Seed = 0,
) -> Maps:
    """Estimate the Shapley value of each segment, by weighted least squares.

    `segments` are the rows and columns of a grid, or whole numbers (height, width) that name
    each pixel's segment. Hidden segments show the baseline; several are averaged. If
    `samples` allow all sets of segments, the values are exact; otherwise sets are drawn in pairs
    of one and what it leaves out. A map adds up to the target minus that at the baseline.
    """
    labels = segment_labels(segments, query.images.shape[1:3])
    count = int(labels.max()) + 1
    check_int("samples", samples, low=4)
    masks = min(samples, 2 ** min(count, 63))
    check_memory("samples", samples, 8.0 * masks * count, "masks")
    visible, weights = _coalitions(count, samples, seed)
    values = scores(query, segment_masks(visible, labels), baseline)
    empty, full = values[..., 0], values[..., 1]
    solve = _constrained(visible[2:].astype(np.float64), weights, count, samples)
    shapley = solve(values[..., 2:] - empty[..., None], full - empty)
    return Maps(_spread(shapley, labels), lambda: empty)


def lime(
    query: Query,
    *,
    segments: ArrayLike = (4, 4),
    samples: int = 512,
    kernel_width: float = 0.25,
    ridge: float = 0.0,
    baseline: ArrayLike = 0.0,
    seed: Seed = 0,
) -> Maps:
    """Fit the target around the image with a linear function of which segments are seen.

    Each segment is seen with probability 1/2. A sample that shows s of m segments counts
    exp(-d^2 / kernel_width^2) with the cosine distance d = 1 - sqrt(s / m). `ridge` times the
    sum of squares is added to the squared errors; the reference implementation takes 1.
    `segments` and `baseline` as in `kernel_shap`.
    """
    labels = segment_labels(segments, query.images.shape[1:3])
    count = int(labels.max()) + 1
    check_int("samples", samples, low=2)
    check_memory("samples", samples, 4.0 * samples * query.images[0].size, "masks")
    width = check_real("kernel_width", kernel_width, low=1e-3)
    check_real("ridge", ridge, low=0.0)
    visible = check_generator(seed).random((samples, count)) < 0.5
    visible[0] = True
    distance = 1 - np.sqrt(visible.mean(1))
    weights = np.exp(-((distance / width) ** 2))
    values = scores(query, segment_masks(visible, labels), baseline)
    # Around the weighted means the constant of the fit drops out, which is not shrunk.
    away: Array = visible - np.average(visible, axis=0, weights=weights)
    square = (away * weights[:, None]).T @ away + ridge * np.eye(count)
    _check_rank(square, count, samples)
    moment = (values * weights) @ away
    return Maps(_spread(np.linalg.solve(square, moment[..., None])[..., 0], labels))


def _coalitions(count: int, samples: int, seed: Seed) -> tuple[Array, Array]:
    """Return sets of segments (s, m), none and all of them first, and weights (s - 2,)."""
    generator, ends = check_generator(seed), np.array([[False], [True]]).repeat(count, 1)
    if 2**count <= samples:
        numbers = np.arange(1, 2**count - 1)
        inside = (numbers[:, None] >> np.arange(count)) & 1 == 1
        sizes = inside.sum(1)
        weights = [1 / (comb(count, size) * size * (count - size)) for size in sizes]
        return np.concatenate([ends, inside]), np.array(weights)
    sizes = np.arange(1, count)
    chances = 1 / (sizes * (count - sizes))
    drawn = generator.choice(sizes, (samples - 2) // 2, p=chances / chances.sum())
    order = generator.random((len(drawn), count)).argsort(1).argsort(1)
    half = order < drawn[:, None]
    # Drawn with the kernel's chances, all sets count the same.
    return np.concatenate([ends, half, ~half]), np.ones(2 * len(drawn))


def _constrained(
    visible: Array, weights: Array, count: int, samples: int
) -> Callable[[Array, Array], Array]:
    """Return the least-squares solution that adds up to a total, as a function of values."""
    if count == 1:
        return lambda values, total: total[..., None]
    weighted = visible * weights[:, None]
    square = weighted.T @ visible
    _check_rank(square, count, samples)
    inverse = np.linalg.inv(square)

    def solve(values: Array, total: Array) -> Array:
        free = values @ weighted @ inverse
        column = inverse.sum(1)
        excess = (free.sum(-1) - total) / column.sum()
        return free - excess[..., None] * column

    return solve


def _check_rank(square: Array, count: int, samples: int) -> None:
    if samples < count or np.linalg.matrix_rank(square, hermitian=True) < count:
        raise ValueError(
            f"`samples` must be larger: {samples} masks do not tell {count} segments apart. Take "
            f"some {max(4 * count, 2 * samples)}, or fewer `segments`."
        )


def _spread(values: Array, labels: Array) -> Array:
    """Return maps (k, n, h, w) that add up over each segment to its value (k, n, m)."""
    sizes = np.bincount(labels.ravel())
    return (values / sizes)[..., labels].astype(np.float32)
