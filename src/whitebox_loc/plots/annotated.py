"""The one matrix of colours with its numbers written into the cells."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Normalize

from whitebox_loc._types import Array
from whitebox_loc.plots.style import color_bar


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
