"""Reading the distributions over edges inside the profile localizer."""

from __future__ import annotations

import keras
import numpy as np

from whitebox_loc._types import Array, ArrayLike, Tensor
from whitebox_loc._validation import check_model
from whitebox_loc.models.passes import outputs_of


def edge_distributions(
    model: keras.Model, images: ArrayLike, *, batch_size: int = 256
) -> dict[str, Array]:
    """Return the distribution of which each coordinate is the expectation.

    Parameters
    ----------
    model : keras.Model
        A localizer with ``head="profile"``.
    images, batch_size
        As for `whitebox_loc.training.predict`.

    Returns
    -------
    dict
        ``"top"`` and ``"bottom"``: arrays ``(n, height + 1)``; ``"left"`` and ``"right"``:
        ``(n, width + 1)``. Entry j is the probability that the edge is the boundary between
        pixels j - 1 and j; each row sums to 1.

    Raises
    ------
    ValueError, TypeError
        If the model has no such distributions, or images hold NaN or infinity.

    Examples
    --------
    >>> import whitebox_loc as wb
    >>> batch = wb.data.generate(wb.data.Scene(size=(20, 30)), 2, seed=0)
    >>> shares = edge_distributions(wb.models.localizer(size=(20, 30)), batch.images)
    >>> {name: p.shape for name, p in shares.items()}
    {'top': (2, 21), 'left': (2, 31), 'bottom': (2, 21), 'right': (2, 31)}
    """
    check_model(model)
    reader = keras.Model(model.input, _outputs(model, "distribution"))
    rows, columns = (np.moveaxis(part, -1, 0) for part in outputs_of(reader, images, batch_size))
    return {"top": rows[0], "left": columns[0], "bottom": rows[1], "right": columns[1]}


def edge_logits(model: keras.Model) -> list[Tensor] | None:
    """Return the symbolic logits ``[(n, height + 1, 2), (n, width + 1, 2)]``, or None.

    The last axis holds (top, bottom) and (left, right). None means that the model has
    no distributions over edges: it is not a profile localizer.

    Examples
    --------
    >>> import whitebox_loc as wb
    >>> [tuple(t.shape) for t in edge_logits(wb.models.localizer(size=(20, 30)))]
    [(None, 21, 2), (None, 31, 2)]
    """
    names = {layer.name for layer in check_model(model).layers}
    return _outputs(model, "logits") if {"row_logits", "column_logits"} <= names else None


def _outputs(model: keras.Model, suffix: str) -> list[Tensor]:
    names = {layer.name for layer in getattr(model, "layers", [])}
    layers = [f"row_{suffix}", f"column_{suffix}"]
    if not set(layers) <= names:
        raise ValueError(
            f"`model` must be a localizer with head='profile' (layers {layers}); got "
            f"{getattr(model, 'name', model)!r} with layers {sorted(names)}."
        )
    return [model.get_layer(name).output for name in layers]
