import math

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from whitebox_loc.boxes.entropy import TANGENT, cross_entropy, entropy

EPS = np.finfo(np.float64).eps
# Fractions of whole pixels: 0, 1, or at least 1 / 5000 away from both.
fractions = st.integers(1, 5000).flatmap(lambda n: st.integers(0, n).map(lambda i: i / n))
# Logarithms are then at least log(TANGENT / 5000) > -14, and terms t * log at most 1 in the
# exact range and (with the tangent's) 1 / TANGENT per unit of distance beyond.


def gradient(targets, predictions, dtype="float64"):
    p = tf.constant(predictions, dtype)
    with tf.GradientTape() as tape:
        tape.watch(p)
        value = cross_entropy(tf.constant(targets, dtype), p)
    return tape.gradient(value, p).numpy()


@given(fractions, st.floats(0, 1))
def test_near_the_target_it_is_the_textbook_formula(t, share):
    low, high = TANGENT * t, 1 - TANGENT * (1 - t)
    p = min(max(low + share * (high - low), low), high)
    expected = (-t * math.log(p) if t else 0) - ((1 - t) * math.log1p(-p) if t < 1 else 0)
    # Rounding 1 - p and 1 - t to EPS / 2 moves the second term by EPS / TANGENT and by 14 EPS
    # at most; the rest is a few roundings of numbers below 14, the tangents' of p among them.
    bound = 2 * EPS / TANGENT + 60 * EPS
    assert float(cross_entropy(np.float64(t), np.float64(p))) == pytest.approx(expected, abs=bound)


def test_agrees_with_keras_on_probabilities():
    generator = np.random.default_rng(0)
    t, p = generator.uniform(0.01, 0.99, (2, 50, 4)).astype(np.float32)
    expected = keras.losses.binary_crossentropy(t, p)
    # Float32: logarithms up to 4.6 rounded three times, and 1 - p of at least .01, to
    # 6e-8 each: 3 * 4.6 * 6e-8 + 6e-8 / .01 = 7e-6, on either side.
    np.testing.assert_allclose(cross_entropy(t, p).mean(axis=-1), expected, rtol=0, atol=1.4e-5)


@given(fractions, st.floats(-3, 4))
def test_entropy_is_the_floor(t, p):
    t, p = np.float64(t), np.float64(p)
    # Bounds as above: 1 - p rounded, and a few roundings of numbers below 14.
    bound = 2 * EPS / TANGENT + 60 * EPS
    assert cross_entropy(t, p) >= entropy(t) - bound
    assert cross_entropy(t, t) == pytest.approx(entropy(t), rel=0, abs=60 * EPS)


@given(fractions, st.floats(-3, 4), st.floats(-3, 4), st.floats(0, 1))
def test_convex(t, p, q, share):
    between = share * p + (1 - share) * q
    chord = share * cross_entropy(t, p) + (1 - share) * cross_entropy(t, q)
    # Values reach 4 / TANGENT = 400, rounded a few times, and `between`, of at most 4, is
    # rounded thrice, which moves the value by the slope 1 / TANGENT + 1.
    bound = 8 * 400 * EPS + 3 * 4 * EPS * (1 / TANGENT + 1)
    assert cross_entropy(t, between) <= chord + bound


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_gradient_points_to_the_target_from_everywhere(dtype):
    targets = np.arange(101)[:, None] / 100
    ends = [-5, -1, -1e-3, -1e-30, 0, 1e-8, 1e-5, 1 - 1e-5, 1, 1 + 1e-3, 2, 6]
    predictions = np.concatenate([ends, np.arange(1, 200, 2) / 200])
    t, p = (x.astype(dtype) for x in np.broadcast_arrays(targets, predictions))
    got = gradient(t, p, dtype)
    assert np.isfinite(got).all()
    away = np.abs(t - p) > 1e-7  # a float32 rounding of 1 - p is no difference
    np.testing.assert_array_equal(np.sign(got)[away], np.sign(p - t)[away])
    # The bound in the docstring, and a float32 rounding.
    assert (np.abs(got) <= (1 / TANGENT + 1) * (1 + 1e-6)).all()
    # Nor flat: at a distance d it is d / (p (1 - p)) >= 4 d inside, and at least 4 d up to 1
    # away by convexity. 1e-6: rounding of two terms of up to 1 / TANGENT, less where they cancel.
    assert (np.abs(got) >= np.minimum(np.abs(t - p), 0.25) * 3.9 - 1e-5)[away].all()


@pytest.mark.parametrize("t", [0.0, 0.01, 0.5, 1.0])
def test_continuous_at_every_seam(t):
    for seam in (0, TANGENT * t, 1 - TANGENT * (1 - t), 1):
        step = 1e-9
        low, high = cross_entropy(np.float64(t), np.array([seam - step, seam + step]))
        # The slope on both sides, and a few roundings.
        assert abs(high - low) < 2 * step * (1 / TANGENT + 1) + 60 * EPS


def test_values_by_hand():
    t = np.array([0.25, 0.25, 0.0, 1.0, 0.25, 0.25, 0.0, 1.0])
    p = np.array([0.0, 1.0, 0.0, 1.0, -2.0, 3.0, -2.0, 3.0])
    # The tangent of -t log p at TANGENT * t, seen at 0: t (1 - log(TANGENT * t)).
    zero = 0.25 * (1 - math.log(TANGENT * 0.25))
    one = 0.75 * (1 - math.log(TANGENT * 0.75))
    # Two beyond an end: twice the tangent's slope and twice the slope 1.
    expected = [zero, one, 0, 0, zero + 2 / TANGENT + 2, one + 2 / TANGENT + 2, 2, 2]
    np.testing.assert_allclose(cross_entropy(t, p), expected, rtol=8 * EPS, atol=0)
    assert entropy(np.array([0.5]))[0] == pytest.approx(math.log(2), abs=EPS)
    assert entropy(np.array([0.0, 1.0])).tolist() == [0, 0]


@given(st.lists(st.tuples(fractions, st.floats(-2, 3)), min_size=1, max_size=8))
def test_tensorflow_equals_numpy(pairs):
    t, p = np.array(pairs).T
    # The same operations, but for logarithms of up to 14, each within 2 EPS of the other's.
    np.testing.assert_allclose(entropy(tf.constant(t)), entropy(t), rtol=0, atol=60 * EPS)
    got, expected = cross_entropy(tf.constant(t), tf.constant(p)), cross_entropy(t, p)
    np.testing.assert_allclose(got, expected, rtol=2 * EPS, atol=60 * EPS)
