"""Where a model does well: its IoU by size and by place of the box."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.stats import binned_statistic_2d

from whitebox_loc._types import Array
from whitebox_loc._validation import check_choice, check_int
from whitebox_loc.boxes import convert
from whitebox_loc.training.evaluation import Evaluation

FACTORS = {"size": ("height", "width"), "position": ("center_y", "center_x")}
"""What `breakdown` can sort boxes by: the two quantities, in pixels."""


@dataclass(frozen=True)
class Breakdown:
    """Mean IoU by two quantities of the true box.

    Attributes
    ----------
    mean_iou, counts : ndarray (bins, bins)
        Mean IoU, NaN where no box fell, and number of boxes.
    row_edges, column_edges : ndarray (bins + 1,)
        Limits of the bins in pixels.
    names : (str, str)
        The quantities along rows and columns.
    """

    mean_iou: Array
    counts: Array
    row_edges: Array
    column_edges: Array
    names: tuple[str, str]


def breakdown(result: Evaluation, by: str = "size", *, bins: int = 10) -> Breakdown:
    """Return the mean IoU of an evaluation by size or by position of the true box.

    Parameters
    ----------
    result : Evaluation
        What `evaluate` returned.
    by : {"size", "position"}, default "size"
        Height and width, or centre row and centre column.
    bins : int, default 10
        Bins along each quantity, equally wide from 0 to the size of the image.

    Raises
    ------
    TypeError, ValueError
        If `result` is something else, such as the evaluation of a detector, or `by` or `bins` is.

    Examples
    --------
    >>> import whitebox_loc as wb
    >>> scene = wb.data.Scene(size=(20, 20))
    >>> result = wb.training.evaluate(wb.models.localizer(size=(20, 20)), scene, n=50)
    >>> int(breakdown(result, "size", bins=4).counts.sum())
    50
    """
    if not isinstance(result, Evaluation):
        raise TypeError(
            "`result` must be the Evaluation that whitebox_loc.training.evaluate returns, of one "
            f"box an image; got {type(result).__name__}."
        )
    names = FACTORS[check_choice("by", by, FACTORS)]
    check_int("bins", bins, low=1)
    size = result.batch.scene.size
    center = convert(result.batch.boxes, "yxyx", "center_yxhw")
    first = {"size": 2, "position": 0}[by]
    rows, columns = center[:, first], center[:, first + 1]
    edges = [np.linspace(0, side, bins + 1) for side in size]
    mean = binned_statistic_2d(rows, columns, result.ious, "mean", bins=edges)
    count = binned_statistic_2d(rows, columns, None, "count", bins=edges)
    return Breakdown(mean.statistic, count.statistic.astype(int), edges[0], edges[1], names)
