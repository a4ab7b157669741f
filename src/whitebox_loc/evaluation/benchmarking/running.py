"""The benchmark: every method on every model and scene by every metric, in one table."""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import BrokenExecutor, CancelledError, Executor, Future, as_completed
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

from tqdm.auto import tqdm

from whitebox_loc._files import make_folder, naming
from whitebox_loc._validation import check_bool, check_executor, check_int, check_names, check_path
from whitebox_loc.boxes.formats import COORDINATES
from whitebox_loc.evaluation.benchmarking import jobs, specs
from whitebox_loc.evaluation.benchmarking.jobs import Cell, Job, Outcome
from whitebox_loc.evaluation.benchmarking.results import Results, Row, write_csv
from whitebox_loc.evaluation.benchmarking.stores import load_cells, save_cells
from whitebox_loc.evaluation.scores.checking import check_drawing


def benchmark(
    models: Any,
    methods: Any,
    scenes: Any,
    metrics: Any,
    executor: Executor | None = None,
    out: str | os.PathLike[str] | None = None,
    *,
    n: int = 64,
    seed: int = 0,
    coordinates: Any = COORDINATES,
    baselines: bool = True,
    batch_size: int = 256,
    progress: bool = True,
) -> Results:
    """Score every method on every model and scene by every metric, coordinate by coordinate.

    A job is one model, method and scene. Its error, or that of one metric, is a row with the
    error in it; the other jobs go on. Equal arguments give equal rows, whatever the executor and
    the order in which jobs end.

    Parameters
    ----------
    models : list of str, or dict
        Names in `models.COMPILED`; or a dict of name to a keras.Model, the path of a ``.keras``
        file, or a name in `models.COMPILED`. Compiled models are built for each scene's size.
    methods : list of str, or dict
        Names in `introspect.METHODS` or `evaluation.CONTROLS`, or rows like those in them; or a
        dict of label to one of these or to ``(name or row, options)``. An option ``seed`` is set
        to `seed` unless given, options ``boxes``, ``scene`` and ``labels`` to those of the images.
    scenes : list of str, or dict
        Names in `data.SCENES`; or a dict of name to scene.
    metrics : list, or dict
        Names in `evaluation.METRICS` or rows like those in it; or a dict of label to one of these
        or to ``(name, options)``.
    executor : concurrent.futures.Executor, optional
        Runs the jobs, and is not shut down: a process pool (``spawn`` or ``forkserver``, since
        TensorFlow does not survive a fork), dask's, mpi4py's or any other. None works in this
        process. Workers must see the folder `out`, where they find the models.
    out : path, optional
        Folder for ``results.csv``, ``results.json``, ``timings.csv`` and ``jobs/``, a file for
        each finished job. A call with the same `out` takes from there what was done with equal
        settings, and does the rest, what failed, and (with a `DamagedCellWarning`) what is damaged.
    n : int, default 64
        Images a scene; empty boxes are drawn again.
    seed : int, default 0
        Seed of images, of methods that draw, and of intervals.
    coordinates : list of str, default the four
        Which of ``"top"``, ``"left"``, ``"bottom"`` and ``"right"``.
    baselines : bool, default True
        Add the controls of `BASELINES` that are not among the methods.
    batch_size : int, default 256
        Most images in one pass of a model.
    progress : bool, default True
        Show a progress bar.

    Raises
    ------
    RuntimeError, KeyboardInterrupt
        If the executor broke down (a worker of a process pool was killed), or after Ctrl-C. What
        was finished is kept in `out`, and the same call goes on from there.
    ValueError, TypeError
        If an argument is not one of the above.

    Examples
    --------
    >>> import whitebox_loc as wb
    >>> scene = wb.data.Scene(size=(8, 8))
    >>> results = benchmark(
    ...     {"untrained": wb.models.localizer(size=(8, 8))}, ["gradient"], {"tiny": scene},
    ...     ["mass_accuracy_task"], n=4, progress=False,
    ... )
    >>> len(results), results.names("method")
    (16, ['gradient', 'random', 'edge_detector', 'blurred_oracle'])
    """
    check_executor(executor)
    check_bool("baselines", baselines)
    check_bool("progress", progress)
    with ExitStack() as cleaning:
        folder = _folder(out, executor, cleaning)
        plan = _plan(
            models, methods, scenes, metrics,
            coordinates=tuple(check_names("coordinates", coordinates, COORDINATES)),
            baselines=baselines,
            n=check_int("n", n, low=1), seed=check_int("seed", seed, low=0),
            batch_size=check_int("batch_size", batch_size, low=1),
            folder=None if executor is None or folder is None else folder / "models",
        )  # fmt: skip
        return _run_plan(plan, executor, folder, out is not None, progress)


def _folder(out: Any, executor: Executor | None, cleaning: ExitStack) -> Path | None:
    if out is not None:
        path = check_path("out", out)
        with naming("out", path):
            if path.exists() and not path.is_dir():
                raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
        return path
    if executor is None:
        return None
    return Path(cleaning.enter_context(tempfile.TemporaryDirectory()))


def _plan(
    models: Any, methods: Any, scenes: Any, metrics: Any, *, baselines: bool, folder: Path | None,
    **settings: Any,
) -> list[Job]:  # fmt: skip
    """Return all jobs in the order of the table."""
    # The quick checks come first: a wrong name must not cost the loading of models.
    by_scene = specs.scene_specs(scenes)
    check_drawing(settings["n"], by_scene.values())
    by_method = specs.method_specs(methods, baselines, settings["seed"])
    by_metric = tuple(specs.metric_specs(metrics).values())
    by_model = specs.model_specs(models, by_scene, folder)
    return [
        Job(model=model, method=method, scene_name=title, scene=by_scene[title],
            metrics=by_metric, **settings)
        for (_, title), model in by_model.items()
        for method in by_method.values()
    ]  # fmt: skip


def _run_plan(
    plan: list[Job], executor: Executor | None, folder: Path | None, keep: bool, progress: bool
) -> Results:
    store = None
    if keep and folder is not None:
        # Before the work: what cannot be written is no reason to lose it.
        store = make_folder("out", folder / "jobs")
    cells = [load_cells(store, job) for job in plan]
    seconds: dict[tuple[str, str, str], float] = {}
    left = dict(_left(plan, cells))
    with tqdm(total=len(plan), unit="job", disable=not progress) as bar:
        bar.update(len(plan) - len(left))

        def take(index: int, outcome: Outcome) -> None:
            job = left[index]
            save_cells(store, job, outcome)
            cells[index] |= outcome.cells
            seconds[job.model.name, job.method.label, job.scene_name] = outcome.seconds
            bar.set_postfix_str(f"{job.model.name}, {job.method.label}", refresh=False)
            bar.update()

        try:
            if executor is not None:
                _run_by(executor, left, take)
            else:
                for index, job in left.items():
                    take(index, jobs.run(job))
        except (KeyboardInterrupt, RuntimeError) as stop:
            rest = len(dict(_left(plan, cells)))
            where = (
                "lost, since `out` was not given" if store is None else f"kept in {store.parent}"
            )
            stop.add_note(
                f"{len(plan) - rest} of {len(plan)} jobs were finished; they are {where}."
            )
            raise
        finally:
            results = Results(_rows(plan, cells), seconds)
            if store is not None:
                _write(results, store.parent)
    return results


def _left(plan: list[Job], cells: list[dict[str, Cell]]) -> Iterator[tuple[int, Job]]:
    """Yield the jobs that are not done, with the metrics that are missing."""
    for index, (job, stored) in enumerate(zip(plan, cells, strict=True)):
        metrics = tuple(metric for metric in job.metrics if metric.label not in stored)
        if metrics:
            yield index, replace(job, metrics=metrics)


def _run_by(executor: Executor, left: dict[int, Job], take: Callable[[int, Outcome], None]) -> None:
    """Run jobs by an executor; keep everything that ends, however the others end."""
    futures: dict[Future[Outcome], int] = {}
    ended: set[Future[Outcome]] = set()
    broken: BaseException | None = None
    try:
        try:
            for index, job in left.items():
                futures[executor.submit(jobs.run, job)] = index
        except BrokenExecutor as error:
            broken = error
        for future in as_completed(futures):
            ended.add(future)
            broken = _take_one(future, left, futures[future], take) or broken
    finally:
        # After Ctrl-C: what has not begun is called off, what has ended meanwhile is kept.
        for future in set(futures) - ended:
            if not future.cancel() and future.done():
                _take_one(future, left, futures[future], take)
    if broken is not None:
        raise RuntimeError(
            "A worker of the `executor` died, and a broken process pool runs no further jobs. "
            "Call again with a new executor and the same `out` to go on. If it happens again: did "
            "the workers run out of memory? Was the pool made by fork, which TensorFlow does not "
            "survive (use multiprocessing.get_context('spawn'))?"
        ) from broken


def _take_one(
    future: Future[Outcome], left: dict[int, Job], index: int, take: Callable[[int, Outcome], None]
) -> BaseException | None:
    """Keep the outcome of an ended job; return the error if the executor is what failed."""
    if future.cancelled():
        return CancelledError()
    error = future.exception()
    ordinary = error is None or isinstance(error, Exception)
    if not ordinary or isinstance(error, (BrokenExecutor, CancelledError)):
        return error  # also the KeyboardInterrupt of a worker that got Ctrl-C
    take(index, future.result() if error is None else jobs.failed(left[index], error))
    return None


def _rows(plan: list[Job], cells: list[dict[str, Cell]]) -> list[Row]:
    return [
        {
            "model": job.model.name, "method": job.method.label, "baseline": job.method.control,
            "scene": job.scene_name, "metric": metric.label, "truth": metric.row.truth,
            "coordinate": coordinate, "seed": job.seed, "images": job.n, **values,
        }
        for job, of_job in zip(plan, cells, strict=True)
        for metric in job.metrics
        if metric.label in of_job
        for coordinate, values in zip(job.coordinates, of_job[metric.label], strict=True)
    ]  # fmt: skip


def _write(results: Results, folder: Path) -> None:
    results.to_csv(folder / "results.csv")
    results.to_json(folder / "results.json")
    columns = ("model", "method", "scene", "seconds")
    rows = ((*key, f"{value:.3f}") for key, value in results.seconds.items())
    write_csv("out", folder / "timings.csv", columns, rows)
