"""Running a model's graph on something else than tensors: one rule for each of its operations."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras

from whitebox_loc._types import Model

Rule = Callable[..., Any]
"""From an operation and its arguments, whatever they are, to its output."""


class UnsupportedModelError(ValueError):
    """A model has an operation or a structure for which an argument does not hold."""


def box_model(model: Model) -> Model:
    """Return the model of one tensor (n, 4) behind a localizer, which may have labels beside it."""
    if isinstance(model, keras.Sequential) and _graph(model) is not None:
        model = model._functional
    if _graph(model) is None:
        raise UnsupportedModelError(
            "`model` must be a functional model without a `call` of its own, whose graph is known. "
            "Build it by keras.Model(inputs, outputs), a Sequential one with an Input."
        )
    output = model.output
    if isinstance(output, dict):
        if "box" not in output:
            raise UnsupportedModelError(
                f"`model` must have an output 'box'; got outputs {sorted(output)}."
            )
        output = output["box"]
    if not hasattr(output, "shape"):
        raise UnsupportedModelError(
            f"`model` must have one output, the boxes; got {len(model.outputs)} outputs."
        )
    return keras.Model(model.input, output)


def walk(model: Model, value: Any, rule: Rule) -> Any:
    """Return what a functional model makes of `value` if `rule` stands for its operations."""

    def applied(operation: Any) -> Rule:
        inner = _graph(operation)

        def apply(*values: Any, **options: Any) -> Any:
            names = [name for name, v in options.items() if v is not None and v is not False]
            if names:  # a mask, say, or dropout that stays on
                raise refuse(operation, f"it is called with {', '.join(sorted(names))}")
            return rule(operation, *values) if inner is None else walk(inner, values[0], rule)

        return apply

    for tensor in model.inputs:  # to which images are cast
        if tensor.dtype != "float32":
            raise UnsupportedModelError(
                f"Input {tensor.name!r}: it takes {tensor.dtype}, and bounds hold for float32."
            )
    return model._run_through_graph(value, operation_fn=applied)


def _graph(operation: Any) -> Model | None:
    """Return the functional model that an operation runs, None if it is not one or does more."""
    if not isinstance(operation, keras.Model):
        return None
    owner = next(cls for cls in type(operation).__mro__ if "call" in vars(cls))
    if not owner.__module__.startswith("keras."):
        return None
    inner = operation._functional if isinstance(operation, keras.Sequential) else operation
    return inner if hasattr(inner, "_run_through_graph") else None


def kind(operation: Any) -> str:
    """Return the name of an operation of Keras, or of a class of the user's with its module."""
    cls = type(operation)
    return (
        cls.__name__ if cls.__module__.startswith("keras.") else f"{cls.__module__}.{cls.__name__}"
    )


def refuse(operation: Any, reason: str) -> UnsupportedModelError:
    """Return the error that an operation does not fit an argument."""
    name = getattr(operation, "name", "")
    return UnsupportedModelError(f"Operation {name!r} ({kind(operation)}): {reason}.")
