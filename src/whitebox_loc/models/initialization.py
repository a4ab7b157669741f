"""Fresh weights from a seed of one's own instead of Keras' global one."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager

import keras
import numpy as np

from whitebox_loc._validation import check_generator, check_model


def reinitialize(model: keras.Model, *, seed: int | np.random.Generator = 0) -> keras.Model:
    """Draw all weights of `model` anew, in place, from each layer's own initializer; return it.

    Parameters
    ----------
    model : keras.Model
        A built model.
    seed : int or numpy.random.Generator, default 0
        Equal seeds give equal weights, and so does the seed that the model was built with: to
        randomize a model take another one.

    Raises
    ------
    ValueError, TypeError
        If a layer does not say how one of its weights is initialized; nothing is changed.

    Examples
    --------
    >>> import whitebox_loc as wb
    >>> model = wb.models.localizer(size=(8, 8), seed=0)
    >>> reinitialize(model, seed=1) is model
    True
    """
    check_model(model)
    generator = check_generator(seed)
    weights = [
        (variable, _initializer_of(layer, variable))
        for layer in model._flatten_layers(include_self=False)
        for variable in layer._trainable_variables + layer._non_trainable_variables
    ]
    for variable, initializer in weights:
        fresh = _with_seed(initializer, int(generator.integers(2**31)))
        variable.assign(fresh(variable.shape, variable.dtype))
    return model


@contextmanager
def kept_random_state() -> Iterator[None]:
    """Leave Python's `random` as it was, of which Keras takes seeds for every model it builds."""
    state = random.getstate()
    try:
        yield
    finally:
        random.setstate(state)


def _initializer_of(layer: keras.Layer, variable: keras.Variable) -> keras.initializers.Initializer:
    # Such as `layer.kernel_initializer`; `depthwise_initializer` is that of a depthwise `kernel`.
    names = (variable.name, f"_{variable.name}", variable.name.removesuffix("_kernel"))
    for name in (*names, *(["depthwise"] if variable.name == "kernel" else [])):
        if hasattr(layer, f"{name}_initializer"):
            return getattr(layer, f"{name}_initializer")
    raise ValueError(
        f"`model` has a layer {layer.name!r} of class {type(layer).__name__} that does not say how "
        f"its weight {variable.name!r} is initialized. Give the layer an attribute "
        f"`{variable.name}_initializer`."
    )


def _with_seed(
    initializer: keras.initializers.Initializer, seed: int
) -> keras.initializers.Initializer:
    config = initializer.get_config()
    if "seed" in config:
        config["seed"] = seed
    return type(initializer).from_config(config)
