import dataclasses
import itertools

import numpy as np
import pytest
from hypothesis import given, reject, settings
from hypothesis import strategies as st
from scipy import stats

import whitebox_loc as wb
from whitebox_loc.data import MultiScene, Scene, generate
from whitebox_loc.data.sampling import count_boxes, nth_boxes

MULTI = MultiScene(Scene(size=(40, 30)), boxes=(0, 3), gap=2)
DECORATED = Scene(
    size=(40, 32),
    channels=2,
    shapes=("ellipse", "ring", "rectangle"),
    foreground=(0.6, 1.0),
    background=(0.0, 0.3),
    texture=(0.0, 0.3),
    noise=0.05,
    blur=(0.0, 1.0),
    distractors=(0, 3),
    inverted=0.5,
    background_gradient=0.1,
    background_texture=0.1,
    occlusion=0.2,
)


def free_pixels(a, b, size):
    """Least number of free rows or columns that separate two boxes, counted on the canvas."""
    best = -1
    for axis in (0, 1):
        covered = [set(range(box[axis], box[axis + 2])) for box in (a, b)]
        if covered[0] & covered[1]:
            continue
        low, high = sorted(covered, key=min)
        best = max(best, len(set(range(size[axis])) & set(range(max(low) + 1, min(high)))))
    return best


@st.composite
def multi_scenes(draw):
    height, width = draw(st.integers(12, 40)), draw(st.integers(12, 40))
    position = draw(st.sampled_from(["anywhere", "border", "notebook"]))
    limits = {}
    if position != "notebook":
        limits = {"heights": (1, draw(st.integers(3, 12))), "widths": (1, draw(st.integers(3, 12)))}
    scene = Scene(size=(height, width), position=position, **limits)
    fewest = draw(st.integers(0, 2))
    numbers, gap = (fewest, draw(st.integers(max(fewest, 1), 3))), draw(st.integers(0, 2))
    try:
        return MultiScene(scene, numbers, gap)
    except ValueError:  # no room, as in a small "notebook", whose boxes all start near a corner
        reject()


@given(multi_scenes(), st.integers(0, 2**32))
@settings(max_examples=60)
def test_boxes_are_legal_and_keep_the_gap(multi, seed):
    batch = generate(multi, 40, seed=seed, dtype="uint8")
    rows, columns, _ = multi.scene.limits()
    for boxes, labels, count in zip(
        batch.boxes.tolist(), batch.labels.tolist(), batch.counts, strict=True
    ):
        assert multi.fewest <= count <= multi.most
        assert boxes[count:] == [[0] * 4] * (multi.most - count)
        assert labels == [0] * count + [-1] * (multi.most - count)
        for top, left, bottom, right in boxes[:count]:
            assert 0 <= top < bottom <= multi.size[0]
            assert 0 <= left < right <= multi.size[1]
            assert rows[0] <= bottom - top <= rows[1]
            assert columns[0] <= right - left <= columns[1]
            if multi.scene.position == "border":
                assert top == 0 or left == 0 or bottom == multi.size[0] or right == multi.size[1]
        for a, b in itertools.combinations(boxes[:count], 2):
            assert free_pixels(a, b, multi.size) >= multi.gap


def test_the_gap_is_reached():
    """No distance but those below the gap is left out."""
    for gap in (0, 1, 3):
        batch = generate(dataclasses.replace(MULTI, gap=gap, boxes=2), 400, seed=0)
        assert min(free_pixels(*pair, (40, 30)) for pair in batch.boxes.tolist()) == gap


def test_images_are_the_union_of_boxes_rendered_one_by_one():
    batch = generate(MULTI, 60, seed=1)
    for image, boxes, count in zip(batch.images, batch.boxes, batch.counts, strict=True):
        union = np.zeros((40, 30, 1), np.float32)
        for box in boxes[:count]:
            union = np.maximum(union, wb.data.render([box], MULTI.scene)[0])
        np.testing.assert_array_equal(image, union)


def test_shapes_are_drawn_by_their_labels():
    scene = Scene(
        size=(40, 32), shapes=("ellipse", "ring", "diamond"), heights=(5, 12), widths=(5, 12)
    )
    batch = generate(MultiScene(scene, (1, 4)), 60, seed=1)
    assert set(batch.labels[batch.valid].tolist()) == {0, 1, 2}
    for image, boxes, labels, count in zip(
        batch.images, batch.boxes, batch.labels, batch.counts, strict=True
    ):
        union = wb.data.render(boxes[:count], scene, labels=labels[:count]).max(axis=0)
        np.testing.assert_array_equal(image, union)


def test_one_box_with_every_decoration_looks_as_in_a_single_scene():
    """With as many boxes as one, decorations must come from the same streams as `render`."""
    batch = generate(MultiScene(DECORATED, boxes=1), 30, seed=5)
    alone = wb.data.render(batch.boxes[:, 0], DECORATED, labels=batch.labels[:, 0], seed=5)
    np.testing.assert_array_equal(batch.images, alone)


def test_decorations_of_several_boxes():
    """Without noise and blur, pixels outside the boxes are those of an image without boxes."""
    scene = dataclasses.replace(DECORATED, noise=0.0, blur=0.0, distractors=0, occlusion=0.0)
    batch = generate(MultiScene(scene, (2, 4), gap=1), 30, seed=5)
    empty = wb.data.render(np.zeros((30, 4), int), scene, seed=5)
    for i in range(30):
        outside = np.ones((40, 32), bool)
        for top, left, bottom, right in batch.boxes[i, : batch.counts[i]]:
            outside[top:bottom, left:right] = False
            assert not np.array_equal(
                batch.images[i, top:bottom, left:right], empty[i, top:bottom, left:right]
            )
        np.testing.assert_array_equal(batch.images[i][outside], empty[i][outside])


def test_each_box_has_its_own_occlusion():
    scene = Scene(size=(40, 32), heights=(9, 9), widths=(9, 9), occlusion=0.3)
    batch = generate(MultiScene(scene, 2), 50, seed=1)
    same = 0
    for image, boxes in zip(batch.images, batch.boxes.tolist(), strict=True):
        first, second = (image[top:bottom, left:right] for top, left, bottom, right in boxes)
        assert first.sum() == second.sum() == 81 - 25  # 0.3 ** 0.5 of a side, rounded
        same += np.array_equal(first, second)
    assert same < 10  # there are 25 places, equally likely, so 2 are expected


def test_each_number_of_boxes_is_equally_likely():
    counts = generate(MULTI, 4000, seed=2, dtype="uint8").counts
    observed = np.bincount(counts, minlength=4)
    # The seed is fixed, so this either always passes or never; a fair draw fails for one seed in
    # a million.
    assert ((observed - 1000) ** 2 / 1000).sum() < stats.chi2.ppf(1 - 1e-6, df=3)


def test_a_second_box_is_equally_likely_among_those_that_keep_the_gap():
    """Brute force over all pairs of a small canvas, whatever the order that they come in."""
    scene = Scene(size=(5, 4), heights=(1, 2), widths=(1, 2))
    multi, boxes = MultiScene(scene, boxes=2, gap=1), nth_boxes(scene, range(count_boxes(scene)))
    fits = np.array([[free_pixels(a, b, (5, 4)) >= 1 for b in boxes] for a in boxes.tolist()])
    assert fits.any(axis=1).all()
    # The first is begun anew if 32 draws find no second: its weight is the share that does.
    found = 1 - (1 - fits.mean(axis=1)) ** 32
    law = (found / found.sum())[:, None] * fits / fits.sum(axis=1, keepdims=True)
    law = (law + law.T) / 2  # shuffled
    n = 40_000
    drawn = generate(multi, n, seed=3, dtype="uint8").boxes
    place = {tuple(box): i for i, box in enumerate(boxes.tolist())}
    observed = np.zeros(law.shape)
    for a, b in drawn.tolist():
        observed[place[tuple(a)], place[tuple(b)]] += 1
    assert (observed[law == 0] == 0).all()
    expected = n * law[law > 0]
    assert expected.min() >= 5  # so that the statistic is close to a chi-square
    statistic = ((observed[law > 0] - expected) ** 2 / expected).sum()
    assert statistic < stats.chi2.ppf(1 - 1e-6, df=len(expected) - 1)


@pytest.mark.parametrize("scene", [Scene(size=(32, 32)), DECORATED], ids=["plain", "decorated"])
def test_more_images_and_other_chunks_change_nothing(scene):
    multi = MultiScene(scene, (1, 4), gap=1)
    few, many = generate(multi, 70, seed=4), generate(multi, 150, seed=4, chunk=11)
    again, other = generate(multi, 70, seed=4), generate(multi, 70, seed=5)
    for name in ("images", "boxes", "labels", "counts"):
        np.testing.assert_array_equal(getattr(few, name), getattr(many, name)[:70])
        assert getattr(few, name).tobytes() == getattr(again, name).tobytes()
        assert getattr(few, name).tobytes() != getattr(other, name).tobytes() or name == "labels"


def test_batch_fields():
    batch = generate(MULTI, 5, seed=0, dtype="uint8")
    assert len(batch) == 5
    assert batch.images.dtype == np.uint8
    assert batch.images.max() == 255
    assert len(generate(MULTI, 0)) == 0
    np.testing.assert_array_equal(batch.valid.sum(axis=1), batch.counts)
    expected = batch.boxes / np.array([40, 30, 40, 30])
    np.testing.assert_allclose(batch.rel_boxes, expected, rtol=1e-7)


def test_a_crowd_needs_no_luck():
    """Nine boxes that leave no pixel to spare in either direction are refused or found, fast."""
    tight = Scene(size=(11, 11), heights=(3, 3), widths=(3, 3))
    with pytest.raises(ValueError, match="9 boxes in an image of 11 x 11 pixels"):
        MultiScene(tight, boxes=9, gap=1)
    roomy = MultiScene(Scene(size=(64, 64), heights=(2, 10), widths=(2, 10)), boxes=(20, 20), gap=1)
    assert generate(roomy, 10).boxes.shape == (10, 20, 4)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"boxes": (3, 2)}, r"`boxes\[1\]` must be a whole number >= 3; got 2"),
        ({"boxes": (0, 0)}, r"`boxes\[1\]` must be a whole number >= 1; got 0"),
        ({"boxes": -1}, r"`boxes\[0\]` must be a whole number >= 0"),
        ({"gap": -1}, "`gap` must be a whole number >= 0"),
        ({"scene": Scene(heights=(60, None), widths=(60, None)), "boxes": 2},
         "2 boxes in an image of 100 x 100 pixels, which were found for only 0 of 32 images"),
        ({"scene": Scene(heights=(80, None), widths=(80, None)), "boxes": 2},
         "2 boxes in an image of 100 x 100 pixels, more than fit"),
        ({"scene": "unknown"}, "`scene` must be one of"),
    ],
)  # fmt: skip
def test_bad_arguments(options, message):
    with pytest.raises(ValueError, match=message):
        MultiScene(**options)


def test_bad_number_of_numbers():
    with pytest.raises(TypeError, match=r"`boxes` must be \(fewest, most\)"):
        MultiScene(boxes=(1, 2, 3))


def test_dataset_of_several_boxes():
    pipeline = wb.data.dataset(MULTI, batch_size=4, seed=3, start=2, labels=True)
    for index, (images, (boxes, labels)) in zip((2, 3), pipeline, strict=False):
        batch = wb.data.batch_at(MULTI, index, batch_size=4, seed=3)
        np.testing.assert_array_equal(images, batch.images)
        np.testing.assert_array_equal(boxes, batch.rel_boxes)
        np.testing.assert_array_equal(labels, batch.labels)
    assert boxes.shape == (4, 3, 4)
    images, boxes = pipeline.element_spec[0], wb.data.dataset(MULTI, 4).element_spec[1]
    assert boxes.shape == (4, 3, 4)
