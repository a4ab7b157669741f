"""The loop of every training run: budgets, checkpoints, progress bar and Ctrl-C."""

from __future__ import annotations

import contextlib
import math
import os
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from tqdm.auto import tqdm

from whitebox_loc._files import naming
from whitebox_loc._validation import check_bool, check_int, check_path, check_real
from whitebox_loc.training import checkpoints
from whitebox_loc.training.groups import INTERRUPTED, Alone
from whitebox_loc.training.history import HEADLINE

Path = str | os.PathLike[str] | None

WINDOW_IMAGES = 2000
"""`target_iou` is compared with the mean IoU of about this many latest images."""

OVERFLOWS_ALLOWED = 50
"""An optimizer that scales the loss may leave out so many steps in a row to find its scale."""


class TrainingDivergedError(ArithmeticError):
    """Loss, gradient or weights became NaN or infinite; the weights are the last finite ones."""


def train(
    run: checkpoints.Run,
    budget: Budget,
    step: Callable[..., Any],
    batches: Iterable[Any],
    keeper: Keeper,
    progress: bool,
    group: Alone | None = None,
) -> None:
    """Take steps until the budget is used, and write down what each of them measured.

    `step` takes images, boxes and labels, as `batches` yields them, and returns its measures, a
    vector in the order of ``run.history.names[2:]``; behind them 1, or 0 if the step was left
    out although loss and gradient were good. `group` are the processes that train together.
    """
    group = group or Alone()
    visible = check_bool("progress", progress) and group.chief
    with _bar(run, budget, visible) as bar, _deferred_interrupt() as interrupted:
        _loop(run, budget, step, iter(batches), bar, keeper, interrupted, group)
    # For optimizers that average the weights (use_ema=True): after the last checkpoint, so that a
    # longer run goes on from the weights themselves. Before the first step the average is empty.
    if len(run.history):
        run.optimizer.finalize_variable_values(run.model.trainable_variables)


def _loop(
    run: checkpoints.Run,
    budget: Budget,
    step: Callable[..., Any],
    batches: Iterator[Any],
    bar: Any,
    keeper: Keeper,
    interrupted: threading.Event,
    group: Alone,
) -> None:
    # The clock began to run before the step was compiled, which is a part of the budget.
    start, overflows = budget.started - run.seconds, 0
    while not (reason := group.reason(interrupted.is_set(), budget.spent(run))):
        images, (boxes, labels) = next(batches)
        *measures, sound = step(images, boxes, labels).numpy().tolist()
        values = dict(zip(run.history.names[2:], measures, strict=True))
        run.seconds = time.perf_counter() - start
        overflows = 0 if math.isfinite(values["gradient_norm"]) else overflows + 1
        allowed = OVERFLOWS_ALLOWED if hasattr(run.optimizer, "scale_loss") else 0
        if not math.isfinite(values["loss"]) or overflows > allowed or not sound:
            keeper.save()
            raise _diverged(run, values, sound, keeper)
        run.history.append({"step": len(run.history) + 1, "seconds": run.seconds, **values})
        _show(bar, run, budget)
        if keeper.path is not None and group.agrees(keeper.is_due()):
            keeper.save()
    if reason != INTERRUPTED:
        run.history.stopped = reason
    keeper.save()
    # Asked again, because Ctrl-C may have come during that last checkpoint.
    if reason == INTERRUPTED or interrupted.is_set():
        error = KeyboardInterrupt(f"interrupted after step {len(run.history)}")
        error.add_note(f"The weights after that step are in {keeper.files()}.")
        raise error


def _diverged(
    run: checkpoints.Run, values: dict[str, float], sound: float, keeper: Keeper
) -> TrainingDivergedError:
    number = len(run.history) + 1
    remedy = f"The weights before it are kept in {keeper.files()}. Lower `learning_rate`, or look"
    if not sound:
        # What counts the steps has been put back, too: this is the rate of the step left out.
        rate = float(np.asarray(run.optimizer.learning_rate))
        return TrainingDivergedError(
            f"Step {number} at a learning rate of {rate:g} makes weights NaN or infinite, or "
            f"goes backwards. {remedy} at the schedule and the settings of your optimizer."
        )
    return TrainingDivergedError(
        f"The loss is {values['loss']} and the gradient norm {values['gradient_norm']} at "
        f"step {number}. {remedy} for NaN in the images or in your loss."
    )


class Budget:
    """When to stop. The clock runs from when it is made."""

    def __init__(
        self, seconds: float | None, steps: int | None, target_iou: float | None, batch_size: int
    ) -> None:
        self.started = time.perf_counter()
        self.seconds = None if seconds is None else check_real("seconds", seconds, low=0)
        self.steps = None if steps is None else check_int("steps", steps, low=0)
        if self.seconds is None and self.steps is None:
            self.seconds = 60.0
        self.target_iou = target_iou
        if target_iou is not None:
            self.target_iou = check_real("target_iou", target_iou, low=0, high=1)
        self.window = math.ceil(WINDOW_IMAGES / batch_size)

    def __repr__(self) -> str:
        return repr((self.seconds, self.steps, self.target_iou))

    def spent(self, run: checkpoints.Run) -> str:
        """Return the name of the exhausted budget, or an empty string."""
        if self.steps is not None and len(run.history) >= self.steps:
            return "steps"
        if self.seconds is not None and run.seconds >= self.seconds:
            return "seconds"
        if self.target_iou is not None and len(run.history) >= self.window:
            return "target_iou" if run.history.mean("iou", self.window) >= self.target_iou else ""
        return ""


class Keeper:
    """Reads the checkpoint, if there is one, and writes it, if there is to be one."""

    def __init__(self, run: checkpoints.Run, path: Path, every: float, writes: bool = True) -> None:
        self.run, self.path, self.every, self.writes = run, path, every, writes
        if path is not None:
            check_path("checkpoint", path)
            # What can be no path is refused before the training, and not after it.
            with naming("checkpoint", path), contextlib.suppress(FileNotFoundError):
                os.stat(path)
                checkpoints.restore(run, path)
        self.last = time.perf_counter()

    def save(self) -> None:
        """Write the checkpoint, if there is to be one."""
        if self.path is not None and self.writes:
            with naming("checkpoint", self.path):
                checkpoints.save(self.run, self.path)
            self.last = time.perf_counter()

    def is_due(self) -> bool:
        """Return whether the last one is old enough."""
        return time.perf_counter() - self.last >= self.every

    def files(self) -> str:
        """Return where the latest weights are, for messages."""
        return "the model" + (f" and {os.fspath(self.path)!r}" if self.path is not None else "")


def _bar(run: checkpoints.Run, budget: Budget, progress: bool) -> Any:
    by_steps = budget.steps is not None
    layout = "{desc}: {percentage:3.0f}%|{bar}| "
    layout += "{n_fmt}/{total_fmt} steps" if by_steps else "{n:.0f}/{total:.0f} s"
    return tqdm(
        total=budget.steps if by_steps else budget.seconds,
        initial=len(run.history) if by_steps else run.seconds,
        desc=run.model.name,
        bar_format=layout + "{postfix}",
        disable=not progress,
    )


def _show(bar: Any, run: checkpoints.Run, budget: Budget) -> None:
    done = len(run.history) if budget.steps is not None else min(run.seconds, bar.total)
    names = [name for name in HEADLINE if name in run.history.names]
    names += ["accuracy"] if run.identity.get("label_weight") else []
    recent = {name: run.history.mean(name, 20) for name in names}
    bar.set_postfix({name: f"{value:.4f}" for name, value in recent.items()}, refresh=False)
    bar.update(done - bar.n)


@contextmanager
def _deferred_interrupt() -> Iterator[threading.Event]:
    """Let the first Ctrl-C set an event, so that no step is cut in two; the second interrupts."""
    event = threading.Event()
    # Python delivers signals to the main thread alone.
    if threading.current_thread() is not threading.main_thread():
        yield event
        return
    # None if the handler was installed by something other than Python.
    before = signal.getsignal(signal.SIGINT) or signal.default_int_handler

    def remember(*_: Any) -> None:
        event.set()
        signal.signal(signal.SIGINT, before)

    signal.signal(signal.SIGINT, remember)
    try:
        yield event
    finally:
        signal.signal(signal.SIGINT, before)
