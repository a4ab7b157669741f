"""Find a shape and name it; then ask which pixels speak for which name.

python examples/classify_shapes.py [--steps 150] [--out examples_out] [--quick]
"""

import argparse
from pathlib import Path

import whitebox_loc as wb

parser = argparse.ArgumentParser()
parser.add_argument("--steps", type=int, default=150)
parser.add_argument("--out", default="examples_out")
parser.add_argument("--quick", action="store_true", help="little of each, to see it run")
options = parser.parse_args()
out = Path(options.out)
out.mkdir(parents=True, exist_ok=True)
steps, n = (3, 100) if options.quick else (options.steps, 1000)

scene = wb.data.Scene(
    size=(40, 40), shapes=("ellipse", "diamond", "ring"), heights=(10, None), widths=(10, None)
)
model = wb.models.localizer(size=scene.size, classes=len(scene.shapes), seed=0)
wb.training.fit(model, scene, steps=steps, batch_size=32, progress=False)

result = wb.training.evaluate(model, scene, n=n)
found = result.classification
print(f"IoU {result.mean_iou:.4f}   {found}")
for name, recall, precision in zip(found.names, found.recall, found.precision, strict=True):
    print(f"{name:<10} found {recall:.1%}   right {precision:.1%}")

# One box with each shape in it: what speaks for and against each name?
images = wb.data.render([[8, 6, 30, 34]] * 3, scene, labels=[0, 1, 2])
targets = [wb.introspect.targets.label(name, scene) for name in scene.shapes]
maps = wb.introspect.saliency(
    model, images, targets, "integrated_gradients", link="logit", baseline=(0.0, 1.0)
)
rows = [f"image: {name}" for name in scene.shapes]
columns = [f"for {name}" for name in scene.shapes]

figures = {
    "classes_confusion.png": wb.plots.confusion_matrix(found.confusion, found.names),
    "classes_reliability.png": wb.plots.reliability_diagram(
        found.bin_edges, found.bin_confidence, found.bin_accuracy, found.bin_counts
    ),
    "classes_saliency.png": wb.plots.saliency_grid(
        maps.swapaxes(0, 1), rows, columns, box=[8, 6, 30, 34]
    ).flat[0],
}
for name, ax in figures.items():
    ax.figure.savefig(out / name, dpi=120)
    print(f"wrote {name}")
