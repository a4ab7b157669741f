"""Kernels: what a layer does to an impulse, read from the numbers alone."""

import keras
import numpy as np
import pytest

from whitebox_loc.introspect import kernels

LAYERS = keras.layers


def built(layer, *shape):
    model = keras.Sequential([keras.Input(shape), layer])
    values = np.random.default_rng(0).normal(size=layer.kernel.shape).astype(np.float32)
    layer.kernel.assign(values)
    layer.bias.assign(np.ones(layer.bias.shape))
    return model


def respond(model, place, channel, shape):
    """Output for an impulse at a place of one channel, less the bias."""
    impulse = np.zeros((1, *shape), np.float32)
    impulse[(0, *place, channel)] = 1
    return model(impulse).numpy()[0] - 1


def test_two_dimensional_convolution():
    model = built(LAYERS.Conv2D(3, (2, 4), name="conv"), 3, 7, 2)
    found = kernels(model, "conv")
    assert found.shape == (2, 4, 2, 3)
    # Keras slides without turning: from the output at (y, x), the impulse lies at the
    # kernel's place (1 - y, 3 - x).
    for channel in range(2):
        seen = respond(model, (1, 3), channel, (3, 7, 2))
        np.testing.assert_allclose(seen[1::-1, 3::-1], found[:, :, channel], atol=1e-6)


def test_transposed_convolution_has_the_same_order_of_channels():
    model = built(LAYERS.Conv2DTranspose(3, (2, 4), name="up"), 1, 1, 2)
    found = kernels(model, "up")
    assert found.shape == (2, 4, 2, 3)
    for channel in range(2):
        seen = respond(model, (0, 0), channel, (1, 1, 2))
        np.testing.assert_allclose(seen, found[:, :, channel], atol=1e-6)


def test_one_dimensional_convolution():
    model = built(LAYERS.Conv1D(3, 2, name="conv"), 3, 4)
    found = kernels(model, "conv")
    assert found.shape == (2, 4, 3)
    for channel in range(4):
        seen = respond(model, (1,), channel, (3, 4))
        np.testing.assert_allclose(seen[1::-1], found[:, channel], atol=1e-6)


@pytest.mark.parametrize("policy", ["float32", "mixed_float16"])
def test_dense(policy):
    layer = LAYERS.Dense(3, name="dense", dtype=policy)
    model = built(layer, 5)
    found = kernels(model, "dense")
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, layer.kernel.numpy())


def test_depthwise_convolution():
    model = built(LAYERS.DepthwiseConv2D(3, depth_multiplier=2, name="each"), 5, 5, 4)
    assert kernels(model, "each").shape == (3, 3, 4, 2)


def test_the_caller_may_change_what_he_gets():
    model = built(LAYERS.Dense(3, name="dense"), 5)
    before = kernels(model, "dense").copy()
    kernels(model, "dense")[:] = 0
    np.testing.assert_array_equal(kernels(model, "dense"), before)
