"""Every relevance rule against its definition, written out with dense matrices in float64."""

import keras
import numpy as np
import pytest

from whitebox_loc.introspect import saliency
from whitebox_loc.introspect.methods import rules

layers = keras.layers
SHAPE = (6, 7, 2)
# Large, so that no denominator is nearly 0 and the shares are well conditioned.
EPSILON = 0.1


def close(found, expected):
    # A share is a quotient of sums of at most 250 products of size 1, rounded to
    # 250 * 2^-24 = 1.5e-5 each, over denominators of at least EPSILON. Three layers of
    # that, relative to the largest relevance; rounding is far from its worst case in sums.
    scale = np.abs(expected).max()
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4 * scale)
    assert scale > 1e-3


def convolution_matrix(kernel, shape, stride, padding, dilation):
    """Return the matrix (inputs, outputs) of a 2-D convolution and its output's shape."""
    size, _, _, features = kernel.shape
    reach = (size - 1) * dilation + 1
    if padding == "same":
        out = [-(-n // stride) for n in shape[:2]]
        before = [
            max((o - 1) * stride + reach - n, 0) // 2 for o, n in zip(out, shape, strict=False)
        ]
    else:
        out, before = [(n - reach) // stride + 1 for n in shape[:2]], [0, 0]
    matrix = np.zeros((*shape, *out, features))
    for row, column in np.ndindex(*out):
        for i, j in np.ndindex(size, size):
            y = row * stride + i * dilation - before[0]
            x = column * stride + j * dilation - before[1]
            if 0 <= y < shape[0] and 0 <= x < shape[1]:
                matrix[y, x, :, row, column, :] += kernel[i, j]
    return matrix.reshape(np.prod(shape), -1), (*out, features)


def share(name, x, W, b, R, bias=True, epsilon=EPSILON):
    """Return the relevance of x: the definitions, one entry of the matrix at a time."""

    def stabilized(z):
        return z + epsilon * np.where(z < 0, -1.0, 1.0)

    c = x[:, None] * W
    P, N = np.maximum(c, 0), np.minimum(c, 0)
    b = b if bias else np.zeros_like(b)
    z, p, n = c.sum(0) + b, P.sum(0) + np.maximum(b, 0), N.sum(0) + np.minimum(b, 0)
    if name == "epsilon":
        return c @ (R / stabilized(z))
    if name == "z_plus":
        return P @ (R / stabilized(p))
    if name == "alpha_beta":
        return 3 * (P @ (R / stabilized(p))) - 2 * (-N @ (R / stabilized(-n)))
    if name == "gamma":
        S, s = np.where(z > 0, P, N), np.where(z > 0, p, n)
        return (c + 0.5 * S) @ (R / stabilized(z + 0.5 * s))
    if name == "flat":
        ones = (W != 0).astype(float)
        return ones @ (R / stabilized(ones.sum(0)))
    if name == "w_square":
        return W**2 @ (R / stabilized((W**2).sum(0)))
    low, high = -3.0, 3.0
    box = c - low * np.maximum(W, 0) - high * np.minimum(W, 0)
    return box @ (R / stabilized(box.sum(0)))


OPTIONS = {
    "epsilon": {},
    "z_plus": {},
    "alpha_beta": {"alpha": 3.0, "beta": 2.0},
    "gamma": {"gamma": 0.5},
    "flat": {},
    "w_square": {},
    "z_box": {"low": -3.0, "high": 3.0},
}


def slow_lrp(image, parts, names, index, bias=True, epsilon=EPSILON):
    """Run affine layers (W, b) with ReLUs between them, and share back output `index`."""
    inputs, x = [], np.asarray(image, np.float64).ravel()
    for number, (W, b) in enumerate(parts):
        inputs.append(x)
        x = x @ W + b
        x = np.maximum(x, 0) if number < len(parts) - 1 else x
    R = np.zeros_like(x)
    R[index] = x[index]
    for (W, b), x, name in zip(parts[::-1], inputs[::-1], names[::-1], strict=True):
        R = share(name, x, W, b, R, bias, epsilon)
    return R.reshape(image.shape).sum(-1)


def randomized(model, seed=0):
    generator = np.random.default_rng(seed)
    for weight in model.trainable_weights:
        weight.assign(generator.normal(0, 0.4, weight.shape))
    return model


def pictures(seed=1, shape=SHAPE):
    # Of both signs, since rules treat negative inputs differently.
    return np.random.default_rng(seed).normal(0, 1, (2, *shape)).astype(np.float32)


class Net:
    """Conv, ReLU, conv, ReLU, dense: as a Keras model and as matrices."""

    def __init__(self, stride=1, padding="same", dilation=1):
        setting = {"strides": stride, "padding": padding, "dilation_rate": dilation}
        x = keras.Input(SHAPE)
        y = layers.Conv2D(3, 3, **setting, name="conv1", activation="relu")(x)
        y = layers.Conv2D(2, 2, name="conv2")(y)
        y = layers.Flatten()(layers.ReLU()(y))
        self.keras = randomized(keras.Model(x, layers.Dense(4, name="dense")(y)))
        kernel1, b1, kernel2, b2, dense, b3 = (
            np.asarray(w, np.float64) for w in self.keras.get_weights()
        )
        first, shape = convolution_matrix(kernel1, SHAPE, stride, padding, dilation)
        second, last = convolution_matrix(kernel2, shape, 1, "valid", 1)
        places = np.prod(shape[:2]), np.prod(last[:2])
        self.parts = [
            (first, np.tile(b1, places[0])),
            (second, np.tile(b2, places[1])),
            (dense, b3),
        ]


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("name", OPTIONS)
def test_rule_everywhere(name, bias):
    net, images = Net(), pictures()
    has_bias = name not in ("flat", "w_square", "z_box")
    if not bias and not has_bias:
        pytest.skip("has no bias in it")
    options = {**OPTIONS[name], **({"bias": bias} if has_bias else {})}
    maps = saliency(net.keras, images, [2, 0], "lrp", rule=name, epsilon=EPSILON, **options)
    for target, index in enumerate((2, 0)):
        expected = [slow_lrp(i, net.parts, [name] * 3, index, bias) for i in images]
        close(maps[target], expected)


@pytest.mark.parametrize("name", ["epsilon", "alpha_beta", "w_square", "z_box"])
@pytest.mark.parametrize(
    ("stride", "padding", "dilation"),
    [(2, "same", 1), (2, "valid", 1), (1, "same", 2), (1, "valid", 2), (3, "same", 1)],
)
def test_strides_padding_and_dilation(name, stride, padding, dilation):
    net, images = Net(stride, padding, dilation), pictures()
    maps = saliency(net.keras, images, 1, "lrp", rule=name, epsilon=EPSILON, **OPTIONS[name])
    close(maps, [slow_lrp(i, net.parts, [name] * 3, 1) for i in images])


def record(name):
    return rules.RULES[name](epsilon=EPSILON, **OPTIONS[name])


@pytest.mark.parametrize(
    ("options", "names"),
    [
        ({"dense": "epsilon", "convolution": "z_plus"}, ["z_plus", "z_plus", "epsilon"]),
        (
            {"dense": "epsilon", "convolution": "z_plus", "first": "flat"},
            ["flat", "z_plus", "epsilon"],
        ),
        (
            {"dense": "gamma", "convolution": "alpha_beta", "first": "z_box"},
            ["z_box", "alpha_beta", "gamma"],
        ),
    ],
)
def test_composite(options, names):
    net, images = Net(), pictures()
    composite = rules.Composite(**{kind: record(name) for kind, name in options.items()})
    maps = saliency(net.keras, images, 3, "lrp", composite=composite)
    close(maps, [slow_lrp(i, net.parts, names, 3) for i in images])


def test_composite_by_layer():
    net, images = Net(), pictures()
    chosen = {"conv1": record("w_square"), "conv2": record("gamma")}
    composite = rules.Composite(dense=record("epsilon"), first=record("flat"), layers=chosen)
    maps = saliency(net.keras, images, 3, "lrp", composite=composite)
    close(maps, [slow_lrp(i, net.parts, ["w_square", "gamma", "epsilon"], 3) for i in images])


def test_named_composites():
    expected = {
        "epsilon": (rules.Epsilon(), rules.Epsilon(), None),
        "epsilon_plus": (rules.Epsilon(), rules.ZPlus(), None),
        "epsilon_plus_flat": (rules.Epsilon(), rules.ZPlus(), rules.Flat()),
        "epsilon_plus_box": (rules.Epsilon(), rules.ZPlus(), rules.ZBox()),
        "epsilon_alpha2_beta1": (rules.Epsilon(), rules.AlphaBeta(2, 1), None),
        "epsilon_alpha2_beta1_flat": (rules.Epsilon(), rules.AlphaBeta(2, 1), rules.Flat()),
        "epsilon_gamma_box": (rules.Epsilon(), rules.Gamma(), rules.ZBox()),
    }
    found = {n: (c.dense, c.convolution, c.first) for n, c in rules.COMPOSITES.items()}
    assert found == expected


@pytest.mark.parametrize("name", OPTIONS)
def test_batch_normalization_belongs_to_the_convolution(name):
    # One scale is negative: what was a positive part before it is a negative one behind.
    x = keras.Input(SHAPE)
    y = layers.BatchNormalization(epsilon=0.1)(layers.Conv2D(3, 3, padding="same")(x))
    model = keras.Model(x, layers.Dense(4)(layers.Flatten()(layers.ReLU()(y))))
    randomized(model)
    norm = model.layers[2]
    values = [[1.5, -0.7, 0.4], [0.3, -0.2, 0.1], [0.2, 0.1, -0.4], [0.9, 1.3, 0.6]]
    norm.set_weights(list(np.float32(values)))
    weights = [w for layer in model.layers for w in layer.get_weights()]
    kernel, b, gamma, beta, mean, variance, dense, last = (np.float64(w) for w in weights)
    scale = gamma / np.sqrt(variance + 0.1)
    first, _ = convolution_matrix(kernel * scale, SHAPE, 1, "same", 1)
    parts = [(first, np.tile((b - mean) * scale + beta, 42)), (dense, last)]
    images = pictures()
    # In these two the scale cancels, and is not there for epsilon to be compared with.
    epsilon = 1e-6 if name in ("flat", "w_square") else EPSILON
    maps = saliency(model, images, 0, "lrp", rule=name, epsilon=epsilon, **OPTIONS[name])
    close(maps, [slow_lrp(i, parts, [name] * 2, 0, epsilon=epsilon) for i in images])


@pytest.mark.parametrize("name", OPTIONS)
def test_a_grouped_convolution_convolves_each_group_alone(name):
    x = keras.Input(SHAPE)
    y = layers.Conv2D(6, 3, groups=2, padding="same", strides=2, name="grouped")(x)
    y = layers.BatchNormalization()(y)
    model = randomized(keras.Model(x, layers.Dense(4)(layers.Flatten()(layers.ReLU()(y)))))
    norm = model.layers[2]
    norm.set_weights([np.float32([1.5, -0.7, 0.4, 0.9, -1.1, 0.6]), *norm.get_weights()[1:]])
    weights = [w for layer in model.layers for w in layer.get_weights()]
    kernel, b, gamma, beta, mean, variance, dense, last = (np.float64(w) for w in weights)
    scale = gamma / np.sqrt(variance + 1e-3)
    first = np.zeros((np.prod(SHAPE), 3 * 4, 6))
    for group in range(2):
        part = slice(3 * group, 3 * group + 3)
        alone = kernel[..., part] * scale[part]
        matrix, (*places, _) = convolution_matrix(alone, (*SHAPE[:2], 1), 2, "same", 1)
        assert places == [3, 4]
        first[group::2, :, part] = matrix.reshape(-1, 12, 3)
    parts = [(first.reshape(len(first), -1), np.tile((b - mean) * scale + beta, 12)), (dense, last)]
    images = pictures()
    epsilon = 1e-6 if name in ("flat", "w_square") else EPSILON  # as above
    maps = saliency(model, images, 0, "lrp", rule=name, epsilon=epsilon, **OPTIONS[name])
    close(maps, [slow_lrp(i, parts, [name] * 2, 0, epsilon=epsilon) for i in images])


OTHER_LAYERS = {
    "depthwise": lambda: layers.DepthwiseConv2D(3, depth_multiplier=2, padding="same"),
    "depthwise_dilated": lambda: layers.DepthwiseConv2D(2, dilation_rate=2),
    "transposed": lambda: layers.Conv2DTranspose(2, 3, strides=2, padding="same"),
    "dense_on_places": lambda: layers.Dense(3),
    "causal_1d": lambda: keras.Sequential(
        [layers.Reshape((14, 6)), layers.Conv1D(3, 3, dilation_rate=2, padding="causal")]
    ),
    "grouped_dilated": lambda: layers.Conv2D(4, 2, groups=2, dilation_rate=2),
    "grouped_1d": lambda: keras.Sequential(
        [layers.Reshape((14, 6)), layers.Conv1D(3, 3, groups=3, padding="causal")]
    ),
    "in_3d": lambda: keras.Sequential(
        [layers.Reshape((2, 3, 7, 2)), layers.Conv3D(2, 2, padding="same")]
    ),
}


@pytest.mark.parametrize("kind", OTHER_LAYERS)
@pytest.mark.parametrize("name", ["alpha_beta", "w_square", "z_box"])
def test_other_layers_with_weights(kind, name):
    # The matrix is read off the layer, column by column; the rule is the slow one.
    layer = OTHER_LAYERS[kind]()
    x = keras.Input(SHAPE)
    model = keras.Model(x, layers.Dense(4)(layers.Flatten()(layers.ReLU()(layer(x)))))
    randomized(model)
    units = np.eye(np.prod(SHAPE), dtype=np.float32).reshape(-1, *SHAPE)
    b = np.asarray(layer(np.zeros((1, *SHAPE), np.float32)), np.float64).ravel()
    first = np.asarray(layer(units), np.float64).reshape(len(units), -1) - b
    # Taking b off again leaves the rounding of the sum where the matrix has a 0.
    first[np.abs(first) < 1e-6] = 0
    dense, last = (np.asarray(w, np.float64) for w in model.layers[-1].get_weights())
    images = pictures()
    maps = saliency(model, images, 0, "lrp", rule=name, epsilon=EPSILON, **OPTIONS[name])
    parts = [(first, b), (dense, last)]
    close(maps, [slow_lrp(i, parts, [name] * 2, 0) for i in images])


# --- errors --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        (
            {"rule": "epsilom"},
            ValueError,
            "`rule` must be one of ['epsilon', 'z_plus', 'alpha_beta', 'gamma', 'flat', "
            "'w_square', 'z_box']; got 'epsilom'. Did you mean 'epsilon'?",
        ),
        (
            {"rule": "z_plus", "gamma": 0.5},
            TypeError,
            "Rule 'z_plus' has no option 'gamma'; it has ['epsilon', 'bias'].",
        ),
        (
            {"rule": rules.Epsilon(), "epsilon": 0.5},
            ValueError,
            "`rule` is a record already; set ['epsilon'] in it: Epsilon(epsilon=1e-06, bias=True).",
        ),
        (
            {"composite": "epsilon_plus", "epsilon": 0.5},
            ValueError,
            "`composite` has its own rules; got ['epsilon'] as well. Pass rules.Composite("
            "dense=..., convolution=..., first=...) with the rules you want.",
        ),
        (
            {"rule": "alpha_beta", "alpha": 2.0, "beta": 2.0},
            ValueError,
            "`alpha` - `beta` must be 1, or relevance would grow or shrink with each layer; "
            "got 2.0 - 2.0.",
        ),
        (
            {"epsilon": -1.0},
            ValueError,
            "`epsilon` must be a finite number >= 0; got -1.0.",
        ),
        (
            {"rule": "z_box", "low": 1.0, "high": 0.0},
            ValueError,
            "`low` must be at most `high`; got 1.0 and 0.0.",
        ),
        (
            {"bias": "no"},
            TypeError,
            "`bias` must be True or False; got 'no' of type str.",
        ),
    ],
)
def test_options_are_checked(options, error, text):
    with pytest.raises(error) as caught:
        saliency(Net().keras, pictures(), 0, "lrp", **options)
    assert str(caught.value) == text


def test_a_composite_knows_grouped_convolutions_by_name():
    x = keras.Input(SHAPE)
    y = layers.Flatten()(layers.Conv2D(4, 2, groups=2, name="grouped")(x))
    model = randomized(keras.Model(x, layers.Dense(4)(y)))
    one = rules.Composite(layers={"grouped": rules.ZPlus()})
    found, expected = (
        saliency(model, pictures(), 0, "lrp", composite=composite)
        for composite in (one, rules.Composite(convolution=rules.ZPlus()))
    )
    np.testing.assert_array_equal(found, expected)


def test_composite_takes_rules_only():
    with pytest.raises(TypeError) as caught:
        rules.Composite(first="flat")
    assert str(caught.value) == "`first` must be a rule such as rules.Epsilon(); got 'flat'."


def test_composite_names_layers_with_weights():
    composite = rules.Composite(layers={"flatten": rules.Flat()})
    x = keras.Input(SHAPE)
    model = keras.Model(x, layers.Dense(4, name="box")(layers.Flatten(name="flatten")(x)))
    with pytest.raises(ValueError, match="layers with weights") as caught:
        saliency(model, pictures(), 0, "lrp", composite=composite)
    assert str(caught.value) == (
        "`layers` of the composite must name layers with weights, some of ['box'], or what "
        "contains them; got 'flatten'."
    )
