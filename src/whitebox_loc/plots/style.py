"""Colours that colour-blind readers can tell apart, and axes to draw on."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Normalize, TwoSlopeNorm
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import ScalarFormatter

from whitebox_loc._types import Array, ArrayLike
from whitebox_loc.plots.checks import check_ax

# The palette of Okabe and Ito, "Color universal design", 2008.
COLORS = {
    "true": "#009E73",
    "predicted": "#D55E00",
    "top": "#0072B2",
    "left": "#E69F00",
    "bottom": "#56B4E9",
    "right": "#CC79A7",
    "line": "#0072B2",
    "reference": "#666666",
}
"""What is drawn, and its colour."""


def one_axes(ax: Axes | None, figsize: tuple[float, float] = (4.0, 4.0)) -> Axes:
    """Return `ax`, or the axes of a new figure."""
    return new_figure(figsize).add_subplot() if ax is None else check_ax("ax", ax)


def new_figure(figsize: tuple[float, float]) -> Figure:
    """Return a figure that a notebook shows, or that only its holder knows.

    Where pyplot is in use already, it shows the figure at the end of the cell or at
    ``plt.show()``; otherwise nothing keeps the figure alive but its axes.
    """
    pyplot = sys.modules.get("matplotlib.pyplot")
    if pyplot is not None:
        return pyplot.figure(figsize=figsize, layout="constrained")
    return Figure(figsize=figsize, layout="constrained")


def axes_grid(
    axes: ArrayLike, rows: int, columns: int, cell: tuple[float, float], name: str = "axes"
) -> Array:
    """Return `axes` as an array (rows, columns), made on a new figure if None.

    `name` is that of the argument that they were.

    Raises
    ------
    ValueError
        If there are not enough axes.
    """
    if axes is None:
        figure = new_figure((columns * cell[0], rows * cell[1]))
        return figure.subplots(rows, columns, squeeze=False)
    array = np.asarray(axes, dtype=object)
    for each in array.flat:
        check_ax(name, each)
    if array.size != rows * columns:
        raise ValueError(
            f"`{name}` must hold {rows} x {columns} = {rows * columns} axes; got {array.size}. "
            "Pass None for a new figure."
        )
    return array.reshape(rows, columns)


def signed_norm(values: Array) -> Normalize:
    """Return a colour scale that is symmetric around 0 and never empty."""
    finite = np.abs(values[np.isfinite(values)])
    limit = float(finite.max()) if finite.size and finite.max() > 0 else 1.0
    return TwoSlopeNorm(0.0, -limit, limit)


def show_each(axes: Array, draw: Callable[[Axes, int], Any], count: int) -> list[Any]:
    """Call ``draw(axes, index)`` for the first `count` axes and hide the others."""
    results = []
    for index, ax in enumerate(axes.flat):
        ax.set_axis_off()
        if index < count:
            results.append(draw(ax, index))
    return results


def crop(ax: Axes, box: ArrayLike, margin: float) -> None:
    """Show a box in ``yxyx`` pixels and `margin` pixels around it; grey lies outside the image."""
    top, left, bottom, right = (float(value) - 0.5 for value in box)
    ax.set_facecolor("0.5")
    ax.set_ylim(bottom + margin, top - margin)
    ax.set_xlim(left - margin, right + margin)


def attribution_bar(image: Any, axes: ArrayLike, label: str, **options: Any) -> None:
    """Add the colour bar of a signed map, with powers of ten where numbers are long."""
    numbers = ScalarFormatter()
    numbers.set_powerlimits((-2, 3))
    color_bar(image, axes, label, format=numbers, **options)


def color_bar(image: Any, axes: ArrayLike, label: str, size: float = 7, **options: Any) -> Any:
    """Add a colour bar with numbers of this size, and return it."""
    bar = image.figure.colorbar(image, ax=axes, label=label, **options)
    bar.ax.tick_params(labelsize=size)
    return bar


def outline(ax: Axes, box: ArrayLike, **style: Any) -> None:
    """Draw a box in ``yxyx`` pixels along its edges."""
    top, left, bottom, right = (float(value) for value in box)
    # imshow centres pixel 0 on 0, so the edge before it is at -0.5.
    corner = (left - 0.5, top - 0.5)
    ax.add_patch(Rectangle(corner, right - left, bottom - top, fill=False, **style))
