"""VGG16 that takes RGB in 0..255 and answers row, column, height, width: adapted, then explained.

python examples/explain_vgg16.py [--weights imagenet] [--out examples_out] [--quick]

Only the last layer is fitted, by ridge regression on what VGG16 makes of 200 images: random
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
parser.add_argument("--quick", action="store_true", help="little of each, to see it run")
options = parser.parse_args()
out = Path(options.out)
out.mkdir(parents=True, exist_ok=True)
keras.utils.set_random_seed(0)

# A model as one finds it: nothing in it knows of this library.
scene = wb.data.Scene(size=(32, 32), short_side=(6, None))
backbone = keras.applications.VGG16(
    include_top=False, weights=options.weights, input_shape=(32, 32, 3), name="vgg16"
)
features = keras.layers.Flatten(name="flatten")(backbone.output)
head = keras.layers.Dense(4, name="row_column_height_width")
theirs = keras.Model(backbone.input, head(features), name="theirs")

# The whole contract: images in [0, 1] in, boxes out, the way between them inside the model.
model = wb.models.adapted(
    theirs,
    "rel_yxhw",
    channels=1,
    prepare=lambda x: keras.applications.vgg16.preprocess_input(
        keras.ops.repeat(255.0 * x, 3, axis=-1)
    ),
)

n, patch = (20, 16) if options.quick else (200, 4)
batch = wb.data.generate(scene, n, seed=0)
seen = wb.introspect.activations(model, batch.images, "theirs/flatten", batch_size=50)
x = seen["theirs/flatten"].astype(np.float64)
y = wb.boxes.convert(batch.rel_boxes, "rel_yxyx", "rel_yxhw")
x_mean, y_mean = x.mean(0), y.mean(0)
gram = (x - x_mean) @ (x - x_mean).T
ridge = 1e-3 * np.trace(gram) / len(gram)
weights = (x - x_mean).T @ np.linalg.solve(gram + ridge * np.eye(len(gram)), y - y_mean)
head.set_weights([weights, y_mean - x_mean @ weights])
result = wb.training.evaluate(model, scene, n=n // 2)
print(f"mean IoU {result.mean_iou:.2f} on {n // 2} other images")

box = [8, 6, 22, 27]
image = wb.data.render([box], scene)
coordinates = ["top", "left", "bottom", "right"]
methods = {
    "gradient": {},
    "gradcam": {"layer": "theirs/block2_conv2"},
    "lrp": {"composite": "epsilon_plus_flat"},
    "occlusion": {"patch": patch, "stride": patch // 2},
}
maps = [
    wb.introspect.saliency(model, image, coordinates, name, **settings)[:, 0]
    for name, settings in methods.items()
]
axes = wb.plots.saliency_grid(maps, list(methods), coordinates, box=box)
axes.flat[0].figure.savefig(out / "vgg16.png", dpi=120)
print(f"wrote {out / 'vgg16.png'}")
