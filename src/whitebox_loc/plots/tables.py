"""Numbers by two variables, as annotated colours."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Normalize

from whitebox_loc._types import Array, ArrayLike
from whitebox_loc.plots.annotated import annotated_matrix, numbers
from whitebox_loc.plots.checks import check_labels, check_table, check_text
from whitebox_loc.plots.style import one_axes


def heat_map(
    values: Array,
    row_edges: Array,
    column_edges: Array,
    ax: Axes | None = None,
    *,
    labels: tuple[str, str] = ("", ""),
    title: str = "",
    bar: str = "",
    limits: tuple[float, float] | None = None,
) -> Axes:
    """Draw a matrix of bin means with its numbers; bins without data are grey.

    Parameters
    ----------
    values : array (rows, columns)
        Means; NaN where a bin is empty.
    row_edges, column_edges : arrays (rows + 1,), (columns + 1,)
        Limits of the bins.
    ax : matplotlib axes, optional
    labels : (str, str)
        Names of the row variable and of the column variable, with units.
    title, bar : str
        Title of the axes and of the colour bar.
    limits : (float, float), optional
        Ends of the colour scale; default the range of the values.

    Examples
    --------
    >>> ax = heat_map(np.array([[1.0, np.nan]]), [0, 1], [0, 5, 10], labels=("height", "width"))
    >>> [text.get_text() for text in ax.texts]
    ['1.000']
    """
    values = check_table("values", values, ("rows", "columns"))
    bounds = ", the limits of the bins, one more than `values` has in this direction"
    rows, columns = values.shape
    row_edges = check_table("row_edges", row_edges, (rows + 1,), bounds, nan=False)
    column_edges = check_table("column_edges", column_edges, (columns + 1,), bounds, nan=False)
    row_label, column_label = check_labels("labels", labels, 2)
    check_text("title", title), check_text("bar", bar)
    low, high = _limits(values, limits)
    ax, texts = one_axes(ax, (5.2, 4.4)), numbers(values, ".3f")
    annotated_matrix(ax, values, texts, bar, Normalize(low, high), title=title, fontsize=6)
    for set_ticks, edges in ((ax.set_yticks, row_edges), (ax.set_xticks, column_edges)):
        set_ticks(np.arange(len(edges)) - 0.5, [f"{edge:g}" for edge in edges], fontsize=7)
    ax.set(xlabel=column_label, ylabel=row_label)
    return ax


def _limits(values: Array, limits: ArrayLike) -> tuple[float, float]:
    """Return the ends of the colour scale; without numbers that of shares."""
    if limits is None:
        finite = values[np.isfinite(values)]
        return (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)
    low, high = check_table("limits", limits, (2,), ", (least, greatest)", nan=False)
    if low > high:
        raise ValueError(f"`limits` must be (least, greatest); got ({low:g}, {high:g}).")
    return float(low), float(high)
