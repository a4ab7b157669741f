"""A name for what annotations mean where TensorFlow ships no types."""

from __future__ import annotations

from typing import Any, TypeAlias

__all__ = ["Tensor"]

Tensor: TypeAlias = Any
"""A TensorFlow tensor, eager or symbolic, or what converts to one."""
