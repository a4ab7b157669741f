"""Evidence against brute force over all changes of a small canvas, and by hand."""

import re
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from whitebox_loc import testing
from whitebox_loc.data import SHAPES, shape_mask
from whitebox_loc.evaluation.truth import evidence_mask

EDGES = ("top", "left", "bottom", "right")


def extreme_rows(images, top, bottom):
    """First lit row and the one behind the last, (s,) each; an emptied box has no height left."""
    rows = images.any(axis=2)
    lit = rows.any(axis=1)
    first = np.where(lit, rows.argmax(1), bottom)
    last = np.where(lit, rows.shape[1] - rows[:, ::-1].argmax(1), top)
    return first, last


def brute_force(image, box, edge, thickness):
    """Pixels in minimal sets that, lit or darkened, move the edge by 1 .. thickness pixels.

    Every subset of the pixels in the columns (rows) of the box is flipped. One that lights some
    and darkens others draws another box elsewhere: it does not count.
    """
    if edge in ("left", "right"):
        turned = {"left": "top", "right": "bottom"}[edge]
        return brute_force(image.T, np.array(box)[[1, 0, 3, 2]], turned, thickness).T
    top, left, bottom, right = box
    places = [(y, x) for y in range(image.shape[0]) for x in range(left, right)]
    subsets = np.arange(2 ** len(places))
    images = np.repeat(image[None], len(subsets), axis=0)
    lights, darkens = np.zeros((2, len(subsets)), bool)
    for bit, (y, x) in enumerate(places):
        chosen = subsets >> bit & 1 == 1
        images[:, y, x] ^= chosen
        darkens |= chosen & image[y, x]
        lights |= chosen & ~image[y, x]
    first, last = extreme_rows(images, top, bottom)
    moved = first - top if edge == "top" else last - bottom
    found = np.zeros(image.shape, bool)
    for distance in range(-thickness, thickness + 1):
        if distance == 0:
            continue
        does = (moved == distance) & ~(lights & darkens)
        # Whether a proper subset does the same, by dynamic programming over pixels.
        holds = does.copy()
        for bit in range(len(places)):
            has = subsets >> bit & 1 == 1
            holds[has] |= holds[subsets[has] ^ (1 << bit)]
        smaller = np.zeros(len(subsets), bool)
        for bit in range(len(places)):
            has = subsets >> bit & 1 == 1
            smaller[has] |= holds[subsets[has] ^ (1 << bit)]
        minimal = does & ~smaller
        for bit, place in enumerate(places):
            found[place] |= bool((minimal & (subsets >> bit & 1 == 1)).any())
    return found


def drawn(shape, box, size):
    image = np.zeros(size, bool)
    top, left, bottom, right = box
    image[top:bottom, left:right] = shape_mask(shape, bottom - top, right - left)
    return image


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("thickness", [1, 2])
def test_evidence_is_what_minimal_changes_are_made_of(shape, thickness):
    # Boxes at a border, inside, of one row and of one column; 12 pixels in the extent at most.
    size = (4, 4)
    for box in ([0, 0, 3, 3], [1, 1, 4, 4], [1, 1, 3, 4], [2, 0, 3, 3], [1, 2, 4, 3], [1, 1, 2, 2]):
        image = drawn(shape, box, size)
        for edge in EDGES:
            found = evidence_mask([box], size, edge, shape=shape, thickness=thickness)[0]
            np.testing.assert_array_equal(
                found, brute_force(image, box, edge, thickness), f"{box} {edge}"
            )


@pytest.mark.parametrize("shape", ["ellipse", "ring", "diamond", "triangle", "cross"])
def test_evidence_of_larger_shapes(shape):
    # 3 x 5 pixels in the extent of left and right: 2 ** 15 sets each.
    box, size = [0, 1, 3, 5], (3, 5)
    image = drawn(shape, box, size)
    for edge in ("left", "right"):
        found = evidence_mask([box], size, edge, shape=shape)[0]
        np.testing.assert_array_equal(found, brute_force(image, box, edge, 1), edge)
    assert not np.array_equal(
        evidence_mask([box], size, "left", shape=shape), evidence_mask([box], size, "left")
    )


@pytest.mark.parametrize(
    ("coordinate", "edges"),
    [
        ("height", ("top", "bottom")),
        ("width", ("left", "right")),
        ("center_y", ("top", "bottom")),
        ("center_x", ("left", "right")),
        ("area", EDGES),
    ],
)
def test_derived_coordinates_have_the_evidence_of_their_edges(coordinate, edges):
    boxes = [[2, 3, 6, 8], [0, 0, 7, 9]]
    parts = [evidence_mask(boxes, (7, 9), edge) for edge in edges]
    found = evidence_mask(boxes, (7, 9), coordinate)
    np.testing.assert_array_equal(found, np.any(parts, axis=0))
    assert all((found[0] != part[0]).any() for part in parts)


@given(
    boxes=testing.boxes(size=(8, 11), n=1, empty=True),
    shape=st.sampled_from(list(SHAPES)),
    thickness=st.integers(1, 3),
)
def test_mirrored_boxes_have_mirrored_evidence(boxes, shape, thickness):
    box = top, left, bottom, right = boxes[0].tolist()
    size, options = (8, 11), {"thickness": thickness}
    if shape != "triangle":
        turned = [8 - bottom, 11 - right, 8 - top, 11 - left]
        for edge, other in (("top", "bottom"), ("left", "right")):
            found = evidence_mask([box], size, edge, shape=shape, **options)[0]
            again = evidence_mask([turned], size, other, shape=shape, **options)[0]
            np.testing.assert_array_equal(found, again[::-1, ::-1])
    # The mask grows with the thickness, and is empty for an empty box.
    masks = [evidence_mask([box], size, "area", shape=shape, thickness=t) for t in (1, 2, 3, 9)]
    assert all((a <= b).all() for a, b in pairwise(masks))
    assert masks[0].any() == (top < bottom and left < right)


def test_shapes_and_boxes_go_together():
    boxes = [[1, 1, 6, 6], [0, 2, 5, 7], [3, 3, 3, 6], [2, 0, 8, 6]]
    shapes = ["ring", "triangle", "cross", "ring"]
    found = evidence_mask(boxes, (8, 8), "bottom", shape=shapes)
    for i, shape in enumerate(shapes):
        alone = evidence_mask([boxes[i]], (8, 8), "bottom", shape=shape)
        np.testing.assert_array_equal(found[i], alone[0])
    assert found.any(axis=(1, 2)).tolist() == [True, True, False, True]
    assert evidence_mask(np.empty((0, 4)), (8, 8), shape=[]).shape == (0, 8, 8)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"coordinate": "depth"}, "`coordinate` must be one of ['top', 'left', 'bottom', 'right',"),
        ({"shape": "circle"}, "`shape` must be one of ['rectangle', 'ellipse',"),
        (
            {"shape": ["ring", "ring"]},
            "`shape` must be one name, or one for each of the 1 boxes; got 2.",
        ),
        ({"thickness": 0}, "`thickness` must be a whole number >= 1; got 0."),
        ({"boxes": [[0, 0, 9, 3]]}, "`boxes` must lie inside the image of 8 x 8 pixels; box 0"),
        ({"boxes": [[0.5, 0, 4, 3]]}, "`boxes` must lie on whole pixels;"),
        ({"boxes": [0, 0, 4, 3]}, "`boxes` must have shape (n, 4); got shape (4,)."),
    ],
)
def test_bad_values(change, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        evidence_mask(**{"boxes": [[1, 1, 4, 4]], "size": (8, 8), **change})


def test_a_shape_is_a_name():
    with pytest.raises(TypeError, match=r"`shape` must be one of .*; got None\."):
        evidence_mask([[1, 1, 4, 4]], (8, 8), shape=None)
