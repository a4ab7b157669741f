"""Compiled models: exact where they say so, wrong in the way they say, recognised when loaded."""

import dataclasses
import functools
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

import whitebox_loc as wb

SIZE = (7, 9)
ROWS = wb.models.COMPILED
names = pytest.mark.parametrize("name", ROWS)


def every_box():
    scene = wb.data.Scene(size=SIZE)
    return wb.data.nth_boxes(scene, range(wb.data.count_boxes(scene)))


@functools.cache
def built(name, channels=1):
    """A model that no test changes."""
    return wb.models.compiled(name, SIZE, channels)


def answers(name, boxes, channels=1):
    images = wb.data.render(boxes, wb.data.Scene(size=SIZE, channels=channels))
    return built(name, channels)(images).numpy() * np.array([*SIZE, *SIZE])


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", [row.name for row in ROWS.values() if row.exact])
def test_exact_on_every_box(name, channels):
    boxes = every_box()
    assert len(boxes) == 28 * 45
    error = np.abs(answers(name, boxes, channels) - boxes).max()
    assert error <= ROWS[name].precision


@pytest.mark.parametrize("name", [row.name for row in ROWS.values() if row.exact])
def test_exact_on_the_default_canvas(name):
    batch = wb.data.generate(wb.data.Scene(), 200, seed=0)
    found = wb.models.compiled(name)(batch.images).numpy() * 100
    assert np.abs(found - batch.boxes).max() <= ROWS[name].precision


def test_soft_argmax_is_as_precise_as_its_sharpness():
    # The next position has weight e^-8 and lies one pixel off; others weigh e^-16 at most.
    error = np.abs(answers("soft_argmax", every_box()) - every_box()).max()
    assert error == pytest.approx(np.exp(-8), rel=0.05)


def test_the_others_are_not_exact():
    boxes = every_box()
    for row in ROWS.values():
        error = np.abs(answers(row.name, boxes) - boxes).max()
        assert (error > 0.5) == (not row.exact), row.name


def test_honest_models_and_cheaters():
    assert {row.name for row in ROWS.values() if row.honest} == {
        "integrator",
        "max_projection",
        "soft_argmax",
        "edge_filter",
    }


def test_area_only_knows_the_sides_and_not_the_place():
    boxes = every_box()
    top, left, bottom, right = answers("area_only", boxes).T
    # Halves and sums of whole numbers below 10, over 7 and 9 and back: a few units of 1e-6.
    np.testing.assert_allclose(bottom - top, boxes[:, 2] - boxes[:, 0], atol=1e-5)
    np.testing.assert_allclose(right - left, boxes[:, 3] - boxes[:, 1], atol=1e-5)
    np.testing.assert_allclose((top + bottom) / 2, 3.5, atol=1e-5)
    np.testing.assert_allclose((left + right) / 2, 4.5, atol=1e-5)


def test_wrong_edge_follows_the_opposite_edge():
    # Box and one more lit row, far from the top edge: only `top` should be right, and it is
    # the one that moves, by the row that the bottom has moved and the count has not.
    size, scene = (9, 9), wb.data.Scene(size=(9, 9))
    image = wb.data.render([[1, 3, 3, 5]], scene)
    image[0, 6, 4] = 1
    found = wb.models.compiled("wrong_edge", size)(image).numpy()[0] * 9
    np.testing.assert_allclose(found, [7 - 3, 3, 1 + 3, 5], atol=1e-5)


def test_left_right_swapped_answers_the_mirror_image():
    boxes = every_box()
    mirrored = np.stack([boxes[:, 0], 9 - boxes[:, 3], boxes[:, 2], 9 - boxes[:, 1]], 1)
    np.testing.assert_allclose(answers("left_right_swapped", boxes), mirrored, atol=1e-5)


def test_constant_is_constant():
    expected = np.broadcast_to(np.array([7, 9, 21, 27]) / 4, (28 * 45, 4))
    np.testing.assert_allclose(answers("constant", every_box()), expected, atol=1e-5)


def test_corner_only_answers_one_pixel():
    boxes = every_box()
    corner = np.concatenate([boxes[:, :2], boxes[:, :2] + 1], axis=1)
    np.testing.assert_allclose(answers("corner_only", boxes), corner, atol=1e-5)


def test_border_reader_is_lost_without_the_zeros():
    images = wb.data.render([[2, 3, 4, 6]], wb.data.Scene(size=SIZE))
    model = built("border_reader")
    frames = [f"{edge}_frame" for edge in ("top", "left", "bottom", "right")]
    # In place of zeros, more of what is inside: then every place is as far as can be.
    lost = wb.introspect.patch(model, images, dict.fromkeys(frames, tf.ones_like))
    np.testing.assert_allclose(lost, [[0, 0, 1, 1]], atol=1e-6)


def test_edge_filter_needs_its_frame_and_the_rest_have_none():
    framed = {
        name for name in ROWS for layer in built(name).layers if "Padding" in type(layer).__name__
    }
    assert framed == {"border_reader", "edge_filter"}


@names
def test_units_are_named(name):
    model = built(name)
    layers = [layer.name for layer in model.layers]
    assert model.name == name
    assert layers[0] == "image"
    assert layers[-1] == "box"
    # A name that Keras makes up is that of the class, with a number or without.
    kinds = {type(layer).__name__.lower() for layer in model.layers}
    assert not [n for n in layers if n.replace("_", "").rstrip("0123456789") in kinds]
    stock = {cls for cls in vars(keras.layers).values() if isinstance(cls, type)}
    assert {type(layer) for layer in model.layers} <= stock


@names
def test_gradient_maps_are_those_of_a_tape(name):
    model = built(name)
    images = tf.constant(np.random.default_rng(0).random((2, *SIZE, 1), np.float32))
    with tf.GradientTape() as tape:
        tape.watch(images)
        top = model(images)[:, 0]
    gradient = tape.gradient(top, images)
    # `constant` multiplies by weights of 0: the gradient is there and is 0.
    assert (np.abs(gradient).max() > 0) == (name != "constant")
    maps = wb.introspect.saliency(model, images.numpy(), "top", "gradient")
    scale = np.abs(gradient).max()
    np.testing.assert_allclose(maps, gradient[..., 0], rtol=0, atol=1e-5 * scale)


def jacobian(model, boxes, size):
    """d (answer in pixels) / d (box in pixels), (n, 4, 4), through soft rendering."""
    boxes = tf.constant(boxes, tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(boxes)
        found = model(wb.data.render_soft(boxes, size)) * [*size, *size]
    return found.numpy(), tape.batch_jacobian(found, boxes).numpy()


@pytest.mark.parametrize("name", ["integrator", "edge_filter"])
def test_unit_derivative_between_pixels(name):
    # Boxes of any fractional corners whose sides are at least 2 pixels.
    generator = np.random.default_rng(0)
    corner = generator.uniform(0.1, 40, (50, 2))
    boxes = np.concatenate([corner, corner + generator.uniform(2, 59, (50, 2))], 1)
    found, slopes = jacobian(wb.models.compiled(name), boxes, (100, 100))
    # Coverage near 1 is known to 1e-7 and added up with weights up to 100 or 200 terms.
    np.testing.assert_allclose(found, boxes, rtol=0, atol=1e-3)
    np.testing.assert_allclose(slopes, np.broadcast_to(np.eye(4), slopes.shape), atol=1e-4)


def test_unit_derivative_on_whole_pixels():
    # Down to boxes of one pixel. Where edges cross, the corner pixel's share of a tie shows.
    boxes = np.array([[10, 20, 90, 95], [0, 0, 100, 100], [50, 60, 51, 61], [3, 5, 4, 99]])
    found, slopes = jacobian(wb.models.compiled("integrator"), boxes, (100, 100))
    np.testing.assert_allclose(found, boxes, rtol=0, atol=1e-4)
    np.testing.assert_allclose(np.diagonal(slopes, axis1=1, axis2=2), 1, atol=1e-4)


def test_derivative_of_the_max_projection_is_its_position():
    boxes = np.array([[10, 20, 90, 95]])
    found, slopes = jacobian(wb.models.compiled("max_projection"), boxes, (100, 100))
    np.testing.assert_allclose(found, boxes, rtol=0, atol=1e-4)
    # The last lit pixel counts with its position: bottom times d coverage / d bottom = 1.
    np.testing.assert_allclose(np.diag(slopes[0]), [100 - 10, 100 - 20, 90, 95], atol=1e-3)


@pytest.mark.parametrize(("name", "channels"), [*((n, 1) for n in ROWS), ("edge_filter", 3)])
def test_recognised_after_saving_and_loading(name, channels, tmp_path):
    model = built(name, channels)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    truth = wb.models.mechanism(loaded)
    assert (truth.name, truth.honest, truth.size, truth.channels) == (
        name,
        ROWS[name].honest,
        SIZE,
        channels,
    )
    images = wb.data.render([[1, 2, 4, 7]], wb.data.Scene(size=SIZE, channels=channels))
    np.testing.assert_array_equal(loaded(images), model(images))
    expected = wb.models.mechanism(model).used(images)
    np.testing.assert_array_equal(truth.used(images), expected)


@pytest.mark.whole
def test_saved_models_load_without_this_library(tmp_path):
    for name in ROWS:
        built(name).save(tmp_path / f"{name}.keras")
    code = f"""
import sys
sys.modules["whitebox_loc"] = None
import keras, pathlib
for path in sorted(pathlib.Path({str(tmp_path)!r}).glob("*.keras")):
    print(keras.models.load_model(path).name)
"""
    ran = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert ran.stdout.split() == sorted(ROWS)


def test_every_mechanism_is_derived_in_the_documentation():
    page = Path(__file__).parents[2] / "docs" / "compiled.md"
    headings = {line[3:] for line in page.read_text().splitlines() if line.startswith("## ")}
    assert set(ROWS) <= headings
    assert {row.where for row in ROWS.values()} == {f"docs/compiled.md#{name}" for name in ROWS}


def test_other_models_are_refused():
    named = keras.Sequential(
        [keras.Input((*SIZE, 1)), keras.layers.Flatten(), keras.layers.Dense(4)], name="integrator"
    )
    with pytest.raises(ValueError, match="its layers are not those"):
        wb.models.mechanism(named)
    with pytest.raises(ValueError, match="its name is not in COMPILED"):
        wb.models.mechanism(wb.models.localizer(size=SIZE))
    with pytest.raises(TypeError, match=r"must be a keras\.Model; got str"):
        wb.models.mechanism("integrator")
    assert not wb.models.has_mechanism(named)
    assert not wb.models.has_mechanism(None)


def test_a_changed_weight_is_seen():
    model = wb.models.compiled("wrong_edge", SIZE)
    assert wb.models.has_mechanism(model)
    wb.models.reinitialize(model, seed=0)
    with pytest.raises(ValueError, match="its weights are not those"):
        wb.models.mechanism(model)


def test_another_wiring_is_seen():
    # The same layers, and something between them that is not a layer.
    layer = wb.models.compiled("constant", SIZE).get_layer
    image = layer("image").output
    for shift, known in ((0.0, True), (0.5, False)):
        corners = layer("corners")(layer("mean")(image)) + shift
        model = keras.Model(image, layer("box")(corners), name="constant")
        assert wb.models.has_mechanism(model) == known
    with pytest.raises(ValueError, match="wired in another way"):
        wb.models.mechanism(model)


def brightest(bias):
    """Layers without names: Keras counts on, so that each build has others."""

    def build(size, channels):
        image = keras.Input((*size, channels))
        flat = keras.layers.Flatten()(keras.layers.GlobalMaxPooling2D(keepdims=True)(image))
        model = keras.Model(image, keras.layers.Dense(4)(flat), name="toy")
        model.layers[-1].set_weights([np.ones((channels, 4)), np.full(4, bias)])
        return model

    return build


def toy(bias=0.0, value=True):
    return wb.models.Compiled(
        "toy", brightest(bias), lambda lit: np.full((4, *lit.shape), value),
        honest=False, exact=False, summary="sees the brightest pixel",
    )  # fmt: skip


def test_a_row_of_layers_without_names_is_recognised(monkeypatch, tmp_path):
    monkeypatch.setitem(ROWS, "toy", toy())
    first, model = (wb.models.compiled("toy", (5, 6)) for _ in range(2))
    assert [x.name for x in first.layers] != [x.name for x in model.layers]
    model.save(tmp_path / "toy.keras")
    image = np.zeros((1, 5, 6, 1))
    for each in (first, model, keras.models.load_model(tmp_path / "toy.keras")):
        assert wb.models.has_mechanism(each)
        assert wb.models.mechanism(each).used(image).all()
    # Names that were given still count, as does everything else.
    named = keras.Sequential([keras.Input((5, 6, 1)), *first.layers[1:-1]], name="toy")
    assert not wb.models.has_mechanism(named)
    model.layers[-1].set_weights([np.ones((1, 4)), np.ones(4)])
    with pytest.raises(ValueError, match="its weights are not those"):
        wb.models.mechanism(model)


def test_a_row_that_takes_the_place_of_another_counts_at_once(monkeypatch):
    image = np.zeros((1, 5, 6, 1))
    monkeypatch.setitem(ROWS, "toy", toy())
    old = wb.models.compiled("toy", (5, 6))
    assert wb.models.mechanism(old).used(image).all()
    monkeypatch.setitem(ROWS, "toy", toy(value=False))
    assert not wb.models.mechanism(old).used(image).any()
    monkeypatch.setitem(ROWS, "toy", toy(bias=1.0, value=False))
    assert not wb.models.has_mechanism(old)
    assert wb.models.has_mechanism(wb.models.compiled("toy", (5, 6)))


def test_a_model_under_another_name_than_its_row_is_refused(monkeypatch):
    corner = ROWS["corner_only"]
    for row, what in (
        (dataclasses.replace(corner, name="mine"), "the name of the model"),
        (corner, "the row's `name`"),
    ):
        monkeypatch.setitem(ROWS, "mine", row)
        with pytest.raises(ValueError, match=f"{what} must be 'mine'.*; got 'corner_only'. Use"):
            wb.models.compiled("mine", (5, 6))


def test_bad_arguments():
    with pytest.raises(ValueError, match=r"`name` must be one of .*Did you mean 'integrator'"):
        wb.models.compiled("integrate")
    with pytest.raises(
        ValueError, match=r"`size\[0\]` must be a whole number between 1 and 32768; got 0"
    ):
        wb.models.compiled("integrator", (0, 3))
    with pytest.raises(
        ValueError, match="`channels` must be a whole number between 1 and 16384; got 0"
    ):
        wb.models.compiled("integrator", (3, 3), channels=0)
