"""Building compiled models, and telling which one a model is."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import keras
import numpy as np

from whitebox_loc._validation import check_brightness, check_choice, check_int, check_size
from whitebox_loc.models.glass import COMPILED
from whitebox_loc.models.glass.record import Compiled
from whitebox_loc.models.glass.usage import shows_one_box

__all__ = ["Mechanism", "compiled", "has_mechanism", "mechanism"]


def compiled(name: str, size: tuple[int, int] = (100, 100), channels: int = 1) -> keras.Model:
    """Build a network with computed weights, whose mechanism is known.

    Parameters
    ----------
    name : str
        A row of `COMPILED`.
    size : (int, int), default (100, 100)
        Height and width of the images in pixels.
    channels : int, default 1
        Number of image channels; the model sees their mean.

    Returns
    -------
    keras.Model
        Functional model of stock layers, each named for what it computes:
        ``(n, height, width, channels)`` in [0, 1] to ``"box"``, ``(n, 4)`` float32 in
        ``rel_yxyx``. The layers are float32 under any policy.

    Raises
    ------
    ValueError, TypeError
        If an argument is not one of the above.

    Examples
    --------
    >>> import whitebox_loc as wb
    >>> images = wb.data.render([[2, 3, 7, 9]], wb.data.Scene(size=(10, 10)))
    >>> compiled("integrator", size=(10, 10))(images).numpy().round(4)
    array([[0.2, 0.3, 0.7, 0.9]], dtype=float32)
    """
    row = COMPILED[check_choice("name", name, COMPILED)]
    return row.build(check_size("size", size), check_int("channels", channels, low=1))


@dataclass(frozen=True)
class Mechanism:
    """Model truth of one compiled model.

    Attributes
    ----------
    record : Compiled
        Its row.
    size : (int, int)
    channels : int
    """

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

    def used(self, images: Any) -> np.ndarray:
        """Return the pixels that the model uses for each coordinate of each image.

        A pixel is used if it belongs to a minimal set of pixels whose change, from dark to
        lit or lit to dark, changes the coordinate: changing the whole set does, changing
        any part of it does not.

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
        >>> import whitebox_loc as wb
        >>> images = wb.data.render([[1, 1, 3, 3]], wb.data.Scene(size=(4, 4)))
        >>> truth = mechanism(compiled("integrator", size=(4, 4))).used(images)
        >>> truth[0, 0].astype(int)  # top: the row above, and the lit pixels of the first row
        array([[1, 1, 1, 1],
               [0, 1, 1, 0],
               [0, 0, 0, 0],
               [0, 0, 0, 0]])
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

    def _lit(self, images: Any) -> np.ndarray:
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
    """Return the model truth of a compiled model.

    Parameters
    ----------
    model : keras.Model
        What `compiled` returned, or the same after saving and loading.

    Returns
    -------
    Mechanism
        With `name`, `honest`, `exact`, `summary`, and ``used(images)``, the pixels that the
        model really uses.

    Raises
    ------
    ValueError
        If the model is not a compiled one, or is one no longer: layers, weights and answers
        must be those of a model compiled afresh.
    TypeError
        If `model` is not a Keras model.

    Examples
    --------
    >>> found = mechanism(compiled("wrong_edge", size=(8, 8)))
    >>> found.name, found.honest, found.exact
    ('wrong_edge', False, True)
    """
    if not isinstance(model, keras.Model):
        raise TypeError(f"`model` must be a keras.Model; got {type(model).__name__}.")
    reason = None
    shape: Any = getattr(model, "input_shape", None)
    if model.name not in COMPILED:
        reason = "its name is not in COMPILED"
    elif not (isinstance(shape, tuple) and len(shape) == 4 and None not in shape[1:]):
        reason = f"it does not take one image of fixed size; its input shape is {shape}"
    else:
        reason = _difference(model, shape[1:])
    if reason is not None:
        raise ValueError(
            f"`model` must be a compiled model, wb.models.compiled(name, size, channels) with "
            f"a name from {list(COMPILED)}; got model {model.name!r}: {reason}."
        )
    return Mechanism(COMPILED[model.name], tuple(shape[1:3]), shape[3])


def has_mechanism(model: Any) -> bool:
    """Return whether `mechanism` knows the model.

    Examples
    --------
    >>> import whitebox_loc as wb
    >>> has_mechanism(compiled("constant", size=(8, 8)))
    True
    >>> has_mechanism(wb.models.localizer(size=(8, 8)))
    False
    """
    try:
        mechanism(model)
    except (TypeError, ValueError):
        return False
    return True


@dataclass(frozen=True)
class _Fingerprint:
    """Layers, weights, and answers to a few images of noise, which tell how it is wired."""

    layers: list[tuple[str, Any]]
    weights: list[np.ndarray]
    answers: np.ndarray


@lru_cache(maxsize=32)
def _expected(name: str, shape: tuple[int, int, int]) -> _Fingerprint:
    return _fingerprint(COMPILED[name].build(shape[:2], shape[2]), shape)


def _fingerprint(model: keras.Model, shape: tuple[int, int, int]) -> _Fingerprint:
    noise = np.random.default_rng(0).random((4, *shape), np.float32)
    return _Fingerprint(
        [(type(layer).__name__, layer.get_config()) for layer in model.layers],
        [np.asarray(weight) for weight in model.get_weights()],
        np.asarray(model(noise, training=False)),
    )


def _difference(model: keras.Model, shape: tuple[int, int, int]) -> str | None:
    """Return in which respect a model differs from the compiled one of its name."""
    expected = _expected(model.name, shape)
    layers = [(type(layer).__name__, layer.get_config()) for layer in model.layers]
    if layers != expected.layers:
        return "its layers are not those of the compiled model of that name"
    weights = model.get_weights()
    if not all(np.array_equal(a, b) for a, b in zip(weights, expected.weights, strict=True)):
        return "its weights are not those of the compiled model of that name"
    # Another wiring answers noise by at least a percent differently; rounding by 1e-6.
    if not np.allclose(_fingerprint(model, shape).answers, expected.answers, rtol=0, atol=1e-5):
        return "its layers are wired in another way than in the compiled model of that name"
    return None
