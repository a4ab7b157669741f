"""What a saliency method is: a function and a row."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from whitebox_loc._types import Array, Tensor
from whitebox_loc.introspect.tracing.capture import Forward

Read = Callable[..., tuple[list[Tensor], Forward]]
"""How a compiled function runs the model, see `Query.function`: it returns targets and pass."""


@dataclass(frozen=True)
class Maps:
    """What a method returns.

    Attributes
    ----------
    values : array (k, n, height, width)
        One signed map a target and image, channels summed.
    reference : callable, optional
        For methods whose maps add up to a difference of values: returns the targets (k, n)
        that the targets at the images are compared with.
    """

    values: Array
    reference: Callable[[], Array] | None = None


@dataclass(frozen=True)
class Method:
    """A row of METHODS.

    Attributes
    ----------
    name, family : str
    function : callable
        From a `Query` and keyword options to `Maps`.
    paper, blind_to : str
        Where it comes from, and what it cannot show.
    wraps : bool
        Whether it repeats another method, named by its option ``base``, which takes the
        options that are not its own.
    """

    name: str
    family: str
    function: Callable[..., Maps]
    paper: str
    blind_to: str
    wraps: bool = False

    @property
    def options(self) -> Mapping[str, Any]:
        """Names and default values of the options."""
        parameters = inspect.signature(self.function).parameters.values()
        return {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY}
