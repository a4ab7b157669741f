"""Cross-talk against pixel loops, by hand, and its intervals against their own law."""

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import whitebox_loc as wb
from whitebox_loc.evaluation.crosstalk import CrossTalk, cross_talk
from whitebox_loc.evaluation.truth import evidence_mask

EDGES = ("top", "left", "bottom", "right")
SIZE = (8, 10)


def boxes_and_maps(n, seed):
    generator = np.random.default_rng(seed)
    boxes = wb.data.generate(wb.data.Scene(size=SIZE), n, seed=seed).boxes
    return boxes, generator.normal(size=(4, n, *SIZE)) ** 3


def slow_shares(maps, boxes, **options):
    n = len(boxes)
    shares = np.full((n, 4, 5), np.nan)
    masks = [evidence_mask(boxes, SIZE, edge, **options) for edge in EDGES]
    for i, b in np.ndindex(4, n):
        total = sum(abs(float(v)) for v in maps[i, b].ravel())
        if total == 0 or not any(m[b].any() for m in masks):
            continue
        shares[b, i] = 0
        for y, x in np.ndindex(SIZE):
            holders = [j for j in range(4) if masks[j][b, y, x]]
            for j in holders or [4]:
                shares[b, i, j] += abs(float(maps[i, b, y, x])) / total / max(len(holders), 1)
    return shares


@pytest.mark.parametrize("options", [{}, {"thickness": 2}, {"shape": "ring"}])
def test_shares_against_a_loop_over_pixels(options):
    boxes, maps = boxes_and_maps(6, 0)
    boxes = np.concatenate([boxes, [[3, 4, 3, 8], [5, 5, 6, 6]]])
    maps = np.concatenate([maps, maps[:, :2]], axis=1)
    maps[1, 2] = 0
    found = cross_talk(maps, boxes, **options)
    expected = slow_shares(maps, boxes, **options)
    np.testing.assert_allclose(found.shares, expected[..., :4], rtol=0, atol=1e-12)
    mean = np.nanmean(expected, axis=0)
    np.testing.assert_allclose(found, mean[:, :4], rtol=0, atol=1e-12)
    np.testing.assert_allclose(found.elsewhere, mean[:, 4], rtol=0, atol=1e-12)
    assert found.used.tolist() == [7, 6, 7, 7]
    assert (found.low <= found.matrix).all()
    assert (found.matrix <= found.high).all()


def test_a_map_even_along_its_own_edge():
    # 5 x 7 pixels: both sides of top are 7 pixels, two of the inner ones half of another edge.
    box = [[2, 1, 7, 8]]
    maps = np.stack([evidence_mask(box, SIZE, edge) * -0.3 for edge in EDGES])
    found = cross_talk(maps, box)
    expected = np.diag([13 / 14, 9 / 10, 13 / 14, 9 / 10])
    for i, j in ((0, 1), (0, 3), (2, 1), (2, 3)):
        expected[i, j], expected[j, i] = 1 / 28, 1 / 20
    np.testing.assert_allclose(found.matrix, expected, rtol=0, atol=1e-12)
    np.testing.assert_allclose(found.elsewhere, 0, atol=1e-12)


@pytest.mark.parametrize(("width", "share"), [(1, 2 / 3), (2, 3 / 4), (3, 5 / 6), (6, 11 / 12)])
def test_what_an_even_map_keeps_of_a_narrow_box(width, share):
    box = [[2, 2, 5, 2 + width]]
    maps = np.stack([evidence_mask(box, SIZE, edge) * 1.0 for edge in EDGES])
    found = cross_talk(maps, box)
    assert found[0, 0] == pytest.approx(share)
    assert (found[0, 0] == pytest.approx(1 - 1 / (2 * width))) == (width >= 2)


def test_a_map_on_the_wrong_edge_and_one_on_none():
    box = np.array([[2, 2, 7, 8]])
    maps = np.zeros((4, 1, *SIZE))
    maps[0, 0, 3:6, 8] = [1, -2, 3]
    maps[1, 0, 4, 4] = 5
    maps[2, 0, 7, 3], maps[2, 0, 0, 0] = -1, 3
    found = cross_talk(maps, box)
    expected = [[0, 0, 0, 1], [0, 0, 0, 0], [0, 0, 0.25, 0], [np.nan] * 4]
    np.testing.assert_allclose(found.matrix, expected, rtol=0, atol=1e-12)
    np.testing.assert_allclose(found.elsewhere, [0, 1, 0.75, np.nan], rtol=0, atol=1e-12)
    # One image says nothing about others.
    assert np.isnan(found.low).all()


@given(seed=st.integers(0, 50), scale=st.floats(1e-3, 1e3))
def test_rows_add_up_and_neither_sign_nor_scale_matter(seed, scale):
    boxes, maps = boxes_and_maps(3, seed)
    found = cross_talk(maps, boxes, resamples=10)
    np.testing.assert_allclose(found.matrix.sum(1) + found.elsewhere, 1, rtol=0, atol=1e-12)
    signs = np.random.default_rng(seed).choice([-1, 1], size=maps.shape)
    again = cross_talk(maps * signs * scale, boxes, resamples=10)
    np.testing.assert_allclose(again.matrix, found.matrix, rtol=0, atol=1e-12)


def test_it_is_an_array_of_4_by_4():
    boxes, maps = boxes_and_maps(20, 1)
    found = cross_talk(maps.astype("float32"), boxes)
    assert isinstance(found, CrossTalk)
    assert np.asarray(found).shape == found.shape == (4, 4)
    assert np.asarray(found, "float32").dtype == np.float32
    assert found[1, 2] == found.matrix[1, 2] == np.asarray(found)[1, 2]
    np.testing.assert_array_equal(np.asarray(found) + 1, found.matrix + 1)


def test_many_images_are_taken_in_parts():
    boxes, maps = boxes_and_maps(300, 2)
    shapes = ["ring", "cross", "rectangle"] * 100
    found = cross_talk(maps, boxes, shape=shapes, resamples=20)
    for n in (0, 1, 255, 256, 299):
        alone = cross_talk(maps[:, n : n + 1], boxes[n : n + 1], shape=shapes[n])
        np.testing.assert_allclose(found.shares[n], alone.matrix, rtol=0, atol=1e-12)


def test_intervals_are_those_of_the_images():
    boxes, maps = boxes_and_maps(60, 3)
    found = cross_talk(maps, boxes, resamples=4000)
    # A percentile interval of 60 images is the normal one to about a tenth.
    error = found.shares.std(axis=0, ddof=1) / 60**0.5
    width = found.high - found.low
    np.testing.assert_allclose(width, 2 * 1.96 * error, rtol=0.15)
    narrow = cross_talk(maps, boxes, resamples=4000, confidence=0.5)
    assert (narrow.high - narrow.low < width).all()
    assert narrow.confidence == 0.5
    same = cross_talk(maps, boxes, resamples=4000)
    other = cross_talk(maps, boxes, resamples=4000, seed=1)
    assert same.low.tobytes() == found.low.tobytes()
    assert other.low.tobytes() != found.low.tobytes()


def test_no_images():
    found = cross_talk(np.zeros((4, 0, *SIZE)), np.zeros((0, 4)))
    assert np.isnan(found.matrix).all()
    assert found.used.tolist() == [0, 0, 0, 0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"maps": np.zeros((2, *SIZE))},
            "`maps` must have shape (4, n, height, width), the maps of top, left, bottom and "
            "right; got (2, 8, 10).",
        ),
        (
            {"boxes": [[1, 1, 4, 4]]},
            "`boxes` must have shape (2, 4), one box for each of the `maps`; got (1, 4).",
        ),
        ({"boxes": [[1, 1, 4, 4], [0, 0, 9, 4]]}, "`boxes` must lie inside the image of 8 x 10"),
        (
            {"maps": np.full((4, 2, *SIZE), np.nan)},
            "`maps` must be finite; got nan at index (0, 0, 0, 0), 640 such of 640 in all.",
        ),
        ({"shape": ["ring"]}, "`shape` must be one name, or one for each of the 2 boxes; got 1."),
        ({"confidence": 2}, "`confidence` must be a finite number between 0 and 1; got 2."),
        ({"resamples": 0}, "`resamples` must be a whole number between 1 and 10000000; got 0."),
    ],
)
def test_bad_arguments(change, message):
    arguments = {"maps": np.ones((4, 2, *SIZE)), "boxes": [[1, 1, 4, 4]] * 2, **change}
    with pytest.raises(ValueError, match=re.escape(message)):
        cross_talk(**arguments)
