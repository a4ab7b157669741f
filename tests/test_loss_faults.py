"""Losses and metrics of what is no pair of boxes: refused, and NaN where nothing can be refused."""

import re

import numpy as np
import pytest
import tensorflow as tf

import whitebox_loc as wb
from whitebox_loc.detection_losses import center_loss, center_targets, heat_map_loss
from whitebox_loc.losses import BoxBCE, IoULoss, SumLoss, edge_cross_entropy, entropy_floor
from whitebox_loc.metrics import ExactRate, ExcessBCE, MeanIoU, PixelError

TRUTH = np.array([[0.25, 0.25, 0.75, 0.75], [0.0, 0.5, 0.5, 1.0]], "float32")
PIXELS = np.array([[3.0, 4.0, 9.0, 12.0], [0.0, 8.0, 6.0, 16.0]], "float32")
SWAPPED = TRUTH[:, [2, 3, 0, 1]]
NAN = np.full_like(TRUTH, np.nan)
LOGITS = np.zeros((2, 5, 2), "float32")
SIZE = (12, 16)

LOSSES = {"bce": BoxBCE(), "iou": IoULoss("ciou"), "sum": BoxBCE() + 0.1 * IoULoss()}
METRICS = {
    "mean_iou": MeanIoU,
    "pixel_error": lambda: PixelError(SIZE),
    "exact_rate": lambda: ExactRate(SIZE),
    "excess": ExcessBCE,
}


def eager(name, truth, found):
    """The number of a loss or metric, which are called alike."""
    return float(LOSSES[name](truth, found) if name in LOSSES else METRICS[name]()(truth, found))


def compiled(name, truth, found):
    """The same inside a graph, where numbers cannot be looked at while it is made."""
    if name in METRICS:
        metric = METRICS[name]()
        tf.function(metric.update_state, autograph=False)(tf.constant(truth), tf.constant(found))
        return float(metric.result())
    return float(tf.function(LOSSES[name], autograph=False)(tf.constant(truth), tf.constant(found)))


@pytest.mark.parametrize("name", [*LOSSES, *METRICS])
def test_nan_predictions_are_refused_or_nan(name):
    with pytest.raises(ValueError, match=r"`y_pred` must be finite; box \(0,\) is \[nan"):
        eager(name, TRUTH, NAN)
    half = np.where([[True], [False]], NAN, TRUTH)
    assert np.isnan(compiled(name, TRUTH, half))
    assert np.isfinite(compiled(name, TRUTH, TRUTH))


@pytest.mark.parametrize("name", ["bce", "sum", "pixel_error", "exact_rate", "excess"])
def test_true_boxes_in_pixels_are_refused_or_nan(name):
    with pytest.raises(ValueError, match="y_true") as caught:
        eager(name, PIXELS, PIXELS)
    assert str(caught.value) == (
        "`y_true` must be rel_yxyx boxes within the image, fractions in [0, 1]; box (0,) is "
        "[3.0, 4.0, 9.0, 12.0]. Convert pixel boxes with "
        'boxes.convert(boxes, "yxyx", "rel_yxyx", size=size).'
    )
    assert np.isnan(compiled(name, PIXELS, PIXELS))


@pytest.mark.parametrize("name", ["iou", "mean_iou"])
def test_overlap_is_the_same_in_pixels(name):
    perfect = 1.0 if name == "mean_iou" else 0.0
    assert eager(name, PIXELS, PIXELS) == compiled(name, PIXELS, PIXELS) == perfect


@pytest.mark.parametrize("name", [*LOSSES, *METRICS])
def test_swapped_true_boxes_are_refused(name):
    with pytest.raises(ValueError, match="`y_true` must hold boxes of height and width >= 0"):
        eager(name, SWAPPED, TRUTH)


@pytest.mark.parametrize("name", [*LOSSES, *METRICS])
@pytest.mark.parametrize("truth", [TRUTH[:1], TRUTH[0]])
@pytest.mark.parametrize("measure", [eager, compiled])
def test_one_true_box_is_not_compared_with_several(name, truth, measure):
    several = r"must hold equally many boxes; got shapes \(1, 4\) and \(2, 4\)"
    one = r"`y_true` must have shape \(n, 4\), one box an image; got \(4,\)"
    with pytest.raises(ValueError, match=several if truth.ndim == 2 else one):
        measure(name, truth, TRUTH)


def test_weights_are_one_a_box_and_not_negative():
    metric = MeanIoU()
    for weights, message in (
        ([1.0], "`sample_weight` must hold one weight a box, shape (2,) or (2, 1); got shape (1,)"),
        ([1.0, -1.0], "`sample_weight` must hold finite numbers >= 0; got -1.0 .. 1.0."),
    ):
        with pytest.raises(ValueError, match=re.escape(message)):
            metric.update_state(TRUTH, TRUTH, weights)
        with pytest.raises(ValueError, match=re.escape(message)):
            BoxBCE()(TRUTH, TRUTH, np.array(weights, "float32"))


def test_edges_in_pixels_are_refused_or_nan():
    with pytest.raises(ValueError, match="`boxes` must be rel_yxyx boxes within the image"):
        edge_cross_entropy(PIXELS, LOGITS, LOGITS)
    run = tf.function(edge_cross_entropy, autograph=False)
    assert np.isnan(run(tf.constant(PIXELS), tf.constant(LOGITS), tf.constant(LOGITS)))
    assert np.isnan(run(tf.constant(NAN), tf.constant(LOGITS), tf.constant(LOGITS)))
    # Five places are equally likely, and an edge between two costs what one at either does; four
    # roundings of numbers below 2.
    found = run(tf.constant(TRUTH), tf.constant(LOGITS), tf.constant(LOGITS))
    assert float(found) == pytest.approx(np.log(5), abs=1e-6)


def test_edges_of_other_shapes_are_refused():
    with pytest.raises(ValueError, match=r"`row_logits` must have shape \(n, positions, 2\)"):
        edge_cross_entropy(TRUTH, LOGITS[:1], LOGITS)
    with pytest.raises(ValueError, match="`column_logits` must hold finite numbers"):
        edge_cross_entropy(TRUTH, LOGITS, LOGITS * np.nan)


def test_the_floor_takes_tensors():
    assert entropy_floor(tf.constant(TRUTH)) == entropy_floor(TRUTH)


def test_losses_of_their_own_kind_are_named():
    with pytest.raises(TypeError, match="`terms` must be a sequence of losses; got 3 of type int"):
        SumLoss(3)
    with pytest.raises(ValueError, match="`reduction` must be one of"):
        BoxBCE(reduction="average")


BOXES = np.array([[[0.0, 0.0, 0.5, 0.5], [0.0, 0.0, 0.0, 0.0]]], "float32")
LABELS = np.array([[1, -1]])
GRID = ((4, 4), 2, (8, 8), 2)


def damaged(**changes):
    """One box, and one of padding; the first one changed."""
    boxes, labels = BOXES.copy(), LABELS.copy()
    boxes[0, 0] = changes.get("box", boxes[0, 0])
    labels[0, 0] = changes.get("label", labels[0, 0])
    return boxes, labels


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"label": 2}, "`labels` must lie in 0 .. 1, or be negative where there is no box; got 2"),
        ({"box": [np.nan, 0, 1, 1]}, "`boxes` must be finite; box (0, 0) is [nan, 0.0, 1.0, 1.0]"),
        ({"box": [0.5, 0.5, 0, 0]}, "`boxes` must hold boxes of height and width >= 0; box (0, 0)"),
        ({"box": [0, 0, 4, 4]}, "`boxes` must be rel_yxyx boxes within the image, fractions in"),
    ],
)
def test_wrong_boxes_of_detectors_are_refused_or_nan(changes, message):
    boxes, labels = damaged(**changes)
    with pytest.raises(ValueError, match=re.escape(message)):
        center_targets(boxes, labels, *GRID)

    @tf.function(autograph=False)
    def losses(boxes, labels):
        targets = center_targets(boxes, labels, *GRID)
        heat = heat_map_loss(targets, tf.zeros((1, 4, 4, 2)))
        return heat, *center_loss(targets, tf.zeros((1, 4, 4, 2)), tf.zeros((1, 4, 4, 2)))

    assert all(np.isnan(loss) for loss in losses(tf.constant(boxes), tf.constant(labels)))
    assert all(np.isfinite(loss) for loss in losses(tf.constant(BOXES), tf.constant(LABELS)))


def test_padding_may_hold_anything():
    boxes, labels = BOXES.copy(), LABELS
    boxes[0, 1] = np.nan
    targets = center_targets(boxes, labels, *GRID)
    assert float(targets.count) == 1


def test_maps_of_other_shapes_are_not_broadcast():
    targets = center_targets(BOXES, LABELS, *GRID)
    with pytest.raises(ValueError, match="logits") as caught:
        heat_map_loss(targets, np.zeros((1, 4, 4, 1), "float32"))
    assert str(caught.value) == (
        "`logits` must have shape (1, 4, 4, 2), as `targets` have; got (1, 4, 4, 1)."
    )
    with pytest.raises(ValueError, match="`offset` must hold finite numbers"):
        center_loss(targets, np.zeros((1, 4, 4, 2)), np.full((1, 4, 4, 2), np.nan))


def test_a_grid_that_does_not_span_the_image_is_refused():
    with pytest.raises(ValueError, match="grid") as caught:
        center_targets(BOXES, LABELS, (3, 4), 2, (8, 8), 2)
    assert str(caught.value) == (
        "`grid` must span the image, at least (4, 4) cells of `stride` 2 for `size` (8, 8); got "
        "(3, 4)."
    )


IMAGES = np.full((2, 12, 16, 1), 0.5, "float32")


@pytest.fixture(scope="module")
def model():
    return wb.models.localizer(SIZE, filters=(2, 2), line_filters=2, classes=2)


READERS = {
    "predict": wb.training.predict,
    "predict_labels": wb.training.predict_labels,
    "edge_distributions": wb.models.edge_distributions,
}


@pytest.mark.parametrize("name", READERS)
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_images_that_are_not_finite_are_refused(name, value, model):
    images = IMAGES.copy()
    images[1, 2, 3, 0] = value
    with pytest.raises(ValueError, match="images") as caught:
        READERS[name](model, images)
    assert str(caught.value) == (
        f"`images` must be finite; got {value} at index (1, 2, 3, 0), 1 such of 384 in all."
    )


@pytest.mark.parametrize("name", READERS)
def test_floats_up_to_255_are_warned_of_where_they_are_passed(name, model):
    with pytest.warns(wb.data.ImageRangeWarning, match="holds floats up to 127.5") as caught:
        READERS[name](model, 255 * IMAGES)
    assert caught[0].filename == __file__


@pytest.mark.parametrize("name", READERS)
def test_images_of_another_size_are_named(name, model):
    with pytest.raises(ValueError, match=r"got `images` of \(5, 7, 1\)"):
        READERS[name](model, np.zeros((1, 5, 7, 1), "float32"))


def test_a_model_that_predicts_nan_is_told(model):
    weights = model.get_weights()
    model.set_weights([np.full_like(weight, np.nan) for weight in weights])
    try:
        with pytest.raises(ValueError, match="`model` must predict finite boxes; 2 of 2 predict"):
            wb.training.predict(model, IMAGES)
    finally:
        model.set_weights(weights)


@pytest.mark.parametrize(
    "build",
    [
        lambda: wb.models.localizer((10**9, 10**9)),
        lambda: wb.models.detector(channels=10**9),
        lambda: wb.models.compiled("integrator", (10**9, 10**9)),
        lambda: wb.models.vgg16(size=(10**9, 10**9)),
        lambda: wb.models.localizer(SIZE, filters=(10**9,)),
    ],
)
def test_absurd_sizes_are_refused_before_memory_is_asked_for(build):
    with pytest.raises(ValueError, match=r"must be a whole number between 1 and (32768|16384)"):
        build()
