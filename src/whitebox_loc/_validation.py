"""Checks of arguments: each failure is one sentence with name, got, allowed and fix."""

from __future__ import annotations

import contextlib
import difflib
import inspect
import math
import numbers
import os
import reprlib
import sys
import types
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from whitebox_loc._types import Array, ArrayLike, Model, Seed, Size


class ImageRangeWarning(UserWarning):
    """Images look like floats in 0..255, where this library's models take [0, 1]."""


def shortened(value: object, length: int | None = None) -> str:
    """Return the text of a user's value for a message, a line or two of it at most."""
    length = _LENGTH if length is None else length
    try:
        text = _BRIEF.repr(value)
    except Exception:  # The message is not about a text that fails.
        text = f"<{type(value).__name__}>"
    if len(text) <= 2 * length:
        return text
    if hasattr(value, "shape") and hasattr(value, "dtype"):
        return f"an array of shape {tuple(value.shape)} and dtype {value.dtype}"
    return f"{text[:length]} ... {text[-length // 4 :]}"


def with_type(value: object) -> str:
    """Return `shortened` text of a value and its type, for the end of a message."""
    return f"{shortened(value)} of type {type(value).__name__}"


_LENGTH = 120
_BRIEF = reprlib.Repr()
_BRIEF.maxstring = _BRIEF.maxlong = _LENGTH
_BRIEF.maxother = 3 * _LENGTH  # more than `shortened` returns, to notice long texts of arrays
_BRIEF.maxlist = _BRIEF.maxtuple = _BRIEF.maxdict = _BRIEF.maxset = 8


def as_array(name: str, value: object) -> Array:
    """Return `value` as NumPy array."""
    try:
        return np.asarray(value)
    except Exception as error:
        # Ragged lists, ragged or symbolic tensors, and whatever else an object raises here.
        raise TypeError(
            f"`{name}` must be an array; got {with_type(value)}, "
            "of which NumPy makes none. Are its parts of different lengths?"
        ) from error


def check_choice(name: str, value: object, allowed: Iterable[str]) -> str:
    """Return `value` if it is one of the `allowed` names; suggest the nearest otherwise."""
    options = list(allowed)
    if isinstance(value, str) and value in options:
        return value
    error = ValueError if isinstance(value, str) else TypeError
    hint = did_you_mean(value, options) if isinstance(value, str) else ""
    raise error(f"`{name}` must be one of {options}; got {shortened(value, _LENGTH // 2)}.{hint}")


def did_you_mean(name: str, options: Iterable[str]) -> str:
    """Return a question about the nearest of some names, for the end of a message, or nothing."""
    near = difflib.get_close_matches(name[:_LENGTH], list(options), n=1)
    return f" Did you mean {near[0]!r}?" if near else ""


def check_names(name: str, value: object, allowed: Iterable[str], *, least: int = 1) -> list[str]:
    """Return some of the `allowed` names as a list, `least` (0 or 1) of them, each once."""
    if isinstance(value, str):
        return [check_choice(name, value, allowed)]
    options = list(allowed)
    if not isinstance(value, Iterable):
        raise TypeError(
            f"`{name}` must be one of {options}, or a list of such; got {with_type(value)}."
        )
    names = [check_choice(f"{name}[{i}]", each, options) for i, each in enumerate(value)]
    if len(names) < least or len(set(names)) < len(names):
        some = "at least one, each once" if least else "each once"
        raise ValueError(f"`{name}` must name {some}; got {names}.")
    return names


def check_bool(name: str, value: object) -> bool:
    """Return `value` as bool if it is True or False."""
    if not isinstance(value, (bool, np.bool_)):
        raise TypeError(f"`{name}` must be True or False; got {with_type(value)}.")
    return bool(value)


def check_callable(name: str, value: Any, takes: int, what: str) -> Any:
    """Return `value` if it can be called with `takes` arguments, `what` in words."""
    try:
        # What cannot be called is a TypeError here; what is written in C has no signature.
        with contextlib.suppress(ValueError):
            inspect.signature(value).bind(*range(takes))
    except TypeError:
        raise TypeError(
            f"`{name}` must be a function {what}, of {takes} argument{'s'[: takes > 1]}; got "
            f"{with_type(value)}."
        ) from None
    return value


def check_numbers(name: str, value: ArrayLike) -> Array:
    """Return `value` as an array of floats, all of them finite; integers become float64."""
    array = as_array(name, value)
    if array.dtype.kind not in "iuf":
        raise TypeError(f"`{name}` must hold numbers; got dtype {array.dtype}.")
    return check_finite(name, array if array.dtype.kind == "f" else array.astype(np.float64))


def check_int(name: str, value: object, *, low: int | None = None, high: int | None = None) -> int:
    """Return `value` as int if it is a whole number in ``low..high`` (both inclusive)."""
    allowed = f"a whole number{_between(low, high)}"
    if isinstance(value, bool) or not isinstance(value, numbers.Integral):
        raise TypeError(f"`{name}` must be {allowed}; got {with_type(value)}.")
    number = int(value)
    if not _within(number, low, high):
        raise ValueError(f"`{name}` must be {allowed}; got {shortened(value)}.")
    return number


def check_ints(
    name: str, value: Any, *, low: int | None = None, high: int | None = None, empty: bool = False
) -> list[int]:
    """Return one or several whole numbers in ``low..high`` as a list, `empty` only if it may be."""
    if isinstance(value, numbers.Integral):
        return [check_int(name, value, low=low, high=high)]
    if not isinstance(value, (list, tuple, range, np.ndarray)) or getattr(value, "ndim", 1) != 1:
        raise TypeError(
            f"`{name}` must be a whole number{_between(low, high)}, or a list of such; got "
            f"{with_type(value)}."
        )
    if not len(value) and not empty:
        raise ValueError(f"`{name}` must hold at least one whole number; got none.")
    return [check_int(name, each, low=low, high=high) for each in value]


def check_real(
    name: str,
    value: object,
    *,
    low: float | None = None,
    high: float | None = None,
    above: float | None = None,
) -> float:
    """Return `value` as float if it is a finite number in ``low..high`` (both inclusive).

    With `above` in place of `low` it must be greater than that.
    """
    allowed = _between(low, high)
    if above is not None:
        allowed = f" above {above}" + ("" if high is None else f" and at most {high}")
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise TypeError(f"`{name}` must be a number{allowed}; got {with_type(value)}.")
    try:
        number = float(value)
    except OverflowError:  # A whole number of more than 308 digits.
        number = math.inf
    above = -math.inf if above is None else above
    if not (_within(number, low, high) and above < number < math.inf):
        raise ValueError(f"`{name}` must be a finite number{allowed}; got {shortened(value)}.")
    return number


def check_positive(name: str, value: object) -> float:
    """Return `value` as float if it is a finite number above 0."""
    number = check_real(name, value)
    if number <= 0:
        raise ValueError(f"`{name}` must be a finite number > 0; got {shortened(value)}.")
    return number


def check_text(name: str, value: object) -> str:
    """Return `value` if it is text that may name a part of a model: not empty, without ``/``."""
    if not isinstance(value, str):
        raise TypeError(f"`{name}` must be text; got {with_type(value)}.")
    if not value or "/" in value:
        raise ValueError(
            f"`{name}` must be text of at least one character and without '/', which parts paths; "
            f"got {shortened(value)}."
        )
    return value


MOST_SIDE = 2**15
MOST_CHANNELS = 2**14
"""Canvases of more pixels a side and layers of more channels are mistakes that fill the memory."""


def check_filters(name: str, value: object) -> tuple[int, ...]:
    """Return numbers of channels, at least one, of the convolutions of a model."""
    if not isinstance(value, (list, tuple, range, np.ndarray)) or not len(value):
        raise ValueError(
            f"`{name}` must be a non-empty sequence of channel numbers such as (8, 8); got "
            f"{shortened(value)}."
        )
    return tuple(
        check_int(f"{name}[{i}]", c, low=1, high=MOST_CHANNELS) for i, c in enumerate(value)
    )


def check_input(model: Model, shape: tuple[int, ...], name: str = "images") -> None:
    """Raise a ValueError unless `model` takes images of `shape` (height, width, channels)."""
    expected = getattr(model, "input_shape", None)
    if not isinstance(expected, tuple) or len(expected) != 4:
        return
    if any(side not in (None, own) for side, own in zip(expected[1:], shape, strict=True)):
        raise ValueError(
            f"`model` takes images of (height, width, channels) = {expected[1:]}; got `{name}` of "
            f"{tuple(shape)}. Build the model or the scene with the same size and channels."
        )


def check_dtype(name: str, value: Any) -> Any:
    """Return `value` if Keras takes it for a floating dtype or its policy; None is its own."""
    import keras

    policy = value
    if value is None or isinstance(value, str):
        with contextlib.suppress(TypeError, ValueError):
            policy = keras.dtype_policies.get(value or keras.config.floatx())
    dtype = policy.compute_dtype if isinstance(policy, keras.DTypePolicy) else ""
    if "float" not in str(dtype):
        raise ValueError(
            f"`{name}` must be a floating dtype such as 'float32', or None; got {with_type(value)}."
        )
    return value


def check_size(name: str, value: Any, *, high: int | None = None) -> Size:
    """Return an image size ``(height, width)`` in pixels, both at least 1."""
    try:
        height, width = value
    except (TypeError, ValueError):
        raise TypeError(
            f"`{name}` must be two whole numbers (height, width) in pixels; got {shortened(value)}."
        ) from None
    height = check_int(f"{name}[0]", height, low=1, high=high)
    return height, check_int(f"{name}[1]", width, low=1, high=high)


def check_boxes(name: str, value: ArrayLike) -> Array:
    """Return `value` as a float or integer array of shape ``(..., 4)`` without NaN or infinity."""
    array = as_array(name, value)
    if array.dtype.kind not in "iuf":
        raise TypeError(
            f"`{name}` must hold numbers; got an array of dtype {array.dtype}. "
            "Pass integers or floats, four to a box."
        )
    if array.ndim == 0 or array.shape[-1] != 4:
        raise ValueError(
            f"`{name}` must have shape (..., 4), four numbers to a box; got shape {array.shape}."
        )
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        where = np.argwhere(~np.isfinite(array).all(axis=-1))[0]
        raise ValueError(
            f"`{name}` must be finite; box {tuple(int(i) for i in where)} "
            f"is {array[tuple(where)].tolist()}."
        )
    return array


def check_pixels(name: str, boxes: Array, keyword: str, format: str) -> None:
    """Raise a ValueError if boxes (d, 4) in a pixel format are fractions without doubt.

    Whole numbers are let through: [0, 0, 1, 1] is a legal box of one pixel. Others that are all
    within [-0.5, 1.5] would be boxes of a pixel or two, all of them in the first corner of their
    images; fractions are always that, also if they reach beyond the image by half of it.
    """
    if len(boxes) and boxes.min() >= -0.5 and boxes.max() <= 1.5 and (boxes % 1 != 0).any():
        raise ValueError(
            f"`{name}` must hold pixels, since `{keyword}` is {format!r}; got only numbers in "
            f"{boxes.min():.4g} .. {boxes.max():.4g}, as of fractions. Give "
            f"{keyword}='rel_{format}' and `size`."
        )


def check_brightness(name: str, value: ArrayLike) -> Array:
    """Return images ``(n, height, width, channels)`` as float32 in [0, 1]; uint8 is divided."""
    array = as_array(name, value)
    if array.ndim != 4:
        raise ValueError(
            f"`{name}` must have shape (n, height, width, channels); got shape {array.shape}."
        )
    if array.dtype == np.uint8:
        return array.astype(np.float32) / 255
    if array.dtype.kind != "f":
        raise TypeError(
            f"`{name}` must be floats in [0, 1] or uint8 in 0..255; got dtype {array.dtype}."
        )
    return array.astype(np.float32, copy=False)


def check_finite(name: str, array: Array) -> Array:
    """Return a float or integer array if it holds neither NaN nor infinity."""
    if not is_finite(array):
        bad = ~np.isfinite(array)
        first = tuple(int(i) for i in np.argwhere(bad)[0])
        raise ValueError(
            f"`{name}` must be finite; got {array[first]} at index {first}, "
            f"{int(bad.sum())} such of {array.size} in all."
        )
    return array


def is_finite(array: Array) -> bool:
    """Tell whether an array holds neither NaN nor infinity, in one pass without a copy."""
    if array.dtype.kind != "f":
        return True
    with np.errstate(invalid="ignore", over="ignore"):
        total = array.sum(dtype=np.float64)
    # The sum of finite numbers may overflow, so only a finite sum is proof.
    return bool(np.isfinite(total) or np.isfinite(array).all())


def check_memory(name: str, value: object, size: float, what: str) -> None:
    """Raise a ValueError if `size` bytes, which `value` asks for, are beyond all reason."""
    if size > _MOST_BYTES:
        raise ValueError(
            f"`{name}` {shortened(value)} asks for {size / 1e9:,.0f} GB of {what}; at most "
            f"{_MOST_BYTES / 1e9:,.0f} GB are tried. Take a smaller number."
        )


_MOST_BYTES = 2**37
"""Sizes beyond are mistakes, and asking for them can bring a machine to a halt."""


def warn_of_range(name: str, images: Array) -> None:
    """Warn, as `ImageRangeWarning`, of float images in 0..255."""
    if images.size and images.min() >= 0 and 2 < images.max() <= 255:
        warnings.warn(
            f"`{name}` holds floats up to {images.max():.4g}, as of images in 0..255; the models "
            "of this library take [0, 1]. Divide by 255, or pass uint8 where it is allowed.",
            ImageRangeWarning,
            stacklevel=_level_outside(),
        )


def _level_outside() -> int:
    """Return the level of the first caller outside of this package: the line of the user's."""
    package, level = __name__.partition(".")[0], 0
    frame: types.FrameType | None = sys._getframe(1)
    while frame is not None and frame.f_globals["__name__"].partition(".")[0] == package:
        frame, level = frame.f_back, level + 1
    return level + 1


def check_model(model: Model) -> Model:
    """Return `model` if it is a Keras model that runs on TensorFlow."""
    import keras  # Not above: boxes and the NumPy half of data do without TensorFlow.

    if not isinstance(model, keras.Model):
        raise TypeError(
            "`model` must be a keras.Model (Functional, Sequential or a subclass); got "
            f"{type(model).__module__}.{type(model).__name__}."
        )
    if keras.backend.backend() != "tensorflow":
        raise RuntimeError(
            f"`model` must run on TensorFlow; Keras runs on {keras.backend.backend()!r}. "
            "Set KERAS_BACKEND=tensorflow before the first import of keras."
        )
    return model


def check_path(name: str, value: object) -> Path:
    """Return `value` as Path if it is text or a path."""
    if not isinstance(value, (str, os.PathLike)) or not isinstance(os.fspath(value), str):
        raise TypeError(f"`{name}` must be a path, as str or pathlib.Path; got {with_type(value)}.")
    if not os.fspath(value) or "\0" in os.fspath(value):
        raise ValueError(f"`{name}` must name a file or folder; got {shortened(value)}.")
    return Path(value)


def check_executor(value: object) -> None:
    """Raise a TypeError unless `value` is None or runs functions as an Executor does."""
    if value is not None and not callable(getattr(value, "submit", None)):
        raise TypeError(
            "`executor` must be a concurrent.futures.Executor or None; got "
            f"{type(value).__name__}. From a Dask client, take `client.get_executor()`."
        )


def check_generator(seed: Seed) -> np.random.Generator:
    """Return a NumPy Generator from a whole number, a SeedSequence or a Generator."""
    if isinstance(seed, (np.random.Generator, np.random.SeedSequence)):
        return np.random.default_rng(seed)  # which returns a Generator as it is
    if isinstance(seed, bool) or not isinstance(seed, numbers.Integral):
        raise TypeError(
            "`seed` must be a whole number >= 0 or a numpy.random.Generator; got "
            f"{with_type(seed)}."
        )
    return np.random.default_rng(check_int("seed", seed, low=0))


def _within(number: float, low: float | None, high: float | None) -> bool:
    return (low is None or number >= low) and (high is None or number <= high)


def _between(low: float | None, high: float | None) -> str:
    if low is not None and high is not None:
        return f" between {low} and {high}"
    if low is not None:
        return f" >= {low}"
    return "" if high is None else f" <= {high}"


def whole_boxes(boxes: ArrayLike, size: Size) -> Array:
    """Return `boxes` as int64 (n, 4) if they are ordered, whole and inside the image."""
    array = check_boxes("boxes", boxes)
    if array.ndim != 2:
        raise ValueError(f"`boxes` must have shape (n, 4); got shape {array.shape}.")
    ends = np.array([*size, *size])
    good = (array == np.floor(array)) & (array >= 0) & (array <= ends)
    good[:, :2] &= array[:, :2] <= array[:, 2:]
    if not good.all():
        bad = int(np.argmin(good.all(axis=1)))
        raise ValueError(
            f"`boxes` must be (top, left, bottom, right) in order, in whole pixels, inside the "
            f"image of {size[0]} x {size[1]} pixels; box {bad} is {array[bad].tolist()}."
        )
    return array.astype(np.int64)
