"""Whether two jobs are the same: digests of settings, of code and of models."""

from __future__ import annotations

import contextlib
import dataclasses
import enum
import functools
import hashlib
import inspect
import json
import re
import types
import typing
import uuid
from collections.abc import Iterable
from pathlib import PurePath
from typing import Any, NamedTuple

import keras
import numpy as np

from whitebox_loc._types import Model


def digest(value: Any) -> str:
    """Return 16 hexadecimal digits that change with the description of a value."""
    text = json.dumps(describe(value), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def describe(value: Any) -> Any:
    """Return plain data for JSON that differs for values that differ.

    A value is a number, text, None, an array, a model, a dataclass, a function, or a list, tuple,
    set or dict of these. A function is described by its qualified name, source, defaults and
    closure, and by the functions, classes and constants of its own module that it names; an
    object that it reads by class and attributes. What has no source or hides its content, such
    as an open file, has another description each time: it equals nothing; other than read by a
    function, it is a TypeError.

    Examples
    --------
    >>> describe({"baseline": (0.0, np.float32(1))})
    {'baseline': [0.0, 1.0]}
    >>> double, triple = (lambda x, k=k: k * x for k in (2, 3))
    >>> describe(double) == describe(triple)
    False
    """
    return _describe(value, _Reader(None, {}))


def model_digest(model: Model, *, weights: bool = True) -> str:
    """Return 16 hexadecimal digits that change with layers, wiring or weights of a model.

    The name of the model and the numbers that Keras appends to names of layers do not count: a
    model that is saved and loaded, or built a second time, keeps its digest. Nor do the values
    of the weights if `weights` is False.
    """
    inside = model._flatten_layers(include_self=False)
    settings = layer_settings(layer for layer in inside if not isinstance(layer, keras.Model))
    parts = [type(model).__name__, model.dtype_policy.name, settings, _wiring(model)]
    content = hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode())
    for values in map(np.asarray, model.weights if weights else ()):
        content.update(f"{values.shape}{values.dtype}".encode())
        content.update(values.tobytes())
    return content.hexdigest()[:16]


def layer_settings(layers: Iterable[keras.layers.Layer]) -> Any:
    """Return classes and settings of layers, without the names that Keras chooses."""
    settings = []
    for layer in layers:
        try:
            config = layer.get_config()
        except NotImplementedError:
            config = None
        settings.append({"class_name": type(layer).__name__, "config": config})
    return _with_regular_names(settings)


def _wiring(model: Model) -> Any:
    """Return which layer reads which, with operations between them; None if it is only in code."""
    try:
        config = model.get_config()
    except (NotImplementedError, TypeError, ValueError):
        return None
    return _with_regular_names({key: config[key] for key in config if key != "name"})


def _with_regular_names(config: Any) -> Any:
    """Return a configuration with names of the form "dense_7" numbered as they appear.

    Keras counts layers for as long as the process lives, so that a second model gets others.
    """
    names: dict[str, str] = {}
    _collect_names(config, names)
    return _renamed(config, names)


def _collect_names(config: Any, names: dict[str, str]) -> None:
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
            _collect_names(item, names)


USAGE = frozenset({"build_config", "build_input_shape", "compile_config"})
"""Settings in which Keras records how a model has been used so far."""


def _renamed(config: Any, names: dict[str, str]) -> Any:
    if isinstance(config, dict):
        return {k: _renamed(item, names) for k, item in config.items() if k not in USAGE}
    if isinstance(config, (list, tuple)):
        return [_renamed(item, names) for item in config]
    return names.get(config, config) if isinstance(config, str) else config


class _Reader(NamedTuple):
    """The module of the function that reads a value, if any, and what has been met so far."""

    module: str | None
    # The things themselves, so that none is let go and its id given to another.
    seen: dict[int, Any]


_PLAIN = (bool, int, float, str, type(None))
_SMALL = (*_PLAIN, np.generic, np.dtype, bytes, complex, range, slice, type(...), re.Pattern,
          enum.Enum, PurePath, keras.Model)  # fmt: skip
_COLLECTIONS = (dict, list, tuple, set, frozenset, np.ndarray, types.MappingProxyType)


def _describe(value: Any, reader: _Reader) -> Any:
    if isinstance(value, np.ndarray) and not value.dtype.hasobject:
        content = hashlib.sha256(value.tobytes()).hexdigest()
        return {"array": [list(value.shape), str(value.dtype), content]}
    if isinstance(value, _SMALL) or typing.get_origin(value) is not None:
        return _describe_leaf(value)
    if id(value) in reader.seen:
        return {"again": list(reader.seen).index(id(value))}
    reader.seen[id(value)] = value
    if isinstance(value, _COLLECTIONS):
        items = _describe_collection(value, reader)
        del reader.seen[id(value)]  # What stands twice in a table is no cycle.
        return items
    if isinstance(value, functools.partial):
        return {"partial": [_describe(v, reader) for v in (value.func, value.args, value.keywords)]}
    if isinstance(value, types.MethodType):
        return {"method": [_describe(v, reader) for v in (value.__func__, value.__self__)]}
    if isinstance(value, type):
        return _describe_class(value, reader)
    if callable(value) and isinstance(inspect.unwrap(value), types.FunctionType):
        return _describe_function(inspect.unwrap(value), reader)
    return _describe_object(value, reader)


def _describe_leaf(value: Any) -> Any:
    if isinstance(value, _PLAIN):
        return value
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, keras.Model):
        return {"model": model_digest(value)}
    return {type(value).__name__: repr(value)}


def _describe_collection(value: Any, reader: _Reader) -> Any:
    if isinstance(value, (list, tuple, np.ndarray)):
        return [_describe(item, reader) for item in value]
    # In an order that every process has: what is met again is only numbered.
    keys = sorted(value, key=lambda key: getattr(key, "__qualname__", None) or repr(key))
    if isinstance(value, (set, frozenset)):
        return sorted((_describe(key, reader) for key in keys), key=json.dumps)
    return {str(key): _describe(value[key], reader) for key in keys}


def _describe_function(function: types.FunctionType, reader: _Reader) -> Any:
    """Return source, defaults and closure; of a function of the same module, also globals."""
    reader.seen[id(function)] = function
    inside = reader._replace(module=reader.module or function.__module__)
    values = {"(defaults)": function.__defaults__, "(keywords)": function.__kwdefaults__}
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        with contextlib.suppress(ValueError):  # A name that is not bound yet has an empty cell.
            values[name] = cell.cell_contents
    if function.__module__ == inside.module:
        names = {name for code in _codes(function.__code__) for name in code.co_names}
        values = _named(names, function.__globals__) | values
    return _described(function, _source(function.__code__), values, inside)


def _describe_class(kind: type, reader: _Reader) -> Any:
    """Return the name, and of a class of the module that is read also source and globals."""
    if kind.__module__ != reader.module:
        return {"class": f"{kind.__module__}.{kind.__qualname__}"}
    source, namespace = _source(kind), getattr(inspect.getmodule(kind), "__dict__", {})
    return _described(kind, source, _named(re.findall(r"\w+", source or ""), namespace), reader)


def _named(names: Iterable[str], namespace: dict[str, Any]) -> dict[str, Any]:
    return {name: namespace[name] for name in names if name in namespace}


def _described(thing: Any, source: str | None, values: dict[str, Any], reader: _Reader) -> Any:
    """Return name and source of a function or class, and the values that it reads."""
    if source is None:
        return _unknown()
    reads = {
        name: value.__name__ if isinstance(value, types.ModuleType) else _describe(value, reader)
        for name, value in sorted(values.items())
    }
    return {"name": f"{thing.__module__}.{thing.__qualname__}", "source": source, "reads": reads}


def _describe_object(value: Any, reader: _Reader) -> Any:
    """Return class and attributes of an object that Python code defines: nothing is hidden."""
    if callable(value):
        owner = getattr(value, "__self__", None)
        compiled = isinstance(value, (types.BuiltinFunctionType, np.ufunc))
        if compiled and (owner is None or isinstance(owner, (types.ModuleType, type))):
            name = getattr(value, "__qualname__", value.__name__)
            return {"compiled": f"{getattr(value, '__module__', None)}.{name}"}
        reader = reader._replace(module=type(value).__module__)
    if dataclasses.is_dataclass(value):
        fields = {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
        content = {type(value).__name__: _describe(fields, reader)}
        return {**content, "class": reader.module and _describe(type(value), reader)}
    # An object as an option is a mistake more often than not; a function may read any.
    if reader.module is None:
        raise TypeError(
            f"An option must be a number, text, None, an array, a function, a dataclass, or a "
            f"list, tuple or dict of these, so that a later run knows it again; got {value!r} of "
            f"type {type(value).__name__}."
        )
    if not _is_open(type(value)):
        return _unknown()
    return {"class": _describe(type(value), reader), "holds": _describe(vars(value), reader)}


def _unknown() -> dict[str, str]:
    """Return the description of what cannot be known again: it equals no other."""
    return {"unknown": uuid.uuid4().hex}


def _is_open(kind: type) -> bool:
    """Return whether ``vars`` of an object of this class holds all that it holds."""
    # Values of Keras are on devices, and its attributes are half the library.
    return kind.__module__.split(".")[0] not in ("keras", "tensorflow") and all(
        _source(base) is not None and not vars(base).get("__slots__") for base in kind.__mro__[:-1]
    )


@functools.lru_cache(maxsize=4096)
def _source(thing: type | types.CodeType) -> str | None:
    """Return the source of a class or function; None if there is none, or not what runs."""
    try:
        lines, start = inspect.findsource(thing)
        codes = _codes_in("".join(lines))
    except (OSError, SyntaxError, TypeError):
        return None
    # Where a file was edited after its import, its code is no longer that of the process.
    if isinstance(thing, type):
        methods = [m.__code__ for m in vars(thing).values() if isinstance(m, types.FunctionType)]
        own = {code for code in methods if code.co_filename == inspect.getfile(thing)}
        return "".join(inspect.getblock(lines[start:])) if own <= codes else None
    lines = lines[thing.co_firstlineno - 1 :]
    if thing.co_name != "<lambda>":
        return "".join(inspect.getblock(lines)) if thing in codes else None
    # Several may stand on a line: the text ends where this one does.
    ends = [(end, column) for _, end, _, column in thing.co_positions() if end and column]
    if thing not in codes or not ends:
        return None
    last, column = max(ends)
    lines = lines[: last - thing.co_firstlineno + 1]
    return "".join(lines[:-1]) + lines[-1].encode()[:column].decode()


@functools.lru_cache(maxsize=64)
def _codes_in(source: str) -> frozenset[types.CodeType]:
    """Return the code of all functions in a source."""
    return frozenset(_codes(compile(source, "", "exec", dont_inherit=True)))


def _codes(code: types.CodeType) -> list[types.CodeType]:
    """Return code and that of the functions and generators inside it."""
    codes = [code]
    for each in codes:
        codes += [part for part in each.co_consts if isinstance(part, types.CodeType)]
    return codes
