"""What compiled models use, against an exhaustive search over all images of a tiny canvas."""

import numpy as np
import pytest

import whitebox_loc as wb

# Where the record says 0, any change counts; float32 answers of a tiny canvas are off by 1e-6
# pixels, and the smallest weight other than 0 on these canvases is 0.01 (asserted below).
ROUNDING = 1e-4


def all_images(size):
    """Every image of dark and lit pixels, (2^k, height, width, 1); bit i of a number is pixel i."""
    pixels = size[0] * size[1]
    bits = (np.arange(2**pixels)[:, None] >> np.arange(pixels)) & 1
    return bits.reshape(-1, *size, 1).astype("float32")


def number_of(images):
    flat = images.reshape(len(images), -1) > 0
    return (flat * (1 << np.arange(flat.shape[1]))).sum(1)


def boxes_of(size):
    height, width = size
    boxes = [
        (top, left, bottom, right)
        for top in range(height)
        for bottom in range(top + 1, height + 1)
        for left in range(width)
        for right in range(left + 1, width + 1)
    ]
    return wb.data.render(np.array(boxes), wb.data.Scene(size=size))


def used_by_search(answers, pixels, image, tolerance):
    """Members of minimal sets of pixels whose change changes an answer, (4, pixels)."""
    sets = np.arange(2**pixels)
    member = ((sets[:, None] >> np.arange(pixels)) & 1).astype(bool)
    changes = np.abs(answers[sets ^ image] - answers[image]) > tolerance
    # anywhere[s]: whether s or any subset of it changes the answer; one pixel at a time.
    anywhere = changes.copy()
    for pixel in range(pixels):
        with_it = sets[member[:, pixel]]
        anywhere[with_it] |= anywhere[with_it ^ (1 << pixel)]
    smaller = np.zeros_like(changes)
    for pixel in range(pixels):
        with_it = sets[member[:, pixel]]
        smaller[with_it] |= anywhere[with_it ^ (1 << pixel)]
    minimal = changes & ~smaller
    return np.array([[minimal[member[:, p], i].any() for p in range(pixels)] for i in range(4)])


def test_the_search_on_a_function_known_by_hand():
    # f = (a and b) or c at a = b = 1, c = 0: darkening a, or b, changes it. Lighting c does
    # not, but keeps f from changing, so c is in no minimal set.
    a, b, c = all_images((1, 3))[:, 0, :, 0].T
    answers = np.repeat((np.maximum(a * b, c))[:, None], 4, axis=1)
    assert used_by_search(answers, 3, 0b011, 0.5).tolist() == [[True, True, False]] * 4
    # At 1, 1, 1 only {a, c} and {b, c} change it.
    assert used_by_search(answers, 3, 0b111, 0.5).tolist() == [[True, True, True]] * 4


@pytest.mark.parametrize("size", [(3, 3), (3, 4), (1, 3)], ids=str)
@pytest.mark.parametrize("name", wb.models.COMPILED)
def test_used_pixels_are_those_of_an_exhaustive_search(name, size):
    row = wb.models.COMPILED[name]
    model = wb.models.compiled(name, size)
    every = all_images(size)
    answers = model(every).numpy() * [size[0], size[1], size[0], size[1]]
    pixels = size[0] * size[1]
    nothing = np.zeros((1, *size, 1), "float32")
    # All images where the derivation covers them; 4096 are left to the boxes.
    covered = row.images == "any" and pixels < 12
    images = every if covered else np.concatenate([nothing, boxes_of(size)])
    found = wb.models.mechanism(model).used(images).reshape(4, len(images), pixels)
    for index, image in enumerate(number_of(images)):
        expected = used_by_search(answers, pixels, image, row.tolerance or ROUNDING)
        np.testing.assert_array_equal(found[:, index], expected, err_msg=f"{images[index, ..., 0]}")


@pytest.mark.parametrize("size", [(3, 3), (3, 4), (1, 3)], ids=str)
def test_weights_are_zero_or_well_above_rounding(size):
    model = wb.models.compiled("dense_linear", size)
    weights = np.abs(model.get_layer("corners").get_weights()[0])
    assert set(np.unique(weights > 0.01)) <= set(np.unique(weights > 0))
    assert weights[weights > 0].min() > 0.01


def test_used_refuses_images_that_it_is_not_derived_for():
    truth = wb.models.mechanism(wb.models.compiled("wrong_edge", (4, 4)))
    images = np.zeros((2, 4, 4, 1), "float32")
    images[1, 0, 0] = images[1, 2, 2] = 1
    with pytest.raises(ValueError, match=r"one full rectangle or nothing.*image 1 is not such"):
        truth.used(images)
    images[1, 2, 2] = 0.5
    with pytest.raises(ValueError, match="must be plain, each pixel 0 or 1"):
        truth.used(images)
    with pytest.raises(ValueError, match=r"must have shape \(n, 4, 4, 1\)"):
        truth.used(np.zeros((1, 4, 5, 1), "float32"))
    three = wb.models.mechanism(wb.models.compiled("integrator", (4, 4), channels=3))
    colour = np.zeros((1, 4, 4, 3), "float32")
    colour[0, 1, 1, 0] = 1
    with pytest.raises(ValueError, match="in all channels"):
        three.used(colour)


def test_used_of_uint8_and_three_channels_is_that_of_floats_and_one():
    scene = wb.data.Scene(size=(6, 7), channels=3)
    images = wb.data.render([[1, 2, 4, 5]], scene)
    for name in ("integrator", "edge_filter", "constant"):
        truth = wb.models.mechanism(wb.models.compiled(name, (6, 7), channels=3))
        grey = wb.models.mechanism(wb.models.compiled(name, (6, 7)))
        expected = grey.used(images[..., :1])
        np.testing.assert_array_equal(truth.used(images), expected)
        np.testing.assert_array_equal(truth.used((images * 255).astype("uint8")), expected)
