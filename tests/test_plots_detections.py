import dataclasses

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


def test_every_score_is_written_at_its_own_box():
    boxes = np.array([[[5, 2, 9, 9], [12, 10, 18, 28]], [[6, 15, 16, 17], [18, 3, 20, 20]]])
    outputs = {"boxes": boxes / [20, 30, 20, 30], "scores": [[0.71, 0.93], [0.42, 0.55]]}
    found = wb.models.detections(outputs)
    axes = wb.plots.detections(np.zeros((2, 20, 30, 1)), found)
    written = [{t.get_text(): t.get_position() for t in ax.texts} for ax in axes.flat]
    # The upper left corner as (x, y), where the middle of the first pixel is 0.
    corners = [
        {"0.71": (1.5, 4.5), "0.93": (9.5, 11.5)},
        {"0.42": (14.5, 5.5), "0.55": (2.5, 17.5)},
    ]
    for got, want in zip(written, corners, strict=True):
        assert got.keys() == want.keys()
        for text, place in want.items():
            np.testing.assert_allclose(got[text], place, atol=1e-5)  # boxes in float32


@pytest.mark.parametrize("size", [(96, 16), (16, 96), (40, 40)])
@pytest.mark.parametrize("n", [1, 3])
def test_scores_and_legend_stay_in_sight(size, n):
    """Boxes in all four corners; what is drawn is measured on the finished figure."""
    height, width = size
    tops, lefts = np.array([0, 0, height - 4, height - 4]), np.array([0, width - 4, 0, width - 4])
    boxes = np.stack([tops, lefts, tops + 4, lefts + 4], -1) / [height, width, height, width]
    found = wb.models.detections({"boxes": [boxes] * n, "scores": [[0.9, 0.8, 0.7, 0.6]] * n})
    axes = wb.plots.detections(np.zeros((n, *size, 1)), found, truths_of(n))
    figure = axes.flat[0].figure
    figure.draw_without_rendering()
    for ax in axes.flat:
        image = ax.get_window_extent()
        assert len(ax.texts) == 4
        for text in ax.texts:
            assert_inside(text.get_window_extent(), image)
    assert_inside(axes[-1, 0].get_legend().get_window_extent(), figure.bbox)


def truths_of(n):
    batch = wb.data.generate(MULTI, n, seed=0)
    return dataclasses.replace(batch, counts=0 * batch.counts)


def assert_inside(part, whole):
    assert part.x0 >= whole.x0 - 1
    assert part.x1 <= whole.x1 + 1
    assert part.y0 >= whole.y0 - 1
    assert part.y1 <= whole.y1 + 1


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


def test_other_things_than_detections_and_truths_are_refused():
    images = np.zeros((1, 8, 8, 1))
    found = wb.models.detections({"boxes": [[[0, 0, 0.5, 0.5]]], "scores": [[0.9]]})
    with pytest.raises(TypeError, match=r"`found` must be Detections.* got tuple without"):
        wb.plots.detections(images, (found.boxes, found.scores))
    single = wb.data.generate(wb.data.Scene(size=(8, 8)), 1)
    for truths in (np.zeros((1, 2, 4)), single):
        with pytest.raises(
            TypeError, match=r"`truths` must be a MultiBatch.* without \[.*'counts'"
        ):
            wb.plots.detections(images, found, truths)


def test_detector_curves_show_every_column():
    names = ("loss", "heat_loss", "size_loss", "offset_loss", "iou", "score", "gradient_norm")
    columns = {"step": np.arange(3.0)} | {name: np.full(3, i + 1.0) for i, name in enumerate(names)}
    axes = wb.plots.detector_curves(columns)
    shown = {float(line.get_ydata()[0]) for ax in axes.flat for line in ax.lines}
    assert shown == set(range(1, 8))
    assert {line.get_marker() for ax in axes.flat for line in ax.lines} == {""}
    # A line of a single step has no length.
    single = wb.plots.detector_curves({name: values[:1] for name, values in columns.items()})
    assert [line.get_marker() for ax in single.flat for line in ax.lines] == ["."] * 7
    with pytest.raises(ValueError, match=r"missing are \['heat.*call whitebox.*learning_curves"):
        wb.plots.detector_curves(wb.training.History().to_dict())
