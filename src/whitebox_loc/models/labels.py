"""Which part of a model classifies."""

from __future__ import annotations

import keras

from whitebox_loc._types import Tensor
from whitebox_loc._validation import check_model


def class_count(model: keras.Model, shape: tuple[int, int, int]) -> int | None:
    """Return how many classes `model` distinguishes, or None if it only finds boxes.

    A model that classifies images of `shape` (height, width, channels) returns a dict with the box
    under ``"box"`` and probabilities ``(n, classes)`` under ``"label"``.

    Raises
    ------
    ValueError, TypeError
        If the output ``"label"`` has another shape.

    Examples
    --------
    >>> import whitebox_loc as wb
    >>> class_count(wb.models.localizer(size=(8, 8), classes=3), (8, 8, 1))
    3
    """
    check_model(model)
    try:
        outputs = model.output
    except AttributeError:
        # A subclassed model knows no symbolic output; this traces one, computing nothing.
        outputs = model.compute_output_spec(keras.KerasTensor((None, *shape)))
    if not isinstance(outputs, dict) or "label" not in outputs:
        return None
    label_shape = tuple(outputs["label"].shape)
    if len(label_shape) != 2 or label_shape[1] is None or label_shape[1] < 2:
        raise ValueError(
            "`model` must return its output 'label' with shape (n, classes), at least two "
            f"classes; {model.name!r} returns shape {label_shape}."
        )
    return int(label_shape[1])


def label_logits(model: keras.Model) -> Tensor | None:
    """Return the symbolic scores (n, classes) in front of the softmax, or None.

    None means that the model has no layer ``"label_logits"``: it does not classify, or not
    as ``localizer(classes=...)`` does.

    Examples
    --------
    >>> import whitebox_loc as wb
    >>> tuple(label_logits(wb.models.localizer(size=(8, 8), classes=3)).shape)
    (None, 3)
    """
    if "label_logits" not in {layer.name for layer in check_model(model).layers}:
        return None
    return model.get_layer("label_logits").output
