"""How well a model finds boxes that it has not been trained on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from whitebox_loc._types import Array, Seed, Tensor
from whitebox_loc._validation import check_int, check_model
from whitebox_loc.boxes import convert, iou
from whitebox_loc.data import Batch, Scene, as_scene, generate
from whitebox_loc.losses import BoxBCE, entropy_floor
from whitebox_loc.models.passes import outputs_of
from whitebox_loc.training.classification import Classification, Scored, score_labels


@dataclass(frozen=True, repr=False)
class Evaluation(Scored):
    """Scores of a model on one held-out batch, and the arrays they were made from.

    Attributes
    ----------
    mean_iou, min_iou : float
        Mean and least IoU of true and predicted boxes, unrounded.
    pixel_error : float
        Mean absolute error of a coordinate in pixels.
    exact_rate : float
        Share of images of which all four coordinates, rounded to whole pixels, are right.
    bce, floor, excess : float
        Mean binary cross entropy of the fractions, the least it could be, and the difference.
    n : int
        Number of images.
    batch : Batch
        The images and true boxes.
    predictions : ndarray (n, 4)
        Predicted boxes, ``yxyx`` in pixels.
    ious : ndarray (n,)
        IoU of each image.
    classification : Classification or None
        How well the classes were told apart; None for a model without as many as there are shapes.
    """

    SCORES = ("mean_iou", "min_iou", "pixel_error", "exact_rate", "bce", "floor", "excess", "n")

    mean_iou: float
    min_iou: float
    pixel_error: float
    exact_rate: float
    bce: float
    floor: float
    excess: float
    n: int
    batch: Batch
    predictions: Array
    ious: Array
    classification: Classification | None = None

    def scores(self) -> dict[str, float]:
        """Return the scores without the arrays, ready for JSON; those of classes if there are."""
        return super().scores() | (self.classification.scores() if self.classification else {})


def evaluate(
    model: keras.Model,
    scene: Scene | str = "uniform",
    n: int = 2000,
    seed: int | np.random.Generator = 1,
    *,
    batch_size: int = 256,
) -> Evaluation:
    """Score `model` on `n` fresh images of `scene` that have a box.

    Parameters
    ----------
    model : keras.Model
        Images to ``rel_yxyx`` boxes (n, 4); or to a dict of those, ``"box"``, and
        probabilities of classes ``"label"`` (n, classes).
    scene : Scene or str, default "uniform"
        What is drawn; class k is ``scene.shapes[k]``. Empty boxes, without IoU, are drawn again.
    n : int, default 2000
        Number of images, at least 1.
    seed : int or numpy.random.Generator, default 1
        Source of the images; it shares no random stream with training.
    batch_size : int, default 256
        Images in one pass.

    Raises
    ------
    ValueError, TypeError
        If the model does not fit the scene, or predicts NaN.

    Examples
    --------
    >>> import whitebox_loc as wb
    >>> model = wb.models.localizer(size=(20, 20))
    >>> evaluate(model, wb.data.Scene(size=(20, 20)), n=100).n
    100
    """
    return measure(model, scene, n, seed, batch_size=batch_size, classes=True)


def measure(
    model: keras.Model, scene: Scene | str, n: int, seed: Seed, *, batch_size: int, classes: bool
) -> Evaluation:
    """Return what `evaluate` does; without `classes` the model's own are not looked at."""
    check_model(model)
    scene = as_scene(scene)
    batch = generate(scene, check_int("n", n, low=1), seed=seed, valid_only=True)
    outputs = outputs_of(model, batch.images, batch_size)
    boxes = _check_predictions("boxes", box_of(outputs)).astype(np.float64)
    truth = convert(batch.boxes, "yxyx", "rel_yxyx", size=scene.size)
    pixels = convert(boxes, "rel_yxyx", "yxyx", size=scene.size)
    # The TensorFlow half of `iou` accepts swapped corners, which an untrained dense
    # head does predict; they count as empty boxes.
    ious = iou(tf.constant(batch.boxes, tf.float64), tf.constant(pixels)).numpy()
    bce = float(BoxBCE(dtype="float64")(truth, boxes))
    floor = entropy_floor(truth)
    return Evaluation(
        mean_iou=float(ious.mean()),
        min_iou=float(ious.min()),
        pixel_error=float(np.abs(pixels - batch.boxes).mean()),
        exact_rate=float((np.rint(pixels) == batch.boxes).all(axis=1).mean()),
        bce=bce,
        floor=floor,
        excess=bce - floor,
        n=len(batch),
        batch=batch,
        predictions=pixels,
        ious=ious,
        classification=_classification(outputs, batch) if classes else None,
    )


def _classification(outputs: Any, batch: Batch) -> Classification | None:
    labels, names = outputs.get("label") if isinstance(outputs, dict) else None, batch.scene.shapes
    if labels is None or labels.shape[1:] != (len(names),):
        return None
    return score_labels(batch.labels, labels, names=names)


def predict(model: keras.Model, images: Array, *, batch_size: int = 256) -> Array:
    """Return the model's boxes of `images`, ``rel_yxyx``, shape (n, 4) float32.

    Parameters
    ----------
    model : keras.Model
        Images to ``rel_yxyx`` boxes (n, 4), or to a dict with those under ``"box"``.
    images : array (n, height, width, channels)
        Floats in [0, 1], or uint8, which is divided by 255; others give an `ImageRangeWarning`.
    batch_size : int, default 256
        Images in one pass.

    Raises
    ------
    ValueError, TypeError
        If an argument is not one of the above, or images or boxes hold NaN or infinity.

    Examples
    --------
    >>> import whitebox_loc as wb
    >>> predict(wb.models.localizer(size=(8, 8)), np.zeros((3, 8, 8, 1))).shape
    (3, 4)
    """
    return _check_predictions("boxes", box_of(outputs_of(model, images, batch_size)))


def predict_labels(model: keras.Model, images: Array, *, batch_size: int = 256) -> Array:
    """Return the model's probabilities of classes, shape (n, classes) float32.

    The model returns a dict with them under ``"label"``; all else is as for `predict`.

    Raises
    ------
    ValueError, TypeError
        If the model does not classify, or as for `predict`.

    Examples
    --------
    >>> import whitebox_loc as wb
    >>> model = wb.models.localizer(size=(8, 8), classes=6)
    >>> predict_labels(model, np.zeros((3, 8, 8, 1))).shape
    (3, 6)
    """
    outputs = outputs_of(model, images, batch_size)
    if not isinstance(outputs, dict) or "label" not in outputs:
        raise ValueError(
            f"`model` {model.name!r} returns no output 'label'. Build one that classifies, such "
            "as localizer(classes=6)."
        )
    return _check_predictions("probabilities", outputs["label"])


def _check_predictions(what: str, predictions: Array) -> Array:
    bad = np.count_nonzero(~np.isfinite(predictions).all(axis=1))
    if bad:
        raise ValueError(
            f"`model` must predict finite {what}; {bad} of {len(predictions)} predictions hold NaN "
            "or infinity. Its weights may have diverged."
        )
    return predictions


def box_of(outputs: Any) -> Tensor:
    """Return the box (n, 4) of a model's outputs: the only one, or ``"box"``; None before any."""
    if isinstance(outputs, dict):
        if "box" not in outputs and {"boxes", "scores"} <= set(outputs):
            raise ValueError(
                "`model` must find one box an image here; it returns candidates of several boxes. "
                "Use training.fit_detector and training.evaluate_detector, or models.detections."
            )
        if "box" not in outputs:
            raise ValueError(f"`model` must name its box 'box'; its outputs are {sorted(outputs)}.")
    box = outputs["box"] if isinstance(outputs, dict) else outputs
    shape = getattr(box, "shape", ())
    is_known = box is not None and getattr(shape, "rank", 2) is not None
    if is_known and tuple(shape)[1:] not in ((4,), (None,)):
        got = tuple(shape) if hasattr(box, "shape") else type(box).__name__
        raise ValueError(
            f"`model` must return one box an image, shape (n, 4); got {got}. Return a dict with it "
            "as 'box' if there are other outputs, or wrap the model by models.adapted."
        )
    return box


def check_trainable(model: keras.Model) -> None:
    """Raise a ValueError if a model has nothing to learn."""
    if not model.trainable_variables:
        raise ValueError(
            f"`model` {model.name!r} has no trainable weights. Set `trainable = True` on the "
            "layers that are to learn."
        )
