"""Accuracy, confusion and calibration against loops and cases computed by hand."""

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from whitebox_loc.training import score_labels


def slow_scores(labels, probabilities, bins):
    """Return accuracy, confusion, expected and worst calibration error, image by image."""
    classes = len(probabilities[0])
    confusion = [[0] * classes for _ in range(classes)]
    members = [[] for _ in range(bins)]
    for truth, row in zip(labels, probabilities, strict=True):
        guess = max(range(classes), key=lambda k: row[k])
        confusion[truth][guess] += 1
        for m in range(bins):
            if m / bins < row[guess] <= (m + 1) / bins:
                members[m].append((row[guess], guess == truth))
    gaps = [
        (len(found), abs(sum(r for _, r in found) - sum(c for c, _ in found)) / len(found))
        for found in members
        if found
    ]
    n = len(labels)
    assert sum(count for count, _ in gaps) == n
    accuracy = sum(confusion[k][k] for k in range(classes)) / n
    return accuracy, confusion, sum(c * g for c, g in gaps) / n, max(g for _, g in gaps)


@st.composite
def predictions(draw):
    classes, n = draw(st.integers(2, 5)), draw(st.integers(1, 30))
    # Small whole numbers make ties between classes, and confidences on the limits of bins.
    weights = st.lists(st.integers(0, 4), min_size=classes, max_size=classes).filter(any)
    rows = np.array(draw(st.lists(weights, min_size=n, max_size=n)), float)
    labels = draw(st.lists(st.integers(0, classes - 1), min_size=n, max_size=n))
    return labels, rows / rows.sum(axis=1, keepdims=True)


@given(predictions(), st.integers(1, 20))
def test_scores_equal_a_loop(given_predictions, bins):
    labels, p = given_predictions
    found = score_labels(labels, p, bins=bins)
    accuracy, confusion, error, worst = slow_scores(labels, p.tolist(), bins)
    assert found.confusion.tolist() == confusion
    # Sums of at most 30 numbers below 1, in float64.
    assert found.accuracy == pytest.approx(accuracy, abs=1e-12)
    assert found.calibration_error == pytest.approx(error, abs=1e-12)
    assert found.worst_calibration_error == pytest.approx(worst, abs=1e-12)
    assert found.calibration_error <= found.worst_calibration_error + 1e-12
    assert found.bin_counts.sum() == found.confusion.sum() == len(labels)


def test_calibration_by_hand():
    # Five images in the bin (0.8, 1]: mean confidence 0.9, 3 of 5 right: gap 0.3.
    # Five in (0.4, 0.6]: mean confidence 0.56, 2 of 5 right: gap 0.16.
    sure = [[0.1, 0.9]] * 5
    unsure = [[0.56, 0.44]] * 5
    labels = [1, 1, 1, 0, 0, 0, 0, 1, 1, 1]
    found = score_labels(labels, sure + unsure, bins=5, names=["disc", "square"])
    assert found.calibration_error == pytest.approx((0.3 + 0.16) / 2, abs=1e-12)
    assert found.worst_calibration_error == pytest.approx(0.3, abs=1e-12)
    np.testing.assert_allclose(found.bin_confidence, [np.nan, np.nan, 0.56, np.nan, 0.9])
    np.testing.assert_allclose(found.bin_accuracy, [np.nan, np.nan, 0.4, np.nan, 0.6])
    assert found.bin_counts.tolist() == [0, 0, 5, 0, 5]
    np.testing.assert_allclose(found.bin_edges, [0, 0.2, 0.4, 0.6, 0.8, 1])
    assert found.confusion.tolist() == [[2, 2], [3, 3]]
    np.testing.assert_allclose(found.recall, [2 / 4, 3 / 6])
    np.testing.assert_allclose(found.precision, [2 / 5, 3 / 5])
    assert found.accuracy == 0.5
    expected = -(3 * math.log(0.9) + 2 * math.log(0.1) + 2 * math.log(0.56) + 3 * math.log(0.44))
    assert found.cross_entropy == pytest.approx(expected / 10, abs=1e-12)


def test_a_confidence_on_the_limit_belongs_to_the_lower_bin():
    found = score_labels([0], [[0.5, 0.5]], bins=2)
    assert found.bin_counts.tolist() == [1, 0]
    # A float32 softmax may say a little more than 1.
    beyond = np.nextafter(np.float32(1), np.float32(2))
    found = score_labels([0], np.array([[beyond, 0]], np.float32), bins=2)
    assert found.bin_counts.tolist() == [0, 1]


def test_honest_probabilities_are_calibrated_and_bragging_ones_are_not():
    rng = np.random.default_rng(0)
    p = rng.dirichlet(np.ones(3), size=20_000)
    labels = (p.cumsum(axis=1) < rng.random((20_000, 1))).sum(axis=1)
    # The share of right answers in each of at most 15 bins scatters by at most
    # 0.5 / sqrt(count); weighted by the counts, the mean gap is below the mean of that,
    # 0.5 * sqrt(15 / 20000) = 0.014.
    assert score_labels(labels, p).calibration_error < 0.014
    bragging = p**3 / (p**3).sum(axis=1, keepdims=True)
    found = score_labels(labels, bragging)
    gap = bragging.max(axis=1).mean() - found.accuracy
    assert gap > 0.1
    # By the triangle inequality the error is at least the whole gap.
    assert found.calibration_error >= gap - 1e-12


def test_impossible_truth_has_infinite_cross_entropy():
    assert score_labels([1], [[1.0, 0.0]]).cross_entropy == math.inf


def test_scores_are_ready_for_json_and_printed():
    found = score_labels(np.array([0, 1]), np.array([[0.75, 0.25]] * 2))
    assert set(json.loads(json.dumps(found.scores()))) == {
        "accuracy",
        "cross_entropy",
        "calibration_error",
        "worst_calibration_error",
    }
    assert repr(found) == (
        "Classification(accuracy=0.5, cross_entropy=0.837, calibration_error=0.25, "
        "worst_calibration_error=0.25, n=2, classes=2)"
    )
    assert found.names == ("0", "1")
    assert found.predicted.tolist() == [0, 0]
    assert np.isnan(found.precision[1])


@pytest.mark.parametrize(
    ("arguments", "kind", "message"),
    [
        (([0], [[2.0, -1.0]]), ValueError, "sum to 1 in each row; row 0 is [2.0, -1.0]. Pass a"),
        (([0], [[np.nan, 1.0]]), ValueError, "sum to 1 in each row; row 0 is [nan, 1.0]."),
        (([0, 0], [[1, 0], [3, 4]]), ValueError, "row 1 is [3, 4]. Pass a softmax of scores"),
        (([0], [1.0, 0.0]), ValueError, "`probabilities` must hold numbers of shape (n, classes)"),
        (([0], [[1.0]]), ValueError, "at least one image and two classes; got shape (1, 1)"),
        (([0, 1], [[1.0, 0.0]]), ValueError, "`labels` must have shape (1,); got (2,)."),
        (([2], [[1.0, 0.0]]), ValueError, "`labels` must lie in 0 .. 1, the classes of"),
        (([-1], [[1.0, 0.0]]), ValueError, "got -1 .. -1."),
        (([0.0], [[1.0, 0.0]]), TypeError, "`labels` must be whole numbers; got an array of dtype"),
    ],
)
def test_wrong_predictions(arguments, kind, message):
    with pytest.raises(kind) as caught:
        score_labels(*arguments)
    assert message in str(caught.value)


def test_wrong_options():
    with pytest.raises(ValueError, match="`names` must hold 2 names, one a class; got 1"):
        score_labels([0], [[1.0, 0.0]], names=["a"])
    with pytest.raises(ValueError, match="`bins` must be a whole number >= 1; got 0"):
        score_labels([0], [[1.0, 0.0]], bins=0)


def test_names_and_ragged_probabilities_are_refused_by_name():
    with pytest.raises(TypeError, match=r"`names` must be a list or tuple of texts; got -1\."):
        score_labels([0], [[0.9, 0.1]], names=-1)
    with pytest.raises(TypeError, match="`probabilities` must be an array; got"):
        score_labels([0, 1], [[0.9, 0.1], [1.0]])
