"""Reading what a model returns: which tensor is the box, and what lies behind a sigmoid."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from whitebox_loc.introspect.capture import Forward

__all__ = ["COORDINATES", "box_output", "log_odds"]

COORDINATES = ("top", "left", "bottom", "right")
"""Columns of a box output, in the order of ``rel_yxyx``."""

_LOW, _HIGH = 1e-30, 1.0 - 2.0**-24


def box_output(passed: Forward) -> Any:
    """Return the box among the outputs: a tensor (n, 4), ``rel_yxyx``.

    It is the output named ``"box"``, or else the only one of shape (n, 4).
    """
    named = _named_outputs(passed)
    boxes = {name: t for name, t in named.items() if t.shape.rank == 2 and t.shape[-1] == 4}
    if len(boxes) == 1:
        return next(iter(boxes.values()))
    if "box" in boxes:
        return boxes["box"]
    raise ValueError(
        "`model` must return one output of shape (n, 4), the box in rel_yxyx, or name it "
        f"'box'; got { ({name: tuple(t.shape) for name, t in named.items()}) }. "
        "Otherwise pass `target` as a function of the outputs, such as lambda out: out[0][:, 0]."
    )


def log_odds(tensor: Any) -> tuple[Any, str]:
    """Return log(p / (1 - p)) of a tensor of probabilities in a trace, and how it was found.

    What went into the sigmoid, where the graph shows that the tensor came out of one: it
    is exact however saturated. Otherwise the formula, continued by its tangent where p is
    so near 0 or 1 that float32 cannot tell.
    """
    behind = _behind_sigmoid(tensor)
    if behind is not None:
        return tf.cast(behind, tf.float32), "input of the sigmoid"
    p = tf.cast(tensor, tf.float32)
    safe = tf.clip_by_value(tf.stop_gradient(p), _LOW, _HIGH)
    # Newton's line through the safe point: exact value and slope inside, tangent outside.
    value = tf.math.log(safe) - tf.math.log1p(-safe) + (p - safe) / (safe * (1.0 - safe))
    return value, "log(p) - log(1 - p) of the output"


def _named_outputs(passed: Forward) -> dict[str, Any]:
    outputs = passed.outputs
    if isinstance(outputs, dict):
        return dict(outputs)
    if not isinstance(outputs, (list, tuple)):
        return {"output": outputs}
    names = passed.output_names or []
    if len(names) != len(outputs) or len(set(names)) != len(names):
        names = [str(index) for index in range(len(outputs))]
    return dict(zip(names, outputs, strict=True))


def _behind_sigmoid(tensor: Any) -> Any:
    """Follow a tensor through operations that only move numbers, back to a sigmoid's input."""
    if not tf.is_symbolic_tensor(keras.ops.convert_to_tensor(tensor)):
        return None
    operation = tensor.op
    if operation.type == "Sigmoid":
        return operation.inputs[0]
    if operation.type in ("Identity", "Cast", "Reshape"):
        behind = _behind_sigmoid(operation.inputs[0])
        if behind is not None and operation.type == "Reshape":
            return tf.reshape(behind, operation.inputs[1])
        return behind
    if operation.type == "ConcatV2":
        parts = [_behind_sigmoid(part) for part in operation.inputs[:-1]]
        return None if any(p is None for p in parts) else tf.concat(parts, operation.inputs[-1])
    return None
