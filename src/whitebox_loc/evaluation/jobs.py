"""One job of a benchmark: a model, a method and a scene, scored by every metric."""

from __future__ import annotations

import threading
import time
import zlib
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import keras
import numpy as np

from whitebox_loc import models as networks
from whitebox_loc._version import __version__
from whitebox_loc.data import Batch, Scene, generate
from whitebox_loc.evaluation.identities import describe, digest, model_digest
from whitebox_loc.evaluation.intervals import mean_interval
from whitebox_loc.evaluation.scores.record import Trial
from whitebox_loc.evaluation.specs import MethodSpec, MetricSpec, ModelSpec
from whitebox_loc.evaluation.truth import evidence_mask
from whitebox_loc.introspect import METHODS, saliency

__all__ = ["Job", "Outcome", "failed", "holding", "run"]

COORDINATES = ("top", "left", "bottom", "right")

Cell = list[dict[str, Any]]
"""What one metric says in one job: a dict a coordinate."""


@dataclass(frozen=True)
class Job:
    """What one worker does at a time; it can be pickled."""

    model: ModelSpec
    method: MethodSpec
    scene_name: str
    scene: Scene
    metrics: tuple[MetricSpec, ...]
    coordinates: tuple[str, ...]
    n: int
    seed: int
    batch_size: int

    @property
    def settings(self) -> dict[str, Any]:
        """Everything besides the metrics that decides the values, as plain data."""
        method = self.method
        told = {
            "whitebox_loc": __version__,
            "model": self.model.digest,
            "method": [method.row.name, method.row.function, dict(method.options)],
            "scene": self.scene,
            "coordinates": self.coordinates,
            "n": self.n,
            "seed": self.seed,
        }
        return describe(told)

    @cached_property
    def key(self) -> str:
        """A digest of the settings."""
        return digest(self.settings)


@dataclass(frozen=True)
class Outcome:
    """What a job found: a cell for each metric's label, and the time it took in seconds."""

    cells: Mapping[str, Cell]
    seconds: float


def run(job: Job) -> Outcome:
    """Do a job here, in this process.

    An error of the method or of a metric is part of the outcome: the dict of each coordinate
    has ``status`` ``"failed"`` and the ``error``.
    """
    start = time.perf_counter()
    try:
        subject = Subject(job)
        subject.prepare()
    except Exception as error:
        return failed(job, error, time.perf_counter() - start)
    cells = {metric.label: _cell(subject, metric) for metric in job.metrics}
    return Outcome(cells, time.perf_counter() - start)


def failed(job: Job, error: BaseException, seconds: float = 0.0) -> Outcome:
    """Return the outcome of a job that an error ended."""
    row = _empty("failed", error)
    return Outcome({m.label: [dict(row) for _ in job.coordinates] for m in job.metrics}, seconds)


class Subject:
    """The arrays of a job, each made once."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.model = _model(job.model)
        self.batch = generate(job.scene, job.n, seed=job.seed, valid_only=True)
        self.maps: np.ndarray | None = None
        self.gap: np.ndarray | None = None

    def prepare(self) -> None:
        """Make what several metrics need, so that its error is the job's and not a metric's."""
        if self.job.method.control:
            return
        # A worker's table lacks the rows that its caller has added or replaced.
        METHODS[self.job.method.row.name] = self.job.method.row
        self.maps, info = self._saliency(
            self.model, self.batch.images, list(self.job.coordinates), return_info=True
        )
        self.gap = info.gap

    def trial(self, index: int, metric: MetricSpec) -> Trial:
        """Return what a metric is given for one coordinate."""
        job, batch, coordinate = self.job, self.batch, self.job.coordinates[index]
        if job.method.control:
            # One generator a trial: a control that draws draws anew at each call.
            name = f"{job.method.label} {coordinate}"
            rng = np.random.default_rng([job.seed, zlib.crc32(name.encode())])
            explain = partial(self._control, coordinate, metric.row.truth, rng)
            maps = explain(self.model, batch.images)
        else:
            explain = partial(self._saliency, target=coordinate)
            assert self.maps is not None
            maps = self.maps[index]
        return Trial(
            maps=maps, images=batch.images, boxes=batch.boxes, coordinate=coordinate,
            scene=job.scene, labels=batch.labels, model=self.model, explain=explain,
            used=None if self.used is None else self.used[COORDINATES.index(coordinate)],
            gap=None if self.gap is None else self.gap[index],
            seed=job.seed, batch_size=job.batch_size,
        )  # fmt: skip

    @cached_property
    def used(self) -> np.ndarray | None:
        """Model truth (4, n, height, width), where the model has a known mechanism."""
        return _used(self.model, self.job.model.digest, self.batch)

    def _saliency(self, model: keras.Model, images: Any, target: Any, **more: Any) -> Any:
        method, size = self.job.method, self.job.batch_size
        return saliency(
            model, images, target, method.row.name, batch_size=size, **method.options, **more
        )

    def _control(
        self, coordinate: str, truth: str, rng: np.random.Generator, model: Any, images: Any
    ) -> np.ndarray:
        """Return what a control draws in place of a map, alike for every model."""
        job, batch = self.job, self.batch
        shapes = [job.scene.shapes[label] for label in batch.labels]
        mask = evidence_mask(batch.boxes, job.scene.size, coordinate, shape=shapes)
        if truth == "model" and self.used is not None:
            mask = self.used[COORDINATES.index(coordinate)]
        return job.method.row.function(
            images, batch.boxes, coordinate, job.scene, mask, rng, **job.method.options
        )


def _cell(subject: Subject, metric: MetricSpec) -> Cell:
    return [_row(subject, metric, index) for index in range(len(subject.job.coordinates))]


def _row(subject: Subject, metric: MetricSpec, index: int) -> dict[str, Any]:
    try:
        trial = subject.trial(index, metric)
        lacking = trial.lacks(metric.row.needs)
        if lacking:
            return _empty("not applicable", MISSING.get(lacking[0], f"needs {lacking[0]}"))
        values = np.asarray(metric.row.score(trial, **metric.options), np.float64)
        _check_values(values, subject.job.n, metric.row.name)
    except Exception as error:
        return _empty("failed", error)
    defined = values[~np.isnan(values)]
    if not len(defined):
        return _empty("undefined", "the metric is undefined for every image")
    low, high = mean_interval(defined, seed=subject.job.seed)
    return {
        "n": len(defined), "mean": _short(float(defined.mean())), "low": _short(low),
        "high": _short(high), "status": "ok", "error": "",
    }  # fmt: skip


MISSING = {
    "used": "needs a model whose mechanism is known",
    "gap": "needs a method with a completeness gap",
}
"""Why a metric cannot be asked, by what it lacks."""


def _empty(status: str, error: BaseException | str) -> dict[str, Any]:
    nan = float("nan")
    if isinstance(error, BaseException):
        error = f"{type(error).__name__}: {error}"
    text = " ".join(str(error).split())
    return {"n": 0, "mean": nan, "low": nan, "high": nan, "status": status, "error": text[:500]}


def _short(value: float) -> float:
    """Round to 9 digits: maps are float32, and the last bits of a sum depend on its order."""
    return float(f"{value:.9g}")


def _check_values(values: np.ndarray, n: int, name: str) -> None:
    if values.shape != (n,):
        raise ValueError(f"metric {name!r} must return shape ({n},); got {values.shape}.")
    if np.isinf(values).any():
        raise ValueError(f"metric {name!r} must be finite or NaN; it is infinite.")


_loaded: OrderedDict[str, keras.Model] = OrderedDict()
_truths: OrderedDict[tuple[Any, ...], np.ndarray | None] = OrderedDict()
_lock = threading.RLock()

KEPT = 4
"""Models, and arrays of model truth, that a worker keeps for later jobs."""


@contextmanager
def holding(models: Mapping[str, keras.Model]) -> Iterator[None]:
    """Let jobs in this process find these models by their digests."""
    with _lock:
        _held.update(models)
    try:
        yield
    finally:
        with _lock:
            for key in models:
                _held.pop(key, None)


_held: dict[str, keras.Model] = {}


def _model(spec: ModelSpec) -> keras.Model:
    with _lock:
        if spec.digest in _held:
            return _held[spec.digest]
        return _kept(_loaded, spec.digest, lambda: _load(spec))


def _load(spec: ModelSpec) -> keras.Model:
    if spec.compiled is not None:
        name, size, channels, row = spec.compiled
        networks.COMPILED[name] = row
        model = networks.compiled(name, size=size, channels=channels)
    else:
        model = keras.models.load_model(spec.path, compile=False)
    if model_digest(model) != spec.digest:
        raise ValueError(
            f"The model {spec.name!r} is not the same here as where the benchmark was called; it "
            f"comes from {spec.path or 'models.COMPILED'}."
        )
    return model


def _used(model: keras.Model, model_key: str, batch: Batch) -> np.ndarray | None:
    key = (model_key, zlib.crc32(batch.images.tobytes()), batch.images.shape)
    with _lock:
        return _kept(_truths, key, lambda: _measure_used(model, batch))


def _measure_used(model: keras.Model, batch: Batch) -> np.ndarray | None:
    if not networks.has_mechanism(model):
        return None
    return networks.mechanism(model).used(batch.images)


def _kept(cache: OrderedDict[Any, Any], key: Any, make: Any) -> Any:
    if key not in cache:
        cache[key] = make()
    cache.move_to_end(key)
    while len(cache) > KEPT:
        cache.popitem(last=False)
    return cache[key]
