"""Every shift: nothing at severity 0, one known change above, drawn as promised."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from whitebox_loc.data import SCENES, SHAPES, Scene, count_boxes, generate, nth_boxes
from whitebox_loc.training.shifts import COORDCONV, SHIFTS, Shift, find_shifts

BASE = Scene(size=(40, 50))
APPEARANCE = ["contrast", "inverted", "grey", "gradient", "backdrop", "texture", "noise", "blur",
              "occlusion", "distractors"]  # fmt: skip


@pytest.mark.parametrize("name", SHIFTS)
def test_a_row_is_complete(name):
    shift = SHIFTS[name]
    assert shift.name == name
    assert shift.severities[0] == 0
    assert list(shift.severities) == sorted(set(shift.severities))
    assert shift.moderate in shift.severities[1:]
    assert shift.unit
    assert shift.summary


@pytest.mark.parametrize("name", SHIFTS)
@pytest.mark.parametrize("scene", [BASE, SCENES["notebook"], SCENES["thin"]])
def test_severity_0_is_the_unshifted_scene(name, scene):
    assert SHIFTS[name].scene(scene, 0) is scene


@pytest.mark.parametrize("name", SHIFTS)
@pytest.mark.parametrize("base", [BASE, SCENES["uniform"], SCENES["notebook"]])
def test_every_severity_changes_the_images(name, base):
    before = generate(base, 20, seed=0, valid_only=True).images
    for severity in SHIFTS[name].severities[1:]:
        batch = generate(SHIFTS[name].scene(base, severity), 20, seed=0, valid_only=True)
        assert not np.array_equal(batch.images, before)
        before = batch.images


@pytest.mark.parametrize("name", APPEARANCE)
def test_a_shift_of_appearance_keeps_the_boxes(name):
    before = generate(BASE, 30, seed=0).boxes
    for severity in SHIFTS[name].severities:
        batch = generate(SHIFTS[name].scene(BASE, severity), 30, seed=0)
        np.testing.assert_array_equal(batch.boxes, before)


def boxes_of(name: str, severity: float) -> np.ndarray:
    scene = SHIFTS[name].scene(Scene(size=(12, 15)), severity)
    return nth_boxes(scene, range(count_boxes(scene)))


def test_limits_on_boxes_over_all_boxes():
    every = boxes_of("larger", 0)
    sides = every[:, 2:] - every[:, :2]
    h, w = sides.T
    for name, severity, legal in (
        ("larger", 0.5, (h >= 6) & (w >= 8)),  # round(7.5) = 8, to the even
        ("smaller", 0.75, (h <= 3) & (w <= 4)),
        ("wide", 4, w >= 4 * h),
        ("tall", 2, h >= 2 * w),
        ("cut", 1, (every[:, :2] == 0).any(axis=1) | (every[:, 2:] == (12, 15)).any(axis=1)),
        ("quadrant", 1, (every[:, ::2].sum(axis=1) >= 12) & (every[:, 1::2].sum(axis=1) >= 15)),
    ):
        found = boxes_of(name, severity)
        assert sorted(map(tuple, found.tolist())) == sorted(map(tuple, every[legal].tolist()))
    slivers = boxes_of("cut", 2)
    assert (slivers[:, 2:] - slivers[:, :2]).min(axis=1).max() == 2


def test_wide_and_tall_keep_other_limits_where_such_boxes_fit():
    shapes = SCENES["shapes"]  # sides of at least 8
    for name, legal in (("wide", (2.0, 100.0)), ("tall", (0.0, 0.5))):
        shift = SHIFTS[name]
        assert shift.scene(shapes, 2) == dataclasses.replace(shapes, aspect=legal)
        # 8 x 16 = 128 pixels do not fit, so that sides are free.
        freed = shift.scene(shapes, 16)
        assert (freed.heights, freed.widths) == ((1, None), (1, None))
        assert "other limits on sides go where no such box fits" in shift.summary


def test_a_quadrant_of_a_scene_of_the_border():
    found = SHIFTS["quadrant"].scene("border", 1)
    assert found == Scene(region="bottom_right")


def test_levels_by_hand():
    def levels(name, severity, scene=BASE):
        shifted = SHIFTS[name].scene(scene, severity)
        return shifted.foreground, shifted.background

    assert levels("contrast", 0.75) == (0.25, 0.0)
    assert levels("grey", 0.25) == (1.0, 0.25)
    assert levels("inverted", 1) == (0.0, 1.0)
    assert levels("inverted", 0.25) == (0.75, 0.25)
    dark = Scene(foreground=0.25, background=(0.5, 1.0))
    assert levels("contrast", 0.5, dark) == (0.375, (0.5, 1.0))
    assert levels("grey", 0.5, dark) == (0.25, (0.375, 0.625))
    assert levels("inverted", 1, dark) == (0.75, (0.0, 0.5))


def test_inverted_fully_is_the_complement_of_the_image():
    images = generate(BASE, 10, seed=0).images
    swapped = generate(SHIFTS["inverted"].scene(BASE, 1), 10, seed=0).images
    np.testing.assert_array_equal(swapped, 1 - images)


def test_shapes_are_those_not_trained_on():
    scene = SHIFTS["shapes"].scene(Scene(shapes=("ring", "cross")), 1)
    assert set(scene.shapes) == set(SHAPES) - {"ring", "cross"}


def test_the_held_out_quadrant_is_the_one_that_training_left_out():
    assert SHIFTS["quadrant"].scene("uniform", 1).region == "bottom_right"
    trained = Scene(region="not_top_left")
    assert SHIFTS["quadrant"].scene(trained, 1) == Scene(region="top_left")


def test_coordconv_splits_are_disjoint_and_complete():
    squares = dataclasses.replace(COORDCONV["quadrant"][0], region="anywhere")
    every = set(map(tuple, nth_boxes(squares, range(3136)).tolist()))
    for (train, test), sizes in zip(
        (COORDCONV["uniform"], COORDCONV["quadrant"]), ((2509, 627), (2352, 784)), strict=True
    ):
        parts = [
            set(map(tuple, nth_boxes(s, range(count_boxes(s))).tolist())) for s in (train, test)
        ]
        assert tuple(map(len, parts)) == sizes
        assert not parts[0] & parts[1]
        assert parts[0] | parts[1] == every
    # The centres of the test quadrant are the lower and righter half of the 56 x 56 grid.
    assert min(parts[1]) == (28, 28, 37, 37)
    assert max(parts[1]) == (55, 55, 64, 64)


def test_find_shifts():
    own = {"mine": dataclasses.replace(SHIFTS["blur"], name="mine")}
    assert find_shifts(None) is SHIFTS
    assert find_shifts(own) == own
    renamed = find_shifts({"smear": SHIFTS["blur"]})
    assert renamed == {"smear": dataclasses.replace(SHIFTS["blur"], name="smear")}
    assert list(find_shifts("blur")) == ["blur"]
    assert list(find_shifts(["noise", "blur"])) == ["noise", "blur"]


def own(severities, moderate):
    return Shift("own", lambda scene, severity: scene, severities, moderate, "", "")


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda: find_shifts(["blurr"]), ValueError, r"`shifts\[0\]` must be one of .*'blur'\?$"),
        (lambda: find_shifts({"a": 1}), TypeError, r"must map names to Shift records; 'a' is 1\.$"),
        (lambda: SHIFTS["noise"].scene(BASE, -1), ValueError, "`severity` must be .* got -1"),
        (
            lambda: SHIFTS["inverted"].scene(BASE, 0.5),
            ValueError,
            r"^Shift 'inverted' of severity 0\.5 .* is not possible for this scene: `foreground`",
        ),
        (
            lambda: SHIFTS["wide"].scene(Scene(size=(20, 4)), 8),
            ValueError,
            r"^Shift 'wide' of severity 8 .* is not possible for this scene: No box fits",
        ),
        (
            lambda: SHIFTS["shapes"].scene("shapes", 1),
            ValueError,
            r"^Shift 'shapes' of severity 1 .* not possible for this scene: `shapes` of the scene "
            "are all there are",
        ),
        (
            lambda: own((0.1, 0.2), 0.2),
            ValueError,
            r"`severities` of shift 'own' must begin with 0",
        ),
        (lambda: own((), 0), ValueError, r"must begin with 0, .* and rise; got \(\)"),
        (lambda: own((0, 2, 1), 1), ValueError, r"and rise; got \(0, 2, 1\)"),
        (lambda: own((0, 1, 1), 1), ValueError, r"and rise; got \(0, 1, 1\)"),
        (lambda: own((0, 1), 0), ValueError, r"`moderate` of shift 'own' .* \[1\.0\]; got 0"),
        (lambda: own((0, 1), 0.5), ValueError, r"one of its severities above 0, .*; got 0\.5"),
        (lambda: Shift("a", None, (0, 1), 1, "", "").scene("unifrom", 0), ValueError, "'uniform'"),
    ],
)
def test_errors(call, error, text):
    with pytest.raises(error, match=text):
        call()
