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
    shape: tuple[int, int, int, int],
) -> Callable[[tf.Tensor, tf.Tensor], tf.Tensor]:
    """Return a function of (images, boxes) that updates `model` and measures it before.

    `shape` is that of the images, (batch, height, width, channels).

    The measures are one float vector in the order of ``history.COLUMNS[2:]``. The
    update is left out if the loss or the gradient is not finite, so that the weights
    are still good when the caller finds out.
    """
    logits = edge_logits(model)
    forward = model if logits is None else keras.Model(model.input, [model.output, *logits])
    variables = model.trainable_variables
    # A forward pass in training mode moves these before it is known whether the step is good.
    states = [v for v in model.variables if all(v is not other for other in variables)]
    scales = hasattr(optimizer, "scale_loss")

    @tf.function
    def step(images: tf.Tensor, boxes: tf.Tensor) -> tf.Tensor:
        before = [tf.identity(state.value) for state in states]
        with tf.GradientTape() as tape:
            outputs = forward(images, training=True)
            found, *edges = outputs if logits is not None else [outputs]
            found = tf.cast(found, tf.float32)
            edge_loss = edge_cross_entropy(boxes, *edges) if edges else tf.constant(0.0)
            total = tf.cast(loss(boxes, found), tf.float32) + edge_weight * edge_loss
            total += tf.add_n([tf.cast(extra, tf.float32) for extra in model.losses] or [0.0])
            scaled = optimizer.scale_loss(total) if scales else total
        gradients = tape.gradient(scaled, variables)
        scale = optimizer.scale_loss(tf.constant(1.0)) if scales else 1.0
        norm = tf.linalg.global_norm([tf.cast(g, tf.float32) for g in gradients if g is not None])
        # An optimizer that scales the loss finds its scale by gradients that overflow: it
        # leaves such a step out itself, and only the loss tells whether training diverged.
        good = tf.math.is_finite(total) & (tf.math.is_finite(norm) if not scales else True)
        tf.cond(
            good,
            lambda: _apply(optimizer, gradients, variables),
            lambda: _put_back(states, before),
        )
        return tf.stack([total, *_measures(boxes, found, shape[1:3], edge_loss), norm / scale])

    # Traced here and once: calling the function would warn of tracing in a loop over fits.
    return step.get_concrete_function(tf.TensorSpec(shape), tf.TensorSpec((shape[0], 4)))


def _apply(optimizer: Any, gradients: list[Any], variables: list[Any]) -> bool:
    optimizer.apply(gradients, variables)
    return True


def _put_back(states: list[Any], before: list[Any]) -> bool:
    for state, value in zip(states, before, strict=True):
        state.assign(value)
    return False


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
