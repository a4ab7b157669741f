"""The laws of backgrounds, inversion, occlusion and amounts drawn per image."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from whitebox_loc.data import SCENES, SHAPES, Scene, as_scene, generate, render, shape_mask
from whitebox_loc.data.sampling import Streams

SIZE = (24, 30)
EMPTY = [[0, 0, 0, 0]]


def test_old_seeds_give_old_bytes():
    # Made by the library before scenes had backgrounds, regions or ranges of amounts; only whole
    # numbers and single roundings are involved, so no platform may differ.
    scene = Scene(size=(31, 40), distractors=5, background=(0.1, 0.3), position="border")
    digests = []
    for each in ("uniform", scene):
        batch = generate(each, 60, seed=5, dtype="uint8")
        content = batch.images.tobytes() + batch.boxes.tobytes() + batch.labels.tobytes()
        digests.append(hashlib.sha256(content).hexdigest())
    assert digests == [
        "71a4eee3963125233a379f854b3b787c8caf1c58277fc31fe8791ea3bea75042",
        "d9bda4a790615deb7011d2d4130d37d04862014d37a3177a0ba3fef1588114cf",
    ]


@pytest.mark.parametrize("dtype", ["float32", "uint8"])
@pytest.mark.parametrize("channels", [1, 3])
def test_augmented_bytes_do_not_depend_on_chunks_or_on_later_images(dtype, channels):
    scene = as_scene("augmented", size=SIZE, channels=channels)
    whole = generate(scene, 40, seed=4, dtype=dtype, chunk=1000)
    for chunk in (1, 7):
        part = generate(scene, 40, seed=4, dtype=dtype, chunk=chunk)
        assert part.images.tobytes() == whole.images.tobytes()
    few = generate(scene, 11, seed=4, dtype=dtype)
    np.testing.assert_array_equal(few.images, whole.images[:11])


def test_augmentation_changes_no_box():
    np.testing.assert_array_equal(
        generate("augmented", 50, seed=2).boxes, generate("uniform", 50, seed=2).boxes
    )


@pytest.mark.parametrize("field", ["texture", "noise", "blur", "background_gradient",
                                   "background_texture", "occlusion", "distractors"])  # fmt: skip
def test_a_range_of_one_amount_is_that_amount(field):
    amount = 3 if field == "distractors" else 0.4
    one, pair = (Scene(size=SIZE, **{field: value}) for value in (amount, (amount, amount)))
    np.testing.assert_array_equal(
        generate(one, 20, seed=1).images, generate(pair, 20, seed=1).images
    )


def test_inverted_images_are_the_complement():
    fields = {"size": SIZE, "shapes": ("ring",), "foreground": (0.5, 0.9), "background": 0.125}
    batch = generate(Scene(**fields), 400, seed=0)
    all_of_them = generate(Scene(inverted=1.0, **fields), 400, seed=0)
    np.testing.assert_array_equal(all_of_them.images, 1 - batch.images)
    some = generate(Scene(inverted=0.3, **fields), 400, seed=0).images
    swapped = (some == 1 - batch.images).all(axis=(1, 2, 3))
    assert (swapped | (some == batch.images).all(axis=(1, 2, 3))).all()
    assert abs(swapped.mean() - 0.3) < 5 * (0.3 * 0.7 / 400) ** 0.5  # five deviations


def test_inversion_comes_before_noise_and_after_everything_else():
    scene = Scene(size=SIZE, texture=0.3, blur=0.8, distractors=2, background_gradient=0.4)
    images = generate(scene, 30, seed=0).images
    inverted = generate(as_scene(scene, inverted=1.0), 30, seed=0).images
    # A blur is a weighted mean with weights that add up to 1: a dozen roundings of 2**-24.
    np.testing.assert_allclose(inverted, 1 - images, rtol=0, atol=12 * 2**-24)


def test_the_gradient_is_a_plane_from_one_corner_to_the_opposite():
    depth, (front, back) = 0.5, (0.9, 0.1)
    scene = Scene(size=SIZE, background_gradient=depth, foreground=front, background=back)
    images = render(EMPTY * 200, scene, seed=0)[..., 0].astype(np.float64)
    slack = 4 * 2**-24  # roundings of a sum of a row's and a column's part
    for axis in (1, 2):
        assert np.abs(np.diff(images, n=2, axis=axis)).max() <= 2 * slack
    low, high = images.min(axis=(1, 2)), images.max(axis=(1, 2))
    assert (low >= back - slack).all()
    assert (high <= back + depth * (front - back) + slack).all()
    # From middle to middle of opposite corner pixels, a plane misses half a pixel at each end:
    # at most 1/24 of the way, for a ramp along the shorter side.
    assert (high - low >= depth * (front - back) * (1 - 1 / min(SIZE)) - slack).all()
    # Directions are uniform on the circle: each quarter gets 50 of 200, within five deviations.
    down, right = images[:, -1, 0] > images[:, 0, 0], images[:, 0, -1] > images[:, 0, 0]
    counts = np.bincount(2 * down + right, minlength=4)
    assert (abs(counts - 50) < 5 * (200 * 3 / 16) ** 0.5).all()


def test_a_gradient_is_steepest_in_its_direction():
    angle = 2 * np.pi * Streams(7).open("gradient").random(1)[0]
    image = render(EMPTY, Scene(size=SIZE, background_gradient=0.4), seed=7)[0, ..., 0]
    rise = [float(np.diff(image.mean(axis=1 - axis)).mean()) * SIZE[axis] for axis in (0, 1)]
    norm = abs(np.sin(angle)) + abs(np.cos(angle))
    expected = [0.4 * np.sin(angle) / norm, 0.4 * np.cos(angle) / norm]
    # Means over 30 rows of differences of float32 numbers below 1, times 30.
    np.testing.assert_allclose(rise, expected, rtol=0, atol=30 * 2**-23)


def test_background_stripes_equal_a_slow_rewrite():
    depth, (front, back), n = 0.6, (0.2, 0.8), 5
    scene = Scene(size=SIZE, background_texture=depth, foreground=front, background=back)
    images = render(EMPTY * n, scene, seed=3)[..., 0]
    waves = Streams(3).open("background texture").random((n, 3))
    for image, (angle, pitch, phase) in zip(images, waves, strict=True):
        for y in range(0, SIZE[0], 5):
            for x in range(0, SIZE[1], 7):
                along = y * np.sin(np.pi * angle) + x * np.cos(np.pi * angle)
                wave = np.cos(2 * np.pi * (along / (4 + 12 * pitch) + phase))
                expected = back + (front - back) * depth * (1 + wave) / 2
                # Six float32 roundings of numbers up to 1.
                assert abs(image[y, x] - expected) <= 6 * 2**-24


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("decoration", ["background_gradient", "background_texture"])
def test_a_background_is_seen_around_the_shape_and_nowhere_on_it(shape, decoration):
    scene = Scene(size=SIZE, shapes=shape, **{decoration: 0.5})
    box = [3, 4, 20, 25]
    image, alone = (render([each], scene, seed=2)[0, ..., 0] for each in (box, EMPTY[0]))
    lit = np.zeros(SIZE, bool)
    lit[3:20, 4:25] = shape_mask(shape, 17, 21)
    assert (image[lit] == 1).all()
    np.testing.assert_array_equal(image[~lit], alone[~lit])


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_an_occluder_hides_its_share_but_no_edge_of_a_rectangle(share):
    batch = generate(Scene(size=SIZE, occlusion=share, background=0.25), 300, seed=0)
    for image, box in zip(batch.images[..., 0], batch.boxes, strict=True):
        top, left, bottom, right = box
        lit = np.argwhere(image == 1)
        assert [*lit.min(axis=0), *(lit.max(axis=0) + 1)] == box.tolist()
        hidden = np.argwhere(image[top:bottom, left:right] == np.float32(0.25))
        sides = [min(side - 1, round(side * share**0.5)) for side in (bottom - top, right - left)]
        assert len(hidden) == sides[0] * sides[1]
        if len(hidden):
            assert (np.ptp(hidden, axis=0) + 1 == sides).all()


def test_an_occluder_may_lie_anywhere_in_the_box():
    images = render([[2, 2, 6, 7]] * 400, Scene(size=(8, 9), occlusion=0.25), seed=0)[..., 0]
    corners = {tuple(np.argwhere(i[2:6, 2:7] == 0)[0].tolist()) for i in images}
    # Sides are round(4 / 2) and round(5 / 2) = 2: 3 x 4 places.
    assert corners == {(y, x) for y in range(3) for x in range(4)}


def test_amounts_are_drawn_per_image_in_their_range():
    scene = Scene(size=(40, 40), foreground=0.6, background=0.4, noise=(0.01, 0.05))
    spread = render(EMPTY * 200, scene, seed=0).std(axis=(1, 2, 3))
    # A deviation of 1600 normal draws is exact to 5 / sqrt(3200) = 9%.
    assert spread.min() > 0.01 * 0.91
    assert spread.max() < 0.05 * 1.09
    # 200 uniform draws all miss a given fifth of the range once in 2e19 times.
    assert spread.min() < 0.018 * 1.09
    assert spread.max() > 0.042 * 0.91


def test_numbers_of_distractors_are_drawn_per_image():
    few = Scene(size=(64, 64), distractors=(0, 2))
    images = render(EMPTY * 300, few, seed=0)[..., 0]
    most = render(EMPTY * 300, as_scene(few, distractors=2), seed=0)[..., 0]
    assert (images <= most).all()  # the same places, and some of them left empty
    empty = (images == 0).all(axis=(1, 2))
    assert abs(empty.mean() - 1 / 3) < 5 * (2 / 9 / 300) ** 0.5  # five deviations
    assert 0.2 < (images == most).all(axis=(1, 2)).mean() < 0.6


def test_a_range_of_blurs_blurs_each_image_by_its_own():
    scene = Scene(size=SIZE, blur=(0.5, 2.0))
    boxes = [[5, 6, 15, 20]] * 6
    images = render(boxes, scene, seed=1)
    for image, width in zip(images, Streams(1).open("blur width").uniform(0.5, 2, 6), strict=True):
        alone = render(boxes[:1], as_scene(scene, blur=width), seed=1)[0]
        np.testing.assert_array_equal(image, alone)


def test_the_shape_keeps_a_tenth_of_its_contrast():
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the whole text is compared
        Scene(texture=0.5, background_gradient=(0, 0.3), background_texture=0.2)
    assert str(caught.value) == (
        "`texture`, `background_gradient` and `background_texture` may add up to 0.9, or the "
        "shape could be invisible; got {'texture': 0.5, 'background_gradient': 0.3, "
        "'background_texture': 0.2}."
    )
    scene = Scene(size=SIZE, texture=0.5, background_gradient=0.2, background_texture=0.2)
    batch = generate(scene, 200, seed=0)
    backs = render(EMPTY * 200, scene, seed=0)
    for image, back, (top, left, bottom, right) in zip(
        batch.images, backs, batch.boxes, strict=True
    ):
        contrast = (image - back)[top:bottom, left:right]
        assert contrast.min() >= 0.1 - 6 * 2**-24


@pytest.mark.parametrize(
    ("fields", "error", "text"),
    [
        (
            {"occlusion": 0.95},
            ValueError,
            "`occlusion` must be a finite number between 0 and 0.9; got 0.95.",
        ),
        (
            {"noise": (0.2, 0.1)},
            ValueError,
            "`noise[1]` must be a finite number >= 0.2; got 0.1.",
        ),
        (
            {"blur": (1, 2, 3)},
            TypeError,
            "`blur` must be a number or a range (low, high); got (1, 2, 3).",
        ),
        (
            {"distractors": (1, 0)},
            ValueError,
            "`distractors[1]` must be a whole number >= 1; got 0.",
        ),
        (
            {"inverted": 2},
            ValueError,
            "`inverted` must be a finite number between 0 and 1; got 2.",
        ),
    ],
)
def test_errors(fields, error, text):
    with pytest.raises(error) as caught:
        Scene(**fields)
    assert str(caught.value) == text


def test_the_augmented_scene_shows_both_polarities():
    images = generate(SCENES["augmented"], 100, seed=0).images
    bright = np.median(images, axis=(1, 2, 3)) > 0.5
    assert 25 < bright.sum() < 75  # five deviations of 100 fair coins
