"""What a compiled model is: a function that builds it, one for the pixels it uses, a row."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import keras

from whitebox_loc._types import Array

Build = Callable[[tuple[int, int], int], keras.Model]
"""From size (height, width) and channels to a model."""

Usage = Callable[[Array], Array]
"""From lit pixels, bool (n, height, width), to used pixels, bool (4, n, height, width)."""


@dataclass(frozen=True, eq=False)
class Compiled:
    """A row of `COMPILED`: a network whose weights are computed and whose mechanism is known.

    Two rows are the same only if they are one object.

    Attributes
    ----------
    name : str
        Its key in `COMPILED`, and the name of the model.
    build : callable
        From ``(height, width)`` and the number of channels to the Keras model.
    usage : callable
        From lit pixels, bool ``(n, height, width)``, to the pixels that the model uses for
        top, left, bottom and right, bool ``(4, n, height, width)``.
    honest : bool
        Whether each coordinate is answered from its own edge. The others are cheaters.
    exact : bool
        Whether every box of the canvas is answered to within `precision`, in pixels.
    summary : str
        What it does, in one sentence.
    precision, tolerance : float
        A coordinate counts as changed if it moves by more than the `tolerance`, in pixels.
    images : {"any", "box"}
        What `usage` is derived for: any image of dark and lit pixels, or only those that
        show one rectangle or nothing.
    """

    name: str
    build: Build
    usage: Usage
    honest: bool
    exact: bool
    summary: str
    precision: float = 1e-3
    tolerance: float = 0.01
    images: str = "any"

    @property
    def where(self) -> str:
        """Where its derivation stands."""
        return f"docs/compiled.md#{self.name}"
