"""What one candidate of a RetinaNet looks at, before any candidate is thrown away.

python examples/explain_a_hub_detector.py [--out examples_out]

Needs `pip install "whitebox_loc[hub]"`. The weights are random, so the maps show how the network
is built, not what a trained one has learned; see "Your own model" in the documentation for
pretrained ones.
"""

import argparse
from pathlib import Path

import keras
import keras_hub

import whitebox_loc as wb

parser = argparse.ArgumentParser()
parser.add_argument("--out", default="examples_out")
out = Path(parser.parse_args().out)
out.mkdir(parents=True, exist_ok=True)
keras.utils.set_random_seed(0)

shape = (64, 96, 3)
encoder = keras_hub.models.ResNetBackbone(
    input_conv_filters=[64],
    input_conv_kernel_sizes=[7],
    stackwise_num_filters=[64, 64, 64, 64],
    stackwise_num_blocks=[1, 1, 1, 1],
    stackwise_num_strides=[1, 2, 2, 2],
    block_type="basic_block",
    image_shape=shape,
)
backbone = keras_hub.models.RetinaNetBackbone(
    encoder, min_level=3, max_level=5, use_p5=False, image_shape=shape
)
detector = keras_hub.models.RetinaNetObjectDetector(
    backbone, num_classes=3, pre_logits_num_conv_layers=1
)
for weight in detector.box_head.weights:
    if weight.path.endswith("bias"):  # untrained, they put all boxes far off the image
        weight.assign(keras.ops.zeros_like(weight))
model = wb.models.hub_detector(detector, channels=1)

box = [14, 30, 44, 70]
image = wb.data.render([box], wb.data.Scene(size=shape[:2]))
outputs = model(image, training=False)
candidates = wb.boxes.convert(outputs["boxes"][0], "rel_yxyx", "yxyx", size=shape[:2])
overlap = wb.boxes.iou(candidates, keras.ops.cast([box], "float32"), "yxyx").numpy()
best = int(overlap.argmax())
found, score_found = candidates.numpy()[best], outputs["scores"].numpy()[0, best]
print(f"of {len(overlap)} candidates, {best} overlaps the box most, IoU {overlap[best]:.2f}")
print(f"it is {found.round(1)}, score {score_found:.3f}")


def top(outputs):
    """Return the top edge of the candidate."""
    return outputs["boxes"][:, best, 0]


def left(outputs):
    """Return its left edge."""
    return outputs["boxes"][:, best, 1]


def score(outputs):
    """Return how sure the detector is of it."""
    return outputs["scores"][:, best]


targets = [top, left, score]
methods = {
    "gradient": {},
    "gradcam": {"layer": f"{detector.name}/{backbone.name}/backbone/stack1_block0_out"},
}
maps = [
    wb.introspect.saliency(model, image, targets, name, **settings)[:, 0]
    for name, settings in methods.items()
]
names = [target.__name__ for target in targets]
axes = wb.plots.saliency_grid(maps, list(methods), names, box=found)
axes.flat[0].figure.savefig(out / "detector.png", dpi=120)
print(f"wrote {out / 'detector.png'}")
