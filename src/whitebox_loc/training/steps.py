"""One compiled training step, with everything that the history records of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from whitebox_loc.boxes import iou
from whitebox_loc.boxes.entropy import cross_entropy, entropy
from whitebox_loc.losses import edge_cross_entropy
from whitebox_loc.models import edge_logits

__all__ = ["make_step"]


def make_step(
    model: keras.Model,
    optimizer: Any,
    loss: Callable[[Any, Any], Any],
    edge_weight: float,
    size: tuple[int, int],
) -> Callable[[tf.Tensor, tf.Tensor], tf.Tensor]:
    """Return a function of (images, boxes) that updates `model` and measures it before.

    The measures are one float vector in the order of ``history.COLUMNS[2:]``. The
    update is left out if the loss or the gradient is not finite, so that the weights
    are still good when the caller finds out.
    """
    logits = edge_logits(model)
    forward = model if logits is None else keras.Model(model.input, [model.output, *logits])
    variables = model.trainable_variables
    scale = getattr(optimizer, "scale_loss", lambda value: value)

    @tf.function(reduce_retracing=True)
    def step(images: tf.Tensor, boxes: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as tape:
            outputs = forward(images, training=True)
            found, *edges = outputs if logits is not None else [outputs]
            edge_loss = edge_cross_entropy(boxes, *edges) if edges else tf.constant(0.0)
            total = tf.cast(loss(boxes, found), tf.float32) + edge_weight * edge_loss
            total += tf.add_n([tf.cast(extra, tf.float32) for extra in model.losses] or [0.0])
            scaled = scale(total)
        gradients = tape.gradient(scaled, variables)
        norm = tf.linalg.global_norm(gradients) * tf.cast(total / scaled, tf.float32)
        finite = tf.math.is_finite(total) & tf.math.is_finite(norm)
        tf.cond(finite, lambda: _apply(optimizer, gradients, variables), lambda: False)
        return tf.stack([total, *_measures(boxes, found, size, edge_loss), norm])

    return step


def _apply(optimizer: Any, gradients: list[Any], variables: list[Any]) -> bool:
    optimizer.apply(gradients, variables)
    return True


def _measures(boxes: Any, found: Any, size: tuple[int, int], edge_loss: Any) -> list[Any]:
    pixels = tf.constant([*size, *size], tf.float32)
    error = tf.abs(found - boxes) * pixels
    bce = tf.reduce_mean(cross_entropy(boxes, found))
    floor = tf.reduce_mean(entropy(boxes))
    exact = tf.reduce_all(tf.round(found * pixels) == tf.round(boxes * pixels), axis=-1)
    return [
        bce,
        floor,
        bce - floor,
        edge_loss,
        tf.reduce_mean(iou(boxes, found, "rel_yxyx")),
        tf.reduce_mean(error),
        tf.reduce_mean(tf.cast(exact, tf.float32)),
    ]
