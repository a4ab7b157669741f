"""Through which windows a localizer looks at the image: what the argument by symmetry rests on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import keras
import numpy as np

from whitebox_loc._types import Array, Model
from whitebox_loc.boxes.formats import COORDINATES
from whitebox_loc.verification.graphs import box_model, kind, refuse, walk

AXES = ("row", "column")


@dataclass(frozen=True)
class Window:
    """What a position of a feature sees along one axis of the image.

    Position p sees the lines ``p + first`` to ``p + last`` of the image, both included, and a
    canvas of n lines has ``n + extra`` positions.
    """

    first: int = 0
    last: int = 0
    extra: int = 0

    @property
    def length(self) -> int:
        """Number of lines."""
        return self.last - self.first + 1

    def padded(self, before: int, after: int) -> Window:
        """Return the window after lines of zeros are put around the feature."""
        return Window(self.first - before, self.last - before, self.extra + before + after)

    def convolved(self, kernel: int, dilation: int) -> Window:
        """Return the window behind a convolution without padding."""
        by = (kernel - 1) * dilation
        return Window(self.first, self.last + by, self.extra - by)


@dataclass(frozen=True)
class Local:
    """A feature whose value at a position is a function of a window of the image.

    Attributes
    ----------
    windows : dict
        Axis name to Window: of the map's axes, or of the one that is left of a profile.
    across : Window or None
        Of a profile: the window, along the other axis, of what its maximum was taken over.
    framed : bool
        Whether, up to the maximum, zeros were put nowhere but around the image itself.
    raw : bool
        Whether it is the image, with zeros around it or without.
    """

    windows: dict[str, Window]
    across: Window | None = None
    framed: bool = True
    raw: bool = True


@dataclass(frozen=True)
class Shares:
    """A softmax over all positions of a profile, and the logits behind it."""

    feature: Local
    logits: Any
    weighted: bool = False


@dataclass(frozen=True)
class Reading:
    """How the coordinates along one axis are read: the expectation of positions.

    Attributes
    ----------
    axis : {"row", "column"}
    logits : keras.Model
        Images to logits ``(n, positions, channels)``, of whose softmax the expectation is taken.
    along, across : Window
        Of a logit along the axis, and of its features along the other one.
    framed : bool
        Whether, up to the maximum, zeros were put nowhere but around the image itself.
    channels : (int, int)
        Of the first edge (top or left) and of the second one.
    """

    axis: str
    logits: Any
    along: Window
    across: Window
    framed: bool
    channels: tuple[int, int]


def readings(model: Model) -> tuple[Reading, Reading]:
    """Return how a model reads rows and columns.

    Raises
    ------
    UnsupportedModelError
        If its coordinates are not expectations of positions whose logits are local features of a
        profile, the maximum over the lines of the other axis.
    """
    boxes = box_model(model)
    size = dict(zip(AXES, boxes.input.shape[1:3], strict=True))
    start = Local({axis: Window() for axis in AXES})
    entries = walk(boxes, start, lambda operation, *values: _apply(operation, size, *values))
    last = boxes.operations[-1]
    if not isinstance(entries, np.ndarray) or entries.shape != (4,):
        raise refuse(last, "the output is not four expectations of positions")
    parts = []
    for index, axis in enumerate(AXES):
        pair = [entries[index], entries[index + 2]]
        if any(entry[0] != axis for entry in pair) or pair[0][1] is not pair[1][1]:
            names = [COORDINATES[index], COORDINATES[index + 2]]
            raise refuse(last, f"{names[0]} and {names[1]} are not read from one {axis} profile")
        feature, logits = pair[0][1].feature, pair[0][1].logits
        parts.append(
            Reading(
                axis, keras.Model(boxes.input, logits), feature.windows[axis], feature.across,
                feature.framed, (pair[0][2], pair[1][2]),
            )
        )  # fmt: skip
    return parts[0], parts[1]


def _apply(operation: Any, size: dict[str, int], *values: Any) -> Any:
    rule = _RULES.get(kind(operation))
    if rule is None:
        raise refuse(operation, "the argument by symmetry knows no windows of it")
    dtype = getattr(operation, "compute_dtype", "float32")
    if dtype != "float32":
        raise refuse(operation, f"the argument is about float32; it computes in {dtype}")
    return rule(operation, size, *values)


def _local(operation: Any, value: Any) -> Local:
    if not isinstance(value, Local):
        raise refuse(operation, "it comes behind the softmax over positions")
    return value


def _convolution(layer: Any, size: dict[str, int], value: Any) -> Local:
    feature = _local(layer, value)
    if set(layer.strides) != {1}:
        raise refuse(layer, f"with strides {layer.strides} positions see windows of several phases")
    if layer.padding not in ("valid", "same"):
        raise refuse(layer, f"padding {layer.padding!r} is not known")
    windows, framed = {}, feature.framed
    steps = zip(feature.windows.items(), layer.kernel_size, layer.dilation_rate, strict=True)
    for (axis, window), kernel, dilation in steps:
        if layer.padding == "same" and kernel > 1:
            total = (kernel - 1) * dilation
            window = window.padded(total // 2, total - total // 2)
            framed = framed and (feature.raw or feature.across is not None)
        windows[axis] = window.convolved(kernel, dilation)
    return replace(feature, windows=windows, framed=framed, raw=False)


def _padding(layer: Any, size: dict[str, int], value: Any) -> Local:
    feature = _local(layer, value)
    paddings = layer.padding if len(feature.windows) == 2 else (layer.padding,)
    windows = {
        axis: window.padded(*around)
        for (axis, window), around in zip(feature.windows.items(), paddings, strict=True)
    }
    framed = feature.framed and (feature.raw or feature.across is not None)
    return replace(feature, windows=windows, framed=framed)


def _elementwise(layer: Any, size: dict[str, int], value: Any) -> Local:
    if kind(layer) == "Activation" and getattr(layer.activation, "__name__", "") == "softmax":
        raise refuse(layer, "a softmax must be a layer over all positions")
    return replace(_local(layer, value), raw=False)


def _maximum(operation: Any, size: dict[str, int], value: Any) -> Local:
    feature = _local(operation, value)
    axis = _axis(operation)
    if len(feature.windows) != 2 or axis not in (1, 2) or operation.keepdims:
        raise refuse(
            operation, "only the maximum of a map over its rows or columns makes a profile"
        )
    other = AXES[axis - 1]
    left = {name: window for name, window in feature.windows.items() if name != other}
    return replace(feature, windows=left, across=feature.windows[other], raw=False)


def _softmax(layer: Any, size: dict[str, int], value: Any) -> Shares:
    feature = _local(layer, value)
    if feature.across is None or layer.axis not in (1, -2):
        raise refuse(layer, "it must run over all positions of a profile, axis 1")
    return Shares(feature, layer.input)


def _product(operation: Any, size: dict[str, int], *values: Any) -> Shares:
    shares = [value for value in values if isinstance(value, Shares)]
    arrays = [np.asarray(value) for value in values if not isinstance(value, (Shares, Local))]
    if len(shares) != 1 or len(arrays) != 1 or shares[0].weighted:
        raise refuse(operation, "only shares times positions are an expectation")
    ((axis, window),) = shares[0].feature.windows.items()
    length = size[axis]
    positions = (np.arange(length + 1, dtype=np.float32) / np.float32(length))[:, None]
    if window.extra != 1 or arrays[0].shape != positions.shape:
        raise refuse(operation, f"{length + 1} boundaries are to be weighted")
    if not np.allclose(arrays[0], positions, rtol=2.0**-22, atol=0):
        raise refuse(operation, "the weights are not the positions of boundaries, j / length")
    return replace(shares[0], weighted=True)


def _sum(operation: Any, size: dict[str, int], value: Any) -> Array:
    if (
        not isinstance(value, Shares)
        or not value.weighted
        or _axis(operation) != 1
        or operation.keepdims
    ):
        raise refuse(operation, "only the sum of shares times positions is an expectation")
    ((axis, _),) = value.feature.windows.items()
    entries = np.empty(value.logits.shape[-1], object)
    entries[:] = [(axis, value, channel) for channel in range(len(entries))]
    return entries


def _axis(operation: Any) -> int | None:
    """Return the one axis that an operation reduces, None if there are several."""
    axes = operation.axis if isinstance(operation.axis, (list, tuple)) else [operation.axis]
    return axes[0] if len(axes) == 1 else None


def _reshaped(layer: Any, size: dict[str, int], value: Any) -> Array:
    return _entries(layer, value).reshape(layer.target_shape)


def _joined(layer: Any, size: dict[str, int], values: list[Any]) -> Array:
    if layer.axis == 0:
        raise refuse(layer, "it joins images, not coordinates")
    axis = layer.axis if layer.axis < 0 else layer.axis - 1
    return np.concatenate([_entries(layer, value) for value in values], axis)


def _entries(layer: Any, value: Any) -> Array:
    if not isinstance(value, np.ndarray):
        raise refuse(layer, "it comes before the coordinates are read")
    return value


_RULES: dict[str, Callable[..., Any]] = {
    "Conv1D": _convolution,
    "Conv2D": _convolution,
    "ZeroPadding1D": _padding,
    "ZeroPadding2D": _padding,
    "Activation": _elementwise,
    "ReLU": _elementwise,
    "Dropout": _elementwise,
    "SpatialDropout1D": _elementwise,
    "SpatialDropout2D": _elementwise,
    "Max": _maximum,
    "Softmax": _softmax,
    "Multiply": _product,
    "Sum": _sum,
    "Reshape": _reshaped,
    "Concatenate": _joined,
}
