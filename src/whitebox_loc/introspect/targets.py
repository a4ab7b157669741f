"""Targets: the scalar of a model's outputs that is explained.

`saliency` takes the name of a coordinate, the number of an output, a function of the
outputs, or what `iou`, `loss`, `unit` and `bin` return.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from whitebox_loc import boxes as box_measures
from whitebox_loc._validation import check_boxes, check_choice, check_int, check_size
from whitebox_loc.introspect.capture import Forward
from whitebox_loc.introspect.fingerprints import function_fingerprint
from whitebox_loc.introspect.layers import named_layers, split_call
from whitebox_loc.introspect.outputs import COORDINATES, box_output, log_odds

__all__ = ["COORDINATES", "DERIVED", "LINKS", "Target", "as_target", "bin", "iou", "loss", "unit"]

LINKS = ("identity", "logit")
"""The output itself, or the log-odds behind it."""


def iou(boxes: Any, format: str = "rel_yxyx", *, size: Any = None) -> Target:
    """Explain the IoU of the predicted box with given boxes.

    Parameters
    ----------
    boxes : array (n, 4) or (4,)
        One box an image, or one for all.
    format : str, default "rel_yxyx"
        Format of `boxes`, a name from `whitebox_loc.boxes.FORMATS`.
    size : (height, width), optional
        Image size in pixels, needed for formats in pixels.

    Returns
    -------
    Target
        Its gradient is zero where the two boxes do not overlap.

    Examples
    --------
    >>> import numpy as np
    >>> import whitebox_loc as wb
    >>> model = wb.models.localizer(size=(8, 8))
    >>> images = np.ones((2, 8, 8, 1), "float32")
    >>> wb.introspect.saliency(model, images, iou([0.2, 0.2, 0.9, 0.9])).shape
    (2, 8, 8)
    """
    return _Overlap(_relative(boxes, format, size))


def loss(loss: Any, boxes: Any, format: str = "rel_yxyx", *, size: Any = None) -> Target:
    """Explain a loss of the predicted box against given boxes.

    Parameters
    ----------
    loss : keras.Loss or callable
        Such as `whitebox_loc.losses.BoxBCE()`; or a function of the true and the predicted
        ``rel_yxyx`` boxes, tensors (n, 4), to losses (n,).
    boxes, format, size
        The true boxes, as for `iou`.

    Returns
    -------
    Target

    Examples
    --------
    >>> import whitebox_loc as wb
    >>> loss(wb.losses.BoxBCE(), [0.2, 0.2, 0.9, 0.9]).label
    'loss'
    """
    if not callable(loss):
        raise TypeError(f"`loss` must be a keras.Loss or a function; got {loss!r}.")
    return _Loss(loss, _relative(boxes, format, size))


def unit(layer: str, channel: int, position: tuple[int, ...] | None = None) -> Target:
    """Explain one channel of a layer: its mean over all places, or its value at one.

    Parameters
    ----------
    layer : str
        Path of the layer, ``path#2`` for the second of several calls.
    channel : int
        Index on the last axis; negative ones count from the end.
    position : tuple of int, optional
        Index on the axes between batch and channel, such as (row, column).

    Returns
    -------
    Target

    Examples
    --------
    >>> unit("conv2", 3, position=(4, 5)).label
    'conv2[4, 5, 3]'
    """
    if not isinstance(layer, str):
        raise TypeError(f"`layer` must be the path of a layer; got {layer!r}.")
    place = None if position is None else tuple(check_int("position", p) for p in position)
    return _Unit(layer, check_int("channel", channel), place)


def bin(coordinate: str, index: int) -> Target:
    """Explain one bin of a profile localizer's distribution over edges.

    Parameters
    ----------
    coordinate : {"top", "left", "bottom", "right"}
    index : int
        The boundary between pixels ``index - 1`` and ``index``; negative ones count from
        the last boundary.

    Returns
    -------
    Target
        The probability of the bin; with ``link="logit"`` its log-odds, from the scores in
        front of the softmax.

    Examples
    --------
    >>> bin("top", 12).label
    'top=12'
    """
    return _Bin(check_choice("coordinate", coordinate, COORDINATES), check_int("index", index))


def as_target(target: Any) -> Target:
    """Return what a public function got as `target` as a Target."""
    if isinstance(target, Target):
        return target
    if isinstance(target, str):
        return _Coordinate(check_choice("target", target, (*COORDINATES, *DERIVED)))
    if isinstance(target, (int, np.integer)) and not isinstance(target, bool):
        return _Output(int(target))
    if callable(target):
        return _Custom(target)
    raise TypeError(
        f"`target` must be one of {[*COORDINATES, *DERIVED]}, the number of an output, a function "
        "of the outputs, what a function in introspect.targets returns, or a list of those; "
        f"got {target!r}."
    )


class Target:
    """What is explained. `saliency` needs these four and no more.

    Attributes
    ----------
    label : str
        Short text for tables and figures.
    data : array (n, ...) or (1, ...), or None
        What differs between images and so must not be frozen into a compiled function.
    """

    label: str
    data: np.ndarray | None = None

    @property
    def key(self) -> Hashable | None:
        """Everything that `read` depends on besides its arguments; None if unknown."""
        return self

    def watched(self, model: keras.Model) -> tuple[str, ...]:
        """Return the layers whose calls `read` needs."""
        return ()

    def read(self, passed: Forward, data: Any, link: str) -> tuple[Any, str]:
        """Return the target of a traced pass, (n,) float32, and how the link was applied."""
        raise NotImplementedError


@dataclass(frozen=True)
class _Coordinate(Target):
    label: str

    def read(self, passed: Forward, data: Any, link: str) -> tuple[Any, str]:
        box = box_output(passed)
        if self.label in COORDINATES:
            return _column(box, COORDINATES.index(self.label), link)
        _refuse_logit(self.label, link)
        return DERIVED[self.label](*tf.unstack(tf.cast(box, tf.float32), axis=-1)), "identity"


@dataclass(frozen=True)
class _Output(Target):
    index: int

    @property
    def label(self) -> str:  # type: ignore[override]
        return f"output {self.index}"

    def read(self, passed: Forward, data: Any, link: str) -> tuple[Any, str]:
        outputs = tf.nest.flatten(passed.outputs)
        tensor = outputs[0] if len(outputs) == 1 else box_output(passed)
        width = tensor.shape[-1]
        if tensor.shape.rank != 2 or not -width <= self.index < width:
            raise ValueError(
                f"`target` {self.index} must be the number of one of the model's outputs; its "
                f"output has shape {tuple(tensor.shape)}."
            )
        return _column(tensor, self.index, link)


@dataclass(frozen=True)
class _Custom(Target):
    function: Callable[[Any], Any]

    @property
    def label(self) -> str:  # type: ignore[override]
        return getattr(self.function, "__name__", type(self.function).__name__)

    @property
    def key(self) -> Hashable | None:
        return function_fingerprint(self.function)

    def read(self, passed: Forward, data: Any, link: str) -> tuple[Any, str]:
        _refuse_logit(self.label, link)
        value = tf.convert_to_tensor(self.function(passed.outputs))
        if value.shape.rank != 1:
            raise ValueError(
                f"`target` {self.label!r} must return one number an image, shape (n,); got shape "
                f"{tuple(value.shape)}."
            )
        return tf.cast(value, tf.float32), "identity"


@dataclass(frozen=True, eq=False)
class _Overlap(Target):
    data: np.ndarray
    label: str = "iou"

    @property
    def key(self) -> Hashable:
        return "iou"

    def read(self, passed: Forward, data: Any, link: str) -> tuple[Any, str]:
        _refuse_logit(self.label, link)
        found = tf.cast(box_output(passed), tf.float32)
        return box_measures.iou(found, data, "rel_yxyx"), "identity"


@dataclass(frozen=True, eq=False)
class _Loss(Target):
    loss: Any
    data: np.ndarray
    label: str = "loss"

    @property
    def key(self) -> Hashable | None:
        known = function_fingerprint(self.loss)
        return None if known is None else ("loss", known)

    def read(self, passed: Forward, data: Any, link: str) -> tuple[Any, str]:
        _refuse_logit(self.label, link)
        found = tf.cast(box_output(passed), tf.float32)
        unreduced = self.loss.call if isinstance(self.loss, keras.losses.Loss) else self.loss
        losses = tf.convert_to_tensor(unreduced(data, found))
        if losses.shape.rank != 1:
            raise ValueError(
                f"`loss` must return one number an image, shape (n,); got shape "
                f"{tuple(losses.shape)}."
            )
        return tf.cast(losses, tf.float32), "identity"


@dataclass(frozen=True)
class _Unit(Target):
    layer: str
    channel: int
    position: tuple[int, ...] | None

    @property
    def label(self) -> str:  # type: ignore[override]
        places = "" if self.position is None else "".join(f"{p}, " for p in self.position)
        return f"{self.layer}[{places}{self.channel}]"

    def watched(self, model: keras.Model) -> tuple[str, ...]:
        return (split_call(self.layer)[0],)

    def read(self, passed: Forward, data: Any, link: str) -> tuple[Any, str]:
        _refuse_logit(self.label, link)
        output = passed.single_call(self.layer).output
        places = () if self.position is None else self.position
        index = (*places, self.channel)
        shape = getattr(output, "shape", None)
        inner = tuple(shape[1:]) if shape is not None and shape.rank else ()
        wanted = inner[-1:] if self.position is None else inner
        if len(index) != len(wanted) or not all(
            size is None or -size <= i < size for i, size in zip(index, wanted, strict=True)
        ):
            raise ValueError(
                f"`target` unit({self.layer!r}, channel={self.channel}, position={self.position}) "
                f"does not fit the layer's output, of shape {tuple(shape or ())}."
            )
        value = tf.cast(output, tf.float32)
        value = value[:, *places, self.channel] if places else value[..., self.channel]
        return tf.reduce_mean(value, list(range(1, value.shape.rank))), "identity"


@dataclass(frozen=True)
class _Bin(Target):
    coordinate: str
    index: int

    @property
    def label(self) -> str:  # type: ignore[override]
        return f"{self.coordinate}={self.index}"

    def watched(self, model: keras.Model) -> tuple[str, ...]:
        name = "row_distribution" if self.coordinate in ("top", "bottom") else "column_distribution"
        paths = [p for p in named_layers(model) if p.rpartition("/")[2] == name]
        if len(paths) != 1:
            raise ValueError(
                f"`target` bin({self.coordinate!r}, {self.index}) needs a localizer with "
                f"head='profile', that is one layer {name!r}; model {model.name!r} has "
                f"{len(paths)}."
            )
        return (paths[0],)

    def read(self, passed: Forward, data: Any, link: str) -> tuple[Any, str]:
        name = "row_distribution" if self.coordinate in ("top", "bottom") else "column_distribution"
        path = next(p for p in passed.calls if p.rpartition("/")[2] == name)
        call, column = passed.single_call(path), int(self.coordinate in ("bottom", "right"))
        count = call.output.shape[1]
        if not -count <= self.index < count:
            raise ValueError(
                f"`index` of bin({self.coordinate!r}, {self.index}) must lie in "
                f"{-count} .. {count - 1}."
            )
        if link == "identity":
            return tf.cast(call.output[:, self.index, column], tf.float32), "identity"
        scores = tf.cast(call.inputs[..., column], tf.float32)
        at = self.index % count
        rest = tf.concat([scores[:, :at], scores[:, at + 1 :]], axis=1)
        return scores[:, at] - tf.reduce_logsumexp(rest, axis=1), "input of the softmax"


DERIVED: dict[str, Callable[..., Any]] = {
    "height": lambda top, left, bottom, right: bottom - top,
    "width": lambda top, left, bottom, right: right - left,
    "center_y": lambda top, left, bottom, right: (top + bottom) / 2,
    "center_x": lambda top, left, bottom, right: (left + right) / 2,
    "area": lambda top, left, bottom, right: (bottom - top) * (right - left),
}
"""Coordinates made of the four, in fractions of the image."""


def _column(tensor: Any, index: int, link: str) -> tuple[Any, str]:
    if link == "identity":
        return tf.cast(tensor[:, index], tf.float32), link
    odds, how = log_odds(tensor)
    return odds[:, index], how


def _refuse_logit(label: str, link: str) -> None:
    if link == "logit":
        raise ValueError(
            f"`link` 'logit' needs a target that is a probability behind a sigmoid: one of "
            f"{list(COORDINATES)}, the number of an output or a bin; got {label!r}. "
            "Use link='identity'."
        )


def _relative(boxes: Any, format: str, size: Any) -> np.ndarray:
    found = check_boxes("boxes", boxes)
    if found.ndim > 2:
        raise ValueError(f"`boxes` must have shape (n, 4) or (4,); got {found.shape}.")
    if size is not None:
        check_size("size", size)
    relative = box_measures.convert(found, format, "rel_yxyx", size=size)
    return np.asarray(relative, np.float32).reshape(-1, 4)
