"""Which channels a coordinate needs, and which layers and rows carry an edge that moved.

python examples/interventions.py [--quick]

Writes ablation.png, layers.png and rows.png into examples_out/.
"""

import argparse
from pathlib import Path

import numpy as np

import whitebox_loc as wb

parser = argparse.ArgumentParser()
parser.add_argument("--quick", action="store_true", help="little of each, to see it run")
quick = parser.parse_args().quick
out = Path("examples_out")
out.mkdir(exist_ok=True)

scene = wb.data.Scene(size=(32, 40))
model = wb.models.localizer(size=scene.size, seed=0)
wb.training.fit(model, scene, steps=5 if quick else 60, progress=False)

batch = wb.data.generate(scene, 20 if quick else 200, seed=1)
lost = wb.introspect.ablate(
    model, batch.images, "conv2", mode="resample", boxes=batch.boxes, format="yxyx"
)
names = [f"channel {c}" for c in lost.channels]
# Mean size of the change, in percent of the image: changes of both signs would cancel.
size = 100 * np.abs(lost.change).mean(axis=1)
ax = wb.plots.ablation_matrix(
    size, names, label="mean |change| (% of the image)", title="conv2, channels resampled"
)
ax.figure.savefig(out / "ablation.png", dpi=120)

# The same boxes twice, the top edge 4 rows further down.
boxes = np.array([[8, 6, 24, 30], [4, 10, 20, 22], [10, 3, 28, 20]])
clean = wb.data.render(boxes, scene)
moved = wb.data.render(boxes + np.array([4, 0, 0, 0]), scene)
layers = ["conv1", "conv2", "row_profile", "column_profile", "row_boundary", "box"]
whole = wb.introspect.activation_patching(model, clean, moved, layers)
share = np.stack([whole[layer].restored[..., 0].mean() for layer in layers])
ax = wb.plots.ablation_matrix(
    share[:, None], layers, ["top"], label="share restored", title="Clean layer, moved image"
)
ax.figure.savefig(out / "layers.png", dpi=120)

rows = wb.introspect.activation_patching(model, clean[:1], moved[:1], "row_profile", by="row")
part = rows["row_profile"].restored[:, 0, :1]
near = slice(6, 20)
ax = wb.plots.ablation_matrix(
    part[near],
    [f"row {row}" for row in range(*near.indices(len(part)))],
    ["top"],
    label="share restored",
    title="row_profile (3 rows of frame)",
)
ax.figure.savefig(out / "rows.png", dpi=120)

print(
    f"IoU without channel {lost.iou_change.mean(1).argmin()} of conv2 changes most, by "
    f"{lost.iou_change.mean(1).min():.2f}; row {part[:, 0].argmax()} of row_profile restores "
    f"{part.max():.0%} of the moved top edge"
)
