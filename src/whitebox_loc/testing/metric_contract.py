"""The contract of metrics: rows of METRICS, and any function from a trial to scores."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from whitebox_loc._types import Array
from whitebox_loc._validation import check_bool, check_choice
from whitebox_loc.evaluation import METRICS, Metric, Trial
from whitebox_loc.evaluation.scores.record import check_values
from whitebox_loc.testing.claims import claim_close, claim_same_bytes, rounding
from whitebox_loc.testing.inputs import check_comparison, exact, small_trial
from whitebox_loc.testing.states import unchanged

_PARTS = ("model", "explain", "used", "gap")


def check_metric(
    metric: str | Metric | Callable[..., Any],
    *,
    trial: Trial | None = None,
    batch_invariant: bool = True,
    oracle: Callable[[Trial], Any] | None = None,
    tolerance: float | None = None,
    **options: Any,
) -> None:
    """Check that a metric keeps what all metrics promise.

    - It returns one number an image, a row's within its range; NaN, undefined, not everywhere.
    - Asked again it gives the same bytes, and an image has the same score alone and among others.
    - A row of METRICS gives the same scores without the parts of the trial that it does not need.
    - It leaves the trial's model and arrays and the random state as they were.
    - Scores are those of the oracle, if one is given.

    Whether a metric ranks true maps above false ones is asked by `whitebox_loc.evaluation.audit`.

    Parameters
    ----------
    metric : str, Metric or callable
        A name in `whitebox_loc.evaluation.METRICS`, a row of your own, or the function that a
        row would hold: from a `Trial` and keyword options to scores (n,).
    trial : Trial, optional
        Default: three noisy images with integrated gradients of an untrained localizer.
    batch_invariant : bool, default True
        False for a metric whose random numbers are drawn for the whole batch.
    oracle : callable, optional
        From the trial to the exact scores (n,), such as a float64 rewrite.
    tolerance : float, optional
        Largest difference between two scores that are to be equal. By default that of
        `check_saliency_method` for the trial's model and the largest score; without a model the
        same for one sum over the pixels of a map.
    **options
        Of the metric.

    Raises
    ------
    AssertionError
        If the metric breaks a promise: which, for which image, by how much, and what to look at.

    Examples
    --------
    >>> check_metric("mass_accuracy_task")
    >>> def share_of_the_batch(trial):
    ...     mass = abs(trial.maps).sum((1, 2))
    ...     return mass / mass.max()
    >>> check_metric(share_of_the_batch)
    Traceback (most recent call last):
        ...
    AssertionError: Metric 'share_of_the_batch' gives an image another score alone than ...
    """
    row = metric if isinstance(metric, Metric) else None
    if row is None and not callable(metric):
        row = METRICS[check_choice("metric", metric, METRICS)]
    name = getattr(metric, "__name__", type(metric).__name__) if row is None else row.name
    check_comparison(oracle, tolerance, 1, "from a trial to scores")
    check_bool("batch_invariant", batch_invariant)
    trial = small_trial() if trial is None else trial
    if not isinstance(trial, Trial):
        raise TypeError(f"`trial` must be a Trial; got {type(trial).__name__}.")
    run: Callable[..., Any] = metric if row is None else row.score  # type: ignore[assignment]
    who, look = f"Metric {name!r}", "Look at divisions by what can be 0; NaN means undefined."

    def score(trial: Trial) -> Array:
        try:
            return check_values(name, run(trial, **options), len(trial))
        except ValueError as error:
            raise AssertionError(f"{error} {look}") from error

    arrays = {key: getattr(trial, key) for key in ("maps", "images", "boxes", "labels")}
    with unchanged(who, trial.model, **arrays):
        first = score(trial)
    if np.isnan(first).all():
        raise AssertionError(f"{who} is NaN, undefined, on every image of the trial. {look}")
    claim_same_bytes(who, first, score(trial), _place)
    if row is not None:
        _claim_range(who, row, first)
        _claim_needs(who, row, first, score, trial)
    allowed = _allowed(trial, first) if tolerance is None else tolerance
    for i in sorted({0, len(trial) - 1}) if batch_invariant else ():
        what = f"{who} gives an image another score alone than among others"
        where = functools.partial(_place, first=i)
        claim_close(what, score(_one(trial, i)), first[i : i + 1], allowed, where, _BATCH)
    if oracle is not None:
        true = exact(oracle, trial)
        claim_close(f"{who} is not its oracle", first, true, allowed, _place, _ORACLE)


_BATCH = (
    "Look for what is taken over the batch, such as a maximum to divide by, and for random "
    "numbers that are drawn for a whole batch (if they must be, say batch_invariant=False)."
)
_ORACLE = "Look at the formula, and whether both take signs, absolute values and masks alike."


def _place(index: tuple[int, ...], first: int = 0) -> str:
    return f"image {first + index[0]}"


def _one(trial: Trial, i: int) -> Trial:
    names = ("maps", "images", "boxes", "labels", "used", "gap")
    parts: dict[str, Any] = {k: v for k in names if (v := getattr(trial, k)) is not None}
    return replace(trial, **{k: v[i : i + 1] for k, v in parts.items()})


def _claim_range(who: str, row: Metric, scores: Array) -> None:
    low, high = row.range
    outside = (scores < low) | (scores > high)  # NaN is neither
    if outside.any():
        i = int(np.argmax(outside))
        raise AssertionError(
            f"{who} leaves its range [{low}, {high}]: image {i} has {scores[i]:.6g}. Look at what "
            "it divides by, or at `range` of the row."
        )


def _claim_needs(
    who: str, row: Metric, scores: Array, score: Callable[..., Any], trial: Trial
) -> None:
    unneeded: dict[str, Any] = {part: None for part in _PARTS if part not in row.needs}
    try:
        without = score(replace(trial, **unneeded))
    except (TypeError, AttributeError) as error:
        raise AssertionError(
            f"{who} fails without {sorted(unneeded)}, which it does not say that it needs: "
            f"{error}. Look at `needs` of the row."
        ) from error
    claim_close(
        f"{who} uses one of {sorted(unneeded)}, which it does not say that it needs", without,
        scores, 0.0, _place, "Look at `needs` of the row.",
    )  # fmt: skip


def _allowed(trial: Trial, scores: Array) -> float:
    scale = float(np.nanmax(np.abs(scores)))
    size = trial.maps.shape[1:]
    if trial.model is None:
        return float(size[0] * size[1] * np.finfo(np.float32).eps * scale)
    return rounding(trial.model, size, scale, ways=2)
