"""Tables of signed maps."""

from __future__ import annotations

from collections.abc import Sequence

from whitebox_loc._types import Array, ArrayLike
from whitebox_loc._validation import check_real
from whitebox_loc.plots.checks import check_box, check_count, check_labels, check_table
from whitebox_loc.plots.style import COLORS, attribution_bar, axes_grid, crop, outline, signed_norm


def saliency_grid(
    maps: ArrayLike,
    rows: Sequence[str],
    columns: Sequence[str],
    axes: ArrayLike = None,
    *,
    box: ArrayLike = None,
    margin: float | None = None,
    labels: Sequence[str] | None = None,
) -> Array:
    """Draw a table of signed maps, each row with a colour scale of its own, centred on 0.

    Parameters
    ----------
    maps : array (rows, columns, height, width)
        Signed attributions, such as those of several methods for several coordinates.
    rows, columns : sequences of str
        Names of the rows (methods) and of the columns (targets).
    axes : array of matplotlib axes, shape (rows, columns), optional
    box : array (4,), optional
        True box in ``yxyx`` pixels, outlined in grey.
    margin : float, optional
        Show only the box and so many pixels around it.
    labels : sequence of str, optional
        What the colour bar of each row measures.

    Examples
    --------
    >>> import numpy as np
    >>> axes = saliency_grid(np.zeros((2, 3, 8, 8)), ["a", "b"], ["top", "left", "area"])
    >>> axes.shape, axes[1, 0].get_ylabel(), axes[0, 2].get_title()
    ((2, 3), 'b', 'area')
    """
    rows, columns = check_labels("rows", rows), check_labels("columns", columns)
    shape = (len(rows), len(columns), "height", "width")
    maps = check_table("maps", maps, shape, ", a map for each of `rows` and `columns`")
    box = None if box is None else check_box("box", box)
    if margin is not None:
        check_real("margin", margin, low=0)
    if labels is not None:
        labels = check_labels("labels", labels, len(rows))
    check_count("maps", len(rows) * len(columns), "maps")
    own = axes is None
    axes = axes_grid(axes, len(rows), len(columns), (2.1, 1.9))
    if own:
        # With a colour bar for each row, the layout forgets the width of the row names.
        axes.flat[0].figure.get_layout_engine().set(rect=(0.025, 0, 0.975, 1))
    for index, (line, name) in enumerate(zip(axes, rows, strict=True)):
        norm = signed_norm(maps[index])
        for ax, values in zip(line, maps[index], strict=True):
            image = ax.imshow(values, cmap="RdBu_r", norm=norm, interpolation="nearest")
            ax.set(xticks=[], yticks=[])
            if box is not None:
                outline(ax, box, color=COLORS["reference"], linewidth=0.6)
            if box is not None and margin is not None:
                crop(ax, box, margin)
        line[0].set_ylabel(name, fontsize=9)
        attribution_bar(image, list(line), labels[index] if labels else "attribution")
    for ax, name in zip(axes[0], columns, strict=True):
        ax.set_title(name, fontsize=9)
    return axes
