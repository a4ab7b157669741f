"""What breaks a localizer that has only seen white on black, and where inside it breaks.

python examples/stress_a_localizer.py [--steps 150] [--images 100] [--quick]

Writes stress.png, stress_coordinates.png and culprits.png into examples_out/.
"""

import argparse
from pathlib import Path

import numpy as np

import whitebox_loc as wb

parser = argparse.ArgumentParser()
parser.add_argument("--steps", type=int, default=150)
parser.add_argument("--images", type=int, default=100)
parser.add_argument("--quick", action="store_true", help="little of each, to see it run")
options = parser.parse_args()
steps, n = (3, 4) if options.quick else (options.steps, options.images)
out = Path("examples_out")
out.mkdir(exist_ok=True)

scene = wb.data.Scene(size=(40, 48))
model = wb.models.localizer(size=scene.size, seed=0)
wb.training.fit(model, scene, steps=steps, progress=False)

found = wb.training.stress(model, scene=scene, n=n)
print(found.verdict())
axes = wb.plots.stress_curves(found.curves)
axes.flat[0].figure.savefig(out / "stress.png", dpi=90)
axes = wb.plots.stress_coordinates(found.curves)
axes.flat[0].figure.savefig(out / "stress_coordinates.png", dpi=90)

# Why does a grey background move the top edge? One boundary between two rows at a time is given
# what it has on black: the share of the error of `top` that this alone undoes.
boxes = wb.data.generate(scene, 60, seed=2).boxes
boxes = boxes[boxes[:, 0] > 4]
black = wb.data.render(boxes, scene)
grey = wb.data.render(boxes, wb.training.SHIFTS["grey"].scene(scene, 0.5))
patched = wb.introspect.activation_patching(model, black, grey, "row_context", by="row")
share = patched["row_context"].share[:, 0]
order = np.argsort(-share)
print(f"grey: boundary {order[0]} alone undoes {share[order[0]]:.0%} of the error of `top`, "
      f"the next one, boundary {order[1]}, {share[order[1]]:.0%}")  # fmt: skip
mass = wb.models.edge_distributions(model, grey)["top"]
true = mass[np.arange(len(boxes)), boxes[:, 0]]
print(f"grey: `top` is at the canvas border with probability {mass[:, 0].mean():.2f}, "
      f"at the true edge with {true.mean():.2f}")  # fmt: skip
rows = [f"boundary {i}" for i in order[:8]]
ax = wb.plots.ablation_matrix(
    share[order[:8], None], rows, ["top"], label="share of the error undone", title="row_context"
)
ax.figure.savefig(out / "culprits.png", dpi=120)
