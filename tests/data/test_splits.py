"""Regions and splits against enumeration: disjoint, complete, exact in size, equally likely."""

from __future__ import annotations

import dataclasses
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chi2

from whitebox_loc.data import Scene, count_boxes, generate, nth_boxes
from whitebox_loc.data.splits import REGIONS, count_part, part_numbers

QUADRANTS = REGIONS[1:5]

SMALL = [
    Scene(size=(1, 1)),
    Scene(size=(1, 4)),
    Scene(size=(5, 4)),
    Scene(size=(4, 6), heights=(2, 3)),
    Scene(size=(5, 5), short_side=(1, 2)),
    Scene(size=(6, 5), aspect=(0.5, 1.0)),
]


def every(scene: Scene) -> list[tuple[int, ...]]:
    return sorted(map(tuple, nth_boxes(scene, range(count_boxes(scene))).tolist()))


def lies_in(box: tuple[int, ...], size: tuple[int, int], region: str) -> bool:
    top, left, bottom, right = box
    vertical = "top" if (top + bottom) / 2 < size[0] / 2 else "bottom"
    horizontal = "left" if (left + right) / 2 < size[1] / 2 else "right"
    name = f"{vertical}_{horizontal}"
    return region == "anywhere" or region == name or (region[:4] == "not_" and region[4:] != name)


@pytest.mark.parametrize("scene", SMALL)
@pytest.mark.parametrize("region", REGIONS)
def test_a_region_holds_the_boxes_whose_centre_is_in_it(scene, region):
    legal = [box for box in every(scene) if lies_in(box, scene.size, region)]
    if not legal:
        with pytest.raises(ValueError, match=f"No box fits this scene: .*, `region` '{region}'"):
            dataclasses.replace(scene, region=region)
        return
    assert every(dataclasses.replace(scene, region=region)) == legal


def assert_equally_likely(scene: Scene) -> None:
    """Compare counts by Pearson's statistic; chance passes it once in a million seeds."""
    legal = every(scene)
    counts = Counter(map(tuple, generate(scene, 40 * len(legal), seed=3).boxes.tolist()))
    assert set(counts) <= set(legal)
    statistic = sum((counts[box] - 40) ** 2 / 40 for box in legal)
    assert statistic < chi2.isf(1e-6, len(legal) - 1)


@pytest.mark.parametrize(
    "scene",
    [
        Scene(size=(5, 4), region="not_top_left"),
        Scene(size=(5, 4), region="bottom_left"),
        Scene(size=(5, 4), split=("train", 0.7, 1)),
        Scene(size=(5, 4), position="border", split=("test", 0.7, 1)),
    ],
)
def test_every_box_of_a_part_is_equally_likely(scene):
    assert_equally_likely(scene)


@pytest.mark.parametrize("position", ["anywhere", "border"])
@pytest.mark.parametrize("share", [0.0, 0.3, 0.8, 1.0])
def test_train_and_test_are_disjoint_and_complete(position, share):
    scene = Scene(size=(5, 6), position=position)
    total = count_boxes(scene)
    parts = []
    for part, size in (("train", round(share * total)), ("test", total - round(share * total))):
        if size:
            parts += every(dataclasses.replace(scene, split=(part, share, 9)))
    assert sorted(parts) == every(scene)


@given(
    total=st.integers(1, 400),
    share=st.floats(0, 1),
    seed=st.integers(0, 2**40),
)
def test_parts_cut_a_permutation(total, share, seed):
    found = []
    for part in ("train", "test"):
        split = (part, share, seed)
        size = count_part(total, split)
        found.append(part_numbers(np.arange(size), total, split))
    assert len(found[0]) == round(share * total)
    np.testing.assert_array_equal(np.sort(np.concatenate(found)), np.arange(total))


def test_the_shuffle_has_no_pattern():
    total, seeds = 3136, 40
    orders = [part_numbers(np.arange(total), total, ("train", 1.0, seed)) for seed in range(seeds)]
    places = np.arange(total)
    for order in orders:
        # Five standard deviations of the correlation of a random permutation with another.
        assert abs(np.corrcoef(order, places)[0, 1]) < 5 / total**0.5
        assert abs(np.corrcoef(order[1:], order[:-1])[0, 1]) < 5 / total**0.5
    # The first place holds a number of each tenth equally often over the seeds and places.
    tenths = np.bincount(np.concatenate([order[:50] for order in orders]) * 10 // total)
    assert ((tenths - 200) ** 2 / 200).sum() < chi2.isf(1e-6, 9)
    assert len({order.tobytes() for order in orders}) == seeds


def test_millions_of_boxes_are_split_without_a_table():
    whole = Scene()
    parts = [Scene(split=(part, 0.5, 4)) for part in ("train", "test")]
    assert sum(map(count_boxes, parts)) == count_boxes(whole)
    drawn = []
    for seed, part in enumerate(parts):
        batch = generate(Scene(size=(40, 40), split=part.split), 9000, seed=seed)
        drawn.append(set(map(tuple, batch.boxes.tolist())))
    # 672,400 boxes: two independent draws of 9000 would share some 120.
    assert not drawn[0] & drawn[1]


def test_the_squares_of_coordconv():
    squares = Scene(size=(64, 64), heights=(9, 9), widths=(9, 9))
    count = {r: count_boxes(dataclasses.replace(squares, region=r)) for r in REGIONS}
    assert count["anywhere"] == 56 * 56 == 3136
    assert {count[name] for name in QUADRANTS} == {28 * 28}
    assert {count[f"not_{name}"] for name in QUADRANTS} == {3 * 28 * 28}
    assert count_boxes(dataclasses.replace(squares, split=("train", 0.8, 0))) == 2509
    assert count_boxes(dataclasses.replace(squares, split=("test", 0.8, 0))) == 627


@pytest.mark.parametrize(
    ("fields", "error", "text"),
    [
        (
            {"region": "not_top_lft"},
            ValueError,
            f"`region` must be one of {list(REGIONS)}; got 'not_top_lft'. "
            "Did you mean 'not_top_left'?",
        ),
        (
            {"region": "top_left", "position": "border"},
            ValueError,
            "`region` 'top_left' needs position='anywhere'; got position='border'.",
        ),
        (
            {"split": 0.8},
            TypeError,
            "`split` must be (part, share, seed), such as ('train', 0.8, 0), or None; got 0.8.",
        ),
        (
            {"split": ("valid", 0.8, 0)},
            ValueError,
            "`split[0]` must be one of ['train', 'test']; got 'valid'.",
        ),
        (
            {"split": ("train", 1.8, 0)},
            ValueError,
            "`split[1]` must be a finite number between 0 and 1; got 1.8.",
        ),
        (
            {"split": ("train", 0.8, -1)},
            ValueError,
            "`split[2]` must be a whole number >= 0; got -1.",
        ),
        (
            {"split": ("train", 0.8, 0), "position": "notebook", "size": (20, 20)},
            ValueError,
            "position='notebook' draws boxes that are not equally likely and takes no `split`; "
            "got ('train', 0.8, 0). Use position='anywhere'.",
        ),
        (
            {"split": ("test", 1.0, 0)},
            ValueError,
            "No box fits this scene: `size` (8, 8), `heights` (1, None), `widths` (1, None), "
            "`short_side` (1, None), `aspect` None, `split` ('test', 1.0, 0). Widen a limit or "
            "enlarge `size`.",
        ),
    ],
)
def test_errors(fields, error, text):
    with pytest.raises(error) as caught:
        Scene(**({"size": (8, 8)} | fields))
    assert str(caught.value) == text
