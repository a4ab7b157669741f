"""Whether a model is the one that a row builds: layers, weights and answers compared."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import keras
import numpy as np

from whitebox_loc._digests import layer_settings
from whitebox_loc._types import Array
from whitebox_loc.models.compiled_models.record import Compiled


def difference(model: keras.Model, row: Compiled, shape: tuple[int, int, int]) -> str | None:
    """Return how a model of images of a shape differs from what a row builds; None if in no way.

    >>> import whitebox_loc as wb
    >>> rows = wb.models.COMPILED
    >>> model = rows["constant"].build((8, 8), 1)
    >>> difference(model, rows["constant"], (8, 8, 1))
    >>> difference(model, rows["dense_linear"], (8, 8, 1))
    'its layers are not those of the compiled model of that name'
    """
    layers, expected, answers = _expected(row, shape)
    if layer_settings(model.layers) != layers:
        return "its layers are not those of the compiled model of that name"
    weights = model.get_weights()
    if len(weights) != len(expected) or not all(map(np.array_equal, weights, expected)):
        return "its weights are not those of the compiled model of that name"
    # Another wiring answers noise by at least a percent differently; rounding by 1e-6.
    if not np.allclose(_answers(model, shape), answers, rtol=0, atol=1e-5):
        return "its layers are wired in another way than in the compiled model of that name"
    return None


@lru_cache(maxsize=32)
def _expected(row: Compiled, shape: tuple[int, int, int]) -> tuple[Any, list[Array], Array]:
    """Return layers, weights, and answers to noise, which depend on how the layers are wired."""
    # Rows compare by identity, so that one that takes another's place is built anew.
    model = row.build(shape[:2], shape[2])
    weights = [np.array(weight) for weight in model.get_weights()]
    return layer_settings(model.layers), weights, _answers(model, shape)


def _answers(model: keras.Model, shape: tuple[int, int, int]) -> Array:
    noise = np.random.default_rng(0).random((4, *shape), np.float32)
    return np.asarray(model(noise, training=False))
