"""Targets of one box, a class or a layer: how each is read from a traced pass of a model."""

# ruff: noqa: D102 - the methods of every target are those that `Target` documents.

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass

import keras
import tensorflow as tf

from whitebox_loc import boxes as box_measures
from whitebox_loc._types import Array, Model, Tensor
from whitebox_loc._validation import shortened
from whitebox_loc.boxes.formats import COORDINATES
from whitebox_loc.introspect.targets import outputs
from whitebox_loc.introspect.tracing.capture import Forward, call_given
from whitebox_loc.introspect.tracing.fingerprints import function_fingerprint
from whitebox_loc.introspect.tracing.layers import named_layers, split_call


class Target:
    """What is explained; for `saliency` a target is these five and no more.

    Attributes
    ----------
    label : str
        Short text for tables and figures.
    data : array (n, ...) or (1, ...), or None
        What differs between images and so must not be frozen into a compiled function.
    """

    label: str
    data: Array | None = None

    @property
    def key(self) -> Hashable | None:
        """Everything that `read` depends on besides its arguments; None if unknown."""
        return self

    def watched(self, model: Model) -> tuple[str, ...]:
        """Return the layers whose calls `read` needs."""
        return ()

    def read(self, passed: Forward, data: Tensor, link: str) -> tuple[Tensor, str]:
        """Return the target of a traced pass, (n,) float32, and how the link was applied."""
        raise NotImplementedError


@dataclass(frozen=True)
class Coordinate(Target):
    """A coordinate of the box, or one made of the four."""

    label: str

    def read(self, passed: Forward, data: Tensor, link: str) -> tuple[Tensor, str]:
        box = outputs.box_output(passed)
        if self.label in COORDINATES:
            column = COORDINATES.index(self.label)
            return outputs.linked(box, link, lambda values: values[:, column])
        _refuse_logit(self.label, link)
        return DERIVED[self.label](*tf.unstack(tf.cast(box, tf.float32), axis=-1)), "identity"


@dataclass(frozen=True)
class Output(Target):
    """One number of the box, or of the only output."""

    index: int
    label: str

    def read(self, passed: Forward, data: Tensor, link: str) -> tuple[Tensor, str]:
        tensors = tf.nest.flatten(passed.outputs)
        tensor = tensors[0] if len(tensors) == 1 else outputs.box_output(passed)
        width = tensor.shape[-1]
        if tensor.shape.rank != 2 or not -width <= self.index < width:
            raise ValueError(
                f"`target` {self.index} must be the number of one of the model's outputs; its "
                f"output has shape {tuple(tensor.shape)}."
            )
        return outputs.linked(tensor, link, lambda values: values[:, self.index])


@dataclass(frozen=True)
class Custom(Target):
    """A user's function of the outputs."""

    function: Callable[[Tensor], Tensor]
    label: str

    @property
    def key(self) -> Hashable | None:
        return function_fingerprint(self.function)

    def read(self, passed: Forward, data: Tensor, link: str) -> tuple[Tensor, str]:
        _refuse_logit(self.label, link)
        what = f"`target` {self.label!r}"
        return _applied("target", what, self.function, passed.outputs), "identity"


def overlap(boxes: Tensor, references: Tensor) -> Tensor:
    """Return the IoU of predicted boxes with given ones, in ``rel_yxyx``.

    Where an edge is where the given one is, the IoU is greatest and has a kink: rounding would
    choose the side, and so the gradient. There it is 0, as in the middle of the two.
    """
    boxes = tf.cast(boxes, tf.float32)
    apart = tf.abs(boxes - references) > MET
    return box_measures.iou(tf.where(apart, boxes, references), references, "rel_yxyx")


MET = 2.0**-20
"""Edges so near to each other, as fractions of the image, differ by rounding alone: 16 units in
the last place of 1, and a thousandth of a pixel on a canvas of 1,000."""


@dataclass(frozen=True, eq=False)
class Overlap(Target):
    """IoU of the predicted box with given ones."""

    data: Array
    label: str = "iou"

    @property
    def key(self) -> Hashable:
        return "iou"

    def read(self, passed: Forward, data: Tensor, link: str) -> tuple[Tensor, str]:
        _refuse_logit(self.label, link)
        return overlap(outputs.box_output(passed), data), "identity"


@dataclass(frozen=True, eq=False)
class Loss(Target):
    """Loss of the predicted box against given ones."""

    loss: Callable[..., Tensor]
    data: Array
    label: str = "loss"

    @property
    def key(self) -> Hashable | None:
        fingerprint = function_fingerprint(self.loss)
        return None if fingerprint is None else ("loss", fingerprint)

    def read(self, passed: Forward, data: Tensor, link: str) -> tuple[Tensor, str]:
        _refuse_logit(self.label, link)
        boxes = tf.cast(outputs.box_output(passed), tf.float32)
        unreduced = self.loss.call if isinstance(self.loss, keras.losses.Loss) else self.loss
        return _applied("loss", "`loss`", unreduced, data, boxes), "identity"


@dataclass(frozen=True)
class Unit(Target):
    """A channel of a layer."""

    layer: str
    channel: int
    position: tuple[int, ...] | None
    label: str

    def watched(self, model: Model) -> tuple[str, ...]:
        return (split_call(self.layer)[0],)

    def read(self, passed: Forward, data: Tensor, link: str) -> tuple[Tensor, str]:
        _refuse_logit(self.label, link)
        output = passed.single_call(self.layer).output
        places = self.position or ()
        index = (*places, self.channel)
        shape = getattr(output, "shape", None)
        inner = tuple(shape[1:]) if shape is not None and shape.rank else ()
        sizes = inner[-1:] if self.position is None else inner
        if len(index) != len(sizes) or not all(
            size is None or -size <= i < size for i, size in zip(index, sizes, strict=True)
        ):
            raise ValueError(
                f"`target` unit({self.layer!r}, channel={self.channel}, position={self.position}) "
                f"does not fit the layer's output, of shape {tuple(shape or ())}."
            )
        value = tf.cast(output, tf.float32)
        value = value[:, *places, self.channel] if places else value[..., self.channel]
        return tf.reduce_mean(value, list(range(1, value.shape.rank))), "identity"


@dataclass(frozen=True)
class Bin(Target):
    """One place of a distribution over edges."""

    coordinate: str
    index: int
    label: str

    def _layers(self, paths: Iterable[str]) -> tuple[str, list[str]]:
        rows = self.coordinate in ("top", "bottom")
        name = "row_distribution" if rows else "column_distribution"
        return name, [path for path in paths if path.rpartition("/")[2] == name]

    def watched(self, model: Model) -> tuple[str, ...]:
        name, paths = self._layers(named_layers(model))
        if len(paths) != 1:
            raise ValueError(
                f"`target` bin({self.coordinate!r}, {self.index}) needs a localizer with "
                f"head='profile', that is one layer {name!r}; model {model.name!r} has "
                f"{len(paths)}."
            )
        return tuple(paths)

    def read(self, passed: Forward, data: Tensor, link: str) -> tuple[Tensor, str]:
        call = passed.single_call(self._layers(passed.calls)[1][0])
        column = int(self.coordinate in ("bottom", "right"))
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
        return scores[:, at] - outputs.log_sum_exp(rest), "input of the softmax"


@dataclass(frozen=True, eq=False)
class Label(Target):
    """The probability of a class: one for all images, or each image's own.

    `classes` is how many the model must have for the number in `data` to mean what the user
    named; None if the user gave the number.
    """

    label: str
    data: Array
    classes: int | None = None

    @property
    def key(self) -> Hashable:
        # `read` checks the highest number when it is traced, so that is part of the key.
        return ("label", self.classes, int(self.data.max()))

    def read(self, passed: Forward, data: Tensor, link: str) -> tuple[Tensor, str]:
        probabilities = outputs.label_output(passed)
        count, highest = probabilities.shape[-1], int(self.data.max())
        if self.classes not in (None, count):
            raise ValueError(
                f"`scene` of label({self.label!r}) has {self.classes} shapes, but the model tells "
                f"{count} classes apart. Give the scene that it was trained on, or the class's "
                "number."
            )
        outputs.check_number(f"`which` of label({highest})", highest, count, "classes")
        return outputs.linked_class(probabilities, data, link)


DERIVED: dict[str, Callable[..., Tensor]] = {
    "height": lambda top, left, bottom, right: bottom - top,
    "width": lambda top, left, bottom, right: right - left,
    "center_y": lambda top, left, bottom, right: (top + bottom) / 2,
    "center_x": lambda top, left, bottom, right: (left + right) / 2,
    "area": lambda top, left, bottom, right: (bottom - top) * (right - left),
}
"""Coordinates made of the four, in fractions of the image."""


def _applied(name: str, what: str, function: Callable[..., Tensor], *arguments: Tensor) -> Tensor:
    """Return what a user's function makes of tensors: float32 (n,)."""
    value = call_given(name, function, *arguments)
    try:
        numbers = tf.convert_to_tensor(value)
    except (TypeError, ValueError) as error:
        raise TypeError(
            f"`{name}` must be a function of tensors to a tensor of one number an image; it "
            f"returned {shortened(value)} of type {type(value).__name__}."
        ) from error
    if numbers.shape.rank != 1:
        raise ValueError(
            f"{what} must return one number an image, shape (n,); got shape {tuple(numbers.shape)}."
        )
    return tf.cast(numbers, tf.float32)


def _refuse_logit(label: str, link: str) -> None:
    if link == "logit":
        raise ValueError(
            f"`link` 'logit' needs a target that is a probability behind a sigmoid: one of "
            f"{list(COORDINATES)}, the number of an output, a bin or a label; got {label!r}. "
            "Use link='identity'."
        )
