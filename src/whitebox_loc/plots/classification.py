"""How well classes are told apart: the confusion matrix and the reliability diagram."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Normalize

from whitebox_loc._types import ArrayLike
from whitebox_loc._validation import check_memory
from whitebox_loc.plots.checks import check_labels, check_table
from whitebox_loc.plots.style import COLORS, one_axes
from whitebox_loc.plots.tables import annotated_matrix, name_cells


def confusion_matrix(
    confusion: ArrayLike, names: Sequence[str] | None = None, ax: Axes | None = None
) -> Axes:
    """Draw how often each true class was taken for each class, as counts and shares of its row.

    Parameters
    ----------
    confusion : int array (classes, classes)
        Images by true class (rows) and predicted class (columns), such as
        `whitebox_loc.training.Classification.confusion`.
    names : sequence of str, optional
        Names of the classes; their numbers by default.
    ax : matplotlib axes, optional

    Raises
    ------
    ValueError
        If the matrix is not square or `names` has another length.

    Examples
    --------
    >>> ax = confusion_matrix([[3, 1], [0, 4]], ["ring", "cross"])
    >>> [text.get_text() for text in ax.texts]
    ['3', '1', '0', '4']
    """
    counts = check_table("confusion", confusion, ("classes", "classes"), nan=False)
    if counts.shape[0] != counts.shape[1]:
        raise ValueError(f"`confusion` must have shape (classes, classes); got {counts.shape}.")
    if (counts < 0).any():
        raise ValueError(f"`confusion` must hold numbers of images; got {counts.min():g}.")
    check_memory("confusion", counts.shape, 1e6 * counts.size, "texts")
    labels = range(len(counts)) if names is None else check_labels("names", names, len(counts))
    # High enough for the colour bar's label where classes are few.
    ax = one_axes(ax, (1.8 + 0.62 * len(counts), max(2.9, 1.2 + 0.55 * len(counts))))
    totals = counts.sum(axis=1, keepdims=True)
    shares = np.where(totals > 0, counts / np.maximum(totals, 1), np.nan)
    annotated_matrix(
        ax, shares, lambda row, column: f"{counts[row, column]:g}", "share of the true class",
        Normalize(0, 1), cmap="Blues", fontsize=8, square=True,
    )  # fmt: skip
    name_cells(ax, labels, labels, rotation=35)
    ax.set(xlabel="predicted class", ylabel="true class")
    return ax


def reliability_diagram(
    edges: ArrayLike, confidence: ArrayLike, accuracy: ArrayLike, counts: ArrayLike,
    ax: Axes | None = None,
) -> Axes:  # fmt: skip
    """Draw the share of right answers by confidence, and how many images have it.

    On the diagonal, probabilities mean what they say. Bars below it are too sure, bars above
    it too modest; the orange line of each bar shows how far.

    Parameters
    ----------
    edges : array (bins + 1,)
        Limits of the bins of confidence.
    confidence, accuracy : arrays (bins,)
        Mean confidence and share of right answers in each bin; NaN where it is empty.
    counts : array (bins,)
        Images in each bin, written above it.
    ax : matplotlib axes, optional

    References
    ----------
    C. Guo et al., "On calibration of modern neural networks", ICML 2017, arXiv:1706.04599.

    Examples
    --------
    >>> ax = reliability_diagram([0, 0.5, 1], [np.nan, 0.8], [np.nan, 0.6], [0, 10])
    >>> [float(bar.get_height()) for bar in ax.patches]
    [0.6]
    """
    counts = check_table("counts", counts, ("bins",), nan=False)
    edges = check_table("edges", edges, (len(counts) + 1,), ", one more than `counts`", nan=False)
    confidence, accuracy = (
        check_table(name, array, counts.shape, ", as `counts`")
        for name, array in (("confidence", confidence), ("accuracy", accuracy))
    )
    ax = one_axes(ax, (5.0, 4.2))
    ax.plot([0, 1], [0, 1], color=COLORS["reference"], linestyle="--", label="perfect calibration")
    full = np.flatnonzero(counts > 0)
    widths = np.diff(edges)
    ax.bar(edges[:-1][full], accuracy[full], widths[full], align="edge", color=COLORS["bottom"],
           edgecolor="white", label="share of right answers")  # fmt: skip
    ax.vlines(confidence[full], np.minimum(accuracy, confidence)[full],
              np.maximum(accuracy, confidence)[full], color=COLORS["predicted"], linewidth=2,
              label="distance from mean confidence")  # fmt: skip
    for k in full:
        top = max(accuracy[k], confidence[k])
        ax.text(edges[k] + widths[k] / 2, top + 0.015, f"{counts[k]:.0f}", ha="center",
                va="bottom", fontsize=6, rotation=90)  # fmt: skip
    # Room for the count above a full bar.
    ax.set(xlim=(0, 1), ylim=(0, 1.12), yticks=np.linspace(0, 1, 6))
    ax.set(xlabel="confidence: probability of the predicted class", ylabel="share of right answers")
    ax.legend(loc="upper left", fontsize=7)
    return ax
