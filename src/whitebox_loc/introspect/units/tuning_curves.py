"""Tuning: which boxes the channels of a layer respond to."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.stats import binned_statistic

from whitebox_loc._types import Array, ArrayLike, Model
from whitebox_loc._validation import check_choice, check_int, check_memory, check_model, shortened
from whitebox_loc.data import Scene, as_scene
from whitebox_loc.introspect.tracing.inputs import beside
from whitebox_loc.introspect.tracing.layers import find_layers
from whitebox_loc.introspect.tracing.reading import REDUCTIONS, layer_output
from whitebox_loc.introspect.tracing.refusals import check_answer
from whitebox_loc.introspect.units.factors import FACTORS, distinct_images, factors_of


@dataclass(frozen=True, eq=False)
class Tuning:
    """Responses of a layer's channels against factors of the box.

    Attributes
    ----------
    layer : str
    factors : tuple of str
    edges : float64 array (factors, bins + 1)
        Limits of the bins, in pixels; a bin holds its lower limit, the last one both.
    counts : int array (factors, bins)
        Images in each bin.
    mean, std : float64 arrays (factors, bins, channels)
        Of the responses; NaN where a bin is empty.
    shapes, shape_counts : tuple of str, and int array (shapes,)
        The shapes of the scene, and the images of each.
    shape_mean, shape_std : float64 arrays (shapes, channels)
        Of the responses to each shape; NaN where there is none.
    """

    layer: str
    factors: tuple[str, ...]
    edges: Array
    counts: Array
    mean: Array
    std: Array
    shapes: tuple[str, ...]
    shape_counts: Array
    shape_mean: Array
    shape_std: Array


def tuning(
    model: Model,
    layer: str,
    scene: Scene | str = "uniform",
    *,
    factors: Sequence[str] = ("top", "left", "height", "width"),
    bins: int = 20,
    n: int = 2000,
    reduce: str = "mean",
    seed: int = 0,
    example: ArrayLike = None,
    batch_size: int = 256,
) -> Tuning:
    """Return how the channels of a layer respond to place, size and shape of what is drawn.

    Parameters
    ----------
    model, layer, example, batch_size
        As for `top_images`.
    scene : Scene or str, default "uniform"
        What is drawn; no box twice, and all of them if there are fewer than `n`.
    factors : sequence of str, default ("top", "left", "height", "width")
        Of top, left, bottom, right, height, width, center_y, center_x, area.
    bins : int, default 20
        Of equal width from 0 to the size of the image (for area, its number of pixels).
    n, seed : int
        Number of images, and what they are drawn by.
    reduce : {"mean", "max", "min", "sum"}, default "mean"
        What the response of a channel is, over all its places.

    Returns
    -------
    Tuning
        Factors in pixels.

    Raises
    ------
    ValueError, TypeError
        If an argument is not one of the above.

    Examples
    --------
    >>> import whitebox_loc as wb
    >>> model, scene = wb.models.localizer(size=(12, 16)), wb.data.Scene(size=(12, 16))
    >>> outputs = tuning(model, "conv2", scene, bins=4, n=100)
    >>> outputs.mean.shape, outputs.counts.sum(axis=1).tolist(), outputs.edges[0].tolist()
    ((4, 4, 8), [100, 100, 100, 100], [0.0, 3.0, 6.0, 9.0, 12.0])
    """
    find_layers(check_model(model), [layer], "layer")
    names = _check_factors(factors)
    # Each bin holds a few numbers of each channel.
    check_memory("bins", check_int("bins", bins, low=1), 1e3 * bins, "bins")
    scene = as_scene(scene)
    images, boxes, labels = distinct_images(scene, check_int("n", n, low=1), seed)
    check_choice("reduce", reduce, REDUCTIONS)
    packed = beside(images, example).packed
    output = layer_output(model, packed, layer, reduce=reduce, batch_size=batch_size)
    responses = check_answer(f"Responses of layer {layer!r}", output, model).astype(np.float64)
    height, width = images.shape[1:3]
    values = factors_of(boxes, (1, 1))
    results = []
    for name in names:
        edges = np.linspace(0, _largest(name, height, width), bins + 1)
        results.append((edges, *_binned(values[:, FACTORS.index(name)], edges, responses)))
    edges, counts, mean, std = (np.stack(arrays) for arrays in zip(*results, strict=True))
    by_shape = _binned(labels, np.arange(len(scene.shapes) + 1), responses)
    return Tuning(layer, names, edges, counts, mean, std, scene.shapes, *by_shape)


def _check_factors(factors: Any) -> tuple[str, ...]:
    if isinstance(factors, str) or not isinstance(factors, Iterable):
        raise TypeError(
            f"`factors` must be a list of names from {list(FACTORS)}; got {shortened(factors)}. "
            "For one factor give a list of one."
        )
    names = tuple(check_choice("factors", name, FACTORS) for name in factors)
    if not names:
        raise ValueError(f"`factors` must name at least one of {list(FACTORS)}; got none.")
    return names


def _largest(factor: str, height: int, width: int) -> int:
    if factor == "area":
        return height * width
    return height if factor in ("top", "bottom", "height", "center_y") else width


def _binned(values: Array, edges: Array, responses: Array) -> tuple[Array, Array, Array]:
    """Return counts (bins,), means and standard deviations (bins, channels)."""
    mean, std = (
        binned_statistic(values, responses.T, statistic, bins=edges).statistic.T
        for statistic in ("mean", "std")
    )
    return np.histogram(values, edges)[0], mean, std
