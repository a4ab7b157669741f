import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

import whitebox_loc as wb
from whitebox_loc.models import detections


def slow_detections(boxes, scores, labels, threshold, overlap, most):
    """One image, one pair at a time: kept candidates, best first."""

    def area(box):
        return max(box[2] - box[0], 0.0) * max(box[3] - box[1], 0.0)

    def iou(a, b):
        both = [max(a[0], b[0]), max(a[1], b[1]), min(a[2], b[2]), min(a[3], b[3])]
        shared = area(both)
        union = area(a) + area(b) - shared
        return shared / union if union else 0.0

    kept = []
    for i in sorted(range(len(scores)), key=lambda i: (-scores[i], i)):
        rivals = [j for j in kept if labels[j] == labels[i]]
        if scores[i] >= threshold and all(iou(boxes[i], boxes[j]) <= overlap for j in rivals):
            kept.append(i)
    return kept[:most]


@st.composite
def candidates(draw, distinct=False):
    n, k, c = draw(st.integers(1, 3)), draw(st.integers(1, 12)), draw(st.integers(0, 3))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    # Few levels give ties and equal boxes; some boxes have swapped corners.
    levels = draw(st.integers(2, 6))
    boxes = rng.integers(levels + 1, size=(n, k, 4)) / levels
    if draw(st.booleans()):
        boxes = np.concatenate([np.minimum(boxes[..., :2], boxes[..., 2:]),
                                np.maximum(boxes[..., :2], boxes[..., 2:])], axis=-1)  # fmt: skip
    scores = rng.integers(levels + 1, size=(n, k)) / levels
    if distinct:
        scores = np.stack([rng.permutation(k) for _ in range(n)]) / k
    outputs = {"boxes": boxes.astype("float32"), "scores": scores.astype("float32")}
    if c:
        outputs["classes"] = rng.dirichlet(np.ones(c + 1), size=(n, k))[..., :c].astype("float32")
    return outputs


def labels_of(outputs):
    if "classes" in outputs:
        return outputs["classes"].argmax(-1)
    return np.zeros(outputs["scores"].shape, int)


# Overlaps of boxes on at most six levels are ratios of small whole numbers; these thresholds
# are none of them, so that rounding cannot decide.
OVERLAPS = st.sampled_from([0.0, 0.123456, 0.3456789, 0.512345, 0.7654321, 1.0])


@given(candidates(), st.sampled_from([0.0, 0.3, 0.5, 1.0]), OVERLAPS, st.integers(1, 12))
def test_detections_match_a_slow_rewrite(outputs, threshold, overlap, most):
    found = detections(outputs, threshold, overlap, most)
    labels = labels_of(outputs)
    threshold = np.float32(threshold)
    for i, count in enumerate(found.counts):
        kept = slow_detections(
            outputs["boxes"][i].astype(float), outputs["scores"][i], labels[i],
            threshold, overlap, most,
        )  # fmt: skip
        assert found.candidates[i, :count].tolist() == kept
        np.testing.assert_array_equal(found.boxes[i, :count], outputs["boxes"][i][kept])
        np.testing.assert_array_equal(found.scores[i, :count], outputs["scores"][i][kept])
        np.testing.assert_array_equal(found.labels[i, :count], labels[i][kept])
        assert (found.candidates[i, count:] == -1).all()
        assert (found.labels[i, count:] == -1).all()
        assert not found.boxes[i, count:].any()
        assert not found.scores[i, count:].any()
    assert found.boxes.shape[1] == found.counts.max()


@given(candidates(), OVERLAPS)
def test_kept_boxes_of_a_class_overlap_little_and_come_in_order(outputs, overlap):
    found = detections(outputs, 0.2, overlap)
    for i, count in enumerate(found.counts):
        assert (np.diff(found.scores[i, :count]) <= 0).all()
        boxes = tf.constant(found.boxes[i, :count], tf.float64)
        shared = wb.boxes.iou(boxes, boxes, "rel_yxyx", pairwise=True).numpy()
        same = found.labels[i, :count, None] == found.labels[i, None, :count]
        assert (shared[same & ~np.eye(count, dtype=bool)] <= overlap).all()


@given(candidates(), OVERLAPS)
def test_choosing_again_changes_nothing(outputs, overlap):
    found = detections(outputs, 0.2, overlap)
    if not found.boxes.shape[1]:
        return
    kinds = np.eye(3, dtype="float32")[found.labels] * found.valid[..., None]
    kept = {"boxes": found.boxes, "scores": found.scores, "classes": kinds}
    again = detections(kept, 0.2, overlap)
    for name in ("boxes", "scores", "labels", "counts"):
        np.testing.assert_array_equal(getattr(again, name), getattr(found, name))


@given(candidates(distinct=True), OVERLAPS, st.integers(0, 2**32))
def test_the_order_of_candidates_does_not_matter(outputs, overlap, seed):
    order = np.random.default_rng(seed).permutation(outputs["scores"].shape[1])
    found = detections(outputs, 0.0, overlap)
    other = detections({name: part[:, order] for name, part in outputs.items()}, 0.0, overlap)
    for name in ("boxes", "scores", "labels", "counts"):
        np.testing.assert_array_equal(getattr(found, name), getattr(other, name))
    inside = found.valid
    np.testing.assert_array_equal(order[other.candidates][inside], found.candidates[inside])


def test_peaks_of_one_heat_map():
    """By hand: a peak with its shoulder, a second box, the same place in another class."""
    boxes = [[0, 0, 0.5, 0.5], [0, 0, 0.5, 0.4], [0, 0, 0.5, 0.5], [0.6, 0.6, 1, 1]]
    outputs = {
        "boxes": tf.constant([boxes]),
        "scores": tf.constant([[0.7, 0.9, 0.6, 0.3]]),
        "classes": tf.constant([[[0.7, 0.0], [0.8, 0.1], [0.1, 0.5], [0.2, 0.1]]]),
    }
    found = detections(outputs)
    # 0.3 is kept: the threshold is the least score, in the precision of the scores.
    assert found.candidates.tolist() == [[1, 2, 3]]
    assert found.labels.tolist() == [[0, 1, 0]]
    assert detections(outputs, overlap=0.81).candidates.tolist() == [[1, 0, 2, 3]]  # IoU 0.8
    assert detections(outputs, threshold=0.95).counts.tolist() == [0]


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"scores": np.zeros((1, 3))}, ValueError, r"scores'\]` must have shape \(1, 2\)"),
        ({"scores": [[0.1, np.nan]]}, ValueError, r"`outputs\['scores'\]` must lie in \[0, 1\]"),
        ({"scores": [[0.1, 3.0]]}, ValueError, "Pass probabilities, not logits"),
        ({"boxes": np.zeros((2, 4))}, ValueError, r"must have shape \(n, k, 4\)"),
        ({"boxes": np.full((1, 2, 4), np.nan)}, ValueError, r"`outputs\['boxes'\]` must be finite"),
        ({"classes": np.zeros((1, 2))}, ValueError, r"`outputs\['classes'\]` must have shape"),
        ({"threshold": 2}, ValueError, "`threshold` must be a finite number between 0 and 1"),
        ({"overlap": -1}, ValueError, "`overlap` must be a finite number between 0 and 1"),
        ({"most": 0}, ValueError, "`most` must be a whole number >= 1"),
        ({"boxes": None}, TypeError, "must be a dict with 'boxes' and 'scores'"),
    ],
)  # fmt: skip
def test_bad_outputs(change, error, message):
    outputs = {"boxes": np.zeros((1, 2, 4)), "scores": np.zeros((1, 2))}
    options = {
        key: value for key, value in change.items() if key in ("threshold", "overlap", "most")
    }
    outputs |= {key: value for key, value in change.items() if key not in options}
    outputs = {key: value for key, value in outputs.items() if value is not None}
    with pytest.raises(error, match=message):
        detections(outputs, **options)
