"""LRP through what stands in front of the first layer and behind the last one."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import ops

import whitebox_loc as wb
from whitebox_loc.introspect import saliency
from whitebox_loc.introspect.methods.propagation.rules import COMPOSITES

MEAN = np.float32([100.0, 120.0, 90.0])
EDGES = ["top", "left", "bottom", "right"]


def network(seed=0):
    x = keras.Input((8, 12, 3))
    y = keras.layers.Conv2D(4, 3, activation="relu", name="conv")(x)
    y = keras.layers.Dense(4, name="dense")(keras.layers.Flatten()(y))
    model = keras.Model(x, y, name="theirs")
    generator = np.random.default_rng(seed)
    model.set_weights([generator.normal(0, 0.02, w.shape) for w in model.get_weights()])
    return model


def shifted(images):
    return ops.repeat(images, 3, axis=-1) * 255.0 - MEAN


def close(found, expected):
    # Two layers of sums of at most 200 products, in one order here and there.
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4 * np.abs(expected).max())


@pytest.mark.parametrize("composite", [None, *COMPOSITES])
def test_scaling_and_shifting_belong_to_the_pixels(composite):
    theirs = network()
    ours = wb.models.adapted(theirs, prepare=shifted, channels=1, check=False)
    scene = wb.data.Scene(size=(8, 12))
    images = wb.data.render([[2, 3, 6, 9], [0, 1, 5, 12]], scene)
    expected = saliency(theirs, np.asarray(shifted(images)), EDGES, "lrp", composite=composite)
    assert (np.abs(expected[:, images[..., 0] == 0]).max(1) > 0).all()
    close(saliency(ours, images, EDGES, "lrp", composite=composite), expected)


@pytest.mark.parametrize("composite", [None, "epsilon_plus_flat"])
def test_resizing_gives_each_pixel_its_share_of_every_number(composite):
    theirs = network()

    def prepare(images):
        return shifted(ops.image.resize(images, (8, 12)))

    ours = wb.models.adapted(theirs, prepare=prepare, size=(5, 7), channels=1, check=False)
    images = np.random.default_rng(0).random((2, 5, 7, 1), np.float32)
    large = tf.image.resize(images, (8, 12))
    inside = saliency(theirs, np.asarray(shifted(large)), EDGES, "lrp", composite=composite)
    maps = saliency(ours, images, EDGES, "lrp", composite=composite)
    for found, relevance in zip(maps, inside, strict=True):
        tensor = tf.constant(images)
        with tf.GradientTape() as tape:
            tape.watch(tensor)
            total = tf.reduce_sum(tf.image.resize(tensor, (8, 12)) * relevance[..., None])
        close(found, tape.gradient(total, tensor)[..., 0].numpy())
    close(maps.sum((2, 3)), inside.sum((2, 3)))


def test_a_shift_behind_the_first_layer_keeps_its_share():
    x = keras.Input((2, 2, 1))
    y = keras.layers.Dense(4, use_bias=False, name="dense")(keras.layers.Flatten()(x))
    model = keras.Model(x, ops.relu(y) + 1.0)
    model.set_weights([np.ones((4, 4))])
    images = np.full((1, 2, 2, 1), 0.5, np.float32)
    # 2 of the output 3 come from the pixels, and 1 from the constant.
    np.testing.assert_allclose(saliency(model, images, "top", "lrp"), images[..., 0], rtol=1e-5)


def test_an_exponential_is_expanded_to_first_order():
    # exp(w x): relevance y z of the exponent z, of which pixel i has the share x_i w_i / z.
    x = keras.Input((2, 3, 1))
    y = keras.layers.Dense(4, use_bias=False, name="dense")(keras.layers.Flatten()(x))
    model = keras.Model(x, 5.0 * ops.exp(y))
    generator = np.random.default_rng(0)
    weights = generator.normal(0, 1, (6, 4))
    model.set_weights([weights])
    images = generator.random((2, 2, 3, 1), np.float32)
    values = 5 * np.exp(images.reshape(2, 6) @ weights[:, 1])
    expected = images[..., 0] * weights[:, 1].reshape(2, 3) * values[:, None, None]
    np.testing.assert_allclose(saliency(model, images, "left", "lrp"), expected, rtol=1e-3)
