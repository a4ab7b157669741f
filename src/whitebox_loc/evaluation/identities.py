"""Whether two jobs are the same: digests of settings, of code and of models."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import inspect
import json
import re
import types
from typing import Any

import keras
import numpy as np

__all__ = ["describe", "digest", "model_digest"]

_PLAIN = (bool, int, float, str, type(None))


def digest(value: Any) -> str:
    """Return 16 hexadecimal digits that change with what `describe` says of a value.

    Parameters
    ----------
    value : object
        As for `describe`.

    Returns
    -------
    str

    Examples
    --------
    >>> digest({"steps": 50, "rule": "left"}) == digest({"rule": "left", "steps": 50})
    True
    >>> digest({"steps": 50}) == digest({"steps": 51})
    False
    """
    text = json.dumps(describe(value), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def describe(value: Any) -> Any:
    """Return plain data for JSON that tells `value` from others.

    A function is described by its source and, as far as it can be read, by what it takes from
    around it: constants and the functions of its own module that it uses. So a metric that has
    been edited is another metric.

    Parameters
    ----------
    value : object
        Numbers, text, None, arrays, dataclasses, functions, and lists, tuples, sets and
        dicts of them.

    Returns
    -------
    object
        Of dicts, lists, text, numbers and None.

    Raises
    ------
    TypeError
        If something in it has no stable description.

    Examples
    --------
    >>> describe({"baseline": (0.0, np.float32(1))})
    {'baseline': [0.0, 1.0]}
    """
    if isinstance(value, _PLAIN):
        return value
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        content = hashlib.sha256(np.ascontiguousarray(value).tobytes()).hexdigest()
        return {"array": [list(value.shape), str(value.dtype), content]}
    if isinstance(value, dict):
        return {str(key): describe(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [describe(item) for item in value]
    if isinstance(value, (set, frozenset)):
        return sorted((describe(item) for item in value), key=json.dumps)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
        return {type(value).__name__: describe(fields)}
    if callable(value):
        return _describe_function(value, set())
    raise TypeError(
        f"An option must be a number, text, None, an array, a function, a dataclass, or a list, "
        f"tuple or dict of these, so that a later run knows it again; got {value!r} of type "
        f"{type(value).__name__}."
    )


def model_digest(model: keras.Model) -> str:
    """Return 16 hexadecimal digits that change with layers, settings or weights of a model.

    The numbers that Keras appends to names by itself do not count: a model that is saved and
    loaded, or built a second time, keeps its digest.

    Parameters
    ----------
    model : keras.Model

    Returns
    -------
    str

    Examples
    --------
    >>> import whitebox_loc as wb
    >>> first, again = (wb.models.localizer(size=(8, 8), seed=0) for _ in range(2))
    >>> model_digest(first) == model_digest(again)
    True
    >>> model_digest(first) == model_digest(wb.models.localizer(size=(8, 8), seed=1))
    False
    """
    found = hashlib.sha256(json.dumps(_architecture(model), sort_keys=True, default=str).encode())
    for weight in model.weights:
        values = np.asarray(weight)
        found.update(f"{values.shape}{values.dtype}".encode())
        found.update(np.ascontiguousarray(values).tobytes())
    return found.hexdigest()[:16]


def _architecture(model: keras.Model) -> Any:
    try:
        config = keras.saving.serialize_keras_object(model)
    except (NotImplementedError, TypeError, ValueError):
        return [type(model).__name__, [type(layer).__name__ for layer in model.layers]]
    config = {"config": config.get("config"), "class_name": config.get("class_name")}
    names: dict[str, str] = {}
    _automatic_names(config, names)
    return _renamed(config, names)


def _automatic_names(config: Any, names: dict[str, str]) -> None:
    """Collect the names that Keras made of a class and a number, in order of appearance."""
    if isinstance(config, dict):
        name = config["config"].get("name") if isinstance(config.get("config"), dict) else None
        if isinstance(name, str) and isinstance(config.get("class_name"), str):
            stem = re.sub(r"_\d+$", "", name)
            if stem.replace("_", "") == config["class_name"].lower():
                names.setdefault(name, f"{stem} {len(names)}")
        config = list(config.values())
    if isinstance(config, (list, tuple)):
        for item in config:
            _automatic_names(item, names)


def _renamed(config: Any, names: dict[str, str]) -> Any:
    if isinstance(config, dict):
        return {key: _renamed(item, names) for key, item in config.items()}
    if isinstance(config, (list, tuple)):
        return [_renamed(item, names) for item in config]
    return names.get(config, config) if isinstance(config, str) else config


def _describe_function(function: Any, seen: set[Any]) -> Any:
    if isinstance(function, functools.partial):
        parts = (function.args, function.keywords)
        return {"partial": [_describe_function(function.func, seen), describe(parts)]}
    function = inspect.unwrap(function)
    if not isinstance(function, types.FunctionType):
        kind = function if isinstance(function, type) else type(function)
        return {"object": f"{kind.__module__}.{kind.__qualname__}", "code": _source(kind)}
    seen.add(function)
    told: dict[str, Any] = {"function": function.__qualname__, "code": _source(function)}
    for name, value in sorted(_surroundings(function).items()):
        if isinstance(value, types.FunctionType):
            if value not in seen and value.__module__ == function.__module__:
                told[f"uses {name}"] = _describe_function(value, seen)
        elif not isinstance(value, (types.ModuleType, type)):
            told[f"reads {name}"] = _describe_constant(value)
    return told


def _source(thing: Any) -> str:
    try:
        return inspect.getsource(thing)
    except (OSError, TypeError):
        code = getattr(thing, "__code__", None)
        return repr((code.co_code, code.co_names, code.co_consts)) if code else repr(thing)


def _surroundings(function: types.FunctionType) -> dict[str, Any]:
    try:
        found = inspect.getclosurevars(function)
    except (TypeError, ValueError):
        return {}
    return {**found.globals, **found.nonlocals}


def _describe_constant(value: Any) -> Any:
    """Return what is known of a value that a function reads; tables of objects by size only."""
    if isinstance(value, _PLAIN):
        return value
    if isinstance(value, (list, tuple)) and all(isinstance(item, _PLAIN) for item in value):
        return list(value)
    return type(value).__name__
