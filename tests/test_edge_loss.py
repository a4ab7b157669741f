import numpy as np
import tensorflow as tf
from scipy.special import log_softmax

import whitebox_loc as wb


def slow(boxes, rows, columns):
    total = []
    for box, row, column in zip(boxes, rows, columns, strict=True):
        for edge, (scores, channel) in zip(
            box, [(row, 0), (column, 0), (row, 1), (column, 1)], strict=True
        ):
            log_p = log_softmax(scores[:, channel])
            place = edge * (len(scores) - 1)
            below = int(np.floor(place))
            above = min(below + 1, len(scores) - 1)
            share = place - below
            total.append(-(1 - share) * log_p[below] - share * log_p[above])
    return np.mean(total)


def test_equals_a_slow_rewrite_also_between_positions():
    rng = np.random.default_rng(0)
    boxes = rng.random((6, 4))
    boxes[0] = [0, 0, 1, 1]
    rows, columns = rng.normal(size=(6, 9, 2)), rng.normal(size=(6, 13, 2))
    found = wb.losses.edge_cross_entropy(boxes.astype("float32"), rows, columns)
    # float32 positions of up to 12 with log-probabilities of up to 5.
    np.testing.assert_allclose(found, slow(boxes, rows, columns), rtol=1e-5)


def test_keeps_its_gradient_where_the_expectation_has_lost_it():
    # A softmax that is sure (by 30) of position 5 while the truth is 2.
    logits = np.zeros((1, 9, 2), "float32")
    logits[0, 5] = 30
    scores = tf.Variable(logits)
    truth = tf.constant([[0.25, 0.25, 0.25, 0.25]])
    positions = np.arange(9, dtype="float32")[:, None] / 8
    with tf.GradientTape(persistent=True) as tape:
        expectation = tf.reduce_sum(tf.nn.softmax(scores, axis=1) * positions, axis=1)
        bce = wb.losses.BoxBCE()(truth, tf.tile(expectation, [1, 2]))
        edges = wb.losses.edge_cross_entropy(truth, scores, scores)
    lost = tape.gradient(bce, scores)[0, 2]
    kept = tape.gradient(edges, scores)[0, 2]
    # Softmax gives position 2 the probability e^-30 = 1e-13, and the gradient is no larger.
    assert np.abs(lost).max() < 1e-12
    # Probability minus truth is -1; two of four edges read this axis, twice: a mean of -1/2 each.
    np.testing.assert_allclose(kept, [-0.5, -0.5], rtol=1e-5)
