"""Relevance through whole models: what is kept, what is lost, what cannot be passed."""

import itertools
import re

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import whitebox_loc as wb
from whitebox_loc.introspect import saliency, targets
from whitebox_loc.introspect.methods import rules

layers = keras.layers
# "context" takes four times as long to trace as "profile", and has hardly other operations.
HEADS = [
    pytest.param(head, marks=pytest.mark.slow if head == "context" else ())
    for head in wb.models.HEADS
]
SHAPE = (8, 6, 1)
EPS = np.finfo(np.float32).eps
EDGES = ["top", "left", "bottom", "right"]


def randomized(model, seed=0, bias=0.0):
    generator = np.random.default_rng(seed)
    for weight in model.trainable_weights:
        size = bias if weight.name == "bias" else 0.4
        weight.assign(generator.normal(0, size, weight.shape))
    return model


def pictures(n=3, seed=1, shape=SHAPE):
    return np.random.default_rng(seed).random((n, *shape), np.float32)


def close(found, expected, roundings=1000):
    # Sums of some hundred products over few layers, in another order; a share divides by z
    # and the derivative does not, which costs as many roundings again.
    scale = np.abs(expected).max()
    assert scale > 1e-5
    np.testing.assert_allclose(found, expected, rtol=0, atol=roundings * EPS * scale)


def residual(x):
    y = layers.Conv2D(3, 3, padding="same", activation="relu")(x)
    return layers.Flatten()(layers.Add()([y, layers.Conv2D(3, 1)(x)]))


def concatenated(x):
    y = layers.Conv2D(3, 3, padding="same", activation="relu")(x)
    joined = layers.Concatenate(axis=1)([y, layers.Conv2D(3, 1, activation="leaky_relu")(x)])
    return layers.Flatten()(layers.Subtract()([joined, 2.0 * joined[:, ::-1]]))


def pooled(x):
    y = layers.Conv2D(3, 3, padding="same", activation="relu")(x)
    y = layers.AveragePooling2D(2, padding="same")(layers.MaxPooling2D(2, 1, padding="same")(y))
    return layers.Flatten()(y)


def moved(x):
    y = layers.ZeroPadding2D(2)(x)
    y = layers.Cropping2D(((1, 0), (0, 2)))(layers.UpSampling2D(2)(y))
    y = layers.Permute((2, 1, 3))(layers.SpatialDropout2D(0.5)(y))
    return layers.Reshape((-1,))(layers.SeparableConv2D(2, 3, activation="relu")(y))


def over_places(x):
    y = layers.Conv2D(5, 3, activation="relu")(x)
    best = layers.GlobalMaxPooling2D()(y)
    return layers.Concatenate()(
        [best, layers.GlobalAveragePooling2D()(y), keras.ops.sum(y, (1, 2))]
    )


def over_lines(x):
    y = keras.ops.max(layers.Conv2D(4, 3)(x), axis=2)
    y = layers.Conv1D(4, 2, activation="relu")(layers.PReLU()(y))
    return layers.Flatten()(layers.MaxPooling1D(2)(y))


def scaled(x):
    y = layers.Rescaling(2.0)(x)
    return layers.Flatten()(layers.ReLU(max_value=2.0)(layers.Conv2D(3, 3)(y)))


def twice(x):
    again = layers.Conv2D(1, 3, padding="same", activation="relu")
    return layers.Flatten()(again(again(x)))


TRUNKS = (residual, concatenated, pooled, moved, over_places, over_lines, scaled, twice)
LASTS = {
    "linear": lambda x: layers.Dense(4)(x),
    "sigmoid": lambda x: layers.Dense(4, activation="sigmoid")(x),
    "softmax": lambda x: layers.Dense(4, activation="softmax")(x),
}


def network(trunk, last="linear", seed=0):
    x = keras.Input(SHAPE)
    return randomized(keras.Model(x, LASTS[last](trunk(x))), seed)


# --- gradient times input ------------------------------------------------------------


# Each trunk in front of a sigmoid and each last layer behind one trunk; the other pairs are slow.
PAIRS = [
    pytest.param(
        trunk, last, id=f"{trunk.__name__}-{last}",
        marks=() if last == "sigmoid" or trunk is residual else pytest.mark.slow,
    )
    for trunk in TRUNKS for last in LASTS
]  # fmt: skip


@pytest.mark.parametrize(("trunk", "last"), PAIRS)
def test_without_bias_and_epsilon_it_is_gradient_times_input(trunk, last):
    # Every operation is then homogeneous or expanded to first order, so that relevance is
    # input times derivative at each.
    model, images = network(trunk, last), pictures()
    if trunk is scaled:
        images = images * 0.2  # below the ceiling of the ReLU, which is not homogeneous
    expected = saliency(model, images, EDGES, "gradient_x_input")
    close(saliency(model, images, EDGES, "lrp", epsilon=0.0), expected)


def test_epsilon_goes_to_0_linearly():
    # epsilon / (z + epsilon) of each share is lost, so a tenth of epsilon loses a tenth.
    model, images = network(residual), pictures()
    exact = saliency(model, images, "top", "gradient_x_input")
    errors = [
        np.abs(saliency(model, images, "top", "lrp", epsilon=e) - exact).max()
        for e in (1e-2, 1e-3, 1e-4)
    ]
    assert errors[0] > 1e-4
    for more, less in itertools.pairwise(errors):
        # Small z make it more than linear where epsilon is not small beside them.
        assert less < 0.3 * more


@pytest.mark.parametrize("target", ["height", "area", targets.iou([0.1, 0.1, 0.9, 0.8])])
def test_targets_are_expanded_to_first_order(target):
    x = keras.Input(SHAPE)
    model = keras.Model(x, LASTS["sigmoid"](layers.Flatten()(x)))
    # Positive images make coordinates below and above a half: a box that is not empty.
    weights = np.abs(np.random.default_rng(0).normal(0, 0.1, (48, 4))) * [-1, -1, 1, 1]
    model.set_weights([np.float32(weights), np.zeros(4, np.float32)])
    expected = saliency(model, pictures(), target, "gradient_x_input")
    close(saliency(model, pictures(), target, "lrp", epsilon=0.0), expected)


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("link", ["identity", "logit"])
def test_own_heads(head, link):
    # Their biases are 0 when they are built; coordinates in the input are a constant.
    model = wb.models.localizer((12, 10), head=head, filters=(4, 4))
    images = wb.data.generate(wb.data.Scene(size=(12, 10)), 3, seed=0).images
    if head == "profile" and link == "logit":
        target, link_target = targets.bin("top", 3), "logit"
    else:
        target, link_target = "top", link
    expected = saliency(model, images, target, "gradient_x_input", link=link_target)
    maps = saliency(model, images, target, "lrp", epsilon=0.0, link=link_target)
    close(maps, expected)
    composite = "epsilon_plus_flat"
    maps, info = saliency(model, images, EDGES, "lrp", composite=composite, return_info=True)
    np.testing.assert_array_equal(info.reference, np.zeros((4, 3)))
    found = maps.sum((2, 3), dtype=np.float64) - info.values
    np.testing.assert_allclose(info.gap, found, rtol=1e-6)


# --- closed forms --------------------------------------------------------------------


def test_maximum_goes_to_the_winner():
    x = keras.Input((2, 2, 1))
    model = keras.Model(x, layers.Dense(1, use_bias=False)(layers.GlobalMaxPooling2D()(x)))
    model.set_weights([np.float32([[3.0]])])
    image = np.float32([[0.1, 0.7], [0.2, 0.3]])[None, ..., None]
    maps = saliency(model, image, 0, "lrp", epsilon=0.0)
    np.testing.assert_allclose(maps[0], [[0, 2.1], [0, 0]], rtol=4 * EPS)


def test_equal_maxima_share():
    x = keras.Input((2, 2, 1))
    model = keras.Model(x, keras.ops.max(x, axis=(1, 2)))
    image = np.float32([[0.6, 0.6], [0.2, 0.3]])[None, ..., None]
    maps = saliency(model, image, 0, "lrp")
    np.testing.assert_allclose(maps[0], [[0.3, 0.3], [0, 0]], rtol=4 * EPS)


def test_bias_takes_its_share_and_the_gap_shows_it():
    x = keras.Input((1, 2, 1))
    model = keras.Model(x, layers.Dense(1)(layers.Flatten()(x)))
    model.set_weights([np.float32([[2.0], [1.0]]), np.float32([2.0])])
    image = np.float32([0.5, 1.0]).reshape(1, 1, 2, 1)
    maps, info = saliency(model, image, 0, "lrp", epsilon=0.0, return_info=True)
    np.testing.assert_allclose(maps[0], [[1.0, 1.0]], rtol=4 * EPS)
    np.testing.assert_allclose(info.gap, [-2.0], rtol=4 * EPS)
    maps, info = saliency(model, image, 0, "lrp", epsilon=0.0, bias=False, return_info=True)
    np.testing.assert_allclose(maps[0], [[2.0, 2.0]], rtol=4 * EPS)
    np.testing.assert_allclose(info.gap, [0.0], atol=16 * EPS)


def test_sigmoid_passes_input_times_derivative():
    x = keras.Input((1, 1, 1))
    model = keras.Model(x, layers.Activation("sigmoid")(layers.Flatten()(x)))
    image = np.float32([0.5, -3.0, 40.0]).reshape(3, 1, 1, 1)
    z = image.astype(np.float64).ravel()
    y = 1 / (1 + np.exp(-z))
    # Also where 1 - y is 0 in float32.
    expected = z * y * np.exp(-z) * y
    found = saliency(model, image, 0, "lrp").ravel()
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    odds = saliency(model, image, 0, "lrp", link="logit").ravel()
    np.testing.assert_allclose(odds, z, rtol=4 * EPS)


# --- conservation --------------------------------------------------------------------


@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 2**20), trunk=st.sampled_from([pooled, over_lines]))
def test_relevance_is_kept_without_bias(seed, trunk):
    model, images = network(trunk, seed=seed), pictures(2, seed)
    # A filter of negative weights alone (one in 500) has no positive part to pass relevance on by,
    # and no ReLU stands behind those of `over_lines` that would give it none; so for seed 287.
    filters = next(w for w in model.trainable_weights if w.name == "kernel").numpy()
    assume((filters.max(axis=(0, 1, 2)) > 0).all())
    features = keras.Model(model.input, model.layers[-1].input)
    # The last layer shares out sum(|x_i w_ij|) in all; z_plus passes each share on in parts
    # of its own sign. So rounding is that of this sum, a few hundred times at most.
    parts = np.abs(features(images).numpy()[..., None] * model.layers[-1].kernel.numpy()).sum(1)
    # What stabilises denominators is nothing beside them.
    tiny = {"epsilon": 1e-20}
    composite = rules.Composite(
        rules.Epsilon(**tiny), rules.ZPlus(**tiny), sums=rules.Epsilon(**tiny)
    )
    _, info = saliency(model, images, EDGES, "lrp", composite=composite, return_info=True)
    assert (np.abs(info.gap) <= 500 * EPS * parts.T).all()


@pytest.mark.parametrize("rule", ["flat", "w_square"])
def test_shares_without_the_input_are_kept_in_spite_of_bias_and_padding(rule):
    # Every window of the convolution has a pixel in it, and the frame gets nothing.
    x = keras.Input(SHAPE)
    y = layers.Conv2D(3, 3)(layers.ZeroPadding2D(1)(x))
    model = keras.Model(x, layers.Dense(4)(layers.Flatten()(layers.ReLU()(y))))
    randomized(model, bias=1.0)
    images = pictures() - 0.5
    _, info = saliency(model, images, EDGES, "lrp", rule=rule, epsilon=0.0, return_info=True)
    # Shares add up to 1 in sums of at most 144 terms, twice.
    tolerance = 300 * EPS * np.abs(info.values).max()
    assert np.abs(info.values).min() > 100 * tolerance
    np.testing.assert_allclose(info.gap, 0, atol=tolerance)


def test_alpha_beta_1_0_is_z_plus_and_gamma_0_is_epsilon():
    model, images = network(pooled), pictures() - 0.3
    for first, second in (
        ({"rule": "alpha_beta", "alpha": 1.0, "beta": 0.0}, {"rule": "z_plus"}),
        ({"rule": "gamma", "gamma": 0.0}, {"rule": "epsilon"}),
    ):
        maps = [saliency(model, images, EDGES, "lrp", epsilon=0.1, **o) for o in (first, second)]
        close(maps[0], maps[1])


# --- laws ----------------------------------------------------------------------------


@settings(max_examples=6, deadline=None)
@given(
    seed=st.integers(0, 2**20),
    rule=st.sampled_from(sorted(rules.RULES)),
    split=st.integers(1, 4),
)
def test_batches_and_stacking_change_nothing(seed, rule, split):
    model, images = LAWS, pictures(4, seed) - 0.5
    together = saliency(model, images, EDGES, "lrp", rule=rule, epsilon=0.01)
    in_parts = saliency(model, images, EDGES, "lrp", rule=rule, epsilon=0.01, batch_size=split)
    alone = saliency(model, images[2:3], "bottom", "lrp", rule=rule, epsilon=0.01)
    # The same sums, possibly in another order; over epsilon, so 1e2 times their rounding.
    bound = 1e4 * EPS * np.abs(together).max()
    np.testing.assert_allclose(in_parts, together, rtol=0, atol=bound)
    np.testing.assert_allclose(alone[0], together[2, 2], rtol=0, atol=bound)


@settings(max_examples=6, deadline=None)
@given(seed=st.integers(0, 2**20), rule=st.sampled_from(["epsilon", "flat", "w_square"]))
def test_sign_under_negation(seed, rule):
    # Rules that treat both signs alike at the output.
    images = pictures(2, seed) - 0.5
    maps = saliency(LAWS, images, 1, "lrp", rule=rule)
    negated = saliency(LAWS, images, lambda out: -out[:, 1], "lrp", rule=rule)
    np.testing.assert_allclose(negated, -maps, rtol=0, atol=10 * EPS * np.abs(maps).max())


LAWS = network(pooled, seed=5)


# --- what cannot be passed -----------------------------------------------------------


def refused(model, shape=SHAPE, method="lrp"):
    with pytest.raises(ValueError, match="cannot pass") as caught:
        saliency(model, pictures(1, shape=shape), 0, method)
    return str(caught.value)


FIX = (
    " Replace it by layers that the method knows, explain a target in front of or behind it "
    "(introspect.targets.unit), or use method='integrated_gradients', which needs derivatives "
    "only."
)


@pytest.mark.parametrize(
    ("layer", "why"),
    [
        (
            lambda: layers.LayerNormalization(name="norm"),
            "layer 'inner/norm' (LayerNormalization): there is no rule for its operation ",
        ),
        (
            lambda: layers.Dense(3, activation="softplus", name="soft"),
            "layer 'inner/soft' (Dense): there is no rule for its operation Softplus.",
        ),
        (
            lambda: layers.Activation("silu", name="gate"),
            "layer 'inner/gate' (Activation): its Mul multiplies two signals that depend on the "
            "image.",
        ),
        (
            lambda: layers.Lambda(tf.function(lambda t: 2.0 * t), name="hidden"),
            "layer 'inner/hidden' (Lambda): there is no rule for its operation "
            "PartitionedCall (a tf.function).",
        ),
    ],
)
def test_unknown_layers_are_named(layer, why):
    x = keras.Input((8, 6, 2))
    inner = keras.Sequential([layer()], name="inner")
    model = keras.Model(x, layers.Dense(4)(layers.Flatten()(inner(x))))
    text = refused(model, (8, 6, 2))
    assert text.startswith("Method 'lrp' cannot pass " + why)
    assert text.endswith(FIX)


def test_unknown_raw_operations_are_named():
    x = keras.Input(SHAPE)
    model = keras.Model(x, layers.Dense(4)(layers.Flatten()(keras.ops.sin(x))), name="raw")
    text = refused(model)
    # TensorFlow numbers the model's name in each trace.
    assert re.sub("raw_[0-9]+", "raw", text) == (
        "Method 'lrp' cannot pass operation 'raw/Sin': there is no rule for its operation Sin."
        + FIX
    )


def test_unknown_layers_that_the_target_does_not_use_do_not_matter():
    x = keras.Input(SHAPE)
    flat = layers.Flatten()(x)
    other = layers.Dense(3, name="other")(layers.LayerNormalization()(flat))
    model = randomized(keras.Model(x, {"box": layers.Dense(4, name="box")(flat), "other": other}))
    maps = saliency(model, pictures(), "top", "lrp", epsilon=0.0)
    close(maps, saliency(model, pictures(), "top", "gradient_x_input"))
    with pytest.raises(ValueError, match="LayerNormalization"):
        saliency(model, pictures(), lambda out: out["other"][:, 0], "lrp")


def test_a_target_behind_an_unknown_layer_is_named_as_ever():
    with pytest.raises(ValueError, match="`layers` must name layers"):
        saliency(LAWS, pictures(), targets.unit("nowhere", 0), "lrp")


def test_a_unit_is_explained():
    model = network(pooled)
    path = model.layers[1].name
    target = targets.unit(path, 2)
    maps = saliency(model, pictures(), target, "lrp", epsilon=0.0)
    close(maps, saliency(model, pictures(), target, "gradient_x_input"))


def test_the_model_stays_as_it_was():
    before = [w.numpy().tobytes() for w in LAWS.weights]
    calls = [vars(layer).get("call") for layer in LAWS.layers]
    saliency(LAWS, pictures(), lambda out: tf.reduce_sum(out, 1), "lrp")
    assert [w.numpy().tobytes() for w in LAWS.weights] == before
    assert [vars(layer).get("call") for layer in LAWS.layers] == calls
