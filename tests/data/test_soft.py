"""Soft rendering: covered area, and its exact gradient, whole pixels included."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from whitebox_loc.data import Scene, render, render_soft

SIZE = (5, 6)


def all_boxes(size: tuple[int, int]) -> np.ndarray:
    """List every box with whole corners in the image, empty ones included."""
    rows = itertools.combinations_with_replacement(range(size[0] + 1), 2)
    columns = list(itertools.combinations_with_replacement(range(size[1] + 1), 2))
    return np.array([(t, x, b, y) for t, b in rows for x, y in columns])


@tf.function(input_signature=[tf.TensorSpec((None, 4), tf.float64)])
def _jacobian(boxes: tf.Tensor) -> tf.Tensor:
    with tf.GradientTape() as tape:
        tape.watch(boxes)
        images = render_soft(boxes, SIZE)[..., 0]
    return tape.batch_jacobian(images, boxes)


def jacobian(boxes: np.ndarray) -> np.ndarray:
    """Return d image / d box, shape (n, height, width, 4)."""
    return _jacobian(boxes.astype(np.float64)).numpy()


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int32])
def test_equals_hard_rendering_on_whole_pixels(dtype):
    boxes = all_boxes(SIZE)
    images = render_soft(boxes.astype(dtype), SIZE)
    assert images.dtype == (tf.float64 if dtype == np.float64 else tf.float32)
    np.testing.assert_array_equal(images, render(boxes, Scene(size=SIZE)))


corner = st.floats(-2, 8, width=64)


def slow_area(box: tuple[float, ...]) -> np.ndarray:
    top, left, bottom, right = box
    image = np.zeros(SIZE)
    for y in range(SIZE[0]):
        for x in range(SIZE[1]):
            height = min(bottom, y + 1) - max(top, y)
            width = min(right, x + 1) - max(left, x)
            image[y, x] = max(height, 0) * max(width, 0)
    return image


@settings(deadline=None)
@given(st.tuples(corner, corner, corner, corner))
def test_brightness_is_the_covered_area(box):
    image = render_soft(tf.constant([box], tf.float64), SIZE)[0, :, :, 0]
    # Each covered part is a difference of two numbers below 16, each rounded by
    # at most 2**-50: 2**-49 a side here and less in the rewrite, two sides.
    np.testing.assert_allclose(image, slow_area(box), rtol=0, atol=4 * 2**-49)


fraction = st.floats(0.01, 0.99)


@settings(deadline=None, max_examples=30)
@given(
    st.tuples(st.integers(-1, 5), st.integers(-1, 6), st.integers(-1, 5), st.integers(-1, 6)),
    st.tuples(fraction, fraction, fraction, fraction),
)
def test_gradient_equals_finite_differences_between_pixels(whole, part):
    # Between whole pixels the area is linear in each edge, so a central
    # difference is exact but for rounding: 4 * 2**-49 (above) over the step.
    step = 2.0**-10
    box = np.add(whole, part)
    if min(abs(box[2] - box[0]), abs(box[3] - box[1])) < 2 * step:
        return  # the jump between a box and an empty one lies within the step
    moved = box + step * np.concatenate([np.eye(4), -np.eye(4)])
    images = render_soft(moved, SIZE).numpy()[..., 0]
    expected = np.moveaxis((images[:4] - images[4:]) / (2 * step), 0, -1)
    np.testing.assert_allclose(jacobian(box[None])[0], expected, rtol=0, atol=4 * 2**-49 / step)


def test_gradient_on_whole_pixels_is_the_inner_row_or_column():
    boxes = all_boxes(SIZE)
    expected = np.zeros((len(boxes), *SIZE, 4))
    for i, (top, left, bottom, right) in enumerate(boxes):
        if top < bottom and left < right:
            expected[i, top, left:right, 0] = -1
            expected[i, top:bottom, left, 1] = -1
            expected[i, bottom - 1, left:right, 2] = 1
            expected[i, top:bottom, right - 1, 3] = 1
    np.testing.assert_array_equal(jacobian(boxes), expected)


def test_derivative_of_the_area_is_the_length_of_the_edge():
    boxes = all_boxes(SIZE)
    height, width = boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]
    area = jacobian(boxes).sum(axis=(1, 2))
    lengths = np.stack([-width, -height, width, height], axis=1)
    filled = (height > 0) & (width > 0)
    np.testing.assert_array_equal(area, np.where(filled[:, None], lengths, 0))


@pytest.mark.parametrize(
    "box",
    [
        (2, 2, 2, 4),
        (2.5, 1, 2.5, 3),
        (4, 1, 2, 3),
        (1.2, 4.5, 3, 3.5),
        (-3, 0, -1, 2),
        (0, 7, 5, 9),
    ],
)
def test_empty_swapped_and_outer_boxes_are_dark_and_flat(box):
    assert not render_soft([box], SIZE).numpy().any()
    gradient = jacobian(np.array([box]))
    assert np.isfinite(gradient).all()
    assert not gradient.any()


def test_edges_outside_the_image_have_no_gradient():
    gradient = jacobian(np.array([[-1.0, 1.0, 9.0, 3.0]]))[0]
    assert not gradient[..., [0, 2]].any()
    np.testing.assert_array_equal(gradient[..., 1].sum(), -5)


def test_works_in_a_graph_with_unknown_batch():
    drawn = tf.function(lambda boxes: render_soft(boxes, SIZE)).get_concrete_function(
        tf.TensorSpec((None, 4), tf.float32)
    )
    assert drawn.output_shapes == (None, *SIZE, 1)
    assert drawn(tf.constant([[0.0, 0.0, 1.0, 1.0]])).numpy().sum() == 1
    assert render_soft(np.empty((0, 4)), SIZE).shape == (0, *SIZE, 1)


def test_not_a_number_stays_visible():
    assert np.isnan(render_soft(tf.constant([[np.nan, 0.0, 2.0, 2.0]]), SIZE).numpy()).any()


def test_errors():
    with pytest.raises(ValueError, match=r"^`boxes` must have shape \(n, 4\); got shape \(4,\)\.$"):
        render_soft([0.0, 0.0, 1.0, 1.0], SIZE)
    with pytest.raises(TypeError, match=r"^`boxes` must hold numbers; got an array of dtype <U1"):
        render_soft([["a", "b", "c", "d"]], SIZE)
    with pytest.raises(
        TypeError, match=r"^`boxes` must hold numbers; got a tensor of dtype string\.$"
    ):
        render_soft(tf.constant([["a", "b", "c", "d"]]), SIZE)
    with pytest.raises(ValueError, match=r"^`boxes` must be finite; box \(0,\) is \[nan,"):
        render_soft([[np.nan, 0.0, 2.0, 2.0]], SIZE)
    with pytest.raises(ValueError, match=r"^`size` \(1000000000, 1000000000\) asks for 8,000,000"):
        render_soft([[0.0, 0.0, 1.0, 1.0]], (10**9, 10**9))
    with pytest.raises(ValueError, match=r"^`size\[1\]` must be a whole number >= 1; got 0\.$"):
        render_soft([[0.0, 0.0, 1.0, 1.0]], (4, 0))
