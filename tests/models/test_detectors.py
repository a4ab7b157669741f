import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

import whitebox_loc as wb
from whitebox_loc.models import center_maps, detector

FILTERS = (4, 6, 8)


def images_of(size, channels=1, n=2):
    return np.random.default_rng(0).random((n, *size, channels), dtype="float32")


@pytest.mark.parametrize("size", [(8, 8), (17, 23), (13, 50)])
@pytest.mark.parametrize("stride", [2, 4])
@pytest.mark.parametrize("classes", [None, 3])
def test_candidates_are_what_the_named_layers_say(size, stride, classes):
    """Decoded again cell by cell in float64, on any canvas."""
    model = detector(size, classes=classes, stride=stride, filters=FILTERS, seed=1)
    rows, columns = -(-size[0] // stride), -(-size[1] // stride)
    images = images_of(size)
    found = {name: part.numpy() for name, part in model(images).items()}
    names = ["heat_map", "size", "offset"]
    maps = wb.introspect.activations(model, images, layers=names)
    heat, sides, offset = (np.asarray(maps[name], "float64") for name in names)
    assert heat.shape == (2, rows, columns, classes or 1)
    assert found["boxes"].shape == (2, rows * columns, 4)
    assert found["boxes"].dtype == found["scores"].dtype == np.float32
    assert ("classes" in found) == (classes is not None)
    pixels = found["boxes"] * np.array([*size, *size])
    for y in range(rows):
        for x in range(columns):
            k = y * columns + x
            center = (np.array([y, x]) + offset[:, y, x]) * stride
            half = sides[:, y, x] * size / 2
            expected = np.concatenate([center - half, center + half], axis=-1)
            # float32 numbers of up to 64 with three roundings.
            np.testing.assert_allclose(pixels[:, k], expected, atol=3 * 64 * 2**-23)
            np.testing.assert_allclose(found["scores"][:, k], heat[:, y, x].sum(-1), atol=1e-6)
            if classes:
                seen = maps["heat_map"][:, y, x]
                np.testing.assert_allclose(found["classes"][:, k], seen, atol=1e-6)
    assert (found["scores"] <= 1).all()


def test_centers_start_in_the_middle_of_their_cells():
    """Rows go down and columns across, also on a square grid."""
    model = detector((16, 16), filters=FILTERS)
    for name in ("offset", "size_logits"):
        layer = model.get_layer(name)
        layer.kernel.assign(0 * layer.kernel)
    boxes = model(images_of((16, 16)))["boxes"].numpy()[0].reshape(8, 8, 4) * 16
    centers = (boxes[..., :2] + boxes[..., 2:]) / 2
    np.testing.assert_allclose(centers[3, 5], [7, 11], atol=1e-5)
    np.testing.assert_allclose(centers[5, 0], [11, 1], atol=1e-5)


def test_one_class_is_a_sigmoid_of_the_logit():
    model = detector((16, 16), classes=1, filters=FILTERS)
    images = images_of((16, 16))
    logits = wb.introspect.activations(model, images, layers=["heat_logits"])["heat_logits"]
    expected = 1 / (1 + np.exp(-logits.astype("float64").reshape(2, -1)))
    np.testing.assert_allclose(model(images)["scores"], expected, rtol=1e-5)


@pytest.mark.parametrize("size", [(64, 64), (40, 72), (100, 30)])
def test_every_cell_in_the_middle_sees_the_whole_image(size):
    """Or boxes as large as the image could not be measured. By gradients of a dense model."""
    model = detector(size)
    # All kernels positive and all units on: a gradient of 0 means out of sight.
    for variable in model.trainable_variables:
        variable.assign(tf.abs(variable) / tf.reduce_max(tf.abs(variable) + 1e-9) * 0.1)
    images = tf.ones((1, *size, 1))
    logits = keras.Model(model.input, center_maps(model).size_logits)
    with tf.GradientTape() as tape:
        tape.watch(images)
        out = logits(images)
        said = out[0, out.shape[1] // 2, out.shape[2] // 2, 0]
    seen = tape.gradient(said, images).numpy()[0, :, :, 0] != 0
    assert seen.all()


def test_cells_at_the_border_see_most_of_the_image():
    field = wb.introspect.receptive_field(detector((64, 64), filters=(2,)), "heat_map")
    for ends in (field.rows, field.columns):
        seen = np.diff(ends.reshape(-1, 2)).ravel()
        assert seen[-1] == 47
        assert seen[:-1].min() == 62
        assert seen[16] == 64


def test_everything_said_depends_smoothly_on_the_image():
    model = detector((16, 16), classes=2, filters=FILTERS)
    images = tf.constant(images_of((16, 16)))
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(images)
        sums = {name: tf.reduce_sum(part[..., :1]) for name, part in model(images).items()}
    for name, value in sums.items():
        gradient = tape.gradient(value, images).numpy()
        assert np.isfinite(gradient).all(), name
        assert gradient.any(), name


@pytest.mark.whole
def test_a_saved_model_opens_without_this_library(tmp_path):
    model = detector((18, 26), classes=3, filters=FILTERS, seed=2)
    images = images_of((18, 26))
    model.save(tmp_path / "detector.keras")
    np.save(tmp_path / "images.npy", images)
    script = (
        "import sys, keras, numpy as np\n"
        f"folder = {str(tmp_path)!r}\n"
        "model = keras.models.load_model(folder + '/detector.keras')\n"
        "found = model(np.load(folder + '/images.npy'))\n"
        "np.savez(folder + '/found.npz', **{k: np.asarray(v) for k, v in found.items()})\n"
        "assert not any(name.startswith('whitebox_loc') for name in sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
    found = np.load(tmp_path / "found.npz")
    for name, part in model(images).items():
        np.testing.assert_array_equal(found[name], part, err_msg=name)
    loaded = keras.models.load_model(tmp_path / "detector.keras")
    assert center_maps(loaded).stride == 2


def test_seeds():
    first, again, other = (detector((16, 16), filters=FILTERS, seed=s) for s in (0, 0, 1))
    pairs = list(zip(first.get_weights(), again.get_weights(), other.get_weights(), strict=True))
    assert all(np.array_equal(a, b) for a, b, _ in pairs)
    assert not all(np.array_equal(a, c) for a, _, c in pairs)


def test_generators_as_seeds():
    drawn = [np.random.default_rng(s) for s in (5, 5, 6)]
    first, again, other = (detector((16, 16), filters=(2,), seed=g) for g in drawn)
    later = detector((16, 16), filters=(2,), seed=drawn[0])
    stem = first.get_layer("stem").kernel.numpy()
    np.testing.assert_array_equal(again.get_layer("stem").kernel, stem)
    # No two of these, nor the default of 0, have a number of the first layer in common.
    for model in (other, later, detector((16, 16), filters=(2,))):
        assert not np.isin(model.get_layer("stem").kernel, stem).any()


def test_center_maps_tell_the_stride():
    for stride in (2, 4):
        assert center_maps(detector((9, 8), stride=stride, filters=(2,))).stride == stride
    assert center_maps(wb.models.localizer(size=(8, 8))) is None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": (7, 8)}, r"`size\[0\]` must be a whole number >= 8; got 7"),
        ({"stride": 3}, r"`stride` must be one of \[2, 4\]; got 3"),
        ({"classes": 0}, "`classes` must be a whole number between 1 and 16384"),
        ({"filters": ()}, "`filters` must be a non-empty sequence"),
        ({"channels": 0}, "`channels` must be a whole number between 1 and 16384"),
    ],
)
def test_bad_arguments(options, message):
    with pytest.raises(ValueError, match=message):
        detector(**options)
