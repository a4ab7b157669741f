"""What contracts ask about when nothing is given, and the arguments that they share."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from whitebox_loc._types import Array, ArrayLike, Model
from whitebox_loc._validation import check_callable, check_real, shortened
from whitebox_loc.data import Scene, generate
from whitebox_loc.evaluation import Trial
from whitebox_loc.introspect import saliency
from whitebox_loc.introspect.tracing.capture import call_given
from whitebox_loc.models import localizer
from whitebox_loc.testing.strategies import SIZE

_GREY: dict[str, Any] = {"foreground": 0.8, "background": 0.2, "noise": 0.05}
"""Far enough from black and white that noise is not cut off there."""


@functools.cache
def small_localizer() -> Model:
    """Return an untrained localizer, the same in every call."""
    return localizer(SIZE, filters=(3, 4), line_filters=4, seed=1)


def noisy_images(model: Model) -> Array:
    """Return three images of a noisy scene, of the size that the model takes.

    Grey and with noise no two pixels are alike: nothing hangs on how ties are broken.
    """
    shape = getattr(model, "input_shape", None)
    if not isinstance(shape, tuple) or len(shape) != 4 or None in shape[1:]:
        raise ValueError(
            f"`images` must be given for a model of no fixed image size; its input is {shape}."
        )
    scene = Scene(size=shape[1:3], channels=shape[3], **_GREY)
    return generate(scene, 3, seed=0).images


@functools.cache
def small_trial() -> Trial:
    """Return a trial of `small_localizer` that has every part that a metric can need."""
    scene = Scene(
        size=SIZE, shapes=("rectangle", "ellipse"), heights=(2, 8), widths=(2, 9), **_GREY
    )
    batch, model = generate(scene, 3, seed=0), small_localizer()
    how: dict[str, Any] = {"method": "integrated_gradients", "steps": 4}
    maps, info = saliency(model, batch.images, "left", return_info=True, **how)

    def explain(model: Model, images: ArrayLike) -> Array:
        return saliency(model, images, "left", **how)

    # Not a model whose used pixels are known: any mask serves to see what a metric does with it.
    used = np.random.default_rng(0).random(maps.shape) < 0.3
    return Trial(
        maps, batch.images, batch.boxes, "left", scene, batch.labels,
        model=model, explain=explain, used=used, gap=info.gap,
    )  # fmt: skip


def exact(oracle: Callable[..., ArrayLike], *arguments: Any) -> Array:
    """Return what an oracle says, if it says numbers."""
    value = np.asarray(call_given("oracle", oracle, *arguments))
    if value.dtype.kind not in "biuf":
        raise TypeError(
            f"`oracle` must return numbers; got {shortened(value)} of dtype {value.dtype}."
        )
    return value


def check_comparison(oracle: object, tolerance: object, takes: int, what: str) -> None:
    """Check `oracle`, None or a function of `takes` arguments, and `tolerance`."""
    if oracle is not None:
        check_callable("oracle", oracle, takes, what)
    if tolerance is not None:
        check_real("tolerance", tolerance, low=0)
