"""One image, four coordinates, a method of each family, on one page.

python examples/compare_saliency.py [--out examples_out]
"""

import argparse
from pathlib import Path

import whitebox_loc as wb

parser = argparse.ArgumentParser()
parser.add_argument("--out", default="examples_out")
out = Path(parser.parse_args().out)
out.mkdir(parents=True, exist_ok=True)

scene, box = wb.data.Scene(size=(40, 40)), [12, 8, 26, 30]
model = wb.models.localizer(size=scene.size, head="dense", seed=0)
wb.training.fit(model, scene, steps=150, learning_rate=3e-3, progress=False)
image = wb.data.render([box], scene)

coordinates = ["top", "left", "bottom", "right"]
methods = {
    "gradient": {},
    "integrated_gradients": {"steps": 50, "baseline": (0.0, 1.0)},
    "layercam": {"layer": "conv1"},
    "occlusion": {"patch": 4, "stride": 1},
}
maps = [
    wb.introspect.saliency(model, image, coordinates, name, **options)[:, 0]
    for name, options in methods.items()
]
axes = wb.plots.saliency_grid(maps, list(methods), coordinates, box=box)
axes.flat[0].figure.savefig(out / "saliency.png", dpi=120)
print(f"wrote {out / 'saliency.png'}")
