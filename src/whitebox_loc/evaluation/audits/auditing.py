"""Audits: whether a metric ranks maps of known quality as it should."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from whitebox_loc._statistics import mean_interval
from whitebox_loc._types import Array, ArrayLike, Model
from whitebox_loc._validation import check_choice, check_int, check_real, shortened
from whitebox_loc.boxes.formats import COORDINATES
from whitebox_loc.data import Scene
from whitebox_loc.evaluation.audits.controls import CONTROLS, Control
from whitebox_loc.evaluation.audits.known_models import (
    SIZE,
    Exact,
    World,
    compiled_world,
    linear_world,
    task_world,
)
from whitebox_loc.evaluation.scores import METRICS
from whitebox_loc.evaluation.scores.checking import check_drawing
from whitebox_loc.evaluation.scores.record import Metric, Trial, check_values
from whitebox_loc.models import COMPILED

LEVELS = {
    "task": {"oracle": 0, "blurred_oracle": 1, "edge_detector": 2},
    "model": {"oracle": 0, "blurred_oracle": 1},
}
"""How good each control is, best first; those not named know nothing that helps. Against a model
an edge detector is one of them, since it does not know the model."""


@dataclass(frozen=True)
class ControlScore:
    """What a metric gives a control.

    Attributes
    ----------
    mean, low, high : float
        Mean over the images where it is defined, and its interval; NaN if there are none.
    defined : float
        Share of images where it is defined.
    """

    mean: float
    low: float
    high: float
    defined: float


@dataclass(frozen=True)
class Audit:
    """How a metric ranks the controls.

    Attributes
    ----------
    metric : str
    truth : {"task", "model"}
        Whether the controls were made from the evidence of the image, or from an exactly known
        model. Metrics that know no truth are audited against the task.
    n : int
        Images, or draws of random weights.
    scores : mapping of control to ControlScore
    wrong : tuple of (better, worse)
        Pairs of controls that the metric puts in the wrong order.
    tied : tuple of (better, worse)
        Pairs that it does not tell apart: the interval of the mean difference holds 0.
    sees_signs : bool
        Whether the oracle beats the oracle times -1.

    Examples
    --------
    >>> audit("sparseness", n=16).wrong
    (('oracle', 'one_pixel'), ('blurred_oracle', 'one_pixel'), ('edge_detector', 'one_pixel'))
    """

    metric: str
    truth: str
    n: int
    scores: Mapping[str, ControlScore]
    wrong: tuple[tuple[str, str], ...]
    tied: tuple[tuple[str, str], ...]
    sees_signs: bool

    @property
    def misranked(self) -> tuple[tuple[str, str], ...]:
        """All pairs (better, worse) that it orders wrongly or does not tell apart."""
        return self.wrong + self.tied

    @property
    def undefined(self) -> tuple[str, ...]:
        """Controls for which the metric is undefined on every image."""
        return tuple(name for name, score in self.scores.items() if score.defined == 0)

    @property
    def verdict(self) -> str:
        """The ranking in words."""
        parts = []
        for worse in dict.fromkeys(worse for _, worse in self.wrong):
            parts.append(f"puts {worse} above " + ", ".join(b for b, w in self.wrong if w == worse))
        for better in dict.fromkeys(better for better, _ in self.tied):
            same = ", ".join(w for b, w in self.tied if b == better)
            parts.append(f"cannot tell {better} from {same}")
        if "oracle" in self.undefined:
            parts.append("undefined for the oracle")
        ordered = "; ".join(parts) or "ranks all controls as it should"
        return ordered if self.sees_signs else f"{ordered}; cannot see signs"


def audit(
    metric: Metric | str,
    *,
    n: int = 64,
    coordinate: str = "top",
    model: str | None = None,
    seed: int = 0,
    level: float = 0.99,
    **options: Any,
) -> Audit:
    """Score maps of known quality by a metric, and report which of them it misranks.

    The oracle should beat the blurred oracle, that the edge detector (if the truth is the
    task's, without signs), and all of them constant, random, one pixel and empty. A metric that
    claims to see signs should put the oracle above its negative. A control for which it is
    undefined is not ranked.

    Metrics of task truth and of no truth get scenes and the evidence of their edges. Metrics of
    a model get a linear model, `known_models.crossed_lines`, whose slopes, shares and used pixels
    are certain.

    Parameters
    ----------
    metric : Metric or str
        A row of `METRICS`, its name, or a row of your own.
    n : int, default 64
        Images, 16 x 16 pixels; for metrics that randomize weights, four to a draw.
    coordinate : {"top", "left", "bottom", "right"}, default "top"
    model : str, optional
        For metrics that need no more of a model than the pixels it uses: a name in
        `models.COMPILED` whose pixels take the place of those of `crossed_lines`.
    seed : int, default 0
        Boxes, random controls and random parts of the metric.
    level : float, default 0.99
        Level of the intervals that decide about pairs (paired, by bootstrap).
    **options
        Options of the metric.

    Raises
    ------
    ValueError, TypeError
        If an argument is not one of the above, or the metric does not return (n,) or is infinite.

    Examples
    --------
    >>> result = audit("mass_accuracy_task")
    >>> result.misranked, result.verdict
    ((), 'ranks all controls as it should; cannot see signs')
    """
    if not isinstance(metric, (Metric, str)):
        raise TypeError(f"`metric` must be a Metric or a name; got {shortened(metric)}.")
    row = metric if isinstance(metric, Metric) else METRICS[check_choice("metric", metric, METRICS)]
    check_int("n", n, low=8)
    check_drawing(n, [Scene(size=SIZE)])
    check_int("seed", seed, low=0)
    check_real("level", level, above=0, high=1)
    check_choice("coordinate", coordinate, COORDINATES)
    of_model = row.truth == "model" or bool(row.needs & {"model", "explain", "used", "gap"})
    world: World = linear_world if of_model else task_world
    if model is not None:
        if row.needs != {"used"}:
            raise ValueError(
                f"`model` must be None for metric {row.name!r}, which needs {sorted(row.needs)}: "
                "of compiled models only the pixels they use are certain. It is audited on "
                "`crossed_lines`."
            )
        world = partial(compiled_world, check_choice("model", model, COMPILED))
    if row.kind == "sanity":
        # One draw of random weights serves all images, so that they are no independent cases:
        # the draws are, and count in place of images.
        draws = range(seed, seed + n // 4)
        parts = [_scores(row, world, coordinate, 4, draw, options) for draw in draws]
        values = {name: _means([part[name] for part in parts]) for name in CONTROLS}
    else:
        values = _scores(row, world, coordinate, n, seed, options)
    return _judged(row, values, "model" if of_model else "task", level, seed)


def audit_table(audits: Iterable[Audit]) -> str:
    """Return a Markdown table: each metric's mean for every control, and the verdict.

    Examples
    --------
    >>> print(audit_table([audit("complexity", n=8)]).splitlines()[0])
    | metric | oracle | blurred_oracle | edge_detector | ... | sign_flipped | audit |
    """
    audits = list(audits) if isinstance(audits, Iterable) else [audits]
    if not all(isinstance(each, Audit) for each in audits):
        raise TypeError(
            f"`audits` must be a list of what `audit` returns; got {shortened(audits)}."
        )
    head = ["metric", *CONTROLS, "audit"]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for result in audits:
        means = [result.scores[name].mean for name in CONTROLS]
        cells = ["–" if np.isnan(mean) else f"{mean:.3g}" for mean in means]
        lines.append("| " + " | ".join([f"`{result.metric}`", *cells, result.verdict]) + " |")
    return "\n".join(lines) + "\n"


def _controlled(trial: Trial, exact: Exact, control: Control, seed: int) -> Trial:
    rng = np.random.default_rng([seed, *control.name.encode()])

    def draw(model: Model, images: ArrayLike) -> Array:
        truth = exact(model, images)
        return control.function(images, trial.boxes, trial.coordinate, trial.scene, truth, rng)

    maps = draw(trial.model, trial.images)
    if trial.model is None:
        return replace(trial, maps=maps)
    black = np.zeros_like(trial.images)
    index = COORDINATES.index(trial.coordinate)
    answers = [np.float64(trial.model(x)[:, index]) for x in (trial.images, black)]
    gap = maps.sum((1, 2), dtype=np.float64) - (answers[0] - answers[1])
    return replace(trial, maps=maps, explain=draw, gap=gap)


def _scores(
    row: Metric, world: World, coordinate: str, n: int, seed: int, options: Mapping[str, Any]
) -> dict[str, Array]:
    trial, exact = world(row, coordinate, n, seed)
    values = {}
    for name, control in CONTROLS.items():
        controlled = _controlled(trial, exact, control, seed)
        values[name] = check_values(row.name, row.score(controlled, **options), n)
    return values


def _means(values: list[Array]) -> Array:
    """Return the mean of each array over what is defined, NaN where nothing is."""
    return np.array([v[~np.isnan(v)].mean() if (~np.isnan(v)).any() else np.nan for v in values])


def _judged(row: Metric, values: Mapping[str, Array], truth: str, level: float, seed: int) -> Audit:
    n, scores = len(values["oracle"]), {}
    compare = partial(_order, values, row.higher_is_better, level, seed)
    orders = {pair: compare(*pair) for pair in _pairs(truth, row.signed)}
    wrong, tied = (tuple(p for p, order in orders.items() if order == o) for o in (-1, 0))
    for name, numbers in values.items():
        defined = numbers[~np.isnan(numbers)]
        interval = mean_interval(defined, level=level, seed=seed)
        mean = float(defined.mean()) if len(defined) else float("nan")
        scores[name] = ControlScore(mean, *interval, len(defined) / n)
    signs = compare("oracle", "sign_flipped") == 1
    return Audit(row.name, truth, n, scores, wrong, tied, signs)


def _pairs(truth: str, signed: bool) -> list[tuple[str, str]]:
    # An edge detector has no signs: for a signed metric it is as good as noise.
    levels = LEVELS["model" if signed else truth]
    last = 1 + max(levels.values())
    names = [name for name in CONTROLS if name != "sign_flipped"]
    rank = {name: levels.get(name, last) for name in names}
    pairs = [(a, b) for a in names for b in names if rank[a] < rank[b]]
    return [*pairs, ("oracle", "sign_flipped")] if signed else pairs


def _order(
    values: Mapping[str, Array], higher: bool, level: float, seed: int, a: str, b: str
) -> int:
    """Return 1 if control a is better than b, -1 if worse, 0 if not told apart, 2 if unranked."""
    difference = (values[a] - values[b]) * (1 if higher else -1)
    difference = difference[~np.isnan(difference)]
    if len(difference) < 2:
        return 2
    low, high = mean_interval(difference, level=level, seed=seed)
    # Differences of the size of rounding errors of float32 maps are none.
    least = 1e-6 * np.nanmax(np.abs([values[a], values[b]]))
    return int(low > least) - int(high < -least)
