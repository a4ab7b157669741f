"""One job of a benchmark: a model, a method and a scene, scored by every metric."""

from __future__ import annotations

import threading
import time
import zlib
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import keras
import numpy as np

from whitebox_loc._digests import describe, digest, model_digest
from whitebox_loc._statistics import mean_interval
from whitebox_loc._version import __version__
from whitebox_loc.data import Batch, Scene, generate
from whitebox_loc.evaluation.benchmarking.specs import MethodSpec, MetricSpec, ModelSpec
from whitebox_loc.evaluation.scores.record import Trial
from whitebox_loc.evaluation.truth import evidence_mask
from whitebox_loc.introspect import METHODS, saliency
from whitebox_loc.introspect.attribution.choices import choose
from whitebox_loc.introspect.methods import Method
from whitebox_loc.introspect.targets.outputs import COORDINATES
from whitebox_loc.models import Mechanism

__all__ = ["Job", "Outcome", "failed", "holding", "run"]


Truth = Callable[[Any, np.ndarray], np.ndarray]
"""From a model and images to the truth that a control is made from."""

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
        method, known = self.method, self.model.mechanism
        told = {
            "whitebox_loc": __version__,
            "model": self.model.digest,
            "mechanism": known and digest([known.record.usage, known.record.images]),
            "method": [method.row.name, digest(method.row.function), dict(method.options)],
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


class NotApplicableError(Exception):
    """A metric cannot be asked here; the message says why."""


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
        self.maps, info = self._saliency(
            self.model, self.batch.images, list(self.job.coordinates), return_info=True
        )
        self.gap = info.gap

    def trial(self, index: int, metric: MetricSpec) -> Trial:
        """Return what a metric is given for one coordinate.

        Raises
        ------
        NotApplicableError
            If the metric needs what the model or the method does not have.
        """
        job, batch, coordinate = self.job, self.batch, self.job.coordinates[index]
        used = None
        if "used" in metric.row.needs or metric.row.truth == "model":
            used = None if self.used is None else self.used[COORDINATES.index(coordinate)]
        gap = None if self.gap is None else self.gap[index]
        # Before the maps of a control are made, which may cost many passes.
        for name, value in (("used", used), ("gap", gap)):
            if name in metric.row.needs and value is None:
                raise NotApplicableError(self.why_not_used if name == "used" else NO_GAP)
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

    @property
    def used(self) -> np.ndarray | None:
        """Model truth (4, n, height, width), where the mechanism is known for these images."""
        return self._used[0]

    @property
    def why_not_used(self) -> str:
        """Why there is no model truth."""
        return self._used[1]

    @cached_property
    def _used(self) -> tuple[np.ndarray | None, str]:
        return _used(self.job, self.batch)

    def _saliency(self, model: keras.Model, images: Any, target: Any, **more: Any) -> Any:
        method = self.job.method
        options = {**self._about_images(), **method.options, **more}
        with _listed(method.row):
            return saliency(
                model, images, target, method.row.name, batch_size=self.job.batch_size, **options
            )

    def _about_images(self) -> dict[str, Any]:
        """Return what is known of the images, for methods with options for it.

        Other images that a metric asks about are changed versions of these: their boxes hold.
        """
        method = self.job.method
        names = choose(method.row, method.options).options
        if "scene" not in names:
            # Other options of these names mean something else: `boxes` of `drise` are fractions.
            return {}
        known = {"boxes": self.batch.boxes, "scene": self.job.scene, "labels": self.batch.labels}
        if "scene" in method.options:
            # The labels are numbers of shapes in the job's scene.
            del known["labels"]
        return {name: value for name, value in known.items() if name in names}

    def _control(
        self, coordinate: str, truth: Truth, rng: np.random.Generator, model: Any, images: Any
    ) -> np.ndarray:
        """Return what a control draws in place of a map of this model."""
        job = self.job
        return job.method.row.function(
            images, self.batch.boxes, coordinate, job.scene, truth(model, images), rng,
            **job.method.options,
        )  # fmt: skip

    def _truth(self, metric: MetricSpec, coordinate: str) -> Truth:
        """Return how the truth that a control gets is found: of the same kind as the metric's."""
        if metric.row.truth != "model" or self.job.method.row.knows in ("the image", "nothing"):
            return partial(self._evidence, coordinate)
        if metric.row.kind != "location":
            return partial(self._moved, coordinate)
        if self.used is None:
            raise NotApplicableError(self.why_not_used)
        mask = self.used[COORDINATES.index(coordinate)]
        return lambda model, images: mask

    def _evidence(self, coordinate: str, model: Any, images: Any) -> np.ndarray:
        scene, batch = self.job.scene, self.batch
        shapes = [scene.shapes[label] for label in batch.labels]
        return evidence_mask(batch.boxes, scene.size, coordinate, shape=shapes)

    def _moved(self, coordinate: str, model: Any, images: Any) -> np.ndarray:
        """Return what each pixel does for this model, as far as moved edges tell."""
        if model is self.model and images is self.batch.images:
            return self._moved_here[self.job.coordinates.index(coordinate)]
        return self._moves(model, images, coordinate)

    @cached_property
    def _moved_here(self) -> np.ndarray:
        return self._moves(self.model, self.batch.images, list(self.job.coordinates))

    def _moves(self, model: Any, images: Any, target: Any) -> np.ndarray:
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


def _cell(subject: Subject, metric: MetricSpec) -> Cell:
    return [_row(subject, metric, index) for index in range(len(subject.job.coordinates))]


def _row(subject: Subject, metric: MetricSpec, index: int) -> dict[str, Any]:
    try:
        trial = subject.trial(index, metric)
        values = np.asarray(metric.row.score(trial, **metric.options), np.float64)
        _check_values(values, subject.job.n, metric.row.name)
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
_truths: OrderedDict[tuple[Any, ...], tuple[np.ndarray | None, str]] = OrderedDict()
_lock = threading.RLock()

KEPT = 4
"""Models, and arrays of model truth, that a worker keeps for later jobs."""


@contextmanager
def holding(models: Mapping[str, keras.Model], rows: Iterable[Method] = ()) -> Iterator[None]:
    """Let jobs in this process find these models by their digests, and rows by their names."""
    rows = [row for row in rows if row.name not in METHODS]
    with _lock:
        _held.update(models)
        METHODS.update({row.name: row for row in rows})
    try:
        yield
    finally:
        with _lock:
            for key in models:
                _held.pop(key, None)
            for row in rows:
                METHODS.pop(row.name, None)


_held: dict[str, keras.Model] = {}


@contextmanager
def _listed(row: Method) -> Iterator[None]:
    """Let `saliency` find a row by its name; what a worker has under that name comes back."""
    if METHODS.setdefault(row.name, row) == row:
        yield
        return
    with _lock:
        before = METHODS[row.name]
        METHODS[row.name] = row
        try:
            yield
        finally:
            METHODS[row.name] = before


def _model(spec: ModelSpec) -> keras.Model:
    with _lock:
        if spec.digest in _held:
            return _held[spec.digest]
        return _kept(_loaded, spec.digest, lambda: _load(spec))


def _load(spec: ModelSpec) -> keras.Model:
    if spec.compiled is not None:
        # From the row itself: a worker's table may have another one, or none.
        _, size, channels, row = spec.compiled
        model = row.build(size, channels)
    else:
        model = keras.models.load_model(spec.path, compile=False)
    if model_digest(model) != spec.digest:
        raise ValueError(
            f"The model {spec.name!r} is not the same here as where the benchmark was called; it "
            f"comes from {spec.path or 'models.COMPILED'}."
        )
    return model


def _used(job: Job, batch: Batch) -> tuple[np.ndarray | None, str]:
    known = job.model.mechanism
    if known is None:
        return None, NO_MECHANISM
    # With the row: it may have been edited since.
    key = (job.model.digest, known, zlib.crc32(batch.images.tobytes()), batch.images.shape)
    with _lock:
        return _kept(_truths, key, lambda: _measure_used(known, batch))


def _measure_used(known: Mechanism, batch: Batch) -> tuple[np.ndarray | None, str]:
    try:
        return known.used(batch.images), ""
    except ValueError as error:
        return None, f"the mechanism is not derived for such images: {error}"


def _kept(cache: OrderedDict[Any, Any], key: Any, make: Any) -> Any:
    if key not in cache:
        cache[key] = make()
    cache.move_to_end(key)
    while len(cache) > KEPT:
        cache.popitem(last=False)
    return cache[key]
