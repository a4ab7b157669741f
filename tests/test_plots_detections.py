import numpy as np
import pytest
from matplotlib.figure import Figure

import whitebox_loc as wb

MULTI = wb.data.MultiScene(wb.data.Scene(size=(20, 30)), boxes=(0, 3))


def corners(patch):
    left, top = patch.get_xy()
    return [top + 0.5, left + 0.5, top + 0.5 + patch.get_height(), left + 0.5 + patch.get_width()]


def drawn(ax, label):
    return [corners(patch) for patch in ax.patches if patch.get_label() == label]


def test_true_and_found_boxes_are_drawn_where_they_are():
    batch = wb.data.generate(MULTI, 6, seed=0)
    boxes = (batch.rel_boxes + 0.01).astype("float32")
    found = wb.models.detections({"boxes": boxes, "scores": 0.8 * batch.valid})
    axes = wb.plots.detections(batch.images, found, batch)
    assert axes.shape == (2, 4)
    for i, ax in enumerate(axes.flat[:6]):
        true = batch.boxes[i, : batch.counts[i]].tolist()
        np.testing.assert_allclose(drawn(ax, "true"), true)
        wanted = (found.boxes[i, : found.counts[i]] * [20, 30, 20, 30]).tolist()
        np.testing.assert_allclose(drawn(ax, "found"), wanted, atol=1e-5)
        assert [text.get_text() for text in ax.texts] == ["0.80"] * found.counts[i]
    legend = [text.get_text() for text in axes[-1, 0].get_legend().get_texts()]
    assert legend == ["true", "found, with score"]


def test_detections_on_given_axes_without_scores():
    ax = Figure().add_subplot()
    found = wb.models.detections({"boxes": [[[0, 0, 0.5, 0.5]]], "scores": [[0.9]]})
    assert wb.plots.detections(np.zeros((1, 8, 8, 1)), found, ax=ax, scores=False)[0, 0] is ax
    assert drawn(ax, "found") == [[0, 0, 4, 4]]
    assert not ax.texts


def test_detections_of_other_images_are_refused():
    found = wb.models.detections({"boxes": [[[0, 0, 0.5, 0.5]]], "scores": [[0.9]]})
    with pytest.raises(ValueError, match="got 2 images, `found` of 1"):
        wb.plots.detections(np.zeros((2, 8, 8, 1)), found)


def test_detector_curves_show_every_column():
    names = ("loss", "heat_loss", "size_loss", "offset_loss", "iou", "score", "gradient_norm")
    columns = {"step": np.arange(3.0)} | {name: np.full(3, i + 1.0) for i, name in enumerate(names)}
    axes = wb.plots.detector_curves(columns)
    shown = {float(line.get_ydata()[0]) for ax in axes.flat for line in ax.lines}
    assert shown == set(range(1, 8))
