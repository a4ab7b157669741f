"""Curves over training steps and over pixel positions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from whitebox_loc._validation import as_array, shortened
from whitebox_loc.boxes.formats import COORDINATES
from whitebox_loc.plots.checks import check_box, check_mapping, check_table
from whitebox_loc.plots.style import COLORS, axes_grid, one_axes

#: What `learning_curves` draws.
DRAWN = (
    "step",
    "bce",
    "floor",
    "excess",
    "iou",
    "exact_rate",
    "pixel_error",
    "edge_loss",
    "gradient_norm",
)


def learning_curves(columns: Mapping[str, np.ndarray], axes: Any = None) -> np.ndarray:
    """Draw loss against its floor, excess, IoU, pixel error and gradient norm by step.

    Parameters
    ----------
    columns : mapping
        Arrays by name, as from `whitebox_loc.training.History.to_dict`.
    axes : array of six matplotlib axes, optional
        Where to draw; None makes a figure.

    Returns
    -------
    ndarray of matplotlib.axes.Axes, shape (2, 3)

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
    columns = check_columns(columns, DRAWN, "fit_detector", "detector_curves")
    axes = axes_grid(axes, 2, 3, (3.6, 2.6))
    steps = columns["step"]
    loss, excess, overlap, error, edges, norm = axes.flat
    _line(loss, steps, columns["bce"], "BCE of the coordinates")
    loss.plot(steps, columns["floor"], color=COLORS["predicted"], linestyle="--",
              marker=mark_of(steps), label="floor")  # fmt: skip
    _label(loss, "Binary cross entropy and its floor", "nats", legend=True)
    _line(excess, steps, _positive(columns["excess"]), "excess")
    _label(excess, "Excess over the floor", "nats", log=True)
    _line(overlap, steps, columns["iou"], "mean IoU")
    overlap.plot(steps, columns["exact_rate"], color=COLORS["predicted"], linestyle="--",
                 marker=mark_of(steps), label="share exact to the pixel")  # fmt: skip
    overlap.set_ylim(-0.02, 1.02)
    _label(overlap, "Overlap", "IoU", legend=True)
    _line(error, steps, _positive(columns["pixel_error"]), "pixel error")
    _label(error, "Mean error of a coordinate", "pixels", log=True)
    _line(edges, steps, _positive(columns["edge_loss"]), "edge loss")
    _label(edges, "Cross entropy of the edge distributions", "nats", log=True)
    _line(norm, steps, _positive(columns["gradient_norm"]), "gradient norm")
    _label(norm, "Gradient norm", "norm", log=True)
    return axes


def edge_distributions(
    distributions: Mapping[str, np.ndarray], true: Any = None, ax: Axes | None = None
) -> Axes:
    """Draw the distribution over positions of each coordinate for one image.

    Parameters
    ----------
    distributions : mapping
        Coordinate name to probabilities (positions,).
    true : array (4,), optional
        True box in ``yxyx`` pixels, drawn as dotted lines.
    ax : matplotlib axes, optional
        Where to draw; None makes a figure.

    Returns
    -------
    matplotlib.axes.Axes

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
    if true is not None:
        true = check_box("true", true)
    ax = one_axes(ax, (6.0, 2.6))
    for offset, (name, values) in enumerate(columns.items()):
        # Narrow bars side by side: two edges at one position stay both visible.
        where = np.arange(len(values)) + 0.2 * (offset - 1.5)
        ax.bar(where, values, width=0.9, color=COLORS[name], alpha=0.85, label=name)
        if true is not None:
            ax.axvline(
                float(true[COORDINATES.index(name)]), color=COLORS[name], linestyle=":", lw=1
            )
    ax.set_ylim(0, 1.05)
    ax.set_xlabel("boundary between pixels")
    ax.set_ylabel("probability")
    ax.legend(frameon=False, fontsize=8, ncols=4, loc="lower center", bbox_to_anchor=(0.5, 1.0))
    return ax


def check_columns(
    columns: Mapping[str, Any], names: tuple[str, ...], trained: str, other: str
) -> dict[str, np.ndarray]:
    """Return the columns wanted, of one length; an error names the function for another history.

    `trained` is the function that returns the other history, `other` the one that draws it.
    """
    check_mapping("columns", columns, "arrays")
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


def mark_of(steps: np.ndarray) -> str:
    """Return the marker of a curve: a single step is a line of no length."""
    return "." if len(steps) == 1 else ""


def _line(ax: Axes, steps: np.ndarray, values: np.ndarray, label: str) -> None:
    mark = mark_of(steps)
    ax.plot(steps, values, label=label, color=COLORS["line"], linewidth=1.2, marker=mark)


def _label(ax: Axes, title: str, unit: str, *, log: bool = False, legend: bool = False) -> None:
    ax.set_title(title, fontsize=9)
    ax.set_ylabel(unit, fontsize=8)
    ax.set_xlabel("step", fontsize=8)
    ax.tick_params(labelsize=8)
    ax.grid(alpha=0.3)
    if log and any(np.isfinite(line.get_ydata()).any() for line in ax.lines):
        ax.set_yscale("log")
    if legend:
        ax.legend(frameon=False, fontsize=8)


def _positive(values: np.ndarray) -> np.ndarray:
    # A log axis has no place for 0; rounding can even make the excess negative.
    return np.where(values > 0, values, np.nan)
