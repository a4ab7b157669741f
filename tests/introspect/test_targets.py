"""Targets: each value against the model's own outputs, each slope against a finite difference."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import whitebox_loc as wb
from whitebox_loc.introspect import activations, saliency, targets

LAYERS = keras.layers
EDGES = ["top", "left", "bottom", "right"]
IMAGES = np.random.default_rng(0).random((3, 6, 7, 1), np.float32)


def dense(activation=None, scale=1.0, final=()):
    x = keras.Input((6, 7, 1))
    y = LAYERS.Dense(4, activation=activation, name="box")(LAYERS.Flatten()(x))
    for layer in final:
        y = layer(y)
    model = keras.Model(x, y)
    weights = np.random.default_rng(1).normal(size=(42, 4)).astype(np.float32)
    model.layers[-1 - len(final)].kernel.assign(scale * weights)
    return model, scale * weights.reshape(6, 7, 4)


def explain(model, target, **options):
    return saliency(model, IMAGES, target, return_info=True, **options)


def test_derived_coordinates():
    model, weights = dense()
    box = model(IMAGES).numpy()
    top, left, bottom, right = np.moveaxis(weights, -1, 0)
    height, width = (box[:, 2:] - box[:, :2]).T[:, :, None, None]
    expected = {
        "height": bottom - top,
        "width": right - left,
        "center_y": (top + bottom) / 2,
        "center_x": (left + right) / 2,
        "area": height * (right - left) + width * (bottom - top),
    }
    assert tuple(expected) == tuple(targets.DERIVED)
    for name, slope in expected.items():
        maps, info = explain(model, name)
        np.testing.assert_allclose(maps, np.broadcast_to(slope, maps.shape), rtol=1e-4, atol=1e-5)
        assert info.targets == (name,)
    np.testing.assert_allclose(info.values, (height * width)[:, 0, 0], rtol=1e-5)


def test_iou_with_given_boxes():
    """Two boxes of which one lies in the other: IoU is the ratio of areas."""
    x = keras.Input((6, 7, 1))
    mean = LAYERS.GlobalAveragePooling2D()(x)
    # The box (0, 0, m, 1) of the mean brightness m.
    box = LAYERS.Dense(4)(mean)
    model = keras.Model(x, box)
    model.set_weights([np.array([[0, 0, 1, 0]], np.float32), np.array([0, 0, 0, 1], np.float32)])
    mean = IMAGES.mean((1, 2, 3))
    maps, info = explain(model, targets.iou([0, 0, 1, 1]))
    np.testing.assert_allclose(info.values, mean, rtol=1e-6)
    np.testing.assert_allclose(maps, 1 / 42, rtol=1e-5)
    inner = np.stack([np.zeros(3), np.zeros(3), mean / 2, np.ones(3)], 1)
    maps, info = explain(model, targets.iou(inner))
    np.testing.assert_allclose(info.values, 0.5, rtol=1e-6)
    np.testing.assert_allclose(
        maps, np.broadcast_to((-0.5 / mean / 42)[:, None, None], maps.shape), rtol=1e-4
    )
    pixels = targets.iou(inner * [6, 7, 6, 7], "yxyx", size=(6, 7))
    np.testing.assert_allclose(saliency(model, IMAGES, pixels), maps, rtol=1e-4)
    # Boxes go with their images through noise and small batches.
    noisy = saliency(model, IMAGES, targets.iou(inner), "smoothgrad", samples=3, batch_size=2)
    alone = saliency(model, IMAGES[2:], targets.iou(inner[2:]), "smoothgrad", samples=3)
    np.testing.assert_allclose(noisy[2:], alone, rtol=1e-4)


@pytest.mark.parametrize("target", [targets.iou, targets.detection])
def test_rounding_does_not_choose_a_side_where_an_edge_is_met(target):
    """One unit in the last place beside the predicted box, the IoU's kink, changes no map."""
    model, _ = dense("sigmoid", scale=0.1)
    model.layers[-1].bias.assign([-2, -1, 1, 2])  # a box with area
    box = model(IMAGES).numpy()
    for side in (0, 1):
        maps = explain(model, target(np.nextafter(box, np.float32(side))))[0]
        np.testing.assert_array_equal(maps, 0)
    # Of a smaller box below the predicted top, only that top is met by no edge.
    lower = box + np.array([0.05, 0, 0, 0], np.float32)
    height, smaller = box[:, 2] - box[:, 0], lower[:, 2] - lower[:, 0]
    maps = explain(model, target(lower))[0]
    expected = (smaller / height**2)[:, None, None] * explain(model, "top")[0]
    np.testing.assert_allclose(maps, expected, rtol=1e-4, atol=1e-7)


def test_loss_is_that_of_each_image():
    model, _ = dense("sigmoid")
    corners = np.random.default_rng(2).random((3, 2, 2), np.float32)
    truth = np.sort(corners, axis=1).reshape(3, 4)
    tensor = tf.constant(IMAGES)
    for loss in (wb.losses.BoxBCE(), wb.losses.IoULoss("giou"), _squares):
        with tf.GradientTape() as tape:
            tape.watch(tensor)
            if isinstance(loss, keras.losses.Loss):
                expected = tf.stack(
                    [loss(truth[i : i + 1], model(tensor[i : i + 1])) for i in range(3)]
                )
            else:
                expected = loss(truth, model(tensor))
        slope = tf.reduce_sum(tape.gradient(expected, tensor), -1)
        maps, info = explain(model, targets.loss(loss, truth))
        np.testing.assert_allclose(info.values, expected, rtol=1e-5)
        np.testing.assert_allclose(maps, slope, rtol=1e-4, atol=1e-6)


def _squares(truth, found):
    return tf.reduce_sum((truth - found) ** 2, axis=1)


def test_units():
    model = wb.models.localizer(size=(6, 7))
    maps = activations(model, IMAGES, "conv2")["conv2"]
    values = explain(model, [targets.unit("conv2", 3), targets.unit("conv2", -1, (2, 4))])[1].values
    np.testing.assert_allclose(values[0], maps[..., 3].mean((1, 2)), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(values[1], maps[:, 2, 4, -1], rtol=1e-4, atol=1e-6)
    # The unit sees the 5 x 5 pixels around its place, in a frame of 3 minus 2 pixels lost.
    seen = saliency(model, IMAGES, targets.unit("conv2", 0, (4, 4))) != 0
    rows, columns = np.nonzero(seen.any(0))
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (1, 5, 1, 5)


def test_bins_of_the_profile_head():
    model = wb.models.localizer(size=(6, 7))
    p = wb.models.edge_distributions(model, IMAGES)
    bins = [("top", 0), ("top", 3), ("left", -1), ("bottom", 3), ("right", 0), ("right", -1)]
    p = np.stack([p[name][:, index] for name, index in bins]).astype(np.float64)
    asked = [targets.bin(*b) for b in bins]
    np.testing.assert_allclose(explain(model, asked)[1].values, p, rtol=1e-5)
    maps, info = explain(model, asked, link="logit")
    np.testing.assert_allclose(info.values, np.log(p / (1 - p)), rtol=1e-4, atol=1e-5)
    assert info.links == ("input of the softmax",) * 6
    # Slopes by the chain rule.
    slope = saliency(model, IMAGES, asked) / (p * (1 - p))[..., None, None]
    np.testing.assert_allclose(maps, slope, rtol=1e-3, atol=1e-5)


def four_outputs():
    x = keras.Input((6, 7, 1))
    flat = LAYERS.Flatten()(x)
    model = keras.Model(
        x, LAYERS.Concatenate()([LAYERS.Dense(1, activation="sigmoid")(flat) for _ in range(4)])
    )
    _, weights = dense()
    for layer, column in zip(model.layers[2:6], np.moveaxis(weights, -1, 0), strict=True):
        layer.kernel.assign(100 * column.reshape(42, 1))
    return model, 100 * weights


@pytest.mark.parametrize(
    "build",
    [
        lambda: dense("sigmoid", 100.0),
        lambda: dense(None, 100.0, [LAYERS.Activation("sigmoid")]),
        lambda: dense("sigmoid", 100.0, [LAYERS.Reshape((2, 2)), LAYERS.Reshape((4,))]),
        four_outputs,
    ],
    ids=["dense", "activation", "reshaped", "concatenated"],
)
def test_log_odds_of_a_saturated_sigmoid(build):
    model, weights = build()
    box = model(IMAGES).numpy()
    assert ((box == 0) | (box == 1) | (np.abs(box - 0.5) > 0.4)).mean() > 0.8
    maps, info = explain(model, EDGES, link="logit")
    logits = np.einsum("nhw,hwk->kn", IMAGES[..., 0].astype(np.float64), weights)
    expected = np.broadcast_to(np.moveaxis(weights, -1, 0)[:, None], maps.shape)
    np.testing.assert_allclose(maps, expected, rtol=1e-5)
    np.testing.assert_allclose(info.values, logits, rtol=1e-4, atol=1e-2)
    assert info.links == ("input of the sigmoid",) * 4


def test_log_odds_without_a_sigmoid():
    """Of an output of another kind by the formula."""
    model, weights = dense(None, 0.01, [LAYERS.Rescaling(1.0, offset=0.5)])
    p = model(IMAGES).numpy().astype(np.float64)
    maps, info = explain(model, EDGES, link="logit")
    np.testing.assert_allclose(info.values, np.log(p / (1 - p)).T, rtol=1e-4, atol=1e-5)
    slope = np.moveaxis(weights, -1, 0)[:, None] / (p * (1 - p)).T[:, :, None, None]
    np.testing.assert_allclose(maps, slope, rtol=1e-4)
    assert info.links == ("log(p) - log(1 - p) of the output",) * 4


def test_log_odds_in_half_precision():
    keras.mixed_precision.set_global_policy("mixed_float16")
    try:
        model, weights = dense("sigmoid", 4.0)
    finally:
        keras.mixed_precision.set_global_policy("float32")
    maps, info = explain(model, "top", link="logit")
    assert info.links == ("input of the sigmoid",)
    # Weights are rounded to half precision, nothing else on the way back.
    expected = np.broadcast_to(weights[..., 0], maps.shape)
    np.testing.assert_allclose(maps, expected, rtol=2 * np.finfo(np.float16).eps)
