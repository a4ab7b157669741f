"""DeepLIFT against its definition, and its law: differences are shared out without rest."""

import keras
import numpy as np
import pytest
import scipy.special
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

import whitebox_loc as wb
from whitebox_loc.introspect import saliency, targets

layers = keras.layers
# "context" takes four times as long to trace as "profile", and has hardly other operations.
HEADS = [
    pytest.param(head, marks=pytest.mark.slow if head == "context" else ())
    for head in wb.models.HEADS
]
SHAPE = (6, 8, 1)
EPS = np.finfo(np.float32).eps
EDGES = ["top", "left", "bottom", "right"]


def randomized(model, seed=0):
    generator = np.random.default_rng(seed)
    for weight in model.trainable_weights:
        weight.assign(generator.normal(0, 0.4, weight.shape))
    return model


def pictures(n=3, seed=1, shape=SHAPE):
    return np.random.default_rng(seed).random((n, *shape), np.float32)


# --- against the definition ----------------------------------------------------------


def test_linear_model():
    x = keras.Input(SHAPE)
    model = randomized(keras.Model(x, layers.Dense(4)(layers.Flatten()(x))))
    weights = model.get_weights()[0].reshape(6, 8, 4)
    for baseline in (0.0, 0.3, pictures(1)[0] / 2):
        maps = saliency(model, pictures(), 2, "deeplift", baseline=baseline)
        expected = weights[..., 2] * (pictures() - baseline)[..., 0]
        np.testing.assert_allclose(maps, expected, rtol=8 * EPS, atol=8 * EPS)


def rescale(function, x, x0):
    """The rule by definition, in float64."""
    return (function(x) - function(x0)) / (x - x0)


def relu(x):
    return np.maximum(x, 0)


def test_rescale_rule_by_definition():
    # Dense, ReLU, dense, tanh, dense, sigmoid; multipliers by the chain rule.
    x = keras.Input(SHAPE)
    y = layers.Dense(9, activation="relu")(layers.Flatten()(x))
    y = layers.Dense(5, activation="tanh")(y)
    model = randomized(keras.Model(x, layers.Dense(4, activation="sigmoid")(y)))
    A, a, B, b, C, c = (np.float64(w) for w in model.get_weights())
    images, base = pictures(), pictures(1, seed=7)[0]
    maps = saliency(model, images, EDGES, "deeplift", baseline=base)
    v0 = np.float64(base).ravel()
    for n, image in enumerate(images):
        v = np.float64(image).ravel()
        p, p0 = v @ A + a, v0 @ A + a
        q, q0 = relu(p) @ B + b, relu(p0) @ B + b
        r, r0 = np.tanh(q) @ C + c, np.tanh(q0) @ C + c
        m = C * rescale(scipy.special.expit, r, r0)
        m = B @ (m * rescale(np.tanh, q, q0)[:, None])
        m = A @ (m * rescale(relu, p, p0)[:, None])
        expected = (m * (v - v0)[:, None]).T.reshape(4, 6, 8)
        # Secants of numbers rounded to EPS over differences of some hundredths.
        bound = 2000 * EPS * np.abs(expected).max()
        np.testing.assert_allclose(maps[:, n], expected, rtol=0, atol=bound)


def test_secant_of_a_small_difference_is_the_derivative():
    x = keras.Input((1, 1, 1))
    model = keras.Model(x, layers.Activation("sigmoid")(layers.Flatten()(x)))
    for gap in (1e-7, 1e-5, 1e-3, 0.009, 0.011):
        images = np.full((1, 1, 1, 1), 0.5 + gap, np.float32)
        found = saliency(model, images, 0, "deeplift", baseline=0.5)[0, 0, 0]
        z, z0 = np.float64(images[0, 0, 0, 0]), 0.5
        expected = scipy.special.expit(z) - scipy.special.expit(z0)
        # difference^2 / 24 half-way; from 0.01 on rounding, 2^-24 / (0.235 * 0.01) = 2.5e-5.
        np.testing.assert_allclose(found, expected, rtol=3e-5)


def test_a_closed_relu_and_a_saturated_sigmoid_are_seen():
    x = keras.Input((1, 1, 1))
    y = layers.Dense(1, activation="relu")(layers.Flatten()(x))
    model = keras.Model(x, layers.Activation("sigmoid")(y))
    model.set_weights([np.float32([[-30.0]]), np.float32([30.0])])
    image = np.float32([2.0]).reshape(1, 1, 1, 1)
    assert saliency(model, image, 0, "gradient")[0, 0, 0] == 0
    found = saliency(model, image, 0, "deeplift")[0, 0, 0]
    np.testing.assert_allclose(found, -0.5, rtol=1e-5)


def test_a_grouped_convolution_convolves_each_group_alone():
    x = keras.Input((5, 6, 4))
    y = layers.Conv2D(6, 3, groups=2, activation="relu")(x)
    model = randomized(keras.Model(x, layers.Dense(2)(layers.Flatten()(y))))
    kernel, b, dense, _ = (np.float64(w) for w in model.get_weights())
    # The matrix of each group's own convolution: outputs (3, 4, 6), inputs (5, 6, 4).
    matrix = np.zeros((3, 4, 6, 5, 6, 4))
    for row, column, i, j in np.ndindex(3, 4, 3, 3):
        for group in range(2):
            outs, ins = slice(3 * group, 3 * group + 3), slice(2 * group, 2 * group + 2)
            matrix[row, column, outs, row + i, column + j, ins] = kernel[i, j, :, outs].T
    matrix, b = matrix.reshape(72, 120), np.tile(b, 12)
    images, base = pictures(shape=(5, 6, 4)), pictures(1, 7, (5, 6, 4))[0]
    maps = saliency(model, images, [0, 1], "deeplift", baseline=base)
    v0 = np.float64(base).ravel()
    z0 = matrix @ v0 + b
    for n, image in enumerate(images):
        v = np.float64(image).ravel()
        z = matrix @ v + b
        m = (dense * rescale(relu, z, z0)[:, None]).T @ matrix
        expected = (m * (v - v0)).reshape(2, 5, 6, 4).sum(-1)
        # As above.
        bound = 2000 * EPS * np.abs(expected).max()
        np.testing.assert_allclose(maps[:, n], expected, rtol=0, atol=bound)
        change = (relu(z) - relu(z0)) @ dense
        np.testing.assert_allclose(maps[:, n].sum((1, 2)), change, rtol=0, atol=30 * bound)


def test_an_infinite_difference_is_refused():
    # The norm is 0 at a black baseline, and one over it infinite.
    model = line(layers.UnitNormalization(axis=1))
    with pytest.raises(ValueError, match="`baseline`: the model computes with infinity there"):
        shares(model, [0.2, 0.9, 0.1], [0.0, 0.0, 0.0])
    assert np.isfinite(shares(model, [0.2, 0.9, 0.1], [0.5, 0.5, 0.5])).all()


# --- operations of several numbers ---------------------------------------------------


def line(function):
    x = keras.Input((1, 3, 1))
    return keras.Model(x, function(layers.Flatten()(x)))


def shares(model, values, base, index=0):
    images = np.float32(values).reshape(1, 1, 3, 1)
    baseline = np.float32(base).reshape(1, 3, 1)
    return saliency(model, images, index, "deeplift", baseline=baseline)[0, 0]


@pytest.mark.parametrize(
    ("values", "base", "expected"),
    [
        ([0.2, 0.9, 0.1], [0.4, 0.3, 0.3], [0, 0.5, 0]),  # a larger maximum: who has it
        ([0.2, 0.1, 0.1], [0.4, 0.9, 0.3], [0, -0.7, 0]),  # a smaller one: who had it
        ([0.8, 0.8, 0.1], [0.0, 0.0, 0.6], [0.1, 0.1, 0]),  # equal ones share
        ([0.5, 0.2, 0.1], [0.1, 0.5, 0.2], [0, 0, 0]),  # the same maximum: nobody
    ],
)
def test_maximum(values, base, expected):
    model = line(lambda x: keras.ops.max(x, axis=1, keepdims=True))
    np.testing.assert_allclose(shares(model, values, base), expected, atol=4 * EPS)
    # The minimum of the negated numbers is the negated maximum.
    model = line(lambda x: keras.ops.min(-x, axis=1, keepdims=True))
    np.testing.assert_allclose(shares(model, values, base), -np.array(expected), atol=4 * EPS)


def test_softmax_of_two_is_a_sigmoid_of_their_difference():
    soft = line(lambda x: layers.Softmax()(3.0 * x[:, :2]))
    curve = line(lambda x: keras.ops.sigmoid(3.0 * (x[:, :1] - x[:, 1:2])))
    for values, base in (([0.9, 0.1, 0], [0.2, 0.7, 0]), ([50, 0.1, 0], [0.3, 20, 0])):
        expected = shares(curve, values, base)
        np.testing.assert_allclose(shares(soft, values, base), expected, rtol=2e-5, atol=EPS)


def test_softmax_by_logarithmic_means():
    model = line(layers.Softmax())
    s, s0 = np.array([0.9, 0.1, 0.4]), np.array([0.2, 0.7, 0.1])
    p, p0 = scipy.special.softmax(s), scipy.special.softmax(s0)
    mean = (p - p0) / np.log(p / p0)
    for index in range(3):
        m = mean * ((np.arange(3) == index) - mean[index] / mean.sum())
        np.testing.assert_allclose(shares(model, s, s0, index), m * (s - s0), rtol=1e-5)
        np.testing.assert_allclose((m * (s - s0)).sum(), p[index] - p0[index], rtol=1e-12)


def test_product_and_quotient():
    s, s0 = np.array([0.9, 0.5, 0.4]), np.array([0.2, 0.8, 0.1])
    product = line(lambda x: x[:, :1] * x[:, 1:2])
    expected = [0.7 * 0.65, -0.3 * 0.55, 0]
    np.testing.assert_allclose(shares(product, s, s0), expected, rtol=1e-6, atol=EPS)
    quotient = line(lambda x: x[:, :1] / x[:, 1:2])
    expected = [0.7 * (1 / 0.5 + 1 / 0.8) / 2, 0.55 * (1 / 0.5 - 1 / 0.8), 0]
    np.testing.assert_allclose(shares(quotient, s, s0), expected, rtol=1e-6, atol=EPS)


# --- completeness --------------------------------------------------------------------


def everything(x):
    y = layers.Conv2D(3, 3, padding="same", activation="gelu")(layers.ZeroPadding2D(1)(x))
    y = layers.MaxPooling2D(2)(layers.BatchNormalization()(y))
    z = layers.AveragePooling2D(2)(layers.Conv2D(3, 3, activation="leaky_relu")(x))
    z = layers.UpSampling2D(2)(layers.LayerNormalization()(z))[:, :4, :4]
    y = layers.Multiply()([y[:, :4, :4], layers.Activation("silu")(z)])
    return layers.Concatenate()(
        [layers.Flatten()(y), layers.GlobalMaxPooling2D()(z), keras.ops.max(y, axis=(1, 3))]
    )


def rivals(x):
    y = layers.Flatten()(layers.Conv2D(4, 3, strides=2, activation="elu")(x))
    first, second = layers.Dense(6)(y), layers.Dense(6, activation="softplus")(y)
    joined = layers.Maximum()([first, second]) - layers.Minimum()([first, 2.0 * second])
    return joined / (1.0 + keras.ops.square(first))


LAST = {"sigmoid": "sigmoid", "softmax": "softmax", "linear": None}


@pytest.mark.parametrize(
    ("trunk", "last", "several"),
    [(everything, "sigmoid", True), (everything, "linear", False), (rivals, "softmax", False)],
)
def test_completeness(trunk, last, several):
    check_completeness(0, trunk, last, several)


@pytest.mark.slow
@settings(max_examples=20, deadline=None)
@given(
    seed=st.integers(0, 2**20),
    trunk=st.sampled_from([everything, rivals]),
    last=st.sampled_from(sorted(LAST)),
    several=st.booleans(),
)
def test_completeness_of_any_network(seed, trunk, last, several):
    check_completeness(seed, trunk, last, several)


def check_completeness(seed, trunk, last, several):
    x = keras.Input(SHAPE)
    model = randomized(keras.Model(x, layers.Dense(4, activation=LAST[last])(trunk(x))), seed)
    images, bases = pictures(2, seed), pictures(3, seed + 1)
    method, baseline = ("deep_shap", bases) if several else ("deeplift", bases[0])
    maps, info = saliency(model, images, EDGES, method, baseline=baseline, return_info=True)
    # All of it is rounding: of the shares, ten operations deep, and of each secant, whose
    # numerator carries the rounding of numbers of size 1 to 10, times the slopes behind it.
    size = np.abs(maps).sum((2, 3)) + np.abs(info.values) + 1
    assert (np.abs(info.gap) <= 500 * EPS * size).all()


@pytest.mark.parametrize("head", HEADS)
def test_own_heads_and_derived_targets(head):
    model = randomized(wb.models.localizer((12, 10), head=head, filters=(4, 4)), seed=3)
    images = wb.data.generate(wb.data.Scene(size=(12, 10)), 3, seed=0).images
    wanted = ["top", "right", "area", ratio]
    for baseline in (0.0, images[0, ::-1]):
        maps, info = saliency(
            model, images, wanted, "deeplift", baseline=baseline, return_info=True
        )
        size = np.abs(maps).sum((2, 3)) + 1
        assert (np.abs(info.gap) <= 500 * EPS * size).all()
        assert np.abs(maps).max() > 1e-3
    # Weights as they are initialized: with those above, outputs of the context head round to 1,
    # where there are no log-odds.
    model = wb.models.localizer((12, 10), head=head, filters=(4, 4), seed=3)
    maps, info = saliency(model, images, EDGES, "deeplift", link="logit", return_info=True)
    assert np.abs(maps).max() > 1e-3
    size = np.abs(maps).sum((2, 3)) + np.abs(info.values) + 1
    # The odds of these outputs are p / (1 - p) of a rounded p: near 1, 1 - p is off by EPS of
    # itself times the odds.
    odds = np.exp(np.maximum(info.values, info.reference))
    assert (np.abs(info.gap) <= 500 * EPS * size + EPS * odds).all()


def ratio(out):
    return keras.ops.minimum(out[:, 2], 0.6) / keras.ops.maximum(out[:, 3], out[:, 0])


# --- several baselines and laws ------------------------------------------------------


def small(seed=0):
    x = keras.Input(SHAPE)
    y = layers.MaxPooling2D(2)(layers.Conv2D(3, 3, activation="relu")(x))
    return randomized(keras.Model(x, layers.Dense(4)(layers.Flatten()(y))), seed)


SMALL = small()


@pytest.mark.parametrize("batch_size", [1, 2, 7, 256])
def test_deep_shap_is_the_mean_of_deeplift(batch_size):
    bases = pictures(3, seed=9)
    expected = np.mean(
        [saliency(SMALL, pictures(), EDGES, "deeplift", baseline=b) for b in bases], 0
    )
    maps, info = saliency(
        SMALL,
        pictures(),
        EDGES,
        "deep_shap",
        baseline=bases,
        batch_size=batch_size,
        return_info=True,
    )
    np.testing.assert_allclose(maps, expected, rtol=0, atol=100 * EPS * np.abs(expected).max())
    # Three images and three baselines, each pair an image and a baseline.
    assert info.passes == 18
    values = SMALL(bases).numpy().astype(np.float64).mean(0)
    np.testing.assert_allclose(info.reference, np.tile(values[:, None], 3), rtol=1e-5)


def test_baselines_are_numbers_or_images():
    maps = saliency(SMALL, pictures(), 0, "deep_shap")
    ends = [saliency(SMALL, pictures(), 0, "deeplift", baseline=b) for b in (0.0, 1.0)]
    np.testing.assert_allclose(maps, np.mean(ends, 0), atol=100 * EPS * np.abs(maps).max())


@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 2**20), index=st.integers(0, 3))
def test_sign_under_negation_and_exchange(seed, index):
    image, base = pictures(2, seed)
    maps = saliency(SMALL, image[None], index, "deeplift", baseline=base)
    close = {"rtol": 0, "atol": 20 * EPS * np.abs(maps).max()}
    negated = saliency(SMALL, image[None], NEGATED[index], "deeplift", baseline=base)
    np.testing.assert_allclose(negated, -maps, **close)
    # All rules treat image and baseline alike, so exchanging them changes the sign.
    exchanged = saliency(SMALL, base[None], index, "deeplift", baseline=image)
    np.testing.assert_allclose(exchanged, -maps, **close)


NEGATED = [lambda out, i=i: -out[:, i] for i in range(4)]


def test_at_the_baseline_nothing_is_shared():
    image = pictures(1)
    assert (saliency(SMALL, image, EDGES, "deeplift", baseline=image[0]) == 0).all()


# --- what cannot be passed -----------------------------------------------------------


def test_one_baseline_only():
    with pytest.raises(ValueError, match="one number or one image") as caught:
        saliency(SMALL, pictures(), 0, "deeplift", baseline=(0.0, 1.0))
    assert str(caught.value) == (
        "`baseline` must be one number or one image; got 2. Use method='deep_shap' for the mean "
        "over several."
    )


def test_a_target_with_a_condition_is_refused():
    with pytest.raises(ValueError, match="'deeplift' cannot pass operation 'Greater'"):
        saliency(SMALL, pictures(), targets.iou([0.1, 0.1, 0.9, 0.9]), "deeplift")


@pytest.mark.parametrize(
    ("layer", "why"),
    [
        (
            lambda: layers.ReLU(threshold=0.5, name="step"),
            "layer 'inner/step' (ReLU): ",
        ),
        (
            lambda: layers.Lambda(tf.function(lambda t: 2.0 * t), name="hidden"),
            "layer 'inner/hidden' (Lambda): there is no rule for its operation "
            "PartitionedCall (a tf.function).",
        ),
        (
            lambda: layers.Lambda(keras.ops.sin, name="wave"),
            "layer 'inner/wave' (Lambda): there is no rule for its operation Sin.",
        ),
    ],
)
def test_unknown_layers_are_named(layer, why):
    x = keras.Input((6, 8, 2))
    inner = keras.Sequential([layer()], name="inner")
    model = keras.Model(x, layers.Dense(4)(layers.Flatten()(inner(x))))
    for method in ("deeplift", "deep_shap"):
        with pytest.raises(ValueError, match="cannot pass") as caught:
            saliency(model, pictures(1, shape=(6, 8, 2)), 0, method)
        text = str(caught.value)
        assert text.startswith("Method 'deeplift' cannot pass " + why)
        assert text.endswith(
            " Replace it by layers that the method knows, explain a target in front of or behind "
            "it (introspect.targets.unit), or use method='integrated_gradients', which needs "
            "derivatives only."
        )
