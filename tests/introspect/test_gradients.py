"""The gradient family against closed forms and against slow float64 rewrites."""

import keras
import numpy as np
import pytest
import scipy.ndimage
import scipy.special
from hypothesis import given, settings
from hypothesis import strategies as st

from whitebox_loc.introspect import saliency

SHAPE = (6, 7, 2)
EPS = np.finfo(np.float32).eps
# Sums of some hundred float32 products, relative to the sum of their magnitudes.
CLOSE = {"rtol": 1e-4, "atol": 1e-6}


@pytest.fixture(scope="module")
def linear():
    """A linear model and its weights (height, width, channels, 4)."""
    x = keras.Input(SHAPE)
    model = keras.Model(x, keras.layers.Dense(4)(keras.layers.Flatten()(x)))
    weights = np.random.default_rng(0).normal(size=(np.prod(SHAPE), 4)).astype(np.float32)
    model.set_weights([weights, np.ones(4, np.float32)])
    return model, weights.reshape(*SHAPE, 4)


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(1).random((3, *SHAPE), np.float32)


class SlowNet:
    """Conv 3x3 same, ReLU, dense, ReLU, dense on one image, in float64 loops."""

    def __init__(self, seed=2):
        generator = np.random.default_rng(seed)
        height, width, channels = SHAPE
        self.kernel = generator.normal(0, 0.5, (3, 3, channels, 3))
        self.bias = generator.normal(0, 0.5, 3)
        self.hidden = generator.normal(0, 0.3, (height * width * 3, 5))
        self.hidden_bias = generator.normal(0, 0.5, 5)
        self.last = generator.normal(0, 1, (5, 4))

    def keras(self):
        x = keras.Input(SHAPE)
        y = keras.layers.Conv2D(3, 3, padding="same", activation="relu")(x)
        y = keras.layers.Dense(5)(keras.layers.Flatten()(y))
        y = keras.layers.Dense(4, use_bias=False)(keras.layers.ReLU()(y))
        model = keras.Model(x, y)
        model.set_weights([self.kernel, self.bias, self.hidden, self.hidden_bias, self.last])
        return model

    def forward(self, image):
        height, width, _ = SHAPE
        padded = np.pad(np.asarray(image, np.float64), ((1, 1), (1, 1), (0, 0)))
        first = np.empty((height, width, 3))
        for row in range(height):
            for column in range(width):
                window = padded[row : row + 3, column : column + 3]
                first[row, column] = np.tensordot(window, self.kernel, 3) + self.bias
        second = np.maximum(first, 0).ravel() @ self.hidden + self.hidden_bias
        return first, second, np.maximum(second, 0) @ self.last

    def value(self, image, index):
        return self.forward(image)[2][index]

    def slope(self, image, index, rule="ordinary"):
        """Derivative (height, width), channels summed, by each rule's own definition."""
        return self.slope_by_channel(image, index, rule).sum(-1)

    def slope_by_channel(self, image, index, rule="ordinary"):
        first, second, _ = self.forward(image)
        at_second = self._back(self.last[:, index], second, rule)
        at_first = self._back((self.hidden @ at_second).reshape(first.shape), first, rule)
        height, width, channels = SHAPE
        padded = np.zeros((height + 2, width + 2, channels))
        for row in range(height):
            for column in range(width):
                share = self.kernel @ at_first[row, column]
                padded[row : row + 3, column : column + 3] += share
        return padded[1:-1, 1:-1]

    def _back(self, upstream, before, rule):
        is_open, is_positive = before > 0, upstream > 0
        passes = {
            "ordinary": is_open,
            "guided": is_open & is_positive,
            "deconv": is_positive,
        }[rule]
        return np.where(passes, upstream, 0)


@pytest.fixture(scope="module")
def net():
    slow = SlowNet()
    return slow, slow.keras()


# --- closed forms --------------------------------------------------------------------


def test_gradient_of_a_linear_model_is_its_weights(linear, images):
    model, weights = linear
    maps = saliency(model, images, [0, 3])
    for target, index in enumerate((0, 3)):
        expected = np.broadcast_to(weights[..., index].sum(-1), maps[target].shape)
        np.testing.assert_allclose(maps[target], expected, **CLOSE)


def test_gradient_x_input_of_a_linear_model(linear, images):
    model, weights = linear
    maps = saliency(model, images, "left", "gradient_x_input")
    np.testing.assert_allclose(maps, (weights[..., 1] * images).sum(-1), **CLOSE)


@pytest.mark.parametrize("rule", ["gauss_legendre", "trapezoid", "midpoint"])
@pytest.mark.parametrize("baseline", [0.0, 0.3, "image", "several"])
def test_integrated_gradients_of_a_linear_model(linear, images, rule, baseline):
    model, weights = linear
    generator = np.random.default_rng(3)
    baseline = {
        "image": generator.random(SHAPE, np.float32),
        "several": generator.random((3, *SHAPE), np.float32),
    }.get(baseline, baseline)
    mean = np.mean(baseline, 0) if np.ndim(baseline) == 4 else baseline
    maps, info = saliency(
        model,
        images,
        0,
        "integrated_gradients",
        steps=3,
        rule=rule,
        baseline=baseline,
        return_info=True,
    )
    np.testing.assert_allclose(maps, (weights[..., 0] * (images - mean)).sum(-1), **CLOSE)
    size = np.abs(weights[..., 0]).sum()
    assert np.abs(info.gap).max() < 84 * EPS * size


def test_blur_ig_of_a_linear_model(linear, images):
    """The integral of the image's change along the path is the image minus its blur."""
    model, weights = linear
    blurred = scipy.ndimage.gaussian_filter(
        images.astype(np.float64), (0, 3.0, 3.0, 0), mode="constant", truncate=14
    )
    # Gauss-Legendre on a function that is smooth from one pixel's blur on, but flat
    # before: 50 points leave an error far below float32's.
    maps, info = saliency(model, images, 0, "blur_ig", max_sigma=3.0, return_info=True)
    np.testing.assert_allclose(maps, (weights[..., 0] * (images - blurred)).sum(-1), **CLOSE)
    assert np.abs(info.gap).max() < 84 * EPS * np.abs(weights[..., 0]).sum()


def test_noise_on_a_linear_model(linear, images):
    model, weights = linear
    slope = np.broadcast_to(weights[..., 0].sum(-1), images.shape[:3])
    np.testing.assert_allclose(saliency(model, images, 0, "smoothgrad"), slope, **CLOSE)
    np.testing.assert_allclose(saliency(model, images, 0, "squaregrad"), slope**2, **CLOSE)
    # Each map is rounded alike, whatever the noise.
    np.testing.assert_allclose(saliency(model, images, 0, "vargrad"), 0, atol=(10 * EPS) ** 2)


def test_noise_on_a_square(linear, images):
    """The slope of (w x)^2 at x + e is 2 w (w x + w e): its moments are known."""
    model, weights = linear
    noise, samples, seed = 0.5, 5, 11
    grain = np.random.default_rng(seed).standard_normal((samples, *SHAPE), np.float32)
    w = weights[..., 0].astype(np.float64)
    level = (images * w).sum((1, 2, 3))[:, None] + noise * (grain * w).sum((1, 2, 3)) + 1
    slopes = 2 * w.sum(-1)[None, None] * level[:, :, None, None]
    options = {"noise": noise, "samples": samples, "seed": seed, "batch_size": 4}
    for method, expected in {
        "smoothgrad": slopes.mean(1),
        "squaregrad": (slopes**2).mean(1),
        "vargrad": slopes.var(1),
    }.items():
        found = saliency(model, images, _square, method, **options)
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-3)


def _square(outputs):
    return outputs[:, 0] ** 2


def _cube(outputs):
    return (outputs[:, 0] - 1.0) ** 3  # the bias of the linear model is 1


@pytest.mark.parametrize(
    ("rule", "steps", "excess"),
    [
        # The gradient on the line is 3 a^2 times a constant. The trapezoid rule with m
        # intervals makes 1 + 1 / (2 m^2) of its integral 1, the midpoint rule with m
        # points 1 - 1 / (4 m^2), two Gauss points are exact.
        ("trapezoid", 5, 1 / 32),
        ("trapezoid", 9, 1 / 128),
        ("midpoint", 4, -1 / 64),
        ("midpoint", 8, -1 / 256),
        ("gauss_legendre", 2, 0),
    ],
)
def test_order_of_the_rules(linear, images, rule, steps, excess):
    model, weights = linear
    w = weights[..., 0].astype(np.float64)
    level = (images * w).sum((1, 2, 3))[:, None, None]
    exact = (w * images).sum(-1) * level**2
    maps, info = saliency(
        model, images, _cube, "integrated_gradients", steps=steps, rule=rule, return_info=True
    )
    # The level is a sum of 84 products, and enters squared.
    tolerance = 300 * EPS * np.abs(exact).max() + 300 * EPS * np.abs(w).sum() ** 3 / 84
    np.testing.assert_allclose(maps, exact * (1 + excess), rtol=0, atol=tolerance)
    np.testing.assert_allclose(info.gap, excess * level[:, 0, 0] ** 3, rtol=0.05, atol=1e-2)


# --- slow rewrites --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "rule"),
    [("gradient", "ordinary"), ("guided_backprop", "guided"), ("deconvnet", "deconv")],
)
def test_rules_of_relu(net, images, method, rule):
    slow, model = net
    maps = saliency(model, images, [0, 2], method)
    expected = [[slow.slope(image, index, rule) for image in images] for index in (0, 2)]
    np.testing.assert_allclose(maps, expected, **CLOSE)


def test_relu6_has_rules_too(images):
    """Between 0 and 6 it passes, above it is closed; the deconvnet asks neither."""
    x = keras.Input(SHAPE)
    y = keras.layers.Dense(1, use_bias=False)(keras.layers.Flatten()(x))
    model = keras.Model(x, keras.layers.Activation("relu6")(y))
    level = np.array([-3.0, 3.0, 9.0], np.float32)
    model.set_weights([np.full((np.prod(SHAPE), 1), 1 / np.prod(SHAPE))])
    constant = np.broadcast_to(level[:, None, None, None], (3, *SHAPE))
    guided = saliency(model, constant, 0, "guided_backprop")[:, 0, 0]
    assert (guided > 0).tolist() == [False, True, False]
    assert (saliency(model, constant, 0, "deconvnet")[:, 0, 0] > 0).all()
    assert not saliency(model, constant, lambda out: -out[:, 0], "guided_backprop").any()


def test_integrated_gradients_of_a_net(net, images):
    slow, model = net
    nodes, weights = scipy.special.roots_legendre(7)
    bases = np.random.default_rng(4).random((2, *SHAPE), np.float32)
    expected = [
        sum(
            w
            / 2
            / len(bases)
            * ((x - b) * slow.slope_by_channel(b + (t + 1) / 2 * (x - b), 1)).sum(-1)
            for b in bases.astype(np.float64)
            for t, w in zip(nodes, weights, strict=True)
        )
        for x in images.astype(np.float64)
    ]
    maps = saliency(model, images, 1, "integrated_gradients", steps=7, baseline=bases, batch_size=5)
    np.testing.assert_allclose(maps, expected, **CLOSE)


def test_expected_gradients_of_a_net(net, images):
    slow, model = net
    generator = np.random.default_rng(5)
    chosen, shares = generator.integers(2, size=6), generator.random(6)
    expected = [
        np.mean(
            [
                ((x - b) * slow.slope_by_channel(b + a * (x - b), 0)).sum(-1)
                for b, a in zip(chosen.astype(float), shares, strict=True)
            ],
            axis=0,
        )
        for x in images.astype(np.float64)
    ]
    maps = saliency(
        model, images, 0, "expected_gradients", samples=6, baseline=(0.0, 1.0), seed=5, batch_size=4
    )
    np.testing.assert_allclose(maps, expected, **CLOSE)


def test_blur_ig_of_a_net(net, images):
    """Against SciPy's Gaussian filter and a difference quotient of it."""
    slow, model = net
    nodes, weights = scipy.special.roots_legendre(5)

    def blur(image, sigma):
        return scipy.ndimage.gaussian_filter(
            image, (sigma, sigma, 0), mode="constant", truncate=40 / sigma
        )

    expected = np.zeros(images.shape[:3])
    for i, image in enumerate(images.astype(np.float64)):
        for node, weight in zip(nodes, weights, strict=True):
            sigma, step = 2.0 * (node + 1) / 2, 1e-5
            derivative = (blur(image, sigma + step) - blur(image, sigma - step)) / (2 * step)
            slope = slow.slope_by_channel(blur(image, sigma), 3)
            expected[i] -= weight * (slope * derivative).sum(-1)
    maps = saliency(model, images, 3, "blur_ig", steps=5, max_sigma=2.0)
    np.testing.assert_allclose(maps, expected, **CLOSE)


def test_smoothgrad_around_another_method(net, images):
    slow, model = net
    grain = np.random.default_rng(0).standard_normal((3, *SHAPE), np.float32)
    noisy = images[:, None].astype(np.float64) + 0.1 * grain
    expected = [
        np.mean([(x * slow.slope_by_channel(x, 2)).sum(-1) for x in variants], 0)
        for variants in noisy
    ]
    maps = saliency(model, images, 2, "smoothgrad", base="gradient_x_input", samples=3)
    np.testing.assert_allclose(maps, expected, **CLOSE)


# --- laws -----------------------------------------------------------------------------


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), baseline=st.floats(-1, 1))
def test_completeness_within_the_bound_of_the_midpoint_rule(net, seed, baseline):
    slow, model = net
    image = np.random.default_rng(seed).random(SHAPE, np.float32)
    steps = 32
    maps, info = saliency(
        model,
        image[None],
        [0, 1],
        "integrated_gradients",
        steps=steps,
        rule="midpoint",
        baseline=baseline,
        return_info=True,
    )
    # On the line the derivative is a step function, and at each jump the rule with spacing
    # h = 1 / steps errs by at most half of h times the jump. Jumps are bounded by what
    # opens or closes: |v| |W d| at the second ReLU, and at the first the derivative of
    # each unit times everything behind it.
    difference = (image - np.float32(baseline)).astype(np.float64)
    no_bias = SlowNet()
    no_bias.bias = no_bias.bias * 0
    first = np.abs(no_bias.forward(difference)[0]).ravel()
    for target in (0, 1):
        second = np.abs(slow.hidden).T @ first
        variation = np.abs(slow.last[:, target]) @ (second * 2)
        bound = variation / (2 * steps) + 1e-4
        total = maps[target].sum(dtype=np.float64)
        exact = slow.value(image, target) - slow.value(np.full(SHAPE, np.float32(baseline)), target)
        assert abs(total - exact) <= bound
        assert abs(info.gap[target, 0] - (total - exact)) < 1e-4


LINEAR_IN_THE_TARGET = [
    "gradient",
    "gradient_x_input",
    "integrated_gradients",
    "smoothgrad",
    "blur_ig",
]


@pytest.mark.parametrize("method", LINEAR_IN_THE_TARGET)
@settings(max_examples=3, deadline=None)
@given(a=st.floats(-2, 2), b=st.floats(-2, 2))
def test_maps_are_linear_in_the_target(net, images, method, a, b):
    _, model = net
    short = {"smoothgrad": {"samples": 3}, "blur_ig": {"steps": 3}}.get(method, {})
    first, second = saliency(model, images, [0, 1], method, **short)
    mixed = saliency(model, images, lambda out: a * out[:, 0] + b * out[:, 1], method, **short)
    size = np.abs(first).max() + np.abs(second).max()
    np.testing.assert_allclose(mixed, a * first + b * second, rtol=0, atol=100 * EPS * size)


@settings(max_examples=10, deadline=None)
@given(batch_size=st.integers(1, 40), method=st.sampled_from(["integrated_gradients", "vargrad"]))
def test_any_batch_size_gives_the_same_map(net, images, batch_size, method):
    _, model = net
    short = {"steps": 7} if method == "integrated_gradients" else {"samples": 7}
    whole = saliency(model, images, 0, method, **short)
    parts = saliency(model, images, 0, method, batch_size=batch_size, **short)
    np.testing.assert_allclose(parts, whole, rtol=0, atol=100 * EPS * np.abs(whole).max())


def test_a_constant_target_has_empty_maps(net, images):
    _, model = net
    assert not saliency(model, images, lambda out: 0.0 * out[:, 0] + 3.0).any()

    def constant(outputs):
        return np.ones(1, np.float32)

    assert not saliency(model, images, constant, "integrated_gradients").any()


class Coordinates(keras.layers.Layer):
    """Rows and columns beside the image, from -1 to 1, and no negative weights."""

    def call(self, x):
        size = keras.ops.shape(x)
        rows = keras.ops.linspace(-1.0, 1.0, size[1])[:, None, None]
        columns = keras.ops.linspace(-1.0, 1.0, size[2])[None, :, None]
        beside = [keras.ops.broadcast_to(a, (*x.shape[1:3], 1)) for a in (rows, columns)]
        beside = [keras.ops.zeros_like(x[..., :1]) + a for a in beside]
        return keras.ops.concatenate([x, *beside], -1)


@pytest.mark.parametrize("method", ["guided_backprop", "deconvnet"])
def test_coordinates_beside_the_image_are_no_relu(method):
    def build(coordinates):
        x = keras.Input((6, 7, 1))
        y = coordinates(x)
        y = keras.layers.Conv2D(3, 3, activation="relu", name="conv")(y)
        y = keras.layers.Conv2D(2, 3, activation="relu", name="last")(y)
        return keras.Model(x, keras.layers.Dense(4)(keras.layers.Flatten()(y)))

    def constant(x):
        rows, columns = np.meshgrid(np.linspace(-1, 1, 6), np.linspace(-1, 1, 7), indexing="ij")
        grid = np.stack([rows, columns], -1)[None].astype(np.float32)
        return keras.ops.concatenate([x, keras.ops.zeros_like(x) + grid], -1)

    model, twin = build(Coordinates()), build(constant)
    twin.set_weights(model.get_weights())
    images = np.random.default_rng(0).random((2, 6, 7, 1), np.float32)
    found, expected = (saliency(m, images, "top", method) for m in (model, twin))
    assert np.abs(expected).max() > 1e-3
    # The coordinates may differ by a rounding, and with them sums of 27 products, three times.
    bound = 100 * np.finfo(np.float32).eps * np.abs(expected).max()
    np.testing.assert_allclose(found, expected, rtol=0, atol=bound)
