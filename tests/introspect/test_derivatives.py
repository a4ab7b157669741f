"""Half precision: gradients that float16 cannot hold on the way still reach the image."""

import keras
import numpy as np
import pytest

from whitebox_loc.introspect import saliency

L = keras.layers


def build(policy, slope):
    """A coordinate that is `slope` times the sum of 2 x 2 means of the image."""
    keras.mixed_precision.set_global_policy(policy)
    try:
        x = keras.Input((8, 8, 1))
        y = L.Conv2D(1, 2, strides=2, use_bias=False, name="mean")(x)
        y = L.Dense(4, use_bias=False, name="sum")(L.Flatten()(y))
        y = L.Activation("linear", dtype="float32", name="as_float32")(y)
        # The small factor stands behind the cast, as a saturated sigmoid in float32 would.
        model = keras.Model(x, L.Dense(4, use_bias=False, dtype="float32", name="box")(y))
    finally:
        keras.mixed_precision.set_global_policy("float32")
    model.set_weights([np.full((2, 2, 1, 1), 0.25), np.ones((16, 4)), slope * np.eye(4)])
    return model


@pytest.mark.parametrize("slope", [0.5, 1e-6, 1e-8, 3e-11])
@pytest.mark.parametrize("method", ["gradient", "gradient_x_input", "layercam"])
def test_small_gradients_survive_half_precision(method, slope):
    images = np.random.default_rng(0).random((2, 8, 8, 1), np.float32)
    options = {"layer": "mean"} if method == "layercam" else {}
    half, full = (
        saliency(build(p, slope), images, 0, method, **options)
        for p in ("mixed_float16", "float32")
    )
    # The smallest step of float16 is 6e-8; enlarged 1,024 times, 6e-11 a feature, of which
    # half is the largest error of rounding. Else it has 11 bits.
    weight = 1.0 if method == "layercam" else 0.25
    atol = 3.1e-11 * weight
    np.testing.assert_allclose(half, full, rtol=4 * 2**-11, atol=atol)
    if slope >= 1e-8:
        assert np.abs(half).max() > 0


def test_gradients_that_would_overflow_are_taken_as_they_are():
    images = np.ones((1, 8, 8, 1), np.float32)
    maps = saliency(build("mixed_float16", 3000.0), images, 0, "gradient")
    np.testing.assert_allclose(maps, 750.0, rtol=2**-10)
