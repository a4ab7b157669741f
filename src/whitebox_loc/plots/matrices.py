"""Coordinates against edges: annotated 4 x 4 matrices with their intervals."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Normalize

from whitebox_loc._types import Array, ArrayLike
from whitebox_loc.boxes.formats import COORDINATES
from whitebox_loc.plots.checks import check_labels, check_table, check_text
from whitebox_loc.plots.style import one_axes, signed_norm
from whitebox_loc.plots.tables import annotated_matrix, name_cells


def response_matrix(
    values: ArrayLike,
    interval: ArrayLike = None,
    ax: Axes | None = None,
    *,
    rows: Sequence[str] = COORDINATES,
    columns: Sequence[str] = COORDINATES,
    title: str = "",
) -> Axes:
    r"""Draw how predicted coordinates answer to true edges, on a signed scale.

    Parameters
    ----------
    values : array (4, 4)
        Pixels per pixel: row i for predicted coordinate i, column j for edge j. The identity is
        perfect. NaN is grey.
    interval : array (2, 4, 4), optional
        Lower and upper ends, written below the values.
    ax : matplotlib axes, optional
    rows, columns : sequences of str
        Names of the coordinates and of the edges.
    title : str

    Examples
    --------
    >>> ax = response_matrix(np.eye(4), [np.eye(4) - 0.1, np.eye(4) + 0.1])
    >>> ax.texts[0].get_text(), ax.images[0].get_clim()
    ('1.00\n0.90 to 1.10', (-1.0, 1.0))
    """
    rows, columns, values, interval = _checked(values, interval, rows, columns, title)
    labels = ("predicted coordinate", "edge that moves", "pixels per pixel")
    colors = ("RdBu_r", signed_norm(values))
    return _matrix(values, interval, ax, rows, columns, labels, colors, title)


def cross_talk_matrix(
    values: ArrayLike,
    interval: ArrayLike = None,
    ax: Axes | None = None,
    *,
    elsewhere: ArrayLike = None,
    rows: Sequence[str] = COORDINATES,
    columns: Sequence[str] = COORDINATES,
    title: str = "",
) -> Axes:
    """Draw which share of each coordinate's map lies on which edge, on a scale of 0 to 1.

    Parameters
    ----------
    values : array (4, 4)
        Shares in 0..1: row i for the map of coordinate i, column j for edge j. NaN is grey.
    elsewhere : array (4,), optional
        Shares on no edge, drawn as a fifth column.
    interval, ax, rows, columns, title
        As in `response_matrix`.

    Examples
    --------
    >>> ax = cross_talk_matrix(np.eye(4) * 0.9, elsewhere=np.full(4, 0.1))
    >>> [label.get_text() for label in ax.get_xticklabels()]
    ['top', 'left', 'bottom', 'right', 'elsewhere']
    """
    rows, columns, values, interval = _checked(values, interval, rows, columns, title)
    if elsewhere is not None:
        columns = [*columns, "elsewhere"]
        elsewhere = check_table("elsewhere", elsewhere, (len(rows),), ", one a row")
        values = np.concatenate([values, elsewhere[:, None]], axis=1)
        if interval is not None:
            blank = np.full((2, len(values), 1), np.nan)
            interval = np.concatenate([interval, blank], axis=2)
    labels = ("map of", "evidence of edge", "share of |map|")
    colors = ("viridis", Normalize(0, 1))
    ax = _matrix(values, interval, ax, rows, columns, labels, colors, title)
    if elsewhere is not None:
        ax.axvline(len(columns) - 1.5, color="white", linewidth=3)
    return ax


def _matrix(
    values: Array, interval: Array | None, ax: Axes | None, rows: list[str], columns: list[str],
    labels: tuple[str, str, str], colors: tuple[str, Normalize], title: str,
) -> Axes:  # fmt: skip
    """Draw values with their intervals; `labels` name the rows, the columns and the values."""

    def text(row: int, column: int) -> str:
        value = values[row, column]
        words = f"{value:z.2f}" if np.isfinite(value) else "none"
        if interval is not None and np.isfinite(interval[:, row, column]).all():
            low, high = interval[:, row, column]
            words += f"\n{low:z.2f} to {high:z.2f}"
        return words

    ax = one_axes(ax, (1.9 + 0.95 * len(columns), 1.3 + 0.75 * len(rows)))
    annotated_matrix(ax, values, text, labels[2], colors[1], title=title, cmap=colors[0])
    name_cells(ax, rows, columns)
    ax.set(xlabel=labels[1], ylabel=labels[0])
    return ax


def _checked(
    values: ArrayLike, interval: ArrayLike, rows: Any, columns: Any, title: Any
) -> tuple[list[str], list[str], Array, Array | None]:
    rows, columns = check_labels("rows", rows), check_labels("columns", columns)
    shape = (len(rows), len(columns))
    values = check_table(
        "values", values, shape, ", a row and a column for each of `rows` and `columns`"
    )
    if interval is not None:
        interval = check_table("interval", interval, (2, *shape), ", lower and upper ends")
    check_text("title", title)
    return rows, columns, values, interval
