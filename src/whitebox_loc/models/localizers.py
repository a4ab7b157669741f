"""Convolutional localizers whose way from pixels to coordinates can be followed.

Only layers that ship with Keras are used, so a saved ``.keras`` file opens with
``keras.models.load_model`` on a machine that does not even have this library.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import keras
import numpy as np

from whitebox_loc._types import Tensor
from whitebox_loc._validation import (
    MOST_CHANNELS,
    MOST_SIDE,
    check_choice,
    check_filters,
    check_int,
    check_size,
    check_text,
    shortened,
)
from whitebox_loc.models.context import context
from whitebox_loc.models.initialization import reinitialize

LABEL_PLACES = 8
"""Feature maps are shrunk to at most so many rows and columns before classes are scored."""


def localizer(
    size: tuple[int, int] = (100, 100),
    channels: int = 1,
    head: str = "profile",
    classes: int | None = None,
    *,
    filters: Sequence[int] | None = None,
    line_filters: int | None = None,
    seed: int | np.random.Generator = 0,
    name: str | None = None,
) -> keras.Model:
    """Build a network that maps images to the four coordinates of one box.

    Parameters
    ----------
    size : (int, int), default (100, 100)
        Height and width of the images in pixels; any canvas of at least one pixel.
    channels : int, default 1
        Number of image channels.
    head : {"profile", "context", "coordconv", "dense"}, default "profile"
        How feature maps become coordinates, a row of `HEADS`:

        - ``"profile"``: the maximum of each feature over columns (rows) is a profile over rows
          (columns); two one-dimensional convolutions score every boundary between two rows
          (columns), a softmax makes a distribution of the scores, and a coordinate is the
          expectation of its distribution. See `edge_distributions`.
        - ``"context"``: the same with a mirrored frame, means beside maxima, dilated
          convolutions along the profiles and a summary of both added to each. For images of
          varied appearance (scene ``"augmented"``); 15 times the weights.
        - ``"coordconv"``: strided convolutions that also see their own position
          (Liu et al. 2018), global maximum, two dense layers, sigmoid.
        - ``"dense"``: strided convolutions, Flatten, Dense(4, sigmoid).
    classes : int, optional
        Number of classes, such as the shapes of a scene. With None the box is the only output;
        otherwise also a distribution over classes, from the same feature maps: strided
        convolutions ``label_conv1``, ``label_conv2``, ... shrink them to at most 8 x 8 places,
        the maximum over places gives one number a feature, and two dense layers score classes.
    filters : sequence of int, optional
        Channels of the two-dimensional convolutions ``conv1``, ``conv2``, ...
    line_filters : int, optional
        Channels of the one-dimensional convolutions of the heads ``"profile"`` (default 16)
        and ``"context"`` (default 32).
    seed : int or numpy.random.Generator, default 0
        Source of the initial weights: equal seeds give equal weights.
    name : str, optional
        Name of the model; default ``"<head>_localizer"``.

    Returns
    -------
    keras.Model
        Functional model, ``(n, height, width, channels)`` in [0, 1] to ``(n, 4)`` float32 boxes in
        ``rel_yxyx`` (fractions of the image size). With `classes`, a dict of two outputs:
        ``"box"``, that same, and ``"label"``, float32 probabilities ``(n, classes)``.

    References
    ----------
    R. Liu et al., "An intriguing failing of convolutional neural networks and
    the CoordConv solution", NeurIPS 2018, arXiv:1807.03247.

    Examples
    --------
    >>> import numpy as np
    >>> localizer(size=(20, 30), head="profile")(np.zeros((2, 20, 30, 1), "float32")).shape
    TensorShape([2, 4])
    """
    height, width = check_size("size", size, high=MOST_SIDE)
    check_int("channels", channels, low=1, high=MOST_CHANNELS)
    if classes is not None:
        check_int("classes", classes, low=2, high=MOST_CHANNELS)
    name = None if name is None else check_text("name", name)
    build, default_filters, default_line = HEADS[check_choice("head", head, HEADS)]
    widths = check_filters("filters", default_filters if filters is None else filters)
    along = _check_line_filters(head, default_line, line_filters)
    images = keras.Input((height, width, channels), name="image")
    boxes, maps = build(images, widths, along)
    outputs = boxes if classes is None else {"box": boxes, "label": _label(maps, classes)}
    model = keras.Model(images, outputs, name=name or f"{head}_localizer")
    return reinitialize(model, seed=seed)


def _profile(
    images: Tensor, filters: tuple[int, ...], line_filters: int | None
) -> tuple[Tensor, Tensor]:
    # Each 3x3 convolution and the kernel-2 boundary score eat one black pixel a side:
    # with this frame, a box that touches the canvas border has an edge like any other,
    # and exactly height + 1 row boundaries (width + 1 column boundaries) are scored.
    height, width = images.shape[1:3]
    x = keras.layers.ZeroPadding2D(len(filters) + 1, name="frame")(images)
    for index, channels in enumerate(filters, start=1):
        x = keras.layers.Conv2D(channels, 3, name=f"conv{index}")(x)
        if index < len(filters):
            x = keras.layers.Activation("relu", name=f"relu{index}")(x)
    rows = _edges_along(x, axis=2, length=height, width=line_filters, name="row")
    columns = _edges_along(x, axis=1, length=width, width=line_filters, name="column")
    # (top, bottom) beside (left, right) reads row by row as top, left, bottom, right.
    corners = keras.layers.Concatenate(axis=-1, name="corners")([rows, columns])
    return keras.layers.Reshape((4,), name="box", dtype="float32")(corners), x


def _edges_along(x: Tensor, *, axis: int, length: int, width: int | None, name: str) -> Tensor:
    # max then ReLU equals ReLU then max, and touches one line instead of the whole map.
    # keras.ops.max shares the gradient among ties, so that every pixel of a straight
    # edge is credited; MaxPooling2D would name one of them.
    profile = keras.layers.Activation("relu", name=f"{name}_profile")(keras.ops.max(x, axis=axis))
    between = keras.layers.Conv1D(width, 2, activation="relu", name=f"{name}_boundary")(profile)
    nearby = keras.layers.Conv1D(
        width, 3, padding="same", activation="relu", name=f"{name}_context"
    )(between)
    logits = keras.layers.Conv1D(2, 1, name=f"{name}_logits")(nearby)
    share = keras.layers.Softmax(axis=1, name=f"{name}_distribution", dtype="float32")
    # A sum of products rather than a matrix product: accelerators round the factors of
    # a matrix product to 10 bits, which is half a pixel on a canvas of 1000.
    positions = (np.arange(length + 1, dtype="float32") / length)[:, None]
    expectation = keras.ops.sum(share(logits) * positions, axis=1)
    return keras.layers.Reshape((2, 1), name=f"{name}_coordinates", dtype="float32")(expectation)


def _coordconv(
    images: Tensor, filters: tuple[int, ...], line_filters: int | None
) -> tuple[Tensor, Tensor]:
    lines = (np.linspace(-1, 1, side, dtype="float32") for side in images.shape[1:3])
    grid = np.stack(np.meshgrid(*lines, indexing="ij"), axis=-1)
    blank = keras.ops.zeros_like(images[..., :1])
    x = keras.layers.Concatenate(name="coordinates")([images, blank + grid])
    maps = _strided(x, filters)
    x = keras.layers.GlobalMaxPooling2D(name="pool")(maps)
    x = keras.layers.Dense(64, activation="relu", name="hidden")(x)
    return keras.layers.Dense(4, activation="sigmoid", name="box", dtype="float32")(x), maps


def _dense(
    images: Tensor, filters: tuple[int, ...], line_filters: int | None
) -> tuple[Tensor, Tensor]:
    maps = _strided(images, filters)
    x = keras.layers.Flatten(name="flatten")(maps)
    return keras.layers.Dense(4, activation="sigmoid", name="box", dtype="float32")(x), maps


def _label(maps: Tensor, classes: int) -> Tensor:
    # The profile head's last maps may be negative; where they are not, this changes nothing.
    x = keras.layers.Activation("relu", name="label_maps")(maps)
    halvings = max(math.ceil(math.log2(max(x.shape[1:3]) / LABEL_PLACES)), 0)
    x = _strided(x, (16, 32, *[32] * halvings)[:halvings], name="label_conv")
    # One number a feature, wherever and however large the shape is: a mean over places would
    # be a hundred times less for a shape of 8 pixels than for one of 80.
    x = keras.layers.GlobalMaxPooling2D(name="label_pool")(x)
    x = keras.layers.Dense(64, activation="relu", name="label_hidden")(x)
    logits = keras.layers.Dense(classes, name="label_logits")(x)
    return keras.layers.Softmax(name="label", dtype="float32")(logits)


def _strided(x: Tensor, filters: tuple[int, ...], name: str = "conv") -> Tensor:
    for index, channels in enumerate(filters, start=1):
        x = convolution(x, channels, f"{name}{index}", strides=2)
    return x


def convolution(x: Tensor, channels: int, name: str, strides: int = 1) -> Tensor:
    """Return features of 3 x 3 pixels, at least 0."""
    options = {"strides": strides, "padding": "same", "activation": "relu", "name": name}
    return keras.layers.Conv2D(channels, 3, **options)(x)


def _check_line_filters(head: str, default: int | None, value: int | None) -> int | None:
    if value is None:
        return default
    if default is None:
        along = [name for name, row in HEADS.items() if row[2] is not None]
        raise ValueError(
            f"`line_filters` {shortened(value)} needs a head with profiles, one of {along}; got "
            f"head={head!r}. Leave it None."
        )
    return check_int("line_filters", value, low=1, high=MOST_CHANNELS)


Head = Callable[[Tensor, tuple[int, ...], int | None], tuple[Tensor, Tensor]]

HEADS: dict[str, tuple[Head, tuple[int, ...], int | None]] = {
    "profile": (_profile, (8, 8), 16),
    "context": (context, (12, 16), 32),
    "coordconv": (_coordconv, (16, 32, 32, 64), None),
    "dense": (_dense, (16, 32, 32, 32), None),
}
"""Head name to (function, default filters, default line filters).

The function makes boxes and feature maps of images, filters and line filters.
"""
