"""Class activation maps: against loops in float64, closed forms and laws."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import whitebox_loc as wb
from whitebox_loc.introspect import METHODS, saliency

CAMS = [name for name, row in METHODS.items() if row.family == "cam"]
TARGETS = [0, 1, 2]
# float32 sums of up to 200 products have errors up to 200 * 2**-24 = 1.2e-5 of the sum of
# their sizes; a factor of 8 is left for maps whose terms partly cancel.
CLOSE = 1e-4


class Small:
    """3x3 convolution of stride 2 without padding, ReLU, Flatten, Dense(tanh); in loops."""

    def __init__(self, size=(9, 11), channels=2, filters=5, outputs=3, seed=0):
        random = np.random.default_rng(seed)
        places = ((size[0] - 1) // 2, (size[1] - 1) // 2)
        self.shape = (*places, filters)
        self.kernel = random.normal(size=(3, 3, channels, filters)).astype("float32")
        self.bias = random.normal(size=filters).astype("float32") * 0.3
        # Small enough that tanh does not saturate.
        self.weights = random.normal(size=(*self.shape, outputs)).astype("float32") * 0.03
        self.model = keras.Sequential(
            [
                keras.Input((*size, channels)),
                keras.layers.Conv2D(filters, 3, strides=2, activation="relu", name="conv"),
                keras.layers.Flatten(name="flat"),
                keras.layers.Dense(outputs, activation="tanh", name="out"),
            ]
        )
        dense = self.weights.reshape(-1, outputs)
        self.model.set_weights([self.kernel, self.bias, dense, np.zeros(outputs, "float32")])
        self.images = random.random((3, *size, channels)).astype("float32")

    def features(self, image):
        found = np.zeros(self.shape)
        for y, x, c in np.ndindex(self.shape):
            window = image[2 * y : 2 * y + 3, 2 * x : 2 * x + 3].astype(float)
            found[y, x, c] = max((window * self.kernel[..., c]).sum() + self.bias[c], 0.0)
        return found

    def head(self, features):
        return np.tanh(np.einsum("yxc,yxck->k", features, self.weights.astype(float)))

    def slope(self, features, k):
        return (1 - self.head(features)[k] ** 2) * self.weights[..., k].astype(float)

    def expected(self, map_of):
        """Maps (3, n, h, w) from a function of features, image and target to a small map."""
        size = self.images.shape[1:3]
        maps = [
            [stretched(map_of(self.features(x), x, k), size) for x in self.images] for k in TARGETS
        ]
        return np.array(maps)


def stretched(small, size):
    """Linear interpolation with the middles of the parts as places, constant beyond them."""
    out = np.zeros(size)
    for y, x in np.ndindex(*size):
        v = np.clip((y + 0.5) * small.shape[0] / size[0] - 0.5, 0, small.shape[0] - 1)
        u = np.clip((x + 0.5) * small.shape[1] / size[1] - 0.5, 0, small.shape[1] - 1)
        for i, j in np.ndindex(*small.shape):
            out[y, x] += max(0, 1 - abs(v - i)) * max(0, 1 - abs(u - j)) * small[i, j]
    return out


def assert_close(found, expected):
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=0, atol=CLOSE * np.abs(expected).max())


@pytest.fixture(scope="module")
def small():
    return Small()


def slow_gradcam(net, features, k):
    slope = net.slope(features, k)
    return sum(slope[..., c].mean() * features[..., c] for c in range(features.shape[-1]))


def slow_plus_plus(net, features, k, sign):
    """The paper's formula for the target times `sign`, with alpha as it is printed there."""
    slope, out = sign * net.slope(features, k), 0.0
    for c in range(features.shape[-1]):
        g = slope[..., c]
        alpha = g**2 / (2 * g**2 + features[..., c].sum() * g**3)
        out = out + (alpha * np.maximum(g, 0)).sum() * features[..., c]
    return out


def slow_layercam(net, features, k, relu=False):
    slope = net.slope(features, k)
    return ((np.maximum(slope, 0) if relu else slope) * features).sum(-1)


def slow_xgradcam(net, features, k):
    slope, out = net.slope(features, k), 0.0
    for c in range(features.shape[-1]):
        a = features[..., c]
        if a.sum() > 0:
            out = out + (a * slope[..., c]).sum() / a.sum() * a
    return out


def slow_ablation(net, features, k):
    out = 0.0
    for c in range(features.shape[-1]):
        without = features.copy()
        without[..., c] = 0
        out = out + (net.head(features)[k] - net.head(without)[k]) * features[..., c]
    return out


def slow_scorecam(net, features, image, k, softmax, base=0.0):
    rises = []
    start = net.head(net.features(np.full_like(image, base)))[k]
    for c in range(features.shape[-1]):
        mask = stretched(features[..., c], image.shape[:2])
        span = mask.max() - mask.min()
        mask = ((mask - mask.min()) / span if span else 0 * mask)[..., None]
        rises.append(net.head(net.features(mask * image + (1 - mask) * base))[k] - start)
    weights = np.exp(rises) / np.exp(rises).sum() if softmax else np.array(rises)
    return features @ weights


@pytest.mark.parametrize(
    ("method", "options", "map_of"),
    [
        ("gradcam", {}, slow_gradcam),
        ("gradcam", {"relu": True}, lambda n, a, k: np.maximum(slow_gradcam(n, a, k), 0)),
        ("layercam", {}, slow_layercam),
        ("layercam", {"relu": True}, lambda n, a, k: slow_layercam(n, a, k, True)),
        ("xgradcam", {}, slow_xgradcam),
        ("ablationcam", {}, slow_ablation),
        ("gradcam_plus_plus", {"relu": True}, lambda n, a, k: slow_plus_plus(n, a, k, 1)),
        (
            # Signed: what the paper says of the target minus what it says of its negative.
            "gradcam_plus_plus",
            {},
            lambda n, a, k: slow_plus_plus(n, a, k, 1) - slow_plus_plus(n, a, k, -1),
        ),
    ],
)
def test_against_loops(small, method, options, map_of):
    found = saliency(small.model, small.images, TARGETS, method, **options)
    assert_close(found, small.expected(lambda a, x, k: map_of(small, a, k)))


@pytest.mark.parametrize("softmax", [False, True])
@pytest.mark.parametrize("base", [0.0, 0.7])
def test_scorecam_against_loops(small, softmax, base):
    found = saliency(small.model, small.images, TARGETS, "scorecam", softmax=softmax, baseline=base)
    expected = small.expected(lambda a, x, k: slow_scorecam(small, a, x, k, softmax, base))
    assert_close(found, expected)


@pytest.mark.parametrize("filters", [5, 40])
def test_eigencam_is_the_first_singular_vector(filters):
    # 20 places: with 40 channels the smaller Gram matrix is that of the places.
    net = Small(filters=filters)

    def first(features, image, k):
        flat = features.reshape(-1, filters)
        places = (flat @ np.linalg.svd(flat)[2][0]).reshape(features.shape[:2])
        return places * np.sign(places.sum())

    found = saliency(net.model, net.images, TARGETS, "eigencam")
    assert_close(found, net.expected(first))
    assert (found.sum((2, 3)) > 0).all()
    assert (found[0] == found[1]).all()


def test_gradcam_adds_up_to_the_output_of_a_pooled_linear_head():
    # Grad-CAM of a mean over places and a Dense layer is CAM, which adds up to the output
    # less its bias; also where the output is negative.
    inputs = keras.Input((8, 7, 1))
    x = keras.layers.Conv2D(6, 3, padding="same", activation="relu", name="conv")(inputs)
    x = keras.layers.GlobalAveragePooling2D()(x)
    model = keras.Model(inputs, keras.layers.Dense(4, bias_initializer="ones")(x))
    kernel = np.random.default_rng(2).normal(size=(6, 4))
    model.layers[-1].set_weights([np.concatenate([kernel[:, :2], -kernel[:, :2]], 1), np.ones(4)])
    images = np.random.default_rng(1).random((5, 8, 7, 1), "float32")
    maps = saliency(model, images, [0, 1, 2, 3], "gradcam")
    outputs = model.predict(images, verbose=0) - 1
    assert outputs.min() < 0 < outputs.max()
    np.testing.assert_allclose(maps.sum((2, 3)), outputs.T, atol=1e-6)


def test_xgradcam_adds_up_to_features_times_gradient(small):
    maps = saliency(wb_same(small), small.images, 0, "xgradcam", layer="conv")
    layer = saliency(wb_same(small), small.images, 0, "layercam", layer="conv")
    # 2 sums of 99 * 5 numbers.
    scale = np.abs(layer).sum((1, 2)).max()
    np.testing.assert_allclose(maps.sum((1, 2)), layer.sum((1, 2)), atol=1e-5 * scale)


def wb_same(small):
    """A model whose maps are as large as the image, so that laying them on changes no sum."""
    keras.utils.set_random_seed(3)
    return keras.Sequential(
        [
            keras.Input(small.images.shape[1:]),
            keras.layers.Conv2D(5, 3, padding="same", activation="relu", name="conv"),
            keras.layers.Flatten(),
            keras.layers.Dense(4, activation="sigmoid"),
        ]
    )


@pytest.fixture(scope="module")
def scene():
    images = wb.data.generate(wb.data.Scene(size=(12, 16)), 5, seed=0).images
    return wb.models.localizer(size=(12, 16)), images


@pytest.fixture(scope="module")
def boxer():
    """A model of four coordinates whose maps are as large as the terms they add up.

    Those of an untrained localizer are differences of nearly equal targets: rounding.
    """
    return Small(outputs=4)


@pytest.mark.parametrize("method", CAMS)
def test_targets_and_batches_do_not_matter(boxer, method):
    model, images = boxer.model, boxer.images
    names = ["top", "left", "bottom", "right"]
    together = saliency(model, images, names, method)
    for k, name in enumerate(names):
        assert_close(saliency(model, images, name, method, batch_size=2), together[k])
    for size in (1, 3, 7):
        assert_close(saliency(model, images, names, method, batch_size=size), together)


def distance(true, predicted):
    """A loss that differs between images whatever is predicted, unlike an IoU of 0."""
    return tf.reduce_sum((true - predicted) ** 2, 1)


@pytest.mark.parametrize("method", CAMS)
def test_boxes_of_targets_follow_their_images(boxer, method):
    model, images = boxer.model, boxer.images
    boxes = np.array([[0, 0, 0.5, 0.6], [0.1, 0.2, 0.9, 0.8], [0.5, 0.4, 1, 1]])
    maps = saliency(
        model, images, wb.introspect.targets.loss(distance, boxes), method, batch_size=2
    )
    for n in range(3):
        target = wb.introspect.targets.loss(distance, boxes[n])
        assert_close(maps[n], saliency(model, images[n : n + 1], target, method)[0])


@pytest.mark.parametrize("method", [m for m in CAMS if m != "eigencam"])
def test_negative_targets_have_negative_maps(scene, method):
    model, images = scene
    maps = saliency(model, images, lambda out: out[:, 0], method)
    minus = saliency(model, images, lambda out: -out[:, 0], method)
    np.testing.assert_allclose(minus, -maps, rtol=0, atol=1e-6 * np.abs(maps).max())
    assert maps.min() < 0 < maps.max()
    assert saliency(model, images, "top", method, relu=True).min() >= 0


def test_default_layer_is_the_last_with_places(scene):
    model, images = scene
    default = saliency(model, images, "top", "layercam")
    np.testing.assert_array_equal(
        default, saliency(model, images, "top", "layercam", layer="conv2")
    )
    # Of a target inside, it is the last in front of the target.
    inside = saliency(model, images, wb.introspect.targets.unit("relu1", 2), "layercam")
    assert np.abs(inside).max() > 0
    # Names in alphabetical order are not the order of the model.
    other = wb.models.localizer(size=(32, 32), head="coordconv")
    images = np.random.default_rng(0).random((1, 32, 32, 1), "float32")
    last = saliency(other, images, "top", "layercam", layer="conv4")
    np.testing.assert_array_equal(saliency(other, images, "top", "layercam"), last)


def test_a_layer_with_one_place_is_no_map():
    model = keras.Sequential(
        [
            keras.Input((6, 6, 1)),
            keras.layers.Conv2D(3, 3, name="conv"),
            keras.layers.GlobalAveragePooling2D(keepdims=True, name="pool"),
            keras.layers.Flatten(),
            keras.layers.Dense(4),
        ]
    )
    images = np.random.default_rng(0).random((2, 6, 6, 1), "float32")
    default = saliency(model, images, 0, "gradcam")
    np.testing.assert_array_equal(default, saliency(model, images, 0, "gradcam", layer="conv"))
    with pytest.raises(ValueError, match=r"more than one place; 'pool' puts out \[\(None, 1, 1, 3"):
        saliency(model, images, 0, "gradcam", layer="pool")


@pytest.mark.parametrize("method", CAMS)
def test_shared_layers_and_skips(method):
    # The layer is used twice, and its first output goes around the second.
    inputs = keras.Input((6, 6, 3))
    conv = keras.layers.Conv2D(3, 3, padding="same", activation="relu", name="conv")
    first = conv(inputs)
    x = keras.layers.Add(name="add")([first, conv(first)])
    model = keras.Model(inputs, keras.layers.Dense(4)(keras.layers.Flatten()(x)))
    images = np.random.default_rng(5).random((4, 6, 6, 3), "float32")
    one, two = (saliency(model, images, 0, method, layer=f"conv#{i}") for i in (1, 2))
    assert np.abs(one - two).max() > 1e-3 * np.abs(one).max()
    with pytest.raises(ValueError, match="called 2 times; name one of"):
        saliency(model, images, 0, method, layer="conv")
    if method == "ablationcam":
        features = wb.introspect.activations(model, images, "conv#1")["conv#1"]
        expected = np.zeros((4, 6, 6))
        for c in range(3):
            without = features * (np.arange(3) != c)
            fall = model(images).numpy() - wb.introspect.patch(model, images, {"conv#1": without})
            expected += fall[:, 0, None, None] * features[..., c]
        assert_close(one, expected)


def test_ablation_takes_only_the_named_channel_away():
    # y = sum of w_c * mean(A_c) without a nonlinearity: the fall is the channel's own part.
    inputs = keras.Input((5, 5, 1))
    x = keras.layers.Conv2D(3, 3, padding="same", name="conv")(inputs)
    outputs = keras.layers.Dense(2)(keras.layers.GlobalAveragePooling2D()(x))
    model = keras.Model(inputs, outputs)
    images = np.random.default_rng(6).random((2, 5, 5, 1), "float32")
    features = wb.introspect.activations(model, images, "conv")["conv"].astype(float)
    weights = model.layers[-1].get_weights()[0].astype(float)
    fall = features.mean((1, 2))[:, None] * weights.T
    expected = np.einsum("nkc,nyxc->knyx", fall, features)
    assert_close(saliency(model, images, [0, 1], "ablationcam", align="stretch"), expected)


ERRORS = [
    ({"layer": "row_profile"}, "`layer` must put out floats of shape .*with more than one place"),
    ({"layer": "conv7"}, "`layer` must name layers of model .*Did you mean 'conv"),
    ({"align": "middle"}, "`align` must be one of .*got 'middle'"),
]


@pytest.mark.parametrize(("options", "message"), ERRORS)
@pytest.mark.parametrize("method", CAMS)
def test_bad_options(scene, method, options, message):
    with pytest.raises(ValueError, match=message):
        saliency(*scene, "top", method, **options)


@pytest.mark.parametrize("method", CAMS)
def test_targets_that_do_not_depend_on_the_layer(scene, method):
    target = wb.introspect.targets.unit("conv1", 0)
    with pytest.raises(ValueError, match=r"'conv2' does not lie between .*'conv1\[0\]'"):
        saliency(*scene, target, method, layer="conv2")
    flat = keras.Sequential([keras.Input((4, 4, 1)), keras.layers.Flatten(), keras.layers.Dense(4)])
    with pytest.raises(
        ValueError, match=r"`layer` is None, but model .* has no layer whose output"
    ):
        saliency(flat, np.ones((1, 4, 4, 1), "float32"), 0, method)


def test_other_bad_options(scene):
    with pytest.raises(TypeError, match="`layer` must be the path of a layer, or None; got 3"):
        saliency(*scene, "top", "gradcam", layer=3)
    with pytest.raises(TypeError, match="`relu` must be True or False; got 1"):
        saliency(*scene, "top", "gradcam", relu=1)
    with pytest.raises(TypeError, match="`softmax` must be True or False; got None"):
        saliency(*scene, "top", "scorecam", softmax=None)
    with pytest.raises(ValueError, match="`baseline` must be one number or one image"):
        saliency(*scene, "top", "scorecam", baseline=(0.0, 1.0))
    model, images = scene
    with pytest.raises(ValueError, match=r"what is between them, \['ArgMax \(ArgMax\)'\] has none"):
        saliency(model, images, lambda out: tf.cast(tf.argmax(out, 1), "float32"), "gradcam")


@pytest.mark.parametrize("method", ["ablationcam", "scorecam"])
def test_options_asked_for_in_turn_are_not_mixed_up(method):
    """What was compiled for one way of laying a map on the image is not used for another."""
    size = (12, 16)
    images = wb.data.generate(wb.data.Scene(size=size), 2, seed=0).images
    one = wb.models.localizer(size=size, filters=(3, 3), seed=1)
    ways = [{"align": "stretch"}, {"align": "center"}, {"relu": True}, {"layer": "conv1"}]
    found = [saliency(one, images, "top", method, **way) for way in ways]
    for way, maps in zip(ways, found, strict=True):
        fresh = wb.models.localizer(size=size, filters=(3, 3), seed=1)
        np.testing.assert_array_equal(saliency(fresh, images, "top", method, **way), maps)
    assert not np.array_equal(found[0], found[1])


# --- layers whose gradients cancel -------------------------------------------------------


def soft_argmax(hidden=True, seed=0):
    """Scores of every place, a softmax over all places, and the mean place: (n, 4)."""
    x = keras.Input((9, 11, 1))
    y = x
    if hidden:
        y = keras.layers.Conv2D(3, 3, activation="relu", name="conv1")(y)
        y = keras.layers.Conv2D(4, 3, activation="relu", name="conv2")(y)
    scores = keras.layers.Conv2D(4, 1, name="scores")(y)
    places = scores.shape[1] * scores.shape[2]
    shares = keras.layers.Softmax(axis=1)(keras.layers.Reshape((places, 4))(scores))
    at = np.linspace(0, 1, places, dtype=np.float32)[None, :, None]
    model = keras.Model(x, keras.ops.sum(shares * at, axis=1))
    random = np.random.default_rng(seed)
    for weight in model.trainable_weights:
        weight.assign(random.normal(0, 0.5, weight.shape))
    return model


ANY = np.random.default_rng(1).random((3, 9, 11, 1), np.float32)


@pytest.mark.parametrize("method", ["gradcam", "gradcam_plus_plus"])
def test_the_default_layer_is_not_one_whose_gradients_cancel(method):
    # The mean place stays where all scores rise alike, and so it does where a channel in front of
    # weights of one place each rises; conv1 is the last behind which a ReLU comes in between.
    model = soft_argmax()
    maps = saliency(model, ANY, 0, method)
    np.testing.assert_array_equal(maps, saliency(model, ANY, 0, method, layer="conv1"))
    noise = saliency(model, ANY, 0, "gradcam", layer="scores")
    assert np.abs(noise).max() < 1e-3 * np.abs(maps).max()
    spots = wb.introspect.blind_spots(model, ANY, 0, method, warn=False)
    assert [spot.kind for spot in spots] == ["cancelling"]
    assert spots[0].message == (
        "The gradients of 'output 0' cancel over the places of layer 'scores', as they do in front "
        "of a softmax over places, which does not change when all scores rise alike. Layer 'conv1' "
        "is taken instead of this last one. Name another, or use 'layercam', which takes no means."
    )
    np.testing.assert_allclose(spots[0].share, 1, atol=1e-3)


def test_a_named_layer_is_taken_whatever_its_gradients_do():
    model = soft_argmax()
    (spot,) = wb.introspect.blind_spots(model, ANY, 0, "gradcam", layer="conv2", warn=False)
    assert "The map is rounding. Name a layer further in front" in spot.message
    assert not wb.introspect.blind_spots(model, ANY, 0, "gradcam", layer="conv1", warn=False)
    assert not wb.introspect.blind_spots(model, ANY, 0, "layercam", warn=False)


def test_no_layer_is_left_where_all_gradients_cancel():
    model = soft_argmax(hidden=False)
    with pytest.raises(ValueError, match="`layer` is None") as caught:
        saliency(model, ANY, [0, 1], "gradcam")
    assert str(caught.value) == (
        "`layer` is None, but the gradients of targets ['output 0', 'output 1'] cancel over the "
        "places of every layer, ['scores'], as they do in front of a softmax over places: their "
        "mean is 0. Use 'layercam' or 'ablationcam', which need no mean."
    )
    (spot,) = wb.introspect.blind_spots(model, ANY, 0, "gradcam", warn=False)
    assert "No layer is left that could be taken instead." in spot.message


@pytest.mark.parametrize("head", ["profile", "coordconv", "dense"])
def test_own_heads_have_gradients_in_their_last_layer(head):
    size = (12, 16)
    images = wb.data.generate(wb.data.Scene(size=size), 2, seed=0).images
    model = wb.models.localizer(size=size, filters=(3, 3), head=head)
    assert not wb.introspect.blind_spots(model, images, "top", "gradcam", warn=False)
