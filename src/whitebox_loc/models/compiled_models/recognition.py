"""Whether a model is the one that a row builds: layers, weights and answers compared."""

from __future__ import annotations

from dataclasses import dataclass
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
    expected = _expected(row, shape)
    if layer_settings(model.layers) != expected.layers:
        return "its layers are not those of the compiled model of that name"
    weights = model.get_weights()
    same = len(weights) == len(expected.weights) and all(
        np.array_equal(a, b) for a, b in zip(weights, expected.weights, strict=True)
    )
    if not same:
        return "its weights are not those of the compiled model of that name"
    # Another wiring answers noise by at least a percent differently; rounding by 1e-6.
    if not np.allclose(_answers(model, shape), expected.answers, rtol=0, atol=1e-5):
        return "its layers are wired in another way than in the compiled model of that name"
    return None


@dataclass(frozen=True)
class _Fingerprint:
    """Layers, weights, and answers to a few images of noise, which depend on how it is wired."""

    layers: Any
    weights: list[Array]
    answers: Array


@lru_cache(maxsize=32)
def _expected(row: Compiled, shape: tuple[int, int, int]) -> _Fingerprint:
    # Rows compare by identity, so that one that takes another's place is built anew.
    model = row.build(shape[:2], shape[2])
    weights = [np.array(weight) for weight in model.get_weights()]
    return _Fingerprint(layer_settings(model.layers), weights, _answers(model, shape))


def _answers(model: keras.Model, shape: tuple[int, int, int]) -> Array:
    noise = np.random.default_rng(0).random((4, *shape), np.float32)
    return np.asarray(model(noise, training=False))
