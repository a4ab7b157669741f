"""The filters of a model: what its layers have learned, without an image."""

from __future__ import annotations

import keras
import numpy as np

from whitebox_loc._types import Array, Model
from whitebox_loc._validation import check_model
from whitebox_loc.introspect.tracing.layers import find_layers


def kernels(model: Model, layer: str) -> Array:
    """Return the weights with which a layer combines its inputs, without the bias.

    Parameters
    ----------
    model : keras.Model
    layer : str
        Path of a convolution or dense layer, as `list_layers` gives it.

    Returns
    -------
    float32 array
        ``(height, width, in, out)`` of a two-dimensional convolution, ``(length, in,
        out)`` of a one-dimensional one, ``(in, out)`` of a dense layer. A depthwise
        convolution has its depth multiplier in place of ``out``; a transposed one is
        turned to the same order ``in, out``.

    Raises
    ------
    ValueError
        If the layer does not exist, has no kernel or is not built.

    Examples
    --------
    >>> import whitebox_loc as wb
    >>> kernels(wb.models.localizer(), "conv2").shape
    (3, 3, 8, 8)
    """
    source = find_layers(check_model(model), [layer], "layer")[layer]
    if not source.built:
        raise ValueError(f"`layer` {layer!r} has no weights yet; call the model on images once.")
    kernel = getattr(source, "kernel", None)
    if kernel is None:
        raise ValueError(
            f"`layer` must be a convolution or dense layer; {layer!r} is a "
            f"{type(source).__name__} without a kernel. Its weights are "
            f"{[weight.name for weight in source.weights]}."
        )
    values = keras.ops.convert_to_numpy(kernel).astype(np.float32)
    transposed = (keras.layers.Conv1DTranspose, keras.layers.Conv2DTranspose)
    return values.swapaxes(-1, -2) if isinstance(source, transposed) else values
