"""What each kind of score takes from a trial; a row of METRICS is one of these and a score."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from whitebox_loc._types import Array
from whitebox_loc.evaluation.scores.faithfulness import completeness_gap
from whitebox_loc.evaluation.scores.record import Trial
from whitebox_loc.evaluation.scores.signs import evidence_of, evidence_signs
from whitebox_loc.evaluation.scores.stability import max_sensitivity

Score = Callable[..., Array]


class Bound(partial[Array]):
    """A partial function that equals its copies, so that a row equals what a worker gets."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Bound) and self.__reduce__()[2] == other.__reduce__()[2]

    def __hash__(self) -> int:
        return hash((self.func, self.args))


def against_used(score: Score, trial: Trial, **options: Any) -> Array:
    """Return a location score against the pixels that the model uses."""
    return score(trial.maps, trial.used, **options)


def against_evidence(score: Score, signed: bool, trial: Trial, **options: Any) -> Array:
    """Return a location score against the evidence mask, with its signs if `signed`."""
    truth = (trial.boxes, trial.scene, trial.coordinate)
    if signed:
        options["signs"] = evidence_signs(*truth, labels=trial.labels, images=trial.images)
    return score(trial.maps, evidence_of(*truth, trial.labels), **options)


def of_variants(score: Score, trial: Trial, **options: Any) -> Array:
    """Return a score of maps against the model's targets at variants of the images."""
    return score(
        model=trial.model, images=trial.images, maps=trial.maps, target=trial.coordinate,
        boxes=trial.boxes, scene=trial.scene, labels=trial.labels, seed=trial.seed,
        batch_size=trial.batch_size, **options,
    )  # fmt: skip


def of_method(score: Score, trial: Trial, **options: Any) -> Array:
    """Return a score of the method's maps of models with other weights."""
    assert trial.explain is not None
    return score(trial.model, trial.images, trial.explain, seed=trial.seed, **options)


def of_maps(score: Score, trial: Trial) -> Array:
    """Return a score that only looks at maps."""
    return score(trial.maps)


def completeness_gap_of(trial: Trial) -> Array:
    """Return `completeness_gap` with the gap that the method reports."""
    return completeness_gap(trial.maps, trial.gap)


def max_sensitivity_of(trial: Trial, **options: Any) -> Array:
    """Return `max_sensitivity` of the trial's method."""
    assert trial.explain is not None
    explain = partial(trial.explain, trial.model)
    return max_sensitivity(explain, trial.images, seed=trial.seed, **options)
