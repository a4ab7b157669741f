"""Scores of a model against how far its images are from those of training."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from matplotlib.axes import Axes

from whitebox_loc._types import Array, ArrayLike
from whitebox_loc._validation import check_real
from whitebox_loc.boxes.formats import COORDINATES
from whitebox_loc.plots.checks import check_mapping
from whitebox_loc.plots.style import COLORS, axes_grid, show_each

_COLUMNS = 4

#: Attributes that every curve has.
PARTS = ("shift", "severities", "mean_iou", "iou_interval", "error", "error_interval")


def stress_curves(
    curves: Mapping[str, Any], axes: ArrayLike = None, least_iou: float = 0.95
) -> Array:
    """Draw mean IoU and exact rate against severity, one panel a shift.

    Bands are the intervals of the curve; a grey bar marks the moderate severity.

    Parameters
    ----------
    curves : mapping
        Name of the shift to its curve, as in `whitebox_loc.training.Stress.curves`.
    axes : array of matplotlib axes, shape (rows, 4), optional
        One a shift, and the last row full.
    least_iou : float, default 0.95
        Drawn as a dotted line.

    Raises
    ------
    ValueError
        If there are no curves, or `axes` does not hold rows of four for them.

    Examples
    --------
    >>> import whitebox_loc as wb
    >>> model = wb.models.localizer(size=(24, 24))
    >>> found = wb.training.stress(model, ["blur"], wb.data.Scene(size=(24, 24)), n=20)
    >>> axes = stress_curves(found.curves)
    >>> axes[0, 0].get_title()
    'blur'
    """
    check_real("least_iou", least_iou, low=0, high=1)

    def draw(ax: Axes, curve: Any) -> None:
        ax.axhline(least_iou, color=COLORS["reference"], linestyle=":", linewidth=1,
                   label=f"breaks below {least_iou:g}")  # fmt: skip
        for score, interval, label, color, style in (
            ("mean_iou", "iou_interval", "mean IoU", "line", "-"),
            ("exact_rate", "exact_interval", "share exact to the pixel", "predicted", "--"),
        ):
            _band(
                ax, curve.severities, getattr(curve, score), getattr(curve, interval),
                label=label, color=COLORS[color], linestyle=style,
            )  # fmt: skip
        ax.set_ylim(-0.03, 1.03)

    return _panels(curves, axes, draw, "score")


def stress_coordinates(curves: Mapping[str, Any], axes: ArrayLike = None) -> Array:
    """Draw the mean absolute error of each coordinate against severity, one panel a shift.

    Parameters
    ----------
    curves, axes
        As in `stress_curves`, with the same errors.

    Examples
    --------
    >>> import whitebox_loc as wb
    >>> model = wb.models.localizer(size=(24, 24))
    >>> found = wb.training.stress(model, ["blur"], wb.data.Scene(size=(24, 24)), n=20)
    >>> stress_coordinates(found.curves)[0, 0].get_ylabel()
    'error (pixels)'
    """

    def draw(ax: Axes, curve: Any) -> None:
        for j, name in enumerate(COORDINATES):
            _band(
                ax, curve.severities, curve.error[:, j], curve.error_interval[:, j],
                label=name, color=COLORS[name], linestyle=("-", "--", "-.", ":")[j],
            )  # fmt: skip
        # Not less than a pixel, or rounding errors would look like a shift's effect.
        top = max(1.0, ax.get_ylim()[1])
        # A little below 0, or half of a line without errors would be cut off.
        ax.set_ylim(-0.03 * top, top)

    return _panels(curves, axes, draw, "error (pixels)")


def _panels(
    curves: Mapping[str, Any], axes: ArrayLike, draw: Callable[[Axes, Any], None], label: str
) -> Array:
    check_mapping("curves", curves, "curves, as in `Stress.curves`")
    if not curves:
        raise ValueError("`curves` must hold at least one curve; got none.")
    for name, curve in curves.items():
        if not all(hasattr(curve, part) for part in PARTS):
            raise TypeError(
                f"`curves[{name!r}]` must be a training.Curve; got {type(curve).__name__}."
            )
    rows = -(-len(curves) // _COLUMNS)
    axes = axes_grid(axes, rows, _COLUMNS, (3.2, 2.4))
    names = list(curves)

    def panel(ax: Axes, index: int) -> None:
        curve = curves[names[index]]
        ax.set_axis_on()
        draw(ax, curve)
        if curve.shift.moderate in curve.severities:
            ax.axvline(curve.shift.moderate, color=COLORS["reference"], linewidth=4, alpha=0.2,
                       label="moderate severity")  # fmt: skip
        ax.set_title(names[index], fontsize=10)
        ax.set_xlabel(curve.shift.unit, fontsize=8)
        ax.tick_params(labelsize=8)
        if index % _COLUMNS == 0:
            ax.set_ylabel(label, fontsize=8)

    show_each(axes, panel, len(names))
    axes.flat[0].legend(frameon=False, fontsize=7, loc="best")
    return axes


def _band(ax: Axes, x: Array, y: Array, interval: Array, color: str, **style: Any) -> None:
    ax.fill_between(x, interval[:, 0], interval[:, 1], color=color, alpha=0.2, linewidth=0)
    ax.plot(x, y, color=color, marker="o", markersize=3, linewidth=1.2, **style)
