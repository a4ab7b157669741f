"""Scores of many methods by several metrics, with intervals."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from whitebox_loc._types import Array, ArrayLike
from whitebox_loc.plots.checks import check_count, check_labels, check_table
from whitebox_loc.plots.style import COLORS, axes_grid


def leaderboard(
    means: ArrayLike,
    lows: ArrayLike,
    highs: ArrayLike,
    rows: Sequence[str],
    columns: Sequence[str],
    axes: ArrayLike = None,
    *,
    baselines: Collection[str] = (),
    incomplete: ArrayLike = None,
    notes: Sequence[str] | None = None,
) -> Array:
    """Draw a panel a metric, a line a method: the mean and its interval.

    Parameters
    ----------
    means, lows, highs : arrays (rows, columns)
        Means and the ends of their intervals; NaN where there are none. A panel whose values
        are all positive and span more than a factor of 300 has a logarithmic axis.
    rows, columns : sequences of str
        Names of the methods, from above, and titles of the metrics.
    axes : array of matplotlib axes, shape (columns,), optional
    baselines : collection of str
        Rows that are baselines: drawn in another colour and shape, on a grey band, each with a
        dotted line across its panel.
    incomplete : bool array (rows, columns), optional
        Means over fewer cases than those of the other rows, which compare badly with them: drawn
        hollow.
    notes : sequence of str, optional
        A line beneath each panel.

    Raises
    ------
    ValueError
        If the arrays do not have a value a row and column.

    Examples
    --------
    >>> low, high = np.array([[0.1], [0.2]]), np.array([[0.3], [0.4]])
    >>> axes = leaderboard((low + high) / 2, low, high, ["ours", "random"], ["mass"],
    ...                    baselines=["random"])
    >>> axes[0].get_title(), [label.get_text() for label in axes[0].get_yticklabels()]
    ('mass', ['ours', 'random'])
    """
    rows, columns = check_labels("rows", rows), check_labels("columns", columns)
    shape = (len(rows), len(columns))
    arrays = {"means": means, "lows": lows, "highs": highs}
    each = ", a value for each of `rows` and `columns`"
    tables = [check_table(name, array, shape, each) for name, array in arrays.items()]
    # There may be no baselines.
    empty = isinstance(baselines, Collection) and not len(baselines)
    baseline_names = [] if empty else check_labels("baselines", baselines)
    if notes is not None:
        notes = check_labels("notes", notes, len(columns))
    check_count("columns", len(columns), "columns")
    own = axes is None
    axes = axes_grid(axes, 1, len(columns), (1.9, 1.0 + 0.19 * len(rows)))[0]
    if own:
        # The names at the left belong to the first panel and must not be cut.
        axes[0].figure.set_figwidth(1.9 * len(columns) + 1.6)
    marks = np.array([row in baseline_names for row in rows])
    incomplete = np.zeros(shape) if incomplete is None else incomplete
    hollow = check_table("incomplete", incomplete, shape, nan=False) > 0
    for index, (ax, title) in enumerate(zip(axes, columns, strict=True)):
        _panel(ax, [table[:, index] for table in tables], marks, hollow[:, index])
        ax.set_title(title, fontsize=8)
        ax.set_yticks(np.arange(len(rows)), rows if index == 0 else [""] * len(rows), fontsize=8)
        if notes is not None:
            ax.set_xlabel(notes[index], fontsize=7)
    return axes


def _panel(ax: Axes, columns: list[Array], marks: Array, hollow: Array) -> None:
    means, lows, highs = columns
    places = np.arange(len(means))
    styles = ((~marks, COLORS["line"], "o"), (marks, COLORS["predicted"], "D"))
    for place in places[marks]:
        ax.axhspan(place - 0.5, place + 0.5, color="0.92", zorder=0)
    for value in means[marks]:
        if np.isfinite(value):
            ax.axvline(value, color=COLORS["predicted"], linewidth=0.7, linestyle=":", zorder=1)
    for group, color, marker in styles:
        rows = group & np.isfinite(means)
        # One image has a mean and no interval.
        left, right = (np.where(np.isfinite(end), end, means)[rows] for end in (lows, highs))
        ax.hlines(places[rows], left, right, color=color, linewidth=2.2, alpha=0.45)
        for part, face in ((rows & ~hollow, color), (rows & hollow, "white")):
            ax.plot(means[part], places[part], marker, color=color, mfc=face, markersize=3.5)
    for place in places[~np.isfinite(means)]:
        ax.text(0.03, place, "not applicable", transform=ax.get_yaxis_transform(), fontsize=6,
                color="0.55", va="center")  # fmt: skip
    finite = means[np.isfinite(means)]
    if len(finite) and finite.min() > 0 and finite.max() > 300 * finite.min():
        ax.set_xscale("log")
    else:
        ax.xaxis.set_major_locator(MaxNLocator(4))
    ax.tick_params(axis="x", labelsize=7)
    ax.set_ylim(len(means) - 0.5, -0.5)
    ax.grid(axis="y", color="0.9", linewidth=0.5)
    ax.set_axisbelow(True)
