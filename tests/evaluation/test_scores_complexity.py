"""Gini index and entropy against their definitions by loops, and their laws."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from whitebox_loc.evaluation.scores import entropy, gini

sizes = st.floats(2.0**-9, 100, width=32)
maps_23 = hnp.arrays(np.float32, (2, 2, 3), elements=sizes | sizes.map(lambda v: -v))


def gini_by_pairs(values):
    """Half the mean absolute difference of all pairs, over the mean: another definition."""
    sizes = [abs(float(v)) for v in values]
    pairs = sum(abs(a - b) for a in sizes for b in sizes)
    return pairs / (2 * len(sizes) * sum(sizes))


def gini_of_chalasani(values):
    """The paper's formula: 1 - 2 sum v_k / |v| (d - k + 0.5) / d, v sorted."""
    sizes = sorted(abs(float(v)) for v in values)
    d, total = len(sizes), sum(sizes)
    return 1 - 2 * sum(v / total * (d - k + 0.5) / d for k, v in enumerate(sizes, start=1))


def entropy_by_loop(values):
    sizes = [abs(float(v)) for v in values]
    shares = [s / sum(sizes) for s in sizes]
    return -sum(q * math.log(q) for q in shares if q > 0)


@given(maps_23)
def test_both_equal_their_definitions(maps):
    for found, flat in zip(gini(maps), maps.reshape(2, -1), strict=True):
        # Differences of numbers up to 1 in float64, six terms.
        assert math.isclose(found, gini_by_pairs(flat), abs_tol=1e-12)
        assert math.isclose(found, gini_of_chalasani(flat), abs_tol=1e-12)
    for found, flat in zip(entropy(maps), maps.reshape(2, -1), strict=True):
        assert math.isclose(found, entropy_by_loop(flat), abs_tol=1e-12)


@given(maps_23, st.sampled_from([-1.0, 1e-30, 5.0, 1e30]), st.permutations(range(6)))
def test_laws(maps, factor, order):
    for score, low, high in ((gini, 0, 1 - 1 / 6), (entropy, 0, math.log(6))):
        found = score(maps)
        assert ((found >= low - 1e-12) & (found <= high + 1e-12)).all()
        # A factor rounds each float32 by 2**-24; six such terms.
        np.testing.assert_allclose(score(maps * factor), found, atol=1e-5)
        shuffled = maps.reshape(2, 6)[:, order].reshape(2, 2, 3)
        np.testing.assert_allclose(score(shuffled), found, atol=1e-12)
        np.testing.assert_array_equal(score(maps[::-1]), found[::-1])


def test_extremes_by_hand():
    one, flat, blank = np.zeros((3, 2, 5)), np.full((2, 5), 3.0), np.zeros((2, 5))
    one[0, 1, 2], one[1], one[2] = -7.0, flat, blank
    np.testing.assert_allclose(gini(one), [0.9, 0.0, math.nan], atol=1e-15)
    np.testing.assert_allclose(entropy(one), [0.0, math.log(10), math.nan], atol=1e-15)
    assert not np.signbit(entropy(one)[0])


def test_spreading_mass_lowers_gini_and_raises_entropy():
    maps = np.array([[[4.0, 0.0, 0.0]], [[3.0, 1.0, 0.0]], [[2.0, 1.0, 1.0]]])
    assert (np.diff(gini(maps)) < 0).all()
    assert (np.diff(entropy(maps)) > 0).all()


@pytest.mark.parametrize("score", [gini, entropy])
def test_whole_numbers_are_taken_and_text_is_not(score):
    assert score(np.array([[[0, 3]]])) == score(np.array([[[0.0, 3.0]]]))
    with pytest.raises(TypeError, match="`maps` must hold numbers"):
        score(np.array([[["a"]]]))
