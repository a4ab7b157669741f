"""Boxes are drawn exactly: against enumeration, and against chi-square."""

from __future__ import annotations

import itertools
from collections import Counter
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chi2

from whitebox_loc.data import SCENES, MultiScene, Scene, count_boxes, generate, nth_boxes
from whitebox_loc.data.sampling import Streams, draw_boxes


def enumerate_boxes(scene: Scene) -> list[tuple[int, ...]]:
    """List the legal boxes by trying all; the slow rewrite of the numbering."""
    height, width = scene.size
    found = []
    for top, left, bottom, right in itertools.product(
        range(height), range(width), range(1, height + 1), range(1, width + 1)
    ):
        h, w = bottom - top, right - left
        legal = h > 0 and w > 0
        for side, (low, high) in (
            (h, scene.heights),
            (w, scene.widths),
            (min(h, w), scene.short_side),
        ):
            legal = legal and side >= low and (high is None or side <= high)
        if scene.aspect is not None:
            legal = legal and scene.aspect[0] * h <= w <= scene.aspect[1] * h
        if scene.position == "border":
            legal = legal and (top == 0 or left == 0 or bottom == height or right == width)
        if legal:
            found.append((top, left, bottom, right))
    return found


SMALL = [
    Scene(size=(1, 1)),
    Scene(size=(5, 4)),
    Scene(size=(1, 5), position="border"),
    Scene(size=(2, 6), position="border"),
    Scene(size=(6, 5), position="border"),
    Scene(size=(5, 6), position="border", heights=(2, 3), short_side=(1, 2)),
    Scene(size=(6, 6), heights=(2, 3), widths=(3, None)),
    Scene(size=(6, 5), short_side=(1, 2)),
    Scene(size=(6, 6), aspect=(0.5, 1.0)),
]


@pytest.mark.parametrize("scene", SMALL)
def test_numbers_name_every_legal_box_once(scene):
    boxes = nth_boxes(scene, range(count_boxes(scene)))
    assert sorted(map(tuple, boxes.tolist())) == enumerate_boxes(scene)


@settings(deadline=None)
@given(
    size=st.tuples(st.integers(1, 6), st.integers(1, 6)),
    heights=st.tuples(st.integers(1, 3), st.integers(3, 9)),
    short=st.integers(1, 6),
    position=st.sampled_from(["anywhere", "border"]),
)
def test_count_is_that_of_enumeration(size, heights, short, position):
    heights = (min(heights[0], size[0]), heights[1])
    scene = Scene(size=size, heights=heights, short_side=(1, short), position=position)
    assert count_boxes(scene) == len(enumerate_boxes(scene))


def test_count_of_the_default_scene():
    # Pairs 0 <= top < bottom <= 100, times the same for columns.
    assert count_boxes(Scene()) == (101 * 100 // 2) ** 2


def assert_frequencies(boxes: np.ndarray, probability: dict[tuple[int, ...], Fraction]) -> None:
    """Compare counts with exact probabilities by Pearson's statistic.

    The threshold is passed by chance for one seed in a million; the seeds are fixed.
    """
    counts = Counter(map(tuple, boxes.tolist()))
    assert set(counts) <= set(probability)
    assert sum(probability.values()) == 1
    n = len(boxes)
    expected = {box: float(n * p) for box, p in probability.items()}
    assert min(expected.values()) >= 5  # the usual condition for the chi-square law
    statistic = sum((counts[box] - e) ** 2 / e for box, e in expected.items())
    assert statistic < chi2.isf(1e-6, len(expected) - 1)


@pytest.mark.parametrize("scene", SMALL[1:])
def test_every_legal_box_is_equally_likely(scene):
    legal = enumerate_boxes(scene)
    boxes = draw_boxes(scene, 40 * len(legal), Streams(7))
    # Each is expected 40 times; one is missed with probability e**-40 times their number.
    assert set(map(tuple, boxes.tolist())) == set(legal)
    assert_frequencies(boxes, dict.fromkeys(legal, Fraction(1, len(legal))))


def notebook_law(size: tuple[int, int]) -> dict[tuple[int, ...], Fraction]:
    """Return the probability of each box as the original notebook draws it."""
    law = []
    for side in size:
        law.append(
            {
                (first, last): Fraction(1, (side - 10) * (side - first))
                for first in range(side - 10)
                for last in range(first, side)
            }
        )
    return {
        (top, left, bottom, right): p * q
        for (top, bottom), p in law[0].items()
        for (left, right), q in law[1].items()
    }


def test_notebook_law():
    scene = Scene(size=(13, 12), position="notebook")
    assert_frequencies(draw_boxes(scene, 40_000, Streams(3)), notebook_law(scene.size))


def test_notebook_law_without_empty_boxes():
    scene = Scene(size=(13, 12), position="notebook")
    law = {box: p for box, p in notebook_law(scene.size).items() if box[2] > box[0]}
    law = {box: p for box, p in law.items() if box[3] > box[1]}
    total = sum(law.values())
    boxes = draw_boxes(scene, 40_000, Streams(3), valid_only=True)
    assert_frequencies(boxes, {box: p / total for box, p in law.items()})


def test_notebook_limits_and_empty_boxes():
    # A side is empty with probability mean(1 / (100 - first)), first uniform in 0..89.
    side = sum(Fraction(1, 90 * (100 - first)) for first in range(90))
    empty = float(1 - (1 - side) ** 2)
    assert round(empty, 4) == 0.0496
    batch = generate("notebook", 20_000, seed=0, dtype="uint8")
    first, last = batch.boxes[:, :2], batch.boxes[:, 2:]
    assert (first.min(), first.max(), last.max()) == (0, 89, 99)
    # Five standard deviations of a mean of 20,000 draws.
    spread = 5 * (empty * (1 - empty) / len(batch)) ** 0.5
    assert abs(np.mean(~batch.valid) - empty) < spread
    np.testing.assert_array_equal(batch.valid, batch.images.any(axis=(1, 2, 3)))
    assert generate("notebook", 500, seed=0, valid_only=True).valid.all()


@pytest.mark.parametrize("name", ["small", "large", "thin", "border"])
def test_named_scenes_keep_their_promise(name):
    top, left, bottom, right = draw_boxes(SCENES[name], 5000, Streams(0)).T
    short = np.minimum(bottom - top, right - left)
    long = np.maximum(bottom - top, right - left)
    touches = (top == 0) | (left == 0) | (bottom == 100) | (right == 100)
    promise = {"small": long <= 10, "large": short >= 50, "thin": short <= 2, "border": touches}
    assert (short >= 1).all()
    assert promise[name].all()


@pytest.mark.parametrize("name", SCENES)
@pytest.mark.parametrize("valid_only", [False, True])
def test_a_larger_draw_only_adds(name, valid_only):
    few = draw_boxes(SCENES[name], 37, Streams(5), valid_only=valid_only)
    many = draw_boxes(SCENES[name], 400, Streams(5), valid_only=valid_only)
    np.testing.assert_array_equal(few, many[:37])


def test_streams_differ_by_name_and_seed():
    draws = {
        (seed, name): tuple(Streams(seed).open(name).integers(2**62, size=2).tolist())
        for seed in (0, 1)
        for name in Streams.NAMES
    }
    assert len(set(draws.values())) == len(draws)


def test_a_generator_is_advanced():
    random = np.random.default_rng(0)
    first, second = (draw_boxes(Scene(), 4, Streams(random)) for _ in range(2))
    assert not np.array_equal(first, second)
    again = draw_boxes(Scene(), 4, Streams(np.random.default_rng(0)))
    np.testing.assert_array_equal(first, again)


def test_errors():
    with pytest.raises(ValueError, match=r"^`numbers` must lie in 0 \.\. 8, .* got 0 \.\. 9\.$"):
        nth_boxes(Scene(size=(2, 2)), [0, 9])
    for wrong, got in (([1.5], "float64"), (None, "object"), (["a"], "<U1")):
        with pytest.raises(TypeError, match=f"^`numbers` must hold whole numbers; got dtype {got}"):
            nth_boxes(Scene(size=(2, 2)), wrong)
    text = (
        "`scene` must not have position='notebook', whose boxes are not equally likely and have no "
        "numbers. Use position='anywhere' or 'border'."
    )
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the whole text is compared
        count_boxes(SCENES["notebook"])
    assert str(caught.value) == text


def test_scenes_by_name_and_scenes_of_several_boxes():
    assert count_boxes("thin") == count_boxes(SCENES["thin"])
    np.testing.assert_array_equal(nth_boxes("thin", [0, 7]), nth_boxes(SCENES["thin"], [0, 7]))
    multi = MultiScene(Scene(size=(20, 20)), boxes=2)
    for call in (count_boxes, lambda scene: nth_boxes(scene, [0])):
        with pytest.raises((TypeError, ValueError), match="`scene`"):
            call(multi)
