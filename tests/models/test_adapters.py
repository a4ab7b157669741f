"""Your own model in this library's clothes: what comes in, what comes out, what stays."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import ops

import whitebox_loc as wb

HEIGHT, WIDTH = 16, 32
SCENE = wb.data.Scene(size=(HEIGHT, WIDTH), short_side=(4, None))


def linear(outputs=4, shape=(HEIGHT, WIDTH, 3), name="theirs", seed=0, **options):
    """Return one dense layer on all pixels, with weights that outputs stay small for."""
    x = keras.Input(shape)
    dense = keras.layers.Dense(outputs, name="dense", **options)
    model = keras.Model(x, dense(keras.layers.Flatten(name="flatten")(x)), name=name)
    generator = np.random.default_rng(seed)
    model.set_weights([generator.normal(0, 1e-3, w.shape) for w in model.get_weights()])
    return model


@pytest.mark.parametrize("format", wb.boxes.FORMATS)
def test_every_format_is_that_of_convert(format):
    # The bias is the box; a box of pixels is one of the 32 x 48 that the model sees.
    truth = np.array([0.25, 0.125, 0.75, 0.5])
    theirs = linear(shape=(32, 48, 1))
    theirs.set_weights(
        [np.zeros((32 * 48, 4)), wb.boxes.convert(truth, "rel_yxyx", format, size=(32, 48))]
    )

    def enlarge(images):
        return ops.image.resize(images, (32, 48))

    ours = wb.models.adapted(theirs, format, prepare=enlarge, size=(HEIGHT, WIDTH))
    found = ours(np.zeros((2, HEIGHT, WIDTH, 1), np.float32))
    # Numbers below 64, added twice at most in float32.
    np.testing.assert_allclose(found, [truth, truth], rtol=0, atol=3 * 2**-24 * 48 / 32)


def test_pixels_may_be_those_of_another_image():
    theirs = linear(bias_initializer="zeros")
    theirs.set_weights([np.zeros((HEIGHT * WIDTH * 3, 4)), np.array([10, 20, 60, 80])])
    ours = wb.models.adapted(theirs, "yxyx", pixels=(100, 200))
    found = ours(np.zeros((1, HEIGHT, WIDTH, 3), np.float32))
    np.testing.assert_allclose(found, [[0.1, 0.1, 0.6, 0.4]], rtol=1e-6)


def test_gradient_is_that_of_the_images_before_prepare():
    theirs = linear()
    ours = wb.models.adapted(
        theirs, "xywh", channels=1, prepare=lambda x: ops.repeat(x * 255.0, 3, axis=-1) - 9.0
    )
    images = np.random.default_rng(1).random((2, HEIGHT, WIDTH, 1), np.float32)
    weights = theirs.get_weights()[0].astype(np.float64).reshape(HEIGHT, WIDTH, 3, 4).sum(2)
    # bottom = (y + height) / HEIGHT of pixels that are all multiplied by 255.
    expected = 255 * (weights[..., 1] + weights[..., 3]) / HEIGHT
    maps = wb.introspect.saliency(ours, images, "bottom")
    # Products and sums of a handful of float32 numbers.
    np.testing.assert_allclose(maps, [expected] * 2, rtol=0, atol=1e-6 * np.abs(expected).max())


def disguised(model):
    """Return `model` behind images in 0..256 and pixels, powers of two: nothing is rounded."""
    x = keras.Input((HEIGHT, WIDTH, 1))
    box = wb.boxes.convert(model(x / 256.0), "rel_yxyx", "xyxy", size=(HEIGHT, WIDTH))
    return keras.Model(x, {"box": box, "other": ops.sum(x, (1, 2))}, name="theirs")


BOXES = [[2, 3, 9, 20], [4, 8, 15, 30]]
DRAWN = wb.data.render(BOXES, SCENE)
look = wb.introspect
# What each function says, from (model, prefix of its layers' paths).
FUNCTIONS = {
    "activations": lambda m, p: look.activations(m, DRAWN, f"{p}conv2")[f"{p}conv2"],
    "list_layers": lambda m, p: [
        (row.path.removeprefix(p), row.output_shape)
        for row in look.list_layers(m)
        if row.path.startswith(p) and row.path.endswith(("conv1", "conv2", "logits"))
    ],
    "kernels": lambda m, p: look.kernels(m, f"{p}conv1"),
    "patch": lambda m, p: look.patch(m, DRAWN, {f"{p}conv1": lambda a: a * 0.5}),
    "ablate": lambda m, p: look.ablate(m, DRAWN, f"{p}conv2", [0, 3]).after,
    "activation_patching": lambda m, p: (
        look.activation_patching(m, DRAWN[:1], DRAWN[1:], f"{p}row_profile", by="row")[
            f"{p}row_profile"
        ].patched
    ),
    "probe": lambda m, p: look.probe(m, f"{p}conv2", SCENE, n=60, max_features=16).r2,
    "tuning": lambda m, p: look.tuning(m, f"{p}conv2", SCENE, n=50, bins=3).mean,
    "maximize": lambda m, p: look.maximize(m, f"{p}conv2", 0, steps=3).images,
    "top_images": lambda m, p: look.top_images(m, f"{p}conv2", 1, DRAWN, k=2).values,
    "receptive_field": lambda m, p: look.receptive_field(m, f"{p}conv2").window((5, 7)),
    "effective_receptive_field": lambda m, p: look.effective_receptive_field(
        m, f"{p}conv2", (5, 7), images=DRAWN
    ),
    "edge_moves": lambda m, p: look.edge_moves(m, BOXES, SCENE).predictions,
    "unit": lambda m, p: look.saliency(m, DRAWN, look.targets.unit(f"{p}conv2", 1)),
    "bin": lambda m, p: look.saliency(m, DRAWN, look.targets.bin("top", 3), link="logit"),
    "loss": lambda m, p: look.saliency(
        m, DRAWN, look.targets.loss(wb.losses.BoxBCE(), [0.1, 0.2, 0.8, 0.9])
    ),
    "area": lambda m, p: look.saliency(m, DRAWN, "area", "integrated_gradients", steps=5),
    "gradcam": lambda m, p: look.saliency(m, DRAWN, "left", "gradcam", layer=f"{p}conv2"),
    "lrp": lambda m, p: look.saliency(m, DRAWN, "left", "lrp"),
    "deeplift": lambda m, p: look.saliency(m, DRAWN, "left", "deeplift"),
    "occlusion": lambda m, p: look.saliency(m, DRAWN, "left", "occlusion"),
    "edge_move": lambda m, p: look.saliency(m, DRAWN, "left", "edge_move"),
    "evaluate": lambda m, p: list(wb.training.evaluate(m, SCENE, n=50).scores().values()),
}


@pytest.fixture(scope="module")
def pair():
    model = wb.models.localizer((HEIGHT, WIDTH), filters=(4, 4), seed=3)
    ours = wb.models.adapted(disguised(model), "xyxy", prepare=lambda x: x * 256.0)
    return model, ours


@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_function_says_the_same_of_a_model_in_other_clothes(pair, name):
    model, ours = pair
    expected = FUNCTIONS[name](model, "")
    found = FUNCTIONS[name](ours, "theirs/profile_localizer/")
    if name == "list_layers":
        assert found == expected
        assert len(found) == 4
        return
    expected = np.asarray(expected, np.float64)
    assert np.abs(expected).max() > 0
    # The same numbers: scaling by powers of two rounds nothing. LRP stabilises in units of each
    # layer, and the graphs may be arranged in another way: some roundings of 2^-24.
    np.testing.assert_allclose(found, expected, rtol=0, atol=2e-5 * np.nanmax(np.abs(expected)))


def test_benchmark_takes_it(pair, tmp_path):
    model, ours = pair
    results = wb.evaluation.benchmark(
        {"plain": model, "adapted": ours}, ["gradient"], {"tiny": SCENE},
        ["rank_accuracy_task", "sparseness"], n=3, baselines=False, progress=False,
        out=tmp_path,
    )  # fmt: skip
    assert not [row for row in results.rows if row["error"]]
    scores = {
        name: [row["mean"] for row in results.rows if row["model"] == name]
        for name in ("plain", "adapted")
    }
    assert len(scores["plain"]) > 3
    np.testing.assert_allclose(scores["adapted"], scores["plain"], atol=1e-5)


def test_layers_are_shared_and_nothing_else_changes():
    theirs = linear()
    before = [(id(layer), sorted(vars(layer)), layer.trainable) for layer in theirs.layers]
    state, shape = [w.numpy().tobytes() for w in theirs.weights], theirs.output_shape
    ours = wb.models.adapted(theirs, "xywh")
    wb.introspect.saliency(ours, np.zeros((1, HEIGHT, WIDTH, 3), np.float32), "top")
    assert [(id(layer), sorted(vars(layer)), layer.trainable) for layer in theirs.layers] == before
    assert [w.numpy().tobytes() for w in theirs.weights] == state
    assert theirs.output_shape == shape
    assert ours.get_layer("theirs") is theirs
    assert [id(w) for w in ours.weights] == [id(w) for w in theirs.weights]
    wb.training.fit(ours, wb.data.Scene(size=(HEIGHT, WIDTH), channels=3), steps=1, progress=False)
    assert [w.numpy().tobytes() for w in theirs.weights] != state


class Pair(keras.Model):
    """A subclassed model that says no input shape, and returns a tuple."""

    def __init__(self):
        super().__init__(name="pair")
        self.dense = keras.layers.Dense(6)

    def call(self, x):
        return tuple(ops.split(self.dense(ops.reshape(x, (-1, HEIGHT * WIDTH))), [4], axis=1))


def test_a_subclassed_model_with_labels():
    theirs = Pair()
    ours = wb.models.adapted(
        theirs,
        lambda out: {"box": ops.sigmoid(out[0]), "label": ops.softmax(out[1]), "raw": out[1]},
        size=(HEIGHT, WIDTH),
        channels=1,
    )
    images = np.random.default_rng(0).random((3, HEIGHT, WIDTH, 1), np.float32)
    found, (corners, scores) = ours(images), theirs(images)
    assert set(found) == {"box", "label", "raw"}
    np.testing.assert_allclose(found["box"], tf.sigmoid(corners), rtol=1e-6)
    np.testing.assert_allclose(found["raw"], scores, rtol=1e-6)
    maps = wb.introspect.saliency(ours, images, wb.introspect.targets.label(1), link="logit")
    kernel = theirs.dense.kernel.numpy().reshape(HEIGHT, WIDTH, 6)
    # Log-odds of one of two classes: the difference of their scores.
    np.testing.assert_allclose(maps, [kernel[..., 5] - kernel[..., 4]] * 3, atol=1e-6)


def candidates(outputs, k=3):
    grid = ops.reshape(outputs, (-1, k, 7))
    return {
        "boxes": ops.sigmoid(grid[..., :4]),
        "scores": ops.sigmoid(grid[..., 4]),
        "classes": ops.softmax(grid[..., 5:]),
    }


def test_candidates():
    theirs = linear(21)
    ours = wb.models.adapted(theirs, candidates)
    assert {key: tuple(t.shape) for key, t in ours.output.items()} == {
        "boxes": (None, 3, 4),
        "scores": (None, 3),
        "classes": (None, 3, 2),
    }
    images = tf.constant(np.random.default_rng(0).random((2, HEIGHT, WIDTH, 3), np.float32))
    with tf.GradientTape() as tape:
        tape.watch(images)
        left = tf.sigmoid(theirs(images)[:, 7 + 1])
    expected = tf.reduce_sum(tape.gradient(left, images), -1)
    maps = wb.introspect.saliency(ours, images.numpy(), lambda out: out["boxes"][:, 1, 1])
    np.testing.assert_allclose(maps, expected, rtol=0, atol=1e-6 * np.abs(expected).max())


def test_a_saved_one_opens_in_safe_mode(tmp_path):
    preprocess = keras.applications.vgg16.preprocess_input

    def prepare(images):
        return preprocess(255.0 * ops.image.resize(ops.repeat(images, 3, -1), (HEIGHT, WIDTH)))

    ours = wb.models.adapted(linear(21), candidates, prepare=prepare, size=(10, 12), channels=1)
    ours.save(tmp_path / "ours.keras")
    again = keras.models.load_model(tmp_path / "ours.keras", safe_mode=True)
    images = np.random.default_rng(0).random((2, 10, 12, 1), np.float32)
    for key, found in ours(images).items():
        np.testing.assert_array_equal(again(images)[key], found)


def test_half_precision_becomes_single():
    theirs = linear(dtype="float16")
    assert theirs.output.dtype == "float16"
    assert wb.models.adapted(theirs).output.dtype == "float32"
