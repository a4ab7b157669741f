"""What a model answers for many images, batch by batch."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from whitebox_loc._types import Array, ArrayLike, Tensor
from whitebox_loc._validation import (
    check_brightness,
    check_finite,
    check_input,
    check_int,
    check_model,
    warn_of_range,
)


def outputs_of(model: keras.Model, images: ArrayLike, batch_size: int) -> Any:
    """Return the model's outputs for all images, float32 arrays in its own structure."""
    check_model(model)
    check_int("batch_size", batch_size, low=1)
    images = check_finite("images", check_brightness("images", images))
    warn_of_range("images", images)
    check_input(model, images.shape[1:])
    # Eager on purpose: compiling costs more than a few large batches save. Without images one
    # black one gives the structure, since not every layer takes an empty batch.
    some = images if len(images) else np.zeros((1, *images.shape[1:]), "float32")
    chunks = [
        model(some[i : i + batch_size], training=False) for i in range(0, len(some), batch_size)
    ]

    def joined(*parts: Tensor) -> Array:
        return np.concatenate([np.asarray(part, "float32") for part in parts])[: len(images)]

    return tf.nest.map_structure(joined, *chunks)
