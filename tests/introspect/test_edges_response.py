"""Derivatives by edges against closed forms: linear models, maxima, smooth curves."""

import dataclasses
import functools
import re

import keras
import numpy as np
import pytest
import tensorflow as tf

import whitebox_loc as wb
from whitebox_loc.introspect.interventions.edge_derivatives import NUDGE, response
from whitebox_loc.introspect.interventions.edges import edge_moves

SIZE = (9, 12)
SCENE = wb.data.Scene(size=SIZE)
BOXES = np.array([[2, 3, 7, 9], [0, 0, 9, 12], [4, 5, 5, 6], [3, 0, 8, 11], [1, 2, 3, 4]])
SCALE = np.array([9, 12, 9, 12])
# As for moves: sums of up to 108 float32 products below 1, in pixels.
CLOSE = 1e-5


@functools.cache
def linear(size=SIZE, channels=1, activation=None):
    model = keras.Sequential(
        [
            keras.Input((*size, channels)),
            keras.layers.Flatten(),
            keras.layers.Dense(4, activation=activation),
        ]
    )
    pixels = size[0] * size[1] * channels
    kernel = np.random.default_rng(0).normal(size=(pixels, 4)).astype("float32") / pixels
    model.set_weights([kernel, np.full(4, 0.1, "float32")])
    return model, kernel.astype(float).reshape(*size, channels, 4)


@functools.cache
def projector(size):
    """Maxima of brightness times position: exact on legal images, steep on soft ones."""
    (height, width), ops = size, keras.ops
    image = keras.Input((*size, 1))
    y = np.arange(height, dtype="float32")[:, None, None]
    x = np.arange(width, dtype="float32")[:, None]
    pool = keras.layers.GlobalMaxPooling2D()
    ends = [
        1 - pool(image * (height - y)) / height,
        1 - pool(image * (width - x)) / width,
        pool(image * (y + 1)) / height,
        pool(image * (x + 1)) / width,
    ]
    return keras.Model(image, ops.concatenate(ends, axis=1))


@functools.cache
def integrator(size):
    """Sums of running maxima of the profiles: exact on legal images, with derivative 1."""
    ops = keras.ops
    image = keras.Input((*size, 1))
    ends = []
    for axis, length in ((2, size[0]), (1, size[1])):
        profile = ops.max(image[..., 0], axis=axis)
        earlier = np.tril(np.ones((length, length), "float32"))
        for mask in (earlier, earlier.T):
            # Brightness is not below 0, so that a masked pixel is no maximum.
            ends.append(ops.sum(ops.max(profile[:, None] * mask, axis=2), axis=1) / length)
    down, up, right, left = (end[:, None] for end in ends)
    return keras.Model(image, ops.concatenate([1 - down, 1 - right, up, left], axis=1))


def strip(box, edge, side):
    """The pixels that change when an edge moves by one; side 1 lies inside the box, 0 outside."""
    top, left, bottom, right = box
    rows, columns = slice(top, bottom), slice(left, right)
    if edge in (0, 2):
        row = (top if side else top - 1) if edge == 0 else (bottom - 1 if side else bottom)
        return slice(row, row + 1), columns
    column = (left if side else left - 1) if edge == 1 else (right - 1 if side else right)
    return rows, slice(column, column + 1)


@pytest.mark.parametrize("channels", [1, 2])
def test_a_linear_model_has_the_sums_of_its_weights_along_the_strips(channels):
    scene = wb.data.Scene(size=SIZE, channels=channels, foreground=0.75, background=0.25)
    model, weights = linear(channels=channels)
    found = response(model, BOXES, scene, batch_size=2)
    for b, box in enumerate(BOXES):
        for edge in range(4):
            sign = -1 if edge < 2 else 1
            inner = weights[strip(box, edge, 1)].sum((0, 1, 2)) * 0.5 * sign * SCALE
            np.testing.assert_allclose(found.inside[b, :, edge], inner, rtol=0, atol=CLOSE)
            if box[edge] in (0, [*SIZE, *SIZE][edge]):
                assert np.isnan(found.outside[b, :, edge]).all()
                np.testing.assert_array_equal(found.per_box[b, :, edge], found.inside[b, :, edge])
                continue
            outer = weights[strip(box, edge, 0)].sum((0, 1, 2)) * 0.5 * sign * SCALE
            np.testing.assert_allclose(found.outside[b, :, edge], outer, rtol=0, atol=CLOSE)
            mean = (inner + outer) / 2
            np.testing.assert_allclose(found.per_box[b, :, edge], mean, rtol=0, atol=CLOSE)
    # Moves by a pixel are the same sums, where both sides are legal.
    moves = edge_moves(model, BOXES[[0]], scene)
    np.testing.assert_allclose(found.per_box[0], moves.per_box[0], rtol=0, atol=3 * CLOSE)
    assert not found.curved.any()
    np.testing.assert_array_equal(np.asarray(found), found.per_box)
    assert np.asarray(found, np.float32).dtype == np.float32


def test_notes_are_about_the_edge_and_not_the_coordinate():
    model = keras.Sequential(
        [keras.Input((*SIZE, 1)), keras.layers.Flatten(), keras.layers.Dense(4)]
    )
    kernel = np.zeros((*SIZE, 4), "float32")
    # All four coordinates read the column just outside of the left edge.
    kernel[:, 2] = 0.05
    model.set_weights([kernel.reshape(-1, 4), np.zeros(4, "float32")])
    found = response(model, BOXES[:1], SCENE)
    assert found.kinked.tolist() == [[False, True, False, False]]
    assert not found.curved.any()
    # Five pixels of .05, times the side: left is in columns, of which there are 12.
    assert found.notes == (
        "left: on 100% of the boxes the derivative into the box and out of it differ (at most "
        "0.00 against -3.00 pixels per pixel, for left); no derivative describes this edge.",
    )


def test_a_model_behind_a_sigmoid_has_the_slope_of_the_sigmoid():
    model, weights = linear(activation="sigmoid")
    found = response(model, BOXES[:1], SCENE)
    image = wb.data.render(BOXES[:1], SCENE)[0].astype(float)
    odds = np.einsum("yxc,yxcj->j", image, weights) + 0.1
    slope = 1 / np.cosh(odds / 2) ** 2 / 4
    for edge in range(4):
        sign = -1 if edge < 2 else 1
        inner = weights[strip(BOXES[0], edge, 1)].sum((0, 1, 2)) * sign * slope * SCALE
        # The slope is that a thousandth of a pixel away: it changes by that of the odds there,
        # below .06 * NUDGE * .1 in a slope of .25.
        np.testing.assert_allclose(found.inside[0, :, edge], inner, rtol=1e-3, atol=CLOSE)


def test_running_maxima_have_the_identity_and_no_notes():
    thick = BOXES[[0, 1, 3, 4]]
    found = response(integrator(SIZE), thick, SCENE)
    np.testing.assert_allclose(found.moves.base, thick, rtol=0, atol=CLOSE)
    np.testing.assert_allclose(found.matrix, np.eye(4), rtol=0, atol=CLOSE)
    np.testing.assert_allclose(found.interval, [np.eye(4)] * 2, rtol=0, atol=CLOSE)
    assert found.notes == ()


def test_a_box_of_one_pixel_fades_as_it_shrinks():
    found = response(integrator(SIZE), [[4, 5, 5, 6]], SCENE)
    # Grown, it is read exactly. Shrunk from the top it is dim: each running sum over the lines
    # from the box on loses its share, 5 rows below and 5 above, 7 columns right and 6 left.
    np.testing.assert_allclose(found.outside[0], np.eye(4), rtol=0, atol=CLOSE)
    np.testing.assert_allclose(found.inside[0, :, 0], [5, 7, -5, -6], rtol=0, atol=CLOSE)
    assert found.kinked.all()


def test_maxima_of_positions_have_the_position_as_derivative():
    size, box = (100, 100), [[20, 30, 90, 60]]
    found = response(projector(size), box, wb.data.Scene(size=size))
    # 1 - max((H - y) I) / H: the line that begins to fade is the maximum, (H - top) bright.
    # The one beyond the edge, NUDGE bright, is not.
    np.testing.assert_allclose(found.inside[0], np.diag([80, 70, 90, 60]), rtol=0, atol=1e-4)
    np.testing.assert_allclose(found.outside[0], np.zeros((4, 4)), rtol=0, atol=1e-4)
    np.testing.assert_allclose(found.moves.matrix, np.eye(4), rtol=0, atol=1e-4)
    assert found.kinked.all()
    assert found.curved.all()
    assert len(found.notes) == 8
    assert found.notes[4:6] == (
        "bottom: on 100% of the boxes the derivative into the box and out of it differ (at most "
        "90.00 against 0.00 pixels per pixel, for bottom); no derivative describes this edge.",
        "bottom: on 100% of the boxes the derivative differs from the move by one pixel (at most "
        "90.00 against 1.00 pixels per pixel, for bottom); trust edge_moves.",
    )
    quiet = response(projector(size), box, wb.data.Scene(size=size), tolerance=95)
    assert quiet.notes == ()


def test_notes_tell_of_what_differs():
    # Left loses most as the pixel's top fades, see above; the thick box is fine.
    found = response(integrator(SIZE), [[4, 5, 5, 6], [1, 2, 6, 9]], SCENE, tolerance=0.01)
    assert found.kinked.tolist() == [[True] * 4, [False] * 4]
    assert found.notes[0] == (
        "top: on 50% of the boxes the derivative into the box and out of it differ (at most 7.00 "
        "against 0.00 pixels per pixel, for left); no derivative describes this edge."
    )
    # A coordinate that answers another edge: its own would be 0 against 0.
    model = keras.Sequential(
        [keras.Input((*SIZE, 1)), keras.layers.Flatten(), keras.layers.Dense(4)]
    )
    kernel = np.zeros((*SIZE, 4), "float32")
    kernel[:, 2, 3] = 0.05
    model.set_weights([kernel.reshape(-1, 4), np.zeros(4, "float32")])
    (note,) = response(model, BOXES[:1], SCENE).notes
    assert "left: on 100%" in note
    assert "(at most 0.00 against -3.00 pixels per pixel, for right)" in note


def test_notes_have_the_digits_to_see_a_small_difference():
    change = np.zeros((1, 4, 4))
    change[0, 2, 1] = 0.004
    found = response(linear()[0], BOXES[:1], SCENE, tolerance=0.001)
    flat = np.full((1, 4, 4), 0.5)
    found = dataclasses.replace(found, inside=flat, outside=flat + change)
    (note,) = (each for each in found.notes if "into the box and out of it" in each)
    assert note.startswith("left: on 100% of the boxes")
    assert "(at most 0.5000 against 0.5040 pixels per pixel, for bottom)" in note


def test_derivatives_are_limits_of_differences():
    layers = keras.layers
    stack = [keras.Input((*SIZE, 1)), layers.Conv2D(3, 3, activation="tanh"), layers.Flatten()]
    model = keras.Sequential([*stack, layers.Dense(4, activation="sigmoid")])
    box = BOXES[0].astype("float64")
    found = response(model, BOXES[:1], SCENE)

    def predict(corners):
        soft = tf.cast(wb.data.render_soft(corners[None], SIZE), tf.float32)
        return model(soft, training=False)[0].numpy().astype(float) * SCALE

    for edge in range(4):
        into = (1 if edge < 2 else -1) * np.eye(4)[edge]
        for side, sign in ((found.inside, 1), (found.outside, -1)):
            at = box + sign * into * NUDGE
            step = sign * into / 32
            # From the nudged place to a thirty-second of a pixel on: the mean slope.
            slope = (predict(at + step) - predict(at)) * 32 / (sign * into.sum())
            # float32 differences: 2 * 12 * 2**-24 * 32 = 5e-5; curvature over 1/32 pixel.
            np.testing.assert_allclose(side[0, :, edge], slope, rtol=0.02, atol=2e-3)
    assert np.abs(found.inside).max() > 0.2


def test_empty_boxes_have_no_response():
    found = response(linear()[0], [[3, 3, 3, 8], [2, 3, 7, 9]], SCENE)
    assert np.isnan(found.per_box[0]).all()
    assert np.isfinite(found.per_box[1]).all()
    np.testing.assert_array_equal(found.matrix, found.per_box[1])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"scene": wb.data.Scene(size=SIZE, noise=0.1)},
            "`scene` must draw plain rectangles of two fixed levels, which can be drawn softly; "
            "got noise=0.1. Use edge_moves.",
        ),
        ({"scene": wb.data.Scene(size=SIZE, shapes="ring")}, "got shapes=('ring',)."),
        ({"scene": wb.data.Scene(size=SIZE, foreground=(0.5, 1))}, "got foreground=(0.5, 1.0)."),
        ({"tolerance": -1}, "`tolerance` must be a finite number >= 0; got -1."),
        ({"boxes": [[3, 3, 2, 8]]}, "`boxes` must be (top, left, bottom, right) in order, in"),
    ],
)
def test_bad_arguments(change, message):
    arguments = {"model": linear()[0], "boxes": BOXES, "scene": SCENE, **change}
    with pytest.raises(ValueError, match=re.escape(message)):
        response(**arguments)
