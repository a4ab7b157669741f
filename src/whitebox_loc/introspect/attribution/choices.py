"""The method of a call, the one that it repeats if it wraps one, and all their options."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from whitebox_loc._validation import check_choice
from whitebox_loc.introspect.methods import METHODS, Method


@dataclass(frozen=True)
class Choice:
    """A method, the base that it repeats if it wraps one, and all options with their values.

    The option ``base`` is a row.
    """

    row: Method
    base: Method | None
    options: dict[str, Any]

    @property
    def innermost(self) -> Method:
        """The method that looks at the model: the base, or the method itself."""
        return self.base or self.row

    @property
    def described(self) -> dict[str, Any]:
        """All options with their values, the base by its name."""
        return {**self.options, "base": self.base.name} if self.base else self.options


def method_row(method: str | Method) -> Method:
    """Return the row of a method that is given by its name or its row."""
    return (
        method if isinstance(method, Method) else METHODS[check_choice("method", method, METHODS)]
    )


def choose(method: str | Method, options: Mapping[str, Any]) -> Choice:
    """Return a method with its options; refuse options that neither it nor its base has."""
    row, base = method_row(method), None
    defaults, values = dict(row.options), dict(options)
    if row.wraps:
        bases = [other.name for other in METHODS.values() if not other.wraps]
        base = METHODS[check_choice("base", options.get("base", defaults["base"]), bases)]
        defaults, values["base"] = {**base.options, **defaults}, base
    for name in values:
        if name not in defaults:
            near = difflib.get_close_matches(name, defaults, n=1)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            raise TypeError(
                f"Method {row.name!r} has no option {name!r}; it has {sorted(defaults)}.{hint}"
            )
    return Choice(row, base, {**defaults, **values})
