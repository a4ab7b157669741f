"""How the maps of a layer are laid on the image."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from whitebox_loc.introspect import saliency
from whitebox_loc.introspect.methods.cam.feature_maps import on_image


@pytest.mark.parametrize("padding", [0, 1, 2, 3])
def test_centered_maps_point_at_the_pixel(padding):
    # A 3x3 kernel that copies its middle: of an image with one bright pixel, the map is
    # that pixel, also in the corners if the padding lets the kernel reach them.
    kernel = np.zeros((3, 3, 1, 1), "float32")
    kernel[1, 1] = 1
    model = keras.Sequential(
        [
            keras.Input((8, 10, 1)),
            keras.layers.ZeroPadding2D(padding),
            keras.layers.Conv2D(1, 3, use_bias=False, name="conv"),
            keras.layers.Flatten(),
            keras.layers.Dense(1, kernel_initializer="ones"),
        ]
    )
    model.get_layer("conv").set_weights([kernel])
    images = np.eye(80, dtype="float32").reshape(80, 8, 10, 1)
    maps = saliency(model, images, 0, "layercam", layer="conv", align="center")
    expected = images[..., 0].copy()
    if padding == 0:
        expected[:, [0, -1]] = expected[:, :, [0, -1]] = 0
    np.testing.assert_array_equal(maps, expected)
    assert (saliency(model, images, 0, "layercam", layer="conv") == expected).all() or padding == 3
    if padding > 1:
        corner = saliency(model, images[:1], 0, "layercam", layer="conv", align="stretch")
        assert np.abs(corner - expected[:1]).max() > 0.1


@pytest.mark.parametrize("length", [4, 5, 6, 7, 8, 9, 10])
def test_centering_an_odd_difference_lies_half_a_place_aside(length):
    line = np.random.default_rng(2).random(7)
    maps = tf.constant(line.reshape(1, 7, 1, 1))
    found = on_image(maps, (length, 1), "center").numpy().ravel()
    at = np.arange(length) + (7 - length) / 2
    expected = [sum(max(0, 1 - abs(p - i)) * line[i] for i in range(7)) for p in at]
    np.testing.assert_allclose(found, expected, atol=1e-15)


def test_auto_centers_layers_of_stride_one_only():
    maps = np.random.default_rng(4).random((1, 10, 10, 2), "float32")
    for length, way in ((8, "center"), (13, "center"), (20, "stretch"), (6, "stretch")):
        found = on_image(maps, (length, length), "auto")
        np.testing.assert_array_equal(found, on_image(maps, (length, length), way))
    mixed = on_image(maps, (10, 20), "auto")
    np.testing.assert_array_equal(mixed, on_image(maps, (10, 20), "stretch"))
