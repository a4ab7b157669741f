"""The main job in one call: train, evaluate, explain, and write one report."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import keras
from tqdm.auto import tqdm

import whitebox_loc
from whitebox_loc._files import make_folder, naming, printable, replacing
from whitebox_loc._validation import check_bool, check_int, check_path, check_real
from whitebox_loc.data import SCENES, Scene, as_scene
from whitebox_loc.models import localizer
from whitebox_loc.report import figures, html
from whitebox_loc.training import Evaluation, History, evaluate, fit
from whitebox_loc.verification import Proof, UnsupportedModelError, prove
from whitebox_loc.verification.windows import readings

TARGET_IOU = 0.999
"""Training for the tour ends early when fresh images reach this mean IoU."""

HELD_OUT_SCENES = ("uniform", "notebook", "small", "large", "thin", "border")


@dataclass(frozen=True)
class Tour:
    """What a tour made.

    Attributes
    ----------
    model, history : keras.Model, History
        The trained localizer and its learning curves.
    evaluations : dict
        Held-out `Evaluation` by scene name; the first is the scene trained on.
    paths : dict of Path
        ``"report"``, ``"model"``, ``"metrics"``, ``"history"``, ``"figures"``, and ``"proof"``
        if there is one.
    proof : Proof or None
        Whether every box of the canvas, plain white on black, is answered to within half a
        pixel; None for a head to which the argument by symmetry does not apply.
    """

    model: keras.Model
    history: History
    evaluations: dict[str, Evaluation]
    paths: dict[str, Path]
    proof: Proof | None = None

    def summary(self) -> str:
        """Return the result as a few lines of text."""
        lines = [] if self.proof is None else [str(self.proof)]
        lines += [
            f"{self.model.name}: {self.model.count_params():,} weights, trained "
            f"{_seconds(self.history):.1f} s, {len(self.history)} steps "
            f"(stopped by {self.history.stopped})",
            f"{'held-out scene':<16}{'mean IoU':>10}{'min IoU':>10}{'exact':>9}"
            f"{'error px':>10}{'excess':>10}",
        ]
        for name, result in self.evaluations.items():
            lines.append(
                f"{name:<16}{result.mean_iou:>10.4f}{result.min_iou:>10.4f}"
                f"{result.exact_rate:>9.2%}{result.pixel_error:>10.4f}{result.excess:>10.1e}"
            )
        lines += [f"{name:<9}{printable(path)}" for name, path in self.paths.items()]
        return "\n".join(lines)


def tour(
    out: str | os.PathLike[str] = "tour",
    *,
    seconds: float = 60.0,
    scene: Scene | str = "uniform",
    head: str = "profile",
    n: int = 2000,
    seed: int = 0,
    progress: bool = True,
) -> Tour:
    """Train a localizer, evaluate it on held-out scenes, look inside, write a report.

    Interrupted training goes on from ``<out>/training.npz`` when called again with the
    same arguments.

    Parameters
    ----------
    out : path, default "tour"
        Folder for the report, the model and the figures; made if missing.
    seconds : float, default 60
        Greatest training time; training ends earlier at a mean IoU of 0.999.
    scene : Scene or str, default "uniform"
        What to train on.
    head : str, default "profile"
        Head of the `whitebox_loc.models.localizer`.
    n : int, default 2000
        Held-out images a scene.
    seed : int, default 0
        Seed of weights and images.
    progress : bool, default True
        Show progress bars.

    Raises
    ------
    ValueError, TypeError, OSError
        If an argument is not one of the above, before anything is written; if `out` cannot be
        written to.

    Examples
    --------
    >>> import tempfile
    >>> small = Scene(size=(20, 20))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     made = tour(folder, scene=small, seconds=1, n=20, progress=False)
    ...     made.paths["report"].name, made.paths["report"].exists()
    ('report.html', True)
    """
    scene = as_scene(scene)
    check_int("n", n, low=1)
    check_int("seed", seed, low=0)
    check_real("seconds", seconds, low=0)
    check_bool("progress", progress)
    folder = check_path("out", out)
    model = localizer(scene.size, scene.channels, head, seed=seed)
    make_folder("out", folder)
    with naming("out", folder):
        return _tour(model, scene, folder, seconds, head, n, seed, progress)


def _tour(
    model: keras.Model, scene: Scene, folder: Path, seconds: float, head: str, n: int, seed: int,
    progress: bool,
) -> Tour:  # fmt: skip
    checkpoint = folder / "training.npz"
    history = fit(
        model, scene, seconds, seed, target_iou=TARGET_IOU, checkpoint=checkpoint,
        progress=progress,
    )  # fmt: skip
    names = {"report": "report.html", "model": "model.keras", "metrics": "metrics.json",
             "history": "history.csv", "figures": "figures"}  # fmt: skip
    paths = {key: folder / name for key, name in names.items()}
    with _stages(progress) as stage:
        evaluations = _evaluate(model, scene, n, seed, stage)
        stage("prove")
        proof = _prove(model, folder / "proof.json", paths)
        result = Tour(model, history, evaluations, paths, proof)
        stage("model and metrics")
        with replacing(paths["model"]) as part:
            model.save(part)
        history.to_csv(paths["history"])
        metrics = _metrics(result, scene, head, seed)
        with replacing(paths["metrics"]) as part:
            part.write_text(json.dumps(metrics, indent=2) + "\n")
        drawings = figures.draw_all(result.model, history, evaluations, paths["figures"], stage)
        stage("report")
        content = {"summary": result.summary(), "metrics": metrics, "drawings": drawings}
        html.write_page(paths["report"], "tour.html.j2", **content)
    checkpoint.unlink(missing_ok=True)
    return result


def _prove(model: keras.Model, path: Path, paths: dict[str, Path]) -> Proof | None:
    try:
        readings(model)
    except UnsupportedModelError:
        path.unlink(missing_ok=True)  # of an earlier tour
        return None
    proof = prove(model, how="symmetry")
    paths["proof"] = proof.save(path)
    return proof


def _evaluate(
    model: keras.Model, scene: Scene, n: int, seed: int, stage: Callable[[str], None]
) -> dict[str, Evaluation]:
    own = next((name for name, each in SCENES.items() if each == scene), "trained on")
    scenes = {own: scene}
    if scene.size == SCENES["uniform"].size and scene.channels == 1:
        scenes |= {name: SCENES[name] for name in HELD_OUT_SCENES if name != own}
    evaluations = {}
    for name, each in scenes.items():
        stage(f"evaluate {name}")
        evaluations[name] = evaluate(model, each, n, seed=seed + 1)
    return evaluations


def _metrics(result: Tour, scene: Scene, head: str, seed: int) -> dict[str, Any]:
    history = result.history
    return {
        "whitebox_loc": whitebox_loc.__version__, "scene": _describe(scene), "head": head,
        "seed": seed, "weights": result.model.count_params(),
        "training": {"seconds": _seconds(history), "steps": len(history),
                     "stopped_by": history.stopped},
        "held_out": {name: each.scores() for name, each in result.evaluations.items()},
        "proof": None if result.proof is None else str(result.proof),
    }  # fmt: skip


def _seconds(history: History) -> float:
    return float(history["seconds"][-1]) if len(history) else 0.0


def _describe(scene: Scene) -> str:
    """Return the call that makes the scene, without the defaults."""
    plain = Scene()
    values = {field.name: getattr(scene, field.name) for field in fields(scene)}
    changes = {k: v for k, v in values.items() if k == "size" or v != getattr(plain, k)}
    return f"Scene({', '.join(f'{name}={value!r}' for name, value in changes.items())})"


@contextmanager
def _stages(progress: bool) -> Iterator[Callable[[str], None]]:
    start = time.perf_counter()
    with tqdm(bar_format="{desc}", disable=not progress) as bar:

        def announce(name: str) -> None:
            bar.set_description_str(f"[{time.perf_counter() - start:4.0f} s] {name}")

        yield announce
        announce("done")
