"""Whether two jobs are the same: digests of settings, of code and of models."""

from __future__ import annotations

import contextlib
import dataclasses
import dis
import enum
import functools
import hashlib
import inspect
import json
import os
import re
import types
import uuid
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np

__all__ = ["describe", "digest", "model_digest", "without_made_up_names"]

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

    A function is described by its compiled code, its defaults, and what it takes from around
    it: values in its closure, and the constants, tables and functions of its own module that it
    reads. A bound method is described with its object, a callable object by its class and what
    it holds. So a metric that has been edited, or made with another number, is another metric.
    If a function reads something that has no stable description, such as an open file, each
    description of it is another one: nothing is ever equal to it.

    Parameters
    ----------
    value : object
        Numbers, text, None, arrays, models, dataclasses, functions, and lists, tuples, sets and
        dicts of them.

    Returns
    -------
    object
        Of dicts, lists, text, numbers and None.

    Raises
    ------
    TypeError
        If something in it has no stable description, and is not merely read by a function.

    Examples
    --------
    >>> describe({"baseline": (0.0, np.float32(1))})
    {'baseline': [0.0, 1.0]}
    >>> double, triple = (lambda x, k=k: k * x for k in (2, 3))
    >>> describe(double) == describe(triple)
    False
    """
    return _describe(value, _Reading())


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
    return without_made_up_names(config)


@dataclasses.dataclass
class _Reading:
    """Where a description stands: in a function of which module, and what has been met so far."""

    module: str | None = None
    # The things themselves, so that none is let go and its id given to another.
    seen: dict[int, tuple[int, Any]] = dataclasses.field(default_factory=dict)

    def within(self, module: str | None) -> _Reading:
        return _Reading(module or "", self.seen)


def _describe(value: Any, at: _Reading) -> Any:
    if id(value) in at.seen:
        return {"again": at.seen[id(value)][0]}
    if (isinstance(value, np.ndarray) and not value.dtype.hasobject) or isinstance(value, _SMALL):
        return _describe_leaf(value)
    at.seen[id(value)] = (len(at.seen), value)
    if isinstance(value, _COLLECTIONS):
        told = _describe_collection(value, at)
        # What stands twice in a table is no cycle: it is told twice.
        del at.seen[id(value)]
        return told
    if isinstance(value, functools.partial):
        return {"partial": [_describe(v, at) for v in (value.func, value.args, value.keywords)]}
    if callable(value):
        return _describe_callable(value, at)
    if dataclasses.is_dataclass(value):
        fields = {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
        told = {type(value).__name__: _describe(fields, at)}
        return told if at.module is None else {**told, "class": _describe(type(value), at)}
    return _describe_other(value, at)


_SMALL = (*_PLAIN, np.generic, bytes, complex, range, slice, np.dtype, type(...), re.Pattern,
          keras.Model)  # fmt: skip
_COLLECTIONS = (dict, list, tuple, set, frozenset, np.ndarray, types.MappingProxyType)


def _describe_leaf(value: Any) -> Any:
    if isinstance(value, _PLAIN):
        return value
    if isinstance(value, np.ndarray):
        content = hashlib.sha256(np.ascontiguousarray(value).tobytes()).hexdigest()
        return {"array": [list(value.shape), str(value.dtype), content]}
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, keras.Model):
        return {"model": model_digest(value)}
    return {type(value).__name__: repr(value)}


def _describe_collection(value: Any, at: _Reading) -> Any:
    if isinstance(value, (dict, types.MappingProxyType)):
        # In an order that every process has: what is met first is told, and then only named.
        items = sorted(value.items(), key=lambda item: _order(item[0]))
        return {str(key): _describe(item, at) for key, item in items}
    if isinstance(value, (set, frozenset)):
        return sorted((_describe(item, at) for item in sorted(value, key=_order)), key=json.dumps)
    return [_describe(item, at) for item in value]


def _order(key: Any) -> str:
    return getattr(key, "__qualname__", None) or repr(key)


def _describe_callable(value: Any, at: _Reading) -> Any:
    if isinstance(value, types.MethodType):
        return {"method": [_describe(v, at) for v in (value.__func__, value.__self__)]}
    if not isinstance(value, type):
        value = inspect.unwrap(value)
    if isinstance(value, types.FunctionType):
        return _describe_function(value, at)
    name = f"{getattr(value, '__module__', None)}.{getattr(value, '__qualname__', None)}"
    if isinstance(value, type):
        return {"class": name, "holds": _class_parts(value, at)}
    if isinstance(value, np.ufunc):
        return {"ufunc": value.__name__}
    if isinstance(value, types.BuiltinFunctionType):
        owner = value.__self__
        plain = owner is None or isinstance(owner, (types.ModuleType, type))
        return {"builtin": name} if plain else {"builtin": [name, _describe(owner, at)]}
    return _describe_other(value, at.within(type(value).__module__))


def _describe_function(function: types.FunctionType, at: _Reading) -> Any:
    """Return code, defaults and closure; of a function of the same module, also globals."""
    at.seen[id(function)] = (len(at.seen), function)
    same = at.module in (None, function.__module__)
    inside = at.within(at.module or function.__module__)
    told: dict[str, Any] = {
        "function": f"{function.__module__}.{function.__qualname__}",
        "code": _code(function.__code__),
        "defaults": _describe([function.__defaults__, function.__kwdefaults__], inside),
    }
    read = _closure(function) | (_globals(function) if same else {})
    for name, value in sorted(read.items()):
        if isinstance(value, types.ModuleType):
            told[f"reads {name}"] = value.__name__
        else:
            told[f"reads {name}"] = _describe(value, inside)
    return told


def _describe_other(value: Any, at: _Reading) -> Any:
    """Return class and attributes of an object that Python code defines: nothing is hidden."""
    if isinstance(value, enum.Enum):
        return {type(value).__qualname__: value.name}
    if isinstance(value, os.PathLike):
        return {type(value).__name__: os.fspath(value)}
    # An object as an option is a mistake more often than not; a function may read any.
    if (at.module is not None or callable(value)) and _is_open(type(value)):
        return {"object": _describe(type(value), at), "holds": _describe(vars(value), at)}
    if at.module is not None:
        return {"unknown": uuid.uuid4().hex}
    raise TypeError(
        f"An option must be a number, text, None, an array, a function, a dataclass, or a list, "
        f"tuple or dict of these, so that a later run knows it again; got {value!r} of type "
        f"{type(value).__name__}."
    )


def _is_open(kind: type) -> bool:
    """Return whether ``vars`` of an object of this class holds all that it holds."""
    if kind.__module__.split(".")[0] in ("keras", "tensorflow"):
        return False  # their values are on devices, and their attributes are half the library
    # No slots, and no room for anything that is written in C.
    slots = any(c.__dict__.get("__slots__") for c in kind.__mro__[:-1])
    return not slots and kind.__dictoffset__ != 0 and kind.__basicsize__ <= _Empty.__basicsize__


class _Empty:
    """A class of Python without anything."""


def _class_parts(kind: type, at: _Reading) -> Any:
    """Return methods and constants of a class of the module that is read; of others, nothing."""
    if kind.__module__ != at.module:
        return None
    inside, parts = at.within(kind.__module__), {}
    for base in kind.__mro__[:-1]:
        for name, value in sorted(vars(base).items()):
            if isinstance(value, (classmethod, staticmethod)):
                value = value.__func__
            if isinstance(value, property):
                value = value.fget
            told = isinstance(value, (*_PLAIN, types.FunctionType, list, tuple, dict, np.ndarray))
            if told and name not in _FORMAL:
                parts[f"{base.__qualname__}.{name}"] = _describe(value, inside)
    return parts


_FORMAL = ("__module__", "__doc__", "__firstlineno__", "__static_attributes__", "__annotations__",
           "__dataclass_fields__", "__dataclass_params__")  # fmt: skip
"""What a class holds that does nothing, or that its other parts tell."""


def _code(code: types.CodeType) -> list[Any]:
    """Return what code does, without where it stands."""
    constants = [
        _code(value) if isinstance(value, types.CodeType)
        else sorted(map(repr, value)) if isinstance(value, frozenset) else repr(value)
        for value in code.co_consts
    ]  # fmt: skip
    names = [*code.co_names, *code.co_varnames, *code.co_freevars]
    return [code.co_code.hex(), names, constants]


def _closure(function: types.FunctionType) -> dict[str, Any]:
    found = {}
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        # A name that is not bound yet has an empty cell.
        with contextlib.suppress(ValueError):
            found[name] = cell.cell_contents
    return found


def _globals(function: types.FunctionType) -> dict[str, Any]:
    names = set(_global_names(function.__code__))
    return {name: function.__globals__[name] for name in names if name in function.__globals__}


def _global_names(code: types.CodeType) -> Iterator[str]:
    """Yield the globals that code reads, the functions and generators inside it as well."""
    for step in dis.get_instructions(code):
        if step.opname in ("LOAD_GLOBAL", "LOAD_NAME"):
            yield step.argval
    for value in code.co_consts:
        if isinstance(value, types.CodeType):
            yield from _global_names(value)


def without_made_up_names(config: Any) -> Any:
    """Return a configuration with names that are a class and perhaps a number made regular.

    Keras counts layers for as long as the process lives, so that a second model gets others.
    Here they are numbered as they appear.

    Examples
    --------
    >>> layers = [{"class_name": "Dense", "config": {"name": name}} for name in ("dense_7", "box")]
    >>> [layer["config"]["name"] for layer in without_made_up_names(layers)]
    ['dense 0', 'box']
    """
    names: dict[str, str] = {}
    _made_up(config, names)
    return _renamed(config, names)


def _made_up(config: Any, names: dict[str, str]) -> None:
    """Collect names that are a class and perhaps a number, and number them as they appear."""
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
