"""The training step of several replicas that share each batch, under `tf.distribute`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import keras
import tensorflow as tf
from keras import Variable
from keras.optimizers import Optimizer

from whitebox_loc._types import Tensor
from whitebox_loc.training import steps
from whitebox_loc.training.steps import Gradients, Loss, Step

#: Synchronous strategies of which each replica holds all variables.
KINDS = (tf.distribute.MirroredStrategy, tf.distribute.MultiWorkerMirroredStrategy)


def find_strategy(model: keras.Model) -> tf.distribute.Strategy | None:
    """Return the strategy in whose scope a model was built, or None, if training can use it."""
    strategies = {id(s): s for s in (_strategy_of(v) for v in model.variables)}
    around = tf.distribute.get_strategy() if tf.distribute.has_strategy() else None
    for strategy in (*strategies.values(), around):
        if strategy is not None and not isinstance(strategy, KINDS):
            raise ValueError(
                f"`model` {model.name!r} was built, or `fit` called, in the scope of a "
                f"{type(strategy).__name__}. Training can use MirroredStrategy and "
                "MultiWorkerMirroredStrategy, whose replicas take every step together, or none."
            )
    if len(strategies) > 1:
        raise ValueError(
            f"`model` {model.name!r} has variables of {len(strategies)} strategies, or some of one "
            "and some of none. Build all of it in one `with strategy.scope():`."
        )
    [strategy] = strategies.values()
    if around is not None and around is not strategy:
        built = "outside any" if strategy is None else "in the scope of another"
        raise ValueError(
            f"`fit` was called in the scope of a {type(around).__name__}, but `model` "
            f"{model.name!r} was built {built} strategy. Build it in this scope, too: "
            "`with strategy.scope(): model = localizer(...)`."
        )
    late = [v.path for v in model.variables if strategy and v.synchronization == "on_read"]
    if late:
        raise ValueError(
            f"`model` has the variable {late[0]!r} with synchronization='on_read', whose replicas "
            "differ. Leave `synchronization` out: what is not trained is averaged every step."
        )
    return strategy


def is_distributed(model: keras.Model) -> bool:
    """Tell whether a model was built in the scope of any strategy, or there is one around."""
    return tf.distribute.has_strategy() or any(map(_strategy_of, model.variables))


def _strategy_of(variable: Variable) -> tf.distribute.Strategy | None:
    return getattr(variable.value, "distribute_strategy", None)


def check_shares(strategy: tf.distribute.Strategy, batch_size: int) -> None:
    """Raise a ValueError if the replicas cannot share a batch equally."""
    replicas = strategy.num_replicas_in_sync
    if batch_size % replicas:
        raise ValueError(
            f"`batch_size` is that of all replicas together and must be a multiple of their number,"
            f" {replicas}; got {batch_size}. Take {-(-batch_size // replicas) * replicas}."
        )


def check_optimizer(optimizer: Optimizer, strategy: tf.distribute.Strategy | None) -> None:
    """Raise a ValueError if an optimizer does not suit the strategy of the model."""
    for part in _nested(optimizer):
        own = part._distribution_strategy
        if own is not strategy if strategy is not None else isinstance(own, KINDS):
            place = "outside the scope of its strategy"
            if strategy is None:
                place = f"inside the scope of a {type(own).__name__}"
            raise ValueError(
                f"`optimizer` {optimizer.name!r} was made {place}, unlike `model`. Make both in "
                "one `with strategy.scope():`."
            )
        if strategy is not None and getattr(part, "gradient_accumulation_steps", None):
            raise ValueError(
                "`optimizer` accumulates gradients, which does not work under a strategy here. "
                "Leave `gradient_accumulation_steps` out and take a larger `batch_size`."
            )
        if strategy is not None and getattr(part, "ema_overwrite_frequency", None):
            raise ValueError(
                "`optimizer` puts averages in the place of the weights while it trains, which does "
                "not work under a strategy here. Leave `ema_overwrite_frequency` out: `use_ema` "
                "alone ends the training with the averages."
            )


def make_shared_step(
    strategy: tf.distribute.Strategy,
    model: keras.Model,
    optimizer: Optimizer,
    loss: Loss,
    edge_weight: float,
    label_weight: float,
    shape: tuple[int, int, int, int],
) -> Step:
    """Return a function like that of `make_step` whose work the replicas of `strategy` share.

    It takes the batch of all, of which each replica looks at its rows. Loss, gradient and measures
    are those of the whole batch: all replicas agree on whether the update is left out.
    """
    replicas = strategy.num_replicas_in_sync
    options = loss, edge_weight, label_weight, shape[1:3], replicas
    differentiate = steps.make_gradients(model, optimizer, *options)
    states = steps.states_of(model)
    # The same on all replicas, so that the values of one are those of all.
    trained = [*model.trainable_variables, *optimizer.variables]
    learned: list[Variable] = []

    def look(*batch: Tensor) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
        before = [tf.identity(state.value) for state in states]
        result = _of_all(differentiate(*_rows(batch, shape[0] // replicas)), replicas)
        _average(states)
        learned[:] = result.learned
        return result.measures, result.gradients, before

    def update(gradients: list[Tensor]) -> Tensor:
        _everywhere(strategy, lambda g: steps.apply(optimizer, g, learned), gradients)
        return steps.all_finite(learned)

    @tf.function(autograph=False)
    def step(images: Tensor, boxes: Tensor, labels: Tensor) -> Tensor:
        old = [tf.identity(variable.value) for variable in trained]
        measures, gradients, before = strategy.run(look, (images, boxes, labels))
        measures = [strategy.experimental_local_results(measure)[0] for measure in measures]
        norm = steps.norm_of([strategy.experimental_local_results(g)[0] for g in gradients])
        scale = steps.scale_of(optimizer)

        def undo() -> bool:
            steps.put_back(trained, old)
            return _everywhere(strategy, lambda values: steps.put_back(states, values), before)

        # Around the replicas, since Keras joins them to update a variable: none can in a branch.
        good = steps.is_good(optimizer, measures[0], norm)
        with _summed(optimizer):
            rate_good = steps.has_good_rate(optimizer)
            updated = tf.cond(good & rate_good, lambda: update(gradients), lambda: False)
        tf.cond(updated, lambda: True, undo)
        return tf.stack([*measures, norm / scale, tf.cast(updated | ~good, tf.float32)])

    return step.get_concrete_function(*steps.batch_specs(shape))


def _rows(batch: tuple[Tensor, ...], share: int) -> list[Tensor]:
    """Return the rows of this replica."""
    number = tf.distribute.get_replica_context().replica_id_in_sync_group
    with tf.device("CPU"):  # so that a GPU is sent its rows only
        rows = [tensor[number * share : (number + 1) * share] for tensor in batch]
    for part, tensor in zip(rows, batch, strict=True):
        part.set_shape((share, *tensor.shape[1:]))
    return [tf.identity(part) for part in rows]


def _of_all(part: Gradients, replicas: int) -> Gradients:
    """Return losses and gradients added up and measures averaged, the same on all replicas."""
    context = tf.distribute.get_replica_context()
    gradients, learned = steps.reached(part.gradients, part.learned)
    gradients = context.all_reduce("SUM", [tf.convert_to_tensor(g) for g in gradients])
    loss, *measures = part.measures
    # In one message. The losses are parts of the whole: their sum is the mean of as many wholes.
    vector = context.all_reduce("MEAN", tf.stack([loss * replicas, *measures]))
    return Gradients(tf.unstack(vector), gradients, learned)


def _average(states: list[Variable]) -> None:
    """Give all replicas the same moving averages; what is counted is the same anyway."""
    moving = [state for state in states if state.value.dtype.is_floating]
    if moving:
        context = tf.distribute.get_replica_context()
        means = context.all_reduce("MEAN", [tf.convert_to_tensor(state.value) for state in moving])
        steps.put_back(moving, means)


def _everywhere(strategy: Any, function: Callable[[Any], bool], values: list[Tensor]) -> bool:
    strategy.run(function, (values,))
    return True


@contextmanager
def _summed(optimizer: Optimizer) -> Iterator[None]:
    """Keep Keras from adding up gradients, which it would clip before: they are sums already."""
    parts = _nested(optimizer)
    for part in parts:
        part._all_reduce_sum_gradients = list
    try:
        yield
    finally:
        for part in parts:
            del part._all_reduce_sum_gradients


def _nested(optimizer: Optimizer) -> list[Optimizer]:
    inner = getattr(optimizer, "inner_optimizer", None)
    return [optimizer] if inner is None else [optimizer, *_nested(inner)]
