"""One compiled training step, with everything that the history records of it."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import keras
import tensorflow as tf
from keras import Variable
from keras.optimizers import Optimizer

from whitebox_loc._types import Tensor
from whitebox_loc.boxes import iou
from whitebox_loc.boxes.entropy import cross_entropy, entropy
from whitebox_loc.losses import edge_cross_entropy
from whitebox_loc.models import edge_logits, label_logits
from whitebox_loc.training.evaluation import box_of

Step = Callable[[Tensor, Tensor, Tensor], Tensor]
"""From images, boxes and labels to measures."""
Loss = Callable[[Tensor, Tensor], Tensor]


def make_step(
    model: keras.Model,
    optimizer: Optimizer,
    loss: Loss,
    edge_weight: float,
    label_weight: float,
    shape: tuple[int, int, int, int],
) -> Step:
    """Return a function of (images, boxes, labels) that updates `model` and measures it before.

    `shape` is that of the images, (batch, height, width, channels). With a `label_weight`
    of 0 the labels are not looked at.

    The measures are one float vector in the order of ``history.COLUMNS[2:]``, followed by 1, or
    by 0 if loss and gradient are finite but the update makes weights that are not. The update is
    left out if any of these is not finite.
    """
    differentiate = make_gradients(model, optimizer, loss, edge_weight, label_weight, shape[1:3])
    return compile_step(model, optimizer, differentiate, batch_specs(shape))


def batch_specs(shape: tuple[int, int, int, int]) -> tuple[tf.TensorSpec, ...]:
    """Return what images of a shape, their boxes and their labels look like."""
    return tf.TensorSpec(shape), tf.TensorSpec((shape[0], 4)), tf.TensorSpec(shape[:1], tf.int64)


def compile_step(
    model: keras.Model,
    optimizer: Optimizer,
    differentiate: Callable[[Tensor, Tensor, Tensor], Gradients],
    kinds: tuple[tf.TensorSpec, ...],
) -> Step:
    """Return the step of `make_step` for what `differentiate` finds in (images, boxes, labels)."""
    states = [*model.variables, *optimizer.variables]

    # Without AutoGraph, which takes longer than the tracing itself and finds nothing to convert:
    # Keras keeps it from models and losses.
    @tf.function(autograph=False)
    def step(images: Tensor, boxes: Tensor, labels: Tensor) -> Tensor:
        before = [tf.identity(state.value) for state in states]
        result = differentiate(images, boxes, labels)
        norm, scale = norm_of(result.gradients), scale_of(optimizer)
        good = is_good(optimizer, result.measures[0], norm)
        take = partial(update, optimizer, result.gradients, result.learned)
        updated = tf.cond(good & has_good_rate(optimizer), take, lambda: False)
        tf.cond(updated, lambda: False, lambda: put_back(states, before))
        sound = tf.cast(updated | ~good, tf.float32)
        return tf.stack([*result.measures, norm / scale, sound])

    # Traced here and once: calling the function would warn of tracing in a loop over fits.
    return step.get_concrete_function(*kinds)


class Gradients(NamedTuple):
    """Measures before the update, the loss first, gradients, and the variables they belong to."""

    measures: list[Tensor]
    gradients: list[Tensor]
    learned: list[Variable]


def make_gradients(
    model: keras.Model,
    optimizer: Optimizer,
    loss: Loss,
    edge_weight: float,
    label_weight: float,
    size: tuple[int, int],
    replicas: int = 1,
) -> Callable[[Tensor, Tensor, Tensor], Gradients]:
    """Return a function of (images, boxes, labels) that differentiates the loss of `model`.

    Of several `replicas` that share a batch equally, each finds its part of the loss of the
    whole: the sum of their losses and gradients is that of one that sees all images.
    """
    forward = _forward(model)
    variables = model.trainable_variables

    def differentiate(images: Tensor, boxes: Tensor, labels: Tensor) -> Gradients:
        with tf.GradientTape() as tape:
            predictions, edges, classes = forward(images)
            edge_loss = edge_cross_entropy(boxes, *edges) if edges else tf.constant(0.0)
            # Keras itself divides a mean by the number of replicas.
            total = tf.cast(loss(boxes, predictions), tf.float32)
            total += edge_weight / replicas * edge_loss
            label_loss, accuracy = tf.constant(0.0), tf.constant(math.nan)
            if label_weight:
                label_loss, accuracy = _classified(labels, *classes)
                total += label_weight / replicas * label_loss
            extras = [tf.cast(extra, tf.float32) for extra in model.losses] or [0.0]
            total += tf.add_n(extras) / replicas
            scaled = optimizer.scale_loss(total) if hasattr(optimizer, "scale_loss") else total
        gradients, learned = tape.gradient(scaled, variables), variables
        # Layers of classes that are not learned are no matter of the optimizer: with a gradient of
        # zero weight decay would move them, and with None Keras would warn.
        if classes[0] is not None and not label_weight:
            gradients, learned = reached(gradients, variables)
        measures = [total, *_measures(boxes, predictions, size), edge_loss, label_loss, accuracy]
        return Gradients(measures, gradients, learned)

    return differentiate


def states_of(model: keras.Model) -> list[Variable]:
    """Return what a forward pass in training mode moves, before it is known whether it is good."""
    learned = {id(variable) for variable in model.trainable_variables}
    return [variable for variable in model.variables if id(variable) not in learned]


def norm_of(gradients: list[Tensor]) -> Tensor:
    """Return the norm of all gradients together, in float32."""
    return tf.linalg.global_norm([tf.cast(g, tf.float32) for g in gradients if g is not None])


def scale_of(optimizer: Optimizer) -> Tensor:
    """Return the number by which an optimizer multiplies the loss."""
    return optimizer.scale_loss(tf.constant(1.0)) if hasattr(optimizer, "scale_loss") else 1.0


def is_good(optimizer: Optimizer, loss: Tensor, norm: Tensor) -> Tensor:
    """Return whether a step with this loss and gradient may be taken."""
    # An optimizer that scales the loss finds its scale by gradients that overflow: it
    # leaves such a step out itself, and only the loss shows whether training diverged.
    scales = hasattr(optimizer, "scale_loss")
    return tf.math.is_finite(loss) & (tf.math.is_finite(norm) if not scales else True)


def apply(optimizer: Optimizer, gradients: list[Tensor], variables: list[Variable]) -> bool:
    """Update the variables; the value serves `tf.cond`, whose branches must be alike."""
    optimizer.apply(gradients, variables)
    return True


def has_good_rate(optimizer: Optimizer) -> Tensor:
    """Return whether the learning rate of this step, perhaps of a schedule, may be one."""
    rate = keras.ops.cast(optimizer.learning_rate, "float32")
    return tf.math.is_finite(rate) & (rate >= 0)


def update(optimizer: Optimizer, gradients: list[Tensor], variables: list[Variable]) -> Tensor:
    """Update the variables, and return whether they are still finite."""
    apply(optimizer, gradients, variables)
    return all_finite(variables)


def all_finite(variables: list[Variable]) -> Tensor:
    """Return whether all numbers in variables are finite."""
    return tf.reduce_all([tf.reduce_all(tf.math.is_finite(v.value)) for v in variables])


def put_back(states: list[Variable], before: list[Tensor]) -> bool:
    """Give states the values from before the step."""
    for state, value in zip(states, before, strict=True):
        state.assign(value)
    return False


def _forward(
    model: keras.Model,
) -> Callable[[Tensor], tuple[Tensor, list[Tensor], tuple[Tensor | None, bool]]]:
    """Return a function of images to boxes, edge logits and (classes, whether as logits)."""
    edges, logits = edge_logits(model), label_logits(model)
    network = model
    if edges is not None or logits is not None:
        labels = [] if logits is None else [logits]
        network = keras.Model(model.input, [model.output, edges or [], labels])

    def forward(images: Tensor) -> tuple[Tensor, list[Tensor], tuple[Tensor | None, bool]]:
        outputs = network(images, training=True)
        own, edges, logits = outputs if network is not model else (outputs, [], [])
        boxes = tf.cast(box_of(own), tf.float32)
        if logits:
            return boxes, edges, (logits[0], True)
        return boxes, edges, (own.get("label") if isinstance(own, dict) else None, False)

    return forward


def _classified(labels: Tensor, classes: Tensor, as_logits: bool) -> tuple[Tensor, Tensor]:
    """Return mean cross entropy of the labels, in nats, and share of labels that come first."""
    classes = tf.cast(classes, tf.float32)
    losses = keras.losses.sparse_categorical_crossentropy(labels, classes, from_logits=as_logits)
    right = tf.argmax(classes, axis=-1) == labels
    return tf.reduce_mean(losses), tf.reduce_mean(tf.cast(right, tf.float32))


def reached(
    gradients: list[Tensor | None], variables: list[Variable]
) -> tuple[list[Tensor], list[Variable]]:
    """Return the gradients that there are, and their variables."""
    pairs = [(g, v) for g, v in zip(gradients, variables, strict=True) if g is not None]
    return [g for g, _ in pairs], [v for _, v in pairs]


def _measures(boxes: Tensor, predictions: Tensor, size: tuple[int, int]) -> list[Tensor]:
    pixels = tf.constant([*size, *size], tf.float32)
    error = tf.abs(predictions - boxes) * pixels
    bce = tf.reduce_mean(cross_entropy(boxes, predictions))
    floor = tf.reduce_mean(entropy(boxes))
    exact = tf.reduce_all(tf.round(predictions * pixels) == tf.round(boxes * pixels), axis=-1)
    exact_rate = tf.reduce_mean(tf.cast(exact, tf.float32))
    overlap = tf.reduce_mean(iou(boxes, predictions, "rel_yxyx"))
    return [bce, floor, bce - floor, overlap, tf.reduce_mean(error), exact_rate]
