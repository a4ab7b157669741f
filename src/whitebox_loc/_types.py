"""Names for what annotations mean where TensorFlow and Keras ship no types."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy.typing as npt

Array: TypeAlias = npt.NDArray[Any]
"""A NumPy array of any shape and type."""

ArrayLike: TypeAlias = Any
"""An array, a tensor or nested lists, before they are checked."""

Tensor: TypeAlias = Any
"""A TensorFlow tensor, eager or symbolic, or what converts to one."""

Model: TypeAlias = Any
"""A `keras.Model`."""

Seed: TypeAlias = Any
"""A whole number or a NumPy generator, before it is checked."""

Operation: TypeAlias = Any
"""A `tf.Operation` of a traced graph."""

Size: TypeAlias = tuple[int, int]
"""Height and width, or rows and columns."""
