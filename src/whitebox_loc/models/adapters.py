"""Your own model, dressed as one of this library's: images in [0, 1] in, relative boxes out."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from whitebox_loc._types import Array, Tensor
from whitebox_loc._validation import (
    MOST_CHANNELS,
    MOST_SIDE,
    check_bool,
    check_choice,
    check_int,
    check_size,
    check_text,
    shortened,
)
from whitebox_loc.boxes import FORMATS, convert

# What an output of each name must look like: its shape behind the batch axis.
_OUTPUTS: dict[str, tuple[int | str, ...]] = {
    "box": (4,), "label": ("classes",),
    "boxes": ("candidates", 4), "scores": ("candidates",), "classes": ("candidates", "classes"),
}  # fmt: skip
_BOXES = ("box", "boxes")
_IMAGES = ("a black image", "noise")
# Where the middle of a box may lie: beyond, numbers are hardly fractions of the image.
_LOW, _HIGH = -1.0, 2.0


def adapted(
    model: keras.Model,
    read: str | Callable[[Any], Any] = "rel_yxyx",
    *,
    prepare: Callable[[Tensor], Any] | None = None,
    size: tuple[int, int] | None = None,
    channels: int | None = None,
    pixels: tuple[int, int] | None = None,
    check: bool = True,
    name: str | None = None,
) -> keras.Model:
    """Return a model around yours that takes and returns what this library works with.

    Parameters
    ----------
    model : keras.Model
        Any model that finds a box, or several. It is not copied: the result holds its very layers,
        so training the one trains the other. One without weights is built, as by any call.
    read : str or callable, default "rel_yxyx"
        How its outputs become boxes. A name from `whitebox_loc.boxes.FORMATS`: the only output,
        or that named ``"box"``, holds one box an image in this format. Otherwise a function
        from the outputs, made of ``keras.ops`` and Keras layers, that returns

        - ``rel_yxyx`` boxes (n, 4),
        - a dict with those as ``"box"`` and, if you like, probabilities (n, classes) as
          ``"label"``, or
        - for a model that finds several boxes, the dict of candidates: ``"boxes"`` (n, k, 4)
          ``rel_yxyx``, ``"scores"`` (n, k) and, if you like, ``"classes"`` (n, k, classes), both
          in [0, 1].

        Further entries of a dict are kept for targets of your own.
    prepare : callable, optional
        From images in [0, 1] to what `model` takes: resizing, ``* 255``, ``preprocess_input``;
        made of ``keras.ops`` and Keras layers, too. It is part of the result, so that maps belong
        to the images before it. By default nothing is done.
    size : (height, width), optional
        Of the images that the result takes, in pixels; by default that which `model` takes.
    channels : int, optional
        Of the images that the result takes; by default as many as `model` takes.
    pixels : (height, width), optional
        Of the image that boxes in pixels refer to; by default that which `prepare` returns.
    check : bool, default True
        Run the result once, on a black image and one of noise, and look at the boxes.
    name : str, optional
        Name of the result; default ``"adapted_<name of model>"``.

    Returns
    -------
    keras.Model
        Functional, from float images (n, height, width, channels) in [0, 1] to float32 boxes
        (n, 4) ``rel_yxyx``, or to a dict as above. A layer of `model` has the path it had behind
        ``"<name of model>/"``; outputs have the paths ``"box"``, ``"label"`` and so on. It can be
        saved if `model` can, and if `read` and `prepare` are made as said above.

    Raises
    ------
    ValueError, TypeError
        If an argument is not one of the above, the sizes are not known, `model` takes several
        inputs that `prepare` does not make, or boxes of a black image or of noise are not finite.

    Warns
    -----
    UserWarning
        If the middle of the box of a black image, or of half of its candidates, lies further
        outside the image than its size, which mostly means pixels read as fractions; if labels,
        scores or classes of either image are no probabilities; or if no gradient comes from the
        boxes to the images.

    Examples
    --------
    A model that takes RGB images of 32 x 48 pixels in 0..255 and returns pixels, x before y:

    >>> import keras
    >>> import whitebox_loc as wb
    >>> layers = [keras.layers.Flatten(name="flat"), keras.layers.Dense(4, name="dense")]
    >>> theirs = keras.Sequential([keras.Input((32, 48, 3)), *layers], name="theirs")
    >>> ours = adapted(
    ...     theirs, "xyxy", channels=1, prepare=lambda x: keras.ops.repeat(x * 255.0, 3, axis=-1)
    ... )
    >>> [row.path for row in wb.introspect.list_layers(ours)]
    ['theirs', 'theirs/flat', 'theirs/dense', 'box']
    """
    if not isinstance(model, keras.Model):
        raise TypeError(f"`model` must be a keras.Model; got {type(model).__name__}.")
    if not callable(read):
        check_choice("read", read, FORMATS)
    if prepare is not None and not callable(prepare):
        raise TypeError(
            f"`prepare` must be a function of images or None; got {shortened(prepare)}."
        )
    check = check_bool("check", check)
    name = None if name is None else check_text("name", name)
    if model.name in ("images", *_OUTPUTS):
        raise ValueError(
            f"`model` must not be named {model.name!r}, which is the name of an input or output "
            "of the result; got that name. Set model.name to another."
        )
    if prepare is None:
        _check_inputs(model, None)
    images = keras.Input(_image_shape(model, size, channels), name="images")
    prepared = images if prepare is None else _applied("prepare", prepare, images)
    _check_inputs(model, prepared)
    answer = _answer(model, prepared)
    if isinstance(read, str):
        result = _box_in(read, answer, _unit(read, pixels, prepared))
    else:
        result = _applied("read", read, answer)
    whole = keras.Model(images, _named(result), name=name or f"adapted_{model.name}")
    if check:
        _look_at(whole)
    return whole


def _answer(model: keras.Model, prepared: Any) -> Any:
    """Return what a model makes of the images that are prepared for it."""
    try:
        return model(prepared)
    except Exception as error:
        raise ValueError(
            f"`model` {model.name!r} does not take the images: `size`, `channels` and `prepare` "
            f"must make what it takes; it raised {type(error).__name__}: {str(error)[:200]}."
        ) from error


def _check_inputs(model: keras.Model, prepared: Any) -> None:
    count = len(getattr(model, "inputs", None) or ())
    if count > 1 and (prepared is None or keras.backend.is_keras_tensor(prepared)):
        raise ValueError(
            f"`model` must take one input, unless `prepare` makes all of them; {model.name!r} "
            f"takes {count}. Pass a `prepare` that returns the structure of inputs that it takes."
        )


def _image_shape(
    model: keras.Model, size: tuple[int, int] | None, channels: int | None
) -> tuple[int, int, int]:
    """Return the shape of an image, from the arguments or from what the model takes."""
    try:
        own = model.input_shape
    except (AttributeError, ValueError):  # a subclassed model does not say
        own = None
    own = own[1:] if isinstance(own, tuple) and len(own) == 4 and own[0] is None else (None,) * 3
    if size is None and None in own[:2]:
        raise ValueError(
            f"`size` must be given, since `model` {model.name!r} does not say which images it "
            "takes; got None. Pass size=(height, width) of your images in pixels."
        )
    if channels is None and own[2] is None:
        raise ValueError(
            f"`channels` must be given, since `model` {model.name!r} does not say which images it "
            "takes; got None. Pass channels=1 or channels=3."
        )
    height, width = check_size("size", own[:2] if size is None else size, high=MOST_SIDE)
    channels = own[2] if channels is None else channels
    return height, width, check_int("channels", channels, low=1, high=MOST_CHANNELS)


def _applied(argument: str, function: Callable[[Any], Any], value: Any) -> Any:
    """Apply a user's function to Keras tensors, and say what is wrong if it is no such function."""
    try:
        return function(value)
    except Exception as error:
        if not isinstance(error, (TypeError, ValueError)):
            raise  # the function's own
        if "KerasTensor" not in str(error):
            raise ValueError(
                f"`{argument}` must be a function that takes what it is given here, tensors of "
                f"Keras; it raised {type(error).__name__}: {str(error)[:200]}."
            ) from error
        raise TypeError(
            f"`{argument}` must be made of keras.ops functions and Keras layers, so that it "
            f"becomes part of the model; it raised {type(error).__name__}. Replace functions of "
            "TensorFlow and NumPy by those of keras.ops, or wrap them in a keras.layers.Lambda, "
            "with which the result cannot be loaded in safe mode."
        ) from error


def _unit(format: str, pixels: tuple[int, int] | None, prepared: Any) -> tuple[int, int] | None:
    """Return the size in pixels that boxes in a format refer to; None for fractions."""
    if format.startswith("rel_"):
        return None
    if pixels is not None:
        return check_size("pixels", pixels)
    shape = getattr(prepared, "shape", ())
    if len(shape) != 4 or None in shape[1:3]:
        raise ValueError(
            f"`pixels` must be given for boxes in {format!r}, since `prepare` returns no image of "
            "known size; got None. Pass pixels=(height, width) that the boxes refer to."
        )
    return check_size("pixels", shape[1:3])


def _box_in(format: str, outputs: Any, unit: tuple[int, int] | None) -> Tensor:
    """Return the ``rel_yxyx`` box of outputs that hold one in another format."""
    flat = outputs if isinstance(outputs, dict) else dict(enumerate(tf.nest.flatten(outputs)))
    box = flat["box"] if "box" in flat else next(iter(flat.values()))
    if len(flat) > 1 and "box" not in flat:
        raise ValueError(
            f"`read` {format!r} needs a model of one output, or a dict with one named 'box'; the "
            f"outputs are { ({k: tuple(t.shape) for k, t in flat.items()}) }. Pass a function "
            "that picks the box out of them."
        )
    if tuple(box.shape[1:]) != (4,):
        raise ValueError(
            f"`read` {format!r} needs boxes of shape (n, 4); the output has shape "
            f"{tuple(box.shape)}. Pass a function that makes boxes of it."
        )
    if format == "rel_yxyx":
        return box
    # In full precision: a float16 holds no pixel behind 2048, and no fraction of one at 100.
    return convert(_float32(box), format, "rel_yxyx", size=unit)


def _named(result: Any) -> Any:
    """Check what `read` has returned, and give every part the layer name it is known by."""
    if not isinstance(result, dict):
        return _checked("box", result, {})
    if not any(key in result for key in _BOXES):
        raise ValueError(
            "`read` must return a dict with 'box' (n, 4), or with 'boxes' (n, k, 4) and 'scores' "
            f"(n, k); got the keys {list(result)}."
        )
    if "boxes" in result and "scores" not in result:
        raise ValueError(
            "`read` must return 'scores' (n, k) beside 'boxes' (n, k, 4): how sure the model is "
            f"of each; got the keys {list(result)}."
        )
    known: dict[str, int] = {}
    for key, part in result.items():
        for tensor in tf.nest.flatten(part):
            _check_computed(key, tensor)
    return {k: _checked(k, part, known) if k in _OUTPUTS else part for k, part in result.items()}


def _check_computed(key: str, tensor: Tensor) -> None:
    if not keras.backend.is_keras_tensor(tensor):
        raise TypeError(
            f"`read` must return {key!r} as a tensor that the model has computed; got "
            f"{type(tensor).__name__}. Return boxes (n, 4), or a dict of tensors."
        )


def _checked(key: str, tensor: Tensor, known: dict[str, int]) -> Tensor:
    expected = _OUTPUTS[key]
    _check_computed(key, tensor)
    shape = tuple(tensor.shape)
    if shape and shape[0] is not None:
        _refuse_rows(key, shape[0], "n")
    sizes = shape[1:]
    text = ", ".join(["n", *(f"{w}={known[w]}" if w in known else str(w) for w in expected)])
    fits = len(sizes) == len(expected) and all(
        got is not None and got == (want if isinstance(want, int) else known.get(want, got))
        for got, want in zip(sizes, expected, strict=True)
    )
    if not fits:
        raise ValueError(
            f"`read` must return {key!r} of shape ({text}), fixed but for n; got {shape}."
        )
    if "candidates" in expected:  # as many in all outputs
        known["candidates"] = sizes[0]
    return keras.layers.Identity(name=key, dtype="float32")(_float32(tensor))


def _refuse_rows(key: str, rows: int, images: int | str) -> None:
    raise ValueError(
        f"`read` must return one row of {key!r} for each image; got {rows} for {images} images. Is "
        "something summed, averaged or reshaped over the first axis?"
    )


def _float32(tensor: Tensor) -> Tensor:
    name = keras.backend.standardize_dtype(tensor.dtype)
    return tensor if name == "float32" else keras.ops.cast(tensor, "float32")


def _run(model: keras.Model, images: Tensor) -> Any:
    try:
        return model(images, training=False)
    except Exception as error:
        error.add_note(
            f"Raised by the adapted model on images of shape {tuple(images.shape)}: look at "
            "`prepare`, `read` and the model."
        )
        raise


def _look_at(model: keras.Model) -> None:
    """Raise or warn if what the model says of two images cannot be meant."""
    shape = model.input_shape[1:]
    noise = np.random.default_rng(0).random(shape, np.float32)
    images = tf.constant(np.stack([np.zeros_like(noise), noise]))
    with tf.GradientTape() as tape:
        tape.watch(images)
        outputs = _run(model, images)
        named = outputs if isinstance(outputs, dict) else {"box": outputs}
        total = tf.add_n([tf.reduce_sum(named[key]) for key in _BOXES if key in named])
    for key in _OUTPUTS:
        if key in named:
            _look_at_values(key, named[key].numpy())
    if tape.gradient(total, images) is None:
        warnings.warn(
            f"Model {model.name!r}: no gradient comes from its boxes to the images, since "
            "something in `prepare`, `read` or the model rounds or chooses. Every map of a "
            "gradient would be 0; only perturbation methods apply.",
            stacklevel=3,
        )


def _look_at_values(key: str, values: Array) -> None:
    if len(values) != 2:
        _refuse_rows(key, len(values), 2)
    for which, numbers in zip(_IMAGES, values, strict=True):
        if not np.isfinite(numbers).all():
            raise ValueError(
                f"`read` must return finite numbers; {key!r} of {which} holds NaN or infinity. "
                "Black images are baselines of many methods: does `prepare` divide by the "
                "brightness of the image? check=False leaves this out."
            )
    doubt = _misread_box(values) if key in _BOXES else _no_probabilities(key, values)
    if doubt:
        warnings.warn(f"{key!r} of {doubt}; check=False leaves this out.", stacklevel=4)


def _misread_box(values: Array) -> str | None:
    """Say why boxes of a black image can hardly be fractions; None if they can."""
    black = values[0]
    middles = (black[..., :2] + black[..., 2:]) / 2
    if not np.median(((middles < _LOW) | (middles > _HIGH)).any(-1)) > 0:
        return None
    return (
        f"a black image holds numbers from {black.min():.4g} to {black.max():.4g}, but rel_yxyx "
        "are fractions of the image, 0 to 1. If these are pixels, pass `read` as the name of "
        "their format, such as 'xyxy', or use boxes.convert in it"
    )


def _no_probabilities(key: str, values: Array) -> str | None:
    """Say why numbers are no probabilities; None if they may be."""
    # Logits of a model without biases are 0 for the black image: only the noise shows them.
    fix = "but it must hold probabilities"
    for which, numbers in zip(_IMAGES, values, strict=True):
        if (numbers < 0).any() or (numbers > 1 + 1e-5).any():
            return (
                f"{which} holds numbers from {numbers.min():.4g} to {numbers.max():.4g}, {fix}, 0 "
                "to 1. Use a sigmoid or softmax in `read`"
            )
        # Far above half precision, which rounds each number by at most 5e-4 of itself.
        if key == "label" and abs(numbers.sum() - 1) > 1e-2:
            return (
                f"{which} sums to {numbers.sum():.4g}, {fix} that sum to 1. Use a softmax in `read`"
            )
    return None
