"""VGG16 and ResNet50 of keras.applications, with a box on top: every function, with oracles."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import whitebox_loc as wb
from whitebox_loc import introspect
from whitebox_loc.introspect import METHODS, saliency

EDGES = ["top", "left", "bottom", "right"]
SIZE = 64
# Last convolution, whose 2 x 2 places Flatten and Dense(4) read, and one in the middle.
NETWORKS = {
    "vgg16": (keras.applications.VGG16, "block5_pool", "block3_conv3"),
    "resnet50": (keras.applications.ResNet50, "conv5_block3_out", "conv2_block3_out"),
}


class Network:
    """A backbone, nested under its own name, and the localizer that holds it."""

    def __init__(self, name, seed=0):
        build, last, self.middle = NETWORKS[name]
        self.name, self.last = name, f"{name}/{last}"
        self.backbone = build(
            include_top=False, weights=None, input_shape=(SIZE, SIZE, 3), name=name
        )
        x = keras.Input((SIZE, SIZE, 3))
        features = keras.layers.Flatten(name="flatten")(self.backbone(x))
        self.head = keras.layers.Dense(4, activation="sigmoid", name="box")
        self.model = keras.Model(x, self.head(features), name=f"{name}_localizer")
        generator = np.random.default_rng(seed)
        for weight in self.model.weights:
            kind = weight.path.rpartition("/")[2]
            if kind == "kernel":
                # He's gain, with which VGG16 neither fades nor explodes; ResNet50, which adds
                # sixteen branches up, needs less.
                gain = 2.0 if name == "vgg16" else 1.0
                deviation = np.sqrt(gain / np.prod(weight.shape[:-1]))
                weight.assign(generator.normal(0, deviation, weight.shape))
            elif kind in ("gamma", "moving_variance"):
                weight.assign(generator.uniform(0.5, 1.5, weight.shape))
        self.draw_biases(generator)
        self.images = generator.random((2, SIZE, SIZE, 3), np.float32)

    def draw_biases(self, generator):
        """Draw biases and the means of batch normalization, or without a generator none.

        Without them the network is a piecewise linear function through zero.
        """
        for weight in self.model.weights:
            if weight.path.rpartition("/")[2] in ("bias", "beta", "moving_mean"):
                drawn = 0.0 if generator is None else generator.normal(0, 0.05, weight.shape)
                weight.assign(np.broadcast_to(drawn, weight.shape))

    def scores(self, images):
        """Return what goes into the sigmoid, from the layers as they are."""
        features = self.backbone(images, training=False)
        flat = tf.reshape(features, (len(images), -1))
        return flat @ self.head.kernel + self.head.bias

    def gradients(self, function, images):
        """Return the gradients (4, n, h, w, c) of four numbers an image."""
        tensor = tf.constant(images)
        with tf.GradientTape(persistent=True) as tape:
            tape.watch(tensor)
            numbers = tf.unstack(function(tensor), axis=1)
        return np.stack([tape.gradient(number, tensor).numpy() for number in numbers])


@pytest.fixture(scope="module", params=NETWORKS)
def network(request):
    # In float32 one of some hundred thousand ReLUs and maxima lies within rounding of its kink,
    # takes another side in another order of sums, and so changes the gradients behind it.
    keras.config.set_dtype_policy("float64")
    try:
        return Network(request.param)
    finally:
        keras.config.set_dtype_policy("float32")


# Fifty layers take long to trace, so ResNet50 has its turn among the slow tests.
fifty_layers_are_slow = pytest.mark.parametrize(
    "network", ["vgg16", pytest.param("resnet50", marks=pytest.mark.slow)], indirect=True
)


def close(found, expected, roundings=1000):
    # Sums of some thousand products in another order, in up to 50 layers: errors add up like
    # random ones, so of about sqrt(50 * 1000) roundings of 2^-24 of the largest number.
    atol = roundings * np.finfo(np.float32).eps * np.abs(expected).max()
    assert np.abs(expected).max() > 0
    np.testing.assert_allclose(found, expected, rtol=0, atol=atol)


@fifty_layers_are_slow
def test_gradient_is_that_of_a_tape(network):
    expected = network.gradients(lambda x: network.model(x, training=False), network.images)
    close(saliency(network.model, network.images, EDGES), expected.sum(-1))


@fifty_layers_are_slow
def test_integrated_gradients_are_those_of_a_tape(network):
    images = network.images[:1]
    nodes, weights = np.polynomial.legendre.leggauss(2)
    slopes = sum(
        weight / 2 * network.gradients(network.scores, np.float32((node + 1) / 2) * images)
        for node, weight in zip(nodes, weights, strict=True)
    )
    maps, info = saliency(
        network.model, images, EDGES, "integrated_gradients", steps=2,
        rule="gauss_legendre", link="logit", return_info=True,
    )  # fmt: skip
    close(maps, (slopes * images).sum(-1))
    difference = np.transpose(network.scores(images) - network.scores(0 * images))
    # What two points miss of a function with thousands of kinks is reported.
    close(info.gap, maps.sum((2, 3)) - difference, roundings=20_000)


@fifty_layers_are_slow
def test_deeplift_is_complete(network):
    images = network.images[:1]
    maps = saliency(network.model, images, EDGES, "deeplift", link="logit")
    difference = np.transpose(network.scores(images) - network.scores(0 * images))
    # Differences of nearly equal numbers, in up to fifty layers, lose up to half the digits.
    np.testing.assert_allclose(
        maps.sum((2, 3)), difference, rtol=0, atol=1e-3 * np.abs(difference).max()
    )


@fifty_layers_are_slow
def test_lrp_without_biases_is_gradient_times_input(network):
    images = network.images[:1]
    network.draw_biases(None)
    try:
        slopes = network.gradients(network.scores, images)
        maps = saliency(network.model, images, EDGES, "lrp", link="logit", epsilon=1e-12)
        scores = np.transpose(network.scores(images))
    finally:
        network.draw_biases(np.random.default_rng(1))
    # Epsilon shares undo themselves from layer to layer (Ancona et al. 2018), and what is
    # piecewise linear through zero adds up to its value. Divisions by sums that nearly
    # cancel cost some digits more.
    close(maps, (slopes * images).sum(-1), roundings=20_000)
    np.testing.assert_allclose(maps.sum((2, 3)), scores, atol=5e-3 * np.abs(scores).max())


@fifty_layers_are_slow
def test_gradcam_of_the_last_layer_is_the_mean_weight_of_each_channel(network):
    features = network.backbone(network.images, training=False).numpy()
    assert features.shape[1:3] == (2, 2)
    weights = network.head.kernel.numpy().reshape(2, 2, -1, 4).mean((0, 1))
    small = np.einsum("ck,nhwc->knhw", weights, features)[..., None]
    expected = [tf.image.resize(m, (SIZE, SIZE))[..., 0] for m in small]
    maps = saliency(
        network.model, network.images, EDGES, "gradcam", layer=network.last, link="logit"
    )
    close(maps, np.array(expected))


@fifty_layers_are_slow
def test_layers_are_found_by_their_nested_path(network):
    layer = f"{network.name}/{network.middle}"
    inner = keras.Model(network.backbone.input, network.backbone.get_layer(network.middle).output)
    expected = inner(network.images).numpy()
    close(introspect.activations(network.model, network.images, layer)[layer], expected)
    paths = {row.path: row.output_shape for row in introspect.list_layers(network.model)}
    assert paths[layer] == (None, *expected.shape[1:])
    # With the middle of other images put in its place, the rest computes those images' boxes.
    swapped = introspect.patch(network.model, network.images[::-1].copy(), {layer: expected})
    close(swapped, network.model(network.images, training=False).numpy())


@fifty_layers_are_slow
def test_receptive_fields(network):
    # Each 3 x 3 convolution adds 2 steps of its input, each 2 x 2 pooling 1 (Araujo et al.
    # 2019). VGG16: 1 + 2 * 2 + 1, + (2 * 2 + 1) * 2, + 3 * 2 * 4. ResNet50 halves by 7 x 7
    # and 3 x 3: 7, + 2 * 2, then one 3 x 3 a block: + 3 * 2 * 4, and + 4 * 2 * 8.
    sides = {
        "vgg16": {"block1_pool": 6, "block2_pool": 16, "block3_conv3": 40},
        "resnet50": {
            "conv1_relu": 7, "pool1_pool": 11, "conv2_block3_out": 35, "conv3_block4_out": 99,
        },
    }  # fmt: skip
    for layer, side in sides[network.name].items():
        field = introspect.receptive_field(network.model, f"{network.name}/{layer}")
        assert field.size == (side, side)


OPTIONS = {
    name: {k: 3 for k in ("steps", "samples") if k in row.options} for name, row in METHODS.items()
}
OPTIONS |= {
    name: {"segments": (2, 2), "samples": 16}
    for name, row in METHODS.items()
    if "segments" in row.options
}
OPTIONS["occlusion"] = {"patch": 32, "stride": 16}


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_every_method(network, method):
    options = dict(OPTIONS[method])
    if METHODS[method].family == "cam":
        # Two channels of features a channel of images, so that masks by channel stay few.
        first = "block1_conv2" if network.name == "vgg16" else "conv1_relu"
        options["layer"] = f"{network.name}/{first}"
    before = [w.numpy().tobytes() for w in network.model.weights]
    scene = wb.data.Scene(size=(SIZE, SIZE), channels=3)
    images = wb.data.render([[10, 12, 40, 50], [20, 8, 60, 30]], scene)
    maps = saliency(network.model, images, EDGES, method, **options)
    assert maps.shape == (4, 2, SIZE, SIZE)
    assert np.isfinite(maps).all()
    assert np.abs(maps).max() > 0 or method == "drise"
    assert [w.numpy().tobytes() for w in network.model.weights] == before


@fifty_layers_are_slow
def test_what_looks_at_scenes_takes_it_as_it_is(network):
    scene = wb.data.Scene(size=(SIZE, SIZE), channels=3)
    found = wb.training.evaluate(network.model, scene, n=4)
    batch = found.batch
    own = network.model(batch.images, training=False).numpy() * SIZE
    np.testing.assert_allclose(found.predictions, own, rtol=1e-5)
    layer = f"{network.name}/{network.middle}"
    assert introspect.tuning(network.model, layer, scene, n=8, bins=2).mean.size > 0
    ablation = introspect.ablate(network.model, batch.images, layer, [0, 5])
    whole = introspect.activations(network.model, batch.images, layer)[layer]
    whole[..., 5] = 0
    without = introspect.patch(network.model, batch.images, {layer: whole})
    np.testing.assert_allclose(ablation.after[1], without, rtol=1e-5)


def test_an_operation_without_a_rule_is_named():
    # LayerNormalization divides by a spread that depends on the image; ResNet and VGG do not.
    x = keras.Input((32, 32, 3))
    y = keras.layers.Conv2D(4, 3, name="stem")(x)
    y = keras.layers.LayerNormalization(name="normal")(y)
    y = keras.layers.GlobalAveragePooling2D()(y)
    model = keras.Model(x, keras.layers.Dense(4, name="box")(y))
    images = np.random.default_rng(0).random((1, 32, 32, 3), np.float32)
    with pytest.raises(ValueError, match=r"cannot pass layer 'normal' \(LayerNormalization\)"):
        saliency(model, images, "top", "lrp")
