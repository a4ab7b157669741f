"""Moved edges against closed forms, slow loops and models whose answer is known."""

import functools
import re

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import whitebox_loc as wb
from whitebox_loc._statistics import bootstrap_interval
from whitebox_loc.introspect.interventions.edges import (
    Look,
    edge_moves,
    mean_defined,
    unusual_fields,
)

SIZE = (9, 12)
SCENE = wb.data.Scene(size=SIZE)
BOXES = np.array([[2, 3, 7, 9], [0, 0, 9, 12], [4, 5, 5, 6], [3, 0, 8, 11]])


@functools.cache
def projector(size=SIZE):
    """Top and bottom are exact: maxima over rows of (H - y) I and (y + 1) I; so the columns."""
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
def linear(size=SIZE, channels=1, seed=0):
    """Flatten and Dense: the weights (height, width, channels, 4) in float64, and the model."""
    model = keras.Sequential(
        [keras.Input((*size, channels)), keras.layers.Flatten(), keras.layers.Dense(4)]
    )
    pixels = size[0] * size[1] * channels
    kernel = np.random.default_rng(seed).normal(size=(pixels, 4)) / pixels
    model.set_weights([kernel.astype("float32"), np.full(4, 0.1, "float32")])
    return model, kernel.astype("float32").astype(float).reshape(*size, channels, 4)


def random_boxes(n, size=SIZE, seed=0):
    scene = wb.data.Scene(size=size)
    numbers = np.random.default_rng(seed).choice(wb.data.count_boxes(scene), n, replace=False)
    return wb.data.nth_boxes(scene, numbers)


# Coordinates are sums or maxima of float32 numbers up to 1, times up to 12 pixels: each is
# exact to a few 12 * 2**-24 = 7e-7, the difference of two to twice that.
CLOSE = 5e-6


@pytest.mark.parametrize("steps", [(-1, 1), (1,), (-3, 2)])
def test_a_perfect_model_answers_with_the_identity(steps):
    moves = edge_moves(projector(), random_boxes(60), SCENE, steps=steps)
    np.testing.assert_allclose(moves.matrix, np.eye(4), rtol=0, atol=CLOSE)
    np.testing.assert_allclose(moves.base, moves.boxes, rtol=0, atol=CLOSE)
    defined = np.isfinite(moves.per_box)
    everywhere = np.broadcast_to(np.eye(4), moves.per_box.shape)
    np.testing.assert_allclose(moves.per_box[defined], everywhere[defined], rtol=0, atol=CLOSE)
    np.testing.assert_allclose(moves.interval, [np.eye(4)] * 2, rtol=0, atol=CLOSE)


def slow_moves(predict, boxes, scene, steps, legal_size):
    """One image at a time."""
    n, (height, width) = len(boxes), legal_size
    found = np.full((n, len(steps), 4, 4), np.nan)
    for b, s, j in np.ndindex(n, len(steps), 4):
        box = list(boxes[b])
        box[j] += steps[s]
        top, left, bottom, right = box
        if 0 <= top < bottom <= height and 0 <= left < right <= width:
            found[b, s, j] = predict(wb.data.render([box], scene)[0])
    return found


@pytest.mark.parametrize("batch_size", [1, 7, 256])
def test_moves_against_a_slow_loop(batch_size):
    scene = wb.data.Scene(size=SIZE, channels=2, foreground=0.75, background=0.25)
    model, weights = linear(channels=2)

    def predict(image):
        pixels = image.astype(float)
        return (np.einsum("yxc,yxcj->j", pixels, weights) + 0.1) * [9, 12, 9, 12]

    steps = (-2, -1, 1, 3)
    moves = edge_moves(model, BOXES, scene, steps=steps, batch_size=batch_size)
    expected = slow_moves(predict, BOXES, scene, steps, SIZE)
    np.testing.assert_allclose(moves.predictions, expected, rtol=0, atol=CLOSE)
    np.testing.assert_array_equal(moves.legal, np.isfinite(expected[..., 0]))
    base = [predict(image) for image in wb.data.render(BOXES, scene)]
    np.testing.assert_allclose(moves.base, base, rtol=0, atol=CLOSE)
    # The mean response: a mean over legal steps, then over the boxes that have one.
    for b, i, j in np.ndindex(4, 4, 4):
        slopes = [
            (expected[b, s, j, i] - base[b][i]) / step
            for s, step in enumerate(steps)
            if moves.legal[b, s, j]
        ]
        mean = np.mean(slopes) if slopes else np.nan
        np.testing.assert_allclose(moves.per_box[b, i, j], mean, rtol=0, atol=2 * CLOSE)
    np.testing.assert_allclose(moves.matrix, np.nanmean(moves.per_box, 0), rtol=0, atol=1e-12)


def test_a_linear_model_answers_with_the_sum_of_its_weights_along_the_strip():
    model, weights = linear()
    moves = edge_moves(model, [[2, 3, 7, 9]], SCENE)
    flat, scale = weights[:, :, 0], np.array([9, 12, 9, 12])
    # Per pixel down: the strip inside the top goes dark, the strip above had been dark.
    strips = {0: (flat[2, 3:9], flat[1, 3:9]), 2: (flat[7, 3:9], flat[6, 3:9])}
    for edge, (inward, outward) in strips.items():
        sign = -1 if edge == 0 else 1
        expected = sign * (inward.sum(0) + outward.sum(0)) / 2 * scale
        np.testing.assert_allclose(moves.matrix[:, edge], expected, rtol=0, atol=CLOSE)


def test_edges_at_borders_move_one_way_and_empty_boxes_not_at_all():
    boxes = [[0, 0, 9, 12], [4, 5, 5, 6], [3, 3, 3, 8], [3, 3, 6, 3]]
    moves = edge_moves(projector(), boxes, SCENE)
    assert moves.legal[0].tolist() == [[False, False, True, True], [True, True, False, False]]
    # One pixel can only grow.
    assert moves.legal[1].tolist() == [[True, True, False, False], [False, False, True, True]]
    assert not moves.legal[2:].any()
    assert np.isnan(moves.per_box[2:]).all()
    assert np.isfinite(moves.base).all()
    alone = edge_moves(projector(), [[3, 3, 3, 8]], SCENE)
    assert np.isnan(alone.matrix).all()
    assert np.isnan(alone.interval).all()


def test_no_boxes_have_no_response():
    moves = edge_moves(projector(), np.empty((0, 4)), SCENE)
    assert moves.predictions.shape == (0, 2, 4, 4)
    assert np.isnan(moves.matrix).all()


RANDOM = {
    "noise": {"noise": 0.2},
    "levels": {"foreground": (0.6, 0.9), "background": (0.0, 0.3)},
    "distractors": {"distractors": 5},
    "shapes": {"shapes": ("ring", "cross"), "noise": 0.1},
}


@pytest.mark.parametrize("kind", RANDOM)
def test_only_the_edge_changes(kind):
    scene = wb.data.Scene(size=(20, 24), **RANDOM[kind])
    # With a shape the box itself is drawn anew: only outside of it nothing may change.
    box, moved = np.array([5, 6, 14, 17]), np.array([5, 6, 15, 17])
    look = Look(scene, None, 3)
    numbers = np.array([0, 0, 1, 1, 0])
    images = look.draw(np.stack([box, moved, box, moved, box]), numbers)
    assert (images[0] == images[4]).all()
    assert (images[0] != images[2]).any()
    for before, after in ((0, 1), (2, 3)):
        changed = (images[before] != images[after]).any(-1)
        assert changed.any()
        strip = np.zeros((20, 24), bool)
        strip[slice(5, 15) if kind == "shapes" else slice(14, 15), 6:17] = True
        assert not (changed & ~strip).any()
    # Which images are drawn together does not matter.
    assert (look.draw(box[None], numbers[2:3])[0] == images[2]).all()


def test_a_texture_stays_when_the_far_edges_move():
    scene = wb.data.Scene(size=(20, 24), texture=0.8)
    images = Look(scene, None, 0).draw(
        np.array([[5, 6, 14, 17], [5, 6, 15, 17], [5, 6, 14, 16]]), np.zeros(3, int)
    )
    assert (images[0, 5:14, 6:17] == images[1, 5:14, 6:17]).all()
    assert (images[0, 5:14, 6:16] == images[2, 5:14, 6:16]).all()
    assert len(np.unique(images[0])) > 10


def test_seeds_and_batches():
    model, _ = linear()
    scene = wb.data.Scene(size=SIZE, noise=0.1)
    runs = [
        edge_moves(model, BOXES, scene, seed=seed, batch_size=size)
        for seed, size in ((5, 256), (5, 3), (np.random.SeedSequence(5), 256), (6, 256))
    ]
    np.testing.assert_allclose(runs[0].predictions, runs[1].predictions, rtol=0, atol=CLOSE)
    assert runs[0].predictions.tobytes() == runs[2].predictions.tobytes()
    assert np.nanmax(np.abs(runs[0].predictions - runs[3].predictions)) > 100 * CLOSE
    generators = [np.random.default_rng(5) for _ in range(2)]
    twice = [edge_moves(model, BOXES, scene, seed=g).base for g in generators]
    assert twice[0].tobytes() == twice[1].tobytes()


def test_labels_say_which_shape_is_drawn():
    model, weights = linear()
    scene = wb.data.Scene(size=SIZE, shapes=("rectangle", "cross"))
    moves = edge_moves(model, BOXES[[0, 0]], scene, labels=[0, 1])
    for label in (0, 1):
        image = wb.data.render(BOXES[:1], scene, labels=[label])[0].astype(float)
        expected = (np.einsum("yxc,yxcj->j", image, weights) + 0.1) * [9, 12, 9, 12]
        np.testing.assert_allclose(moves.base[label], expected, rtol=0, atol=CLOSE)


def test_unusual_fields_name_what_is_drawn_otherwise():
    assert unusual_fields(wb.data.Scene(size=SIZE, channels=3, heights=(2, 5))) == []
    assert unusual_fields(wb.data.Scene(foreground=(0.5, 0.6), noise=0.1)) == [
        "foreground",
        "noise",
    ]
    assert unusual_fields(wb.data.Scene(shapes="ring", blur=1.0), ("shapes", "blur")) == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"boxes": [[3, 3, 2, 8]]}, "`boxes` must be (top, left, bottom, right) in order, in"),
        ({"boxes": [[0, 0, 3, 13]]}, "image of 9 x 12 pixels; box 0 is [0, 0, 3, 13]."),
        ({"boxes": [[0.5, 0, 3, 3]]}, "`boxes` must be (top, left, bottom, right) in order, in"),
        ({"boxes": [0, 0, 3, 3]}, "`boxes` must have shape (n, 4); got shape (4,)."),
        ({"steps": (0, 1)}, "`steps` must be whole numbers of pixels, none 0 and none twice;"),
        ({"steps": ()}, "`steps` must hold at least one whole number; got none."),
        ({"steps": (1, 1)}, "none twice; got (1, 1)."),
        ({"labels": [0]}, "`labels` must have shape (4,), one a box; got shape (1,)."),
        ({"batch_size": 0}, "`batch_size` must be a whole number >= 1; got 0."),
        ({"scene": "uniform"}, "`boxes` must"),
        (
            {"scene": wb.data.Scene(size=(10, 12))},
            "`scene` must draw what the model takes, images of shape (9, 12, 1); its images have "
            "shape (10, 12, 1).",
        ),
    ],
)
def test_bad_arguments(change, message):
    arguments = {"model": linear()[0], "boxes": BOXES, "scene": SCENE, **change}
    if change.get("scene") == "uniform":
        arguments["boxes"] = [[0, 0, 101, 3]]
    with pytest.raises(ValueError, match=re.escape(message)):
        edge_moves(**arguments)


def test_a_model_of_several_inputs_is_refused():
    image, number = keras.Input((*SIZE, 1)), keras.Input((4,))
    model = keras.Model([image, number], keras.layers.Flatten()(image)[:, :4] + number)
    with pytest.raises(ValueError, match=r"`model` must take one image array"):
        edge_moves(model, BOXES, SCENE)


def test_intervals_against_resampling_by_indices():
    generator = np.random.default_rng(0)
    values = generator.normal(size=(40, 2, 3)) * [1, 5, 0]
    values[:25, 0, 1] = np.nan
    values[1:, 1, 1] = np.nan
    low, high = bootstrap_interval(values, resamples=20000, confidence=0.9)
    for place in np.ndindex(2, 3):
        defined = values[(slice(None), *place)]
        defined = defined[np.isfinite(defined)]
        if len(defined) < 2:
            assert np.isnan([low[place], high[place]]).all()
            continue
        means = defined[generator.integers(len(defined), size=(20000, len(defined)))].mean(1)
        # Quantiles of 20000 means: standard error sqrt(.05 * .95 / 20000) / density, about .015
        # of the means' own deviation; 5 of them, twice.
        close = 0.15 * means.std() + 1e-12
        np.testing.assert_allclose(
            [low[place], high[place]], np.quantile(means, [0.05, 0.95]), rtol=0, atol=close
        )


def test_intervals_hold_the_truth_as_often_as_they_say():
    generator = np.random.default_rng(1)
    samples = generator.normal(size=(60, 400))
    low, high = bootstrap_interval(samples)
    # 400 experiments: .95 +- 4 standard errors of .011, and percentile intervals of 60 numbers
    # are some .01 too short.
    assert abs(((low < 0) & (high > 0)).mean() - 0.95) < 0.055
    again = bootstrap_interval(samples)
    assert again[0].tobytes() == low.tobytes()


@given(st.integers(1, 5), st.integers(0, 100))
def test_mean_defined_is_nanmean(n, seed):
    generator = np.random.default_rng(seed)
    values = np.where(generator.random((n, 3)) < 0.4, np.nan, generator.normal(size=(n, 3)))
    expected = [
        np.mean(column[np.isfinite(column)]) if np.isfinite(column).any() else np.nan
        for column in values.T
    ]
    np.testing.assert_allclose(mean_defined(values), expected, rtol=0, atol=1e-12)
