"""Find every box of images that hold one to three, and look at the heat map of their centres.

python examples/find_several_boxes.py [--steps 120] [--out examples_out] [--quick]
"""

import argparse
from pathlib import Path

import whitebox_loc as wb

parser = argparse.ArgumentParser()
parser.add_argument("--steps", type=int, default=120)
parser.add_argument("--out", default="examples_out")
parser.add_argument("--quick", action="store_true", help="little of each, to see it run")
options = parser.parse_args()
steps, n = (3, 20) if options.quick else (options.steps, 300)

scene = wb.data.Scene(size=(32, 32), heights=(4, 16), widths=(4, 16))
multi = wb.data.MultiScene(scene, boxes=(1, 3), gap=2)
model = wb.models.detector(size=scene.size, filters=(12, 16, 24))
history = wb.training.fit_detector(model, multi, steps=steps, progress=False)
print(history)
print(wb.training.evaluate_detector(model, multi, n=n))

batch = wb.data.generate(multi, 8, seed=2)
found = wb.models.detections(model(batch.images), threshold=0.3, overlap=0.5)
for i, count in enumerate(found.counts):
    boxes = (found.boxes[i, :count] * 32).round(1).tolist()
    print(f"image {i}: {batch.counts[i]} boxes, found {boxes}")

# The first image's heat map: how sure each cell of 2 x 2 pixels is that a centre lies in it.
maps = wb.introspect.activations(model, batch.images[:1], layers=["heat_map"])

figures = {
    "several_boxes.png": wb.plots.detections(batch.images, found, batch).flat[0],
    "several_boxes_heat_map.png": wb.plots.feature_maps(
        maps["heat_map"][0], title="Heat map of image 0"
    ).flat[0],
    "several_boxes_curves.png": history.plot().flat[0],
}
folder = Path(options.out)
folder.mkdir(parents=True, exist_ok=True)
for name, ax in figures.items():
    ax.figure.savefig(folder / name, dpi=120)
    print(f"wrote {name}")
