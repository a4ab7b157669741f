"""Running a model on every box of a scene, in parts that can be distributed and gone on with."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from tqdm import tqdm

from whitebox_loc._digests import digest, model_digest
from whitebox_loc._files import make_folder, naming, replacing
from whitebox_loc._types import Array, Model
from whitebox_loc._validation import check_path
from whitebox_loc.boxes import iou
from whitebox_loc.data.render import render
from whitebox_loc.data.sampling import count_boxes, nth_boxes
from whitebox_loc.data.scenes import Scene
from whitebox_loc.verification.findings import HALF, MOST, Findings
from whitebox_loc.verification.graphs import box_model

PART = 1 << 14
"""Boxes in a part: what is done at once, and lost at most by a kill."""

BATCH = 512


def enumerate_boxes(
    model: Model, scene: Scene, executor: Any, out: Any, progress: bool
) -> Findings:
    """Return what a model's answers to all boxes of a scene are, on this machine.

    With `out`, the parts that are done stand in a file there, and are not done again.
    """
    total = count_boxes(scene)
    key = digest([model_digest(model), str(scene), PART])
    store = None if out is None else make_folder("out", check_path("out", out)) / "parts.json"
    parts = _stored(store, key)
    todo = [start for start in range(0, total, PART) if str(start) not in parts]
    bar = tqdm(
        total=total, initial=min(len(parts) * PART, total), desc="prove", unit="box",
        unit_scale=True, disable=not progress,
    )  # fmt: skip
    with bar:
        for start, part in _run(model, scene, todo, executor):
            parts[str(start)] = part
            bar.update(min(PART, total - start))
            if store is not None:
                _write(store, key, parts)
    return _together(parts.values())


def _run(
    model: Model, scene: Scene, starts: list[int], executor: Any
) -> Iterator[tuple[int, dict[str, Any]]]:
    if executor is None:
        answer = _answer(box_model(model))
        for start in starts:
            yield start, _part(answer, scene, start)
        return
    job = Job(_packed(model), scene)
    waiting = executor.map(job, starts)
    yield from zip(starts, waiting, strict=True)


@dataclass(frozen=True)
class Job:
    """A part of an enumeration as another process can do it: the model as a file's bytes."""

    model: bytes
    scene: Scene

    def __call__(self, start: int) -> dict[str, Any]:
        """Return what holds for the boxes of one part."""
        return _part(_unpacked(self.model), self.scene, start)


def _packed(model: Model) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.keras"
        model.save(path)
        return path.read_bytes()


@lru_cache(maxsize=1)
def _unpacked(content: bytes) -> Any:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.keras"
        path.write_bytes(content)
        return _answer(box_model(keras.models.load_model(path)))


def _answer(model: Model) -> Any:
    @tf.function(reduce_retracing=True, autograph=False)
    def answer(images: Any) -> Any:
        return model(images, training=False)

    return answer


def _part(answer: Any, scene: Scene, start: int) -> dict[str, Any]:
    """Return what holds for the boxes with numbers from `start` on, as JSON can hold it."""
    boxes = nth_boxes(scene, np.arange(start, min(start + PART, count_boxes(scene))))
    answers = np.concatenate(
        [
            answer(tf.constant(render(boxes[i : i + BATCH], scene))).numpy()
            for i in range(0, len(boxes), BATCH)
        ]
    ).astype(np.float64) * [*scene.size, *scene.size]
    off = np.abs(answers - boxes).max(-1)
    off = np.where(np.isfinite(off), off, np.inf)
    order = np.asarray(np.lexsort((*boxes.T[::-1], -off)))[:MOST]
    wrong = order[np.asarray(off)[order] > HALF]
    return {
        "boxes": len(boxes),
        "worst_error": float(off[order[0]]),
        "worst_box": boxes[order[0]].tolist(),
        "least_iou": float(_overlap(answers, boxes).min()),
        "wrong": int((off > HALF).sum()),
        "examples": boxes[wrong].tolist(),
        "scores": off[wrong].tolist(),
    }


def _overlap(answers: Array, boxes: Array) -> Array:
    """Return the IoU, 0 where an answer is no box."""
    proper = (answers[:, 2:] - answers[:, :2]).min(-1, keepdims=True) > 0  # False for NaN
    ious: Array = iou(np.where(proper, answers, boxes), boxes)
    return np.where(proper[:, 0], ious, 0.0)


def _together(parts: Iterable[dict[str, Any]]) -> Findings:
    parts = list(parts)
    worst = max(parts, key=lambda part: part["worst_error"])
    examples = np.array([box for p in parts for box in p["examples"]], int).reshape(-1, 4)
    scores = np.array([score for p in parts for score in p["scores"]])
    order = np.lexsort((*examples.T[::-1], -scores))[:MOST]
    return Findings(
        "enumeration", sum(p["boxes"] for p in parts), worst["worst_error"],
        tuple(worst["worst_box"]), min(p["least_iou"] for p in parts),
        sum(p["wrong"] for p in parts), 0, examples[order],
    )  # fmt: skip


def _stored(store: Path | None, key: str) -> dict[str, Any]:
    if store is None or not store.exists():
        return {}
    with naming("out", store):
        text = store.read_text("utf-8")
    try:
        content = json.loads(text)
        owner, parts = content["key"], dict(content["parts"])
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(
            f"`out` {str(store)!r} is damaged ({error!r}). Delete it, or name another folder."
        ) from error
    if owner != key:
        raise ValueError(
            f"`out` {str(store)!r} belongs to another model or scene. Name another folder."
        )
    return parts


def _write(store: Path, key: str, parts: dict[str, Any]) -> None:
    with naming("out", store), replacing(store) as temporary:
        temporary.write_text(json.dumps({"key": key, "parts": parts}), "utf-8")
