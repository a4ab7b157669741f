"""Gradients inside a trace, kept from vanishing in half precision."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import tensorflow as tf

__all__ = ["gradient_of", "reached_from", "slopes_of"]

SCALE = 2.0**10
"""What gradients are multiplied by on their way through float16, as in loss scaling."""


def gradient_of(value: Any, source: Any) -> Any:
    """Return the gradient of ``sum(value)`` by a tensor (m, ...), None if there is no way.

    A coordinate changes little with a single pixel, and float16 knows nothing between 0 and
    6e-8. Through layers in float16 the gradient goes enlarged; should that be too much for an
    image, its gradient is taken as it is.
    """
    plain = tf.gradients(value, source)[0]
    if plain is None or not _has_half(source.graph):
        return plain
    enlarged = tf.gradients(value * tf.cast(SCALE, value.dtype), source)[0]
    finite = tf.reduce_all(
        tf.math.is_finite(enlarged), tuple(range(1, enlarged.shape.rank)), keepdims=True
    )
    return tf.where(finite, tf.cast(enlarged, tf.float32) / SCALE, tf.cast(plain, tf.float32))


def slopes_of(values: list[Any], image: Any) -> list[Any]:
    """Return the gradient of each target by the image, zero where it does not depend on it."""
    # The image is the only source, and targets of different images are independent: the
    # gradient of the sum over images is each image's own gradient.
    found = [gradient_of(value, image) for value in values]
    return [tf.zeros_like(image) if gradient is None else gradient for gradient in found]


# Their outputs are the same for all images of one shape.
_SHAPES = frozenset({"Shape", "ShapeN", "Size", "Rank", "ZerosLike", "OnesLike"})


def reached_from(
    sources: Iterable[Any], counts: Callable[[Any], bool] = lambda tensor: True
) -> set[Any]:
    """Return references to all tensors of a graph that depend on some of its tensors.

    What depends on them only through tensors that do not count is left out.
    """
    given = list(sources)
    reached = {tensor.ref() for tensor in given}
    for operation in given[0].graph.get_operations() if given else ():
        if operation.type not in _SHAPES and any(t.ref() in reached for t in operation.inputs):
            reached |= {t.ref() for t in operation.outputs if counts(t)}
    return reached


def _has_half(graph: Any) -> bool:
    return any(t.dtype == tf.float16 for o in graph.get_operations() for t in o.outputs)
