"""Location scores against brute force over tie-breaking, hand-computed cases and laws."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from whitebox_loc.data import Scene
from whitebox_loc.evaluation.scores import (
    evidence_signs,
    mass_accuracy,
    pointing_game,
    rank_accuracy,
)

SCORES = (mass_accuracy, rank_accuracy, pointing_game)
NAN = math.nan

# Few distinct values, so that ties are the rule; 6 pixels have 720 orders.
tied_maps = hnp.arrays(np.float32, (1, 6), elements=st.sampled_from([-2.0, -1.0, 0.0, 1.0, 2.0]))
tiny_masks = hnp.arrays(bool, (1, 6))
maps_34 = hnp.arrays(np.float32, (3, 3, 4), elements=st.sampled_from([-2.0, -1.0, 0.0, 1.0, 3.0]))
masks_34 = hnp.arrays(bool, (3, 3, 4))
signs_34 = st.sampled_from([None, -1, 1])


def mass_by_loop(values, mask, sign):
    total = part = 0.0
    for a, inside in zip(values, mask, strict=True):
        total += abs(float(a))
        if inside and (sign is None or sign * a > 0):
            part += abs(float(a))
    return part / total if total and any(mask) else NAN


def expected_over_orders(values, mask, sign, count):
    """Mean over all orders with |a| falling: share of the first `count` that hit."""
    hits = [m and (sign is None or sign * v > 0) for v, m in zip(values, mask, strict=True)]
    # Groups of equal |a| may be permuted inside; enumerate every order of all pixels.
    shares = [
        sum(hits[i] for i in order[:count]) / count
        for order in itertools.permutations(range(len(values)))
        if all(abs(values[a]) >= abs(values[b]) for a, b in itertools.pairwise(order))
    ]
    return sum(shares) / len(shares)


@given(tied_maps, tiny_masks, st.sampled_from([None, -1, 1]))
def test_all_scores_equal_brute_force_over_tie_breaking(values, mask, sign):
    maps, masks = values[None], mask[None]
    flat, inside = values[0].tolist(), mask[0].tolist()
    empty = not any(inside)
    truth = {
        mass_accuracy: mass_by_loop(flat, inside, sign),
        rank_accuracy: NAN if empty else expected_over_orders(flat, inside, sign, sum(inside)),
        pointing_game: NAN if empty else expected_over_orders(flat, inside, sign, 1),
    }
    for score, wanted in truth.items():
        # A quotient of small whole numbers, or a mean of at most 720 of them.
        np.testing.assert_allclose(score(maps, masks, signs=sign), [wanted], rtol=1e-12)


def test_hand_computed_cases():
    maps = np.array([[[4.0, -3.0], [2.0, 1.0]]])
    mask = np.array([[[False, True], [True, False]]])
    assert mass_accuracy(maps, mask) == [0.5]  # (3 + 2) / 10
    assert mass_accuracy(maps, mask, signs=-1) == [0.3]
    assert rank_accuracy(maps, mask) == [0.5]  # of 4 and -3 only -3
    assert rank_accuracy(maps, mask, signs=1) == [0.0]
    assert pointing_game(maps, mask) == [0.0]
    # The top left corner is one pixel away from both pixels of the mask.
    assert pointing_game(maps, mask, tolerance=1) == [1.0]
    assert pointing_game(maps, mask, tolerance=0.9) == [0.0]


@pytest.mark.parametrize("score", SCORES)
def test_an_empty_mask_is_undefined_and_no_hit(score):
    maps, masks = np.ones((2, 2, 2)), np.zeros((2, 2, 2), bool)
    masks[1] = True
    np.testing.assert_array_equal(score(maps, masks), [NAN, 1.0])


def test_a_zero_map_is_undefined_for_mass_and_chance_for_ranks():
    maps, masks = np.zeros((1, 2, 4)), np.zeros((1, 2, 4), bool)
    masks[0, 0, :2] = True
    assert np.isnan(mass_accuracy(maps, masks)).all()
    assert rank_accuracy(maps, masks) == pointing_game(maps, masks) == [0.25]


@given(maps_34, masks_34, signs_34, st.sampled_from([1e-30, 1e-3, 7.0, 1e30]))
def test_laws(maps, masks, sign, factor):
    for score in SCORES:
        found = score(maps, masks, signs=sign)
        known = found[~np.isnan(found)]
        assert ((known >= 0) & (known <= 1 + 1e-12)).all()
        # float32 times a factor, and sums in another order: a few roundings of 2**-24.
        scaled = score(maps * np.float32(factor), masks, signs=sign)
        np.testing.assert_allclose(scaled, found, rtol=1e-6)
        np.testing.assert_array_equal(score(maps[::-1], masks[::-1], signs=sign), found[::-1])
        turned = score(maps.transpose(0, 2, 1), masks.transpose(0, 2, 1), signs=sign)
        np.testing.assert_allclose(turned, found, rtol=1e-12)
        # Signs: unsigned scores do not see them, and both signs together make the unsigned one.
        np.testing.assert_array_equal(
            score(-maps, masks, signs=None if sign is None else -sign), found
        )
        both = score(maps, masks, signs=1) + score(maps, masks, signs=-1)
        if not (maps == 0).any():
            np.testing.assert_allclose(both, score(maps, masks), rtol=1e-12)


@given(maps_34, masks_34)
def test_mass_on_a_mask_and_off_it_add_up(maps, masks):
    there, elsewhere = mass_accuracy(maps, masks), mass_accuracy(maps, ~masks)
    known = ~np.isnan(there + elsewhere)
    np.testing.assert_allclose((there + elsewhere)[known], 1, rtol=1e-12)


def test_signs_by_pixel():
    maps = np.array([[[2.0, -2.0, 4.0]]])
    signs = np.array([[[1, 1, 0]]])
    assert mass_accuracy(maps, np.ones((1, 1, 3), bool), signs=signs) == [0.25]


def test_evidence_signs_by_hand():
    scene, box = Scene(size=(4, 4)), [[1, 1, 3, 3]]
    inner = [1, 2]
    for coordinate, rows, sign in (("top", [0, 1], -1), ("bottom", [2, 3], 1)):
        wanted = np.zeros((4, 4))
        wanted[np.ix_(rows, inner)] = sign
        np.testing.assert_array_equal(evidence_signs(box, scene, coordinate)[0], wanted)
        np.testing.assert_array_equal(
            evidence_signs(box, scene, {"top": "left", "bottom": "right"}[coordinate])[0], wanted.T
        )
    height, center = (evidence_signs(box, scene, c)[0] for c in ("height", "center_y"))
    np.testing.assert_array_equal(height[:, 1], [1, 1, 1, 1])
    np.testing.assert_array_equal(center[:, 1], [-1, -1, 1, 1])
    dark = Scene(size=(4, 4), foreground=0.0, background=1.0)
    np.testing.assert_array_equal(evidence_signs(box, dark, "height"), -height[None])


@pytest.mark.parametrize(("inverted", "wanted"), [(0.0, 1), (1.0, -1)])
def test_signs_of_inverted_images_turn_round(inverted, wanted):
    scene = Scene(size=(6, 6), inverted=inverted)
    assert evidence_signs([[1, 1, 4, 5]], scene, "bottom").sum() == wanted * 8
    both = Scene(size=(6, 6), inverted=0.5)
    image = np.zeros((1, 6, 6, 1))
    image[0, 1:4, 1:5] = 1
    image = 1 - image if inverted else image
    assert evidence_signs([[1, 1, 4, 5]], both, "bottom", images=image).sum() == wanted * 8


def test_signs_are_those_of_the_change_when_a_pixel_of_evidence_is_flipped():
    """Flip each single lit line of evidence and read the box off the image."""
    scene, box = Scene(size=(7, 8)), np.array([[2, 3, 5, 6]])
    signs = {c: evidence_signs(box, scene, c)[0] for c in ("top", "left", "bottom", "right")}
    image = np.zeros((7, 8))
    image[2:5, 3:6] = 1
    lit_above = image.copy()
    lit_above[1, 4] = 1
    rows = np.flatnonzero(lit_above.any(1))
    assert np.sign(rows[0] - 2) == signs["top"][1, 4] == -1
    darkened = image.copy()
    darkened[4] = 0  # the last row goes dark: bottom shrinks as brightness falls
    assert np.flatnonzero(darkened.any(1))[-1] + 1 < 5
    assert signs["bottom"][4, 4] == 1


def test_errors_name_the_argument():
    maps, masks = np.ones((2, 3, 4)), np.ones((2, 3, 4), bool)
    with pytest.raises(TypeError, match="`masks` must be boolean; got dtype int64"):
        mass_accuracy(maps, masks.astype(int))
    with pytest.raises(ValueError, match="`masks` must have the shape of `maps`"):
        rank_accuracy(maps, masks[:1])
    with pytest.raises(ValueError, match=r"`maps` must have shape \(n, height, width\)"):
        pointing_game(maps[0], masks[0])
    maps[1, 0, 0] = np.inf
    with pytest.raises(ValueError, match=r"`maps` must be finite; got inf at index \(1, 0, 0\)"):
        mass_accuracy(maps, masks)
    with pytest.raises(ValueError, match="`signs` must hold -1, 0 and 1 only"):
        mass_accuracy(np.ones((2, 3, 4)), masks, signs=2)
    with pytest.raises(ValueError, match="`tolerance` must be 0 when `signs` are given"):
        pointing_game(np.ones((2, 3, 4)), masks, signs=1, tolerance=2)
