"""Intervals of rows or columns that reach the elements of a tensor, and their arithmetic."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import reduce
from typing import Any

import numpy as np

from whitebox_loc._types import Array, Operation

NONE = 2**40
"""Both ends of no pixel at all: the hull with anything leaves the other as it is."""


@dataclass(frozen=True)
class Regular:
    """Windows of `size` at ``start + k * stride`` for place k on `axis`, the image endless.

    While `block` is above 1, the axis is dealt out to so many batches.
    """

    axis: int
    stride: int
    start: int
    size: int
    block: int = 1


@dataclass(frozen=True)
class Reach:
    """The rows (or columns) that reach the elements of a tensor of one image.

    `ends` (2, ...) are the first row, and the negative of the one behind the last, so that a hull
    takes the lower of both; `NONE` twice where no pixel reaches. They are broadcastable to
    `shape`, that of the tensor, and of length 1 on axes that make no difference.
    """

    ends: Array
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
    def of(cls, op: Operation, axis: int, kernel: int, dilation: int) -> Window:
        """Return what a convolution or pooling operation of a graph looks at."""
        pads = attribute(op, "explicit_paddings")
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


def attribute(op: Operation, name: str) -> Any:
    """Return an attribute of an operation, None if operations of its kind have no such."""
    return op.get_attr(name) if any(a.name == name for a in op.op_def.attr) else None


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


def gather(reach: Reach, axis: int, index: Array, regular: Regular | None = None) -> Reach:
    """Take hulls along an axis: of the places ``index[k]`` for output k; outside is no pixel."""
    length = reach.shape[axis]
    outside = (index < 0) | (index >= length)
    shape = list(reach.ends.shape)
    shape[axis + 1] = length
    full = np.moveaxis(np.broadcast_to(reach.ends, shape), axis + 1, -1)
    windows = np.where(outside, NONE, full[..., np.clip(index, 0, length - 1)])
    ends = np.moveaxis(windows.min(axis=-1), -1, axis + 1)
    lengths = (*reach.shape[:axis], len(index), *reach.shape[axis + 1 :])
    if reach.regular is not None and reach.regular.axis != axis:
        regular = reach.regular
    return small(ends, lengths, regular)


def mix_groups(reach: Reach, inputs: int, outputs: int) -> Reach:
    """Mix the channels, in groups of `inputs`, into `outputs` new ones altogether."""
    groups, ends = reach.shape[-1] // inputs, reach.ends
    if ends.shape[-1] > 1:
        hulls = ends.reshape(*ends.shape[:-1], groups, inputs).min(axis=-1)
        ends = np.repeat(hulls, outputs // groups, axis=-1)
    regular = reach.regular
    if regular is not None and regular.axis == len(reach.shape) - 1:
        regular = None
    return small(ends, (*reach.shape[:-1], outputs), regular)


def over(reach: Reach | None, axes: tuple[int, ...], *, keep: bool, spread: bool) -> Reach:
    """Take the hull over axes, which then have length 1, or are gone, or as long as before."""
    assert reach is not None
    axes = tuple(a % len(reach.shape) for a in axes)
    ends = reach.ends.min(axis=tuple(a + 1 for a in axes), keepdims=keep)
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
    return small(ends, tuple(lengths), regular)


def hull(reaches: list[Reach], shape: tuple[int, ...]) -> Reach:
    """Join tensors element by element, broadcast to `shape`."""
    ends, regulars = [], []
    for reach in reaches:
        new = len(shape) - len(reach.shape)
        ends.append(np.expand_dims(reach.ends, tuple(range(1, new + 1))))
        regular = reach.regular
        regulars.append(regular and replace(regular, axis=regular.axis + new))
    return small(reduce(np.minimum, ends), shape, join(regulars))


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


def small(ends: Array, shape: tuple[int, ...], regular: Regular | None) -> Reach:
    """Make a Reach, with axes that make no difference cut to length 1."""
    for axis in range(1, ends.ndim):
        one = ends.take([0], axis=axis)
        if ends.shape[axis] > 1 and (ends == one).all():
            ends = one
    return Reach(ends, tuple(int(n) for n in shape), regular)
