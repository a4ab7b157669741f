"""Hard rendering against a per-pixel rewrite, and the laws of each appearance."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from whitebox_loc import testing
from whitebox_loc.data import SHAPES, Scene, as_scene, generate, render, shape_mask

DECORATED = Scene(
    size=(17, 23),
    channels=3,
    shapes=("ring", "rectangle", "triangle"),
    foreground=(0.6, 1.0),
    background=(0.0, 0.3),
    texture=0.5,
    noise=0.05,
    blur=0.7,
    distractors=3,
)


@st.composite
def boxes_in_scenes(draw):
    front, back = draw(st.sampled_from([(1.0, 0.0), (0.5, 0.25), (0.1, 0.9)]))
    drawn = testing.scenes(
        plain=True,
        size=st.tuples(st.integers(1, 9), st.integers(1, 9)),
        channels=st.sampled_from([1, 3]),
        shapes=st.sampled_from(list(SHAPES)),
        foreground=front,
        background=back,
    )
    scene = draw(drawn)
    return draw(testing.boxes(size=scene.size, n=(0, 4), empty=True)), scene


def slow_render(boxes: np.ndarray, scene: Scene) -> np.ndarray:
    images = np.zeros((len(boxes), *scene.size, scene.channels), np.float32)
    for i, (top, left, bottom, right) in enumerate(boxes):
        for y in range(scene.size[0]):
            for x in range(scene.size[1]):
                inside = top <= y < bottom and left <= x < right
                if inside:
                    mask = shape_mask(scene.shapes[0], bottom - top, right - left)
                    inside = mask[y - top, x - left]
                images[i, y, x] = scene.foreground if inside else scene.background
    return images


@settings(deadline=None)
@given(boxes_in_scenes())
def test_render_equals_a_slow_rewrite(case):
    boxes, scene = case
    expected = slow_render(boxes, scene)
    images = render(boxes, scene)
    assert images.dtype == np.float32
    np.testing.assert_array_equal(images, expected)
    bytes_ = render(boxes.astype(float), scene, dtype="uint8")
    assert bytes_.dtype == np.uint8
    np.testing.assert_array_equal(bytes_, np.rint(expected * np.float32(255)))


@pytest.mark.parametrize("scene", [Scene(size=(12, 9), foreground=(0.5, 1)), DECORATED])
@pytest.mark.parametrize("dtype", ["float32", "uint8"])
def test_bytes_do_not_depend_on_chunks_or_on_later_images(scene, dtype):
    whole = generate(scene, 50, seed=4, dtype=dtype, chunk=1000)
    for chunk in (1, 7, 50):
        part = generate(scene, 50, seed=4, dtype=dtype, chunk=chunk)
        assert part.images.tobytes() == whole.images.tobytes()
    few = generate(scene, 13, seed=4, dtype=dtype)
    np.testing.assert_array_equal(few.images, whole.images[:13])
    np.testing.assert_array_equal(few.labels, whole.labels[:13])
    other = generate(scene, 50, seed=5, dtype=dtype)
    assert not np.array_equal(other.images, whole.images)


def test_render_repeats_what_generate_drew():
    batch = generate(DECORATED, 9, seed=2)
    images = render(batch.boxes, DECORATED, labels=batch.labels, seed=2)
    np.testing.assert_array_equal(images, batch.images)


def test_uint8_is_the_rounded_float_image():
    images = generate(DECORATED, 20, seed=1).images
    assert images.min() >= 0
    assert images.max() <= 1
    np.testing.assert_array_equal(
        generate(DECORATED, 20, seed=1, dtype="uint8").images, np.rint(images * np.float32(255))
    )


def test_levels_are_drawn_per_image_in_their_ranges():
    scene = Scene(size=(6, 6), foreground=(0.5, 1), background=(0.1, 0.3))
    images = render([[1, 1, 4, 5]] * 200, scene, seed=0)[..., 0]
    inside, outside = images[:, 1:4, 1:5].reshape(200, -1), images[:, 0]
    assert (np.ptp(inside, axis=1) == 0).all()
    assert (np.ptp(outside, axis=1) == 0).all()
    for level, (low, high) in ((inside[:, 0], (0.5, 1)), (outside[:, 0], (0.1, 0.3))):
        assert low <= level.min()
        assert level.max() <= high
        # 200 uniform draws all miss a given fifth of the range once in 2e19 times.
        assert level.min() < low + (high - low) / 5
        assert level.max() > high - (high - low) / 5
    assert abs(np.corrcoef(inside[:, 0], outside[:, 0])[0, 1]) < 5 / 200**0.5  # 5 deviations


def test_texture_varies_the_shape_alone():
    scene = Scene(size=(20, 30), texture=0.4, background=0.2)
    box = [4, 5, 16, 27]
    images = render([box] * 30, scene, seed=0)[..., 0]
    plain = render([box] * 30, as_scene(scene, texture=0), seed=0)[..., 0]
    changed = images != plain
    assert not changed[:, :4].any()
    assert not changed[:, :, 27:].any()
    contrast = (images[:, 4:16, 5:27] - 0.2) / 0.8
    # Three float32 roundings of numbers up to 1, divided by 0.8.
    slack = 3 * 2**-24 / 0.8
    assert contrast.min() >= 0.6 - slack
    assert contrast.max() <= 1 + slack
    # The box spans a stripe and its gap (at most 16 pixels) both ways.
    assert (contrast.min(axis=(1, 2)) < 0.7).all()
    assert (contrast.max(axis=(1, 2)) > 0.9).all()
    assert len({image.tobytes() for image in images}) == 30


def test_noise_has_its_deviation_and_differs_by_channel():
    scene = Scene(size=(40, 40), channels=3, foreground=0.6, background=0.4, noise=0.02)
    boxes = [[5, 5, 30, 30]] * 8
    grain = render(boxes, scene) - render(boxes, as_scene(scene, noise=0))
    # No pixel is clipped (20 deviations); five standard errors of mean and deviation.
    assert abs(grain.mean()) < 5 * 0.02 / grain.size**0.5
    assert abs(grain.std() - 0.02) < 5 * 0.02 / (2 * grain.size) ** 0.5
    first, second = grain[..., 0].ravel(), grain[..., 1].ravel()
    assert abs(np.corrcoef(first, second)[0, 1]) < 5 / first.size**0.5


def test_noise_is_clipped():
    images = render([[2, 2, 6, 6]] * 5, Scene(size=(8, 8), noise=0.5))
    assert (images.min(), images.max()) == (0, 1)


def slow_blur(image: np.ndarray, sigma: float) -> np.ndarray:
    radius = int(4 * sigma + 0.5)
    weights = np.exp(-0.5 * (np.arange(-radius, radius + 1) / sigma) ** 2)
    weights /= weights.sum()
    for axis in (0, 1):
        padding = [(radius, radius) if a == axis else (0, 0) for a in (0, 1)]
        padded = np.pad(image, padding, mode="edge")
        windows = [
            np.take(padded, range(k, k + image.shape[axis]), axis) for k in range(len(weights))
        ]
        image = sum(w * window for w, window in zip(weights, windows, strict=True))
    return image


def test_blur_equals_a_slow_convolution():
    scene = Scene(size=(11, 14), shapes="cross", blur=1.3)
    box = [[0, 3, 8, 12]]
    sharp = render(box, as_scene(scene, blur=0))[0, ..., 0].astype(np.float64)
    # Two passes stored as float32, each rounding values of at most 1 by 2**-25 ... 2**-24.
    np.testing.assert_allclose(
        render(box, scene)[0, ..., 0], slow_blur(sharp, 1.3), rtol=0, atol=2 * 2**-24
    )


@pytest.mark.parametrize("shape", SHAPES)
def test_distractors_lie_behind_the_box(shape):
    scene = Scene(size=(24, 32), shapes=shape, distractors=12, background=0.2)
    batch = generate(scene, 40, seed=3)
    alone = render(batch.boxes, as_scene(scene, distractors=0))
    for (top, left, bottom, right), image, true in zip(
        batch.boxes, batch.images, alone, strict=True
    ):
        box = np.s_[top:bottom, left:right]
        np.testing.assert_array_equal(image[box], true[box])
        assert set(np.unique(image[image != true])) <= {np.float32(0.6)}
    assert (batch.images != alone).any(axis=(1, 2, 3)).sum() > 20


def test_a_distractor_is_a_small_rectangle():
    scene = Scene(size=(24, 32), distractors=1)
    images = render([[0, 0, 0, 0]] * 300, scene, seed=0)[..., 0]
    seen = set()
    for image in images:
        rows, columns = np.nonzero(image)
        sides = (np.ptp(rows) + 1, np.ptp(columns) + 1)
        assert len(rows) == sides[0] * sides[1]
        assert (image[rows, columns] == 0.5).all()
        seen.add(sides)
    assert seen == {(h, w) for h in (1, 2, 3) for w in (1, 2, 3)}


def test_labels_choose_the_shape():
    scene = Scene(size=(9, 9), shapes=tuple(SHAPES))
    images = render([[1, 2, 8, 9]] * 6, scene, labels=range(6))[:, 1:8, 2:9, 0]
    for image, shape in zip(images, SHAPES, strict=True):
        np.testing.assert_array_equal(image, shape_mask(shape, 7, 7))
    batch = generate(scene, 3000, seed=0, dtype="uint8")
    # Five deviations of a count of 3000 draws with probability 1/6.
    assert (abs(np.bincount(batch.labels, minlength=6) - 500) < 5 * (3000 * 5 / 36) ** 0.5).all()


def test_no_boxes():
    for scene in (Scene(size=(3, 4)), DECORATED):
        assert render(np.empty((0, 4)), scene).shape == (0, *scene.size, scene.channels)


@pytest.mark.parametrize(
    ("boxes", "options", "error", "text"),
    [
        ([0, 0, 1, 1], {}, ValueError, "`boxes` must have shape (n, 4); got shape (4,)."),
        (
            [[0, 0, 1, 1], [3, 0, 2, 1]],
            {},
            ValueError,
            "`boxes` must be ordered as (top, left, bottom, right); box 1 is [3, 0, 2, 1].",
        ),
        (
            [[0, 0, 9, 1]],
            {},
            ValueError,
            "`boxes` must lie inside the image of 8 x 8 pixels; box 0 is [0, 0, 9, 1].",
        ),
        (
            [[0.5, 0, 2, 1]],
            {},
            ValueError,
            "`boxes` must lie on whole pixels; `render_soft` draws fractional boxes; "
            "box 0 is [0.5, 0.0, 2.0, 1.0].",
        ),
        (
            [[0, 0, 1, 1]],
            {"dtype": "float64"},
            ValueError,
            "`dtype` must be one of ['float32', 'uint8']; got 'float64'. Did you mean 'float32'?",
        ),
        (
            [[0, 0, 1, 1]],
            {"labels": [1]},
            ValueError,
            "`labels` must lie in 0 .. 0, the scene's shapes ('rectangle',); got 1 .. 1.",
        ),
        (
            [[0, 0, 1, 1]],
            {"labels": [0, 0]},
            ValueError,
            "`labels` must have shape (1,), one a box; got shape (2,).",
        ),
        (
            [[0, 0, 1, 1]],
            {"labels": [0.0]},
            TypeError,
            "`labels` must hold whole numbers; got dtype float64.",
        ),
        (
            [[0, 0, 1, 1]],
            {"seed": -1},
            ValueError,
            "`seed` must be a whole number >= 0; got -1.",
        ),
    ],
)
def test_errors(boxes, options, error, text):
    with pytest.raises(error) as caught:
        render(boxes, Scene(size=(8, 8)), **options)
    assert str(caught.value) == text
