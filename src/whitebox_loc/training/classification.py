"""How well classes are told apart, and whether the probabilities are calibrated."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from whitebox_loc._types import Array, ArrayLike
from whitebox_loc._validation import as_array, check_int, shortened


class Scored:
    """Scores as attributes, beside the arrays that they were computed from."""

    SCORES: ClassVar[tuple[str, ...]]

    def scores(self) -> dict[str, float]:
        """Return the scores without the arrays, ready for JSON."""
        return {name: getattr(self, name) for name in self.SCORES}

    def __repr__(self) -> str:
        parts = ", ".join(f"{name}={value:.4g}" for name, value in self.scores().items())
        return f"{type(self).__name__}({parts})"


@dataclass(frozen=True, eq=False, repr=False)
class Classification(Scored):
    """Scores of predicted probabilities against true classes.

    The predicted class is the most probable one, the first of several; its probability is
    the *confidence*. Images are sorted by confidence into bins of equal width: bin m of M
    holds m/M < confidence <= (m + 1)/M.

    Attributes
    ----------
    accuracy : float
        Share of images of which the predicted class is the true one.
    cross_entropy : float
        Mean of -log p(true class), in nats; infinite where such a p is 0.
    calibration_error, worst_calibration_error : float
        How far the share of right answers in a bin is from its mean confidence: mean over images
        (the expected calibration error), and largest over the bins that hold images. Neither is
        negative, so with few images a bin even perfect probabilities have some.
    confusion : int array (classes, classes)
        Images by true class (rows) and predicted class (columns).
    bin_edges : float array (bins + 1,)
        Limits of the bins, from 0 to 1.
    bin_counts : int array (bins,)
        Images in each bin.
    bin_confidence, bin_accuracy : float arrays (bins,)
        Mean confidence and share of right answers; NaN in empty bins.
    names : tuple of str
        Names of the classes.
    labels : int array (n,)
        True classes.
    probabilities : float64 array (n, classes)
    """

    SCORES = ("accuracy", "cross_entropy", "calibration_error", "worst_calibration_error")

    accuracy: float
    cross_entropy: float
    calibration_error: float
    worst_calibration_error: float
    confusion: Array
    bin_edges: Array
    bin_counts: Array
    bin_confidence: Array
    bin_accuracy: Array
    names: tuple[str, ...]
    labels: Array
    probabilities: Array

    @property
    def predicted(self) -> Array:
        """The predicted classes, int array (n,)."""
        return self.probabilities.argmax(axis=1)

    @property
    def recall(self) -> Array:
        """Share of each true class that was found, (classes,); NaN without images of it."""
        return share(np.diag(self.confusion), self.confusion.sum(axis=1))

    @property
    def precision(self) -> Array:
        """Share of each predicted class that is true, (classes,); NaN if never predicted."""
        return share(np.diag(self.confusion), self.confusion.sum(axis=0))

    def __repr__(self) -> str:
        return f"{super().__repr__()[:-1]}, n={len(self.labels)}, classes={len(self.names)})"


def score_labels(
    labels: ArrayLike,
    probabilities: ArrayLike,
    *,
    bins: int = 15,
    names: Sequence[str] | None = None,
) -> Classification:
    """Compare predicted probabilities with true classes.

    Parameters
    ----------
    labels : int array (n,)
        True classes, 0 .. classes - 1, of at least one image.
    probabilities : float array (n, classes)
        Predicted; each row sums to 1.
    bins : int, default 15
        Bins of confidence.
    names : sequence of str, optional
        Names of the classes; their numbers by default.

    Raises
    ------
    ValueError, TypeError
        If the shapes do not fit, a label is no class, or a row is no distribution.

    References
    ----------
    C. Guo et al., "On calibration of modern neural networks", ICML 2017, arXiv:1706.04599.

    Examples
    --------
    >>> scores = score_labels([0, 1], [[0.9, 0.1], [0.9, 0.1]])
    >>> scores.accuracy, scores.confusion.tolist(), round(scores.calibration_error, 3)
    (0.5, [[1, 0], [1, 0]], 0.4)
    """
    p = _check_probabilities(probabilities)
    truth = _check_labels(labels, p)
    check_int("bins", bins, low=1)
    if names is not None and not isinstance(names, (list, tuple)):
        raise TypeError(f"`names` must be a list or tuple of texts; got {shortened(names)}.")
    names = tuple(map(str, range(p.shape[1])) if names is None else names)
    if len(names) != p.shape[1]:
        raise ValueError(f"`names` must hold {p.shape[1]} names, one a class; got {len(names)}.")
    predicted, confidence = p.argmax(axis=1), p.max(axis=1)
    right = predicted == truth
    confusion = np.zeros((p.shape[1], p.shape[1]), np.int64)
    np.add.at(confusion, (truth, predicted), 1)
    edges = np.arange(bins + 1) / bins
    # Rows sum to 1 only as far as float32 goes, so a confidence may exceed 1 a little.
    place = np.clip(np.searchsorted(edges, confidence, side="left") - 1, 0, bins - 1)
    counts, of_bins = np.bincount(place, minlength=bins), {"minlength": bins}
    mean_confidence = share(np.bincount(place, confidence, **of_bins), counts)
    mean_right = share(np.bincount(place, right, **of_bins), counts)
    full = counts > 0
    gaps = np.abs(mean_right - mean_confidence)[full]
    with np.errstate(divide="ignore"):
        surprise = -np.log(p[np.arange(len(p)), truth])
    return Classification(
        accuracy=float(right.mean()),
        cross_entropy=float(surprise.mean()),
        calibration_error=float((gaps * counts[full]).sum() / len(p)),
        worst_calibration_error=float(gaps.max()),
        confusion=confusion,
        bin_edges=edges,
        bin_counts=counts,
        bin_confidence=mean_confidence,
        bin_accuracy=mean_right,
        names=names,
        labels=truth,
        probabilities=p,
    )


def share(part: ArrayLike, whole: ArrayLike) -> Array:
    """Return the ratio of counts; NaN where there is nothing to count."""
    return np.where(whole > 0, part / np.maximum(whole, 1), np.nan)


def _check_probabilities(value: ArrayLike) -> Array:
    p = as_array("probabilities", value)
    if p.ndim != 2 or len(p) < 1 or p.shape[1] < 2 or p.dtype.kind not in "iuf":
        raise ValueError(
            "`probabilities` must hold numbers of shape (n, classes), at least one image and two "
            f"classes; got shape {p.shape} of {p.dtype}."
        )
    sums = p.astype(np.float64).sum(axis=1)
    # A softmax in half precision sums to 1 within its rounding of about 1e-3.
    bad = ~(np.isfinite(p).all(axis=1) & (p >= 0).all(axis=1) & (np.abs(sums - 1) < 1e-2))
    if bad.any():
        row = int(np.argmax(bad))
        raise ValueError(
            f"`probabilities` must be at least 0 and sum to 1 in each row; row {row} is "
            f"{p[row].tolist()}. Pass a softmax of scores, not the scores."
        )
    return p.astype(np.float64)


def _check_labels(value: ArrayLike, p: Array) -> Array:
    labels = np.asarray(value)
    if labels.dtype.kind not in "iu":
        raise TypeError(f"`labels` must be whole numbers; got an array of dtype {labels.dtype}.")
    if labels.shape != (len(p),):
        raise ValueError(f"`labels` must have shape ({len(p)},); got {labels.shape}.")
    if labels.min() < 0 or labels.max() >= p.shape[1]:
        raise ValueError(
            f"`labels` must lie in 0 .. {p.shape[1] - 1}, the classes of `probabilities`; got "
            f"{labels.min()} .. {labels.max()}."
        )
    return labels.astype(np.int64)
