"""Prove that a localizer is right on every box, not only on the ones that were tried.

python examples/prove_a_localizer.py [--out examples_out] [--quick]

Trains on a small canvas, puts the weights on a large one and proves them there. Writes proof.json,
and worst_errors.png: the worst error of all boxes of the small canvas, by height and width.
"""

import argparse
from pathlib import Path

import numpy as np
from matplotlib import colormaps
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure

import whitebox_loc as wb
from whitebox_loc.verification import Proof, prove

parser = argparse.ArgumentParser()
parser.add_argument("--out", default="examples_out")
parser.add_argument("--quick", action="store_true", help="little of each, to see it run")
options = parser.parse_args()
out = Path(options.out)
out.mkdir(parents=True, exist_ok=True)

small, large, steps = (8, 20, 10) if options.quick else (24, 100, 600)
widths = {"filters": (2, 2), "line_filters": 2} if options.quick else {}
scene = wb.data.Scene(size=(small, small))
model = wb.models.localizer(size=scene.size, **widths, seed=0)
wb.training.fit(model, scene, steps=steps, progress=False)

# No weight of this network knows the size of the canvas.
network = wb.models.localizer(size=(large, large), **widths)
network.set_weights(model.get_weights())
proof = prove(network, progress=False)
print(f"{large} x {large}: {proof}")
print("counterexamples:", proof.counterexamples[:3].tolist())
proof.save(out / "proof.json")
assert Proof.load(out / "proof.json", network).holds == proof.holds  # refused beside another model
print("the same weights:", prove(network, canvas="any", progress=False))

# What the small network answers to each of its boxes, here one by one.
boxes = wb.data.nth_boxes(scene, np.arange(wb.data.count_boxes(scene)))
answers = np.concatenate(
    [wb.training.predict(model, wb.data.render(part, scene)) for part in np.array_split(boxes, 9)]
)
errors = np.abs(answers.astype(np.float64) * small - boxes).max(axis=1)
height, width = (boxes[:, 2:] - boxes[:, :2]).T
worst = np.full((small + 1, small + 1), np.nan)
np.fmax.at(worst, (height, width), errors)
worst = worst[1:, 1:]

figure = Figure(figsize=(6.4, 5.2), layout="constrained")
ax = figure.subplots()
spacing = small * 2.0**-24  # of float32 numbers between 1/2 and 1, in pixels
colours = colormaps["viridis"].with_extremes(under="lightgrey")
grid = np.arange(small + 1) + 0.5
image = ax.pcolormesh(
    grid, grid, worst, cmap=colours, norm=LogNorm(spacing, max(worst.max(), 10 * spacing))
)
bar = figure.colorbar(image, ax=ax, extend="min", label="worst error of a coordinate, pixels")
note = f"grey: below {spacing:.1e}, the spacing of float32 in pixels"
if worst.max() > 0.5:
    bar.ax.axhline(0.5, color="red", lw=2)
    note += "; above the red line: wrong"
ax.set(xlabel="width of the box, pixels", ylabel="height of the box, pixels", aspect="equal")
ax.set_title(
    f"All {len(boxes):,} boxes of {small} x {small}, the worst of each size\n{note}", size=10
)
figure.savefig(out / "worst_errors.png", dpi=120)
print(f"worst of {len(boxes):,} boxes of {small} x {small}: {errors.max():.2g} px")
