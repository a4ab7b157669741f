"""Every public function and every method on every style of model, which stays as it was."""

import threading

import keras
import numpy as np
import pytest
import tensorflow as tf

from whitebox_loc import introspect
from whitebox_loc.introspect import METHODS, activations, list_layers, patch, saliency
from whitebox_loc.testing.states import snapshot

EDGES = ["top", "left", "bottom", "right"]
SHORT = {
    name: {k: 4 for k in ("steps", "samples") if k in METHODS[name].options} for name in METHODS
}
# Masks must be enough to tell the segments apart.
SHORT |= {
    name: {"segments": (1, 2), "samples": 16}
    for name in METHODS
    if "segments" in METHODS[name].options
}


def tolerance(style, maps):
    # The same sums of at most a few hundred products in another order, relative to the
    # largest value. Halves are rounded once a layer and way, five layers there and back.
    roundings, kind = (10, np.float16) if style == "mixed_float16" else (100, np.float32)
    return roundings * np.finfo(kind).eps * max(np.abs(maps).max(), 1e-6)


def cut(images, part):
    return tf.nest.map_structure(lambda a: a[part], images)


def test_activations(styled, read_box):
    style, model, images = styled
    before = snapshot(model)
    found = activations(model, images)
    in_parts = activations(model, images, batch_size=2)
    outputs = read_box(model(images, training=False), style)
    np.testing.assert_allclose(
        found["box"], tf.cast(outputs, tf.float32), rtol=0, atol=tolerance(style, found["box"])
    )
    assert {path.partition("#")[0] for path in found} == {row.path for row in list_layers(model)}
    for path, array in found.items():
        assert array.dtype == np.float32
        assert array.shape == in_parts[path].shape
        np.testing.assert_allclose(array, in_parts[path], rtol=0, atol=tolerance(style, array))
    assert snapshot(model) == before


def test_list_layers_knows_the_shapes_of_activations(styled):
    _, model, images = styled
    found = activations(model, images)
    for row in list_layers(model):
        shapes = row.output_shape if isinstance(row.output_shape, list) else [row.output_shape]
        names = (
            [row.path] if len(shapes) == 1 else [f"{row.path}#{i + 1}" for i in range(len(shapes))]
        )
        assert [(None, *found[name].shape[1:]) for name in names] == shapes


def test_patch_by_function_and_array_agree(styled, read_box):
    style, model, images = styled
    before = snapshot(model)
    path = next(row.path for row in list_layers(model) if row.path.endswith("conv1"))
    array = activations(model, images, path)[path]
    own = patch(model, images, {path: array})
    outputs = model(images, training=False)
    own_box, box = (np.asarray(read_box(o, style), np.float32) for o in (own, outputs))
    np.testing.assert_allclose(own_box, box, rtol=0, atol=tolerance(style, box))
    halved = read_box(patch(model, images, {path: lambda a: a * 0.5}, batch_size=2), style)
    by_array = read_box(patch(model, images, {path: array * 0.5}), style)
    np.testing.assert_allclose(halved, by_array, rtol=0, atol=tolerance(style, box))
    assert np.abs(halved - box).max() > 5 * tolerance(style, box)
    assert snapshot(model) == before


def test_kernels(styled):
    style, model, _ = styled
    path = next(row.path for row in list_layers(model) if row.path.endswith("conv1"))
    kernel = introspect.kernels(model, path)
    assert kernel.shape == (3, 3, 3 if style in ("three_channels", "adapted_style") else 1, 3)
    assert kernel.dtype == np.float32


def test_gradient_is_that_of_a_tape(styled, read_box, read_picture):
    style, model, images = styled
    tensors = tf.nest.map_structure(tf.constant, images)
    picture = read_picture(tensors)
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(picture)
        box = read_box(model(tensors, training=False), style)
        coordinates = tf.unstack(tf.cast(box, tf.float32), axis=1)
    expected = [tf.reduce_sum(tape.gradient(c, picture), -1).numpy() for c in coordinates]
    maps = saliency(model, images, EDGES)
    np.testing.assert_allclose(maps, expected, rtol=0, atol=tolerance(style, maps))


def check_method(styled, read_picture, method):
    style, model, images = styled
    before = snapshot(model)
    n, height, width, _ = read_picture(images).shape
    options = dict(SHORT[method])
    if method == "deep_shap":
        # Constant images tie in a maximum: rounding would choose the winner.
        options["baseline"] = 1 - read_picture(images)[:2]
    maps, info = saliency(model, images, EDGES, method, return_info=True, **options)
    assert maps.shape == (4, n, height, width)
    assert maps.dtype == np.float32
    assert np.isfinite(maps).all()
    # The boxes of random weights may have swapped corners, of IoU 0 with every box.
    assert np.abs(maps).max() > 0 or method == "drise"
    assert info.targets == tuple(EDGES)
    assert info.values.shape == (4, n)
    # Stacked targets are single targets; any batch size and any other images, the same map.
    single = saliency(model, cut(images, slice(1, 2)), "bottom", method, batch_size=2, **options)
    # Terms may cancel in a map (over baselines, channels, places), their rounding does not: a
    # pixel's change times a slope, or a difference of targets, with the rounding of both.
    tried = METHODS[method].family == "perturbation" or method in ("ablationcam", "scorecam")
    steepest = np.abs(saliency(model, images, EDGES)).max()
    scale = np.append(maps, [steepest, np.abs(info.values).max() if tried else 0])
    np.testing.assert_allclose(single, maps[2, 1:2], rtol=0, atol=tolerance(style, scale))
    assert snapshot(model) == before


# The whole grid of methods and styles is slow. Of each family stays the method that goes through
# most of a model, with each way of sending something back; the others stay on typical styles.
TYPICAL_METHODS = ["guided_backprop", "gradcam", "lrp", "deeplift", "occlusion", "edge_move"]


@pytest.mark.parametrize("method", TYPICAL_METHODS)
def test_typical_methods_on_every_style(styled, read_picture, method):
    check_method(styled, read_picture, method)


@pytest.mark.parametrize("method", [name for name in METHODS if name not in TYPICAL_METHODS])
def test_every_other_method(typically_styled, read_picture, method):
    check_method(typically_styled, read_picture, method)


def test_unchanged_after_an_exception(styled):
    _, model, images = styled
    before = snapshot(model)

    def fail(output):
        raise ZeroDivisionError("on purpose")

    with pytest.raises(ZeroDivisionError, match="on purpose"):
        patch(model, images, {"box": fail})
    with pytest.raises(ZeroDivisionError, match="on purpose"):
        saliency(model, images, fail)
    assert snapshot(model) == before


def test_two_threads_do_not_see_each_other(build_model):
    model, images = build_model("shared_layer")
    before = snapshot(model)
    expected = model(images, training=False).numpy()
    wrong, errors = [], []
    stop = threading.Event()

    def predict():
        while not stop.is_set():
            if np.abs(model(images, training=False).numpy() - expected).max() > 1e-6:
                wrong.append(1)

    def explain(layer):
        try:
            for scale in range(4):
                # A new function each time, so each call traces and wraps.
                patch(model, images, {layer: lambda a, s=scale: a * 0.0 + s})
                saliency(model, images, lambda out, s=scale: out[:, 0] * s)
        except Exception as error:
            errors.append(error)

    workers = [threading.Thread(target=explain, args=(name,)) for name in ("conv1", "again")]
    watcher = threading.Thread(target=predict)
    for thread in (watcher, *workers):
        thread.start()
    for thread in workers:
        thread.join()
    stop.set()
    watcher.join()
    assert not errors
    assert not wrong
    assert snapshot(model) == before


def test_activity_losses_are_not_left_behind():
    model = keras.Sequential(
        [
            keras.Input((4, 4, 1)),
            keras.layers.Flatten(),
            keras.layers.Dense(4, activity_regularizer="l2"),
        ]
    )
    images = np.ones((2, 4, 4, 1), np.float32)
    model(images)
    before = snapshot(model)
    assert len(model.losses) == 1
    saliency(model, images)
    activations(model, images)
    assert len(model.losses) == 1
    assert snapshot(model) == before
