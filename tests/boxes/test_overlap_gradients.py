"""Gradients of the four measures: right where they exist, finite where they do not."""

import math

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from whitebox_loc.boxes import ciou, diou, giou, iou

MEASURES = {"iou": iou, "giou": giou, "diou": diou, "ciou": ciou}
TRUTH = [2.0, 2.0, 6.0, 8.0]
DEGENERATE = {
    "exact match": (TRUTH, TRUTH),
    "same point": ([3, 3, 3, 3], [3, 3, 3, 3]),
    "two points": ([3, 3, 3, 3], [9, 9, 9, 9]),
    "same line": ([3, 3, 3, 8], [3, 3, 3, 8]),
    "two lines": ([3, 3, 3, 8], [1, 5, 9, 5]),
    "point in box": ([3, 3, 3, 3], TRUTH),
    "point at corner": ([2, 2, 2, 2], TRUTH),
    "disjoint": ([20, 20, 30, 30], TRUTH),
    "touching at an edge": ([6, 2, 9, 8], TRUTH),
    "touching at a corner": ([6, 8, 9, 9], TRUTH),
    "nested": ([3, 3, 5, 5], TRUTH),
    "swapped rows": ([6, 2, 2, 8], TRUTH),
    "swapped both": ([6, 8, 2, 2], TRUTH),
    "swapped outside": ([90, 90, 80, 80], TRUTH),
    "both swapped alike": ([6, 8, 2, 2], [6, 8, 2, 2]),
    "swapped against a point": ([9, 9, 1, 1], [4, 4, 4, 4]),
    "tiny": ([0, 0, 1e-15, 1e-15], [0, 0, 1e-15, 1e-15]),
    "below the smallest area": ([0, 0, 1e-25, 1e-25], [0, 0, 1e-25, 1e-25]),
    "tiny against large": ([0, 0, 1e-25, 1e-25], [0, 0, 1e4, 1e4]),
    "thin": ([0, 0, 1e-15, 1e4], [0, 0, 1e4, 1e-15]),
    "huge": ([0, 0, 1e9, 1e9], [0, 0, 1e9, 2e9]),
}


def value_and_gradients(measure, a, b):
    a, b = tf.convert_to_tensor(a), tf.convert_to_tensor(b)
    with tf.GradientTape() as tape:
        tape.watch([a, b])
        value = measure(a, b)
    return value, *tape.gradient(value, [a, b])


@pytest.mark.parametrize("kind", MEASURES)
@pytest.mark.parametrize("dtype", ["float32", "float64", "float16"])
@pytest.mark.parametrize("compiled", [False, True])
def test_finite_in_every_degenerate_case(kind, dtype, compiled):
    cases = list(DEGENERATE.values())
    if dtype == "float16":
        cases = [pair for pair in cases if np.max(pair) < 60000]
    a, b = np.array(cases, dtype=dtype).swapaxes(0, 1)
    run = tf.function(value_and_gradients) if compiled else value_and_gradients
    value, *gradients = run(MEASURES[kind], a, b)
    assert np.isfinite(value).all()
    assert len(value) == len(a)
    for gradient in gradients:
        assert np.isfinite(gradient).all()


@pytest.mark.parametrize("kind", MEASURES)
@given(st.data())
def test_finite_for_any_two_boxes_in_any_order(kind, data):
    # Few values, so that ties, empty and swapped boxes are common. Sides are 0 or at least an
    # ulp of 1e-20: the IoU's true slope, 1 / side, would overflow float32 from 1e-38 on.
    reals = st.floats(-1e4, 1e4, width=32).map(lambda x: x if abs(x) > 1e-20 else 0.0)
    number = st.one_of(st.integers(0, 4).map(float), reals)
    pair = data.draw(st.lists(st.tuples(*[number] * 4), min_size=2, max_size=2))
    a, b = np.array(pair, dtype=np.float32)[:, None]
    value, *gradients = value_and_gradients(MEASURES[kind], a, b)
    assert np.isfinite(value).all()
    # Swapped boxes have no area and lie within the hull: the bounds hold for them as well,
    # but for the rounding of each of three terms.
    assert -1.5 - 1e-6 <= float(value[0]) <= 1 + 1e-6
    for gradient in gradients:
        assert np.isfinite(gradient).all()


# No ties, and every kind of position: overlapping, disjoint, nested.
SMOOTH = [
    ([1.0, 2.0, 7.0, 9.0], [3.0, 4.5, 8.0, 15.0]),
    ([1.0, 2.0, 4.0, 5.0], [6.0, 9.0, 8.0, 16.0]),
    ([1.0, 2.0, 9.0, 15.0], [3.0, 4.0, 5.0, 9.0]),
]


@pytest.mark.parametrize("kind", MEASURES)
@pytest.mark.parametrize("pair", SMOOTH)
def test_gradient_is_the_finite_difference(kind, pair):
    a, b = np.array(pair)
    _, got_a, got_b = value_and_gradients(MEASURES[kind], a, b)
    alpha = _alpha(a, b)

    def value(a, b):
        # CIoU holds alpha constant: rebuild it from DIoU and the aspect term.
        return diou(a, b) - alpha * _v(a, b) if kind == "ciou" else MEASURES[kind](a, b)

    step = 1e-5
    for got, place in ((got_a, 0), (got_b, 1)):
        for i in range(4):
            move = np.zeros((2, 4))
            move[place, i] = step
            numeric = (value(a + move[0], b + move[1]) - value(a - move[0], b - move[1])) / (
                2 * step
            )
            # Sides are at least 2, so third derivatives are below 10: truncation
            # 10 * step**2 / 6 < 2e-10; rounding 4 * 2.2e-16 / step < 1e-10.
            assert float(got[i]) == pytest.approx(numeric, rel=0, abs=1e-9)


@pytest.mark.parametrize("kind", ["giou", "diou", "ciou"])
def test_disjoint_boxes_attract(kind):
    a, b = np.float32([[0, 0, 2, 2]]), np.float32([[5, 7, 9, 9]])
    _, gradient, _ = value_and_gradients(MEASURES[kind], a, b)
    # Moving the whole of `a` towards `b`, down or to the right, raises the measure.
    assert float(gradient[0, 0] + gradient[0, 2]) > 0
    assert float(gradient[0, 1] + gradient[0, 3]) > 0


@pytest.mark.parametrize("kind", ["giou", "diou", "ciou"])
def test_a_swapped_box_outside_the_truth_attracts_too(kind):
    _, gradient, _ = value_and_gradients(
        MEASURES[kind], np.float32([[30, 40, 20, 20]]), np.float32([[0, 0, 9, 9]])
    )
    assert float(gradient[0, 0] + gradient[0, 2]) < 0
    assert float(gradient[0, 1] + gradient[0, 3]) < 0


def _v(a, b):
    angles = [math.atan2(box[3] - box[1], box[2] - box[0]) for box in (a, b)]
    return 4 / math.pi**2 * (angles[0] - angles[1]) ** 2


def _alpha(a, b):
    return _v(a, b) / (1 - iou(a, b) + _v(a, b))
