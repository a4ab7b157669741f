"""Max-sensitivity: closed forms and laws."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from whitebox_loc.evaluation.audits.known_models import crossed_lines
from whitebox_loc.evaluation.scores import max_sensitivity
from whitebox_loc.introspect import saliency

rng = np.random.default_rng(0)
IMAGES = rng.random((3, 6, 8, 2), "float32")


def channel_sums(images):
    return images.sum(-1)


def test_the_gradient_of_a_linear_model_does_not_change():
    model = crossed_lines((6, 8), channels=2)
    found = max_sensitivity(lambda x: saliency(model, x, "left"), IMAGES)
    np.testing.assert_array_equal(found, 0)


def test_it_equals_a_slow_rewrite():
    """All samples at once, in float64, from the same stream of numbers."""
    grains = np.random.default_rng(7).uniform(-0.1, 0.1, (5, *IMAGES.shape)).astype("float32")
    maps = np.stack([channel_sums(IMAGES + grain) for grain in grains]).astype(np.float64)
    change = np.sqrt(((maps - channel_sums(IMAGES)) ** 2).sum((2, 3)))
    raw = max_sensitivity(channel_sums, IMAGES, radius=0.1, samples=5, relative=False, seed=7)
    np.testing.assert_allclose(raw, change.max(0), rtol=1e-12)
    norm = np.sqrt((channel_sums(IMAGES).astype(np.float64) ** 2).sum((1, 2)))
    shared = max_sensitivity(channel_sums, IMAGES, radius=0.1, samples=5, seed=7)
    np.testing.assert_allclose(shared, change.max(0) / norm, rtol=1e-12)


def test_it_is_never_above_the_bound_and_comes_near_it_for_one_pixel():
    """For a map that is the pixel itself the supremum is the radius."""
    image = np.full((1, 1, 1, 1), 0.5, "float32")
    found = max_sensitivity(channel_sums, image, radius=0.2, samples=200, relative=False)[0]
    # The largest of 200 uniform numbers misses the end by more than 5% in 0.95^200 = 0.004%.
    assert 0.19 < found <= 0.2 + 1e-7


@given(st.sampled_from([-3.0, 0.25, 1e6]), st.integers(1, 6))
def test_laws(factor, samples):
    base = max_sensitivity(channel_sums, IMAGES, samples=samples)
    scaled = max_sensitivity(lambda x: factor * channel_sums(x), IMAGES, samples=samples)
    # The map of float32 is rounded once more, by 2**-24 of values that change by some 2**-6.
    np.testing.assert_allclose(scaled, base, rtol=1e-4)
    assert (base > 0).all()
    # More samples from the same stream can only find more.
    assert (max_sensitivity(channel_sums, IMAGES, samples=samples + 1) >= base).all()


def test_a_zero_map_is_undefined():
    maps = np.zeros((3, 6, 8))
    assert np.isnan(max_sensitivity(lambda x: maps, IMAGES)).all()
    np.testing.assert_array_equal(max_sensitivity(lambda x: maps, IMAGES, relative=False), 0)


def test_errors_name_the_argument():
    with pytest.raises(ValueError, match="`explain` must return one map an image"):
        max_sensitivity(lambda x: np.ones((1, 6, 8)), IMAGES)
    with pytest.raises(ValueError, match=r"`explain\(images\)` must be finite"):
        max_sensitivity(lambda x: np.full((3, 6, 8), np.nan), IMAGES)
    with pytest.raises(ValueError, match="`radius`"):
        max_sensitivity(channel_sums, IMAGES, radius=-1)
