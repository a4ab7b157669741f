"""Shapes are tight in their box, and are the shapes their names say."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from whitebox_loc.data import SHAPES, Scene, render, shape_mask

SIDES = range(1, 15)


@pytest.mark.parametrize("shape", SHAPES)
def test_lit_pixels_fill_the_box_for_every_size(shape):
    for height in SIDES:
        for width in SIDES:
            mask = shape_mask(shape, height, width)
            rows, columns = mask.any(axis=1), mask.any(axis=0)
            assert mask.shape == (height, width)
            # The triangle has a lit pixel in every row and column too: none has gaps.
            assert rows.all(), (height, width)
            assert columns.all(), (height, width)


@pytest.mark.parametrize("shape", SHAPES)
def test_rendered_bounding_box_is_the_true_box(shape):
    size = (7, 6)
    scene = Scene(size=size, shapes=shape)
    boxes = [
        (top, left, bottom, right)
        for bottom in range(1, 8)
        for top in range(bottom)
        for right in range(1, 7)
        for left in range(right)
    ]
    for box, image in zip(boxes, render(boxes, scene), strict=True):
        rows, columns = np.nonzero(image[:, :, 0])
        assert (rows.min(), columns.min(), rows.max() + 1, columns.max() + 1) == box


@pytest.mark.parametrize("shape", sorted(set(SHAPES) - {"triangle"}))
def test_shapes_are_symmetric(shape):
    for height, width in [(1, 1), (4, 9), (9, 4), (8, 8), (7, 13)]:
        mask = shape_mask(shape, height, width)
        np.testing.assert_array_equal(mask, mask[::-1])
        np.testing.assert_array_equal(mask, mask[:, ::-1])
        np.testing.assert_array_equal(mask, shape_mask(shape, width, height).T)


def test_triangle_points_up_and_widens():
    for height, width in [(1, 1), (5, 9), (9, 4), (12, 12)]:
        mask = shape_mask("triangle", height, width)
        np.testing.assert_array_equal(mask, mask[:, ::-1])
        assert (np.diff(mask.sum(axis=1)) >= 0).all()
        assert mask[0].sum() <= max(2, -(-width // height))
        assert mask[-1].all()


def slow_mask(shape: str, height: int, width: int) -> np.ndarray:
    """Rewrite each shape pixel by pixel in exact fractions of the half sides."""
    mask = np.zeros((height, width), bool)
    for i in range(height):
        for j in range(width):
            y = Fraction(2 * i + 1, height) - 1  # pixel centre, -1..1 over the box
            x = Fraction(2 * j + 1, width) - 1
            on_middle_row = i in (height // 2, (height - 1) // 2)
            on_middle_column = j in (width // 2, (width - 1) // 2)
            middle = on_middle_row or on_middle_column
            disc = y * y + x * x <= 1 or middle
            on_border = i in (0, height - 1) or j in (0, width - 1)
            mask[i, j] = {
                "rectangle": True,
                "ellipse": disc,
                "triangle": abs(x) <= Fraction(i + 1, height) or on_middle_column,
                "diamond": abs(y) + abs(x) <= 1 or middle,
                "cross": abs(y) < Fraction(1, 3) or abs(x) < Fraction(1, 3) or middle,
                "ring": disc and (on_border or y * y + x * x >= Fraction(1, 4)),
            }[shape]
    return mask


@pytest.mark.parametrize("shape", SHAPES)
def test_shapes_equal_a_slow_rewrite(shape):
    for height, width in [(1, 1), (1, 6), (2, 9), (3, 3), (8, 8), (11, 7), (6, 14)]:
        np.testing.assert_array_equal(
            shape_mask(shape, height, width), slow_mask(shape, height, width)
        )


def test_ring_has_a_hole_from_three_pixels_on():
    assert not shape_mask("ring", 3, 3)[1, 1]
    assert shape_mask("ring", 2, 5).all(axis=0).any()


def test_errors():
    with pytest.raises(
        ValueError, match=r"^`shape` must be one of \['rectangle', .*; got 'rign'\."
    ):
        shape_mask("rign", 3, 3)
    with pytest.raises(TypeError, match=r"^`height` must be a whole number >= 1; got 1\.5 of type"):
        shape_mask("ring", 1.5, 3)
    with pytest.raises(ValueError, match=r"^`width` 10{12} asks for 96,000 GB of pixels; at most"):
        shape_mask("ring", 3, 10**12)
