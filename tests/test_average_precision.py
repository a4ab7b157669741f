"""Average precision: by hand, and against COCO's own evaluation."""

import contextlib
import io
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

import whitebox_loc as wb
from whitebox_loc.metrics import mean_average_precision
from whitebox_loc.metrics.average_precision import AREAS

TRUTH = [[[0, 0, 10, 10], [20, 20, 40, 40]]]
SIZE = (200, 160)


def score(boxes, scores, truth=TRUTH, **options):
    return mean_average_precision((boxes, scores), truth, format="yxyx", **options)


def test_perfect_detections_have_exactly_one():
    result = score(TRUTH, [[0.2, 0.2]])
    assert (result.map, result.map50, result.map75, result.small) == (1.0, 1.0, 1.0, 1.0)
    assert result.recall == {1: 0.5, 10: 1.0, 100: 1.0}
    assert np.isnan([result.medium, result.large]).all()
    assert (result.precision == 1).all()
    assert result.precision.shape == (10, 101, 1)


def test_a_wrong_box_between_two_right_ones():
    """Recall 1/2 at precision 1, recall 1 at precision 2/3: 51 and 50 of 101 points."""
    boxes = [[[0, 0, 10, 10], [20, 20, 40, 40], [50, 50, 60, 60]]]
    assert score(boxes, [[0.9, 0.6, 0.7]]).map == pytest.approx((51 + 50 * 2 / 3) / 101, rel=1e-14)
    # The wrong one last costs nothing, first it costs half of the first hit.
    assert score(boxes, [[0.9, 0.7, 0.6]]).map == 1
    first = score(boxes, [[0.7, 0.6, 0.9]])
    assert first.map == pytest.approx(2 / 3, rel=1e-14)  # precision 1/2, then 2/3: 2/3 is greatest
    assert score(boxes, [[0.9, 0.6, 0.7]], most=1).map == pytest.approx(51 / 101)
    assert score(boxes, [[0.7, 0.6, 0.9]], most=1).map == 0


def test_a_second_box_on_one_truth_is_wrong():
    boxes = [[[0, 0, 10, 10], [0, 0, 10, 10], [20, 20, 40, 40]]]
    assert score(boxes, [[0.9, 0.8, 0.7]]).map == pytest.approx((51 + 50 * 2 / 3) / 101, rel=1e-14)


def test_a_found_box_with_swapped_corners_is_wrong():
    boxes = [[[0, 0, 10, 10], [40, 20, 20, 40], [20, 20, 40, 40]]]
    assert score(boxes, [[0.9, 0.8, 0.7]]).map == pytest.approx((51 + 50 * 2 / 3) / 101, rel=1e-14)


def test_thresholds_are_inclusive():
    # Side by side in rows of 10: 8 of 10 columns shared with nothing beyond, IoU 0.8.
    result = score([[[0, 0, 10, 8]]], [[1.0]], [[[0, 0, 10, 10]]])
    np.testing.assert_allclose(result.thresholds, np.arange(50, 100, 5) / 100)
    np.testing.assert_array_equal(result.by_threshold, [1] * 7 + [0] * 3)
    assert result.map == pytest.approx(0.7)
    assert (result.map50, result.map75) == (1, 1)


def test_classes_count_alike_and_only_those_with_truth():
    boxes = np.array([[[0, 0, 10, 10], [20, 20, 40, 40], [0, 0, 5, 5]]])
    found = (boxes, [[0.9, 0.9, 0.9]], np.array([[3, 0, 7]]))
    result = mean_average_precision(found, (boxes[:, :2], np.array([[3, 1]])), format="yxyx")
    assert result.by_class == {1: 0.0, 3: 1.0}
    assert result.map == 0.5
    assert result.classes.tolist() == [1, 3]


def test_nothing_found_is_zero_and_nothing_to_find_is_nan():
    nothing = np.zeros((1, 0, 4))
    assert score(nothing, np.zeros((1, 0))).map == 0
    assert score(nothing, np.zeros((1, 0))).recall == {1: 0, 10: 0, 100: 0}
    for empty in (nothing, (np.zeros((1, 2, 4)), np.full((1, 2), -1))):
        result = score(TRUTH, [[0.5, 0.5]], empty)
        assert np.isnan([result.map, result.map50, result.small, result.recall[100]]).all()
        assert result.by_class == {}
    # An image without true boxes can only add wrong ones.
    truth = (np.array([TRUTH[0], TRUTH[0]]), np.array([[0, 0], [-1, -1]]))
    twice = [TRUTH[0], TRUTH[0]]
    assert score(twice, [[0.5, 0.5], [0.4, 0.4]], truth).map == 1
    assert score(twice, [[0.4, 0.4], [0.5, 0.5]], truth).map == pytest.approx(0.5)


def test_batches_and_formats():
    pixels = np.array([[[10, 20, 30, 60], [0, 0, 0, 0]], [[5, 5, 9, 9], [50, 60, 100, 160]]])
    labels = np.array([[0, -1], [0, 1]])
    truth = SimpleNamespace(boxes=pixels, labels=labels)
    fractions = wb.boxes.convert(pixels, "yxyx", "rel_yxyx", size=SIZE).astype(np.float32)
    fractions[0, 1] = np.nan  # padding may hold anything
    found = SimpleNamespace(boxes=fractions, scores=np.full((2, 2), 0.5, np.float32), labels=labels)
    result = mean_average_precision(found, truth, size=SIZE)
    assert result.map == 1
    assert (result.small, result.medium) == (1, 1)
    centred = wb.boxes.convert(pixels, "yxyx", "center_xywh")
    same = mean_average_precision(
        (centred, np.ones((2, 2)), labels), (pixels, labels), format="center_xywh"
    )
    np.testing.assert_array_equal(same.precision, result.precision)


def test_padding_of_bare_true_boxes_is_no_box():
    padded = np.concatenate([TRUTH, np.zeros((1, 3, 4), int)], axis=1)
    for truth in (padded, padded.tolist(), padded.astype("float32"), (padded, None)):
        assert score(TRUTH, [[0.9, 0.8]], truth).map == 1
    # Labels decide where they are given: an empty box that is never found.
    assert score(TRUTH, [[0.9, 0.8]], (padded, [[0, 0, 0, -1, -1]])).recall[100] == pytest.approx(
        2 / 3
    )


def test_labels_that_a_model_does_not_tell_are_left_out():
    labels = np.array([[3, 1, -1]])
    truth = SimpleNamespace(boxes=np.array([[*TRUTH[0], [50, 50, 60, 60]]]), labels=labels)
    assert score(TRUTH, [[0.9, 0.8]], truth).map == 0
    result = score(TRUTH, [[0.9, 0.8]], truth, use_labels=False)
    assert (result.map, result.by_class) == (1, {0: 1.0})
    # The labels of what is found are left out as well, but for the padding.
    found = (truth.boxes, [[0.9, 0.8, 1.0]], [[7, 5, -1]])
    result = mean_average_precision(found, TRUTH, format="yxyx", use_labels=False)
    assert result.map == 1


def test_fractions_that_are_given_as_pixels_are_refused():
    fractions = np.array(TRUTH) / 40
    with pytest.raises(ValueError, match=r"`found` must hold pixels, since `format` is 'yxyx'"):
        score(fractions, [[0.9, 0.8]])
    # Those of a model may reach beyond the image.
    with pytest.raises(ValueError, match=r"`found`.* got only numbers in -0\.05 \.\. 1"):
        score([[[-0.05, 0.1, 0.2, 0.3], [0, 0, 1, 1]]], [[0.9, 0.8]])
    found = (fractions, [[0.9, 0.8]])
    with pytest.raises(ValueError, match=r"`truth` must hold.*Give truth_format='rel_yxyx' and"):
        mean_average_precision(found, fractions, size=(40, 40))
    assert mean_average_precision(found, TRUTH, size=(40, 40)).map == 1
    # Boxes of a pixel, and found ones that are not whole where others say what they are.
    tiny = [[[0, 0, 1, 1]]]
    assert score(tiny, [[0.9]], tiny).map == 1
    near = [[[0.1, 0, 1, 1], [30, 30, 40, 40]]]
    assert score(near, [[0.9, 0.8]], [[[0, 0, 1, 1]]]).map50 == 1


def coco(found, truth, classes, areas, most):
    """Return COCO's own evaluation, with -1 as NaN."""
    with contextlib.redirect_stdout(io.StringIO()):
        sets = [_dataset(found, classes), _dataset(truth, classes)]
        evaluation = COCOeval(sets[1], sets[0], "bbox")
        evaluation.params.areaRng = [[0, 1e10], *map(list, areas.values())]
        evaluation.params.maxDets = most
        evaluation.evaluate()
        evaluation.accumulate()
    tables = [np.where(evaluation.eval[n] == -1, np.nan, evaluation.eval[n]) for n in
              ("precision", "recall")]  # fmt: skip
    return tables


def _dataset(annotations, classes):
    boxes, scores, labels = annotations
    found = COCO()
    rows = []
    for image, place in np.argwhere(labels >= 0):
        top, left, bottom, right = boxes[image, place].tolist()
        row = {"bbox": [left, top, right - left, bottom - top], "iscrowd": 0}
        row |= {"area": (right - left) * (bottom - top), "score": float(scores[image, place])}
        row |= {"image_id": int(image), "category_id": int(labels[image, place])}
        # COCO takes a match with number 0 for none.
        row |= {"id": len(rows) + 1}
        rows.append(row)
    found.dataset = {
        "images": [{"id": i} for i in range(len(boxes))],
        "categories": [{"id": int(c)} for c in classes],
        "annotations": rows,
    }
    found.createIndex()
    return found


def mean(table):
    defined = table[~np.isnan(table)]
    return defined.mean() if defined.size else np.nan


def compare(found, truth, most, areas=None):
    """Every number of ours against COCO's."""
    names = AREAS if areas is None else areas
    options = {} if areas is None else {"areas": areas}
    ours = mean_average_precision(found, truth, format="yxyx", most=most, **options)
    counts = sorted({c for c in (1, 10) if c < most} | {most})
    classes = np.unique(truth[1][truth[1] >= 0])
    every = np.unique(np.concatenate([classes, found[2][found[2] >= 0]]))
    # COCO knows a class by its number; scores of true boxes mean nothing.
    precision, recall = coco(found, (truth[0], np.zeros(truth[1].shape), truth[1]), every,
                             names, counts)  # fmt: skip
    at = np.searchsorted(every, classes)
    # COCO adds 2.2e-16 to a whole number in the denominator: relative 2.2e-16; sums of up to
    # 101 * 10 such numbers are rounded as often, at most 1010 / 2 times 2.2e-16.
    close = {"rtol": 2e-13, "atol": 0}
    np.testing.assert_allclose(ours.precision, precision[:, :, at, 0, -1], **close)
    np.testing.assert_allclose(ours.map, mean(precision[..., 0, -1]), **close)
    np.testing.assert_allclose(ours.map50, mean(precision[0, ..., 0, -1]), **close)
    np.testing.assert_allclose(ours.map75, mean(precision[5, ..., 0, -1]), **close)
    for a, name in enumerate(names, start=1):
        np.testing.assert_allclose(ours.by_area[name], mean(precision[..., a, -1]), **close)
        np.testing.assert_allclose(ours.recall_by_area[name], mean(recall[..., a, -1]), **close)
    for m, count in enumerate(counts):
        np.testing.assert_allclose(ours.recall[count], mean(recall[..., 0, m]), **close)
    return ours


def random_case(seed, images=6, whole=True):
    """Return true boxes, and shaken, missing, doubled and made-up detections; many equal scores."""
    generator = np.random.default_rng(seed)
    most, classes = int(generator.integers(1, 7)), int(generator.integers(1, 4))

    def draw(count):
        corner = generator.uniform(0, 100, (images, count, 2))
        side = np.exp(generator.uniform(1.5, 5, (images, count, 2)))
        return np.concatenate([corner, corner + side], -1)

    boxes = draw(most)
    labels = generator.integers(-1, classes, (images, most))
    near = np.repeat(boxes, 2, 1) + generator.normal(0, 2, (images, 2 * most, 4))
    near[..., 2:] = np.maximum(near[..., 2:], near[..., :2])
    found = np.concatenate([near, draw(3)], 1)
    own = np.concatenate([np.repeat(labels, 2, 1), generator.integers(0, classes, (images, 3))], 1)
    wrong = generator.random(own.shape)
    own = np.where(wrong < 0.15, generator.integers(0, classes, own.shape), own)
    own = np.where(wrong > 0.8, -1, own)
    if whole:
        boxes, found = np.round(boxes), np.round(found)
    scores = np.round(generator.random(own.shape), int(generator.integers(1, 4)))
    return (found, scores, own), (boxes, labels)


@pytest.mark.parametrize("whole", [True, False])
def test_random_cases_against_coco(whole):
    maps = []
    for seed in range(40):
        found, truth = random_case(seed, whole=whole)
        maps.append(compare(found, truth, most=(100, 3, 10)[seed % 3]).map)
    assert np.nanstd(maps) > 0.05
    assert np.nanmean(maps) > 0.1


def one_image(boxes):
    array = np.array([boxes], float)
    return array, np.zeros(array.shape[:2], int)


def test_of_two_equal_overlaps_the_last_true_box_is_taken():
    truth = one_image([[0, 0, 10, 10], [0, 4, 10, 14]])
    for second, expected in (([0, 0, 10, 9], 1), ([0, 5, 10, 14], 51 / 101)):
        boxes, labels = one_image([[0, 2, 10, 12], second])
        found = (boxes, np.array([[0.9, 0.8]]), labels)
        assert compare(found, truth, most=100).map50 == pytest.approx(expected)


def test_boxes_outside_a_range_are_taken_only_where_no_other_will_do():
    # The first detection lies exactly on a box that is ignored; it must take the other one,
    # and what is left for the second is the ignored one. The third true box is never found.
    truth = one_image([[0, 0, 10, 10], [0, 0, 10, 12], [90, 90, 95, 95]])
    boxes, labels = one_image([[0, 0, 10, 12], [0, 0, 10, 11]])
    found = (boxes, np.array([[0.9, 0.8]]), labels)
    result = compare(found, truth, most=100, areas={"tiny": (0.0, 100.0)})
    # At 0.95 the second is too far from the first box, and ignored for its own area.
    assert result.by_area["tiny"] == pytest.approx(0.9 * 51 / 101)
    assert result.recall_by_area["tiny"] == pytest.approx(0.9 * 0.5)


@settings(max_examples=40)
@given(st.data())
def test_crowded_cases_against_coco(data):
    """Few places and few scores: equal IoUs, equal scores, empty boxes and thresholds just met."""
    numbers = st.integers(0, 6)
    n, m, k = (data.draw(st.integers(1, 5)) for _ in range(3))

    def draw(count):
        corners = data.draw(st.lists(st.tuples(*[numbers] * 4), min_size=n * count,
                                     max_size=n * count))  # fmt: skip
        a = np.array(corners, float).reshape(n, count, 2, 2)
        return np.concatenate([a.min(2), a.max(2)], -1)

    def whole(low, high, count):
        drawn = st.lists(st.integers(low, high), min_size=n * count, max_size=n * count)
        return np.array(data.draw(drawn)).reshape(n, count)

    found = (draw(m), whole(0, 2, m) / 2, whole(-1, 1, m))
    truth = (draw(k), whole(-1, 1, k))
    areas = {"tiny": (0.0, 4.0), "some": (4.0, 12.0), "none": (50.0, 60.0)}
    compare(found, truth, most=data.draw(st.sampled_from([1, 2, 100])), areas=areas)


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=20)
def test_only_the_order_of_scores_matters(seed):
    found, truth = random_case(seed, images=3)
    first = mean_average_precision(found, truth, format="yxyx")
    other = mean_average_precision(
        (found[0], np.exp(3 * found[1]) - 7, found[2]), truth, format="yxyx"
    )
    np.testing.assert_array_equal(first.precision, other.precision)


BAD = [
    (3.0, TRUTH, {}, TypeError, "`found` must be Detections, or a tuple"),
    ((TRUTH, [[0.1]]), TRUTH, {}, ValueError, r"`found` must hold one score a box, shape \(1, 2\)"),
    ((TRUTH, [[np.nan, 1]]), TRUTH, {}, ValueError, "`found` must hold finite scores"),
    ((TRUTH, [[1, 1]], [[0.0, 1.0]]), TRUTH, {}, TypeError, "`found` must hold whole-numbered"),
    ((TRUTH, [[1, 1]], [[0]]), TRUTH, {}, ValueError, "`found` must hold one label a box"),
    ((TRUTH, [[1, 1]]), TRUTH[0], {}, ValueError, r"`truth` must hold boxes of shape \(images"),
    ((TRUTH, [[1, 1]]), TRUTH * 2, {}, ValueError, "equally many images; got 1 and 2"),
    ((TRUTH, [[1, 1]]), [[[9, 9, 3, 20]]], {}, ValueError, "`truth` must hold boxes of height and"),
    ((TRUTH, [[1, 1]]), TRUTH, {"format": "rel_yxyx"}, ValueError, "`size` must be given"),
    ((TRUTH, [[1, 1]]), TRUTH, {"format": "yx"}, ValueError, "`format` must be one of"),
    ((TRUTH, [[1, 1]]), TRUTH, {"most": 0}, ValueError, "`most` must be a whole number >= 1"),
    ((TRUTH, [[1, 1]]), TRUTH, {"areas": {"a": (2, 1)}}, ValueError, "`areas` must hold"),
    ((TRUTH, [[1, 1]]), TRUTH, {"areas": [1]}, TypeError, "`areas` must be a dict"),
]  # fmt: skip


@pytest.mark.parametrize(("found", "truth", "options", "error", "text"), BAD)
def test_bad_input(found, truth, options, error, text):
    with pytest.raises(error, match=text):
        mean_average_precision(found, truth, **{"format": "yxyx", **options})
