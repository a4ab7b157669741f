"""The gradient family: what an infinitely small change of each pixel would do, and sums of it."""

from __future__ import annotations

from functools import lru_cache, partial

import numpy as np
import tensorflow as tf

from whitebox_loc._types import Array, ArrayLike, Seed, Tensor
from whitebox_loc._validation import check_generator, check_int, check_memory, check_real
from whitebox_loc.introspect.methods.baselines import baseline_images, mean_target
from whitebox_loc.introspect.methods.gradient.paths import blur_matrices, quadrature
from whitebox_loc.introspect.methods.record import Maps
from whitebox_loc.introspect.targets.query import Path, Query


def pointwise(name: str, query: Query) -> Maps:
    """Return the maps of a method of `POINTWISE`."""
    path, rule = POINTWISE[name]
    return Maps(query.path_sum(path, rule=rule))


def integrated_gradients(
    query: Query, *, steps: int = 50, rule: str = "gauss_legendre", baseline: ArrayLike = 0.0
) -> Maps:
    """Integrate the gradient on the straight line from a baseline, times the difference.

    Several baselines are averaged; a scene stands for eight of its images. Up to the error of
    the rule, a map adds up to the target at the image minus the (mean) target at the baseline.
    """
    bases = baseline_images(baseline, query.images.shape[1:])
    nodes, weights = quadrature(rule, steps, bases.size)
    order = np.repeat(np.arange(len(bases)), steps)
    nodes, weights = np.tile(nodes, len(bases)), np.tile(weights / len(bases), len(bases))
    maps = query.path_sum(_straight, (bases[order], nodes, weights), samples=len(nodes))
    return Maps(maps, lambda: mean_target(query, bases))


def expected_gradients(
    query: Query, *, samples: int = 50, baseline: ArrayLike = (0.0, 1.0), seed: Seed = 0
) -> Maps:
    """Average gradient times difference over random baselines and points on the line.

    `baseline` is what they are drawn from; of a scene, as many images as `samples`. All images
    share the random numbers, so a map depends on its own image alone.
    """
    check_int("samples", samples, low=1)
    check_memory("samples", samples, 4.0 * samples * query.images[0].size, "images")
    generator = check_generator(seed)
    bases = baseline_images(baseline, query.images.shape[1:], samples)
    order = generator.integers(len(bases), size=samples)
    nodes = generator.random(samples)
    weights = np.full(samples, 1 / samples)
    shares = np.bincount(order, minlength=len(bases)) / samples
    maps = query.path_sum(_straight, (bases[order], nodes, weights), samples=samples)
    return Maps(maps, lambda: mean_target(query, bases, shares))


def blur_ig(
    query: Query, *, steps: int = 50, rule: str = "gauss_legendre", max_sigma: float | None = None
) -> Maps:
    """Integrate the gradient along the path on which a blurred image becomes sharp.

    `max_sigma` is the blur at the start in pixels, by default a quarter of the longer side.
    The image is black beyond its border. Up to the error of the rule, a map adds up to the
    target at the image minus the target at the most blurred image.
    """
    height, width = query.images.shape[1:3]
    if max_sigma is None:
        max_sigma = max(height, width) / 4
    # Beyond, the most blurred image is one grey.
    sigma = check_real("max_sigma", max_sigma, low=1e-3, high=10.0 * max(height, width))
    weights = quadrature(rule, steps, 50 * max(height, width) ** 2)[1]
    rows, columns = (_blurs(length, sigma, rule, steps) for length in (height, width))
    # The path runs from sigma down to 0, hence the sign.
    parameters = (*rows, *columns, -sigma * weights)

    def reference() -> Array:
        most = np.array([sigma])
        first, last = blur_matrices(height, most)[0][0], blur_matrices(width, most)[0][0]
        blurred = np.einsum("ij,rjwc,vw->rivc", first, query.images, last, optimize=True)
        rows = np.arange(len(query))
        return query.at(blurred.astype(np.float32), rows).values_everywhere()

    return Maps(query.path_sum(_blurred, parameters, samples=steps), reference)


@lru_cache(maxsize=8)
def _blurs(length: int, sigma: float, rule: str, steps: int) -> tuple[Array, Array]:
    """Return `blur_matrices` of a path; they take longer than the gradients of one image."""
    matrices = blur_matrices(length, sigma * quadrature(rule, steps)[0])
    for array in matrices:
        array.flags.writeable = False
    return matrices


def _plain(images: Tensor) -> tuple[Tensor, Tensor]:
    return images[None], None


def _times_itself(images: Tensor) -> tuple[Tensor, Tensor]:
    return images[None], images[None]


def _straight(images: Tensor, start: Tensor, at: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Give the points at share `at` (s,) of the line from `start` (s, h, w, c) to images."""
    difference = images - start[:, None]
    at, weight = (tf.reshape(a, (-1, 1, 1, 1, 1)) for a in (at, weight))
    return start[:, None] + at * difference, weight * difference


def _blurred(images: Tensor, *parameters: Tensor) -> tuple[Tensor, Tensor]:
    """Give images blurred by the matrices (s, h, h) and (s, w, w), and their derivatives."""
    *matrices, weight = parameters
    # Rows and columns last, so that every product is a matrix product.
    planes = tf.transpose(images, (0, 3, 1, 2))[None]
    rows, rows_slope, columns, columns_slope = (m[:, None, None] for m in matrices)
    wide, narrow = rows @ planes, rows_slope @ planes
    slope = tf.matmul(narrow, columns, transpose_b=True)
    slope += tf.matmul(wide, columns_slope, transpose_b=True)
    points = tf.matmul(wide, columns, transpose_b=True)
    points, slope = (tf.transpose(a, (0, 1, 3, 4, 2)) for a in (points, slope))
    return points, tf.reshape(weight, (-1, 1, 1, 1, 1)) * slope


POINTWISE: dict[str, tuple[Path, str | None]] = {
    "gradient": (_plain, None),
    "gradient_x_input": (_times_itself, None),
    # ReLUs pass only what is positive, forwards and backwards.
    "guided_backprop": (_plain, "guided"),
    # ReLUs pass what is positive on the way back.
    "deconvnet": (_plain, "deconv"),
}
"""Methods whose maps are one `Query.path_sum` without samples: its path and rule."""

gradient, gradient_x_input, guided_backprop, deconvnet = (
    partial(pointwise, name) for name in POINTWISE
)
