"""Wrappers that repeat a method under noise: its mean, variance and mean square."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from whitebox_loc._validation import check_generator, check_int, check_real
from whitebox_loc.introspect.methods.record import Maps, Method
from whitebox_loc.introspect.problem import Problem

__all__ = ["smoothgrad", "squaregrad", "vargrad"]


def smoothgrad(
    problem: Problem,
    *,
    base: Method | str = "gradient",
    samples: int = 32,
    noise: float = 0.1,
    seed: Any = 0,
    **options: Any,
) -> Maps:
    """Average the base method's maps of the image plus noise.

    `noise` is the standard deviation of the Gaussian noise, in brightness. All images share
    the noise, so a map depends on its own image alone.
    """
    total: Any = 0.0
    for maps in _noisy_maps(problem, base, samples, noise, seed, options):
        total = total + maps.sum(1, dtype=np.float64)
    return Maps((total / samples).astype(np.float32))


def squaregrad(
    problem: Problem,
    *,
    base: Method | str = "gradient",
    samples: int = 32,
    noise: float = 0.1,
    seed: Any = 0,
    **options: Any,
) -> Maps:
    """Average the squares of the base method's maps of the image plus noise."""
    total: Any = 0.0
    for maps in _noisy_maps(problem, base, samples, noise, seed, options):
        total = total + np.square(maps, dtype=np.float64).sum(1)
    return Maps((total / samples).astype(np.float32))


def vargrad(
    problem: Problem,
    *,
    base: Method | str = "gradient",
    samples: int = 32,
    noise: float = 0.1,
    seed: Any = 0,
    **options: Any,
) -> Maps:
    """Take the variance, divided by the number of samples, of maps of the image plus noise."""
    total: Any = 0.0
    square: Any = 0.0
    first: Any = None
    for maps in _noisy_maps(problem, base, samples, noise, seed, options):
        # Around the first map rather than around zero, little is lost in the difference.
        first = maps[:, :1] if first is None else first
        away = np.subtract(maps, first, dtype=np.float64)
        total, square = total + away.sum(1), square + np.square(away).sum(1)
    variance = square / samples - (total / samples) ** 2
    return Maps(np.maximum(variance, 0.0).astype(np.float32))


def _noisy_maps(
    problem: Problem, base: Any, samples: int, noise: float, seed: Any, options: dict[str, Any]
) -> Iterator[np.ndarray]:
    """Yield the base method's maps (k, s, n, height, width), s samples of noise at a time."""
    check_int("samples", samples, low=1)
    check_real("noise", noise, low=0.0)
    generator = check_generator(seed)
    images, n = problem.images, len(problem)
    together = max(1, problem.batch_size // n)
    for start in range(0, samples, together):
        count = min(together, samples - start)
        grain = generator.standard_normal((count, 1, *images.shape[1:]), np.float32)
        noisy = images + np.float32(noise) * grain
        part = problem.at(noisy.reshape(-1, *images.shape[1:]), np.tile(np.arange(n), count))
        maps = base.function(part, **options).values
        yield maps.reshape(-1, count, n, *images.shape[1:3])
