"""Images with boxes, feature maps, kernels and signed maps."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from whitebox_loc._types import Array, ArrayLike
from whitebox_loc._validation import check_bool
from whitebox_loc.plots.checks import check_box, check_count, check_image, check_table, check_text
from whitebox_loc.plots.style import (
    COLORS,
    attribution_bar,
    axes_grid,
    color_bar,
    one_axes,
    outline,
    show_each,
    signed_norm,
)


def boxes(
    image: Array,
    true: ArrayLike = None,
    predicted: ArrayLike = None,
    ax: Axes | None = None,
    *,
    title: str = "",
    legend: bool = False,
) -> Axes:
    """Draw an image with its true and its predicted box.

    Parameters
    ----------
    image : array (height, width) or (height, width, channels)
        Brightness in [0, 1], or uint8. Three channels are red, green and blue; of any other
        number the mean is shown.
    true, predicted : array (4,), optional
        Boxes in ``yxyx`` pixels; the edges lie between pixels.
    ax : matplotlib axes, optional
    title : str
    legend : bool
        Name the two outlines.

    Raises
    ------
    ValueError
        If `true` or `predicted` is not one box.

    Examples
    --------
    >>> ax = boxes(np.zeros((20, 20)), true=[2, 3, 10, 12], predicted=[2, 3, 11, 12])
    >>> [patch.get_label() for patch in ax.patches]
    ['true', 'predicted']
    """
    image = check_image("image", image)
    lines = (("true", true, "-"), ("predicted", predicted, "--"))
    outlines = [(name, check_box(name, b), line) for name, b, line in lines if b is not None]
    check_text("title", title), check_bool("legend", legend)
    ax = one_axes(ax)
    if image.ndim == 3 and image.shape[-1] != 3:
        # imshow knows grey and RGB; any other number of channels is shown as its mean.
        image = image.mean(axis=-1)
    ax.imshow(image, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    for name, box, line in outlines:
        outline(ax, box, color=COLORS[name], linestyle=line, linewidth=1.8, label=name)
    if legend and ax.patches:
        ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.02), ncols=2, frameon=False)
    ax.set_title(title, fontsize=9)
    ax.set(xticks=[], yticks=[])
    return ax


def feature_maps(maps: Array, axes: ArrayLike = None, *, title: str = "") -> Array:
    """Draw the channels of one layer for one image, all on one signed colour scale.

    Parameters
    ----------
    maps : array (height, width, channels)
        Activations of one image.
    axes : array of matplotlib axes, shape (rows, columns), optional
        One a channel; None makes a figure of at most eight columns.
    title : str

    Examples
    --------
    >>> feature_maps(np.zeros((8, 8, 3))).shape
    (1, 3)
    """
    maps = np.moveaxis(check_table("maps", maps, ("height", "width", "channels")), -1, 0)
    check_count("maps", len(maps), "channels")
    check_text("title", title)
    columns = min(len(maps), 8)
    axes = axes_grid(axes, -(-len(maps) // columns), columns, (1.3, 1.45))
    norm = signed_norm(maps)

    def draw(ax: Axes, index: int) -> Any:
        ax.set_title(f"channel {index}", fontsize=7)
        return _signed(ax, maps[index], norm)

    _finish(axes, show_each(axes, draw, len(maps))[-1], title, "activation")
    return axes


def kernels(weights: Array, axes: ArrayLike = None, *, title: str = "") -> Array:
    """Draw convolution kernels: a row an input channel, a column an output channel.

    Parameters
    ----------
    weights : array (height, width, inputs, outputs)
        Kernels as Keras stores them.
    axes : array of matplotlib axes, shape (inputs, outputs), optional
    title : str

    Examples
    --------
    >>> kernels(np.zeros((3, 3, 1, 4))).shape
    (1, 4)
    """
    weights = check_table("weights", weights, ("height", "width", "inputs", "outputs"))
    height, width, inputs, outputs = weights.shape
    check_count("weights", inputs * outputs, "kernels")
    check_text("title", title)
    axes = axes_grid(axes, inputs, outputs, (1.0, 1.25))
    flat = weights.reshape(height, width, -1).transpose(2, 0, 1)
    norm = signed_norm(weights)
    pictures = show_each(axes, lambda ax, i: _signed(ax, flat[i], norm), len(flat))
    for index in range(outputs):
        axes[0, index].set_title(f"out {index}", fontsize=7)
    for index in range(inputs):
        axes[index, 0].text(
            -0.1, 0.5, f"in {index}", transform=axes[index, 0].transAxes,
            fontsize=7, ha="right", va="center",
        )  # fmt: skip
    _finish(axes, pictures[-1], title, "weight")
    return axes


def saliency(
    values: Array,
    ax: Axes | None = None,
    *,
    box: ArrayLike = None,
    title: str = "",
    label: str = "attribution",
) -> Axes:
    """Draw a signed map with a diverging colour map centred on 0 and a colour bar.

    Parameters
    ----------
    values : array (height, width)
        Signed attribution; red raises the target, blue lowers it.
    ax : matplotlib axes, optional
    box : array (4,), optional
        True box in ``yxyx`` pixels, outlined in grey.
    title : str
    label : str
        What the colour bar measures.

    Examples
    --------
    >>> ax = saliency(np.array([[1.0, -3.0]]))
    >>> ax.images[0].get_clim()
    (-3.0, 3.0)
    """
    values = check_table("values", values, ("height", "width"))
    check_text("title", title), check_text("label", label)
    box = None if box is None else check_box("box", box)
    ax = one_axes(ax)
    picture = _signed(ax, values, signed_norm(values))
    if box is not None:
        outline(ax, box, color=COLORS["reference"], linewidth=0.8)
    ax.set_title(title, fontsize=9)
    ax.set(xticks=[], yticks=[])
    attribution_bar(picture, ax, label, shrink=0.75)
    return ax


def _finish(axes: Array, picture: Any, title: str, label: str) -> None:
    color_bar(picture, axes, label, 8, shrink=0.9).locator = MaxNLocator(5, symmetric=True)
    axes.flat[0].figure.suptitle(title, fontsize=10)


def _signed(ax: Axes, values: Array, norm: Any) -> Any:
    return ax.imshow(values, cmap="RdBu_r", norm=norm, interpolation="nearest")
