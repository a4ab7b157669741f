"""What a compiled function depends on besides its inputs.

Weights are variables, so a compiled function sees their new values. Anything else that
Python code reads while a model is traced is frozen in: a layer's stride, its activation,
the number that a user's function takes from outside. A fingerprint changes with them.
"""

from __future__ import annotations

import inspect
import itertools
import types
import weakref
from collections.abc import Callable, Hashable
from typing import Any

from whitebox_loc._types import Model
from whitebox_loc.introspect.tracing.layers import named_layers

_SIMPLE = frozenset((bool, int, float, str, type(None)))


class Same:
    """A hashable stand-in for an object, not kept alive: equal only to those of that very one."""

    __slots__ = ("__weakref__", "_hash", "_ref")

    def __init__(self, value: object) -> None:
        self._ref = weakref.ref(value)
        self._hash = id(value)

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Same):
            return NotImplemented
        mine = self._ref()
        return self is other or (mine is not None and mine is other._ref())


def model_fingerprint(model: Model) -> Hashable:
    """Return a value that changes when layers or their public settings are replaced."""
    return tuple(_object_state(layer) for layer in (model, *named_layers(model).values()))


def function_fingerprint(function: Callable[..., Any]) -> Hashable | None:
    """Return a value that changes with `function` and with what it reads from outside.

    None means that this is unknown, so a trace of the function must not be kept.
    Objects that are changed in place (the entries of an array) go unnoticed.
    """
    try:
        if not isinstance(function, types.FunctionType):
            return (Same(function), _object_state(function))
        outside = inspect.getclosurevars(function)
        names = itertools.chain(outside.nonlocals.items(), outside.globals.items())
        tokens = ((name, type(v), v if type(v) in _SIMPLE else Same(v)) for name, v in names)
        return (Same(function), tuple(tokens))
    except (TypeError, AttributeError, ValueError):
        return None


def _object_state(value: object) -> Hashable:
    # In every call of every function: a plain loop, several times faster than a tidy one.
    state: list[Hashable] = [Same(value)]
    for name, attribute in getattr(value, "__dict__", {}).items():
        if name[0] != "_" or name == "_dtype_policy":
            state.append(name)
            kind = attribute.__class__
            if kind in _SIMPLE:
                state.append(attribute)
            elif isinstance(attribute, (tuple, list)) and _SIMPLE.issuperset(map(type, attribute)):
                # The containers that Keras hangs on a layer are compared by what they hold,
                # short lists such as axes. Everything else by identity, which costs nothing.
                state.append(tuple(attribute))
            else:
                state.append(id(attribute))
    return tuple(state)
