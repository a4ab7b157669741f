"""If network and image move together, so does the map; and baselines from scenes."""

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import whitebox_loc as wb
from whitebox_loc.introspect import METHODS, saliency

SIDE = 24
L = keras.layers
EPS = np.finfo(np.float32).eps

# Maps that are means over random numbers or random masks, drawn for places: a moved image meets
# others. Segments move by whole segments only, and border segments are like no others.
RANDOM = {
    "smoothgrad", "squaregrad", "vargrad", "rise", "drise", "kernel_shap", "lime", "sobol", "hsic",
}  # fmt: skip
OPTIONS = {
    "occlusion": {"patch": 4, "stride": 1},
    # A narrow blur, so that nothing of the box reaches the border: 4 + 10 sigma pixels.
    "blur_ig": {"steps": 6, "max_sigma": 0.35},
    "integrated_gradients": {"steps": 6},
    # A white baseline would end at the border, where the image does not.
    "expected_gradients": {"samples": 6, "baseline": 0.0},
    "deep_shap": {"baseline": 0.0},
    "edge_move": None,
}
MOVABLE = [name for name in METHODS if name not in RANDOM and OPTIONS.get(name, {}) is not None]


@pytest.fixture(scope="module")
def model():
    """Convolutions and global means: what is seen does not depend on where it is seen."""
    x = keras.Input((SIDE, SIDE, 1))
    y = L.Conv2D(4, 3, padding="same", activation="relu", name="conv1")(x)
    y = L.Conv2D(3, 3, padding="same", activation="relu", name="conv2")(y)
    y = L.GlobalAveragePooling2D()(y)
    built = keras.Model(x, L.Dense(4, activation="sigmoid", name="box")(y))
    generator = np.random.default_rng(3)
    for weight in built.weights:
        # Without bias, an empty place is silent in every layer, as beyond the border.
        is_bias = len(weight.shape) == 1
        weight.assign(np.zeros(weight.shape) if is_bias else generator.normal(0, 1, weight.shape))
    return built


def picture(generator, height=6, width=5):
    image = np.zeros((1, SIDE, SIDE, 1), np.float32)
    image[0, 9 : 9 + height, 8 : 8 + width, 0] = generator.uniform(0.2, 1, (height, width))
    return image


@pytest.mark.parametrize("method", MOVABLE)
@settings(max_examples=8)
@given(seed=st.integers(0, 999), down=st.integers(-3, 3), right=st.integers(-3, 3))
def test_a_map_moves_with_the_image(model, method, seed, down, right):
    options = OPTIONS.get(method, {})
    image = picture(np.random.default_rng(seed))
    moved = np.roll(image, (down, right), (1, 2))
    maps, there = (saliency(model, i, ["top", "area"], method, **options) for i in (image, moved))
    back = np.roll(there, (-down, -right), (2, 3))
    # Two convolutions see two pixels far, and the images have moved by up to three.
    inside = np.s_[..., 6:-6, 6:-6]
    # Another order of sums of some hundred products: the same numbers but for their rounding.
    np.testing.assert_allclose(
        back[inside], maps[inside], rtol=0, atol=300 * EPS * np.abs(maps).max()
    )
    assert np.abs(maps[inside]).max() > 0


def test_a_network_that_knows_places_is_not_equivariant():
    """So the law above is one that can fail."""
    model = wb.models.localizer(size=(SIDE, SIDE), head="dense")
    image = picture(np.random.default_rng(0))
    maps, there = (saliency(model, i, "top") for i in (image, np.roll(image, 3, 1)))
    assert np.abs(np.roll(there, -3, 1) - maps).max() > 0.1 * np.abs(maps).max()


@pytest.mark.parametrize(
    ("method", "count", "options"),
    [
        ("integrated_gradients", 8, {"steps": 4}),
        ("deep_shap", 8, {}),
        ("expected_gradients", 12, {"samples": 12}),
        ("occlusion", 8, {"patch": 8, "stride": 8}),
        ("kernel_shap", 8, {"segments": (2, 2), "samples": 16}),
    ],
)
def test_a_scene_as_baseline_stands_for_its_images(method, count, options):
    scene = wb.data.Scene(size=(12, 16))
    model = wb.models.localizer(size=(12, 16), head="dense")
    images = wb.data.generate(scene, 2, seed=5).images
    drawn = wb.data.generate(scene, count, seed=0).images
    by_scene = saliency(model, images, "left", method, baseline=scene, **options)
    by_images = saliency(model, images, "left", method, baseline=drawn, **options)
    np.testing.assert_array_equal(by_scene, by_images)
    by_name = saliency(model, images, "left", method, baseline="uniform", **options)
    np.testing.assert_array_equal(by_name, by_scene)
    assert np.abs(by_scene - saliency(model, images, "left", method, **options)).max() > 0


def test_a_scene_of_another_size_is_refused():
    model = wb.models.localizer(size=(12, 16), head="dense")
    images = wb.data.generate(wb.data.Scene(size=(12, 16)), 1, seed=5).images
    with pytest.raises(ValueError, match=r"`baseline` must be a scene of images of shape \(12, 16"):
        saliency(model, images, "top", "deep_shap", baseline=wb.data.Scene(size=(16, 12)))
