"""What a benchmark is asked for, as plain descriptions that travel to any worker."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
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

__all__ = [
    "BASELINES", "MethodSpec", "MetricSpec", "ModelSpec", "method_specs", "metric_specs",
    "model_specs", "named_scenes", "scene_specs",
]  # fmt: skip

BASELINES = ("random", "edge_detector", "blurred_oracle")
"""Controls that stand in every table, so that a score can be read against them."""


@dataclass(frozen=True)
class ModelSpec:
    """A model by its name in the table and how a worker gets it.

    Attributes
    ----------
    name : str
    digest : str
        Of its layers and weights.
    path : str or None
        A ``.keras`` file. None for a compiled model, which is built where it is needed.
    compiled : tuple or None
        Name of a compiled model, size, channels, and its row of `models.COMPILED`.
    mechanism : Mechanism or None
        What tells which pixels it uses.
    """

    name: str
    digest: str
    path: str | None = None
    compiled: tuple[str, tuple[int, int], int, Any] | None = None
    mechanism: networks.Mechanism | None = None


@dataclass(frozen=True)
class MethodSpec:
    """A method or control by its name in the table, its row and its options."""

    label: str
    row: Any
    control: bool
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class MetricSpec:
    """A metric by its name in the table, its row and its options."""

    label: str
    row: Metric
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def key(self) -> str:
        """A digest of everything that decides the metric's values."""
        told = {f: getattr(self.row, f) for f in ("name", "function", "truth", "needs")}
        return digest([told, {**self.row.options, **self.options}])


def scene_specs(scenes: Any) -> dict[str, Scene]:
    """Return scenes by name, from names, named scenes, or a dict of either.

    Raises
    ------
    ValueError, TypeError
        If a scene is unknown, or has no name to stand in the table.
    """
    if not isinstance(scenes, Mapping):
        scenes = {scene: scene for scene in _each("scenes", scenes)}
    return _filled("scenes", named_scenes(scenes))


def named_scenes(scenes: Mapping[Any, Any]) -> dict[str, Scene]:
    """Return scenes by name from a dict of scenes or names of scenes."""
    found = {}
    for name, scene in scenes.items():
        # What draws several boxes has a scene in it, and `as_scene` knows what to say.
        if not isinstance(scene, Scene) and not hasattr(scene, "scene"):
            check_choice(f"scenes[{name!r}]", scene, SCENES)
        found[str(name)] = as_scene(scene)
    return found


def method_specs(methods: Any, baselines: bool, seed: int) -> dict[str, MethodSpec]:
    """Return methods by label, with the baselines that are missing behind them.

    Parameters
    ----------
    methods : iterable of str, or dict
        Names in `introspect.METHODS` or `CONTROLS` or rows like those in them, or a dict of
        label to one of these or to (one of these, options).
    baselines : bool
        Whether to add the `BASELINES`.
    seed : int
        For methods with an option ``seed`` that is not given.

    Raises
    ------
    ValueError, TypeError
        If a name is unknown or stands for two things.
    """
    found = {}
    for label, (asked, options) in _labelled("methods", methods):
        row = _method_row(label, asked)
        if isinstance(row, Method) and "seed" in row.options:
            options = {"seed": seed, **options}
        describe(options)
        found[label] = MethodSpec(label, row, isinstance(row, Control), options)
    if baselines:
        _add_baselines(found)
    _check_names([spec.row for spec in found.values()])
    return _filled("methods", found)


def _method_row(label: str, asked: Any) -> Method | Control:
    if isinstance(asked, (Method, Control)):
        return asked
    check_choice(f"methods[{label!r}]", asked, [*METHODS, *CONTROLS])
    row = METHODS[asked] if asked in METHODS else CONTROLS[asked]
    if row.name != asked:
        table = "METHODS" if asked in METHODS else "CONTROLS"
        raise ValueError(
            f"`{table}[{asked!r}]` must be a row of that name; its name is {row.name!r}. Use "
            f"dataclasses.replace(row, name={asked!r})."
        )
    return row


def _add_baselines(found: dict[str, MethodSpec]) -> None:
    """Add the baselines that are not there, under their names."""
    there = [spec.row for spec in found.values() if spec.control]
    for name in BASELINES:
        if CONTROLS[name] in there:
            continue
        if name in found:
            raise ValueError(
                f"`methods` has the label {name!r} for {found[name].row.name!r}, but a baseline "
                "of that name stands in every table. Use another label, or baselines=False."
            )
        found[name] = MethodSpec(name, CONTROLS[name], control=True)


def _check_names(rows: list[Any]) -> None:
    """Refuse two rows of one name: a method is found by its name, in whatever thread."""
    known = dict(METHODS)
    for row in rows:
        if isinstance(row, Method) and known.setdefault(row.name, row) != row:
            raise ValueError(
                f"`methods` has a row with the name {row.name!r}, which is the name of another "
                "method. Use dataclasses.replace(row, name=...) with a name of its own."
            )


def metric_specs(metrics: Any) -> dict[str, MetricSpec]:
    """Return metrics by label.

    Parameters
    ----------
    metrics : iterable of str or Metric, or dict
        Names in `METRICS` or rows like those in it, or a dict of label to one of these or to
        (one of these, options).

    Raises
    ------
    ValueError, TypeError
        If a name is unknown.
    """
    found = {}
    for label, (row, options) in _labelled("metrics", metrics):
        if not isinstance(row, Metric):
            row = METRICS[check_choice(f"metrics[{label!r}]", row, METRICS)]
        describe(options)
        found[label] = MetricSpec(label, row, options)
    return _filled("metrics", found)


def model_specs(
    models: Any, scenes: Mapping[str, Scene], folder: Path | None
) -> tuple[dict[tuple[str, str], ModelSpec], dict[str, keras.Model]]:
    """Return a description for each (model, scene), and the models at hand by their digest.

    Parameters
    ----------
    models : iterable of str, or dict
        Names in `models.COMPILED`, or a dict of name to model, path of a ``.keras`` file or
        name in `models.COMPILED`.
    scenes : dict
        As `scene_specs` returns them. A compiled model is built for the size of each.
    folder : Path, optional
        Where to save models given as objects, for workers; None saves none.

    Raises
    ------
    ValueError, TypeError
        If a model is unknown or takes images of another size than a scene has.
    """
    if not isinstance(models, Mapping):
        models = {name: name for name in _each("models", models)}
    specs, loaded = {}, {}
    for name, model in _filled("models", dict(models)).items():
        if isinstance(model, str) and model in networks.COMPILED:
            for title, scene in scenes.items():
                specs[name, title], built = _compiled(name, model, scene)
                loaded[specs[name, title].digest] = built
            continue
        spec, model = _given(name, model, folder)
        loaded[spec.digest] = model
        for title, scene in scenes.items():
            check_input(model, (*scene.size, scene.channels))
            specs[name, title] = spec
    return specs, loaded


def _compiled(name: str, kind: str, scene: Scene) -> tuple[ModelSpec, keras.Model]:
    model = networks.compiled(kind, size=scene.size, channels=scene.channels)
    recipe = (kind, scene.size, scene.channels, networks.COMPILED[kind])
    known = _mechanism(model)
    return ModelSpec(name, model_digest(model), compiled=recipe, mechanism=known), model


def _given(name: str, model: Any, folder: Path | None) -> tuple[ModelSpec, keras.Model]:
    if isinstance(model, keras.Model):
        found, known = model_digest(model), _mechanism(model)
        if folder is None:
            return ModelSpec(name, found, mechanism=known), model
        # The digest in the name: a worker can never read the weights of an earlier call.
        path = folder / f"{re.sub(r'[^A-Za-z0-9_.-]+', '_', name)}-{found}.keras"
        if not path.exists():
            with naming("out", path), replacing(path) as part:
                model.save(part)
        return ModelSpec(name, found, str(path.resolve()), mechanism=known), model
    if not isinstance(model, (str, os.PathLike)):
        raise TypeError(
            f"`models[{name!r}]` must be a keras.Model, the path of a .keras file, or one of "
            f"{list(networks.COMPILED)}; got {type(model).__name__}."
        )
    path = Path(model)
    if not path.is_file():
        check_choice(f"models[{name!r}]", str(model), [*networks.COMPILED, "a path of a file"])
    try:
        loaded = keras.models.load_model(path, compile=False)
    except Exception as error:
        raise ValueError(
            f"`models[{name!r}]` {str(path)!r} is not a readable .keras file "
            f"({type(error).__name__}: {shortened(str(error))})."
        ) from error
    known = _mechanism(loaded)
    return ModelSpec(name, model_digest(loaded), str(path.resolve()), mechanism=known), loaded


def _mechanism(model: keras.Model) -> networks.Mechanism | None:
    return networks.mechanism(model) if networks.has_mechanism(model) else None


def _labelled(argument: str, given: Any) -> Iterable[tuple[str, tuple[Any, dict[str, Any]]]]:
    """Yield (label, (what, options)) from a list, or from a dict with or without options."""
    if not isinstance(given, Mapping):
        items = _each(argument, given)
        given = {getattr(item, "name", item): item for item in items}
        if len(given) < len(items):
            raise ValueError(
                f"`{argument}` must name each once; got {shortened(items)}. Use a dict."
            )
    for label, item in given.items():
        what, options = item if isinstance(item, tuple) and len(item) == 2 else (item, {})
        if not isinstance(options, Mapping):
            raise TypeError(
                f"`{argument}[{label!r}]` must be a name or (name, options) with a dict of "
                f"options; got {shortened(item)}."
            )
        yield str(label), (what, dict(options))


def _each(argument: str, given: Any) -> list[Any]:
    if isinstance(given, (str, keras.Model, Scene)) or not isinstance(given, Iterable):
        raise TypeError(
            f"`{argument}` must be a list of names or a dict of name to value; got "
            f"{shortened(given)}. For one, write a list with nothing else in it."
        )
    items = list(given)
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


def _filled(argument: str, found: dict[str, Any]) -> dict[str, Any]:
    if not found:
        raise ValueError(f"`{argument}` must hold at least one; got none.")
    return found
