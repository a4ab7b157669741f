"""Find two boxes, score what was found, and ask which pixels each coordinate of each box reads.

python examples/maps_of_each_box.py [--out examples_out]

The network is wired by hand: each half of the image is read by a compiled localizer, so that it
is known where the maps of a box must lie. Writes each_box.png.
"""

import argparse
from pathlib import Path
from types import SimpleNamespace

import keras
import numpy as np
from matplotlib.patches import Rectangle

import whitebox_loc as wb

parser = argparse.ArgumentParser()
parser.add_argument("--out", default="examples_out")
out = Path(parser.parse_args().out)
out.mkdir(parents=True, exist_ok=True)

height, half = 32, 16
size = (height, 2 * half)
edges = ["top", "left", "bottom", "right"]


def two_readers(name):
    """Return a network of two candidates, each a compiled model of one half of the image."""
    layers = keras.layers
    reader = wb.models.compiled(name, size=(height, half))
    x = keras.Input((*size, 1))
    boxes, scores = [], []
    for j in range(2):
        part = layers.Cropping2D(((0, 0), (half * j, half * (1 - j))))(x)
        shift = [0.0, 0.5 * j, 0.0, 0.5 * j]
        boxes.append(layers.Rescaling([1.0, 0.5, 1.0, 0.5], offset=shift)(reader(part)))
        scores.append(layers.GlobalMaxPooling2D()(part))
    joined = layers.Reshape((2, 4))(layers.Concatenate()(boxes))
    return keras.Model(x, {"boxes": joined, "scores": layers.Concatenate()(scores)})


# A box in each half, in one of them or in none; -1 is the label of a box that is not there.
scene = wb.data.Scene(size=(height, half), heights=(4, 24), widths=(4, 12))
sides = [wb.data.generate(scene, 60, seed=seed) for seed in (0, 1)]
there = np.random.default_rng(2).random((60, 2)) < 0.7
drawn = [side.images * there[:, j, None, None, None] for j, side in enumerate(sides)]
images = np.concatenate(drawn, axis=2)
truth = np.stack([np.add(side.boxes, [0, half * j] * 2) for j, side in enumerate(sides)], axis=1)
labels = np.where(there, 0, -1)


def detect(model):
    """Return every candidate with a score above a half, in the order of the candidates."""
    outputs = {name: value.numpy() for name, value in model(images).items()}
    kept = outputs["scores"] > 0.5
    return SimpleNamespace(
        boxes=outputs["boxes"],
        scores=outputs["scores"],
        labels=np.where(kept, 0, -1),
        candidates=np.where(kept, np.arange(2), -1),
    )


for name in ("integrator", "dense_linear", "area_only"):
    found = detect(two_readers(name))
    result = wb.metrics.mean_average_precision(found, (truth, labels), size=size)
    print(f"{name:<12} {result}")

model = two_readers("integrator")
found = detect(model)
# Candidate j stands for the box in half j, so these are the true boxes in the order of the maps.
own = truth[found.candidates >= 0]
evidence = [wb.evaluation.evidence_mask(own, size, edge) for edge in edges]
runs = {"gradient": {}, "edge_move": {"each": {"boxes": own}}, "rise": {"samples": 200}}
rows, names = [], []
shown = int(np.flatnonzero(there.all(axis=1))[0])
for method, options in runs.items():
    result = wb.introspect.saliency_of_detections(model, images, found, method=method, **options)
    shares = [
        np.nanmean(wb.evaluation.mass_accuracy(result.of_part(edge), mask))
        for edge, mask in zip(edges, evidence, strict=True)
    ]
    # Columns of the half that the candidate cannot see.
    unseen = (np.arange(size[1]) >= half) != (result.candidates == 1)[:, None]
    mass = np.abs(result.maps)
    beyond = (mass * unseen[:, None, None]).sum() / mass.sum()
    print(f"{method:<10} on its own edges {np.mean(shares):.0%}, in the other half {beyond:.1%}")
    rows += list(result.of_image(shown))
    names += [f"{method}\nbox {index}" for index in (1, 2)]

axes = wb.plots.saliency_grid(np.stack(rows), names, edges)
for line, box in zip(axes, [*truth[shown]] * len(runs), strict=True):
    top, left, bottom, right = box
    for ax in line:
        place = (left - 0.5, top - 0.5)
        ax.add_patch(Rectangle(place, right - left, bottom - top, fill=False, linewidth=0.6))
axes.flat[0].figure.savefig(out / "each_box.png", dpi=120)
print(f"wrote {out / 'each_box.png'}")
