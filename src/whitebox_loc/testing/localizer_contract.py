"""The contract of localizers: what every model that answers boxes promises."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import tensorflow as tf

from whitebox_loc._types import Array, ArrayLike, Model
from whitebox_loc._validation import check_model
from whitebox_loc.boxes.formats import COORDINATES
from whitebox_loc.introspect.targets.outputs import box_output
from whitebox_loc.introspect.tracing.capture import Forward
from whitebox_loc.introspect.tracing.inputs import check_images
from whitebox_loc.testing.claims import Place, claim_close, claim_finite, claim_same_bytes, rounding
from whitebox_loc.testing.inputs import check_comparison, exact, noisy_images
from whitebox_loc.testing.states import unchanged


def check_localizer(
    model: Model,
    *,
    images: ArrayLike = None,
    oracle: Callable[[ArrayLike], ArrayLike] | None = None,
    tolerance: float | None = None,
) -> None:
    """Check that a localizer keeps what all localizers promise.

    - It has one output of shape (n, 4), the box, or one named ``"box"``.
    - All outputs are finite.
    - In inference it answers a batch twice by the same bytes, and leaves its weights (moving
      means and random states too), its layers, the images and the random state as they were.
    - An image has the same answer alone and among others.
    - Boxes are those of the oracle, if one is given.

    Parameters
    ----------
    model : keras.Model
    images
        As in `check_saliency_method`.
    oracle : callable, optional
        From images to the exact boxes (n, 4), ``rel_yxyx``: a float64 rewrite of the network, or
        the true boxes if it is exact.
    tolerance : float, optional
        Largest difference between two answers that are to be equal, in fractions of the image.
        By default half that of `check_saliency_method` for the largest answer, at least 1.

    Raises
    ------
    AssertionError
        If the model breaks a promise: which, where, by how much, and what to look at.

    Examples
    --------
    >>> import whitebox_loc as wb
    >>> check_localizer(wb.models.localizer(size=(8, 10)))
    >>> batch = wb.data.generate(wb.data.Scene(size=(8, 10)), 3, seed=0)
    >>> model = wb.models.compiled("left_right_swapped", size=(8, 10))
    >>> check_localizer(model, images=batch.images, oracle=lambda images: batch.rel_boxes)
    Traceback (most recent call last):
        ...
    AssertionError: Localizer 'left_right_swapped' is not its oracle: 'left' of image 2 is ...
    """
    check_model(model)
    who = f"Localizer {model.name!r}"
    if images is None:
        images = noisy_images(model)
    inputs = check_images(images, model)
    n, size = len(inputs), inputs.image.shape[1:3]
    check_comparison(oracle, tolerance, 1, "from images to boxes")
    model(images, training=False)
    with unchanged(who, model, images=images):
        first = _answers(who, model, images, n)
    for name, array in first.items():
        claim_finite(who, array, _places(name), _FINITE)
    for name, array in _answers(who, model, images, n).items():
        claim_same_bytes(who, first[name], array, _places(name))

    def allowed(array: Array) -> float:
        scale = max(1.0, float(np.abs(array).max()))
        return rounding(model, size, scale) if tolerance is None else tolerance

    for i in sorted({0, n - 1}):
        part = tf.nest.map_structure(lambda array, i=i: array[i : i + 1], images)
        for name, alone in _answers(who, model, part, 1).items():
            what, expected = f"{who} answers an image otherwise alone", first[name][i : i + 1]
            claim_close(what, alone, expected, allowed(first[name]), _places(name, i), _BATCH)
    if oracle is not None:
        box = first["box"]
        true = exact(oracle, images)
        claim_close(f"{who} is not its oracle", box, true, allowed(box), _places("box"), _ORACLE)


_FINITE = "Look for divisions by what can be 0, exponentials of large numbers, and its weights."
_BATCH = "Look for layers that run as in training, and for what is taken over the batch."
_ORACLE = (
    "Look at the order of the coordinates (top, left, bottom, right) and at their unit, "
    "fractions of the image."
)


def _answers(who: str, model: Model, images: ArrayLike, n: int) -> dict[str, Array]:
    """Return all outputs by name, the box as "box"."""
    outputs = model(images, training=False)
    try:
        box = box_output(Forward(outputs, {}, getattr(model, "output_names", None)))
    except ValueError as error:
        raise AssertionError(f"{who} answers no box: {error}") from error
    others = enumerate(tf.nest.flatten(outputs))
    parts = {"box": box} | {f"output {i}": part for i, part in others if part is not box}
    arrays = {name: np.asarray(part) for name, part in parts.items()}
    for name, array in arrays.items():
        if len(array) != n:
            raise AssertionError(
                f"{who} answers {len(array)} rows of its {name} for {n} images. Look for "
                "reshapes that mix images."
            )
    return arrays


def _places(name: str, first_image: int = 0) -> Place:
    def place(index: tuple[int, ...]) -> str:
        image, *rest = index
        if name == "box":
            return f"{COORDINATES[rest[0]]!r} of image {first_image + image}"
        return f"{name} of image {first_image + image} at {tuple(rest)}"

    return place
