"""Good calls: the row of a table, and what can be replaced in it."""

import importlib
import inspect
import operator
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Any

import whitebox_loc as wb

PACKAGES = (*wb.__all__, "introspect.targets")
"""Every module whose names users call."""


@dataclass(frozen=True)
class Call:
    """One good call of a public function, class or method.

    Attributes
    ----------
    name : str
        Dotted, as after ``whitebox_loc.``: ``"training.History.plot"``.
    arguments : callable
        From a `World` to the keyword arguments, made anew for each call.
    on : callable, optional
        From a `World` to the object whose method is called.
    keep : tuple of str
        Arguments that are not replaced, because every value is right, or because they
        only say what others mean; the table says why beside the row.
    also : mapping of str to tuple of str
        Names that an error about an argument may give instead: ``{"steps": ("seconds",)}``.
    nan : collection of str
        Bad values whose result may be NaN, since that has a meaning which the docstring
        states. Fields that are NaN in the result of the good call may be so in any case.
    slow : bool
        The call takes a second or more; only the slow test replaces its arguments.
    """

    name: str
    arguments: Callable[[Any], dict[str, Any]]
    on: Callable[[Any], Any] | None = None
    keep: tuple[str, ...] = ()
    also: dict[str, tuple[str, ...]] = field(default_factory=dict)
    nan: Collection[str] = ()
    slow: bool = False

    @property
    def package(self):
        return self.name.split(".")[0]

    def function(self, world):
        if self.on is not None:
            return getattr(self.on(world), self.name.rsplit(".", 1)[1])
        return operator.attrgetter(self.name)(wb)

    def replaceable(self, world):
        """Arguments and their good values: those given, and those with a default."""
        given = self.arguments(world)
        found = dict(given)
        try:
            parameters = inspect.signature(self.function(world)).parameters.values()
        except ValueError:
            parameters = ()
        for parameter in parameters:
            named = parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY)
            if named and parameter.default is not parameter.empty:
                found.setdefault(parameter.name, parameter.default)
        return {name: value for name, value in found.items() if name not in self.keep}


def all_calls():
    """Return the rows of all packages, and the names that are no calls with the reason why."""
    names = (
        "boxes data evaluation introspect losses models plots report testing training verification"
    )
    modules = [importlib.import_module(f"contract.good_calls_{name}") for name in names.split()]
    calls = [call for module in modules for call in module.CALLS]
    records = {name: why for module in modules for name, why in module.RECORDS.items()}
    return calls, records
