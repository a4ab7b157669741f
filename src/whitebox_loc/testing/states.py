"""What a question must leave as it was: the model, its inputs and the random state."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from whitebox_loc._types import Model
from whitebox_loc.introspect.tracing.layers import named_layers


def snapshot(model: Model) -> dict[str, Any]:
    """Return all of a built model that looking inside must not change, by what it is.

    Examples
    --------
    >>> import whitebox_loc as wb
    >>> model = wb.models.localizer(size=(8, 8))
    >>> before = snapshot(model)
    >>> model.get_layer("conv1").trainable = False
    >>> changes(before, snapshot(model))
    ["`trainable` of layer 'conv1'"]
    """
    state: dict[str, Any] = {}
    layers = {"the model": model}
    layers |= {f"layer {path!r}": layer for path, layer in named_layers(model).items()}
    for name, layer in layers.items():
        call = getattr(layer.call, "__func__", layer.call)
        state[f"`call` of {name}"] = (vars(layer).get("call"), call)
        state[f"the object that is {name}"] = id(layer)
        state[f"`trainable` of {name}"] = layer.trainable
        state[f"names of the attributes of {name}"] = sorted(vars(layer))
        state[f"losses of {name}"] = [id(loss) for loss in layer._losses]
    for number, variable in enumerate(model.variables):
        weight = (variable.shape, np.asarray(variable).tobytes())
        state[f"weight {number}, {variable.path!r}"] = weight
    return state


def changes(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    """Return the names of what differs between two snapshots."""
    return [name for name in before | after if before.get(name) != after.get(name)]


@contextmanager
def unchanged(who: str, model: Model | None, **arrays: Any) -> Iterator[None]:
    """Raise an AssertionError if what runs inside changes a model, arrays or the random state."""
    before = _everything(model, arrays)
    yield
    changed = changes(before, _everything(model, arrays))
    if changed:
        more = f" and {len(changed) - 1} more" if len(changed) > 1 else ""
        raise AssertionError(
            f"{who} does not leave things as they were: it changed {changed[0]}{more}. Look at "
            "what it assigns: work on copies, restore in `finally`, and take random numbers from "
            "a generator of its own."
        )


def _everything(model: Model | None, arrays: dict[str, Any]) -> dict[str, Any]:
    state = {} if model is None else snapshot(model)
    for name, structure in arrays.items():
        state[f"the `{name}` given"] = [np.asarray(a).tobytes() for a in tf.nest.flatten(structure)]
    state["the random state of Python (`random`)"] = random.getstate()
    name, keys, *rest = np.random.get_state()  # noqa: NPY002 - the state that must stay
    state["the random state of NumPy (`numpy.random`)"] = (name, np.asarray(keys).tobytes(), rest)
    state["the global dtype policy of Keras"] = keras.config.dtype_policy().name
    return state
