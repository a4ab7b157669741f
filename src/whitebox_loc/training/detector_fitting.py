"""Training of networks that find several boxes."""

from __future__ import annotations

import os

import keras
import tensorflow as tf
from keras.optimizers import Optimizer

from whitebox_loc._digests import model_digest
from whitebox_loc._types import Tensor
from whitebox_loc._validation import (
    check_input,
    check_int,
    check_model,
    check_positive,
    check_real,
    with_type,
)
from whitebox_loc.boxes import iou
from whitebox_loc.data import MultiScene, dataset
from whitebox_loc.data.datasets import check_images
from whitebox_loc.detection_losses import center_cells, center_loss, center_targets, heat_map_loss
from whitebox_loc.models import center_maps
from whitebox_loc.models.detectors import CenterMaps
from whitebox_loc.training import checkpoints
from whitebox_loc.training.averaging import AveragingAdam
from whitebox_loc.training.distribution import is_distributed
from whitebox_loc.training.evaluation import check_trainable
from whitebox_loc.training.history import History
from whitebox_loc.training.loops import Budget, Keeper, train
from whitebox_loc.training.steps import Gradients, Step, compile_step

DETECTOR_COLUMNS = (
    "step", "seconds", "loss", "heat_loss", "size_loss", "offset_loss", "iou", "score",
    "gradient_norm",
)  # fmt: skip
"""What is recorded of each step, in this order.

`iou` and `score` are means over the true boxes, of the candidate in the cell of their centre. Every
batch is measured before the step that learns from it.
"""

LARGEST_GRADIENT = 10.0


def fit_detector(
    model: keras.Model,
    scene: MultiScene,
    seconds: float | None = None,
    seed: int = 0,
    *,
    steps: int | None = None,
    batch_size: int = 32,
    learning_rate: float = 2e-3,
    checkpoint: str | os.PathLike[str] | None = None,
    checkpoint_seconds: float = 10.0,
    progress: bool = True,
) -> History:
    """Train a `detector` in place on an endless stream of images of `scene`, as `fit` does.

    The loss is that of the heat map plus those of sizes and offsets, see
    `whitebox_loc.detection_losses`. Afterwards the weights are a running average, over about a
    tenth of the steps and at most the last 100. The history has the columns `DETECTOR_COLUMNS`.

    Parameters
    ----------
    model : keras.Model
        Built by `whitebox_loc.models.detector`, or loaded from a file of such a model.
    scene : MultiScene
        What is drawn; class k is ``scene.shapes[k]``.
    seconds, seed, steps, batch_size, checkpoint, checkpoint_seconds
        As for `fit`.
    learning_rate : float, default 0.002
        Of Adam.
    progress : bool, default True
        Show a progress bar with the loss and the IoU in the true centres.

    Raises
    ------
    TrainingDivergedError, KeyboardInterrupt, ValueError, TypeError
        As for `fit`. After Ctrl-C the model has the weights of the last step, not their average.

    Examples
    --------
    >>> import whitebox_loc as wb
    >>> multi = wb.data.MultiScene(wb.data.Scene(size=(16, 16)), boxes=(1, 2))
    >>> len(fit_detector(wb.models.detector(size=(16, 16)), multi, steps=2, progress=False))
    2
    """
    batch_size = check_int("batch_size", batch_size, low=1)
    budget = Budget(seconds, steps, None, batch_size)
    check_model(model)
    scene, seed = check_multi_scene(scene), check_int("seed", seed, low=0)
    check_images("batch_size", batch_size, scene)
    maps = _check_model(model, scene)
    optimizer = AveragingAdam(
        check_positive("learning_rate", learning_rate), global_clipnorm=LARGEST_GRADIENT
    )
    optimizer.build(model.trainable_variables)
    identity = {"task": "several boxes", "scene": repr(scene), "seed": seed}
    identity |= {"batch_size": batch_size, "model": model_digest(model, weights=False)}
    identity |= {"learning_rate": float(learning_rate)}
    run = checkpoints.Run(model, optimizer, History(names=DETECTOR_COLUMNS), identity)
    keeper = Keeper(run, checkpoint, check_real("checkpoint_seconds", checkpoint_seconds, low=0))
    step = _make_step(model, maps, optimizer, scene, batch_size)
    batches = dataset(scene, batch_size, seed, start=len(run.history), labels=True)
    train(run, budget, step, batches, keeper, progress)
    return run.history


def check_multi_scene(scene: object) -> MultiScene:
    """Return `scene` if it is one of several boxes."""
    if not isinstance(scene, MultiScene):
        raise TypeError(
            "`scene` must be a whitebox_loc.data.MultiScene, such as MultiScene(scene, boxes=(1, "
            f"4)); got {with_type(scene)}."
        )
    return scene


def check_classes(classes: int, scene: MultiScene) -> None:
    """Raise a ValueError unless a model of so many classes fits `scene`."""
    if classes != len(scene.shapes):
        raise ValueError(
            f"`model` tells {classes} classes apart, but `scene` has the "
            f"{len(scene.shapes)} shapes {scene.shapes}. Build it with "
            f"classes={len(scene.shapes)}, or choose another scene."
        )


def _check_model(model: keras.Model, scene: MultiScene) -> CenterMaps:
    maps = center_maps(model)
    if maps is None:
        raise ValueError(
            f"`model` {model.name!r} has no layers 'heat_logits', 'size_logits' and 'offset' to "
            "train, or their grid is not one of 2 or 4 pixels a cell. Build it with "
            "whitebox_loc.models.detector."
        )
    check_input(model, (*scene.size, scene.channels), "scene")
    if "classes" in model.output:
        check_classes(maps.heat_logits.shape[-1], scene)
    if is_distributed(model):
        raise ValueError(
            f"`model` {model.name!r} was built, or `fit_detector` called, in the scope of a "
            "tf.distribute strategy, but `fit_detector` trains on one device. Do both outside of "
            "the scope."
        )
    if model.compute_dtype == "float16":
        raise ValueError(
            f"`model` {model.name!r} computes in float16, in which gradients vanish. Build it in "
            "float32 or bfloat16."
        )
    check_trainable(model)
    return maps


def _make_step(
    model: keras.Model, maps: CenterMaps, optimizer: Optimizer, scene: MultiScene, batch_size: int
) -> Step:
    """Return the step of `compile_step`; measures are in the order of ``DETECTOR_COLUMNS[2:]``."""
    network = keras.Model(model.input, [*maps[:3], model.output["boxes"], model.output["scores"]])
    variables = model.trainable_variables
    rows, columns, classes = maps.heat_logits.shape[1:]

    def differentiate(images: Tensor, boxes: Tensor, labels: Tensor) -> Gradients:
        targets = center_targets(boxes, labels, (rows, columns), maps.stride, scene.size, classes)
        with tf.GradientTape() as tape:
            heat_logits, size_logits, offset, candidates, scores = network(images, training=True)
            heat = heat_map_loss(targets, heat_logits)
            size, place = center_loss(targets, size_logits, offset)
            total = heat + size + place
        cells = center_cells(boxes, (rows, columns), maps.stride, scene.size)
        numbers = cells[..., 0] * columns + cells[..., 1]
        measures = [total, heat, size, place]
        measures += _measures(boxes, labels, candidates, scores, numbers)
        # A frozen layer's variables are not among these, and those of unused layers have None.
        return Gradients(measures, tape.gradient(total, variables), variables)

    kinds = (
        tf.TensorSpec((batch_size, *scene.size, scene.channels)),
        tf.TensorSpec((batch_size, scene.most, 4)),
        tf.TensorSpec((batch_size, scene.most), tf.int64),
    )
    return compile_step(model, optimizer, differentiate, kinds)


def _measures(
    boxes: Tensor, labels: Tensor, candidates: Tensor, scores: Tensor, cells: Tensor
) -> list[Tensor]:
    """Return mean IoU and mean score, over true boxes, of the candidates in their centres."""
    valid = tf.cast(labels >= 0, tf.float32)
    overlaps = iou(boxes, tf.gather(candidates, cells, batch_dims=1), "rel_yxyx")
    scores = tf.gather(scores, cells, batch_dims=1)
    count = tf.maximum(tf.reduce_sum(valid), 1.0)
    return [tf.reduce_sum(valid * each) / count for each in (overlaps, scores)]
