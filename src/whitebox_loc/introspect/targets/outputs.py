"""Outputs of a model: which tensor is what, and what lies behind a sigmoid or softmax."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import keras
import tensorflow as tf

from whitebox_loc._types import Tensor
from whitebox_loc.introspect.tracing.capture import Forward

Pick = Callable[[Tensor], Tensor]
"""Takes numbers of a tensor."""

FORMULA = "log(p) - log(1 - p) of the output"
"""How log-odds are read where no sigmoid or softmax of the graph stands behind."""


def box_output(passed: Forward) -> Tensor:
    """Return the box among the outputs: a tensor (n, 4), ``rel_yxyx``.

    It is the output named ``"box"``, or else the only one of shape (n, 4).
    """
    named = _named_outputs(passed)
    boxes = {name: t for name, t in named.items() if t.shape.rank == 2 and t.shape[-1] == 4}
    if len(boxes) == 1:
        return next(iter(boxes.values()))
    if "box" in boxes:
        return boxes["box"]
    if has_candidates(passed):
        raise ValueError(
            "`model` returns several boxes an image; name one with `target` "
            "targets.candidate(...), or a place with targets.detection(...) (D-RISE is that with "
            "method='rise')."
        )
    raise ValueError(
        "`model` must return one output of shape (n, 4), the box in rel_yxyx, or name it "
        f"'box'; got {_shapes(named)}. "
        "Otherwise pass `target` as a function of the outputs, such as lambda out: out[0][:, 0]."
    )


def has_candidates(passed: Forward) -> bool:
    """Return whether the model returns several boxes an image, ``"boxes"`` (n, candidates, 4)."""
    named = _named_outputs(passed)
    return "boxes" in named and named["boxes"].shape.rank == 3


def candidate_outputs(passed: Forward) -> tuple[Tensor, Tensor, Tensor]:
    """Return the outputs ``"boxes"`` (n, k, 4), ``"scores"`` (n, k) and ``"classes"`` (n, k, c).

    The last is None if the model has none.
    """
    named = _named_outputs(passed)
    ranks = {"boxes": 3, "scores": 2, "classes": 3}
    outputs = {n: named[n] for n in ranks if n in named and named[n].shape.rank == ranks[n]}
    if {"boxes", "scores"} - set(outputs) or ("classes" in named) > ("classes" in outputs):
        raise ValueError(
            "`model` must return outputs named 'boxes' of shape (n, candidates, 4), in rel_yxyx, "
            "and 'scores' (n, candidates), and may return 'classes' (n, candidates, classes); got "
            f"{_shapes(named)}."
        )
    return outputs["boxes"], outputs["scores"], outputs.get("classes")


def label_output(passed: Forward) -> Tensor:
    """Return the output named ``"label"``: probabilities of classes, a tensor (n, classes)."""
    named = _named_outputs(passed)
    if "label" not in named or named["label"].shape.rank != 2:
        raise ValueError(
            "`model` must return an output named 'label' of shape (n, classes), such as "
            f"localizer(classes=6); got {_shapes(named)}."
        )
    return named["label"]


def check_number(what: str, number: int, count: int | None, noun: str) -> None:
    """Refuse the number of a candidate or class that a model does not have."""
    if count is not None and number >= count:
        raise ValueError(f"{what} must be one of the model's {count} {noun}, 0 .. {count - 1}.")


def linked(tensor: Tensor, link: str, pick: Pick) -> tuple[Tensor, str]:
    """Return what `pick` takes of a tensor, or its log-odds, in float32, and how it was read."""
    return log_odds(tensor, pick) if link == "logit" else (pick(tf.cast(tensor, tf.float32)), link)


def linked_class(
    tensor: Tensor, classes: Tensor, link: str, pick: Pick = lambda values: values
) -> tuple[Tensor, str]:
    """Return the probability of one class an image, (n,), or its log-odds, and how it was read.

    Log-odds are the score of the class minus the log-sum-exp of the others, from what went into
    the softmax: exact however sure the model is. Without a softmax as `log_odds`. `pick` takes
    its numbers from those of the class.
    """
    is_class = tf.one_hot(classes, tensor.shape[-1], on_value=True, off_value=False, dtype=tf.bool)

    def own(values: Tensor) -> Tensor:
        return tf.reduce_sum(tf.where(is_class, values, 0.0), -1)

    scores = _behind(tensor, "Softmax") if link == "logit" else None
    if scores is None:
        return linked(tensor, link, lambda values: pick(own(values)))
    scores = tf.cast(scores, tf.float32)
    # Not -inf in place of the class itself: its derivative would be 0 * inf.
    rest = log_sum_exp(tf.where(is_class, scores.dtype.min, scores))
    return pick(own(scores) - rest), "input of the softmax"


def log_sum_exp(scores: Tensor) -> Tensor:
    """Return log(sum(exp(scores))) over the last axis.

    As `tf.reduce_logsumexp`, from operations alone that propagation methods have rules for.
    """
    top = tf.stop_gradient(tf.reduce_max(scores, axis=-1, keepdims=True))
    return tf.math.log(tf.reduce_sum(tf.exp(scores - top), axis=-1)) + top[..., 0]


def log_odds(tensor: Tensor, pick: Pick) -> tuple[Tensor, str]:
    """Return log(p / (1 - p)) of some of a tensor's probabilities, and how it was found.

    What went into the sigmoid, where the graph shows that the tensor came out of one: it
    is exact however saturated. Otherwise the formula, which is NaN, and has the derivative NaN,
    where p is not between 0 and 1: there are no log-odds, and `refusals` raises. `pick` takes
    its numbers, so that others may be what they like.
    """
    behind = _behind(tensor, "Sigmoid")
    if behind is not None:
        return pick(tf.cast(behind, tf.float32)), "input of the sigmoid"
    p = pick(tf.cast(tensor, tf.float32))
    fixed = tf.stop_gradient(p)
    # The line through the point has its exact value and slope, and is a layer without a kink for
    # methods that propagate. Roots of numbers below 0 are NaN, whatever way is taken back.
    root = tf.math.rsqrt(fixed * (1.0 - fixed))
    return tf.math.log(fixed) - tf.math.log1p(-fixed) + (p - fixed) * (root * root), FORMULA


def _named_outputs(passed: Forward) -> dict[str, Tensor]:
    outputs = passed.outputs
    if isinstance(outputs, dict):
        return dict(outputs)
    if not isinstance(outputs, (list, tuple)):
        return {"output": outputs}
    names = passed.output_names or []
    if len(names) != len(outputs) or len(set(names)) != len(names):
        names = [str(index) for index in range(len(outputs))]
    return dict(zip(names, outputs, strict=True))


def _shapes(outputs: dict[str, Tensor]) -> str:
    return str({name: tuple(tensor.shape) for name, tensor in outputs.items()})


def _behind(tensor: Tensor, kind: str) -> Tensor:
    """Follow a tensor through operations that only move numbers, to the input of a `kind`."""
    if not tf.is_symbolic_tensor(keras.ops.convert_to_tensor(tensor)):
        return None
    operation = tensor.op
    if operation.type == kind:
        return operation.inputs[0]
    # Moving classes out of their axis would make another softmax of them.
    same = kind != "Softmax" or _same_last_axis(tensor, operation.inputs[:1])
    moves = ("Identity", "Cast", "Reshape") if same else ("Identity", "Cast")
    if operation.type in moves:
        behind = _behind(operation.inputs[0], kind)
        if behind is not None and operation.type == "Reshape":
            return tf.reshape(behind, operation.inputs[1])
        return behind
    if operation.type == "ConcatV2" and kind != "Softmax":
        parts = [_behind(part, kind) for part in operation.inputs[:-1]]
        return None if any(p is None for p in parts) else tf.concat(parts, operation.inputs[-1])
    return None


def _same_last_axis(tensor: Tensor, inputs: Sequence[Tensor]) -> bool:
    """Return whether a tensor and its only input have last axes of one known length."""
    lengths = [t.shape[-1] if t.shape.rank else None for t in (tensor, *inputs)]
    return len(lengths) == 2 and lengths[0] is not None and lengths[0] == lengths[1]
