"""Training: Adam on fresh images until a budget is used or a target is met."""

from __future__ import annotations

import numbers
import os
from contextlib import nullcontext
from functools import partial
from typing import Any

import keras
import numpy as np

from whitebox_loc._digests import model_digest
from whitebox_loc._validation import (
    check_input,
    check_int,
    check_model,
    check_positive,
    check_real,
    shortened,
    with_type,
)
from whitebox_loc.data import Scene, as_scene, dataset
from whitebox_loc.data.datasets import check_images
from whitebox_loc.losses import BoxBCE, IoULoss
from whitebox_loc.models import class_count, edge_logits, label_logits
from whitebox_loc.training import checkpoints, distribution
from whitebox_loc.training.averaging import AveragingAdam
from whitebox_loc.training.evaluation import box_of, check_trainable, predict_labels
from whitebox_loc.training.groups import group_of
from whitebox_loc.training.history import History
from whitebox_loc.training.loops import Budget, Keeper, train
from whitebox_loc.training.steps import make_step


def fit(
    model: keras.Model,
    scene: Scene | str = "uniform",
    seconds: float | None = None,
    seed: int = 0,
    *,
    steps: int | None = None,
    batch_size: int = 64,
    loss: keras.losses.Loss | None = None,
    edge_weight: float | None = None,
    label_weight: float | None = None,
    learning_rate: float | keras.optimizers.schedules.LearningRateSchedule | None = None,
    optimizer: keras.optimizers.Optimizer | None = None,
    target_iou: float | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
    checkpoint_seconds: float = 10.0,
    progress: bool = True,
) -> History:
    """Train `model` in place on an endless stream of images of `scene`.

    Parameters
    ----------
    model : keras.Model
        Images to ``rel_yxyx`` boxes (n, 4); or to a dict of those, ``"box"``, and
        probabilities of classes ``"label"`` (n, classes), such as ``localizer(classes=6)``.
    scene : Scene or str, default "uniform"
        What is drawn; empty boxes are drawn again. Class k is ``scene.shapes[k]``.
    seconds : float, optional
        Budget of wall time, compilation included, but one step at least unless it is 0; 60 if
        `steps` is None.
    seed : int, default 0
        Of the images, the same at step i of every run: take another to train a model again.
    steps : int, optional
        Budget in steps from the beginning of the run. With it alone, equal seeds give equal
        weights on one machine.
    batch_size : int, default 64
        Images a step, of all replicas together.
    loss : keras.losses.Loss, optional
        Loss of the boxes, both in ``rel_yxyx``. Default: `BoxBCE` + 0.1 `IoULoss`.
    edge_weight : float, optional
        Weight of `whitebox_loc.losses.edge_cross_entropy`, for models with distributions over
        edges (head ``"profile"``, not wrapped in another model): 1 by default.
    label_weight : float, optional
        Weight of the cross entropy of the classes, in nats, for models that return ``"label"``:
        1 by default, 0 trains the box alone.
    learning_rate : float or keras.optimizers.schedules.LearningRateSchedule, optional
        Of Adam. Default: 0.01 with distributions over edges, 0.003 with classes beside them,
        else 0.001. Where classes are learned, the model ends with a running average of its
        weights, over a tenth of the steps and the last 100 at most.
    optimizer : keras.optimizers.Optimizer, optional
        In place of Adam; excludes `learning_rate`.
    target_iou : float, optional
        Stop when the mean IoU of the latest 2000 (fresh) images reaches it.
    checkpoint : path, optional
        File to keep the run in. If it exists, the run goes on from it, exactly.
    checkpoint_seconds : float, default 10
        Least time between two checkpoints.
    progress : bool, default True
        Show a progress bar with loss, excess over the floor and IoU.

    Raises
    ------
    TrainingDivergedError
        If the loss, a gradient or a weight stops being finite, or a schedule gives a learning rate
        that is no number of at least 0. The model and the checkpoint keep the last finite weights.
    KeyboardInterrupt
        After Ctrl-C, once the step is finished and the checkpoint is written.
    ValueError, TypeError, RuntimeError
        If an argument is out of range, the model does not fit the scene, the checkpoint belongs to
        another run, or another worker of a `MultiWorkerMirroredStrategy` is lost.

    Notes
    -----
    A model that was built in the scope of a `tf.distribute.MirroredStrategy` or
    `MultiWorkerMirroredStrategy` is trained by all its replicas together, each on an equal share
    of every batch, with the learning curve of one worker up to rounding: call `fit` with the same
    arguments on all workers. ``docs/scale.md`` says what differs.

    Examples
    --------
    >>> import whitebox_loc as wb
    >>> model = wb.models.localizer(size=(20, 20))
    >>> history = fit(model, wb.data.Scene(size=(20, 20)), steps=3, progress=False)
    >>> len(history), history.stopped
    (3, 'steps')
    """
    batch_size = check_int("batch_size", batch_size, low=1)
    budget = Budget(seconds, steps, target_iou, batch_size)
    check_model(model)
    scene, seed = as_scene(scene), check_int("seed", seed, low=0)
    _prepare(model, scene, batch_size, loss)
    edge_weight = _edge_weight(model, edge_weight)
    label_weight = _label_weight(model, scene, label_weight)
    loss = BoxBCE() + 0.1 * IoULoss() if loss is None else loss
    strategy = distribution.find_strategy(model)
    if strategy is not None:
        distribution.check_shares(strategy, batch_size)
    optimizer = _optimizer(model, strategy, learning_rate, optimizer, bool(label_weight))
    settings = {"scene": repr(scene), "seed": seed, "batch_size": batch_size}
    settings |= {"edge_weight": edge_weight, "label_weight": label_weight}
    settings |= {"model": model_digest(model, weights=False)}
    settings |= _settings("loss", loss) | _settings("optimizer", optimizer)
    run = checkpoints.Run(model, optimizer, History(), settings)
    group = group_of(strategy)
    pause = check_real("checkpoint_seconds", checkpoint_seconds, low=0)
    keeper = Keeper(run, checkpoint, pause, group.chief)
    with group.watch():
        # Not where the checkpoint is, since the same file may have another path elsewhere.
        request = {"budget": repr(budget), "checkpoint": checkpoint is not None}
        group.check_same(settings | request, len(run.history))
        make = partial(distribution.make_shared_step, strategy) if strategy else make_step
        shape = (batch_size, *scene.size, scene.channels)
        step = make(model, optimizer, loss, edge_weight, label_weight, shape)
        batches = dataset(scene, batch_size, seed, start=len(run.history), labels=True)
        train(run, budget, step, batches, keeper, progress, group)
    return run.history


def _prepare(
    model: keras.Model, scene: Scene, batch_size: int, loss: keras.losses.Loss | None
) -> None:
    """Build the model, and check it, the size of a batch and the loss."""
    check_images("batch_size", batch_size, scene)
    check_input(model, (*scene.size, scene.channels), "scene")
    if not model.built:
        model(np.zeros((1, *scene.size, scene.channels), "float32"))
    # Here, where the message is not wrapped in that of a trace; a subclassed model gets it there.
    box_of(getattr(model, "output", None))
    check_trainable(model)
    if loss is not None and not isinstance(loss, keras.losses.Loss):
        raise TypeError(
            "`loss` must be a keras.losses.Loss of rel_yxyx boxes, such as BoxBCE(); got "
            f"{with_type(loss)}."
        )


def _edge_weight(model: keras.Model, edge_weight: float | None) -> float:
    has_edges = edge_logits(model) is not None
    if edge_weight is None:
        return 1.0 if has_edges else 0.0
    if check_real("edge_weight", edge_weight, low=0, high=1e6) and not has_edges:
        raise ValueError(
            f"`edge_weight` {edge_weight:g} needs a model with distributions over edges, a "
            f"localizer with head='profile' itself; {model.name!r} has none. Leave it None."
        )
    return float(edge_weight)


def _label_weight(model: keras.Model, scene: Scene, label_weight: float | None) -> float:
    """Check the weight of the loss on classes, and that the scene has as many as the model."""
    count = class_count(model, (*scene.size, scene.channels))
    if label_weight is None:
        label_weight = 0.0 if count is None else 1.0
    if not check_real("label_weight", label_weight, low=0, high=1e6):
        return 0.0
    if count is None:
        raise ValueError(
            f"`label_weight` {label_weight:g} needs a `model` that returns classes, such as "
            f"localizer(classes=6); {model.name!r} returns a box only. Leave it None."
        )
    if count != len(scene.shapes):
        raise ValueError(
            f"`model` tells {count} classes apart, but `scene` has the {len(scene.shapes)} shapes "
            f"{scene.shapes}. Build it with classes={len(scene.shapes)}, choose another scene, or "
            "train the box alone by label_weight=0."
        )
    _check_probabilities(model, scene)
    return float(label_weight)


def _check_probabilities(model: keras.Model, scene: Scene) -> None:
    if label_logits(model) is not None:
        return
    [row] = predict_labels(model, np.zeros((1, *scene.size, scene.channels), "float32"))
    # A softmax in half precision sums to 1 within its rounding of about 1e-3.
    if not ((row >= 0).all() and abs(row.sum() - 1) <= 1e-2):
        raise ValueError(
            f"`model` must return probabilities as 'label', at least 0 and with sum 1; on a black "
            f"image {model.name!r} returns {row.tolist()}. End it with a softmax, or train the box "
            "alone by label_weight=0."
        )


def _optimizer(
    model: keras.Model, strategy: Any, learning_rate: Any, optimizer: Any, classifies: bool
) -> keras.optimizers.Optimizer:
    """Return the optimizer, built, as a part of the strategy of the model."""
    if optimizer is not None:
        if not isinstance(optimizer, keras.optimizers.Optimizer):
            raise TypeError(
                "`optimizer` must be a keras.optimizers.Optimizer, such as "
                f"keras.optimizers.Adam(1e-3); got {with_type(optimizer)}."
            )
        distribution.check_optimizer(optimizer, strategy)
    _check_rate(learning_rate, optimizer)
    with nullcontext() if strategy is None else strategy.scope():
        return _built_optimizer(model, learning_rate, optimizer, classifies)


def _check_rate(learning_rate: Any, optimizer: Any) -> None:
    """Check a learning rate or that of an optimizer: above 0, or at first 0 where it changes."""
    name = "learning_rate" if optimizer is None else "optimizer.learning_rate"
    rate = learning_rate
    if optimizer is not None:
        rate = getattr(optimizer, "inner_optimizer", optimizer)._learning_rate
        # Through an array, since the variables of several replicas are no numbers.
        rate = float(np.asarray(rate)) if isinstance(rate, keras.Variable) else rate
    if isinstance(rate, keras.optimizers.schedules.LearningRateSchedule):
        check_real(f"{name}(0)", float(rate(0)), low=0)
    elif callable(rate):
        check_real(f"{name}()", float(rate()), low=0)
    elif rate is not None:
        check_positive(name, rate)


def _built_optimizer(
    model: keras.Model, learning_rate: Any, optimizer: Any, classifies: bool
) -> keras.optimizers.Optimizer:
    if optimizer is not None and learning_rate is not None:
        raise ValueError(
            "`learning_rate` and `optimizer` exclude each other; give the learning rate to "
            f"the optimizer. Got {shortened(learning_rate)} and {optimizer!r}."
        )
    if optimizer is None:
        # At 0.01 the layers of the classes, deeper than those of the edges, learn worse. And from
        # step to step they swing, which the average of the weights does not.
        quick = 3e-3 if classifies else 1e-2
        default = 1e-3 if edge_logits(model) is None else quick
        if isinstance(learning_rate, numbers.Real):
            learning_rate = float(learning_rate)  # Keras takes no whole numbers.
        kind = AveragingAdam if classifies else keras.optimizers.Adam
        optimizer = kind(default if learning_rate is None else learning_rate)
    if model.compute_dtype == "float16" and not hasattr(optimizer, "scale_loss"):
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
    variables = getattr(optimizer, "_trainable_variables", None) or model.trainable_variables
    if [id(v) for v in variables] != [id(v) for v in model.trainable_variables]:
        raise ValueError(
            f"`optimizer` {optimizer.name!r} has been used for another model, whose averages it "
            "holds. Make a new one for each model."
        )
    optimizer.build(model.trainable_variables)
    return optimizer


def _settings(name: str, part: Any) -> dict[str, Any]:
    """Return the class and the settings of a loss or optimizer, flat, ready for JSON."""
    config = _nameless(part.get_config()) if hasattr(part, "get_config") else {}
    settings = {f"{name}.{key}": repr(value) for key, value in config.items()}
    return {name: getattr(part, "__name__", type(part).__name__), **settings}


def _nameless(config: Any) -> Any:
    """Return settings without names, which Keras numbers: equal losses differ by them."""
    if isinstance(config, dict):
        return {key: _nameless(value) for key, value in config.items() if key != "name"}
    return [_nameless(each) for each in config] if isinstance(config, list) else config
