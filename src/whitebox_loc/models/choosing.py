"""Choosing among candidates: from what a detector returns to the boxes that it found."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from whitebox_loc._types import Array, ArrayLike
from whitebox_loc._validation import check_boxes, check_int, check_real


@dataclass(frozen=True, eq=False)
class Detections:
    """The boxes found in ``n`` images, best first, padded to the ``m`` of the fullest image.

    Attributes
    ----------
    boxes : ndarray of float32, shape (n, m, 4)
        ``rel_yxyx``, as the model returned them: they may reach beyond the image. Zeros after
        the last box of an image.
    scores : ndarray of float32, shape (n, m)
        In [0, 1], descending; zeros after the last.
    labels : ndarray of int64, shape (n, m)
        Most probable class, 0 for a model without classes; -1 after the last.
    candidates : ndarray of int64, shape (n, m)
        Which candidate of the model each box is; -1 after the last.
    counts : ndarray of int64, shape (n,)
        Number of boxes found in each image.
    """

    boxes: Array
    scores: Array
    labels: Array
    candidates: Array
    counts: Array

    def __len__(self) -> int:
        return len(self.counts)

    @property
    def valid(self) -> Array:
        """Which places of `boxes` hold a box, bool (n, m)."""
        return np.arange(self.boxes.shape[1]) < self.counts[:, None]


def detections(
    outputs: Mapping[str, ArrayLike], threshold: float = 0.3, overlap: float = 0.5, most: int = 100
) -> Detections:
    """Choose the boxes found among a model's candidates.

    Candidates below the threshold are left out. The others are looked at in the order of their
    scores, and one is kept unless it overlaps a kept box of its own class too much: greedy
    non-maximum suppression. Of equal scores the first candidate comes first.

    Parameters
    ----------
    outputs : mapping
        What a model of several boxes returns: ``"boxes"`` (n, k, 4) in ``rel_yxyx``, ``"scores"``
        (n, k) in [0, 1], and perhaps ``"classes"`` (n, k, c), probabilities; arrays or tensors.
    threshold : float, default 0.3
        Least score of a box.
    overlap : float, default 0.5
        Greatest IoU of two boxes of one class. With 1 nothing is suppressed.
    most : int, default 100
        Most boxes an image, at least 1.

    Raises
    ------
    ValueError, TypeError
        If an output is missing, of another shape or not finite, or a number out of range.

    References
    ----------
    P. Felzenszwalb et al., "Object detection with discriminatively trained part-based
    models", IEEE PAMI 2010 (greedy non-maximum suppression).

    Examples
    --------
    >>> boxes = [[[0, 0, 0.5, 0.5], [0, 0, 0.5, 0.4], [0.6, 0.6, 1, 1]]]
    >>> choice = detections({"boxes": boxes, "scores": [[0.7, 0.9, 0.1]]})
    >>> choice.candidates, choice.scores
    (array([[1]]), array([[0.9]], dtype=float32))
    """
    boxes, scores, labels = _check_outputs(outputs)
    check_real("threshold", threshold, low=0, high=1)
    check_real("overlap", overlap, low=0, high=1)
    check_int("most", most, low=1)
    images = zip(boxes, scores, labels, strict=True)
    choices = [_choose(*image, threshold, overlap, most) for image in images]
    counts = np.array([len(each) for each in choices], np.int64)
    candidates = np.full((len(choices), counts.max(initial=0)), -1, np.int64)
    for row, each in zip(candidates, choices, strict=True):
        row[: len(each)] = each
    valid = candidates >= 0
    rows = np.arange(len(choices))[:, None]
    return Detections(
        boxes=np.where(valid[..., None], boxes[rows, candidates], np.float32(0)),
        scores=np.where(valid, scores[rows, candidates], np.float32(0)),
        labels=np.where(valid, labels[rows, candidates], -1),
        candidates=candidates,
        counts=counts,
    )


def _choose(
    boxes: Array, scores: Array, labels: Array, threshold: float, overlap: float, most: int
) -> Array:
    """Return the candidates of one image that stay, the best first."""
    order = np.argsort(-scores, kind="stable")
    order = order[scores[order] >= np.float32(threshold)]
    choices: list[int] = []
    while len(order) and len(choices) < most:
        best, rest = order[0], order[1:]
        choices.append(int(best))
        shared = _overlaps(boxes[best], boxes[rest])
        order = rest[(shared <= overlap) | (labels[rest] != labels[best])]
    return np.array(choices, np.int64)


def _overlaps(box: Array, others: Array) -> Array:
    """Return the IoU of a box with others; swapped corners make an empty box."""
    a, b = box.astype(np.float64), others.astype(np.float64)
    sides = np.minimum(a[2:], b[:, 2:]) - np.maximum(a[:2], b[:, :2])
    shared = np.maximum(sides, 0).prod(axis=-1)
    areas = [np.maximum(each[..., 2:] - each[..., :2], 0).prod(axis=-1) for each in (a, b)]
    union = areas[0] + areas[1] - shared
    return shared / np.where(union > 0, union, 1)


def _check_outputs(outputs: Mapping[str, ArrayLike]) -> tuple[Array, Array, Array]:
    """Return boxes, scores and the most probable classes."""
    if not isinstance(outputs, Mapping) or not {"boxes", "scores"} <= set(outputs):
        got = sorted(outputs) if isinstance(outputs, Mapping) else type(outputs).__name__
        raise TypeError(
            "`outputs` must be a dict with 'boxes' and 'scores', as models.detector returns; "
            f"got {got}."
        )
    boxes = check_boxes("outputs['boxes']", np.asarray(outputs["boxes"], np.float32))
    if boxes.ndim != 3 or boxes.shape[1] < 1:
        raise ValueError(
            "`outputs['boxes']` must have shape (n, k, 4), k candidates an image; got shape "
            f"{boxes.shape}."
        )
    scores = _check_shares("scores", outputs["scores"], boxes.shape[:2], 2)
    if "classes" not in outputs:
        return boxes, scores, np.zeros(scores.shape, np.int64)
    classes = _check_shares("classes", outputs["classes"], boxes.shape[:2], 3)
    return boxes, scores, classes.argmax(axis=-1).astype(np.int64)


def _check_shares(name: str, value: ArrayLike, shape: tuple[int, ...], ndim: int) -> Array:
    array = np.asarray(value, np.float32)
    if array.ndim != ndim or array.shape[:2] != shape or not all(array.shape[2:]):
        expected = (*shape, "c")[:ndim]
        raise ValueError(f"`outputs[{name!r}]` must have shape {expected}; got {array.shape}.")
    # Written so that NaN is refused too. A sum in float32 may exceed 1 by its rounding.
    if not ((array >= 0) & (array <= 1 + 1e-5)).all():
        raise ValueError(
            f"`outputs[{name!r}]` must lie in [0, 1]; got {array.min()} .. {array.max()}. Pass "
            "probabilities, not logits."
        )
    return array
