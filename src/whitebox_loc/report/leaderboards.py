"""The leaderboard in one call: train, run the benchmark, audit the metrics, write one report."""

from __future__ import annotations

import os
from collections.abc import Mapping
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
from tqdm.auto import tqdm

from whitebox_loc._files import make_folder, printable, replacing
from whitebox_loc._validation import check_bool, check_executor, check_int, check_path
from whitebox_loc.boxes.formats import COORDINATES
from whitebox_loc.data import Scene
from whitebox_loc.evaluation.audits.auditing import Audit, audit
from whitebox_loc.evaluation.benchmarking.results import Results
from whitebox_loc.evaluation.benchmarking.running import benchmark
from whitebox_loc.evaluation.scores import METRICS
from whitebox_loc.introspect import METHODS
from whitebox_loc.models import COMPILED, localizer
from whitebox_loc.report.leaderboard_pages import draw_tables, write_page
from whitebox_loc.training import fit


@dataclass(frozen=True)
class Plan:
    """How large a leaderboard is: `n` images of `size`, and a localizer trained for `steps`.

    `mechanisms` are compiled models, `left_out` metrics. Methods that draw samples or take steps
    take `samples` of them, those that fit a surrogate eight times as many.
    """

    size: tuple[int, int]
    n: int
    steps: int
    coordinates: tuple[str, ...]
    mechanisms: tuple[str, ...]
    left_out: tuple[str, ...]
    samples: int
    audit_images: int


FULL = Plan((32, 32), 64, 2000, COORDINATES, tuple(COMPILED), (), 32, 64)

QUICK = Plan(
    (16, 16), 16, 300, ("top",),
    ("integrator", "max_projection", "edge_filter", "area_only", "wrong_edge", "corner_only"),
    ("smooth_randomization",), 8, 32,
)  # fmt: skip
"""One coordinate, six mechanisms, few and small images: minutes become seconds."""


@dataclass(frozen=True)
class Leaderboard:
    """What a leaderboard is made of.

    Attributes
    ----------
    results : Results
        Of the trained localizer and of the compiled models.
    audits : dict of Audit
        By metric.
    paths : dict of Path
        ``"report"``, ``"csv"``, ``"json"``, ``"figures"``.
    """

    results: Results
    audits: dict[str, Audit]
    paths: dict[str, Path]

    def summary(self) -> str:
        """Return the result as a few lines of text."""
        counts = ", ".join(
            f"{len(self.results.names(column))} {column}s"
            for column in ("model", "method", "metric", "coordinate")
        )
        rows = f"{len(self.results)} rows: {counts}; {len(self.results.failures())} failed"
        paths = (f"{name:<9}{printable(path)}" for name, path in self.paths.items())
        return "\n".join([rows, *paths])


def leaderboard(
    out: str | os.PathLike[str] = "bench",
    *,
    quick: bool = False,
    seed: int = 0,
    executor: Executor | None = None,
    progress: bool = True,
    plan: Plan | None = None,
) -> Leaderboard:
    """Score every method of `METHODS` by every metric of `METRICS`, and write one report.

    Methods are asked about a localizer that is trained first, and about compiled models whose
    mechanism is known. A method, metric or model that has been added as a row is in the
    leaderboard. An interrupted call goes on from where it was.

    Parameters
    ----------
    out : path, default "bench"
        Folder for the report, the tables, the figures and the jobs done.
    quick : bool, default False
        `QUICK` in place of `FULL`.
    seed : int, default 0
        Of weights, images and methods.
    executor : concurrent.futures.Executor, optional
        As in `benchmark`.
    progress : bool, default True
        Show progress bars.
    plan : Plan, optional
        In place of both.

    Raises
    ------
    RuntimeError, KeyboardInterrupt, ValueError, TypeError
        As `benchmark`.
    """
    check_int("seed", seed, low=0)
    check_bool("quick", quick)
    check_bool("progress", progress)
    if plan is not None and not isinstance(plan, Plan):
        raise TypeError(f"`plan` must be a Plan or None; got {type(plan).__name__}.")
    check_executor(executor)
    plan = plan or (QUICK if quick else FULL)
    folder = make_folder("out", check_path("out", out))
    scenes = {"uniform": Scene(size=plan.size)}
    metrics = [name for name in METRICS if name not in plan.left_out]
    methods = {name: (name, _options(name, plan)) for name in METHODS}
    trained = _trained(folder, plan, seed, progress)
    # Weights that were computed are no result of training: to randomize them asks nothing.
    for_mechanisms = [name for name in metrics if METRICS[name].kind != "sanity"]
    shared: dict[str, Any] = {
        "n": plan.n, "seed": seed, "coordinates": plan.coordinates, "progress": progress,
        "executor": executor,
    }  # fmt: skip
    arguments = {"localizer": ({"localizer": trained}, metrics),
                 "mechanisms": (plan.mechanisms, for_mechanisms)}  # fmt: skip
    parts = {
        name: benchmark(models, methods, scenes, scores, out=folder / name, **shared)
        for name, (models, scores) in arguments.items()
    }
    with tqdm(metrics, unit="audit", disable=not progress) as bar:
        # A metric whose audit fails could not be shown beside it: the error goes on.
        audits = {name: audit(name, n=plan.audit_images, seed=seed) for name in bar}
    return _write(folder, plan, seed, parts, audits)


def _write(
    folder: Path, plan: Plan, seed: int, parts: Mapping[str, Results], audits: dict[str, Audit]
) -> Leaderboard:
    results = Results([row for part in parts.values() for row in part])
    names = {"report": "leaderboard.html", "csv": "results.csv", "json": "results.json"}
    paths = {key: folder / name for key, name in names.items()} | {"figures": folder / "figures"}
    board = Leaderboard(results, audits, paths)
    results.to_csv(paths["csv"])
    results.to_json(paths["json"])
    tables = draw_tables(parts, audits, paths["figures"])
    write_page(paths["report"], board.summary(), plan, seed, results, audits, tables)
    return board


def _trained(folder: Path, plan: Plan, seed: int, progress: bool) -> keras.Model:
    """Return the localizer of this plan: trained now, or by an earlier call."""
    height, width = plan.size
    path = folder / "models" / f"localizer-{height}x{width}-{plan.steps}-steps-seed-{seed}.keras"
    if path.exists():
        return keras.models.load_model(path, compile=False)
    model = localizer(size=plan.size, seed=seed)
    fit(model, Scene(size=plan.size), steps=plan.steps, seed=seed, progress=progress)
    with replacing(path) as part:
        model.save(part)
    return model


def _options(name: str, plan: Plan) -> dict[str, Any]:
    """Return options for images of the plan's size; what a method lacks it is not given."""
    side, many = min(plan.size), 8 * plan.samples
    options = {
        "steps": plan.samples, "samples": plan.samples, "patch": max(side // 8, 2),
        "stride": max(side // 16, 1), "segments": (side // 4, side // 4),
    }  # fmt: skip
    if METHODS[name].family == "perturbation" and name != "sobol":
        options["samples"] = many
    return {key: value for key, value in options.items() if key in METHODS[name].options}
