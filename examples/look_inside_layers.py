"""What each layer says about the box: tuned channels, linear readouts, best images.

python examples/look_inside_layers.py [--quick]

Writes tuning.png, probe.png, best_images.png and receptive_field.png into examples_out/.
"""

import argparse
from pathlib import Path

import whitebox_loc as wb

parser = argparse.ArgumentParser()
parser.add_argument("--quick", action="store_true", help="little of each, to see it run")
quick = parser.parse_args().quick
out = Path("examples_out")
out.mkdir(exist_ok=True)

look = wb.introspect
scene = wb.data.Scene(size=(16, 20) if quick else (32, 40))
place = (8, 10) if quick else (16, 20)
model = wb.models.localizer(size=scene.size, seed=0)
wb.training.fit(model, scene, steps=5 if quick else 60, progress=False)

for row in look.list_layers(model):
    print(f"{row.path:<22} {row.kind:<14} {row.output_shape}")


def save(axes, name):
    """Save the figure that some axes belong to."""
    getattr(axes, "flat", [axes])[0].figure.savefig(out / name, dpi=120)


curves = look.tuning(model, "row_profile", scene, bins=16, n=200 if quick else 1500, reduce="sum")
save(
    wb.plots.tuning_curves(
        curves.edges, curves.mean, curves.factors, curves.std, title="row_profile: sum over rows"
    ),
    "tuning.png",
)

layers = ["conv1", "conv2", "row_profile", "row_boundary", "row_distribution", "box"]
found = look.probe(model, layers, scene, n=100 if quick else 800, max_features=1024)
save(wb.plots.probe_table(found.r2, layers, found.factors, title="Linear readout"), "probe.png")

best = look.maximize(model, "conv2", steps=5 if quick else 100)
labels = [f"{label}: {value:.2f}" for label, value in zip(best.labels, best.values, strict=True)]
save(wb.plots.maximized_images(best.images, labels, title="Best images"), "best_images.png")

field = look.receptive_field(model, "conv2")
heard = look.effective_receptive_field(model, "conv2", place)
save(
    wb.plots.receptive_field(
        heard, field.window(place), label="|d unit / d pixel|", title=f"conv2, place {place}"
    ),
    "receptive_field.png",
)

top = found.r2[:, 0]
print(f"top is read with R2 {top[0]:.2f} from {layers[0]} and {top[-1]:.2f} from {layers[-1]}")
