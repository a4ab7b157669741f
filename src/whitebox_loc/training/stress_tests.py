"""How a model's errors grow as images move away from those it was trained on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np
from scipy.stats import binomtest

from whitebox_loc._statistics import bootstrap_interval
from whitebox_loc._types import Array
from whitebox_loc._validation import check_int, check_real
from whitebox_loc.boxes.formats import COORDINATES
from whitebox_loc.data import Scene, as_scene
from whitebox_loc.training.evaluation import Evaluation, measure
from whitebox_loc.training.shifts import Shift, find_shifts

OUTWARDS = np.array([-1, -1, 1, 1])
"""The sign of an error that makes the box larger."""
JUMP = 2.0
"""A coordinate jumps if it is wrong by more than these pixels, in the mean of wrong images."""


@dataclass(frozen=True, eq=False)
class Curve:
    """Scores of a model along one shift; k severities.

    Intervals are over images, for this one model. That of the exact rate is Wilson's. The others
    are bootstrap percentiles: too narrow for few images or for rare failures, and without width
    where all images score alike, so that a failure that none of them showed is in no interval.

    Attributes
    ----------
    shift : Shift
    severities : ndarray (k,)
        Those of the shift that are possible for the scene.
    mean_iou, pixel_error, exact_rate : ndarray (k,)
        As in `Evaluation`.
    iou_interval, pixel_interval, exact_interval : ndarray (k, 2)
        Lower and upper limit.
    error, bias, spread : ndarray (k, 4)
        Of top, left, bottom, right, in pixels: mean absolute error, mean error, and standard
        deviation of the error. ``error_interval`` (k, 4, 2) holds limits of `error`.
    wrong, wrong_by : ndarray (k, 4)
        Share of images in which the coordinate, rounded, is not the true one, and mean absolute
        error in those, in pixels; 0 where there are none.
    """

    shift: Shift
    severities: Array
    mean_iou: Array
    iou_interval: Array
    pixel_error: Array
    pixel_interval: Array
    exact_rate: Array
    exact_interval: Array
    error: Array
    error_interval: Array
    bias: Array
    spread: Array
    wrong: Array
    wrong_by: Array

    def breaks_at(self, least_iou: float) -> int | None:
        """Return the first index where the whole interval of the mean IoU is below, or None."""
        below = self.iou_interval[:, 1] < check_real("least_iou", least_iou)
        return int(np.argmax(below)) if below.any() else None

    def worst(self, index: int) -> list[str]:
        """Return the coordinate of greatest error, and those it cannot be told apart from."""
        index = check_int("index", index, low=0, high=len(self.severities) - 1)
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
    impossible : dict
        Name of the shift to severities not possible for the scene, which were left out.
    """

    curves: dict[str, Curve]
    model: str
    scene: Scene
    n: int
    confidence: float
    impossible: dict[str, tuple[float, ...]] = field(default_factory=dict)

    def moderate(self) -> dict[str, float]:
        """Return the mean IoU of each shift at its moderate severity, where that is possible."""
        return {
            name: float(curve.mean_iou[curve.severities == curve.shift.moderate][0])
            for name, curve in self.curves.items()
            if curve.shift.moderate in curve.severities
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

        A shift breaks the model at the first severity at which the whole interval of the mean IoU
        is below `least_iou`.
        """
        check_real("least_iou", least_iou, low=0, high=1)
        first = next(iter(self.curves.values()))
        broken = self.order(least_iou)
        whole = [name for name in self.curves if name not in broken]
        lines = [
            f"Stress test of {self.model!r}: {self.n} images a point, "
            f"{self.confidence:.0%} intervals.",
            f"Unshifted: mean IoU {_with(first.mean_iou[0], first.iou_interval[0])}, "
            f"exact {first.exact_rate[0]:.1%}.",
            "",
            "A shift breaks the model where the whole interval of the mean IoU is below "
            f"{least_iou:g}.",
            f"Never broken: {', '.join(whole) or 'none'}.",
        ]
        if self.impossible:
            lines.append(f"Not possible for this scene: {_severities(self.impossible)}.")
        if first.breaks_at(least_iou) == 0:
            lines.append("The model is below it without any shift: train it first.")
            return "\n".join(lines)
        if broken:
            lines.append("Broken, the most harmful first (severity against the moderate one):")
        lines += [_sentence(self.curves[name], least_iou) for name in broken]
        return "\n".join(lines)

    def rows(self) -> list[dict[str, Any]]:
        """Return one flat record a shift and severity, ready for JSON or a table."""
        rows = []
        for name, curve in self.curves.items():
            for i, severity in enumerate(curve.severities):
                row: dict[str, Any] = {"shift": name, "severity": float(severity)}
                for score, interval in _SCORES.items():
                    row[score] = float(getattr(curve, score)[i])
                    low, high = getattr(curve, interval)[i]
                    row |= {f"{score}_low": float(low), f"{score}_high": float(high)}
                for j, coordinate in enumerate(COORDINATES):
                    for name_of in ("error", "bias", "spread", "wrong", "wrong_by"):
                        row[f"{coordinate}_{name_of}"] = float(getattr(curve, name_of)[i, j])
                rows.append(row)
        return rows


_SCORES = {
    "mean_iou": "iou_interval", "pixel_error": "pixel_interval", "exact_rate": "exact_interval",
}  # fmt: skip


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
        Rows of `SHIFTS`, or shifts of one's own; None takes all of `SHIFTS`, but for severities
        that are not possible for the scene.
    scene : Scene or str, default "uniform"
        What the shifts start from: the scene of training.
    n : int, default 500
        Images at each severity.
    seed : int, default 1
        Of the images; where a shift changes only appearance, all severities have the same boxes.
    confidence : float, default 0.95
        Of the intervals, which are for each point alone; above 0 and below 1.
    resamples : int, default 1000
        Draws of n images with replacement for the intervals.
    batch_size : int, default 256
        Images in one pass.

    Raises
    ------
    ValueError, TypeError
        If an argument is out of range, a shift is unknown, one that was named is not possible
        for the scene, or the model does not fit it; all of it before the first image.

    References
    ----------
    E. B. Wilson, "Probable inference, the law of succession, and statistical inference",
    Journal of the American Statistical Association 22, 1927. B. Efron, "Bootstrap methods:
    another look at the jackknife", Annals of Statistics 7, 1979.

    Examples
    --------
    >>> import whitebox_loc as wb
    >>> model = wb.models.localizer(size=(24, 24))
    >>> result = stress(model, ["noise"], wb.data.Scene(size=(24, 24)), n=50)
    >>> result.curves["noise"].mean_iou.shape
    (5,)
    """
    scene, n = as_scene(scene), check_int("n", n, low=2)
    chosen = find_shifts(shifts)
    if not chosen:
        raise ValueError("`shifts` must name at least one shift; got none.")
    check_int("seed", seed, low=0)
    check_real("confidence", confidence, low=0, high=1)
    if confidence in (0, 1):
        raise ValueError(
            f"`confidence` must be above 0 and below 1; got {confidence!r}. No share of images is "
            "certain, and an interval at 0 has no width."
        )
    planned, impossible = _plan(chosen, scene, strict=shifts is not None)
    resamples = check_int("resamples", resamples, low=1, high=100_000)
    points: dict[Scene, dict[str, Any]] = {}
    curves = {}
    for name, scenes in planned.items():
        for shifted in scenes.values():
            if shifted not in points:
                result = measure(model, shifted, n, seed, batch_size=batch_size, classes=False)
                points[shifted] = _point(result, confidence, resamples, seed)
        line = [points[shifted] for shifted in scenes.values()]
        arrays = {key: np.stack([point[key] for point in line]) for key in line[0]}
        curves[name] = Curve(chosen[name], np.array(list(scenes), float), **arrays)
    return Stress(curves, model.name, scene, n, confidence, impossible)


def _plan(
    shifts: Mapping[str, Shift], scene: Scene, strict: bool
) -> tuple[dict[str, dict[float, Scene]], dict[str, tuple[float, ...]]]:
    """Return scenes by shift and severity, and impossible severities, an error where `strict`."""
    planned, impossible = {}, {}
    for name, shift in shifts.items():
        scenes, missing = {}, []
        for severity in shift.severities:
            try:
                scenes[severity] = shift.scene(scene, severity)
            except ValueError:
                if strict:
                    raise
                missing.append(severity)
        if missing:
            impossible[name] = tuple(missing)
        if len(scenes) > 1:
            planned[name] = scenes
    if not planned:
        raise ValueError(f"`scene` allows none of the shifts {list(shifts)}; got {scene}.")
    return planned, impossible


def _point(result: Evaluation, confidence: float, resamples: int, seed: int) -> dict[str, Array]:
    signed = result.predictions - result.batch.boxes
    error = np.abs(signed)
    wrong = np.rint(result.predictions) != result.batch.boxes
    exact = ~wrong.any(axis=1)
    scores = np.column_stack([result.ious, error.mean(axis=1), error])
    # The same draws for all points of a seed, so that equal scores have equal intervals.
    ends = bootstrap_interval(scores, confidence=confidence, resamples=resamples, seed=seed)
    iou, pixel, *edges = np.stack(ends, axis=1)
    return {
        "mean_iou": result.ious.mean(),
        "iou_interval": iou,
        "pixel_error": error.mean(),
        "pixel_interval": pixel,
        "exact_rate": exact.mean(),
        "exact_interval": _wilson(int(exact.sum()), len(exact), confidence),
        "error": error.mean(axis=0),
        "error_interval": np.stack(edges),
        "bias": signed.mean(axis=0),
        "spread": signed.std(axis=0),
        "wrong": wrong.mean(axis=0),
        "wrong_by": (error * wrong).sum(axis=0) / np.maximum(wrong.sum(axis=0), 1),
    }


def _wilson(hits: int, n: int, confidence: float) -> Array:
    return np.array(binomtest(hits, n).proportion_ci(confidence, "wilson"))


def _sentence(curve: Curve, least_iou: float) -> str:
    """Return at which severity a shift breaks the model, and which coordinate errs in what way."""
    index = curve.breaks_at(least_iou)
    assert index is not None
    names = curve.worst(index)
    j = COORDINATES.index(names[0])
    others = f" (not told apart from {_list(names[1:])})" if names[1:] else ""
    return (
        f"- {curve.shift.name} {curve.severities[index]:g} of {curve.shift.moderate:g} "
        f"({curve.shift.unit}): IoU {_with(curve.mean_iou[index], curve.iou_interval[index])}, "
        f"exact {curve.exact_rate[index]:.0%}. Worst: {names[0]}{others}, off by "
        f"{curve.error[index, j]:.1f} px, wrong in {curve.wrong[index, j]:.0%}: "
        f"{_kind(curve, index, j)}."
    )


def _kind(curve: Curve, index: int, j: int) -> str:
    bias, spread = float(curve.bias[index, j]), float(curve.spread[index, j])
    way = "outwards" if bias * OUTWARDS[j] > 0 else "inwards"
    numbers = f"bias {abs(bias):.1f} px {way}, spread {spread:.1f} px"
    if bias**2 >= spread**2:
        return f"it is moved ({numbers})"
    if curve.wrong[index, j] < 0.5 and curve.wrong_by[index, j] > JUMP:
        return f"it jumps in some images ({numbers})"
    if spread <= 1:
        return f"it is off by about a pixel ({numbers})"
    return f"it is scattered ({numbers})"


def _severities(shifts: Mapping[str, tuple[float, ...]]) -> str:
    return "; ".join(f"{name} {', '.join(f'{s:g}' for s in each)}" for name, each in shifts.items())


def _list(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _with(value: float, interval: Array) -> str:
    return f"{value:.3f} [{interval[0]:.3f}, {interval[1]:.3f}]"
