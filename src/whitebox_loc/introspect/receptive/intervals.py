"""Intervals of rows or columns that reach the elements of a tensor, and their arithmetic."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

__all__ = [
    "Reach",
    "Regular",
    "Window",
    "gather",
    "hull",
    "join",
    "mix_groups",
    "over",
    "slide",
    "small",
]

NONE_LOW, NONE_HIGH = 2**40, -(2**40)
"""No pixel at all: the hull with anything leaves the other as it is."""


@dataclass(frozen=True)
class Regular:
    """Windows of one size that move in equal steps, as if the image went on for ever.

    The window of place k on tensor axis `axis` starts at ``start + k * stride`` and is
    `size` long. While `block` is above 1, the axis is dealt out to so many batches.
    """

    axis: int
    stride: int
    start: int
    size: int
    block: int = 1


@dataclass(frozen=True)
class Reach:
    """The rows (or columns) that reach the elements of a tensor of one image.

    Attributes
    ----------
    low, high : int arrays
        Half open; broadcastable to `shape`, of length 1 on axes that make no difference.
        An element that no pixel reaches has low > high.
    shape : tuple of int
        Of the tensor, batch axis included.
    regular : Regular or None
    """

    low: np.ndarray
    high: np.ndarray
    shape: tuple[int, ...]
    regular: Regular | None = None


@dataclass(frozen=True)
class Window:
    """What an operation looks at along one axis, in places of its input."""

    kernel: int
    stride: int
    dilation: int
    padding: str
    explicit: tuple[int, int]

    @classmethod
    def of(cls, op: Any, axis: int, kernel: int, dilation: int) -> Window:
        """Return what a convolution or pooling operation of a graph looks at."""
        names = [attribute.name for attribute in op.op_def.attr]
        pads = op.get_attr("explicit_paddings") if "explicit_paddings" in names else []
        explicit = tuple(pads[2 * axis : 2 * axis + 2]) if pads else (0, 0)
        padding, stride = op.get_attr("padding").decode(), op.get_attr("strides")[axis]
        return cls(kernel, stride, dilation, padding, explicit)

    def place(self, length: int) -> tuple[int, int]:
        """Return padding in front and number of outputs for an input of a length."""
        extent = (self.kernel - 1) * self.dilation + 1
        if self.padding == "SAME":
            outputs = -(-length // self.stride)
            return max((outputs - 1) * self.stride + extent - length, 0) // 2, outputs
        before, after = self.explicit
        return before, (length + before + after - extent) // self.stride + 1


def slide(reach: Reach, axis: int, window: Window) -> Reach:
    """Take the hulls of a window that slides along an axis."""
    before, outputs = window.place(reach.shape[axis])
    taps = window.dilation * np.arange(window.kernel)
    index = window.stride * np.arange(outputs)[:, None] + taps - before
    regular = reach.regular
    if regular is not None and regular.axis == axis:
        if regular.block > 1 and window.stride > 1:
            regular = None
        else:
            wider = (window.kernel - 1) * window.dilation * regular.block * regular.stride
            regular = replace(
                regular,
                stride=regular.stride * window.stride,
                start=regular.start - before * regular.block * regular.stride,
                size=regular.size + wider,
            )
    return gather(reach, axis, index, regular)


def gather(reach: Reach, axis: int, index: np.ndarray, regular: Regular | None = None) -> Reach:
    """Take hulls along an axis: of the places ``index[k]`` for output k; outside is no pixel."""
    length = reach.shape[axis]
    outside = (index < 0) | (index >= length)
    ends = []
    for array, none, extreme in (
        (reach.low, NONE_LOW, np.min),
        (reach.high, NONE_HIGH, np.max),
    ):
        shape = list(array.shape)
        shape[axis] = length
        full = np.moveaxis(np.broadcast_to(array, shape), axis, -1)
        taken = np.where(outside, none, full[..., np.clip(index, 0, length - 1)])
        ends.append(np.moveaxis(extreme(taken, axis=-1), -1, axis))
    lengths = (*reach.shape[:axis], len(index), *reach.shape[axis + 1 :])
    if reach.regular is not None and reach.regular.axis != axis:
        regular = reach.regular
    return small(ends[0], ends[1], lengths, regular)


def mix_groups(reach: Reach, inputs: int, outputs: int) -> Reach:
    """Mix the channels, in groups of `inputs`, into `outputs` new ones altogether."""
    groups = reach.shape[-1] // inputs
    ends = []
    for array, extreme in ((reach.low, np.min), (reach.high, np.max)):
        if array.shape[-1] > 1:
            grouped = array.reshape(*array.shape[:-1], groups, inputs)
            array = np.repeat(extreme(grouped, axis=-1), outputs // groups, axis=-1)
        ends.append(array)
    return small(ends[0], ends[1], (*reach.shape[:-1], outputs), reach.regular)


def over(reach: Reach | None, axes: tuple[int, ...], *, keep: bool, spread: bool) -> Reach:
    """Take the hull over axes, which then have length 1, or are gone, or as long as before."""
    assert reach is not None
    rank = len(reach.shape)
    axes = tuple(a % rank for a in axes)
    low = reach.low.min(axis=axes, keepdims=keep)
    high = reach.high.max(axis=axes, keepdims=keep)
    lengths = [1 if a in axes else n for a, n in enumerate(reach.shape)]
    if spread:
        lengths = list(reach.shape)
    elif not keep:
        lengths = [n for a, n in enumerate(reach.shape) if a not in axes]
    regular = reach.regular
    if regular is not None and regular.axis in axes:
        regular = None
    elif regular is not None and not keep:
        regular = replace(regular, axis=regular.axis - sum(a < regular.axis for a in axes))
    return small(low, high, tuple(lengths), regular)


def hull(reaches: list[Reach], shape: tuple[int, ...]) -> Reach:
    """Join tensors element by element, broadcast to `shape`."""
    rank = len(shape)
    low, high = reaches[0].low, reaches[0].high
    for reach in reaches[1:]:
        low, high = np.minimum(low, reach.low), np.maximum(high, reach.high)
    regulars = [
        r.regular and replace(r.regular, axis=r.regular.axis + rank - len(r.shape)) for r in reaches
    ]
    pad = (1,) * (rank - low.ndim)
    low, high = low.reshape(pad + low.shape), high.reshape(pad + high.shape)
    return small(low, high, shape, join(regulars))


def join(regulars: list[Regular | None]) -> Regular | None:
    """Join windows place by place; None unless all move together."""
    first = regulars[0] if regulars else None
    if first is None:
        return None
    for other in regulars[1:]:
        if other is None or replace(other, start=first.start, size=first.size) != first:
            return None
    start = min(r.start for r in regulars if r)
    return replace(first, start=start, size=max(r.start + r.size for r in regulars if r) - start)


def small(low: Any, high: Any, shape: tuple[int, ...], regular: Regular | None) -> Reach:
    """Make a Reach, with axes that make no difference cut to length 1."""
    for axis in range(low.ndim):
        one = (slice(None),) * axis + (slice(0, 1),)
        if low.shape[axis] > 1 and (low == low[one]).all() and (high == high[one]).all():
            low, high = low[one], high[one]
    return Reach(low, high, tuple(int(n) for n in shape), regular)
