"""How a model's errors grow as images move away from those it was trained on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from scipy.stats import norm

from whitebox_loc._validation import check_int, check_real
from whitebox_loc.data import Scene, as_scene
from whitebox_loc.training.evaluation import Evaluation, evaluate
from whitebox_loc.training.shifts import Shift, find_shifts

__all__ = ["COORDINATES", "Curve", "Stress", "stress"]

COORDINATES = ("top", "left", "bottom", "right")
OUTWARDS = np.array([-1, -1, 1, 1])
"""The sign of an error that makes the box larger."""


@dataclass(frozen=True, eq=False)
class Curve:
    """Scores of a model along one shift; k severities.

    Every interval holds the true value with the confidence of the stress test: that of the exact
    rate is Wilson's, the others are percentiles of resampled images.

    Attributes
    ----------
    shift : Shift
    severities : ndarray (k,)
    mean_iou, pixel_error, exact_rate : ndarray (k,)
        As in `Evaluation`.
    iou_interval, pixel_interval, exact_interval : ndarray (k, 2)
        Lower and upper limit.
    error, bias, spread : ndarray (k, 4)
        Of top, left, bottom, right, in pixels: mean absolute error, mean error, and standard
        deviation of the error.
    error_interval : ndarray (k, 4, 2)
        Limits of `error`.
    wrong : ndarray (k, 4)
        Share of images in which the coordinate, rounded, is not the true one.
    """

    shift: Shift
    severities: np.ndarray
    mean_iou: np.ndarray
    iou_interval: np.ndarray
    pixel_error: np.ndarray
    pixel_interval: np.ndarray
    exact_rate: np.ndarray
    exact_interval: np.ndarray
    error: np.ndarray
    error_interval: np.ndarray
    bias: np.ndarray
    spread: np.ndarray
    wrong: np.ndarray

    def breaks_at(self, least_iou: float) -> int | None:
        """Return the index of the first severity with mean IoU surely below, or None."""
        below = self.iou_interval[:, 1] < least_iou
        return int(np.argmax(below)) if below.any() else None

    def worst(self, index: int) -> list[str]:
        """Return the coordinate of greatest error, and those it cannot be told apart from."""
        error, (low, high) = self.error[index], self.error_interval[index].T
        first = int(np.argmax(error))
        alike = [i for i in np.argsort(-error, kind="stable") if high[i] >= low[first]]
        return [COORDINATES[i] for i in alike]


@dataclass(frozen=True, eq=False)
class Stress:
    """What `stress` returns.

    Attributes
    ----------
    curves : dict
        Name of the shift to its Curve.
    model : str
        Name of the model.
    scene : Scene
        The scene that the shifts start from.
    n : int
        Images at each severity.
    confidence : float
        Of the intervals.
    """

    curves: dict[str, Curve]
    model: str
    scene: Scene
    n: int
    confidence: float

    def moderate(self) -> dict[str, float]:
        """Return the mean IoU of each shift at its moderate severity."""
        return {
            name: float(curve.mean_iou[curve.shift.severities.index(curve.shift.moderate)])
            for name, curve in self.curves.items()
        }

    def order(self, least_iou: float = 0.95) -> list[str]:
        """Return the shifts that break the model, the most harmful first.

        Units differ, so a severity counts in multiples of the shift's moderate one.
        """
        rank = {}
        for name, curve in self.curves.items():
            index = curve.breaks_at(least_iou)
            if index is not None:
                relative = curve.severities[index] / curve.shift.moderate
                rank[name] = (relative, curve.mean_iou[index])
        return sorted(rank, key=lambda name: rank[name])

    def verdict(self, least_iou: float = 0.95) -> str:
        """Return one page of text: what the model bears, what breaks it, and how.

        Parameters
        ----------
        least_iou : float, default 0.95
            A shift breaks the model at the first severity at which the whole interval of the
            mean IoU is below.
        """
        check_real("least_iou", least_iou, low=0, high=1)
        first = next(iter(self.curves.values()))
        broken = self.order(least_iou)
        held = [name for name in self.curves if name not in broken]
        lines = [
            f"Stress test of {self.model!r}: {self.n} images a point, "
            f"{self.confidence:.0%} intervals.",
            f"Unshifted: mean IoU {_with(first.mean_iou[0], first.iou_interval[0])}, "
            f"exact {first.exact_rate[0]:.1%}.",
            "",
            f"A shift breaks the model where mean IoU is surely below {least_iou:g}.",
            f"Never broken: {', '.join(held) or 'by none'}.",
        ]
        if first.breaks_at(least_iou) == 0:
            lines.append("The model is below it without any shift: train it first.")
            return "\n".join(lines)
        if broken:
            lines.append("Broken, the most harmful first (severity against the moderate one):")
        lines += [_sentence(self.curves[name], least_iou) for name in broken]
        return "\n".join(lines)

    def rows(self) -> list[dict[str, Any]]:
        """Return one flat record a shift and severity, ready for JSON or a table."""
        found = []
        for name, curve in self.curves.items():
            for i, severity in enumerate(curve.severities):
                row: dict[str, Any] = {"shift": name, "severity": float(severity)}
                for score, interval in _SCORES.items():
                    row[score] = float(getattr(curve, score)[i])
                    low, high = getattr(curve, interval)[i]
                    row |= {f"{score}_low": float(low), f"{score}_high": float(high)}
                for j, coordinate in enumerate(COORDINATES):
                    for measure in ("error", "bias", "spread", "wrong"):
                        row[f"{coordinate}_{measure}"] = float(getattr(curve, measure)[i, j])
                found.append(row)
        return found


_SCORES = {
    "mean_iou": "iou_interval",
    "pixel_error": "pixel_interval",
    "exact_rate": "exact_interval",
}


def stress(
    model: keras.Model,
    shifts: Iterable[str] | Mapping[str, Shift] | str | None = None,
    scene: Scene | str = "uniform",
    n: int = 500,
    seed: int = 1,
    *,
    confidence: float = 0.95,
    resamples: int = 1000,
    batch_size: int = 256,
) -> Stress:
    """Score a model on scenes that differ more and more from the one it was trained on.

    Parameters
    ----------
    model : keras.Model
        Images to ``rel_yxyx`` boxes (n, 4).
    shifts : names, mapping of name to Shift, or None
        Rows of `SHIFTS`, or shifts of one's own; None takes all of `SHIFTS`.
    scene : Scene or str, default "uniform"
        What the shifts start from: the scene of training.
    n : int, default 500
        Images at each severity.
    seed : int, default 1
        Of the images, the same at every severity: where a shift changes only the appearance,
        all severities show the same boxes.
    confidence : float, default 0.95
        Of the intervals, which hold for each point alone.
    resamples : int, default 1000
        Draws of n images with replacement for the intervals.
    batch_size : int, default 256
        Images in one pass.

    Returns
    -------
    Stress
        Curves by shift, and the verdict in words.

    Raises
    ------
    ValueError, TypeError
        If an argument is out of range, a shift is unknown or not possible for the scene, or the
        model does not fit it.

    References
    ----------
    E. B. Wilson, "Probable inference, the law of succession, and statistical inference",
    Journal of the American Statistical Association 22, 1927. B. Efron, "Bootstrap methods:
    another look at the jackknife", Annals of Statistics 7, 1979.

    Examples
    --------
    >>> import whitebox_loc as wb
    >>> model = wb.models.localizer(size=(24, 24))
    >>> found = stress(model, ["noise"], wb.data.Scene(size=(24, 24)), n=50)
    >>> found.curves["noise"].mean_iou.shape
    (5,)
    """
    scene, n = as_scene(scene), check_int("n", n, low=2)
    chosen = find_shifts(shifts)
    if not chosen:
        raise ValueError("`shifts` must name at least one shift; got none.")
    check_int("seed", seed, low=0)
    confidence = check_real("confidence", confidence, low=0, high=1)
    # One set of draws for all points, so that equal scores have equal intervals.
    draws = np.random.default_rng(seed).multinomial(
        n, np.full(n, 1 / n), check_int("resamples", resamples, low=1)
    )
    points: dict[Scene, dict[str, Any]] = {}
    curves = {}
    for name, shift in chosen.items():
        for shifted in (scenes := [shift.scene(scene, s) for s in shift.severities]):
            if shifted not in points:
                result = evaluate(model, shifted, n, seed, batch_size=batch_size)
                points[shifted] = _point(result, draws / n, confidence)
        found = [points[shifted] for shifted in scenes]
        arrays = {key: np.stack([point[key] for point in found]) for key in found[0]}
        curves[name] = Curve(shift, np.array(shift.severities, float), **arrays)
    return Stress(curves, model.name, scene, n, confidence)


def _point(result: Evaluation, weights: np.ndarray, confidence: float) -> dict[str, Any]:
    """Return the scores of one evaluation with their intervals."""
    signed = result.predictions - result.batch.boxes
    error = np.abs(signed)
    exact = (np.rint(result.predictions) == result.batch.boxes).all(axis=1)
    tails = np.array([1 - confidence, 1 + confidence]) / 2

    def interval(values: np.ndarray) -> np.ndarray:
        return np.quantile(weights @ values, tails, axis=0).T

    return {
        "mean_iou": result.ious.mean(),
        "iou_interval": interval(result.ious),
        "pixel_error": error.mean(),
        "pixel_interval": interval(error.mean(axis=1)),
        "exact_rate": exact.mean(),
        "exact_interval": _wilson(int(exact.sum()), len(exact), confidence),
        "error": error.mean(axis=0),
        "error_interval": interval(error),
        "bias": signed.mean(axis=0),
        "spread": signed.std(axis=0),
        "wrong": (np.rint(result.predictions) != result.batch.boxes).mean(axis=0),
    }


def _wilson(hits: int, n: int, confidence: float) -> np.ndarray:
    """Return the interval of a share: where a normal test of `hits` out of `n` does not reject."""
    z = norm.ppf((1 + confidence) / 2)
    middle = (hits + z**2 / 2) / (n + z**2)
    half = z / (n + z**2) * np.sqrt(hits * (n - hits) / n + z**2 / 4)
    return np.clip([middle - half, middle + half], 0, 1)


def _sentence(curve: Curve, least_iou: float) -> str:
    """Say at which severity a shift breaks the model, and which coordinate goes how."""
    index = curve.breaks_at(least_iou)
    assert index is not None
    names = curve.worst(index)
    j = COORDINATES.index(names[0])
    who = names[0] if len(names) == 1 else f"{names[0]} (no surely worse than {_list(names[1:])})"
    return (
        f"- {curve.shift.name} {curve.severities[index]:g} of {curve.shift.moderate:g} "
        f"({curve.shift.unit}): IoU {_with(curve.mean_iou[index], curve.iou_interval[index])}, "
        f"exact {curve.exact_rate[index]:.0%}. Worst: {who}, off by {curve.error[index, j]:.1f} "
        f"px, wrong in {curve.wrong[index, j]:.0%}: {_kind(curve, index, j)}."
    )


def _kind(curve: Curve, index: int, j: int) -> str:
    bias, spread = float(curve.bias[index, j]), float(curve.spread[index, j])
    way = "outwards" if bias * OUTWARDS[j] > 0 else "inwards"
    told = f"bias {abs(bias):.1f} px {way}, spread {spread:.1f} px"
    if bias**2 >= spread**2:
        return f"it is moved ({told})"
    if curve.wrong[index, j] < 0.5:
        return f"it jumps in some images ({told})"
    return f"it is scattered ({told})"


def _list(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _with(value: float, interval: np.ndarray) -> str:
    return f"{value:.3f} [{interval[0]:.3f}, {interval[1]:.3f}]"
