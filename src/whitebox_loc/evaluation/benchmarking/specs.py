"""The arguments of a benchmark as plain descriptions that travel to any worker."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import keras

from whitebox_loc import models as networks
from whitebox_loc._digests import describe, digest, model_digest
from whitebox_loc._files import naming, replacing
from whitebox_loc._validation import check_choice, check_input, shortened
from whitebox_loc.data import SCENES, Scene, as_scene
from whitebox_loc.evaluation.audits.controls import CONTROLS, Control
from whitebox_loc.evaluation.scores import METRICS
from whitebox_loc.evaluation.scores.record import Metric
from whitebox_loc.introspect import METHODS
from whitebox_loc.introspect.methods import Method
from whitebox_loc.models.files import read_model

BASELINES = ("random", "edge_detector", "blurred_oracle")
"""Controls that stand in every table, so that a score can be read against them."""


@dataclass(frozen=True)
class ModelSpec:
    """A model by its name in the table and how a worker gets it.

    `model` does not travel to another process, which loads `path`, a ``.keras`` file, or builds
    `compiled`: a row of `models.COMPILED`, size and channels.
    """

    name: str
    digest: str
    model: keras.Model | None = None
    path: str | None = None
    compiled: tuple[networks.Compiled, tuple[int, int], int] | None = None
    mechanism: networks.Mechanism | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "model": None}


@dataclass(frozen=True)
class _RowSpec:
    """A row of a table by its name in the results, and its options."""

    label: str
    row: Any
    options: Mapping[str, Any] = field(default_factory=dict)


class MethodSpec(_RowSpec):
    """A method or control."""

    @property
    def control(self) -> bool:
        """Whether this is a control."""
        return isinstance(self.row, Control)


class MetricSpec(_RowSpec):
    """A metric."""

    @property
    def key(self) -> str:
        """A digest of everything that decides the metric's values."""
        row = {f: getattr(self.row, f) for f in ("name", "function", "truth", "needs")}
        return digest([row, {**self.row.options, **self.options}])


def scene_specs(scenes: Any) -> dict[str, Scene]:
    """Return scenes by name, from names or a dict of name to scene or name."""
    if not isinstance(scenes, Mapping):
        scenes = {scene: scene for scene in _each("scenes", scenes)}
    return _filled("scenes", named_scenes(scenes))


def named_scenes(scenes: Mapping[Any, Any]) -> dict[str, Scene]:
    """Return scenes by name from a dict of scenes or names of scenes."""
    for name, scene in scenes.items():
        # What draws several boxes has a scene in it, which `as_scene` refuses.
        if not isinstance(scene, Scene) and not hasattr(scene, "scene"):
            check_choice(f"scenes[{name!r}]", scene, SCENES)
    return {str(name): as_scene(scene) for name, scene in scenes.items()}


def method_specs(methods: Any, baselines: bool, seed: int) -> dict[str, MethodSpec]:
    """Return methods by label, with the baselines that are missing behind them.

    `methods` is that of `benchmark`; `seed` is for methods with an option of that name.
    """
    specs = {}
    for label, (row, options) in _labelled("methods", methods):
        if not isinstance(row, (Method, Control)):
            row = _method_row(label, row)
        if isinstance(row, Method) and "seed" in row.options:
            options = {"seed": seed, **options}
        describe(options)
        specs[label] = MethodSpec(label, row, options)
    if baselines:
        _add_baselines(specs)
    return _filled("methods", specs)


def _method_row(label: str, name: Any) -> Method | Control:
    check_choice(f"methods[{label!r}]", name, [*METHODS, *CONTROLS])
    row = METHODS[name] if name in METHODS else CONTROLS[name]
    if row.name != name:
        table = "METHODS" if name in METHODS else "CONTROLS"
        raise ValueError(
            f"`{table}[{name!r}]` must be a row of that name; its name is {row.name!r}. Use "
            f"dataclasses.replace(row, name={name!r})."
        )
    return row


def _add_baselines(specs: dict[str, MethodSpec]) -> None:
    rows = [spec.row for spec in specs.values()]
    for name in BASELINES:
        if CONTROLS[name] in rows:
            continue
        if name in specs:
            raise ValueError(
                f"`methods` has the label {name!r} for {specs[name].row.name!r}, but a baseline "
                "of that name stands in every table. Use another label, or baselines=False."
            )
        specs[name] = MethodSpec(name, CONTROLS[name])


def metric_specs(metrics: Any) -> dict[str, MetricSpec]:
    """Return the `metrics` of `benchmark` by label."""
    specs = {}
    for label, (row, options) in _labelled("metrics", metrics):
        if not isinstance(row, Metric):
            row = METRICS[check_choice(f"metrics[{label!r}]", row, METRICS)]
        describe(options)
        specs[label] = MetricSpec(label, row, options)
    return _filled("metrics", specs)


def model_specs(
    models: Any, scenes: Mapping[str, Scene], folder: Path | None
) -> dict[tuple[str, str], ModelSpec]:
    """Return a description for each pair of the `models` of `benchmark` and a scene.

    A compiled model is built for the size of each scene. Models that are objects are saved in
    `folder` for workers, unless it is None.
    """
    if not isinstance(models, Mapping):
        models = {name: name for name in _each("models", models)}
    specs = {}
    for name, model in _filled("models", dict(models)).items():
        if isinstance(model, str) and model in networks.COMPILED:
            for title, scene in scenes.items():
                network = networks.compiled(model, size=scene.size, channels=scene.channels)
                recipe = (networks.COMPILED[model], scene.size, scene.channels)
                specs[name, title] = _spec(name, network, compiled=recipe)
            continue
        spec = _own_spec(name, model, folder)
        for title, scene in scenes.items():
            check_input(spec.model, (*scene.size, scene.channels))
            specs[name, title] = spec
    return specs


def _own_spec(name: str, model: Any, folder: Path | None) -> ModelSpec:
    if isinstance(model, keras.Model):
        spec = _spec(name, model)
        if folder is None:
            return spec
        # The digest in the name: a worker can never read the weights of an earlier call.
        path = folder / f"{re.sub(r'[^A-Za-z0-9_.-]+', '_', name)}-{spec.digest}.keras"
        if not path.exists():
            with naming("out", path), replacing(path) as part:
                model.save(part)
        return replace(spec, path=str(path.resolve()))
    if not isinstance(model, (str, os.PathLike)):
        raise TypeError(
            f"`models[{name!r}]` must be a keras.Model, the path of a .keras file, or one of "
            f"{list(networks.COMPILED)}; got {type(model).__name__}."
        )
    path = Path(model)
    if not path.is_file():
        check_choice(f"models[{name!r}]", str(model), [*networks.COMPILED, "a path of a file"])
    loaded = read_model(f"models[{name!r}]", path)
    return _spec(name, loaded, path=str(path.resolve()))


def _spec(name: str, model: keras.Model, **source: Any) -> ModelSpec:
    mechanism = networks.mechanism(model) if networks.has_mechanism(model) else None
    return ModelSpec(name, model_digest(model), model, mechanism=mechanism, **source)


def _labelled(argument: str, value: Any) -> Iterable[tuple[str, tuple[Any, dict[str, Any]]]]:
    """Yield (label, (row or name, options)) from a list, or from a dict with or without options."""
    if not isinstance(value, Mapping):
        items = _each(argument, value)
        value = {getattr(item, "name", item): item for item in items}
        if len(value) < len(items):
            raise ValueError(
                f"`{argument}` must name each once; got {shortened(items)}. Use a dict."
            )
    for label, item in value.items():
        row, options = item if isinstance(item, tuple) and len(item) == 2 else (item, {})
        if not isinstance(options, Mapping):
            raise TypeError(
                f"`{argument}[{label!r}]` must be a name or (name, options) with a dict of "
                f"options; got {shortened(item)}."
            )
        yield str(label), (row, dict(options))


def _each(argument: str, value: Any) -> list[Any]:
    if isinstance(value, (str, keras.Model, Scene)) or not isinstance(value, Iterable):
        raise TypeError(
            f"`{argument}` must be a list of names or a dict of name to value; got "
            f"{shortened(value)}. For one, write a list with nothing else in it."
        )
    items = list(value)
    rows = {"methods": (Method, Control), "metrics": (Metric,)}.get(argument, ())
    for item in items:
        if not isinstance(item, (str, *rows)):
            raise TypeError(
                f"`{argument}` must hold names; got {shortened(item)}. Give your own as a dict of "
                "name to value."
            )
    if len(set(map(str, items))) < len(items):
        raise ValueError(f"`{argument}` must name each once; got {shortened(items)}.")
    return items


def _filled(argument: str, items: dict[str, Any]) -> dict[str, Any]:
    if not items:
        raise ValueError(f"`{argument}` must hold at least one; got none.")
    return items
