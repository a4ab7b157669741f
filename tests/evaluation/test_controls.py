"""Controls: each knows what it says it knows, and no more."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

import whitebox_loc as wb
from whitebox_loc.evaluation.audits.controls import CONTROLS
from whitebox_loc.evaluation.scores import evidence_signs
from whitebox_loc.evaluation.truth import evidence_mask

SCENE = wb.data.Scene(size=(9, 11), heights=(2, 6), widths=(2, 6))
BATCH = wb.data.generate(SCENE, 5, seed=0)
MASK = evidence_mask(BATCH.boxes, SCENE.size, "top")


def drawn(name, truth=MASK, coordinate="top", batch=BATCH, scene=SCENE, seed=0, **options):
    rng = np.random.default_rng(seed)
    return CONTROLS[name].function(
        batch.images, batch.boxes, coordinate, scene, truth, rng, **options
    )


@pytest.mark.parametrize("name", CONTROLS)
def test_every_control_draws_finite_float32_maps_and_repeats_itself(name):
    maps = drawn(name)
    assert maps.shape == (5, 9, 11)
    assert maps.dtype == np.float32
    assert np.isfinite(maps).all()
    np.testing.assert_array_equal(maps, drawn(name))


@pytest.mark.parametrize("name", CONTROLS)
def test_a_control_depends_on_what_it_says_it_knows(name):
    other_truth = drawn(name, truth=np.roll(MASK, 1, axis=2))
    other = wb.data.generate(SCENE, 5, seed=1)
    other_image = drawn(name, batch=other)
    same_truth = (drawn(name) == other_truth).all()
    same_image = (drawn(name) == other_image).all()
    knows = CONTROLS[name].knows
    assert same_truth == (knows != "the truth")
    if knows != "the truth":  # signs of the truth may need the boxes
        assert same_image == (knows == "nothing")


@pytest.mark.parametrize("coordinate", ["top", "right", "center_y", "area"])
def test_the_oracle_is_the_evidence_with_its_signs(coordinate):
    mask = evidence_mask(BATCH.boxes, SCENE.size, coordinate)
    signs = evidence_signs(BATCH.boxes, SCENE, coordinate)
    maps = drawn("oracle", mask, coordinate)
    # Two edges of opposite sign can share no pixel here: sides are at least 2.
    np.testing.assert_array_equal(maps, signs)
    np.testing.assert_array_equal(drawn("sign_flipped", mask, coordinate), -maps)
    np.testing.assert_allclose(
        drawn("blurred_oracle", mask, coordinate, sigma=2.0),
        gaussian_filter(maps.astype(float), (0, 2, 2), mode="constant"),
        atol=1e-6,
    )


def test_pixels_that_a_model_uses_elsewhere_have_the_edges_sign():
    everywhere = np.ones_like(MASK)
    np.testing.assert_array_equal(drawn("oracle", everywhere, "top"), -1)
    np.testing.assert_array_equal(drawn("oracle", everywhere, "bottom"), 1)
    dark = wb.data.Scene(size=(9, 11), foreground=0.0, background=1.0)
    np.testing.assert_array_equal(drawn("oracle", everywhere, "top", scene=dark), 1)


def test_an_exact_map_is_handed_on():
    exact = np.random.default_rng(3).normal(size=MASK.shape)
    np.testing.assert_array_equal(drawn("oracle", exact), exact.astype(np.float32))


def test_the_edge_detector_by_hand():
    """A vertical step from 0 to 1: Sobel gives 4 on both sides, and 0 away from it."""
    images = np.zeros((1, 5, 6, 2), "float32")
    images[:, :, 3:] = 1
    maps = CONTROLS["edge_detector"].function(images, None, "top", SCENE, None, None)
    np.testing.assert_array_equal(maps[0], np.tile([0, 0, 4, 4, 0, 0], (5, 1)))
    np.testing.assert_array_equal(
        CONTROLS["edge_detector"].function(
            images.transpose(0, 2, 1, 3), None, "top", SCENE, None, None
        )[0],
        maps[0].T,
    )


def test_the_blind_ones():
    assert (drawn("constant") == 1).all()
    assert (drawn("empty") == 0).all()
    pixel = drawn("one_pixel")
    np.testing.assert_array_equal(pixel.sum((1, 2)), 1)
    assert (pixel != 0).sum() == 5
    noise = drawn("random")
    # 495 Gaussian numbers: the mean is within 4 / sqrt(495), the variance within 4 sqrt(2 / 495).
    assert abs(noise.mean()) < 0.18
    assert abs(noise.var() - 1) < 0.26
    assert (drawn("random", seed=1) != noise).all()


def test_an_unknown_coordinate_is_named():
    with pytest.raises(ValueError, match="`coordinate` must be one of"):
        drawn("oracle", coordinate="middle")
