# ruff: noqa: E501 - one row a case reads best
"""Wrong arguments: each is refused with its name, what it was and what helps."""

import re

import keras
import numpy as np
import pytest
import tensorflow as tf

import whitebox_loc as wb
from whitebox_loc.introspect import METHODS, activations, kernels, patch, saliency, targets
from whitebox_loc.introspect.targets.query import Query
from whitebox_loc.introspect.tracing.inputs import check_images

LAYERS = keras.layers
IMAGES = np.random.default_rng(0).random((2, 6, 7, 1), np.float32)


def build(*parts):
    return keras.Sequential([keras.Input((6, 7, 1)), *parts, LAYERS.Flatten(), LAYERS.Dense(4)])


MODEL = build(LAYERS.Conv2D(2, 3, name="conv1"), LAYERS.ReLU(name="relu1"))
TWO_BOXES = keras.Model(
    MODEL.inputs, [LAYERS.Dense(4, name=name)(MODEL.outputs[0]) for name in ("a", "b")]
)


def explain(target="top", method="gradient", model=MODEL, images=IMAGES, **options):
    return saliency(model, images, target, method, **options)


CASES = {
    "model": (lambda: explain(model="vgg"), "`model` must be a keras.Model (Functional, Sequential or a subclass); got builtins.str."),
    "method": (lambda: explain(method="gradients"), "Did you mean 'gradient'?"),
    "link": (lambda: explain(link="logits"), "`link` must be one of ['identity', 'logit']; got 'logits'. Did you mean 'logit'?"),
    "batch size": (lambda: explain(batch_size=0), "`batch_size` must be a whole number >= 1; got 0."),
    "integers": (lambda: explain(images=IMAGES.astype("uint8")), "`images` must hold floats in the range that the model takes; got dtype uint8."),
    "one image": (lambda: explain(images=IMAGES[0]), "`images` must have shape (n, height, width, channels), n at least 1; got (6, 7, 1). Use images[None] for a single image."),
    "no image": (lambda: explain(images=IMAGES[:0]), "n at least 1; got (0, 6, 7, 1)."),
    "two images": (lambda: explain(images=[IMAGES, IMAGES]), "must hold exactly one image array"),
    "lengths": (lambda: explain(images=[IMAGES, np.zeros((3, 1))]), "`images` must hold arrays of one length, 2 images; got shapes [(2, 6, 7, 1), (3, 1)]."),
    "no target": (lambda: explain([]), "`target` must name at least one target; got an empty list."),
    "target name": (lambda: explain("bottm"), "Did you mean 'bottom'?"),
    "target type": (lambda: explain(1.5), "`target` must be one of ['top', 'left', 'bottom', 'right', 'height'"),
    "target bool": (lambda: explain(True), "`target` must be one of"),
    "target number": (lambda: explain(4), "`target` 4 must be the number of one of the model's outputs; its output has shape (None, 4)."),
    "target shape": (lambda: explain(lambda out: out), "must return one number an image, shape (n,); got shape (None, 4)."),
    "which box": (lambda: explain(model=TWO_BOXES), "`model` must return one output of shape (n, 4), the box in rel_yxyx, or name it 'box'; got {'a': (None, 4), 'b': (None, 4)}. Otherwise pass `target` as a function of the outputs"),
    "boxes": (lambda: explain(targets.iou(np.ones((3, 4)))), "`target` must hold one box or class an image, 2, or one for all; got 3."),
    "box size": (lambda: targets.iou([0, 0, 3, 3], "yxyx"), "Pass size=(height, width) of the image in pixels."),
    "box shape": (lambda: targets.iou(np.ones((2, 3, 4))), "`boxes` must have shape (n, 4) or (4,); got (2, 3, 4)."),
    "loss": (lambda: targets.loss("bce", [0, 0, 1, 1]), "`loss` must be a function of true and predicted boxes, such as a keras.Loss, of 2 arguments; got 'bce' of type str."),
    "loss shape": (lambda: explain(targets.loss(lambda t, p: t - p, [0, 0, 1, 1])), "`loss` must return one number an image, shape (n,); got shape (None, 4)."),
    "unit layer": (lambda: explain(targets.unit("conv2", 0)), "Did you mean 'conv1'?"),
    "unit channel": (lambda: explain(targets.unit("conv1", 2)), "`target` unit('conv1', channel=2, position=None) does not fit the layer's output, of shape (None, 4, 5, 2)."),
    "unit place": (lambda: explain(targets.unit("conv1", 0, (4, 0))), "does not fit the layer's output, of shape (None, 4, 5, 2)."),
    "bin model": (lambda: explain(targets.bin("top", 0)), "`target` bin('top', 0) needs a localizer with head='profile', that is one layer 'row_distribution'"),
    "bin index": (lambda: explain(targets.bin("left", 8), model=wb.models.localizer(size=(6, 7))), "`index` of bin('left', 8) must lie in -8 .. 7."),
    "logit of": (lambda: explain("height", link="logit"), "`link` 'logit' needs a target that is a probability behind a sigmoid: one of ['top', 'left', 'bottom', 'right'], the number of an output, a bin or a label; got 'height'. Use link='identity'."),
    "option": (lambda: explain(method="integrated_gradients", step=3), "Method 'integrated_gradients' has no option 'step'; it has ['baseline', 'rule', 'steps']. Did you mean 'steps'?"),
    "option of base": (lambda: explain(method="smoothgrad", steps=3), "Method 'smoothgrad' has no option 'steps'"),
    "base": (lambda: explain(method="vargrad", base="smoothgrad"), "`base` must be one of ['gradient', 'gradient_x_input'"),
    "steps": (lambda: explain(method="integrated_gradients", steps=0), "`steps` must be a whole number between 1 and 2000; got 0."),
    "trapezoid": (lambda: explain(method="integrated_gradients", steps=1, rule="trapezoid"), "`steps` must be a whole number >= 2; got 1."),
    "rule": (lambda: explain(method="integrated_gradients", rule="simpson"), "`rule` must be one of ['gauss_legendre', 'trapezoid', 'midpoint']; got 'simpson'."),
    "baseline": (lambda: explain(method="integrated_gradients", baseline=np.zeros((5, 7, 1))), "`baseline` must be finite: a number, an image of shape (6, 7, 1), or several of either along a first axis; got shape (5, 7, 1)."),
    "baseline type": (lambda: explain(method="integrated_gradients", baseline="black"), "`baseline` must be a number, an image, several of either, or a scene; got 'black'. Scenes have names ['uniform',"),
    "samples": (lambda: explain(method="expected_gradients", samples=0), "`samples` must be a whole number >= 1; got 0."),
    "noise": (lambda: explain(method="smoothgrad", noise=-1.0), "`noise` must be a finite number >= 0.0; got -1.0."),
    "seed": (lambda: explain(method="smoothgrad", seed=None), "`seed` must be a whole number >= 0 or a numpy.random.Generator; got None of type NoneType."),
    "sigma": (lambda: explain(method="blur_ig", max_sigma=0.0), "`max_sigma` must be a finite number between 0.001 and 70.0; got 0.0."),
    "layers": (lambda: activations(MODEL, IMAGES, ["conv"]), "`layers` must name layers of model 'sequential"),
    "reduce": (lambda: activations(MODEL, IMAGES, reduce="median"), "`reduce` must be one of ['mean', 'max', 'min', 'sum']; got 'median'."),
    "kernel": (lambda: kernels(MODEL, "relu1"), "`layer` must be a convolution or dense layer; 'relu1' is a ReLU without a kernel. Its weights are []."),
    "kernel name": (lambda: kernels(MODEL, "conv2"), "`layer` must name layers of model"),
    "unbuilt": (lambda: kernels(keras.Sequential([LAYERS.Dense(4, name="d")]), "d"), "`layer` 'd' has no weights yet; call the model on images once."),
    "no patch": (lambda: patch(MODEL, IMAGES, {}), "`replacements` must be a dict from layer path to array or function; got {}."),
    "patch layer": (lambda: patch(MODEL, IMAGES, {"conv2": 0.0}), "`replacements` must name layers of model"),
    "patch rows": (lambda: patch(MODEL, IMAGES, {"conv1": np.zeros((4, 5, 2))}), "`replacements` of 'conv1' must have shape (n, ...), n = 2 images, or (1, ...); got (4, 5, 2)."),
    "patch shape": (lambda: patch(MODEL, IMAGES, {"conv1": np.zeros((1, 4, 5, 3))}), "`replacements` of 'conv1' must have the shape of the layer's output, (None, 4, 5, 2); got (None, 4, 5, 3)."),
    "patch function": (lambda: patch(MODEL, IMAGES, {"conv1": lambda a: a[:, :2]}), "`replacements` of 'conv1' must have the shape of the layer's output, (None, 4, 5, 2); got (None, 2, 5, 2)."),
    "patch type": (lambda: patch(MODEL, IMAGES, {"conv1": "zero"}), "`replacements` of 'conv1' must be an array, a number or a function; got 'zero'."),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_refused_with_a_reason(case):
    call, message = CASES[case]
    with pytest.raises((ValueError, TypeError), match=re.escape(message)):
        call()


@pytest.mark.parametrize("method", ["guided_backprop", "deconvnet"])
@pytest.mark.parametrize(
    ("part", "message"),
    [
        (LAYERS.LeakyReLU(name="leaky"), r"layer '.*leaky.*' has a LeakyRelu"),
        (LAYERS.Activation("elu", name="bent"), r"layer '.*bent.*' has a Elu"),
        (LAYERS.ReLU(threshold=0.1, name="late"), r"layer 'late' is a ReLU with a threshold"),
        (LAYERS.Activation("gelu", name="bell"), r"layer 'bell' has a gelu"),
        (LAYERS.Conv2D(2, 1, activation="silu", name="soft"), r"layer 'soft' has a silu"),
        (
            LAYERS.Conv2D(2, 1, activation="sparse_plus", name="thin"),
            r"layer 'thin' has a sparse_p",
        ),
        (LAYERS.PReLU(name="learned"), r"layer 'learned' has a PReLU"),
        (LAYERS.ReLU(negative_slope=0.1, name="slope"), r"layer 'slope' is a ReLU with a thresh"),
        (LAYERS.Lambda(lambda x: tf.maximum(x, 0.0), name="own"), r"layer '.*own.*' computes max"),
        (LAYERS.Activation("tanh"), r"needs a model with ReLU activations, and this one has none"),
    ],
)
def test_rules_of_relu_name_the_layer_that_they_cannot_reach(method, part, message):
    with pytest.raises(ValueError, match=message):
        explain(method=method, model=build(part))


def test_images_may_be_tensors_and_doubles():
    expected = explain()
    np.testing.assert_array_equal(explain(images=tf.constant(IMAGES)), expected)
    np.testing.assert_array_equal(explain(images=IMAGES.astype(np.float64)), expected)
    np.testing.assert_array_equal(explain(images=IMAGES[:, ::-1][:, ::-1]), expected)


@pytest.mark.parametrize("batch_size", [1, 2, 3, 5, 7, 100])
@pytest.mark.parametrize("n", [1, 3, 8])
def test_tiles_cover_everything_once_and_never_exceed_the_batch(n, batch_size):
    inputs = check_images(np.zeros((n, 2, 2, 1), np.float32))
    query = Query(MODEL, inputs, [], "identity", batch_size)
    covered = np.zeros((n, 11), int)
    for rows, samples in query.tiles(11):
        covered[rows, samples] += 1
        assert covered[rows, samples].size <= batch_size
    assert (covered == 1).all()


def test_every_method_says_what_it_is():
    for name, row in METHODS.items():
        assert row.name == name
        assert row.paper
        assert row.blind_to
        assert row.function.__doc__
