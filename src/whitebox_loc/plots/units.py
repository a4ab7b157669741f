"""What units see, prefer and do: tuning, probes, best images, receptive fields, ablation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Normalize

from whitebox_loc._types import Array, ArrayLike
from whitebox_loc._validation import check_ints
from whitebox_loc.boxes.formats import COORDINATES
from whitebox_loc.plots.checks import (
    ANY_NAME,
    check_box,
    check_count,
    check_image,
    check_labels,
    check_table,
    check_text,
)
from whitebox_loc.plots.style import axes_grid, color_bar, one_axes, outline, show_each, signed_norm
from whitebox_loc.plots.tables import annotated_matrix, name_cells, numbers

# Okabe and Ito's eight, the yellow left out: it cannot be seen on white.
_CHANNEL_COLORS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#000000")
_CHANNEL_LINES = ("-", "--", ":", "-.")

NAMED = ", a row and a column for each of `{}` and `{}`"


def tuning_curves(
    edges: Array,
    mean: Array,
    factors: Sequence[str],
    std: Array | None = None,
    axes: ArrayLike = None,
    *,
    channels: Sequence[int] | None = None,
    title: str = "",
) -> Array:
    """Draw the mean response of channels against factors of the box, a panel a factor.

    Parameters
    ----------
    edges : array (factors, bins + 1)
        Limits of the bins, in pixels.
    mean : array (factors, bins, channels)
        Mean responses; NaN where a bin is empty, which leaves a gap.
    factors : sequence of str
        Names of the factors.
    std : array of the shape of `mean`, optional
        Standard deviations, drawn as a band.
    axes : array of matplotlib axes, shape (1, factors), optional
    channels : sequence of int, optional
        Channels to draw; all by default.
    title : str

    Examples
    --------
    >>> axes = tuning_curves(np.array([[0, 2, 4]]), np.ones((1, 2, 3)), ["top"])
    >>> axes[0, 0].get_xlabel(), axes[0, 0].lines[0].get_xdata()
    ('top (pixels)', array([1., 3.]))
    """
    factors, title = check_labels("factors", factors), check_text("title", title)
    mean = check_table(
        "mean", mean, (len(factors), "bins", "channels"), ", a row for each of `factors`"
    )
    shape = (len(factors), mean.shape[1] + 1)
    edges = check_table("edges", edges, shape, ", one more than the bins of `mean`", nan=False)
    if std is not None:
        std = check_table("std", std, mean.shape, ", as `mean`")
    indices = list(range(mean.shape[-1]))
    if channels is not None:
        indices = check_ints("channels", channels, low=-mean.shape[-1], high=mean.shape[-1] - 1)
    axes = axes_grid(axes, 1, len(factors), (2.7, 2.8))
    for index, (ax, factor) in enumerate(zip(axes.flat, factors, strict=True)):
        centres = (edges[index, :-1] + edges[index, 1:]) / 2
        for number, channel in enumerate(indices):
            color = _CHANNEL_COLORS[number % len(_CHANNEL_COLORS)]
            line = _CHANNEL_LINES[number // len(_CHANNEL_COLORS) % len(_CHANNEL_LINES)]
            middle = mean[index, :, channel]
            ax.plot(centres, middle, line, color=color, lw=1.4, marker=".", ms=3, label=channel)
            if std is not None:
                low, high = middle - std[index, :, channel], middle + std[index, :, channel]
                ax.fill_between(centres, low, high, color=color, alpha=0.12, lw=0)
        ax.set_xlabel(f"{factor} (pixels)", fontsize=8)
        ax.tick_params(labelsize=7)
        ax.grid(alpha=0.3)
    axes[0, 0].set_ylabel("response", fontsize=8)
    figure = axes.flat[0].figure
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, title="channel", fontsize=7, title_fontsize=7, frameon=False,
                  loc="outside right center")  # fmt: skip
    figure.suptitle(title, fontsize=10)
    return axes


def probe_table(
    r2: Array,
    layers: Sequence[str],
    factors: Sequence[str],
    ax: Axes | None = None,
    *,
    title: str = "",
) -> Axes:
    """Draw R2 of linear readouts, a row a layer and a column a factor.

    Parameters
    ----------
    r2 : array (layers, factors)
        At most 1. The colour scale ends at 0; the numbers do not. NaN is grey.
    layers, factors : sequences of str
        Names of the rows and of the columns.
    ax : matplotlib axes, optional
    title : str

    Examples
    --------
    >>> ax = probe_table(np.array([[0.5, -2.0]]), ["conv1"], ["top", "left"])
    >>> [text.get_text() for text in ax.texts]
    ['0.50', '-2.00']
    """
    layers, factors = check_labels("layers", layers), check_labels("factors", factors)
    r2 = check_table("r2", r2, (len(layers), len(factors)), NAMED.format("layers", "factors"))
    size = (1.8 + 0.6 * len(factors), 1.4 + 0.35 * len(layers))
    return _matrix(r2, layers, factors, ax, size, ("viridis", Normalize(0, 1)), "R²", title)


def ablation_matrix(
    values: Array,
    rows: Sequence[Any],
    columns: Sequence[str] = COORDINATES,
    ax: Axes | None = None,
    *,
    label: str = "change",
    title: str = "",
) -> Axes:
    """Draw signed numbers, such as the mean change by channel and coordinate.

    Parameters
    ----------
    values : array (rows, columns)
        Red is above 0, blue below; NaN is grey. Where nothing is below 0, brighter is more.
    rows, columns : sequences
        Names of the rows (channels, layers, places) and of the columns (coordinates).
    ax : matplotlib axes, optional
    label : str
        What the colour bar measures, with its unit.
    title : str

    Examples
    --------
    >>> ax = ablation_matrix(np.array([[0.1, 0.0, -0.2, np.nan]]), ["channel 3"])
    >>> ax.images[0].get_clim()
    (-0.2, 0.2)
    """
    rows = check_labels("rows", rows, kinds=ANY_NAME)
    columns = check_labels("columns", columns)
    size = (2.4 + 0.75 * len(columns), 1.4 + 0.35 * len(rows))
    values = check_table(
        "values", values, (len(rows), len(columns)), NAMED.format("rows", "columns")
    )
    colors: tuple[str, Normalize] = ("RdBu_r", signed_norm(values))
    finite = values[np.isfinite(values)]
    high = float(finite.max()) if finite.size else 1.0
    if not finite.size or finite.min() > -0.005 * high:
        # Nothing below zero but rounding: half of a signed scale would stand empty.
        colors = ("viridis", Normalize(0, high))
    return _matrix(values, rows, columns, ax, size, colors, label, title)


def maximized_images(
    images: Array, labels: Sequence[str], axes: ArrayLike = None, *, title: str = ""
) -> Array:
    """Draw images in rows of at most eight, each with its label.

    Parameters
    ----------
    images : array (k, height, width, channels)
        Brightness in [0, 1]. Three channels are red, green and blue; of any other number
        the first is shown.
    labels : sequence of str
        Texts above the images.
    axes : array of matplotlib axes, shape (rows, columns), optional
    title : str

    Examples
    --------
    >>> maximized_images(np.zeros((10, 6, 8, 1)), [f"unit {i}" for i in range(10)]).shape
    (2, 8)
    """
    images = check_table("images", images, ("k", "height", "width", "channels"), nan=False)
    check_count("images", len(images), "images")
    labels, title = check_labels("labels", labels, len(images)), check_text("title", title)
    columns = min(len(images), 8)
    axes = axes_grid(axes, -(-len(images) // columns), columns, (1.5, 1.6))

    def draw(ax: Axes, index: int) -> Any:
        ax.set_title(labels[index], fontsize=7)
        # A white image on a white page needs a frame.
        ax.set_axis_on()
        ax.set(xticks=[], yticks=[])
        return _picture(ax, images[index])

    pictures = show_each(axes, draw, len(images))
    if images.shape[-1] != 3:
        color_bar(pictures[-1], axes, "brightness", shrink=0.8)
    axes.flat[0].figure.suptitle(title, fontsize=10)
    return axes


def receptive_field(
    background: Array,
    window: ArrayLike,
    ax: Axes | None = None,
    *,
    label: str | None = None,
    title: str = "",
) -> Axes:
    """Outline the pixels that a unit can see, over an image or over its response to each pixel.

    Parameters
    ----------
    background : array (height, width) or (height, width, channels)
        An image in [0, 1]; or with `label`, the strength (height, width) of the response to
        each pixel, on a scale from 0.
    window : array (4,)
        ``yxyx`` in pixels, half open.
    ax : matplotlib axes, optional
    label : str, optional
        What a strength measures; None means that `background` is an image.
    title : str

    Examples
    --------
    >>> ax = receptive_field(np.zeros((9, 9)), [2, 3, 5, 8])
    >>> [float(v) for v in ax.patches[0].get_bbox().bounds]
    [2.5, 1.5, 5.0, 3.0]
    """
    background, window = check_image("background", background), check_box("window", window)
    check_text("title", title)
    if label is not None and background.ndim == 3:
        raise ValueError(
            "`background` must have shape (height, width) where `label` says what it measures; "
            f"got {background.shape}. Take one channel, or label=None for an image."
        )
    ax = one_axes(ax, (4.4, 3.6))
    if label is None:
        _picture(ax, np.atleast_3d(background))
    else:
        check_text("label", label)
        norm = Normalize(0, float(np.max(background)) or 1.0)
        picture = ax.imshow(background, cmap="magma", norm=norm, interpolation="nearest")
        color_bar(picture, ax, label, shrink=0.8)
    # White inside black shows on any background.
    outline(ax, window, color="black", linewidth=3.0)
    outline(ax, window, color="white", linewidth=1.4)
    ax.set_xlabel("column (pixels)", fontsize=8)
    ax.set_ylabel("row (pixels)", fontsize=8)
    ax.tick_params(labelsize=7)
    ax.set_title(title, fontsize=9)
    return ax


def _picture(ax: Axes, image: Array) -> Any:
    pixels = image if image.shape[-1] == 3 else image[..., 0]
    return ax.imshow(pixels, cmap="gray", vmin=0, vmax=1, interpolation="nearest")


def _matrix(
    values: Array, rows: Sequence[Any], columns: Sequence[str], ax: Axes | None,
    size: tuple[float, float], colors: tuple[str, Normalize], label: str, title: str,
) -> Axes:  # fmt: skip
    check_text("label", label), check_text("title", title)
    ax, texts = one_axes(ax, size), numbers(values, "z.2f")
    annotated_matrix(ax, values, texts, label, colors[1], title=title, cmap=colors[0])
    name_cells(ax, rows, columns, rotation=30)
    return ax
