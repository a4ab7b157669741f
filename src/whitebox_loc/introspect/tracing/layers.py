"""Names of the layers of any Keras model: paths such as ``backbone/conv2``."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import keras

from whitebox_loc._types import Model
from whitebox_loc._validation import check_ints, did_you_mean, shortened

# In a message; of a deep network the last ones, which are mostly meant.
_MOST_NAMES = 30


def named_layers(model: Model) -> dict[str, keras.Layer]:
    """Return every layer of `model` by path, containers before their contents.

    A path is the names from the model's own children downwards, joined by ``/``. A
    layer that is reached on several ways has the path of the first. Two layers of
    equal name in one container become ``name`` and ``name~2``.
    """
    layers: dict[str, keras.Layer] = {}
    _collect(model, "", layers, {id(model)})
    return layers


def find_layers(
    model: Model, names: Iterable[object], argument: str = "layers"
) -> dict[str, keras.Layer]:
    """Return the layers that the call names ``path`` or ``path#2`` in `names` stand for."""
    layers, selection = named_layers(model), {}
    for name in names:
        if not isinstance(name, str):
            raise TypeError(
                f"`{argument}` must name layers of model {model.name!r}, as text; got "
                f"{shortened(name)} of type {type(name).__name__}. `list_layers(model)` lists them."
            )
        path = split_call(name)[0]
        if path not in layers:
            hint = did_you_mean(path, layers)
            raise ValueError(
                f"`{argument}` must name layers of model {model.name!r}, some of "
                f"{list(layers)[-_MOST_NAMES:]}; got {shortened(name)}.{hint} "
                "`list_layers(model)` lists them."
            )
        selection[path] = layers[path]
    return selection


def layer_names(layers: object) -> list[str]:
    """Return what a public function got as `layers`, a name or several, as a list."""
    if isinstance(layers, str):
        return [layers]
    if not isinstance(layers, (list, tuple)) or not all(isinstance(n, str) for n in layers):
        raise TypeError(
            "`layers` must be the path of a layer or a list of such, as `list_layers` gives "
            f"them; got {shortened(layers)} of type {type(layers).__name__}."
        )
    if not layers:
        raise ValueError("`layers` must name at least one layer; got none.")
    return list(layers)


def channel_indices(argument: str, channels: Any, count: int) -> list[int]:
    """Return the channels of a layer of `count` that an `argument` names, None for all."""
    if channels is None:
        return list(range(count))
    return [c % count for c in check_ints(argument, channels, low=-count, high=count - 1)]


def split_call(name: str) -> tuple[str, int | None]:
    """Split ``"conv#2"`` into the path and the number of the call, None if all are meant."""
    path, mark, number = name.rpartition("#")
    return (path, int(number)) if mark and number.isdigit() else (name, None)


def _collect(parent: Any, prefix: str, layers: dict[str, keras.Layer], seen: set[int]) -> None:
    # `layers` of a Sequential leaves out the Functional model that Keras builds inside
    # it; `_flatten_layers` is what Keras itself uses for layers held by other layers.
    own = getattr(parent, "layers", None)
    if not isinstance(own, list):
        own = parent._flatten_layers(include_self=False, recursive=False)
    for layer in own:
        if isinstance(layer, keras.layers.InputLayer) or id(layer) in seen:
            continue
        seen.add(id(layer))
        path, repeat = f"{prefix}{layer.name}", 2
        while path in layers:
            path, repeat = f"{prefix}{layer.name}~{repeat}", repeat + 1
        layers[path] = layer
        _collect(layer, f"{path}/", layers, seen)
