"""A target of a model at variants of images, a bounded number at a time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from whitebox_loc._types import Array, ArrayLike
from whitebox_loc._validation import check_int, check_model
from whitebox_loc.evaluation.scores.checking import check_maps, check_shown
from whitebox_loc.introspect.targets import as_target
from whitebox_loc.introspect.targets.query import Query
from whitebox_loc.introspect.tracing.inputs import Inputs


class Responses:
    """One target of a model, whatever `saliency` takes as one, at variants of some images.

    ``pixels_per_unit`` turns a target in fractions into pixels; 1 if it is no coordinate.
    """

    def __init__(self, model: keras.Model, images: ArrayLike, target: Any, batch_size: int) -> None:
        self.images = check_shown(images)
        check_int("batch_size", batch_size, low=1)
        inputs = Inputs(self.images, (), 0)
        self._query = Query(check_model(model), inputs, [as_target(target)], "identity", batch_size)
        self._batch = batch_size
        self.pixels_per_unit = _pixels_per_unit(target, self.images.shape[1:3])

    def __len__(self) -> int:
        return len(self.images)

    def check_maps(self, maps: ArrayLike) -> Array:
        """Return maps if there is one for each image."""
        maps = check_maps(maps)
        if maps.shape != self.images.shape[:3]:
            raise ValueError(
                f"`maps` must have one map for each of the `images`, shape "
                f"{self.images.shape[:3]}; got {maps.shape}."
            )
        return maps

    def at(self, images: Array) -> Array:
        """Return the target, float64 (n,), at one variant of each image."""
        return self.of(lambda rows, _: images[rows], 1)[:, 0]

    def of(self, make: Callable[[Array, Array], Array], count: int) -> Array:
        """Return the target, float64 (n, count), at `count` variants of each image.

        ``make(rows, numbers)`` draws the variants of these numbers of the images `rows`.
        """
        total = len(self) * count
        values = np.empty(total, np.float64)
        for start in range(0, total, self._batch):
            rows, numbers = np.divmod(np.arange(start, min(start + self._batch, total)), count)
            points = np.ascontiguousarray(make(rows, numbers), np.float32)
            values[start : start + len(rows)] = self._query.values(points, rows).numpy()[0]
        return values.reshape(len(self), count)


def _pixels_per_unit(target: Any, size: tuple[int, int]) -> float:
    height, width = size
    if not isinstance(target, str):
        return 1.0
    if target == "area":
        return float(height * width)
    return float(width if target in ("left", "right", "width", "center_x") else height)
