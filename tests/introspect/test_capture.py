"""The engine: what is compiled, when again, what is refused, and that nothing leaks."""

import gc
import weakref

import keras
import numpy as np
import pytest
import tensorflow as tf

from whitebox_loc.introspect import activations, list_layers, patch, saliency

LAYERS = keras.layers
IMAGES = np.random.default_rng(0).random((4, 6, 7, 1), np.float32)


class Counting(keras.Model):
    """Counts how often Python runs its call: once a trace."""

    def __init__(self):
        super().__init__()
        self.conv = LAYERS.Conv2D(2, 3, name="conv")
        self.act = LAYERS.Activation("relu", name="act")
        self.flat = LAYERS.Flatten(name="flat")
        self.box = LAYERS.Dense(4, name="box")
        self.scale = 1.0
        self.seen = []

    def call(self, x):
        self.seen.append(tuple(x.shape))
        return self.scale * self.box(self.flat(self.act(self.conv(x))))


@pytest.fixture
def counting():
    model = Counting()
    model(IMAGES)
    model.seen.clear()
    return model


def sequential():
    return keras.Sequential([keras.Input((6, 7, 1)), LAYERS.Flatten(), LAYERS.Dense(4)])


def read_width(outputs):
    return outputs[:, 3] - outputs[:, 1]


def test_traced_once_for_any_number_of_images(counting):
    for n in (4, 1, 3):
        for _ in range(2):
            saliency(counting, IMAGES[:n], ["top", "area"], "integrated_gradients", batch_size=8)
    assert counting.seen == [(None, 6, 7, 1)]


@pytest.mark.parametrize("target", ["top", ["top", "left"], 2, read_width, -1])
def test_traced_once_for_every_kind_of_target(counting, target):
    saliency(counting, IMAGES, target)
    saliency(counting, IMAGES, target)
    assert len(counting.seen) == 1


def test_activations_and_patches_are_traced_once(counting):
    for n in (4, 2):
        activations(counting, IMAGES[:n])
        patch(counting, IMAGES[:n], {"conv": np.zeros((n, 4, 5, 2))})
        patch(counting, IMAGES[:n], {"conv": tf.nn.relu})
    assert len(counting.seen) == 3


def test_new_weights_are_used_without_a_new_trace(counting):
    before = saliency(counting, IMAGES)
    for weight in counting.weights:
        weight.assign(2.0 * weight)
    after = saliency(counting, IMAGES)
    assert len(counting.seen) == 1
    # Biases are zero: doubling two layers' weights is four times the slope.
    np.testing.assert_allclose(after, 4 * before, rtol=1e-5, atol=1e-6)


def test_a_replaced_activation_is_noticed(counting):
    linear = lambda: [saliency(counting, IMAGES), activations(counting, IMAGES, "act")["act"]]  # noqa: E731
    first = linear()
    counting.act.activation = keras.activations.linear
    second = linear()
    assert (first[1] >= 0).all()
    assert (second[1] < 0).any()
    assert np.abs(first[0] - second[0]).max() > 1e-3


def test_a_replaced_setting_is_noticed(counting):
    first = saliency(counting, IMAGES)
    for scale in (2.0, 3.0, 2.0):
        counting.scale = scale
        np.testing.assert_allclose(saliency(counting, IMAGES), scale * first, rtol=1e-5, atol=1e-6)


def test_a_replaced_layer_is_noticed():
    model = sequential()
    first = saliency(model, IMAGES)
    for _ in range(3):
        model.pop()
        model.add(LAYERS.Dense(4))
        weights = np.asarray(model.layers[-1].kernel.numpy())
        expected = np.broadcast_to(weights[:, 0].reshape(6, 7), first.shape)
        np.testing.assert_allclose(saliency(model, IMAGES), expected, rtol=1e-6)


def test_a_function_is_compiled_again_when_what_it_reads_is_replaced():
    model = sequential()
    top, left = saliency(model, IMAGES, ["top", "left"])

    def target(outputs):
        return factor * tf.reduce_sum(outputs * mask, axis=1)

    factor, mask = 1.0, np.array([1, 0, 0, 0], np.float32)
    np.testing.assert_allclose(saliency(model, IMAGES, target), top, rtol=1e-6)
    factor = 2.0
    np.testing.assert_allclose(saliency(model, IMAGES, target), 2 * top, rtol=1e-6)
    mask = np.array([0, 1, 0, 0], np.float32)
    np.testing.assert_allclose(saliency(model, IMAGES, target), 2 * left, rtol=1e-6)
    # What cannot be watched is compiled every time.
    mask = [1.0, 0.0, 0.0, 0.0]
    saliency(model, IMAGES, target)
    mask[:2] = 0.0, 1.0
    np.testing.assert_allclose(saliency(model, IMAGES, target), 2 * left, rtol=1e-6)


def use_everything(model):
    activations(model, IMAGES)
    patch(model, IMAGES, {row.path: lambda a: a * 1.0 for row in list_layers(model)[:1]})
    saliency(model, IMAGES, ["top", "area"], "integrated_gradients", steps=2)
    saliency(model, IMAGES, lambda outputs: outputs[:, 0] * len(model.layers))


@pytest.mark.parametrize("build", [sequential, Counting])
def test_models_are_freed(build):
    model = build()
    use_everything(model)
    freed = weakref.ref(model)
    del model
    gc.collect()
    assert freed() is None


class Hidden(keras.Model):
    """Runs a layer inside a tf.function of its own."""

    def __init__(self):
        super().__init__()
        self.inner = LAYERS.Dense(5, activation="relu", name="inner")
        self.flat = LAYERS.Flatten(name="flat")
        self.box = LAYERS.Dense(4, name="box")

    @tf.function
    def compute(self, x):
        return self.inner(self.flat(x))

    def call(self, x):
        return self.box(self.compute(x))


def test_layers_inside_a_function_of_the_model():
    model = Hidden()
    message = "Layer 'inner' runs inside a tf.function, loop or condition of the model's own"
    with pytest.raises(ValueError, match=message):
        patch(model, IMAGES, {"inner": lambda a: a * 0})
    # The model's own function has not kept the replacement.
    assert np.ptp(model(IMAGES).numpy(), axis=0).min() > 0
    with tf.GradientTape() as tape:
        tensor = tf.constant(IMAGES)
        tape.watch(tensor)
        top = model(tensor)[:, 0]
    expected = tf.reduce_sum(tape.gradient(top, tensor), -1)
    np.testing.assert_allclose(saliency(model, IMAGES), expected, rtol=1e-4, atol=1e-6)
    assert "box" in activations(model, IMAGES)
    with pytest.raises(ValueError, match=r"ReLU inside a tf\.function, loop or condition"):
        saliency(model, IMAGES, method="guided_backprop")


def test_calls_of_a_shared_layer():
    x = keras.Input((6, 7, 1))
    again = LAYERS.Conv2D(1, 3, padding="same", name="again")
    model = keras.Model(x, LAYERS.Dense(4, name="box")(LAYERS.Flatten()(again(again(x)))))
    found = activations(model, IMAGES, "again")
    assert list(found) == ["again#1", "again#2"]
    second = activations(model, IMAGES, "again#2")
    assert list(second) == ["again#2"]
    # Two functions of TensorFlow, which may join the same operations in different ways.
    np.testing.assert_allclose(second["again#2"], found["again#2"], atol=1e-5)
    np.testing.assert_allclose(again(found["again#1"]), found["again#2"], atol=1e-5)
    zeros = np.zeros((1, 6, 7, 1))
    # Replacing the second call alone hides the first; a blank first gives a bias of zero.
    np.testing.assert_array_equal(
        patch(model, IMAGES, {"again#2": zeros}), patch(model, IMAGES, {"again": 0.0})
    )
    with pytest.raises(ValueError, match=r"Layer 'again' is called 2 times; got 'again#3'\."):
        patch(model, IMAGES, {"again#3": zeros})
    with pytest.raises(ValueError, match=r"Layer 'again' is called 2 times; got 'again#3'\."):
        activations(model, IMAGES, "again#3")


def test_equal_names_in_one_container():
    class Twins(keras.Model):
        def __init__(self):
            super().__init__()
            self.parts = [LAYERS.Flatten(name="a"), *(LAYERS.Dense(4, name="d") for _ in range(2))]

        def call(self, x):
            for part in self.parts:
                x = part(x)
            return x

    model = Twins()
    found = activations(model, IMAGES)
    assert list(found) == ["a", "d", "d~2"]
    np.testing.assert_allclose(found["d~2"], model(IMAGES), atol=1e-6)


def test_reductions(counting):
    whole = activations(counting, IMAGES, ["conv", "box"])
    for name in ("mean", "max", "min", "sum"):
        reduced = activations(counting, IMAGES, ["conv", "box"], reduce=name)
        expected = getattr(np, name)(whole["conv"], axis=(1, 2))
        np.testing.assert_allclose(reduced["conv"], expected, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(reduced["box"], whole["box"], rtol=1e-5, atol=1e-6)
