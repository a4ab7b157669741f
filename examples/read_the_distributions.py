"""Watch the network make up its mind: the distributions over edges while it learns.

python examples/read_the_distributions.py [--out examples_out] [--quick]
"""

import argparse
from pathlib import Path

from matplotlib.figure import Figure

import whitebox_loc as wb

parser = argparse.ArgumentParser()
parser.add_argument("--out", default="examples_out")
parser.add_argument("--quick", action="store_true", help="little of each, to see it run")
options = parser.parse_args()
out = Path(options.out)
out.mkdir(parents=True, exist_ok=True)

scene = wb.data.Scene(size=(48, 64))
model = wb.models.localizer(size=scene.size, seed=0)
images = wb.data.render([[10, 20, 30, 50]], scene)

figure = Figure(figsize=(7, 7), layout="constrained")
budgets = (0, 2) if options.quick else (0, 8, 14, 40)
for part, steps in zip(figure.subfigures(len(budgets), 1), budgets, strict=True):
    # A step budget counts from the beginning of a run: new images for each part.
    wb.training.fit(model, scene, steps=steps, seed=steps, progress=False)
    found = wb.models.edge_distributions(model, images)
    ax = part.subplots()
    wb.plots.edge_distributions({name: p[0] for name, p in found.items()}, [10, 20, 30, 50], ax)
    ax.set_ylabel(f"after {steps} more")
figure.savefig(out / "distributions.png", dpi=120)
print(f"wrote {out / 'distributions.png'}")
