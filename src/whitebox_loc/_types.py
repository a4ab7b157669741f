"""Names for what annotations mean where TensorFlow and Keras ship no types."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    import keras
    import numpy as np

__all__ = ["Array", "Model", "Tensor"]

Array: TypeAlias = "np.ndarray[Any, np.dtype[Any]]"
"""A NumPy array."""

Model: TypeAlias = "keras.Model"
"""A Keras model."""

Tensor: TypeAlias = Any
"""A TensorFlow tensor, eager or symbolic, or what converts to one."""
