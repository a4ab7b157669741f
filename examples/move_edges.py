"""Move one true edge at a time: what a localizer answers, and which maps lie on the edge.

python examples/move_edges.py [--out examples_out] [--quick]

Writes response.png, maps.png and cross_talk.png.
"""

import argparse
from pathlib import Path

import numpy as np

import whitebox_loc as wb
from whitebox_loc.evaluation import cross_talk

parser = argparse.ArgumentParser()
parser.add_argument("--out", default="examples_out")
parser.add_argument("--quick", action="store_true", help="little of each, to see it run")
options = parser.parse_args()
out = Path(options.out)
out.mkdir(parents=True, exist_ok=True)

size, steps, n = ((16, 20), 10, 8) if options.quick else ((32, 40), 250, 100)
scene = wb.data.Scene(size=size, heights=(6, None), widths=(6, None))
model = wb.models.localizer(size=scene.size, seed=0)
wb.training.fit(model, scene, steps=steps, progress=False)

# An intervention on the image: each edge one pixel up and down (left and right), drawn anew.
batch = wb.data.generate(scene, n, seed=1)
moves = wb.introspect.edge_moves(model, batch.boxes, scene)
ax = wb.plots.response_matrix(moves.matrix, moves.interval, title="One-pixel moves")
ax.figure.savefig(out / "response.png", dpi=120)

# The same by derivatives, and what the library says about trusting them.
slopes = wb.introspect.response(model, batch.boxes, scene)
for note in slopes.notes:
    print(note)

# The moves as maps, beside two methods that know nothing of edges.
names = ["top", "left", "bottom", "right"]
methods = {"edge_move": {}, "gradient": {}, "integrated_gradients": {"steps": 20}}
maps = {
    name: wb.introspect.saliency(model, batch.images, names, name, **own)
    for name, own in methods.items()
}
height, width = (batch.boxes[:, 2:] - batch.boxes[:, :2]).T
shown = np.abs(height * width - 300).argmin()
axes = wb.plots.saliency_grid(
    np.stack([found[:, shown] for found in maps.values()]), list(maps), names,
    box=batch.boxes[shown],
)  # fmt: skip
axes.flat[0].figure.savefig(out / "maps.png", dpi=120)

talk = {name: cross_talk(found, batch.boxes) for name, found in maps.items()}
found = talk["gradient"]
ax = wb.plots.cross_talk_matrix(
    found, [found.low, found.high], elsewhere=found.elsewhere, title="Gradient maps"
)
ax.figure.savefig(out / "cross_talk.png", dpi=120)

print("mean response of a coordinate to its own edge:", np.diag(moves.matrix).mean().round(3))
for name, found in talk.items():
    print(f"{name}: {np.diag(found).mean():.0%} of the map on its own edge")
