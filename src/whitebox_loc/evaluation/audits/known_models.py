"""Worlds of certain truth, in which metrics are audited."""

from __future__ import annotations

from collections.abc import Callable

import keras
import numpy as np

from whitebox_loc._types import Array, Model
from whitebox_loc.boxes.formats import COORDINATES
from whitebox_loc.data import Scene, generate, render
from whitebox_loc.evaluation.scores.record import Metric, Trial
from whitebox_loc.evaluation.scores.replacing import FILLS
from whitebox_loc.evaluation.scores.signs import evidence_of
from whitebox_loc.models import compiled, mechanism

SIZE = (16, 16)

Exact = Callable[[Model, Array], Array]
"""From a model and images to the truth that the oracle gets."""

World = Callable[[Metric, str, int, int], tuple[Trial, Exact]]
"""From a metric, a coordinate, a number of images and a seed to a trial and its truth."""


def crossed_lines(size: tuple[int, int] = SIZE, channels: int = 1) -> keras.Model:
    """Return a linear model that is exact for every box that covers the image's centre.

    It adds up the brightness of half a line: ``top`` is height / 2 minus the sum over the upper
    half of the middle column, ``bottom`` height / 2 plus that of the lower half; ``left`` and
    ``right`` use the middle row. Slopes are -1 or 1 pixel per unit of brightness there, 0 else.

    >>> crossed_lines((8, 16))(render([[1, 2, 7, 12]], Scene(size=(8, 16)))).numpy()
    array([[0.125, 0.125, 0.875, 0.75 ]], dtype=float32)
    """
    height, width = size
    if height % 2 or width % 2:
        raise ValueError(f"`size` must be two even numbers; got {size}.")
    kernel = np.zeros((height, width, channels, 4), np.float32)
    kernel[: height // 2, width // 2, :, 0] = -1 / height
    kernel[height // 2, : width // 2, :, 1] = -1 / width
    kernel[height // 2 :, width // 2, :, 2] = 1 / height
    kernel[height // 2, width // 2 :, :, 3] = 1 / width
    images = keras.Input((height, width, channels), name="image")
    flat = keras.layers.Flatten(name="flatten")(images)
    model = keras.Model(images, keras.layers.Dense(4, name="box")(flat), name="crossed_lines")
    model.get_layer("box").set_weights(
        [kernel.reshape(-1, 4) / channels, np.full(4, 0.5, np.float32)]
    )
    return model


def task_world(row: Metric, coordinate: str, n: int, seed: int) -> tuple[Trial, Exact]:
    """Return a trial without a model, and the evidence of the coordinate."""
    scene = Scene(size=SIZE)
    batch = generate(scene, n, seed=seed)
    mask = evidence_of(batch.boxes, scene, coordinate, batch.labels)
    trial = Trial(
        mask.astype(np.float32), batch.images, batch.boxes, coordinate, scene, batch.labels,
        seed=seed,
    )  # fmt: skip
    return trial, lambda model, images: mask


def linear_world(row: Metric, coordinate: str, n: int, seed: int) -> tuple[Trial, Exact]:
    """Return a trial of `crossed_lines`, and its slopes or shares, as the metric needs."""
    rng, (height, width) = np.random.default_rng(seed), SIZE
    scene, model = Scene(size=SIZE), crossed_lines(SIZE)
    # At least two pixels on each side of the centre: no line meets the evidence of other edges.
    # And one pixel free at the border, so that each edge has a dark side.
    corners = [rng.integers(1, side // 2 - 1, size=n) for side in (height, width)]
    ends = [rng.integers(side // 2 + 2, side, size=n) for side in (height, width)]
    boxes = np.stack([*corners, *ends], axis=1)
    images = render(boxes, scene)
    index = COORDINATES.index(coordinate)

    def exact(model: keras.Model, images: Array) -> Array:
        kernel = model.get_layer("box").get_weights()[0][:, index]
        slope = np.broadcast_to(kernel.reshape(1, *SIZE), images.shape[:3])
        if row.oracle == "slope":
            return slope
        return slope * (images - FILLS[row.oracle](images))[..., 0]

    used = exact(model, np.ones_like(images)) != 0
    trial = Trial(
        np.zeros(images.shape[:3], np.float32), images, boxes, coordinate, scene,
        np.zeros(n, np.int64), model=model, used=used, seed=seed,
    )  # fmt: skip
    return trial, exact


def compiled_world(
    name: str, row: Metric, coordinate: str, n: int, seed: int
) -> tuple[Trial, Exact]:
    """Return a trial without a model, and the pixels that a compiled model uses."""
    scene, model = Scene(size=SIZE), compiled(name, size=SIZE)
    batch = generate(scene, n, seed=seed)
    used = mechanism(model).used(batch.images)[COORDINATES.index(coordinate)]
    trial = Trial(
        used.astype(np.float32), batch.images, batch.boxes, coordinate, scene, batch.labels,
        used=used, seed=seed,
    )  # fmt: skip
    return trial, lambda model, images: used
