"""Whether a model is the one that a row builds: layers, weights and answers compared."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import keras
import numpy as np

from whitebox_loc.models.glass.record import Compiled

__all__ = ["difference"]


def difference(model: keras.Model, row: Compiled, shape: tuple[int, int, int]) -> str | None:
    """Return in which respect a model differs from what a row builds; None if in none.

    Parameters
    ----------
    model : keras.Model
    row : Compiled
    shape : (int, int, int)
        Height, width and channels of the images that the model takes.

    Returns
    -------
    str or None

    Examples
    --------
    >>> import whitebox_loc as wb
    >>> rows = wb.models.COMPILED
    >>> model = rows["constant"].build((8, 8), 1)
    >>> difference(model, rows["constant"], (8, 8, 1))
    >>> difference(model, rows["dense_linear"], (8, 8, 1))
    'its layers are not those of the compiled model of that name'
    """
    expected = _expected(row, shape)
    if _layers(model) != expected.layers:
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
    """Layers, weights, and answers to a few images of noise, which tell how it is wired."""

    layers: Any
    weights: list[np.ndarray]
    answers: np.ndarray


@lru_cache(maxsize=32)
def _expected(row: Compiled, shape: tuple[int, int, int]) -> _Fingerprint:
    # Rows compare by identity, so that one that takes another's place is built anew.
    model = row.build(shape[:2], shape[2])
    weights = [np.array(weight) for weight in model.get_weights()]
    return _Fingerprint(_layers(model), weights, _answers(model, shape))


def _answers(model: keras.Model, shape: tuple[int, int, int]) -> np.ndarray:
    noise = np.random.default_rng(0).random((4, *shape), np.float32)
    return np.asarray(model(noise, training=False))


def _layers(model: keras.Model) -> Any:
    """Return kinds and settings of all layers, without the names that Keras made up."""
    configs = [
        {"class_name": type(layer).__name__, "config": layer.get_config()} for layer in model.layers
    ]
    names: dict[str, str] = {}
    _made_up(configs, names)
    return _renamed(configs, names)


def _made_up(config: Any, names: dict[str, str]) -> None:
    """Collect names that are a class and perhaps a number, and number them as they appear.

    Keras counts layers for as long as the process lives, so that a second model gets others.
    """
    if isinstance(config, dict):
        kind, inner = config.get("class_name"), config.get("config")
        name = inner.get("name") if isinstance(inner, dict) else None
        if isinstance(kind, str) and isinstance(name, str):
            stem = re.sub(r"_\d+$", "", name)
            if stem.replace("_", "") == kind.lower():
                names.setdefault(name, f"{stem} {len(names)}")
        config = list(config.values())
    if isinstance(config, (list, tuple)):
        for item in config:
            _made_up(item, names)


def _renamed(config: Any, names: dict[str, str]) -> Any:
    if isinstance(config, dict):
        return {key: _renamed(item, names) for key, item in config.items()}
    if isinstance(config, (list, tuple)):
        return [_renamed(item, names) for item in config]
    return names.get(config, config) if isinstance(config, str) else config
