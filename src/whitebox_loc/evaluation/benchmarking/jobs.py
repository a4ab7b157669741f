"""One job of a benchmark: a model, a method and a scene, scored by every metric."""

from __future__ import annotations

import threading
import time
import zlib
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import keras
import numpy as np

from whitebox_loc._digests import describe, digest, model_digest
from whitebox_loc._statistics import mean_interval
from whitebox_loc._types import Array, ArrayLike, Model
from whitebox_loc._version import __version__
from whitebox_loc.boxes.formats import COORDINATES
from whitebox_loc.data import Scene, generate
from whitebox_loc.evaluation.benchmarking.results import Row
from whitebox_loc.evaluation.benchmarking.specs import MethodSpec, MetricSpec, ModelSpec
from whitebox_loc.evaluation.scores.record import Trial, check_values
from whitebox_loc.evaluation.scores.signs import evidence_of
from whitebox_loc.introspect import saliency
from whitebox_loc.introspect.attribution.choices import choose
from whitebox_loc.models import Mechanism

Targets = str | list[str]

Truth = Callable[[Model, Array], Array]
"""From a model and images to the truth that a control is made from."""

Cell = list[Row]
"""The scores of one metric in one job: a dict a coordinate."""


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
        row, mechanism = self.method.row, self.model.mechanism
        options = {**getattr(row, "options", {}), **self.method.options}
        settings = {
            "whitebox_loc": __version__,
            "model": self.model.digest,
            "mechanism": mechanism and digest([mechanism.record.usage, mechanism.record.images]),
            "method": [row.name, digest(row.function), options],
            "scene": self.scene,
            "coordinates": self.coordinates,
            "n": self.n,
            "seed": self.seed,
        }
        return describe(settings)

    @cached_property
    def key(self) -> str:
        """A digest of the settings."""
        return digest(self.settings)


@dataclass(frozen=True)
class Outcome:
    """The cells of a job by the labels of the metrics, and the time it took in seconds."""

    cells: Mapping[str, Cell]
    seconds: float


class NotApplicableError(Exception):
    """The model or the method does not have what a metric needs."""


def run(job: Job) -> Outcome:
    """Do a job here, in this process; an error of the method or of a metric is in the outcome."""
    start = time.perf_counter()
    try:
        subject = Subject(job)
    except Exception as error:
        return failed(job, error, time.perf_counter() - start)
    cells = {
        metric.label: [_row(subject, metric, index) for index in range(len(job.coordinates))]
        for metric in job.metrics
    }
    return Outcome(cells, time.perf_counter() - start)


def failed(job: Job, error: BaseException, seconds: float = 0.0) -> Outcome:
    """Return the outcome of a job that an error ended."""
    row = _empty("failed", error)
    return Outcome({m.label: [dict(row) for _ in job.coordinates] for m in job.metrics}, seconds)


class Subject:
    """The arrays of a job, each computed once."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.model = _model(job.model)
        self.batch = generate(job.scene, job.n, seed=job.seed, valid_only=True)
        self.maps: Array | None = None
        self.gap: Array | None = None
        if not job.method.control:
            targets, images = list(job.coordinates), self.batch.images
            self.maps, info = self._saliency(self.model, images, targets, return_info=True)
            self.gap = info.gap

    def trial(self, index: int, metric: MetricSpec) -> Trial:
        """Return the trial of a metric for one coordinate, or raise a NotApplicableError."""
        job, batch, coordinate = self.job, self.batch, self.job.coordinates[index]
        used, reason = None, ""
        if "used" in metric.row.needs or metric.row.truth == "model":
            used, reason = self._used(coordinate)
        gap = None if self.gap is None else self.gap[index]
        # Before the maps of a control are made, which may cost many passes.
        for name, value, why_not in (("used", used, reason), ("gap", gap, NO_GAP)):
            if name in metric.row.needs and value is None:
                raise NotApplicableError(why_not)
        if job.method.control:
            # One generator a trial: a control that draws draws anew at each call. The label
            # decides nothing, as it stands in no key.
            name = f"{job.method.row.name} {coordinate}"
            rng = np.random.default_rng([job.seed, zlib.crc32(name.encode())])
            explain = partial(self._control, coordinate, self._truth(metric, coordinate), rng)
            maps = explain(self.model, batch.images)
        else:
            explain = partial(self._saliency, target=coordinate)
            assert self.maps is not None
            maps = self.maps[index]
        return Trial(
            maps=maps, images=batch.images, boxes=batch.boxes, coordinate=coordinate,
            scene=job.scene, labels=batch.labels, model=self.model, explain=explain,
            used=used, gap=gap, seed=job.seed, batch_size=job.batch_size,
        )  # fmt: skip

    def _used(self, coordinate: str) -> tuple[Array | None, str]:
        """Return model truth (n, height, width), or None and why the mechanism is not known."""
        used, reason = self._all_used
        return None if used is None else used[COORDINATES.index(coordinate)], reason

    @cached_property
    def _all_used(self) -> tuple[Array | None, str]:
        mechanism, images = self.job.model.mechanism, self.batch.images
        if mechanism is None:
            return None, NO_MECHANISM
        # With the row: it may have been edited since.
        key = (self.job.model.digest, mechanism, zlib.crc32(images.tobytes()), images.shape)
        return _cached(_truths, key, lambda: _measure_used(mechanism, images))

    def _saliency(self, model: Model, images: ArrayLike, target: Targets, **more: Any) -> Any:
        method = self.job.method
        options = {**self._about_images(), **method.options, **more}
        size = self.job.batch_size
        return saliency(model, images, target, method.row, batch_size=size, **options)

    def _about_images(self) -> dict[str, Any]:
        """Return the options of the method that take boxes, scene and labels of the images.

        A metric may change the images, but not where their boxes are.
        """
        method = self.job.method
        names = choose(method.row, method.options).options
        if "scene" not in names:
            # Other options of these names mean something else: `boxes` of `drise` are fractions.
            return {}
        values = {"boxes": self.batch.boxes, "scene": self.job.scene, "labels": self.batch.labels}
        if "scene" in method.options:
            # The labels are numbers of shapes in the job's scene.
            del values["labels"]
        return {name: value for name, value in values.items() if name in names}

    def _control(
        self,
        coordinate: str,
        truth: Truth,
        rng: np.random.Generator,
        model: Model,
        images: ArrayLike,
    ) -> Array:
        job = self.job
        return job.method.row.function(
            images, self.batch.boxes, coordinate, job.scene, truth(model, images), rng,
            **job.method.options,
        )  # fmt: skip

    def _truth(self, metric: MetricSpec, coordinate: str) -> Truth:
        """Return the truth that a control gets, of the same kind as the metric's."""
        if metric.row.truth != "model" or self.job.method.row.knows in ("the image", "nothing"):
            batch, scene = self.batch, self.job.scene
            evidence = evidence_of(batch.boxes, scene, coordinate, batch.labels)
            return lambda model, images: evidence
        if metric.row.kind != "location":
            return partial(self._moved, coordinate)
        used, reason = self._used(coordinate)
        if used is None:
            raise NotApplicableError(reason)
        return lambda model, images: used

    def _moved(self, coordinate: str, model: Model, images: ArrayLike) -> Array:
        if model is self.model and images is self.batch.images:
            return self._moved_here[self.job.coordinates.index(coordinate)]
        return self._moves(model, images, coordinate)

    @cached_property
    def _moved_here(self) -> Array:
        return self._moves(self.model, self.batch.images, list(self.job.coordinates))

    def _moves(self, model: Model, images: ArrayLike, target: Targets) -> Array:
        batch, job = self.batch, self.job
        try:
            return saliency(
                model, images, target, "edge_move", batch_size=job.batch_size,
                boxes=batch.boxes, scene=job.scene, labels=batch.labels,
            )  # fmt: skip
        except Exception as error:
            raise NotApplicableError(
                f"no model truth from moved edges: {type(error).__name__}: {error}"
            ) from error


def _row(subject: Subject, metric: MetricSpec, index: int) -> Row:
    try:
        trial = subject.trial(index, metric)
        scores = metric.row.score(trial, **metric.options)
        values = check_values(metric.row.name, scores, subject.job.n)
    except NotApplicableError as reason:
        return _empty("not applicable", str(reason))
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


NO_MECHANISM = "needs a model whose mechanism is known"
NO_GAP = "needs a method with a completeness gap"


def _empty(status: str, error: BaseException | str) -> Row:
    nan = float("nan")
    if isinstance(error, BaseException):
        error = f"{type(error).__name__}: {error}"
    text = " ".join(str(error).split())
    return {"n": 0, "mean": nan, "low": nan, "high": nan, "status": status, "error": text[:500]}


def _short(value: float) -> float:
    """Round to 9 digits: maps are float32, and the last bits of a sum depend on its order."""
    return float(f"{value:.9g}")


_loaded: OrderedDict[str, keras.Model] = OrderedDict()
_truths: OrderedDict[tuple[Any, ...], tuple[Array | None, str]] = OrderedDict()
_lock = threading.RLock()

CACHE_SIZE = 4
"""Models, and arrays of model truth, that a worker keeps for later jobs."""


def _model(spec: ModelSpec) -> keras.Model:
    if spec.model is not None:
        return spec.model
    return _cached(_loaded, spec.digest, lambda: _load(spec))


def _load(spec: ModelSpec) -> keras.Model:
    if spec.compiled is not None:
        # From the row itself: a worker's table may have another one, or none.
        row, size, channels = spec.compiled
        model = row.build(size, channels)
    else:
        model = keras.models.load_model(spec.path, compile=False)
    if model_digest(model) != spec.digest:
        raise ValueError(
            f"The model {spec.name!r} is not the same here as where the benchmark was called; it "
            f"comes from {spec.path or 'models.COMPILED'}."
        )
    return model


def _measure_used(mechanism: Mechanism, images: Array) -> tuple[Array | None, str]:
    try:
        return mechanism.used(images), ""
    except ValueError as error:
        return None, f"the mechanism is not derived for such images: {error}"


def _cached(cache: OrderedDict[Any, Any], key: Any, make: Callable[[], Any]) -> Any:
    with _lock:
        if key not in cache:
            cache[key] = make()
        cache.move_to_end(key)
        while len(cache) > CACHE_SIZE:
            cache.popitem(last=False)
        return cache[key]
