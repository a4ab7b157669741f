import dataclasses

import keras
import numpy as np
import pytest

import whitebox_loc as wb
from whitebox_loc.training.detector_evaluation import match_boxes

SCENE = wb.data.Scene(size=(20, 30), shapes=("rectangle", "ellipse"), heights=(4, 9), widths=(4, 9))
MULTI = wb.data.MultiScene(SCENE, boxes=(0, 3), gap=1)
SIZE = np.array([20, 30, 20, 30])


def found_boxes(boxes, scores):
    """Detections of one image, as given: already in order."""
    n = len(boxes)
    pixels = np.array(boxes, float).reshape(1, n, 4)
    return wb.models.Detections(
        boxes=(pixels / SIZE).astype("float32"),
        scores=np.array([scores], "float32"),
        labels=np.zeros((1, n), int),
        candidates=np.arange(n)[None],
        counts=np.array([n]),
    )


def batch_of(boxes, most=4):
    count = len(boxes)
    padded = np.zeros((1, most, 4), int)
    padded[0, :count] = np.reshape(boxes, (count, 4))
    labels = np.where(np.arange(most) < count, 0, -1)[None]
    images = np.zeros((1, 20, 30, 1), "float32")
    multi = dataclasses.replace(MULTI, boxes=(0, most))
    return wb.data.MultiBatch(images, padded, labels, np.array([count]), multi)


def test_matching_by_hand():
    """The surer box is served first; the second best place is taken if the best is gone."""
    truth = batch_of([[0, 0, 4, 4], [10, 10, 14, 20]])
    found = found_boxes(
        [[0, 0, 4, 3], [0, 0, 4, 4], [10, 10, 14, 16], [10, 10, 14, 14]], [0.9, 0.8, 0.7, 0.6]
    )
    matches, ious = match_boxes(found, truth)
    assert matches.tolist() == [[0, -1, 1, -1]]
    # Boxes are float32; the last one has an IoU of 0.4.
    np.testing.assert_allclose(ious, [[0.75, 0, 0.6, 0]], atol=1e-6)


def test_half_of_the_union_is_enough_and_less_is_not():
    truth = batch_of([[0, 0, 10, 30]])
    # The first box is exact in float32, as is its IoU; that of the other one is 0.45.
    matches, ious = match_boxes(found_boxes([[0, 0, 10, 15]], [0.9]), truth)
    assert (matches.tolist(), ious.tolist()) == ([[0]], [[0.5]])
    assert match_boxes(found_boxes([[0, 0, 9, 15]], [0.9]), truth)[0].tolist() == [[-1]]


def test_padding_matches_nothing():
    found = found_boxes([[0, 0, 0, 0], [0, 0, 4, 4]], [0.9, 0.8])
    assert match_boxes(found, batch_of([]))[0].tolist() == [[-1, -1]]
    assert match_boxes(found, batch_of([[0, 0, 4, 4]]))[0].tolist() == [[-1, 0]]
    fewer = dataclasses.replace(found, counts=np.array([1]))
    assert match_boxes(fewer, batch_of([[0, 0, 4, 4]]))[0].tolist() == [[-1, -1]]


class Oracle(keras.Model):
    """Looks the answers up by the number of the image; wrong on purpose in known places."""

    def __init__(self, boxes, scores, classes):
        super().__init__()
        self.answers = {"boxes": boxes, "scores": scores, "classes": classes}
        self.seen = 0

    def call(self, images):
        part = slice(self.seen, self.seen + len(images))
        self.seen += len(images)
        return {name: keras.ops.convert_to_tensor(a[part]) for name, a in self.answers.items()}


def test_scores_of_a_model_with_known_faults():
    batch = wb.data.generate(MULTI, 50, seed=1)
    boxes, scores = batch.rel_boxes.copy(), batch.valid.astype("float32") * 0.9
    classes = np.eye(2, dtype="float32")[batch.labels] * 0.9
    full = np.flatnonzero(batch.counts == 3)[:10]
    scores[full[0], 0] = 0  # one box is missed
    boxes[full[1], 1] = [0, 0, 0.01, 0.01]  # one is elsewhere: missed, and one too many
    classes[full[2], 2] = classes[full[2], 2, ::-1]  # one of the wrong class
    total = batch.counts.sum()
    oracle = Oracle(boxes, scores, classes)
    result = wb.training.evaluate_detector(oracle, MULTI, n=50, seed=1, batch_size=16)
    assert result.recall == pytest.approx((total - 2) / total)
    assert result.precision == pytest.approx((total - 2) / (total - 1))
    assert result.count_rate == pytest.approx(49 / 50)
    assert result.label_accuracy == pytest.approx((total - 3) / (total - 2))
    assert result.mean_iou == pytest.approx(1, abs=1e-5)  # boxes in float32
    assert result.n == len(result.batch) == 50
    # Average recall of classes by hand: the matches that have the right name.
    rows, columns = np.nonzero(result.matches >= 0)
    named, true = (
        result.found.labels[rows, columns],
        batch.labels[rows, result.matches[rows, columns]],
    )
    recalls = [((named == k) & (true == k)).sum() / (batch.labels == k).sum() for k in (0, 1)]
    ranked = result.average_precision
    assert ranked.recall[100] == pytest.approx(np.mean(recalls))
    assert 0.9 < result.scores()["map"] == ranked.map < 1
    again = wb.metrics.mean_average_precision(result.found, batch, size=(20, 30))
    assert again.map == ranked.map  # scores are 0 or 0.9, on one side of both thresholds
    with pytest.raises(TypeError, match=r"`result` must be the Evaluation .* got DetectorEval"):
        wb.training.breakdown(result)
    assert result.scores().keys() >= {"mean_iou", "recall", "precision", "count_rate"}


def test_nothing_found_and_nothing_there():
    silent = Oracle(np.zeros((20, 1, 4)), np.zeros((20, 1)), np.zeros((20, 1, 2)))
    result = wb.training.evaluate_detector(silent, MULTI, n=20)
    assert result.recall == 0
    assert np.isnan([result.precision, result.mean_iou, result.label_accuracy]).all()
    assert result.count_rate == (result.batch.counts == 0).mean()
    assert result.average_precision.map == 0


def test_threshold_and_overlap_choose_among_the_candidates():
    """Each true box twice: exactly and unsurely, and surely with an IoU of 2/3."""
    multi = wb.data.MultiScene(dataclasses.replace(SCENE, shapes=("rectangle",)), boxes=1)
    exact = wb.data.generate(multi, 20, seed=1).rel_boxes
    cut = exact.copy()
    cut[..., 2] -= (exact[..., 2] - exact[..., 0]) / 3
    answers = np.concatenate([exact, cut], 1), np.tile(np.float32([0.4, 0.6]), (20, 1))

    def evaluate(**options):
        oracle = Oracle(*answers, np.ones((20, 2, 1), "float32"))
        return wb.training.evaluate_detector(oracle, multi, n=20, **options)

    for options, found in (
        ({}, 1),
        ({"threshold": 0.7}, 0),
        ({"overlap": 0.9}, 2),
        ({"overlap": 0.9, "threshold": 0.5}, 1),
    ):
        result = evaluate(**options)
        assert result.found.counts.tolist() == [found] * 20
        if found:
            assert result.mean_iou == pytest.approx(2 / 3, abs=1e-6)  # boxes in float32
    # The average precision sees the unsure candidates whatever the threshold, but the overlap.
    first = evaluate().average_precision
    assert evaluate(threshold=0.7).average_precision.map == first.map
    # A match from 0.5 to 0.65, four of ten thresholds; exact ones come second: precision 1/2.
    assert first.map == pytest.approx(0.4)
    assert evaluate(overlap=0.9).average_precision.map == pytest.approx(0.4 + 0.6 / 2)


def test_a_model_without_classes_is_not_asked_for_them():
    batch = wb.data.generate(MULTI, 20, seed=1)
    assert set(np.unique(batch.labels)) == {-1, 0, 1}
    oracle = Oracle(batch.rel_boxes, batch.valid.astype("float32"), None)
    del oracle.answers["classes"]
    result = wb.training.evaluate_detector(oracle, MULTI, n=20)
    assert (result.average_precision.map, result.average_precision.by_class) == (1, {0: 1.0})
    assert np.isnan(result.label_accuracy)


def test_bad_arguments():
    model = wb.models.detector((20, 30), filters=(2,))
    with pytest.raises(TypeError, match=r"`scene` must be a whitebox_loc\.data.MultiScene"):
        wb.training.evaluate_detector(model, SCENE)
    with pytest.raises(TypeError, match=r"`model` must be a keras.Model .* got builtins.str"):
        wb.training.evaluate_detector("x", MULTI)
    three = wb.models.detector((20, 30), classes=3, filters=(2,))
    with pytest.raises(ValueError, match="`model` tells 3 classes apart, but `scene` has the 2"):
        wb.training.evaluate_detector(three, MULTI, n=2)
