"""How well a network finds several boxes that it has not been trained on."""

from __future__ import annotations

from dataclasses import dataclass

import keras
import numpy as np
import tensorflow as tf

from whitebox_loc._types import Array
from whitebox_loc._validation import check_int, check_model
from whitebox_loc.boxes import iou
from whitebox_loc.data import MultiBatch, MultiScene, generate
from whitebox_loc.metrics.average_precision import AveragePrecision, mean_average_precision
from whitebox_loc.models import Detections, detections
from whitebox_loc.models.passes import outputs_of
from whitebox_loc.training.classification import Scored, share
from whitebox_loc.training.detector_fitting import check_classes, check_multi_scene

MATCHED = 0.5
"""Least IoU of a found box with the true box that it is taken for."""

RANKED = 0.01
"""Least score of a candidate that counts for the average precision, which weighs them by rank."""


@dataclass(frozen=True, eq=False, repr=False)
class DetectorEvaluation(Scored):
    """Scores of a detector on one held-out batch, and the arrays they were made from.

    In the order of the scores, each found box takes the true box, of those still free, that it
    overlaps most, and is right if their IoU is at least 0.5. Classes play no part in this.

    Attributes
    ----------
    mean_iou : float
        Mean IoU over the matched pairs; NaN if there are none.
    recall, precision : float
        Share of true boxes that were found, and of found boxes that are right; NaN of none.
    count_rate : float
        Share of images in which as many boxes were found as there are.
    label_accuracy : float
        Share of matched pairs of the same class; NaN for a model without classes.
    average_precision : AveragePrecision
        COCO's, of all candidates with a score of at least 0.01 that non-maximum suppression
        leaves, whatever `threshold`; class by class for a model with classes.
    n : int
        Number of images.
    batch : MultiBatch
        The images and true boxes.
    found : Detections
        The model's boxes.
    matches : ndarray of int64, shape (n, m)
        Which true box each found box is; -1 for none.
    ious : ndarray of float64, shape (n, m)
        IoU of the matched pairs; 0 for boxes that match none.
    """

    SCORES = ("mean_iou", "recall", "precision", "count_rate", "label_accuracy", "n")

    mean_iou: float
    recall: float
    precision: float
    count_rate: float
    label_accuracy: float
    average_precision: AveragePrecision
    n: int
    batch: MultiBatch
    found: Detections
    matches: Array
    ious: Array

    def scores(self) -> dict[str, float]:
        """Return the scores without the arrays, ready for JSON."""
        ranked = self.average_precision
        means = {"map": ranked.map, "map50": ranked.map50, "map75": ranked.map75}
        return super().scores() | means


def evaluate_detector(
    model: keras.Model,
    scene: MultiScene,
    n: int = 1000,
    seed: int | np.random.Generator = 1,
    *,
    threshold: float = 0.3,
    overlap: float = 0.5,
    batch_size: int = 256,
) -> DetectorEvaluation:
    """Score `model` on `n` fresh images of `scene`.

    Parameters
    ----------
    model : keras.Model
        Images to a dict of candidates ``"boxes"``, ``"scores"`` and perhaps ``"classes"``, such
        as `whitebox_loc.models.detector` builds.
    scene : MultiScene
        What is drawn; class k is ``scene.shapes[k]``.
    n, seed, batch_size
        As for `evaluate`.
    threshold, overlap : float
        How boxes are chosen among the candidates; see `whitebox_loc.models.detections`.

    Raises
    ------
    ValueError, TypeError
        If the model does not fit the scene, has another number of classes than the scene has
        shapes, returns no candidates, or predicts NaN.

    Examples
    --------
    >>> import whitebox_loc as wb
    >>> multi = wb.data.MultiScene(wb.data.Scene(size=(16, 16)), boxes=(1, 2))
    >>> evaluate_detector(wb.models.detector(size=(16, 16)), multi, n=20).recall
    0.0
    """
    check_model(model)
    batch = generate(check_multi_scene(scene), check_int("n", n, low=1), seed=seed)
    outputs = outputs_of(model, batch.images, batch_size)
    boxes = detections(outputs, threshold, overlap)
    has_labels = "classes" in outputs
    if has_labels:
        check_classes(outputs["classes"].shape[-1], scene)
    matches, ious = match_boxes(boxes, batch)
    matched = matches >= 0
    label_accuracy = np.nan
    if has_labels and matched.any():
        rows = np.arange(len(batch))[:, None]
        label_accuracy = float((boxes.labels == batch.labels[rows, matches])[matched].mean())
    ranked = detections(outputs, RANKED, overlap)
    return DetectorEvaluation(
        mean_iou=float(ious[matched].mean()) if matched.any() else np.nan,
        recall=float(share(matched.sum(), batch.counts.sum())),
        precision=float(share(matched.sum(), boxes.counts.sum())),
        count_rate=float((boxes.counts == batch.counts).mean()),
        label_accuracy=label_accuracy,
        average_precision=mean_average_precision(
            ranked, batch, size=batch.scene.size, use_labels=has_labels
        ),
        n=len(batch),
        batch=batch,
        found=boxes,
        matches=matches,
        ious=ious,
    )


def match_boxes(boxes: Detections, batch: MultiBatch) -> tuple[Array, Array]:
    """Return which true box each box is, int64 (n, m), and their IoU, float64 (n, m)."""
    n, m = boxes.scores.shape
    matches, ious = np.full((n, m), -1, np.int64), np.zeros((n, m))
    size = np.array([*batch.scene.size, *batch.scene.size], np.float64)
    # In pixels, where true boxes are whole numbers. The TensorFlow half of `iou` accepts boxes
    # with swapped corners, which a model may predict; like padding, these match nothing.
    truth = tf.constant(batch.boxes, tf.float64)
    overlaps = iou(tf.constant(boxes.boxes * size), truth, pairwise=True).numpy()
    rows = np.arange(n)
    for j in range(m):
        best = overlaps[:, j].argmax(axis=1)
        value = overlaps[rows, j, best]
        good = (value >= MATCHED) & (j < boxes.counts)
        matches[good, j], ious[good, j] = best[good], value[good]
        overlaps[rows[good], :, best[good]] = 0
    return matches, ious
