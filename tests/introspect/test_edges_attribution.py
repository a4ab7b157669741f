"""The map of moved edges against loops with model.predict, linear models and new renders."""

import functools
import re

import keras
import numpy as np
import pytest
import tensorflow as tf

import whitebox_loc as wb
from whitebox_loc.evaluation.truth import evidence_mask
from whitebox_loc.introspect import METHODS, edge_moves, saliency
from whitebox_loc.introspect.methods.intervention import moved_edges as module
from whitebox_loc.introspect.methods.intervention.copied_edges import copied_images, legal_moves
from whitebox_loc.introspect.targets import as_target
from whitebox_loc.introspect.targets.query import Query
from whitebox_loc.introspect.tracing.inputs import Inputs, check_images

SIZE = (9, 12)
SCENE = wb.data.Scene(size=SIZE)
NAMES = ["top", "left", "bottom", "right"]
# Inside, in a corner, one pixel, thin, the whole image, empty.
BOXES = np.array(
    [[2, 3, 7, 9], [0, 0, 4, 5], [4, 5, 5, 6], [3, 2, 4, 11], [0, 0, 9, 12], [5, 5, 5, 8]]
)
FULL, EMPTY = 4, 5
# Targets are float32 around .5, exact to 6e-8; a share divides their difference by the
# brightness that changed, at least .4 of one pixel.
CLOSE = 1e-6


@functools.cache
def smooth(channels=1, size=SIZE):
    layers = keras.layers
    model = keras.Sequential(
        [
            keras.Input((*size, channels)),
            layers.Conv2D(3, 3, activation="tanh"),
            layers.Flatten(),
            layers.Dense(4, activation="sigmoid"),
        ]
    )
    generator = np.random.default_rng(0)
    for weight in model.weights:
        weight.assign(generator.normal(size=weight.shape) * 0.3)
    return model


@functools.cache
def linear(channels=1):
    model = keras.Sequential(
        [keras.Input((*SIZE, channels)), keras.layers.Flatten(), keras.layers.Dense(4)]
    )
    kernel = np.random.default_rng(1).normal(size=(108 * channels, 4)).astype("float32") / 108
    model.set_weights([kernel, np.full(4, 0.1, "float32")])
    return model, kernel.astype(float).reshape(*SIZE, channels, 4)


def perfect():
    """Maxima of brightness times position, counted from the border across."""
    image, ops = keras.Input((*SIZE, 1)), keras.ops
    y = np.arange(9, dtype="float32")[:, None, None]
    x = np.arange(12, dtype="float32")[:, None]
    pool = keras.layers.GlobalMaxPooling2D()
    top, left = (1 - pool(image * (n - at)) / n for n, at in ((9, y), (12, x)))
    bottom, right = (pool(image * (at + 1)) / n for n, at in ((9, y), (12, x)))
    return keras.Model(image, ops.concatenate([top, left, bottom, right], axis=1))


def neighbours(box, step, size=SIZE):
    """Boxes with one edge moved, in the image and not empty."""
    top, left, bottom, right = box
    if top >= bottom or left >= right:
        return
    for edge in range(4):
        for shift in (-step, step):
            moved = list(box)
            moved[edge] += shift
            if 0 <= moved[0] < moved[2] <= size[0] and 0 <= moved[1] < moved[3] <= size[1]:
                yield moved


def moved_images(images, boxes, step, scene=None):
    """Numbers of images, and their versions with one edge moved."""
    moves = legal_moves(boxes, step, images.shape[1:3])
    if scene is not None:
        labels = np.zeros(len(boxes), int)
        return moves.rows, module._redrawn_images(images, boxes, moves, scene, labels)
    arrays = (a.astype("int32") for a in (boxes, moves.rows, moves.edges, moves.places))
    return moves.rows, copied_images(tf.constant(images), *arrays).numpy()


def slow_map(model, image, changed):
    """A strip a move: changes of four targets, shared out over the pixels that changed."""
    images = np.stack([image, *changed]).astype("float32")
    before, *after = model(images).numpy().astype(float)
    found = np.zeros((4, *image.shape[:2]))
    for values, moved in zip(after, images[1:].astype(float), strict=True):
        difference = moved - image
        total = (difference**2).sum()
        for k, y, x, c in np.argwhere(np.broadcast_to(difference != 0, (4, *image.shape))):
            found[k, y, x] += (values[k] - before[k]) * difference[y, x, c] / total
    return found


@pytest.mark.parametrize("step", [1, 2])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("given", ["nothing", "boxes", "scene"])
def test_against_a_loop_over_new_renders(step, channels, given):
    scene = wb.data.Scene(size=SIZE, channels=channels, foreground=0.8, background=0.3)
    images = wb.data.render(BOXES, scene)
    options = {"nothing": {}, "boxes": {"boxes": BOXES}, "scene": {"boxes": BOXES, "scene": scene}}
    model = smooth(channels)
    maps, info = saliency(
        model, images, NAMES, "edge_move", step=step, return_info=True, **options[given]
    )
    for n, box in enumerate(BOXES.tolist()):
        changed = [wb.data.render([moved], scene)[0] for moved in neighbours(box, step)]
        if n == FULL and given != "scene":
            changed = []
        np.testing.assert_allclose(
            maps[:, n], slow_map(model, images[n], changed), rtol=0, atol=CLOSE
        )
    assert np.abs(maps[:, :FULL]).max(axis=(0, 2, 3)).min() > 50 * CLOSE
    assert (maps[:, EMPTY] == 0).all()
    boxes = np.delete(BOXES, FULL, 0) if given == "nothing" else BOXES
    moves = sum(len(list(neighbours(box, step))) for box in boxes.tolist())
    # Each image itself, and its moves.
    assert info.passes == len(BOXES) + moves


@pytest.mark.parametrize("step", [1, 3])
@pytest.mark.parametrize("levels", [(1.0, 0.0), (0.8, 0.3)])
def test_a_moved_edge_is_what_would_be_rendered(levels, step):
    scene = wb.data.Scene(size=SIZE, channels=2, foreground=levels[0], background=levels[1])
    for drawn, boxes in ((None, np.delete(BOXES, FULL, 0)), (scene, BOXES)):
        images = wb.data.render(boxes, scene)
        rows, found = moved_images(images, boxes, step, drawn)
        expected = [
            (n, wb.data.render([moved], scene)[0])
            for n, box in enumerate(boxes.tolist())
            for moved in neighbours(box, step)
        ]
        assert len(expected) >= 20
        for row, image, (number, wanted) in zip(rows, found, expected, strict=True):
            assert row == number
            assert image.tobytes() == wanted.tobytes()


def test_without_a_scene_only_the_strip_is_copied():
    image = wb.data.render([[2, 3, 7, 9]], wb.data.Scene(size=SIZE, noise=0.2), seed=0)
    found = moved_images(image, BOXES[:1], 2)[1]
    rows, columns = slice(2, 7), slice(3, 9)
    # Edge by edge, up or left first: which lines are written, and which is copied there.
    strips = [
        ((slice(0, 2), columns), (slice(2, 3), columns)),
        ((slice(2, 4), columns), (slice(1, 2), columns)),
        ((rows, slice(1, 3)), (rows, slice(3, 4))),
        ((rows, slice(3, 5)), (rows, slice(2, 3))),
        ((slice(5, 7), columns), (slice(7, 8), columns)),
        ((slice(7, 9), columns), (slice(6, 7), columns)),
        ((rows, slice(7, 9)), (rows, slice(9, 10))),
        ((rows, slice(9, 11)), (rows, slice(8, 9))),
    ]
    for moved, (written, copied) in zip(found, strips, strict=True):
        expected = image[0].copy()
        expected[written] = image[0][copied]
        assert moved.tobytes() == expected.tobytes()


def test_a_linear_model_has_the_mean_weights_of_the_strips():
    model, weights = linear(channels=2)
    scene = wb.data.Scene(size=SIZE, channels=2)
    maps = saliency(model, wb.data.render([[2, 3, 7, 9]], scene), NAMES, "edge_move")[:, 0]
    flat = weights.sum(2)
    expected = np.zeros((*SIZE, 4))
    rows, columns = slice(2, 7), slice(3, 9)
    for strip in (
        (slice(1, 2), columns), (slice(2, 3), columns), (slice(6, 7), columns),
        (slice(7, 8), columns), (rows, slice(2, 3)), (rows, slice(3, 4)), (rows, slice(8, 9)),
        (rows, slice(9, 10)),
    ):  # fmt: skip
        expected[strip] += flat[strip].mean((0, 1))
    np.testing.assert_allclose(maps, expected.transpose(2, 0, 1), rtol=0, atol=CLOSE)


def test_the_map_adds_up_to_the_moves():
    # On plain scenes each strip holds (change of the target) / (change of brightness).
    boxes = BOXES[:4]
    images, model = wb.data.render(boxes, SCENE), smooth()
    maps = saliency(model, images, NAMES, "edge_move")
    moves = edge_moves(model, boxes, SCENE)
    change = (moves.predictions - moves.base[:, None, None]) / [9, 12, 9, 12]
    # Up and left light pixels at top and left, down and right at bottom and right.
    brighter = np.array([[1, 1, -1, -1], [-1, -1, 1, 1]])[None, :, :, None]
    expected = np.nansum(change * brighter, axis=(1, 2))
    np.testing.assert_allclose(maps.sum((2, 3)).T, expected, rtol=0, atol=30 * CLOSE)


def test_both_sides_of_an_edge_have_the_sign_of_the_derivative():
    box = [2, 3, 7, 9]
    maps = saliency(perfect(), wb.data.render([box], SCENE), NAMES, "edge_move")[:, 0]
    masks = [evidence_mask([box], SIZE, name)[0] for name in NAMES]
    for k, (sign, length, side) in enumerate([(-1, 6, 9), (-1, 5, 12), (1, 6, 9), (1, 5, 12)]):
        # One pixel of coordinate per strip of `length` pixels; elsewhere nothing.
        expected = np.where(masks[k], sign / length / side, 0)
        np.testing.assert_allclose(maps[k], expected, rtol=0, atol=CLOSE)


def test_scenes_with_shapes_noise_and_levels():
    kinds = {"shapes": ("ring", "cross"), "foreground": (0.6, 0.9), "background": (0.1, 0.3)}
    size = (16, 18)
    scene = wb.data.Scene(size=size, noise=0.02, **kinds)
    boxes, labels = np.array([[3, 4, 11, 14], [2, 2, 12, 13]]), [1, 0]
    images = wb.data.render(boxes, scene, labels=labels, seed=4)
    model = smooth(size=size)
    maps = saliency(model, images, NAMES, "edge_move", boxes=boxes, scene=scene, labels=labels)
    clean = wb.data.Scene(size=size, shapes=scene.shapes)
    for n in range(2):
        image = images[n].astype(float)
        still = wb.data.render(boxes[n : n + 1], clean, labels=labels[n : n + 1])[0]
        contrast = np.median(image[still > 0]) - np.median(image[still == 0])
        assert 0.3 < contrast < 0.8

        changed = []
        for moved in neighbours(boxes[n].tolist(), 1, size):
            new = wb.data.render([moved], clean, labels=labels[n : n + 1])[0]
            difference = (new.astype(float) - still) * contrast
            changed.append(np.where(difference == 0, image, np.clip(image + difference, 0, 1)))
        assert len(changed) == 8
        expected = slow_map(model, image, changed)
        np.testing.assert_allclose(maps[:, n], expected, rtol=0, atol=CLOSE)
        assert np.abs(expected).max() > 50 * CLOSE


def test_boxes_are_found_in_images():
    noisy = wb.data.Scene(size=SIZE, foreground=0.8, background=0.3, noise=0.04)
    dark = wb.data.Scene(size=SIZE, foreground=0.2, background=0.9)
    boxes = BOXES[:4]
    for scene, options in ((noisy, {}), (dark, {"scene": dark})):
        images = wb.data.render(boxes, scene)
        found = saliency(smooth(), images, NAMES, "edge_move", **options)
        given = saliency(smooth(), images, NAMES, "edge_move", boxes=boxes, **options)
        assert found.tobytes() == given.tobytes()
        assert found.any()
    blank = np.full((2, *SIZE, 1), 0.5, "float32")
    assert not saliency(smooth(), blank, "top", "edge_move").any()
    assert not saliency(smooth(), blank, "top", "edge_move", boxes=[2, 3, 7, 9]).any()


def test_a_small_blurred_box_of_unknown_levels_has_a_map():
    scene = wb.data.Scene(size=SIZE, foreground=(0.6, 0.9), blur=1.5)
    image = wb.data.render([[4, 5, 5, 6]], scene, seed=1)
    # One pixel blurred twice over: far darker than half of the levels.
    assert image.max() < 0.2
    maps = saliency(smooth(), image, NAMES, "edge_move", boxes=[4, 5, 5, 6], scene=scene)
    assert np.isfinite(maps).all()
    assert np.abs(maps).max() > 50 * CLOSE


def test_boxes_and_labels_follow_the_variants_of_an_image():
    images = wb.data.render(BOXES[:3], SCENE)
    query = Query(smooth(), check_images(images), [as_target("top")])
    variants = query.at(images[[1, 0]], np.array([1, 0]))
    scene = wb.data.Scene(size=SIZE, shapes=("cross", "rectangle"))
    options = {"boxes": BOXES[:3], "scene": scene, "labels": [1, 0, 0]}
    found = METHODS["edge_move"].function(variants, **options).values[0]
    whole = saliency(smooth(), images, "top", "edge_move", **options)
    np.testing.assert_allclose(found, whole[[1, 0]], rtol=0, atol=CLOSE)
    assert np.abs(whole[1] - whole[0]).max() > 10 * CLOSE
    one = saliency(smooth(), images[:1], "top", "edge_move", boxes=BOXES[0])
    assert one.tobytes() == saliency(smooth(), images[:1], "top", "edge_move").tobytes()


def test_batches_and_repetition_do_not_matter():
    images = wb.data.generate(wb.data.Scene(size=SIZE, noise=0.1), 5, seed=0).images
    found = saliency(smooth(), images, NAMES, "edge_move")
    assert found.tobytes() == saliency(smooth(), images, NAMES, "edge_move").tobytes()
    for size in (1, 7):
        again = saliency(smooth(), images, NAMES, "edge_move", batch_size=size)
        np.testing.assert_allclose(again, found, rtol=0, atol=CLOSE)
    assert np.abs(found).max() > 50 * CLOSE


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"step": 0}, "`step` must be a whole number between 1 and 12; got 0."),
        ({"boxes": [[0, 0, 3, 3]] * 2}, "`boxes` must have shape (3, 4), one box an image, or"),
        ({"boxes": [0, 0, 3, 13]}, "image of 9 x 12 pixels; box 0 is [0, 0, 3, 13]."),
        ({"scene": "uniform"}, "`scene` must be of the images' size, (9, 12); got (100, 100). Use"),
        ({"labels": [0, 0, 0]}, "`labels` must be whole numbers of shape (3,), one an image,"),
        ({"scene": SCENE, "labels": [0, 0]}, "`labels` must be whole numbers of shape (3,)"),
        ({"scene": SCENE, "labels": [0, 1, 0]}, "`labels` must lie in 0 .. 0, the scene's shapes"),
        (
            {"scene": wb.data.Scene(size=SIZE, inverted=0.5)},
            "`boxes` must be given for a scene that inverts images, inverted=0.5: bright pixels "
            "do not show where the box is; got None.",
        ),
    ],
)
def test_bad_arguments(options, message):
    images = wb.data.render(BOXES[:3], SCENE)
    with pytest.raises(ValueError, match=re.escape(message)):
        saliency(smooth(), images, "top", "edge_move", **options)


@pytest.mark.parametrize("batch_size", [256, 12])
def test_an_image_without_a_number_spoils_no_other(batch_size):
    images = wb.data.render(BOXES, SCENE)
    expected = saliency(smooth(), images, NAMES, "edge_move", boxes=BOXES)
    spoilt = images.copy()
    spoilt[2, 3, 3] = np.nan
    # `saliency` itself refuses such images.
    asked = [as_target(name) for name in NAMES]
    query = Query(smooth(), Inputs(spoilt, (), 0), asked, batch_size=batch_size)
    found = METHODS["edge_move"].function(query, boxes=BOXES).values
    assert np.isnan(found[:, 2]).any()
    others = np.delete(np.arange(len(BOXES)), 2)
    np.testing.assert_allclose(found[:, others], expected[:, others], rtol=0, atol=CLOSE)
