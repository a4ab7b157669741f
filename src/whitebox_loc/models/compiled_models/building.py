"""Building compiled models, and telling which one a model is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from whitebox_loc._types import Array, ArrayLike, Model
from whitebox_loc._validation import (
    MOST_CHANNELS,
    MOST_SIDE,
    check_brightness,
    check_choice,
    check_int,
    check_size,
)
from whitebox_loc.models.compiled_models import COMPILED
from whitebox_loc.models.compiled_models.recognition import difference
from whitebox_loc.models.compiled_models.record import Compiled
from whitebox_loc.models.compiled_models.usage import shows_one_box


def compiled(name: str, size: tuple[int, int] = (100, 100), channels: int = 1) -> keras.Model:
    """Build a network with computed weights, whose mechanism is known.

    Parameters
    ----------
    name : str
        A row of `COMPILED`.
    size, channels
        As for `localizer`; the model sees the mean of the channels.

    Returns
    -------
    keras.Model
        Functional model of stock layers, each named for what it computes, float32 under any policy:
        ``(n, height, width, channels)`` in [0, 1] to ``"box"``, ``(n, 4)`` in ``rel_yxyx``.

    Raises
    ------
    ValueError, TypeError
        If an argument is not one of the above, or what the row builds has not its name.

    Examples
    --------
    >>> import whitebox_loc as wb
    >>> images = wb.data.render([[2, 3, 7, 9]], wb.data.Scene(size=(10, 10)))
    >>> compiled("integrator", size=(10, 10))(images).numpy().round(4)
    array([[0.2, 0.3, 0.7, 0.9]], dtype=float32)
    """
    row = COMPILED[check_choice("name", name, COMPILED)]
    model = row.build(
        check_size("size", size, high=MOST_SIDE),
        check_int("channels", channels, low=1, high=MOST_CHANNELS),
    )
    # By its name a model is found again: another one would have another row's truth.
    for what, label in (("the row's `name`", row.name), ("the name of the model", model.name)):
        if label != name:
            raise ValueError(
                f"{what} must be {name!r}, the key in COMPILED, as by it `mechanism` knows the "
                f"model; got {label!r}. Use COMPILED[{name!r}] = Compiled({name!r}, build, ...) "
                f"where build ends in keras.Model(..., name={name!r})."
            )
    return model


@dataclass(frozen=True)
class Mechanism:
    """Model truth of one compiled model: its row, and the size and channels of its images."""

    record: Compiled
    size: tuple[int, int]
    channels: int

    @property
    def name(self) -> str:
        """Name in `COMPILED`."""
        return self.record.name

    @property
    def honest(self) -> bool:
        """Whether each coordinate is answered from its own edge."""
        return self.record.honest

    @property
    def exact(self) -> bool:
        """Whether every box is answered exactly."""
        return self.record.exact

    @property
    def summary(self) -> str:
        """What the model does, in one sentence."""
        return self.record.summary

    def used(self, images: ArrayLike) -> Array:
        """Return the pixels that the model uses for each coordinate of each image.

        A pixel is used if it belongs to a minimal set of pixels whose change, from dark to lit or
        lit to dark, changes the coordinate: the whole set does, any part of it does not.

        Parameters
        ----------
        images : array (n, height, width, channels)
            Dark and lit pixels: 0 and 1, or 0 and 255 as uint8, alike in all channels. The
            models with ``record.images == "box"`` take images of one rectangle or nothing.

        Returns
        -------
        bool array (4, n, height, width)
            For top, left, bottom and right.

        Raises
        ------
        ValueError, TypeError
            If the images are not such.

        References
        ----------
        A. Ignatiev et al., "From contrastive to abductive explanations and back again",
        2020, arXiv:2012.11067.

        Examples
        --------
        Top: the row above the box, and the lit pixels of its first row.

        >>> import whitebox_loc as wb
        >>> images = wb.data.render([[1, 1, 3, 3]], wb.data.Scene(size=(4, 4)))
        >>> mechanism(compiled("integrator", size=(4, 4))).used(images)[0, 0].astype(int)[:2]
        array([[1, 1, 1, 1],
               [0, 1, 1, 0]])
        """
        lit = self._lit(images)
        if self.record.images == "box":
            boxes = shows_one_box(lit)
            if not boxes.all():
                raise ValueError(
                    f"`images` must show one full rectangle or nothing: what {self.name!r} uses "
                    f"is not derived for others; image {int(np.argmin(boxes))} is not such."
                )
        return self.record.usage(lit)

    def _lit(self, images: ArrayLike) -> Array:
        values = check_brightness("images", images)
        expected = (*self.size, self.channels)
        if values.shape[1:] != expected:
            raise ValueError(
                f"`images` must have shape (n, {expected[0]}, {expected[1]}, {expected[2]}), as "
                f"the model takes; got {values.shape}."
            )
        plain = ((values == 0) | (values == 1)).all() and (values == values[..., :1]).all()
        if not plain:
            raise ValueError(
                "`images` must be plain, each pixel 0 or 1 in all channels; got others. Use a "
                "scene without noise, blur, texture, distractors and grey levels."
            )
        return values[..., 0] == 1


def mechanism(model: keras.Model) -> Mechanism:
    """Return the model truth of what `compiled` returned, or of the same after saving and loading.

    Raises
    ------
    ValueError, TypeError
        If the model is not a compiled one, or is one no longer: layers, weights and answers
        must be those of a model compiled afresh.

    Examples
    --------
    >>> truth = mechanism(compiled("wrong_edge", size=(8, 8)))
    >>> truth.name, truth.honest, truth.exact
    ('wrong_edge', False, True)
    """
    if not isinstance(model, keras.Model):
        raise TypeError(f"`model` must be a keras.Model; got {type(model).__name__}.")
    reason: str | None = None
    shape: Any = getattr(model, "input_shape", None)
    if model.name not in COMPILED:
        reason = "its name is not in COMPILED"
    elif not (isinstance(shape, tuple) and len(shape) == 4 and None not in shape[1:]):
        reason = f"it does not take one image of fixed size; its input shape is {shape}"
    else:
        reason = difference(model, COMPILED[model.name], shape[1:])
    if reason is not None:
        raise ValueError(
            f"`model` must be a compiled model, wb.models.compiled(name, size, channels) with "
            f"a name from {list(COMPILED)}; got model {model.name!r}: {reason}."
        )
    return Mechanism(COMPILED[model.name], tuple(shape[1:3]), shape[3])


def has_mechanism(model: Model) -> bool:
    """Return whether `mechanism` knows the model.

    Examples
    --------
    >>> has_mechanism(compiled("constant", size=(8, 8)))
    True
    """
    try:
        mechanism(model)
    except (TypeError, ValueError):
        return False
    return True
