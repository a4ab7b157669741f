"""Values of the four measures: by hand, against a slow rewrite, and by their laws."""

import math

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from whitebox_loc import testing
from whitebox_loc.boxes import FORMATS, ciou, convert, diou, giou, iou

MEASURES = {"iou": iou, "giou": giou, "diou": diou, "ciou": ciou}
EPS = np.finfo(np.float64).eps
each_measure = pytest.mark.parametrize("measure", MEASURES.values(), ids=MEASURES)


def edges(numbers):
    return st.tuples(numbers, numbers).map(sorted)


def boxes_of(numbers):
    """Ordered yxyx boxes, empty ones included, in arrays of shape (n, 4)."""
    box = st.tuples(edges(numbers), edges(numbers)).map(
        lambda rc: (rc[0][0], rc[1][0], rc[0][1], rc[1][1])
    )
    return st.lists(box, min_size=1, max_size=4).map(lambda boxes: np.array(boxes, dtype=float))


def pairs_of(box):
    return st.tuples(box, box).map(lambda ab: tuple(x[: min(map(len, ab))] for x in ab))


# Multiples of 1/8 below 128: differences, areas and squared lengths (below 2**16, in
# units of 2**-8 at finest) are exact in float64, so the laws hold to the last bit.
grid = st.integers(-1024, 1024).map(lambda i: i / 8)
grid_boxes = testing.boxes(size=(256, 256), parts=8, empty=True).map(lambda found: found - 128)
pixel_boxes = testing.boxes(size=(12, 12), empty=True)
real_boxes = boxes_of(st.floats(-1e4, 1e4))


def slow(kind, a, b):
    """One measure of one pair in plain Python, written from the papers' definitions."""
    (ta, la, ba, ra), (tb, lb, bb, rb) = a, b
    shared = max(min(ba, bb) - max(ta, tb), 0) * max(min(ra, rb) - max(la, lb), 0)
    area_a, area_b = (ba - ta) * (ra - la), (bb - tb) * (rb - lb)
    union = area_a + area_b - shared
    overlap = shared / union if union else 0.0
    rows, columns = max(ba, bb) - min(ta, tb), max(ra, rb) - min(la, lb)
    if kind == "iou":
        return overlap
    if kind == "giou":
        return overlap - ((rows * columns - union) / (rows * columns) if rows * columns else 0)
    far = ((ta + ba - tb - bb) / 2) ** 2 + ((la + ra - lb - rb) / 2) ** 2
    distance = far / (rows**2 + columns**2) if rows or columns else 0.0
    if kind == "diou":
        return overlap - distance
    angle_a = math.atan2(ra - la, ba - ta) if (ra - la or ba - ta) else math.pi / 4
    angle_b = math.atan2(rb - lb, bb - tb) if (rb - lb or bb - tb) else math.pi / 4
    v = 4 / math.pi**2 * (angle_a - angle_b) ** 2
    return overlap - distance - (v * v / (1 - overlap + v) if v else 0.0)


def test_values_by_hand():
    a = [0, 0, 2, 4]
    b = [1, 2, 3, 6]
    # Shared 1 x 2 = 2, areas 8 and 8, union 14; hull 3 x 6 = 18. Centres (1, 2), (2, 4):
    # squared distance 5, squared diagonal 9 + 36 = 45. Same shape: v = 0.
    assert iou(a, b) == 2 / 14
    assert giou(a, b) == 2 / 14 - 4 / 18
    assert diou(a, b) == 2 / 14 - 5 / 45
    assert ciou(a, b) == 2 / 14 - 5 / 45
    # Width over height 1 and sqrt(3): angles 45 and 60 degrees, pi / 12 apart, so
    # v = 4 / 144 = 1 / 36. Same centre; areas 4 and 4 sqrt(3), one inside the other:
    # IoU = 1 / sqrt(3). Tolerance as in test_slow_rewrite.
    wide = 2 * math.sqrt(3)
    overlap, v = 1 / math.sqrt(3), 1 / 36
    got = ciou([0, 0, 2, 2], [0, 1 - wide / 2, 2, 1 + wide / 2])
    assert got == pytest.approx(overlap - v * v / (1 - overlap + v), rel=0, abs=24 * EPS)
    # Apart: union 2, hull 1 x 10, so GIoU = -8/10; centres 9 apart, diagonal^2 = 101.
    assert giou([0, 0, 1, 1], [0, 9, 1, 10]) == -0.8
    assert diou([0, 0, 1, 1], [0, 9, 1, 10]) == -81 / 101


@pytest.mark.parametrize("kind", MEASURES)
@given(pairs_of(grid_boxes))
def test_slow_rewrite(kind, pair):
    a, b = pair
    got = MEASURES[kind](a, b)
    expected = [slow(kind, *boxes) for boxes in zip(a.tolist(), b.tolist(), strict=True)]
    # On the grid areas and lengths are exact and the rest is the same few roundings, except
    # for the angles. Each is at most pi / 2 and off by at most 4 EPS (rounded sides, then
    # the function), two on either side: 16 EPS on their difference, times the slope of v,
    # 8 / pi**2 * pi / 2 < 1.3, and the slope of v**2 / (1 - IoU + v), at most 1: < 24 EPS.
    np.testing.assert_allclose(got, expected, rtol=0, atol=24 * EPS if kind == "ciou" else 0)


@given(pairs_of(pixel_boxes))
def test_iou_counts_pixels(pair):
    rows, columns = np.arange(12)[:, None], np.arange(12)[None, :]
    for a, b in zip(*pair, strict=True):
        masks = [
            (top <= rows) & (rows < bottom) & (left <= columns) & (columns < right)
            for top, left, bottom, right in (a, b)
        ]
        shared, union = (masks[0] & masks[1]).sum(), (masks[0] | masks[1]).sum()
        assert iou(a, b) == (shared / union if union else 0)


@each_measure
@given(st.data(), st.sampled_from(FORMATS))
def test_equal_boxes_give_exactly_one(measure, data, name):
    top, left = (data.draw(st.floats(-1e4, 1e4)) for _ in range(2))
    height, width = (data.draw(st.floats(1e-3, 1e4)) for _ in range(2))
    box = np.array([top, left, top + height, left + width])
    written = convert(box, "yxyx", name, size=(100, 30))
    assert measure(written, written, name) == 1
    assert measure(tf.constant(written), written, name).numpy() == 1


@each_measure
@given(st.data(), st.sampled_from(["float16", "float32"]))
def test_equal_boxes_give_exactly_one_in_low_precision(measure, data, dtype):
    numbers = st.floats(-1e4, 1e4, width=int(dtype[5:])).map(lambda x: x if abs(x) > 1e-3 else 0.0)
    (top, bottom), (left, right) = (
        data.draw(edges(numbers).filter(lambda e: e[1] - e[0] > 1e-3)) for _ in range(2)
    )
    box = np.array([top, left, bottom, right], dtype=dtype)
    assert measure(box, box) == 1
    assert measure(tf.constant(box), tf.constant(box)).numpy() == 1


@pytest.mark.parametrize("side", [1e-3, 1e-2, 0.5, 1.0, 77.0, 1e4])
@each_measure
def test_equal_boxes_of_any_scale(measure, side):
    for dtype in (np.float16, np.float32, np.float64):
        box = np.array([[0, 0, side, side]], dtype=dtype)
        assert measure(box, box).tolist() == [1]
        assert measure(tf.constant(box), tf.constant(box)).numpy().tolist() == [1]


@pytest.mark.parametrize("empty", [[3, 3, 3, 3], [3, 3, 3, 5], [3, 3, 5, 3]])
def test_an_empty_box_has_no_overlap(empty):
    for other in (empty, [0, 0, 9, 9], [3, 3, 5, 5], [7, 7, 7, 9]):
        assert iou(empty, other) == 0
        assert iou(tf.constant(empty), tf.constant(other)).numpy() == 0


@each_measure
@given(pairs_of(real_boxes))
def test_symmetry(measure, pair):
    np.testing.assert_array_equal(measure(*pair), measure(*pair[::-1]))


@given(pairs_of(real_boxes))
def test_ranges(pair):
    values = {kind: measure(*pair) for kind, measure in MEASURES.items()}
    assert (values["iou"] >= 0).all()
    # Lengths of reals are rounded, so a ratio that is at most 1 may be some EPS above.
    for kind, low in (("giou", -1), ("diou", -1), ("ciou", -1.5)):
        assert (values[kind] >= low - 8 * EPS).all()
    for value in values.values():
        assert (value <= 1).all()
    assert (values["giou"] <= values["iou"]).all()
    assert (values["diou"] <= values["iou"]).all()
    assert (values["ciou"] <= values["diou"]).all()


@given(pairs_of(grid_boxes))
def test_bounds_are_open_for_boxes_with_area(pair):
    a, b = (boxes + np.array([0, 0, 1, 1]) for boxes in pair)
    assert (giou(a, b) > -1).all()
    assert (diou(a, b) > -1).all()
    assert (ciou(a, b) > -1.5).all()


@each_measure
@given(pairs_of(grid_boxes), grid, grid, st.integers(1, 9))
def test_translation_and_scale_change_nothing(measure, pair, down, across, scale):
    # Exact on the grid: every length, area and squared length is an exact multiple.
    expected = measure(*pair)
    moved = [boxes + np.array([down, across, down, across]) for boxes in pair]
    np.testing.assert_array_equal(measure(*moved), expected)
    np.testing.assert_array_equal(measure(*[boxes * scale for boxes in pair]), expected)


@each_measure
@given(pairs_of(grid_boxes), st.sampled_from(FORMATS))
def test_every_format_gives_the_same(measure, pair, name):
    # Sizes are powers of two, so writing grid boxes in another format is exact.
    size = (64, 256)
    written = [convert(boxes, "yxyx", name, size=size) for boxes in pair]
    np.testing.assert_array_equal(measure(*written, name, size=size), measure(*pair))
    if measure in (iou, giou):
        np.testing.assert_array_equal(measure(*written, name), measure(*pair))


def test_distances_of_relative_boxes_need_the_size():
    # Two squares of 2 x 2 pixels, 4 apart, on 10 x 100: in pixels 16 / (4 + 36); in
    # fractions .04^2 / (.2^2 + .06^2).
    a, b = [0, 0, 0.2, 0.02], [0, 0.04, 0.2, 0.06]
    assert diou(a, b, "rel_yxyx", size=(10, 100)) == pytest.approx(-0.4, abs=8 * EPS)
    assert diou(a, b, "rel_yxyx") == pytest.approx(-0.0016 / 0.0436, abs=8 * EPS)


@each_measure
@given(grid_boxes, grid_boxes)
def test_pairwise_is_elementwise_on_the_grid_of_pairs(measure, a, b):
    got = measure(a, b, pairwise=True)
    assert got.shape == (len(a), len(b))
    for i, j in np.ndindex(got.shape):
        assert got[i, j] == measure(a[i], b[j])
    tensors = measure(tf.constant(a), tf.constant(b), pairwise=True)
    assert tensors.shape == got.shape


def test_leading_dimensions_broadcast():
    a = np.arange(24).reshape(2, 3, 4) % 5 + np.array([0, 0, 9, 9])
    assert iou(a, a[0]).shape == (2, 3)
    assert iou(a, a[0, 0]).shape == (2, 3)
    assert iou(a[0, 0], a[0, 0]).shape == ()
    assert iou(a, a[:, :2], pairwise=True).shape == (2, 3, 2)
    assert iou(np.zeros((0, 4)), a[0], pairwise=True).shape == (0, 3)


@pytest.mark.parametrize("kind", MEASURES)
@given(pairs_of(grid_boxes), st.sampled_from(["float64", "float32"]))
def test_tensorflow_equals_numpy(kind, pair, dtype):
    a, b = (boxes.astype(dtype) for boxes in pair)
    got = MEASURES[kind](tf.constant(a), tf.constant(b))
    assert got.dtype == dtype
    # Areas and squared diagonals are whole in units of 2**-6 and at most 2**17, 23 bits: exact
    # in float32 too. Squared distances of centres, in units of 2**-8, may be rounded
    # three times. Then two quotients and a subtraction of numbers of at most 1: 6 roundings.
    # Angles as in test_slow_rewrite, with four roundings more for v and alpha.
    eps = np.finfo(dtype).eps
    atol = (24 + 4 + 6) * eps if kind == "ciou" else 6 * eps
    np.testing.assert_allclose(got.numpy(), MEASURES[kind](a, b), rtol=0, atol=atol)


@each_measure
def test_graph_with_unknown_batch(measure):
    @tf.function(input_signature=[tf.TensorSpec([None, 4]), tf.TensorSpec([None, 4])])
    def graph(a, b):
        return measure(a, b), measure(a, b, pairwise=True)

    a = np.array([[0, 0, 2, 4], [1, 1, 1, 1], [5, 5, 2, 2]], dtype=np.float32)
    b = np.array([[1, 2, 3, 6], [0, 0, 2, 2], [0, 0, 9, 9]], dtype=np.float32)
    elementwise, pairwise = graph(a, b)
    assert elementwise.shape == (3,)
    np.testing.assert_array_equal(np.diag(pairwise.numpy()), elementwise.numpy())
    # As in test_tensorflow_equals_numpy, for CIoU.
    bound = 34 * np.finfo(np.float32).eps
    np.testing.assert_allclose(elementwise[:2], measure(a[:2], b[:2]), rtol=0, atol=bound)


def test_halves_are_computed_in_float32_and_a_tensor_sets_the_dtype():
    for half in (tf.float16, tf.bfloat16):
        box = tf.constant([[0, 0, 300, 300]], half)
        assert giou(box, box).dtype == tf.float32
        # 300 * 300 is beyond float16: without the wider type the IoU would be NaN.
        assert iou(box, box).numpy().tolist() == [1]
    mixed = iou(tf.constant([[0.0, 0.0, 1.0, 1.0]]), np.array([[0.0, 0.0, 1.0, 2.0]]))
    assert mixed.dtype == tf.float32
    assert iou([[0, 0, 1, 1]], tf.constant([[0, 0, 1, 2]])).numpy().tolist() == [0.5]
    assert iou(np.float16([[0, 0, 300, 300]]), [[0, 0, 300, 300]]).dtype == np.float64


@pytest.mark.parametrize(("half", "side"), [(tf.bfloat16, 256), (tf.float16, 2048)])
def test_the_other_box_is_not_rounded_to_a_half(half, side):
    # side + 1 is the first whole number that the half cannot hold.
    found = iou(tf.constant([[0, 0, side, 1]], half), np.array([[0, 0, side + 1, 1]]))
    np.testing.assert_allclose(found, [side / (side + 1)], rtol=1e-6)


def test_functional_models_can_measure():
    inputs = keras.Input((4,))
    model = keras.Model(inputs, ciou(inputs, inputs))
    assert np.asarray(model(np.array([[0.0, 0.0, 1.0, 1.0]]))).tolist() == [1]


@each_measure
def test_messages(measure):
    def message(*args, **kwargs):
        with pytest.raises(ValueError) as caught:  # noqa: PT011  (the whole text is compared)
            measure(*args, **kwargs)
        return str(caught.value)

    good = [[0, 0, 1, 1], [0, 0, 2, 2]]
    assert message(good, [[0, 0, 1, 1], [5, 0, 3, 2]]) == (
        "`b` must hold boxes of height >= 0; box (1,) is [5.0, 0.0, 3.0, 2.0] in format 'yxyx', "
        "of height -2. Swap its top and bottom, or pass the `format` the boxes are written in."
    )
    assert message([[0, 0, 1, -1]], [[0, 0, 1, 1]], "xywh") == (
        "`a` must hold boxes of height >= 0; box (0,) is [0.0, 0.0, 1.0, -1.0] in format 'xywh', "
        "of height -1. Swap its top and bottom, or pass the `format` the boxes are written in."
    )
    assert message([0.5, 0.5, 0.6, 0.25], [0, 0, 1, 1], "rel_yxyx") == (
        "`a` must hold boxes of width >= 0; box () is [0.5, 0.5, 0.6, 0.25] in format 'rel_yxyx', "
        "of width -0.25. Swap its left and right, or pass the `format` the boxes are written in."
    )
    assert message(good, np.zeros((3, 4))) == (
        "`a` and `b` must hold the same number of boxes, or broadcast; got shapes (2, 4) and "
        "(3, 4). Use pairwise=True to compare every box of `a` with every box of `b`."
    )
    assert message(good, [0, 0, 1, 1], pairwise=True) == (
        "`b` must have shape (..., n, 4) with pairwise=True; got shape (4,). "
        "Put a single box in a list."
    )
    assert message([[0, 0, 1, np.inf]], good) == (
        "`a` must be finite; box (0,) is [0.0, 0.0, 1.0, inf]."
    )
    assert message(good, good, "yxxy") == (
        f"`format` must be one of {list(FORMATS)}; got 'yxxy'. Did you mean 'yxyx'?"
    )
