"""Models on disk."""

from __future__ import annotations

from pathlib import Path

import keras

from whitebox_loc._types import Model
from whitebox_loc._validation import shortened


def read_model(name: str, path: Path) -> Model:
    """Return the model in a file, the argument `name`; its optimizer is not read."""
    try:
        return keras.models.load_model(path, compile=False)
    except Exception as error:
        raise ValueError(
            f"`{name}` {str(path)!r} is not a readable .keras file "
            f"({type(error).__name__}: {shortened(str(error))})."
        ) from error
