"""Watch the network make up its mind: the distributions over edges while it learns.

python examples/read_the_distributions.py [--out distributions.png]
"""

import argparse

from matplotlib.figure import Figure

import whitebox_loc as wb

parser = argparse.ArgumentParser()
parser.add_argument("--out", default="distributions.png")
out = parser.parse_args().out

scene = wb.data.Scene(size=(48, 64))
model = wb.models.localizer(size=scene.size, seed=0)
images = wb.data.render([[10, 20, 30, 50]], scene)

figure = Figure(figsize=(7, 7), layout="constrained")
for part, steps in zip(figure.subfigures(4, 1), (0, 8, 14, 40), strict=True):
    # A step budget counts from the beginning of a run: new images for each part.
    wb.training.fit(model, scene, steps=steps, seed=steps, progress=False)
    found = wb.models.edge_distributions(model, images)
    ax = part.subplots()
    wb.plots.edge_distributions({name: p[0] for name, p in found.items()}, [10, 20, 30, 50], ax)
    ax.set_ylabel(f"after {steps} more")
figure.savefig(out, dpi=120)
print(f"wrote {out}")
