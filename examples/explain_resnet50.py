"""A layer amid a nested ResNet50: what it looks at, which of its rows carry an edge.

python examples/explain_resnet50.py [--weights imagenet] [--out examples_out]

Only the last layer is fitted, by ridge regression on what ResNet50 makes of 120 images: random
weights do without a download, and are what the maps are about.
"""

import argparse
from pathlib import Path

import keras
import numpy as np

import whitebox_loc as wb

parser = argparse.ArgumentParser()
parser.add_argument("--weights", choices=["imagenet"], help="downloaded by Keras; default: random")
parser.add_argument("--out", default="examples_out")
options = parser.parse_args()
out = Path(options.out)
out.mkdir(parents=True, exist_ok=True)
keras.utils.set_random_seed(0)

scene = wb.data.Scene(size=(48, 48), short_side=(10, None))
backbone = keras.applications.ResNet50(
    include_top=False, weights=options.weights, input_shape=(48, 48, 3), name="resnet50"
)
images = keras.Input((48, 48, 3))
features = keras.layers.Flatten(name="flatten")(backbone(images))
head = keras.layers.Dense(4, name="xyxy")
theirs = keras.Model(images, head(features), name="theirs")
model = wb.models.adapted(
    theirs,
    "xyxy",  # in pixels
    channels=1,
    prepare=lambda x: keras.applications.resnet50.preprocess_input(
        keras.ops.repeat(255.0 * x, 3, axis=-1)
    ),
)

batch = wb.data.generate(scene, 120, seed=0)
seen = wb.introspect.activations(model, batch.images, "theirs/flatten", batch_size=50)
x = seen["theirs/flatten"].astype(np.float64)
y = wb.boxes.convert(batch.boxes, "yxyx", "xyxy")
x_mean, y_mean = x.mean(0), y.mean(0)
gram = (x - x_mean) @ (x - x_mean).T
ridge = 1e-3 * np.trace(gram) / len(gram)
weights = (x - x_mean).T @ np.linalg.solve(gram + ridge * np.eye(len(gram)), y - y_mean)
head.set_weights([weights, y_mean - x_mean @ weights])
result = wb.training.evaluate(model, scene, n=50)
print(f"mean IoU {result.mean_iou:.2f} on 50 other images")

layer = "theirs/resnet50/conv3_block4_out"
paths = [row.path for row in wb.introspect.list_layers(model)]
print(f"layer {paths.index(layer)} of {len(paths)}: {layer}")

# Which of its rows, taken from the image with the higher box, move the predicted top edge back?
box = [12, 10, 32, 40]
image = wb.data.render([box], scene)
lower = wb.data.render([[20, *box[1:]]], scene)
# Every second row is never read: the convolutions behind the layer take steps of two.
found = wb.introspect.activation_patching(model, image, lower, layer, by="row")[layer]
print("share of a moved top edge by row:", found.share[:, 0].round(2))

coordinates = ["top", "bottom"]
methods = {
    "gradient": {},
    "layercam": {"layer": layer},
}
maps = [
    wb.introspect.saliency(model, image, coordinates, name, **settings)[:, 0]
    for name, settings in methods.items()
]
axes = wb.plots.saliency_grid(maps, list(methods), coordinates, box=box)
axes.flat[0].figure.savefig(out / "resnet50.png", dpi=120)
print(f"wrote {out / 'resnet50.png'}")
