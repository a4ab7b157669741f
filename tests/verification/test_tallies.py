import numpy as np
import pytest

from whitebox_loc.verification.findings import Lines, Tally


def lines(low, high):
    """One line from 2 to 6, and bounds on what is answered to it."""
    edges, low, high = np.array([[2, 6]]), np.array([low]), np.array([high])
    return Lines(
        edges,
        np.maximum(np.maximum(low - edges, edges - high), 0.0).max(-1),
        np.maximum(np.abs(low - edges), np.abs(high - edges)).max(-1),
        np.maximum(np.minimum(edges[:, 1], low[:, 1]) - np.maximum(edges[:, 0], high[:, 0]), 0.0),
        np.maximum(high[:, 1] - low[:, 0], 0.0),
    )


RIGHT = lines([2.0, 6.0], [2.0, 6.0])
UNKNOWN = lines([-np.inf, -np.inf], [np.inf, np.inf])
EMPTY = lines([5.0, 3.0], [5.0, 3.0])  # the second edge before the first
SHIFTED = lines([3.0, 7.0], [3.0, 7.0])


@pytest.mark.parametrize(
    ("rows", "columns", "overlap", "wrong", "undecided"),
    [
        (RIGHT, RIGHT, 1.0, 0, 0),
        (RIGHT, SHIFTED, 12 / 20, 1, 0),
        (RIGHT, UNKNOWN, 0.0, 0, 1),
        (UNKNOWN, UNKNOWN, 0.0, 0, 1),
        (UNKNOWN, EMPTY, 0.0, 1, 0),
        (EMPTY, UNKNOWN, 0.0, 1, 0),
        (EMPTY, RIGHT, 0.0, 1, 0),
    ],
)
def test_the_overlap_of_one_box(rows, columns, overlap, wrong, undecided):
    tally = Tally()
    tally.add(RIGHT, RIGHT)
    tally.add(rows, columns)
    assert tally.least_iou == pytest.approx(overlap, abs=1e-15)
    assert (tally.boxes, tally.wrong, tally.undecided) == (2, wrong, undecided)
