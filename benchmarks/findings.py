"""What trained localizers answer to, and which maps say so: heads, seeds and methods compared.

    python benchmarks/findings.py --quick                 # small images, seconds of training
    python benchmarks/findings.py --seconds 60 --seeds 5  # the full comparison

For each head and seed: train (or load what an earlier run trained), move every edge by a pixel
on held-out boxes, and hold the maps of each method against the moves. Three questions:

1. Response: by how many pixels does each coordinate answer to each edge? (model)
2. Methods: which share of a map lies on its own edge (task), and how alike, as the cosine of
   the signed maps, are it and the map of moved edges (model)?
3. Agreement: do two seeds rank the methods alike (Spearman)? If not, a ranking made on one
   network says little about the next.

Writes responses.csv and methods.csv (a row a model, 95% bootstrap intervals over boxes) and
agreement.csv; prints means over seeds with 95% bootstrap intervals over seeds. A run that was
stopped goes on where it was.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
from collections.abc import Iterable, Iterator
from itertools import combinations
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np
from scipy.stats import spearmanr

import whitebox_loc as wb
from whitebox_loc._files import replacing
from whitebox_loc._statistics import bootstrap_interval
from whitebox_loc.evaluation import cross_talk

NAMES = list(wb.introspect.targets.COORDINATES)
REFERENCE = "edge_move"
METHODS: dict[str, tuple[str, dict[str, Any]]] = {
    "edge_move": ("edge_move", {}),
    "gradient": ("gradient", {}),
    "gradient_x_input": ("gradient_x_input", {}),
    "integrated_gradients": ("integrated_gradients", {"steps": 32}),
    "integrated_gradients, both": (
        "integrated_gradients", {"steps": 32, "baseline": (0.0, 1.0)},
    ),
    "smoothgrad": ("smoothgrad", {"samples": 16}),
    "guided_backprop": ("guided_backprop", {}),
    "gradcam": ("gradcam", {}),
    "layercam": ("layercam", {}),
    "eigencam": ("eigencam", {}),
    "lrp": ("lrp", {}),
    "deeplift": ("deeplift", {}),
    "occlusion": ("occlusion", {"patch": 3, "stride": 1}),
    "rise": ("rise", {"samples": 500}),
}  # fmt: skip
QUICK = ("edge_move", "gradient", "gradient_x_input", "integrated_gradients, both", "layercam",
         "occlusion")  # fmt: skip
PART = 32


def main() -> None:
    """Train and measure what is missing, then write and print the tables."""
    options = read_options()
    out = Path(options.out)
    for folder in ("models", "results"):
        (out / folder).mkdir(parents=True, exist_ok=True)
    results = []
    for head in options.heads:
        for seed in range(options.seeds):
            results.append(result(out, head, seed, options))
            iou, exact = results[-1]["quality"].values()
            print(f"{head}, seed {seed}: mean IoU {iou:.4f}, exact {exact:.1%}", flush=True)
    save(out / "responses.csv", responses(results))
    save(out / "methods.csv", scores(results))
    show("Response, pixels per pixel", matrices(results))
    show("Methods", standings(results))
    show("Do task truth and model truth rank the methods of a model alike?", truths(results))
    pairs = save(out / "agreement.csv", agreement(results))
    show("Do two networks rank the methods alike?", summary(pairs))


def read_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="two seeds, small images, few steps")
    parser.add_argument("--heads", nargs="*", default=list(wb.models.HEADS))
    parser.add_argument("--methods", nargs="*", choices=list(METHODS), default=list(METHODS))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--scene", default="uniform")
    parser.add_argument("--size", type=int, nargs=2, default=[100, 100])
    parser.add_argument("--seconds", type=float, default=60.0, help="of training, for each model")
    parser.add_argument("--steps", type=int, help="of training instead: the same on any machine")
    parser.add_argument("--boxes", type=int, default=500, help="held-out boxes that move")
    parser.add_argument("--images", type=int, default=100, help="held-out images that get maps")
    parser.add_argument("--out", default="findings")
    options = parser.parse_args()
    if options.quick:
        options.seeds, options.size, options.steps = 2, [24, 28], 150
        options.boxes, options.images, options.methods = 50, 16, list(QUICK)
    if REFERENCE not in options.methods:
        options.methods = [REFERENCE, *options.methods]
    return options


def result(out: Path, head: str, seed: int, options: argparse.Namespace) -> dict[str, Any]:
    """Return what was measured on one model, from its file if there is one."""
    height, width = options.size
    budget = f"{options.steps}steps" if options.steps else f"{options.seconds:g}s"
    name = f"{options.scene}_{height}x{width}_{head}_{budget}_{seed}"
    path = out / "results" / f"{name}_{options.boxes}_{options.images}.json"
    measurement = json.loads(path.read_text()) if path.exists() else None
    if measurement is None or not set(options.methods) <= set(measurement["methods"]):
        scene = wb.data.as_scene(options.scene, size=(height, width))
        model = trained(out / "models" / f"{name}.keras", scene, head, seed, options)
        measurement = {
            "head": head,
            "seed": seed,
            "quality": quality(model, scene),
            "response": response(model, scene, options.boxes),
            "methods": methods(model, scene, options),
        }
        with replacing(path) as temporary:
            temporary.write_text(json.dumps(measurement))
    measurement["methods"] = {name: measurement["methods"][name] for name in options.methods}
    return measurement


def trained(path: Path, scene: Any, head: str, seed: int, options: argparse.Namespace) -> Any:
    if path.exists():
        return keras.models.load_model(path, compile=False)
    model = wb.models.localizer(size=scene.size, head=head, seed=seed)
    budget = {"steps": options.steps} if options.steps else {"seconds": options.seconds}
    checkpoint = path.with_suffix(".npz")
    wb.training.fit(model, scene, seed=seed, checkpoint=checkpoint, progress=False, **budget)
    with replacing(path) as temporary:
        model.save(temporary)
    checkpoint.unlink(missing_ok=True)
    return model


def quality(model: Any, scene: Any) -> dict[str, float]:
    scores = wb.training.evaluate(model, scene, n=1000, seed=999)
    return {"mean_iou": float(scores.mean_iou), "exact_rate": float(scores.exact_rate)}


def response(model: Any, scene: Any, n: int) -> dict[str, Any]:
    batch = wb.data.generate(scene, n, seed=1000)
    moves = wb.introspect.edge_moves(model, batch.boxes, scene, labels=batch.labels, seed=1)
    return {"matrix": moves.matrix.tolist(), "interval": moves.interval.tolist()}


def methods(model: Any, scene: Any, options: argparse.Namespace) -> dict[str, Any]:
    """Return for each method its cross-talk and its cosine with moved edges, or an error."""
    batch = wb.data.generate(scene, options.images, seed=1001)
    shapes = [scene.shapes[label] for label in batch.labels]
    truth = {"boxes": batch.boxes, "scene": scene, "labels": batch.labels}
    reference = maps(model, batch.images, REFERENCE, truth)
    rows = {}
    for name in options.methods:
        try:
            own = reference if name == REFERENCE else maps(model, batch.images, name, {})
        except ValueError as error:
            rows[name] = {"error": str(error)}
            continue
        talk = cross_talk(own, batch.boxes, shape=shapes)
        alike = cosine(own, reference)
        rows[name] = {
            "cross_talk": talk.matrix.tolist(),
            "elsewhere": talk.elsewhere.tolist(),
            "own edge": with_interval(np.einsum("nii->ni", talk.shares)),
            "cosine": with_interval(alike.T),
        }
    return rows


def maps(model: Any, images: np.ndarray, name: str, beside: dict[str, Any]) -> np.ndarray:
    """Return maps (4, n, h, w) in parts of the images; `beside` is cut with them."""
    method, options = METHODS[name]
    parts = []
    for start in range(0, len(images), PART):
        part = slice(start, start + PART)
        cut = {k: v[part] if k in ("boxes", "labels") else v for k, v in beside.items()}
        parts.append(wb.introspect.saliency(model, images[part], NAMES, method, **options, **cut))
    return np.concatenate(parts, axis=1)


def cosine(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return cosines (4, n) of signed maps; NaN where one is 0 everywhere."""
    a, b = (m.astype(np.float64).reshape(*m.shape[:2], -1) for m in (first, second))
    sizes = np.linalg.norm(a, axis=-1) * np.linalg.norm(b, axis=-1)
    return np.where(sizes > 0, (a * b).sum(-1) / np.where(sizes > 0, sizes, 1), np.nan)


def with_interval(values: np.ndarray) -> list[float | None]:
    """Return mean, lower and upper end over images of the mean (n, 4) over coordinates."""
    known = np.isfinite(values)
    # An image counts by the coordinates that it is defined for.
    count = known.sum(axis=1)
    each = np.where(
        count > 0, np.where(known, values, 0).sum(axis=1) / np.maximum(count, 1), np.nan
    )
    if not (count > 0).any():
        return [None, None, None]
    low, high = bootstrap_interval(each)
    return [float(np.nanmean(each)), float(low), float(high)]


def responses(results: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    for model in results:
        for i, j in np.ndindex(4, 4):
            low, high = (end[i][j] for end in model["response"]["interval"])
            yield {
                "head": model["head"], "seed": model["seed"], "coordinate": NAMES[i],
                "edge": NAMES[j], "pixels per pixel": model["response"]["matrix"][i][j],
                "low": low, "high": high,
            }  # fmt: skip


def scores(results: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    for model in results:
        for name, own in model["methods"].items():
            row = {"head": model["head"], "seed": model["seed"], "method": name}
            for score in ("own edge", "cosine"):
                values = own.get(score, [None] * 3)
                row |= dict(zip((score, f"{score} low", f"{score} high"), values, strict=True))
            yield row | {"error": own.get("error", "")}


def agreement(results: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Yield Spearman's correlation of the methods' scores for each pair of models."""
    for score in ("own edge", "cosine"):
        for first, second in combinations(results, 2):
            pairs = [
                (a, b)
                for name in first["methods"]
                if name != REFERENCE
                for a in [first["methods"][name].get(score, [None])[0]]
                for b in [second["methods"][name].get(score, [None])[0]]
                if a is not None and b is not None
            ]
            if len(pairs) < 3:
                continue
            yield {
                "score": score, "head": first["head"], "seed": first["seed"],
                "other head": second["head"], "other seed": second["seed"],
                "methods": len(pairs), "spearman": float(spearmanr(pairs).statistic),
            }  # fmt: skip


def over_seeds(results: list[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """Return the results of each head."""
    heads: dict[str, list[dict[str, Any]]] = {}
    for each in results:
        heads.setdefault(each["head"], []).append(each)
    return heads


def matrices(results: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Yield the mean response matrix of each head, with its interval over seeds."""
    for head, seeds in over_seeds(results).items():
        every = np.array([each["response"]["matrix"] for each in seeds])
        for i, name in enumerate(NAMES):
            cells = {edge: over(every[:, i, j]) for j, edge in enumerate(NAMES)}
            yield {"head": head, "seeds": len(seeds), "coordinate": name, **cells}


def standings(results: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Yield both scores of each method, means over the seeds of each head."""
    heads = over_seeds(results)
    for name in results[0]["methods"]:
        row = {"method": name}
        for head, models in heads.items():
            for score in ("own edge", "cosine"):
                known = [each["methods"][name].get(score, [None])[0] for each in models]
                values = np.array([v for v in known if v is not None])
                row[f"{head}: {score}"] = over(values) if len(values) else "does not apply"
        yield row


def truths(results: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Yield how alike the two scores rank the methods of one model."""
    for head, models in over_seeds(results).items():
        values = []
        for each in models:
            rows = [m for n, m in each["methods"].items() if n != REFERENCE and "error" not in m]
            pairs = [(m["own edge"][0], m["cosine"][0]) for m in rows]
            values.append(float(spearmanr([p for p in pairs if None not in p]).statistic))
        yield {"head": head, "Spearman of own edge and cosine": over(np.array(values))}


def over(values: np.ndarray) -> str:
    """Return mean and interval over seeds as text."""
    if len(values) < 2:
        return f"{values[0]:z.2f}"
    low, high = bootstrap_interval(values)
    return f"{values.mean():z.2f} ({low:z.2f} to {high:z.2f})"


def summary(pairs: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Yield mean and extremes of the correlations, for equal and for different heads."""
    for score in ("own edge", "cosine"):
        for alike in (True, False):
            values = [
                pair["spearman"]
                for pair in pairs
                if pair["score"] == score and (pair["head"] == pair["other head"]) == alike
            ]
            if values:
                yield {
                    "score": score, "heads": "equal" if alike else "different",
                    "pairs": len(values), "mean": float(np.mean(values)), "least": min(values),
                    "greatest": max(values),
                }  # fmt: skip


def save(path: Path, rows: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Write a table and return its rows."""
    rows = list(rows)
    with replacing(path) as temporary, temporary.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]) if rows else [])
        writer.writeheader()
        writer.writerows(rows)
    return rows


def show(title: str, rows: Iterable[dict[str, Any]]) -> None:
    """Print a table."""
    rows = list(rows)
    if not rows:
        return
    print(f"\n{title}\n\n| " + " | ".join(rows[0]) + " |\n" + "|---" * len(rows[0]) + "|")
    for row in rows:
        cells = (f"{v:z.3f}" if isinstance(v, float) else str(v) for v in row.values())
        print("| " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
