"""Curves over training steps and over pixel positions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from whitebox_loc._types import Array, ArrayLike
from whitebox_loc._validation import as_array, shortened
from whitebox_loc.boxes.formats import COORDINATES
from whitebox_loc.plots.checks import check_box, check_mapping, check_table
from whitebox_loc.plots.style import COLORS, axes_grid, one_axes

Panel = tuple[str, str, str, dict[str, str]]
"""Title, unit, scale ("linear", "share" of 0 to 1, or "log") and the labels of its columns."""

PANELS: tuple[Panel, ...] = (
    ("Binary cross entropy and its floor", "nats", "linear",
     {"bce": "BCE of the coordinates", "floor": "floor"}),
    ("Excess over the floor", "nats", "log", {"excess": "excess"}),
    ("Overlap", "IoU", "share", {"iou": "mean IoU", "exact_rate": "share exact to the pixel"}),
    ("Mean error of a coordinate", "pixels", "log", {"pixel_error": "pixel error"}),
    ("Cross entropy of the edge distributions", "nats", "log", {"edge_loss": "edge loss"}),
    ("Gradient norm", "norm", "log", {"gradient_norm": "gradient norm"}),
)  # fmt: skip


def learning_curves(columns: Mapping[str, Array], axes: ArrayLike = None) -> Array:
    """Draw loss against its floor, excess, IoU, pixel error and gradient norm by step.

    Parameters
    ----------
    columns : mapping
        Arrays by name, as from `whitebox_loc.training.History.to_dict`.
    axes : array of matplotlib axes, shape (2, 3), optional

    Raises
    ------
    ValueError
        If a column is missing, as in the history of another kind of training.

    Examples
    --------
    >>> import whitebox_loc as wb
    >>> axes = learning_curves(wb.training.History().to_dict())
    >>> [ax.get_ylabel() for ax in axes.flat][:3]
    ['nats', 'nats', 'IoU']
    """
    arrays = check_columns(columns, PANELS, "fit_detector", "detector_curves")
    for _, _, scale, labels in PANELS:
        if scale == "log":
            # A log axis has no place for 0; rounding can even make the excess negative.
            arrays |= {n: np.where(arrays[n] > 0, arrays[n], np.nan) for n in labels}
    axes = axes_grid(axes, 2, 3, (3.6, 2.6))
    draw_panels(axes, arrays, PANELS, {"labelsize": 8})
    return axes


def edge_distributions(
    distributions: Mapping[str, Array], true: ArrayLike = None, ax: Axes | None = None
) -> Axes:
    """Draw the distribution over positions of each coordinate for one image.

    Parameters
    ----------
    distributions : mapping
        Coordinate name to probabilities (positions,).
    true : array (4,), optional
        True box in ``yxyx`` pixels, drawn as dotted lines.
    ax : matplotlib axes, optional

    Examples
    --------
    >>> ax = edge_distributions({"top": np.eye(5)[1]}, true=[1, 0, 4, 4])
    >>> ax.get_xlabel()
    'boundary between pixels'
    """
    check_mapping("distributions", distributions, "probabilities")
    names = [name for name in COORDINATES if name in distributions]
    if not names:
        raise ValueError(
            f"`distributions` must hold some of {list(COORDINATES)}; "
            f"got {shortened(list(distributions))}."
        )
    columns = {
        name: check_table(f"distributions[{name!r}]", distributions[name], ("positions",))
        for name in names
    }
    true = None if true is None else check_box("true", true)
    ax = one_axes(ax, (6.0, 2.6))
    for offset, (name, values) in enumerate(columns.items()):
        # Narrow bars side by side: two edges at one position stay both visible.
        where = np.arange(len(values)) + 0.2 * (offset - 1.5)
        ax.bar(where, values, width=0.9, color=COLORS[name], alpha=0.85, label=name)
        if true is not None:
            place = float(true[COORDINATES.index(name)])
            ax.axvline(place, color=COLORS[name], linestyle=":", lw=1)
    ax.set(ylim=(0, 1.05), xlabel="boundary between pixels", ylabel="probability")
    ax.legend(frameon=False, fontsize=8, ncols=4, loc="lower center", bbox_to_anchor=(0.5, 1.0))
    return ax


def check_columns(
    columns: Mapping[str, ArrayLike], panels: Sequence[Panel], trained: str, other: str
) -> dict[str, Array]:
    """Return "step" and the columns of the panels, of one length.

    An error names `trained`, which returns the other kind of history, and `other`, which draws it.
    """
    check_mapping("columns", columns, "arrays")
    names = ("step", *(name for *_, labels in panels for name in labels))
    missing = [name for name in names if name not in columns]
    if missing:
        raise ValueError(
            f"`columns` must hold {list(names)}; missing are {missing}. For a history of "
            f"whitebox_loc.training.{trained} call whitebox_loc.plots.{other}."
        )
    steps = np.size(as_array("columns['step']", columns["step"]))
    if not steps:
        return {name: np.zeros(0) for name in names}
    shape = (steps,)
    return {n: check_table(f"columns[{n!r}]", columns[n], shape, ", one a step") for n in names}


def draw_panels(
    axes: Array, columns: Mapping[str, Array], panels: Sequence[Panel], ticks: dict[str, Any],
    dashed: float | None = None,
) -> None:  # fmt: skip
    """Draw each panel's columns by step, the first as a line, the second dashed, so wide."""
    steps = columns["step"]
    # A single step is a line of no length.
    mark = "." if len(steps) == 1 else ""
    first: dict[str, Any] = {"color": COLORS["line"], "lw": 1.2, "marker": mark}
    second = {**first, "color": COLORS["predicted"], "lw": dashed, "ls": "--"}
    for ax, (title, unit, scale, labels) in zip(axes.flat, panels, strict=True):
        for (name, label), style in zip(labels.items(), (first, second), strict=False):
            ax.plot(steps, columns[name], label=label, **style)
        ax.set_title(title, fontsize=9)
        ax.set_ylabel(unit, fontsize=8)
        ax.set_xlabel("step", fontsize=8)
        ax.tick_params(**ticks)
        ax.grid(alpha=0.3)
        if scale == "share":
            ax.set_ylim(-0.02, 1.02)
        if scale == "log" and any(np.isfinite(line.get_ydata()).any() for line in ax.lines):
            ax.set_yscale("log")
        if len(labels) > 1:
            ax.legend(frameon=False, fontsize=8)
