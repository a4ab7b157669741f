"""A small anchor-free network that finds several boxes: a heat map of centres, and sizes.

Like the localizers it is made of layers that ship with Keras.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import keras
import numpy as np

from whitebox_loc._types import Tensor
from whitebox_loc._validation import (
    MOST_CHANNELS,
    MOST_SIDE,
    check_filters,
    check_int,
    check_model,
    check_size,
    check_text,
)
from whitebox_loc.models.initialization import reinitialize
from whitebox_loc.models.localizers import convolution

STRIDES = (2, 4)
FILTERS = (16, 24, 32, 48, 64)
DEEPEST = 4
"""The image is shrunk until the last maps have at most so many rows and columns."""

LEAST_SIDE = 8
"""Images of fewer pixels would have grids from which the stride cannot be read."""


def detector(
    size: tuple[int, int] = (64, 64),
    channels: int = 1,
    classes: int | None = None,
    *,
    stride: int = 2,
    filters: Sequence[int] | None = None,
    seed: int | np.random.Generator = 0,
    name: str = "detector",
) -> keras.Model:
    """Build a network that maps images to candidates for boxes, one for each cell of a grid.

    For each cell of `stride` x `stride` pixels the network returns how sure it is that the centre
    of an object lies in it (``heat_map``), where in the cell (``offset``), and how tall and wide
    the object is (``size``), without anchors. `detections` chooses among the candidates.

    Parameters
    ----------
    size : (int, int), default (64, 64)
        Height and width of the images in pixels; any canvas of at least 8 pixels both ways.
    channels, seed, name
        As for `localizer`.
    classes : int, optional
        Number of classes, such as the shapes of a scene. With None objects are only found.
    stride : {2, 4}, default 2
        Pixels a cell, both ways. At 2 boxes with a gap of at least one pixel never have their
        centres in the same cell, so that none hides another.
    filters : sequence of int, optional
        Channels of the maps after each halving; the last number holds for all further ones.
        Default ``(16, 24, 32, 48, 64)``.

    Returns
    -------
    keras.Model
        Functional model, ``(n, height, width, channels)`` in [0, 1] to a dict of float32, with k
        cells, row by row:

        - ``"boxes"`` (n, k, 4): ``rel_yxyx``; they may reach beyond the image.
        - ``"scores"`` (n, k): in [0, 1], how sure it is that a centre lies in the cell.
        - ``"classes"`` (n, k, classes): only with `classes`, probability that the centre of an
          object of the class lies in the cell. They sum to the score.

    Notes
    -----
    Layers ``down1``, ``down2``, ... halve the maps until at most 4 x 4 are left; ``up...`` double
    them again and join them with the maps of the same size from the way down (``skip``). Layers to
    look at: ``heat_map`` (rows, columns, classes or 1), ``size`` (rows, columns, 2), height and
    width as fractions of the image, and ``offset`` (rows, columns, 2), down and across in cells.

    References
    ----------
    X. Zhou, D. Wang and P. Kraehenbuehl, "Objects as points", 2019, arXiv:1904.07850.
    A. Newell, K. Yang and J. Deng, "Stacked hourglass networks for human pose estimation",
    ECCV 2016, arXiv:1603.06937 (down and up again).

    Examples
    --------
    >>> candidates = detector(size=(20, 30), classes=3).output
    >>> {name: tuple(part.shape) for name, part in sorted(candidates.items())}
    {'boxes': (None, 150, 4), 'classes': (None, 150, 3), 'scores': (None, 150)}
    """
    height, width = check_size("size", size, high=MOST_SIDE)
    check_int("size[0]", height, low=LEAST_SIDE)
    check_int("size[1]", width, low=LEAST_SIDE)
    check_int("channels", channels, low=1, high=MOST_CHANNELS)
    if classes is not None:
        check_int("classes", classes, low=1, high=MOST_CHANNELS)
    check_text("name", name)
    if check_int("stride", stride) not in STRIDES:
        raise ValueError(f"`stride` must be one of {list(STRIDES)}; got {stride!r}.")
    images = keras.Input((height, width, channels), name="image")
    maps = _maps(images, stride, check_filters("filters", FILTERS if filters is None else filters))
    outputs = _scored(maps, classes) | {"boxes": _boxes(maps, stride, (height, width))}
    model = keras.Model(images, outputs, name=name)
    return reinitialize(model, seed=seed)


class CenterMaps(NamedTuple):
    """What the last layers of a `detector` say of each cell, as symbolic tensors."""

    heat_logits: Tensor
    """(n, rows, columns, classes or 1): log-odds of a centre, or scores against "nothing"."""
    size_logits: Tensor
    """(n, rows, columns, 2): log-odds of height and width as fractions of the image."""
    offset: Tensor
    """(n, rows, columns, 2): centre from the cell's corner, down and across, in cells."""
    stride: int
    """Pixels a cell."""


def center_maps(model: keras.Model) -> CenterMaps | None:
    """Return what a model that `detector` built says of each cell, or None for another model.

    Examples
    --------
    >>> import whitebox_loc as wb
    >>> tuple(center_maps(wb.models.detector(size=(20, 30))).size_logits.shape)
    (None, 10, 15, 2)
    """
    names = CenterMaps._fields[:3]
    layers = {layer.name: layer for layer in check_model(model).layers}
    if not set(names) <= set(layers):
        return None
    logits, sizes, offset = (layers[name].output for name in names)
    height, width = model.input_shape[1:3]
    rows, columns = logits.shape[1:3]
    fitting = [s for s in STRIDES if (-(-height // s), -(-width // s)) == (rows, columns)]
    return CenterMaps(logits, sizes, offset, fitting[0]) if fitting else None


def _maps(images: Tensor, stride: int, filters: tuple[int, ...]) -> Tensor:
    """Shrink the image until little is left, and grow it again to the grid of cells."""
    x, skips, halvings = convolution(images, filters[0] // 2 or 1, "stem"), [], 0
    while 2**halvings < stride or max(x.shape[1:3]) > DEEPEST:
        channels = filters[min(halvings, len(filters) - 1)]
        halvings += 1
        x = convolution(x, channels, f"down{halvings}", strides=2)
        if 2**halvings >= stride:
            x = convolution(x, channels, f"skip{halvings}")
            skips.append((halvings, x))
    skips.pop()
    for level, skip in reversed(skips):
        x = keras.layers.UpSampling2D(2, name=f"double{level}")(x)
        # An odd number of rows was rounded up on the way down.
        extra = [(0, got - want) for got, want in zip(x.shape[1:3], skip.shape[1:3], strict=True)]
        x = keras.layers.Cropping2D(extra, name=f"crop{level}")(x)
        x = keras.layers.Concatenate(name=f"join{level}")([x, skip])
        x = convolution(x, skip.shape[-1], f"up{level}")
    return x


def _head(x: Tensor, channels: int, name: str, start: float) -> Tensor:
    """Return numbers of each cell, about `start` before training."""
    bias = keras.initializers.Constant(start)
    return keras.layers.Conv2D(channels, 1, bias_initializer=bias, name=name, dtype="float32")(x)


def _scored(maps: Tensor, classes: int | None) -> dict[str, Tensor]:
    cells = maps.shape[1] * maps.shape[2]
    # Nearly all cells hold no centre; saying so from the start saves the first hundred steps.
    logits = _head(maps, classes or 1, "heat_logits", start=-4.0)
    if classes is None:
        heat = keras.layers.Activation("sigmoid", name="heat_map", dtype="float32")(logits)
        return {"scores": keras.layers.Reshape((cells,), name="scores", dtype="float32")(heat)}
    # A softmax over the classes and "nothing", whose logit is 0: with one class a sigmoid.
    nothing = keras.ops.zeros_like(logits[..., :1])
    joined = keras.layers.Concatenate(name="heat_and_nothing", dtype="float32")([logits, nothing])
    shares = keras.layers.Softmax(name="heat_or_nothing", dtype="float32")(joined)
    heat = keras.layers.Identity(name="heat_map", dtype="float32")(shares[..., :-1])
    kinds = keras.layers.Reshape((cells, classes), name="classes", dtype="float32")(heat)
    # The sum may exceed 1 by its rounding.
    return {"scores": keras.ops.minimum(keras.ops.sum(kinds, axis=-1), 1.0), "classes": kinds}


def _boxes(maps: Tensor, stride: int, size: tuple[int, int]) -> Tensor:
    (height, width), (rows, columns) = size, maps.shape[1:3]
    # A box of a fifth of the image, in the middle of its cell.
    size_logits = _head(maps, 2, "size_logits", start=-1.5)
    sides = keras.layers.Activation("sigmoid", name="size", dtype="float32")(size_logits)
    offset = _head(maps, 2, "offset", start=0.5)
    before = [-np.arange(count, dtype="float32") for count in (rows, columns)]
    # Minus the negative: keras.ops.add takes a constant (1, n, 1) for a bias of channels that
    # come first, and adds it to the rows of a square grid.
    y = (offset[..., :1] - before[0][:, None, None]) * (stride / height)
    x = (offset[..., 1:] - before[1][None, :, None]) * (stride / width)
    tall, wide = sides[..., :1] * 0.5, sides[..., 1:] * 0.5
    corners = [y - tall, x - wide, y + tall, x + wide]
    joined = keras.layers.Concatenate(name="corners", dtype="float32")(corners)
    return keras.layers.Reshape((rows * columns, 4), name="boxes", dtype="float32")(joined)
