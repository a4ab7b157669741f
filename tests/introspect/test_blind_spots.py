import warnings

import keras
import numpy as np
import pytest
import tensorflow as tf

import whitebox_loc as wb

SCENE = wb.data.Scene(size=(12, 16))
BOX = [[2, 3, 8, 9]]


def kinds(*args, **options):
    return {s.kind: s for s in wb.introspect.blind_spots(*args, warn=False, **options)}


def sigmoid_model(bias):
    """A coordinate is sigmoid(mean brightness + bias)."""
    image = keras.Input((12, 16, 1))
    mean = keras.layers.Flatten()(keras.layers.AveragePooling2D((12, 16))(image))
    box = keras.layers.Dense(4, activation="sigmoid", name="box")
    model = keras.Model(image, box(mean))
    box.set_weights([np.ones((1, 4)), np.full(4, bias)])
    return model


@pytest.fixture(scope="module")
def trained():
    model = wb.models.localizer(size=(12, 16), filters=(4,))
    wb.training.fit(model, SCENE, steps=150, batch_size=32, progress=False)
    return model


@pytest.mark.parametrize(
    ("method", "options"),
    [
        ("gradient_x_input", {}),
        ("integrated_gradients", {"steps": 3}),
        ("integrated_gradients", {"steps": 3, "baseline": 1.0}),
        ("integrated_gradients", {"steps": 3, "baseline": (0.0, 0.5)}),
        ("expected_gradients", {"samples": 4, "baseline": (0.0, 1.0)}),
    ],
)
def test_the_map_is_zero_where_it_is_said_to_be_blind(method, options):
    model = wb.models.localizer(size=(12, 16))
    images = wb.data.render(BOX, SCENE)
    found = kinds(model, images, "top", method, **options)
    baseline = np.ravel(options.get("baseline", 0.0))
    picture = images[0, ..., 0]
    expected = np.all([picture == b for b in baseline], axis=0)
    if not expected.any():
        assert "baseline" not in found
        return
    np.testing.assert_array_equal(found["baseline"].pixels[0], expected)
    assert found["baseline"].share[0] == expected.mean()
    values = wb.introspect.saliency(model, images, "top", method, **options)
    assert (values[0][expected] == 0).all()
    assert (values[0][~expected] != 0).any()


@pytest.mark.parametrize(
    ("options", "blind"),
    [
        ({}, True),
        ({"rule": "gamma", "gamma": 0.5}, True),
        ({"composite": "epsilon_plus"}, True),
        ({"rule": "w_square"}, False),
        ({"composite": "epsilon_plus_flat"}, False),
        ({"composite": "epsilon_gamma_box"}, False),
    ],
)
def test_lrp_is_blind_to_black_pixels_unless_the_first_rule_is_free_of_the_input(options, blind):
    model = wb.models.localizer(size=(12, 16), head="dense")
    images = wb.data.render(BOX, SCENE)
    found = kinds(model, images, "top", "lrp", **options)
    black = images[..., 0] == 0
    values = wb.introspect.saliency(model, images, "top", "lrp", **options)
    assert ("baseline" in found) == blind == bool((values[black] == 0).all())
    if blind:
        np.testing.assert_array_equal(found["baseline"].pixels, black)


def test_images_of_a_scene_as_baselines_leave_only_what_all_have_in_common():
    model = wb.models.localizer(size=(12, 16))
    images = wb.data.render(BOX, SCENE)
    drawn = wb.data.generate(SCENE, 8, seed=0).images
    same = (images == drawn).all(axis=(0, -1))
    found = kinds(model, images, "top", "integrated_gradients", baseline=SCENE)
    assert ("baseline" in found) == same.any()
    if same.any():
        np.testing.assert_array_equal(found["baseline"].pixels[0], same)


def test_gradient_has_no_baseline():
    model = wb.models.localizer(size=(12, 16))
    assert "baseline" not in kinds(model, wb.data.render(BOX, SCENE), "top", "gradient")


def test_a_blanked_cam_is_told_with_the_places():
    model = wb.models.localizer(size=(12, 16), head="dense")
    images = wb.data.generate(SCENE, 4, seed=0).images
    options = {"layer": "conv2"}
    signed = wb.introspect.saliency(model, images, "top", "gradcam", **options)
    blanked = wb.introspect.saliency(model, images, "top", "gradcam", relu=True, **options)
    spot = kinds(model, images, "top", "gradcam", relu=True, **options)["relu"]
    np.testing.assert_array_equal(spot.pixels, (blanked == 0) & (signed < 0))
    assert spot.pixels.any()
    assert "relu" not in kinds(model, images, "top", "gradcam", **options)


@pytest.mark.parametrize("bias", [-9.0, 0.0, 20.0])
def test_saturated_sigmoid(bias):
    model, images = sigmoid_model(bias), np.zeros((2, 12, 16, 1), "float32")
    found = kinds(model, images, "left", "gradient")
    slope = 1 / np.cosh(bias / 2) ** 2
    assert ("saturation" in found) == (slope < 1e-3)
    if found:
        np.testing.assert_allclose(found["saturation"].share, 1 - slope)
    assert not kinds(model, images, "left", "gradient", link="logit")


def test_a_function_is_not_taken_for_the_target_of_its_name():
    def left(boxes):
        return boxes[:, 1]

    def iou(boxes):
        return boxes[:, 1]

    model, images = sigmoid_model(-9.0), np.zeros((2, 12, 16, 1), "float32")
    assert kinds(model, images, "left")
    assert not kinds(model, images, left)
    assert not kinds(model, images, iou)


def test_saturated_expectation(trained):
    images = wb.data.render(BOX, SCENE)
    spot = kinds(trained, images, "top", "gradient")["saturation"]
    p = wb.models.edge_distributions(trained, images)["top"][0].max()
    np.testing.assert_allclose(spot.share, 1 - 4 * p * (1 - p), atol=1e-6)
    # The log-odds of the expectation are as flat; methods that move away are not affected.
    assert "saturation" in kinds(trained, images, "top", "gradient", link="logit")
    assert "saturation" not in kinds(trained, images, "top", "integrated_gradients", steps=3)
    fresh = wb.models.localizer(size=(12, 16))
    assert "saturation" not in kinds(fresh, images, "top", "gradient")


def test_ties_of_an_iou_target(trained):
    images = wb.data.render(BOX, SCENE)
    own = trained(images).numpy()
    moved = own + np.array([0.0, 0.0, 0.1, 0.0])
    iou = wb.introspect.targets.iou
    assert kinds(trained, images, iou(own))["ties"].share.tolist() == [1.0]
    assert kinds(trained, images, iou(moved))["ties"].share.tolist() == [0.75]
    assert "ties" not in kinds(trained, images, iou(own + 0.01))


def test_warnings_have_a_class_of_their_own():
    model = wb.models.localizer(size=(12, 16))
    images = wb.data.render(BOX, SCENE)
    with pytest.warns(wb.introspect.BlindSpotWarning, match="81% of the pixels equal it"):
        wb.introspect.blind_spots(model, images, "top", "gradient_x_input")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        wb.introspect.blind_spots(model, images, "top", "gradient_x_input", warn=False)
        wb.introspect.blind_spots(model, images, "top", "gradient")


JUMPS = {
    "Round": lambda y: keras.ops.round(12 * y) / 12,
    "Floor": lambda y: keras.ops.floor(12 * y),
    "Sign": lambda y: keras.ops.sign(y - 0.5),
    "Cast": lambda y: keras.ops.cast(keras.ops.cast(12 * y, "int32"), "float32"),
    "Greater": lambda y: keras.ops.cast(y > 0.5, "float32"),
    "ArgMax": lambda y: keras.ops.one_hot(keras.ops.argmax(y, axis=1), 4),
    "StopGradient": lambda y: keras.ops.stop_gradient(y),
    "Rint": lambda y: keras.layers.Lambda(tf.function(tf.math.rint), name="hidden")(y),
}


def ending_in(function):
    image = keras.Input((12, 16, 1))
    y = keras.layers.Conv2D(2, 3, activation="relu", name="conv")(image)
    y = keras.layers.Dense(4, activation="sigmoid")(keras.layers.Flatten()(y))
    return keras.Model(image, function(y))


@pytest.mark.parametrize("operation", JUMPS)
def test_a_model_that_ends_in_jumps_is_told_with_the_operation(operation):
    model, images = ending_in(JUMPS[operation]), wb.data.generate(SCENE, 2, seed=0).images
    assert not wb.introspect.saliency(model, images, "top").any()
    # A method that moves away from the image has the same derivatives.
    for method in ("gradient", "gradcam"):
        spot = kinds(model, images, "top", method)["jumps"]
        assert f"'top' depends on the image through {operation} (" in spot.message
        assert "and nothing else is left. Use 'occlusion'" in spot.message
        np.testing.assert_array_equal(spot.pixels, np.ones((2, 12, 16), bool))
    assert "jumps" not in kinds(model, images, "top", "occlusion", baseline=0.3)
    assert kinds(model, images, "top", "smoothgrad", base="gradient_x_input", samples=2)["jumps"]
    assert "jumps" not in kinds(model, images, "top", "smoothgrad", base="occlusion", samples=2)


def test_jumps_beside_a_smooth_way():
    model = ending_in(lambda y: y + keras.ops.round(12 * y))
    images = wb.data.generate(SCENE, 2, seed=0).images
    spot = kinds(model, images, "top", "gradient")["jumps"]
    assert "and nothing else is left" not in spot.message
    maps = wb.introspect.saliency(model, images, "top")
    np.testing.assert_array_equal(spot.pixels, maps == 0)
    assert 0 < spot.share.max() < 1
    # In front of the layer it does not matter to a map of the layer.
    image = keras.Input((12, 16, 1))
    y = keras.layers.Conv2D(2, 3, name="conv")(image + keras.ops.round(9 * image))
    early = keras.Model(image, keras.layers.Dense(4)(keras.layers.Flatten()(y)))
    assert "jumps" not in kinds(early, images, "top", "layercam")
    assert "jumps" in kinds(early, images, "top", "gradient")


@pytest.mark.parametrize(
    "harmless",
    [
        lambda y: keras.ops.where(y > 0.5, y, 0.1 * y),
        lambda y: y * keras.ops.cast(y > 0.5, "float32"),
        keras.layers.LayerNormalization(),
        lambda y: y - keras.ops.logsumexp(y, axis=1, keepdims=True),
    ],
    ids=["choice", "switch", "variance", "logarithm"],
)
def test_conditions_that_only_choose_are_no_jumps(harmless):
    model, images = ending_in(harmless), wb.data.generate(SCENE, 2, seed=0).images
    assert "jumps" not in kinds(model, images, "top", "gradient")


def test_unknown_options_are_refused():
    model, images = ending_in(lambda y: y), wb.data.generate(SCENE, 2, seed=0).images
    with pytest.raises(TypeError, match="Method 'gradient' has no option 'steps'"):
        kinds(model, images, "top", "gradient", steps=3)
    with pytest.raises(ValueError, match="`layer` must name layers of model"):
        kinds(model, images, "top", "gradcam", layer="nowhere")


def test_a_row_stands_for_its_name():
    row, images = wb.introspect.METHODS["gradient_x_input"], wb.data.render(BOX, SCENE)
    model = sigmoid_model(0.0)
    by_row, by_name = (kinds(model, images, "top", m) for m in (row, row.name))
    assert by_row.keys() == by_name.keys() == {"baseline"}
    np.testing.assert_array_equal(by_row["baseline"].pixels, by_name["baseline"].pixels)
    for options in ({"base": "gradient"}, {"step": 3}):
        with pytest.raises(TypeError, match="Method 'gradient_x_input' has no option"):
            kinds(model, images, "top", row, **options)
