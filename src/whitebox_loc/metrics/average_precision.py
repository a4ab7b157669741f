"""Average precision of several boxes an image, as COCO defines it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from whitebox_loc._types import Array, ArrayLike
from whitebox_loc._validation import (
    as_array,
    check_bool,
    check_boxes,
    check_choice,
    check_int,
    check_pixels,
    check_size,
    shortened,
)
from whitebox_loc.boxes import FORMATS, convert, iou
from whitebox_loc.boxes.formats import RELATIVE_FORMATS

AREAS: dict[str, tuple[float, float]] = {
    "small": (0.0, 32.0**2),
    "medium": (32.0**2, 96.0**2),
    "large": (96.0**2, 1e10),
}
"""COCO's ranges of areas in square pixels, both ends inclusive."""

Size = tuple[int, int] | None

_RECALLS = np.linspace(0.0, 1.0, 101)
_THRESHOLDS = np.linspace(0.5, 0.95, 10)
# A threshold of 1 could never be met after rounding; COCO caps it here.
_HIGHEST = 1 - 1e-10


@dataclass(frozen=True, eq=False)
class AveragePrecision:
    """Average precision of detections, and what it is made of.

    NaN stands where there is nothing to find: a mean over no true boxes.

    Attributes
    ----------
    map : float
        Mean over thresholds and over the classes that have true boxes.
    by_threshold : float64 array (t,)
        Mean over classes, threshold by threshold.
    by_class : dict of int to float
        Mean over thresholds of each class that has true boxes.
    by_area : dict of str to float
        As `map`, for true boxes in a range of areas only.
    recall : dict of int to float
        Greatest recall with so many detections an image and class, mean over thresholds
        and classes: COCO's AR@1, AR@10, AR@100.
    recall_by_area : dict of str to float
        The same in a range of areas, with as many detections as there may be.
    thresholds : float64 array (t,)
        Least IoU of a hit: 0.5, 0.55, ..., 0.95.
    classes : int64 array (c,)
        The classes that have true boxes.
    precision : float64 array (t, 101, c)
        Precision at the recalls 0, 0.01, ..., 1: the greatest at this or any higher recall,
        0 where it is not reached.
    """

    map: float
    by_threshold: Array
    by_class: Mapping[int, float]
    by_area: Mapping[str, float]
    recall: Mapping[int, float]
    recall_by_area: Mapping[str, float]
    thresholds: Array
    classes: Array
    precision: Array

    @property
    def map50(self) -> float:
        """Mean over classes at an IoU of 0.5."""
        return float(self.by_threshold[0])

    @property
    def map75(self) -> float:
        """Mean over classes at an IoU of 0.75."""
        return float(self.by_threshold[5])

    @property
    def small(self) -> float:
        """`map` of true boxes of at most 32² pixels."""
        return self.by_area.get("small", np.nan)

    @property
    def medium(self) -> float:
        """`map` of true boxes between 32² and 96² pixels."""
        return self.by_area.get("medium", np.nan)

    @property
    def large(self) -> float:
        """`map` of true boxes of at least 96² pixels."""
        return self.by_area.get("large", np.nan)

    def __str__(self) -> str:
        return f"mAP {self.map:.4f}   at .50 {self.map50:.4f}   at .75 {self.map75:.4f}"


def mean_average_precision(
    found: Any,
    truth: ArrayLike,
    *,
    format: str = "rel_yxyx",
    truth_format: str = "yxyx",
    size: tuple[int, int] | None = None,
    most: int = 100,
    areas: Mapping[str, tuple[float, float]] | None = None,
    use_labels: bool = True,
) -> AveragePrecision:
    r"""Compare detections with true boxes, as COCO does.

    In every image the detections of a class are taken in the order of their scores, `most` of
    them; each takes the true box of its class with which its IoU is greatest, of those that are
    free and reach the threshold. Over all images, again in the order of scores, precision is
    the share of hits among the detections so far, and recall their share of the true boxes.
    With the greatest precision :math:`p(r)` at any recall of at least r,

    .. math:: \text{AP} = \frac{1}{101} \sum_{r = 0, .01, \dots, 1} p(r),

    averaged over ten thresholds and over classes. For a range of areas, true boxes outside of it
    are ignored, and with them the detections that take one, or that take none and are outside
    themselves.

    Parameters
    ----------
    found : Detections, or tuple of arrays (boxes, scores) or (boxes, scores, labels)
        Boxes (n, m, 4) of n images, scores (n, m), whole-numbered labels (n, m); -1 marks
        padding. Without labels, or with None, all boxes are of class 0. COCO counts unsure ones,
        too: choose them with ``detections(outputs, threshold=0.01)``.
    truth : MultiBatch, array of boxes (n, k, 4), or tuple (boxes, labels)
        Likewise; without labels, boxes of four zeros are padding.
    format : str, default "rel_yxyx"
        Format of the found boxes, a name from `whitebox_loc.boxes.FORMATS`.
    truth_format : str, default "yxyx"
        Format of the true boxes.
    size : (height, width), optional
        Image size in pixels; needed for formats in fractions.
    most : int, default 100
        Most detections an image and class that count.
    areas : dict of str to (low, high), optional
        Ranges in square pixels, both ends inclusive; `AREAS` by default.
    use_labels : bool, default True
        False takes all boxes for class 0, as for a model without classes.

    Returns
    -------
    AveragePrecision
        0 if nothing is found; NaN where there is nothing to find.

    Raises
    ------
    ValueError, TypeError
        If arrays do not fit together, scores are not finite, a true box has swapped corners, or
        boxes in a pixel format can only be fractions.

    Notes
    -----
    The area of a true box is that of the box, where COCO's own files give the area of a mask. A
    found box with swapped corners is an empty one, which overlaps nothing. Equal scores keep their
    order. Numbers agree with pycocotools up to its guard in the precision, ``hits / (all +
    2.2e-16)``: here a perfect detector has exactly 1. An IoU of exactly a threshold may fall on
    either side of it, since fractions in float32 are no whole pixels.

    References
    ----------
    T.-Y. Lin et al., "Microsoft COCO: common objects in context", 2014, arXiv:1405.0312, and
    its evaluation code.

    Examples
    --------
    >>> truth = [[[0, 0, 10, 10], [20, 20, 40, 40]]]
    >>> boxes = [[[0, 0, 10, 10], [20, 20, 36, 40], [50, 50, 60, 60]]]
    >>> result = mean_average_precision((boxes, [[0.9, 0.6, 0.7]]), truth, format="yxyx")
    >>> print(result)  # the second box has an IoU of .8, and a wrong one before it
    mAP 0.7360   at .50 0.8350   at .75 0.8350
    >>> result.recall[1], result.recall[10]
    (0.5, 0.85)
    """
    check_int("most", most, low=1)
    use_labels = check_bool("use_labels", use_labels)
    ranges = {"all": (0.0, 1e10), **_check_areas(AREAS if areas is None else areas)}
    boxes, scores, labels = _found(found, format, size)
    true_boxes, true_labels = _true(truth, truth_format, size)
    if not use_labels:
        labels, true_labels = np.minimum(labels, 0), np.minimum(true_labels, 0)
    if len(boxes) != len(true_boxes):
        raise ValueError(
            f"`found` and `truth` must hold equally many images; got {len(boxes)} and "
            f"{len(true_boxes)}."
        )
    bounds = np.array(list(ranges.values()))
    classes = np.unique(true_labels[true_labels >= 0])
    counts = sorted({c for c in (1, 10) if c < most} | {most})
    tables, images = [], (boxes, scores, labels, true_boxes, true_labels)
    for label in classes:
        pairs = [
            _match(b[own == label], s[own == label], most, t[true == label], bounds)
            for b, s, own, t, true in zip(*images, strict=True)
        ]
        tables.append(_curves(pairs, counts))
    return _summary(classes, list(ranges), counts, tables)


@dataclass(frozen=True)
class _Matches:
    """What became of an image's detections of a class, in the order of their scores."""

    scores: Array  # (d,)
    hit: Array  # (areas, thresholds, d)
    ignored: Array  # (areas, thresholds, d)
    total: Array  # (areas,), true boxes that are not ignored


def _match(boxes: Array, scores: Array, most: int, truth: Array, bounds: Array) -> _Matches:
    """Give each detection the free true box it overlaps most, for all areas and thresholds."""
    order = np.argsort(-scores, kind="stable")[:most]
    boxes, scores = boxes[order], scores[order]
    shape = (len(bounds), len(_THRESHOLDS), len(boxes))
    hit, ignored = np.zeros(shape, bool), np.zeros(shape, bool)
    outside = ~_within(truth, bounds)
    overlaps = iou(boxes, truth, "yxyx", pairwise=True)
    free = np.ones((*shape[:2], len(truth)), bool)
    least = np.minimum(_THRESHOLDS, _HIGHEST)[:, None]
    for index, overlap in enumerate(overlaps if len(truth) else ()):
        possible = free & (overlap >= least)
        # Ignored boxes are taken only where no other will do.
        regular = possible & ~outside[:, None]
        some = regular.any(-1)
        choice = _last_largest(np.where(np.where(some[..., None], regular, possible), overlap, -1))
        match = possible.any(-1)
        hit[..., index], ignored[..., index] = match, match & ~some
        area, threshold = np.nonzero(match)
        free[area, threshold, choice[match]] = False
    ignored |= ~hit & ~_within(boxes, bounds)[:, None]
    return _Matches(scores, hit, ignored, (~outside).sum(1))


def _last_largest(values: Array) -> Array:
    """Return the index of the largest on the last axis; of equal ones, COCO takes the last."""
    return values.shape[-1] - 1 - np.argmax(values[..., ::-1], axis=-1)


def _within(boxes: Array, bounds: Array) -> Array:
    """Tell which boxes have an area within which bounds, (areas, boxes)."""
    area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    return (area >= bounds[:, :1]) & (area <= bounds[:, 1:])


def _curves(pairs: list[_Matches], counts: list[int]) -> tuple[Array, Array]:
    """Return precision (areas, thresholds, 101), recall (counts, areas, thresholds), or NaN."""
    totals = np.sum([p.total for p in pairs], axis=0)
    order = np.argsort(-np.concatenate([p.scores for p in pairs]), kind="stable")
    hit = np.concatenate([p.hit for p in pairs], axis=-1)[..., order]
    counted = ~np.concatenate([p.ignored for p in pairs], axis=-1)[..., order]
    ranks = np.concatenate([np.arange(len(p.scores)) for p in pairs])[order]
    precision = np.full((*hit.shape[:2], len(_RECALLS)), np.nan)
    recall = np.full((len(counts), *hit.shape[:2]), np.nan)
    for area in np.flatnonzero(totals):
        good = hit[area] & counted[area]
        for row, count in enumerate(counts):
            recall[row, area] = (good & (ranks < count)).sum(-1) / totals[area]
        for threshold in range(hit.shape[1]):
            both = good[threshold], counted[area, threshold]
            precision[area, threshold] = _at_recalls(*both, totals[area])
    return precision, recall


def _at_recalls(good: Array, counted: Array, total: int) -> Array:
    """Return the precision at the 101 recalls: the greatest from there on."""
    hits, counts = np.cumsum(good), np.cumsum(counted)
    precision = hits / np.maximum(counts, 1)
    highest = np.append(np.maximum.accumulate(precision[::-1])[::-1], 0.0)
    return highest[np.searchsorted(hits / total, _RECALLS, side="left")]


def _summary(
    classes: Array, areas: list[str], counts: list[int], tables: list[tuple[Array, Array]]
) -> AveragePrecision:
    shape = (0, len(areas), len(_THRESHOLDS))
    precision = np.stack([p for p, _ in tables]) if tables else np.zeros((*shape, len(_RECALLS)))
    recall = np.stack([r for _, r in tables]) if tables else np.zeros((0, len(counts), *shape[1:]))
    means = precision.mean(-1)
    return AveragePrecision(
        map=_mean(means[:, 0]),
        by_threshold=np.array([_mean(means[:, 0, t]) for t in range(len(_THRESHOLDS))]),
        by_class={int(label): _mean(row[0]) for label, row in zip(classes, means, strict=True)},
        by_area={name: _mean(means[:, a]) for a, name in enumerate(areas) if a},
        recall={count: _mean(recall[:, i, 0]) for i, count in enumerate(counts)},
        recall_by_area={name: _mean(recall[:, -1, a]) for a, name in enumerate(areas) if a},
        thresholds=_THRESHOLDS.copy(),
        classes=classes.astype(np.int64),
        precision=np.moveaxis(precision[:, 0], 0, -1),
    )


def _mean(values: Array) -> float:
    """Return the mean of what is defined, NaN of nothing."""
    defined = values[~np.isnan(values)]
    return float(defined.mean()) if defined.size else float("nan")


def _found(found: Any, format: str, size: Size) -> tuple[Array, Array, Array]:
    """Return boxes (n, m, 4) in pixels, scores (n, m), labels (n, m)."""
    if isinstance(found, (tuple, list)) and len(found) in (2, 3):
        boxes, scores, labels = (*found, None)[:3]
    elif all(hasattr(found, name) for name in ("boxes", "scores", "labels")):
        boxes, scores, labels = found.boxes, found.scores, found.labels
    else:
        raise TypeError(
            "`found` must be Detections, or a tuple of arrays (boxes, scores) or (boxes, scores, "
            f"labels); got {type(found).__name__}."
        )
    boxes, labels = _boxes("found", boxes, labels, "format", format, size)
    scores = as_array("found", scores)
    if scores.dtype.kind not in "iuf":
        raise TypeError(f"`found` must hold scores that are numbers; got dtype {scores.dtype}.")
    scores = scores.astype(np.float64)
    if scores.shape != labels.shape:
        raise ValueError(
            f"`found` must hold one score a box, shape {labels.shape}; got {scores.shape}."
        )
    if not np.isfinite(scores[labels >= 0]).all():
        raise ValueError("`found` must hold finite scores; got NaN or infinity.")
    return boxes, scores, labels


def _true(truth: ArrayLike, format: str, size: Size) -> tuple[Array, Array]:
    if hasattr(truth, "boxes") and hasattr(truth, "labels"):
        boxes, labels = truth.boxes, truth.labels
    elif isinstance(truth, tuple) and len(truth) == 2:
        boxes, labels = truth
    else:
        boxes, labels = truth, None
    if labels is None:
        boxes = as_array("truth", boxes)
        # An empty box at the very corner is no true box, but what `MultiBatch` pads with.
        labels = np.any(boxes != 0, axis=-1).astype(np.int64) - 1
    return _boxes("truth", boxes, labels, "truth_format", format, size)


def _boxes(
    name: str, boxes: ArrayLike, labels: ArrayLike, keyword: str, format: str, size: Size
) -> tuple[Array, Array]:
    """Return boxes (n, m, 4) in float64 pixels, zeros for padding, and labels (n, m)."""
    check_choice(keyword, format, FORMATS)
    boxes = as_array(name, boxes)
    if boxes.ndim != 3 or boxes.shape[-1] != 4:
        raise ValueError(
            f"`{name}` must hold boxes of shape (images, boxes, 4); got {boxes.shape}."
        )
    labels = np.zeros(boxes.shape[:2], np.int64) if labels is None else as_array(name, labels)
    if labels.dtype.kind not in "iu":
        raise TypeError(f"`{name}` must hold whole-numbered labels; got dtype {labels.dtype}.")
    if labels.shape != boxes.shape[:2]:
        raise ValueError(
            f"`{name}` must hold one label a box, shape {boxes.shape[:2]}; got {labels.shape}."
        )
    real = (labels >= 0)[..., None]
    # Padding may hold anything, NaN as well.
    filled = check_boxes(name, np.where(real, boxes, 0)).astype(np.float64)
    if format not in RELATIVE_FORMATS:
        check_pixels(name, filled[real[..., 0]], keyword, format)
    lengths = None if size is None else check_size("size", size)
    pixels = convert(filled, format, "yxyx", size=lengths)
    wrong = np.argwhere((pixels[..., 2:] < pixels[..., :2]).any(-1))
    if len(wrong) and name == "truth":
        image, place = (int(i) for i in wrong[0])
        raise ValueError(
            f"`{name}` must hold boxes of height and width >= 0; box {place} of image {image} is "
            f"{boxes[image, place].tolist()} in format {format!r}."
        )
    # What a model returns may have swapped corners: an empty box, as for the losses.
    pixels[..., 2:] = np.maximum(pixels[..., 2:], pixels[..., :2])
    return pixels, labels


def _check_areas(areas: object) -> dict[str, tuple[float, float]]:
    if not isinstance(areas, Mapping) or "all" in areas:
        raise TypeError(
            "`areas` must be a dict of names (other than 'all') to (low, high) in square pixels; "
            f"got {shortened(areas)}."
        )
    pairs = {name: as_array("areas", pair) for name, pair in areas.items()}
    for name, pair in pairs.items():
        if pair.shape != (2,) or pair.dtype.kind not in "iuf" or not pair[0] <= pair[1]:
            raise ValueError(
                f"`areas` must hold (low, high) with low <= high; got {pair.tolist()} for {name!r}."
            )
    return {name: (float(pair[0]), float(pair[1])) for name, pair in pairs.items()}
