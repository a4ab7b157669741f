"""Errors for results that are NaN or infinite: they name where these come from."""

from __future__ import annotations

import numpy as np

from whitebox_loc._types import Array, Model
from whitebox_loc._validation import is_finite


class NotFiniteError(ValueError):
    """An answer with NaN or infinity in it; `values` holds it."""

    def __init__(self, message: str, values: Array) -> None:
        super().__init__(message)
        self.values = values


def check_answer(what: str, values: Array, model: Model, link: str = "identity") -> Array:
    """Return `values`, computed with `model`, if all are finite; otherwise raise with the cause."""
    if is_finite(values):
        return values
    count = int((~np.isfinite(values)).sum())
    start = f"{what} cannot be given: {count} of {values.size} numbers are NaN or infinite. "
    check_weights(model, start)
    if link == "logit":
        raise ValueError(
            f"{start}`link` 'logit' needs probabilities above 0 and below 1: so they are for the "
            "images, but not for what is made of them (baselines, masked or noisy images, or "
            "replaced layers). Use link='identity'."
        )
    raise NotFiniteError(
        f"{start}All weights of `model` {model.name!r} and all `images` are finite, so numbers "
        "grow too large, or are divided by 0, in its layers: `activations` shows in which.",
        values,
    )


def check_weights(model: Model, start: str = "") -> None:
    """Raise a ValueError that names the first weight of `model` with NaN or infinity in it."""
    for weight in model.weights:
        values = np.asarray(weight)
        if not is_finite(values):
            raise ValueError(
                f"{start}Weight {weight.path!r} of `model` {model.name!r} holds "
                f"{int((~np.isfinite(values)).sum())} such numbers of {values.size}. Load or "
                "train the model again."
            )
