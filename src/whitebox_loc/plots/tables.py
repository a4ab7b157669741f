"""Numbers by two variables, as colours with the numbers written into the cells."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Normalize

from whitebox_loc._types import Array, ArrayLike
from whitebox_loc.plots.checks import check_labels, check_table, check_text
from whitebox_loc.plots.style import color_bar, one_axes


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


def annotated_matrix(
    ax: Axes, values: Array, text: Callable[[int, int], str], label: str, norm: Normalize,
    *, title: str = "", cmap: str = "viridis", fontsize: float = 7, square: bool = False,
) -> None:  # fmt: skip
    """Draw `values` as colours, NaN in grey, and write ``text(row, column)`` into each cell.

    The colour bar is labelled `label`.
    """
    ax.set_facecolor("0.85")
    image = ax.imshow(values, cmap=cmap, norm=norm, aspect="equal" if square else "auto")
    for (row, column), value in np.ndenumerate(values):
        red, green, blue, _ = image.cmap(norm(value)) if np.isfinite(value) else (1, 1, 1, 1)
        # Rec. 709: how bright the eye finds a colour.
        dark = 0.2126 * red + 0.7152 * green + 0.0722 * blue < 0.5
        words = text(row, column)
        if words:
            ax.text(column, row, words, ha="center", va="center", fontsize=fontsize,
                    color="white" if dark else "black")  # fmt: skip
    color_bar(image, ax, label)
    ax.set_title(title, fontsize=10)


def numbers(values: Array, spec: str) -> Callable[[int, int], str]:
    """Return the texts of cells: their numbers in a format, nothing where they are not finite."""
    return lambda *cell: format(values[cell], spec) if np.isfinite(values[cell]) else ""


def name_cells(ax: Axes, rows: Sequence[Any], columns: Sequence[Any], rotation: float = 0) -> None:
    """Write the names of rows and columns beside their cells."""
    align = "right" if rotation else "center"
    ax.set_xticks(range(len(columns)), columns, fontsize=8, rotation=rotation, ha=align)
    ax.set_yticks(range(len(rows)), [str(row) for row in rows], fontsize=8)


def _limits(values: Array, limits: ArrayLike) -> tuple[float, float]:
    """Return the ends of the colour scale; without numbers that of shares."""
    if limits is None:
        finite = values[np.isfinite(values)]
        return (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)
    low, high = check_table("limits", limits, (2,), ", (least, greatest)", nan=False)
    if low > high:
        raise ValueError(f"`limits` must be (least, greatest); got ({low:g}, {high:g}).")
    return float(low), float(high)
