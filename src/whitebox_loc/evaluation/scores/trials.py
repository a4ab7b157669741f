"""The scores as metrics: what each takes from a trial."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from whitebox_loc.evaluation.scores.complexity import entropy, gini
from whitebox_loc.evaluation.scores.faithfulness import completeness_gap, infidelity
from whitebox_loc.evaluation.scores.location import mass_accuracy, pointing_game, rank_accuracy
from whitebox_loc.evaluation.scores.record import Trial
from whitebox_loc.evaluation.scores.replacing import deletion, insertion
from whitebox_loc.evaluation.scores.sanity import efficient_randomization, randomization
from whitebox_loc.evaluation.scores.signs import evidence_of, evidence_signs
from whitebox_loc.evaluation.scores.stability import max_sensitivity


def mass_accuracy_task(trial: Trial, **options: Any) -> np.ndarray:
    """Return `mass_accuracy` against the evidence mask."""
    return mass_accuracy(trial.maps, _evidence(trial), **options)


def mass_accuracy_model(trial: Trial, **options: Any) -> np.ndarray:
    """Return `mass_accuracy` against the pixels that the model uses."""
    return mass_accuracy(trial.maps, trial.used, **options)


def signed_mass_accuracy_task(trial: Trial, **options: Any) -> np.ndarray:
    """Return `mass_accuracy` against the evidence mask with its signs."""
    return mass_accuracy(trial.maps, _evidence(trial), signs=_signs(trial), **options)


def rank_accuracy_task(trial: Trial, **options: Any) -> np.ndarray:
    """Return `rank_accuracy` against the evidence mask."""
    return rank_accuracy(trial.maps, _evidence(trial), **options)


def rank_accuracy_model(trial: Trial, **options: Any) -> np.ndarray:
    """Return `rank_accuracy` against the pixels that the model uses."""
    return rank_accuracy(trial.maps, trial.used, **options)


def signed_rank_accuracy_task(trial: Trial, **options: Any) -> np.ndarray:
    """Return `rank_accuracy` against the evidence mask with its signs."""
    return rank_accuracy(trial.maps, _evidence(trial), signs=_signs(trial), **options)


def pointing_game_task(trial: Trial, **options: Any) -> np.ndarray:
    """Return `pointing_game` against the evidence mask."""
    return pointing_game(trial.maps, _evidence(trial), **options)


def pointing_game_model(trial: Trial, **options: Any) -> np.ndarray:
    """Return `pointing_game` against the pixels that the model uses."""
    return pointing_game(trial.maps, trial.used, **options)


def signed_pointing_game_task(trial: Trial, **options: Any) -> np.ndarray:
    """Return `pointing_game` against the evidence mask with its signs."""
    return pointing_game(trial.maps, _evidence(trial), signs=_signs(trial), **options)


def deletion_of(trial: Trial, **options: Any) -> np.ndarray:
    """Return `deletion` with the trial's model and world."""
    return deletion(**_question(trial), **options)


def insertion_of(trial: Trial, **options: Any) -> np.ndarray:
    """Return `insertion` with the trial's model and world."""
    return insertion(**_question(trial), **options)


def infidelity_of(trial: Trial, **options: Any) -> np.ndarray:
    """Return `infidelity` with the trial's model and world."""
    return infidelity(**_question(trial), **options)


def completeness_gap_of(trial: Trial) -> np.ndarray:
    """Return `completeness_gap` with the gap that the method reports."""
    return completeness_gap(trial.maps, trial.gap)


def max_sensitivity_of(trial: Trial, **options: Any) -> np.ndarray:
    """Return `max_sensitivity` of the trial's method."""
    assert trial.explain is not None
    explain = partial(trial.explain, trial.model)
    return max_sensitivity(explain, trial.images, seed=trial.seed, **options)


def randomization_of(trial: Trial, **options: Any) -> np.ndarray:
    """Return `randomization` of the trial's model."""
    assert trial.explain is not None
    return randomization(trial.model, trial.images, trial.explain, seed=trial.seed, **options)


def efficient_randomization_of(trial: Trial, **options: Any) -> np.ndarray:
    """Return `efficient_randomization` of the trial's model."""
    assert trial.explain is not None
    return efficient_randomization(
        trial.model, trial.images, trial.explain, seed=trial.seed, **options
    )


def gini_of(trial: Trial) -> np.ndarray:
    """Return `gini` of the maps."""
    return gini(trial.maps)


def entropy_of(trial: Trial) -> np.ndarray:
    """Return `entropy` of the maps."""
    return entropy(trial.maps)


def _evidence(trial: Trial) -> np.ndarray:
    return evidence_of(trial.boxes, trial.scene, trial.coordinate, trial.labels)


def _signs(trial: Trial) -> np.ndarray:
    return evidence_signs(
        trial.boxes, trial.scene, trial.coordinate, labels=trial.labels, images=trial.images
    )


def _question(trial: Trial) -> dict[str, Any]:
    return {
        "model": trial.model,
        "images": trial.images,
        "maps": trial.maps,
        "target": trial.coordinate,
        "boxes": trial.boxes,
        "scene": trial.scene,
        "labels": trial.labels,
        "seed": trial.seed,
        "batch_size": trial.batch_size,
    }
