"""Who trains: this process alone, or several that must stop and save at the same step."""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import tensorflow as tf

from whitebox_loc._types import Tensor

INTERRUPTED = "interrupted"
"""The reason to stop that is no budget: Ctrl-C."""


class Alone:
    """One process: it agrees with itself."""

    chief = True

    def reason(self, interrupted: bool, spent: str) -> str:
        """Return why to stop, or an empty string."""
        return INTERRUPTED if interrupted else spent

    def agrees(self, due: bool) -> bool:
        """Return whether the checkpoint is to be written."""
        return due

    def check_same(self, about: Mapping[str, Any], steps: int) -> None:
        """Raise a ValueError if the workers are not about to do the same."""

    @contextmanager
    def watch(self) -> Iterator[None]:
        """Raise a RuntimeError if a worker is lost."""
        yield


class Workers(Alone):
    """Processes of a `MultiWorkerMirroredStrategy`; the first of them, the chief, has the clock."""

    def __init__(self, strategy: tf.distribute.Strategy) -> None:
        self.chief = bool(strategy.extended.should_checkpoint)
        self._gather = _make_gather(strategy)

    def reason(self, interrupted: bool, spent: str) -> str:
        """Return why all stop: Ctrl-C on any of them, or the chief's budget."""
        codes = self._everyones(len(REASONS) if interrupted else REASONS.index(spent))
        return INTERRUPTED if max(codes) == len(REASONS) else REASONS[codes[0]]

    def agrees(self, due: bool) -> bool:
        """Return whether the chief finds that the checkpoint is due."""
        return bool(self._everyones(int(due))[0])

    def check_same(self, about: Mapping[str, Any], steps: int) -> None:
        """Raise a ValueError on all workers if one was called otherwise or sees other files."""
        done = self._everyones(steps)
        if len(set(done)) > 1:
            raise ValueError(
                f"The workers have done {done} steps of this run. `checkpoint` must be a path to "
                "the same file for all of them, on a file system that they share."
            )
        sums = self._everyones(zlib.crc32(json.dumps(about, sort_keys=True).encode()))
        if len(set(sums)) > 1:
            raise ValueError(
                "The workers were asked for different runs: call `fit` with the same arguments, "
                "`checkpoint` included, on each of them."
            )

    @contextmanager
    def watch(self) -> Iterator[None]:
        """Turn the error of TensorFlow for a lost worker into one sentence."""
        try:
            yield
        except tf.errors.OpError as error:
            raise RuntimeError(
                "A worker stopped answering, or an operation failed on one of them (see above). "
                "Start all workers again with the same `checkpoint` to go on from the last one."
            ) from error

    def _everyones(self, number: int) -> list[int]:
        # float64 holds whole numbers up to 2**53.
        return [int(n) for n in self._gather(tf.constant(number, tf.float64)).numpy()]


REASONS = ("", "steps", "seconds", "target_iou")
"""The values of `Budget.spent`, as numbers that can be sent."""


def group_of(strategy: tf.distribute.Strategy | None) -> Alone:
    """Return the processes that work under a strategy."""
    resolver = None if strategy is None else strategy.cluster_resolver
    cluster = {} if resolver is None else resolver.cluster_spec().as_dict()
    several = sum(len(tasks) for tasks in cluster.values()) > 1
    return Workers(strategy) if several else Alone()


def _make_gather(strategy: tf.distribute.Strategy) -> Callable[[Tensor], Tensor]:
    """Return a function of a number to those of all replicas, in their order."""
    replicas = strategy.num_replicas_in_sync

    def send(number: Tensor) -> Tensor:
        context = tf.distribute.get_replica_context()
        place = tf.one_hot(context.replica_id_in_sync_group, replicas, dtype=tf.float64)
        return context.all_reduce("SUM", place * number)

    @tf.function(input_signature=[tf.TensorSpec((), tf.float64)], autograph=False)
    def gather(number: Tensor) -> Tensor:
        return strategy.experimental_local_results(strategy.run(send, (number,)))[0]

    return gather
