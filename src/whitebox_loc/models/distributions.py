"""Reading the distributions over edges inside the profile localizer."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from whitebox_loc._validation import (
    check_brightness,
    check_finite,
    check_input,
    check_int,
    check_model,
    warn_of_range,
)


def edge_distributions(
    model: keras.Model, images: np.ndarray, *, batch_size: int = 256
) -> dict[str, np.ndarray]:
    """Return the distribution of which each coordinate is the expectation.

    Parameters
    ----------
    model : keras.Model
        A localizer with ``head="profile"``.
    images : array (n, height, width, channels)
        Floats in [0, 1], or uint8, which is divided by 255.
    batch_size : int, default 256
        Images in one pass.

    Returns
    -------
    dict
        ``"top"`` and ``"bottom"``: arrays ``(n, height + 1)``; ``"left"`` and
        ``"right"``: ``(n, width + 1)``. Entry j is the probability that the edge is the
        boundary between pixels j - 1 and j; each row sums to 1.

    Raises
    ------
    ValueError, TypeError
        If the model has no such distributions, or images hold NaN or infinity.

    Warns
    -----
    ImageRangeWarning
        If floats look like images in 0..255.

    Examples
    --------
    >>> import whitebox_loc as wb
    >>> batch = wb.data.generate(wb.data.Scene(size=(20, 30)), 2, seed=0)
    >>> found = edge_distributions(wb.models.localizer(size=(20, 30)), batch.images)
    >>> {name: p.shape for name, p in found.items()}
    {'top': (2, 21), 'left': (2, 31), 'bottom': (2, 21), 'right': (2, 31)}
    """
    check_model(model)
    check_int("batch_size", batch_size, low=1)
    images = check_finite("images", check_brightness("images", images))
    warn_of_range("images", images)
    outputs = _outputs(model, "distribution")
    check_input(model, images.shape[1:])
    reader = keras.Model(model.input, outputs)
    # Without images a black one tells the shapes, since not every layer takes an empty batch.
    some = images if len(images) else np.zeros((1, *images.shape[1:]), "float32")
    chunks = [
        [part.numpy() for part in reader(some[i : i + batch_size], training=False)]
        for i in range(0, len(some), batch_size)
    ]
    rows, columns = (np.concatenate(parts)[: len(images)] for parts in zip(*chunks, strict=True))
    return {
        "top": rows[..., 0],
        "left": columns[..., 0],
        "bottom": rows[..., 1],
        "right": columns[..., 1],
    }


def edge_logits(model: keras.Model) -> list[Any] | None:
    """Return the symbolic logits ``[(n, height + 1, 2), (n, width + 1, 2)]``, or None.

    The last axis holds (top, bottom) and (left, right). None means that the model has
    no distributions over edges: it is not a profile localizer.

    Examples
    --------
    >>> import whitebox_loc as wb
    >>> [tuple(t.shape) for t in edge_logits(wb.models.localizer(size=(20, 30)))]
    [(None, 21, 2), (None, 31, 2)]
    >>> edge_logits(wb.models.localizer(head="dense")) is None
    True
    """
    names = {layer.name for layer in check_model(model).layers}
    if not {"row_logits", "column_logits"} <= names:
        return None
    return _outputs(model, "logits")


def _outputs(model: keras.Model, suffix: str) -> list[Any]:
    names = {layer.name for layer in getattr(model, "layers", [])}
    layers = [f"row_{suffix}", f"column_{suffix}"]
    if not set(layers) <= names:
        raise ValueError(
            f"`model` must be a localizer with head='profile' (layers {layers}); got "
            f"{getattr(model, 'name', model)!r} with layers {sorted(names)}."
        )
    return [model.get_layer(name).output for name in layers]
