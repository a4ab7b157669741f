"""Contracts of what makes maps: rows of METHODS, and any function from a model to maps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import tensorflow as tf

from whitebox_loc._types import Array, ArrayLike, Model
from whitebox_loc._validation import (
    check_bool,
    check_callable,
    check_choice,
    check_model,
    shortened,
)
from whitebox_loc.introspect import METHODS, saliency
from whitebox_loc.introspect.methods import Method
from whitebox_loc.introspect.targets import COORDINATES, as_target
from whitebox_loc.introspect.tracing.capture import call_given
from whitebox_loc.introspect.tracing.inputs import check_images
from whitebox_loc.introspect.tracing.refusals import NotFiniteError
from whitebox_loc.testing.claims import claim_close, claim_finite, claim_same_bytes, rounding
from whitebox_loc.testing.inputs import check_comparison, exact, noisy_images, small_localizer
from whitebox_loc.testing.states import unchanged

Oracle = Callable[[Model, ArrayLike, Any], ArrayLike]
"""From a model, images and one target to exact maps (n, height, width)."""


def check_saliency_method(
    method: str | Method | Callable[..., Any],
    *,
    model: Model | None = None,
    images: ArrayLike = None,
    targets: Sequence[Any] = COORDINATES,
    signed: bool = True,
    oracle: Oracle | None = None,
    tolerance: float | None = None,
    **options: Any,
) -> None:
    """Check that a saliency method keeps what all methods promise.

    - Maps have shape (targets, images, height, width), are floats, finite, and not all 0.
    - They are signed: some pixels speak for and some against a target.
    - A second call gives the same bytes, and an image has the same map alone, among others, and
      in batches of 2; so has a target.
    - The model, the images and the random state of Python and NumPy are as before.
    - Maps are those of the oracle, if one is given.

    Parameters
    ----------
    method : str, Method or callable
        A name in `whitebox_loc.introspect.METHODS`, a row of your own, or the function that a
        row would hold: from a `Query` and keyword options to `Maps`.
    model : keras.Model, optional
        Default: an untrained localizer for 12 x 16 pixels.
    images : float array (n, height, width, channels), optional
        Or the structure that the model takes. Default: three images of a noisy scene.
    targets : sequence, default ("top", "left", "bottom", "right")
        As in `whitebox_loc.introspect.saliency`.
    signed : bool, default True
        False for methods whose maps have no signs, such as squares and variances.
    oracle : callable, optional
        From the model, the images and one target to the exact maps (n, height, width), such as
        a float64 rewrite.
    tolerance : float, optional
        Largest difference between two maps that are to be equal. By default what rounding to
        float32 can do: ``2 (sum of fan-ins + height + width) * 16 * 2^-23`` times the largest
        number among the maps, chains of sums, one a kernel, there and back, of terms that may be
        16 times larger than what is left of them. For half precision give your own.
    **options
        Of the method.

    Raises
    ------
    AssertionError
        If the method breaks a promise: which, where, by how much, and what to look at.

    Examples
    --------
    >>> import whitebox_loc as wb
    >>> def magnitude(query):
    ...     slopes = query.gradients(query.images, range(len(query))).numpy()
    ...     return wb.introspect.methods.Maps(abs(slopes).sum(-1))
    >>> check_saliency_method(magnitude, signed=False)
    >>> check_saliency_method(magnitude)
    Traceback (most recent call last):
        ...
    AssertionError: Method 'magnitude' is not signed: the least of all its numbers is ...
    """
    row = _as_row(method)
    check_bool("signed", signed)

    def explain(model: Model, images: ArrayLike, target: Any, batch_size: int = 256) -> ArrayLike:
        try:
            return saliency(model, images, target, row, batch_size=batch_size, **options)
        except NotFiniteError as error:
            return error.values  # Of which `claim_finite` says where they are not.

    question = _Question(f"Method {row.name!r}", model, images, targets, oracle, tolerance)
    first = question.check(explain, signed)
    small = question.stack(explain(question.model, question.images, question.targets, 2))
    question.same(small, first, "gives other maps in batches of 2", _BATCH)
    for k in sorted({0, len(question.targets) - 1}):
        alone = np.asarray(explain(question.model, question.images, question.targets[k]))[None]
        what = "gives a target another map alone than among others"
        question.same(alone, first[k : k + 1], what, _TARGETS, scale=first, first_target=k)
    question.check_oracle(first)


def check_explainer(
    explain: Callable[[Model, ArrayLike, Any], ArrayLike],
    *,
    model: Model | None = None,
    images: ArrayLike = None,
    targets: Sequence[Any] = COORDINATES,
    signed: bool = True,
    oracle: Oracle | None = None,
    tolerance: float | None = None,
) -> None:
    """Check that a function that explains models keeps what all explainers promise.

    Parameters
    ----------
    explain : callable
        From a model, images and one target to maps (n, height, width).
    model, images, targets, signed, oracle, tolerance
        As in `check_saliency_method`.

    Raises
    ------
    AssertionError
        If it breaks a promise.

    Examples
    --------
    >>> import whitebox_loc as wb
    >>> def doubled_gradient(model, images, target):
    ...     return 2 * wb.introspect.saliency(model, images, target)
    >>> check_explainer(doubled_gradient)
    >>> check_explainer(doubled_gradient, oracle=wb.introspect.saliency)
    Traceback (most recent call last):
        ...
    AssertionError: Explainer 'doubled_gradient' is not its oracle: the map of 'bottom' on ...
    """
    check_callable("explain", explain, 3, "from a model, images and a target to maps")
    check_bool("signed", signed)

    def stacked(model: Model, images: ArrayLike, targets: Sequence[Any]) -> list[Any]:
        return [np.asarray(call_given("explain", explain, model, images, t)) for t in targets]

    name = getattr(explain, "__name__", type(explain).__name__)
    question = _Question(f"Explainer {name!r}", model, images, targets, oracle, tolerance)
    question.check_oracle(question.check(stacked, signed))


_BATCH = (
    "Look for what is taken over the batch, such as a maximum to divide by or normalization as "
    "in training, and for random numbers that are drawn for a whole batch."
)
_TARGETS = "Look for sums over targets, and for the order in which targets are stacked."
_FINITE = "Look for divisions by what can be 0, and for logarithms and roots of it."
_SILENT = (
    "Look for a derivative that is cut; or give a `model` and `images` on which the targets "
    "depend on pixels."
)
_SIGNED = (
    "Look for absolute values, squares and ReLUs: a map is signed and is scaled only where it is "
    "drawn. If signs mean nothing here, say signed=False."
)
_ORACLE = "Look at the formula, and whether both take the same target, sum over channels and scale."


@dataclass
class _Question:
    """One question: who is asked, about what, and what it is compared with."""

    who: str
    model: Model
    images: ArrayLike
    targets: Sequence[Any]
    oracle: Oracle | None
    tolerance: float | None

    def __post_init__(self) -> None:
        self.model = small_localizer() if self.model is None else check_model(self.model)
        self.images = noisy_images(self.model) if self.images is None else self.images
        check_images(self.images, self.model)
        what = "from a model, images and a target to maps"
        check_comparison(self.oracle, self.tolerance, 3, what)
        if not isinstance(self.targets, (list, tuple)) or not self.targets:
            raise TypeError(
                "`targets` must be a list or tuple of one target or more; got "
                f"{shortened(self.targets)}."
            )
        self.targets = list(self.targets)
        for i, target in enumerate(self.targets):
            as_target(target, f"targets[{i}]")
        # A model that has not run yet may have no weights.
        self.model(self.images, training=False)

    def check(self, explain: Callable[..., ArrayLike], signed: bool) -> Array:
        """Return the maps (k, n, height, width) after checking what all maps promise."""
        with unchanged(self.who, self.model, images=self.images):
            first = self.stack(explain(self.model, self.images, self.targets))
        claim_finite(self.who, first, self.place, _FINITE)
        if not first.any():
            raise AssertionError(f"{self.who} is silent: all its maps are 0. {_SILENT}")
        if signed and (first.min() >= 0 or first.max() <= 0):
            raise AssertionError(
                f"{self.who} is not signed: the least of all its numbers is {first.min():.3g}, the "
                f"greatest {first.max():.3g}, for targets {self.targets} that need both signs. "
                f"{_SIGNED}"
            )
        again = self.stack(explain(self.model, self.images, self.targets))
        claim_same_bytes(self.who, first, again, self.place)
        n = first.shape[1]
        for i in sorted({0, n - 1}):
            part = tf.nest.map_structure(lambda array, i=i: array[i : i + 1], self.images)
            alone = self.stack(explain(self.model, part, self.targets), 1)
            what = "gives an image another map alone than among others"
            self.same(alone, first[:, i : i + 1], what, _BATCH, scale=first, first_image=i)
        return first

    def check_oracle(self, maps: Array) -> None:
        """Claim that maps are those of the oracle, if there is one."""
        if self.oracle is not None:
            expected = [exact(self.oracle, self.model, self.images, t) for t in self.targets]
            self.same(maps, np.stack(expected), "is not its oracle", _ORACLE)

    def stack(self, maps: ArrayLike, n: int | None = None) -> Array:
        """Return maps as an array, if they are floats (targets, images, height, width)."""
        image_shape = check_images(self.images).image.shape
        shape = (len(self.targets), image_shape[0] if n is None else n, *image_shape[1:3])
        shapes = sorted({np.shape(each) for each in maps})
        if len(maps) != shape[0] or shapes != [shape[1:]]:
            raise AssertionError(
                f"{self.who} returns maps of another shape: {len(maps)} of {shapes} where "
                f"{shape[0]} of {shape[1:]} are wanted, (targets) and (images, height, width). "
                "Look at the axes that are summed: channels are, images are not."
            )
        array = np.asarray(maps)
        if array.dtype.kind != "f":
            raise AssertionError(
                f"{self.who} returns {array.dtype} where floats are wanted. Look for comparisons "
                "and for rounding to whole numbers."
            )
        return array

    def same(
        self, maps: Array, expected: Array, what: str, look: str,
        scale: Array | None = None, first_target: int = 0, first_image: int = 0,
    ) -> None:  # fmt: skip
        """Claim that two stacks of maps are equal but for rounding."""
        allowed = self.allowed(expected if scale is None else scale)
        where = partial(self.place, first_target=first_target, first_image=first_image)
        claim_close(f"{self.who} {what}", maps, expected, allowed, where, look)

    def allowed(self, maps: Array) -> float:
        """Return the tolerance: the caller's, or what rounding can do to numbers like these."""
        if self.tolerance is not None:
            return self.tolerance
        return rounding(self.model, maps.shape[2:], float(np.abs(maps).max()), ways=2)

    def place(self, index: tuple[int, ...], first_target: int = 0, first_image: int = 0) -> str:
        """Say in words which number of a stack of maps is meant."""
        k, i, *pixel = index
        target = self.targets[first_target + k]
        name = repr(target) if isinstance(target, (str, int)) else f"target {first_target + k}"
        return f"the map of {name} on image {first_image + i} at pixel {tuple(pixel)}"


def _as_row(method: str | Method | Callable[..., Any]) -> Method:
    if isinstance(method, Method):
        return method
    if callable(method):
        check_callable("method", method, 1, "from an introspect.targets.query.Query to Maps")
        name = getattr(method, "__name__", type(method).__name__)
        return Method(name, "own", partial(call_given, "method", method), paper="", blind_to="")
    return METHODS[check_choice("method", method, METHODS)]
