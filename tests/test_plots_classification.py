import numpy as np
import pytest
from matplotlib.colors import to_hex

import whitebox_loc as wb


def test_confusion_matrix_colours_shares_and_writes_counts():
    confusion = np.array([[30, 10, 0], [0, 5, 0], [0, 0, 0]])
    ax = wb.plots.confusion_matrix(confusion, ["ring", "cross", "none"])
    shares = np.ma.filled(np.ma.asarray(ax.images[0].get_array()).astype(float), np.nan)
    np.testing.assert_array_equal(shares, [[0.75, 0.25, 0], [0, 1, 0], [np.nan] * 3])
    written = {text.get_position(): text.get_text() for text in ax.texts}
    # Text stands at (column, row).
    assert written[(1, 0)] == "10"
    assert [written[(k, k)] for k in range(3)] == ["30", "5", "0"]
    assert [t.get_text() for t in ax.get_yticklabels()] == ["ring", "cross", "none"]
    assert (ax.get_ylabel(), ax.get_xlabel()) == ("true class", "predicted class")
    assert ax.images[0].get_clim() == (0, 1)
    light = {text.get_text(): to_hex(text.get_color()) for text in ax.texts}
    assert light["30"] == "#ffffff"
    assert light["10"] == "#000000"


@pytest.mark.parametrize("classes", [2, 3, 6])
def test_the_label_of_the_colour_bar_is_within_the_figure(classes):
    names = ["a_long_class_name", *"bcdef"][:classes]
    figure = wb.plots.confusion_matrix(np.eye(classes, dtype=int), names).figure
    figure.draw_without_rendering()
    label = figure.axes[-1].yaxis.label.get_window_extent()
    assert 0 <= label.y0 < label.y1 <= figure.bbox.height


def test_reliability_diagram_shows_the_bins_that_hold_images():
    p = np.array([[0.9, 0.1]] * 5 + [[0.56, 0.44]] * 5)
    found = wb.training.score_labels([0, 0, 0, 1, 1, 0, 0, 0, 0, 0], p, bins=5)
    ax = wb.plots.reliability_diagram(
        found.bin_edges, found.bin_confidence, found.bin_accuracy, found.bin_counts
    )
    # (left, bottom, width, height) of the bins (0.4, 0.6] and (0.8, 1].
    drawn = [bar.get_bbox().bounds for bar in ax.patches]
    np.testing.assert_allclose(drawn, [[0.4, 0, 0.2, 1.0], [0.8, 0, 0.2, 0.6]], atol=1e-12)
    segments = ax.collections[0].get_segments()
    np.testing.assert_allclose(segments, [[[0.56, 0.56], [0.56, 1]], [[0.9, 0.6], [0.9, 0.9]]])
    assert [text.get_text() for text in ax.texts] == ["5", "5"]
    np.testing.assert_array_equal(ax.lines[0].get_xydata(), [[0, 0], [1, 1]])


def test_wrong_arguments():
    with pytest.raises(ValueError, match=r"`confusion` must have shape \(classes, classes\)"):
        wb.plots.confusion_matrix(np.zeros((2, 3)))
    with pytest.raises(ValueError, match="`names` must hold 2 names; got 1"):
        wb.plots.confusion_matrix(np.zeros((2, 2)), ["a"])
