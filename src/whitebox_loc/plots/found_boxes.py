"""Images with several boxes found and true, and how a detector learned."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.lines import Line2D

from whitebox_loc._validation import as_array, check_bool
from whitebox_loc.plots.checks import check_table
from whitebox_loc.plots.curves import check_columns, mark_of
from whitebox_loc.plots.images import boxes as draw_image
from whitebox_loc.plots.style import COLORS, axes_grid, outline

COLUMNS = 4

#: What `detector_curves` draws.
DRAWN = (
    "step",
    "loss",
    "heat_loss",
    "size_loss",
    "offset_loss",
    "iou",
    "score",
    "gradient_norm",
)

#: Height and width of a written score in inches, with a little room to spare.
LETTERS = (0.13, 0.22)


def detections(
    images: np.ndarray, found: Any, truths: Any = None, ax: Any = None, *, scores: bool = True
) -> np.ndarray:
    """Draw the boxes found in each image, with their scores, and the true ones.

    Parameters
    ----------
    images : array (n, height, width, channels)
        Brightness in [0, 1], or uint8.
    found : Detections
        What `whitebox_loc.models.detections` returns for these images.
    truths : MultiBatch, optional
        The true boxes: anything with ``boxes`` (n, k, 4), ``yxyx`` in pixels, and ``counts``
        (n,).
    ax : matplotlib axes, or array of n of them, optional
        One an image; None makes a figure of at most four columns.
    scores : bool, default True
        Write the score of each found box at its upper left corner.

    Returns
    -------
    ndarray of matplotlib.axes.Axes, shape (rows, columns)

    Raises
    ------
    TypeError
        If `found` or `truths` is something else.
    ValueError
        If there are no images, or not as many as `found` and `truths` know.

    Examples
    --------
    >>> import whitebox_loc as wb
    >>> found = wb.models.detections({"boxes": [[[0, 0, 0.5, 0.5]]], "scores": [[0.9]]})
    >>> axes = detections(np.zeros((1, 20, 20, 1)), found)
    >>> len(axes[0, 0].patches), axes[0, 0].texts[0].get_text()
    (1, '0.90')
    """
    _check("found", found, ("boxes", "scores", "counts"), "Detections")
    if truths is not None:
        _check("truths", truths, ("boxes", "counts"), "a MultiBatch, or like one")
    images = _all_images(images)
    check_bool("scores", scores)
    n, (height, width) = len(images), np.shape(images)[1:3]
    if not n or len(found.counts) != n or (truths is not None and len(truths.counts) != n):
        true = "" if truths is None else f" and `truths` of {len(truths.counts)}"
        raise ValueError(
            f"`images` must be at least one, as many as `found` knows; got {n} images, `found` of "
            f"{len(found.counts)}{true}. Take the same part of each."
        )
    columns = n if ax is not None else min(n, COLUMNS)
    axes = axes_grid(ax, -(-n // columns), columns, (2.3, 2.5), "ax")
    pixels = found.boxes * np.array([height, width, height, width])
    for i, each in enumerate(axes.flat):
        if i >= n:
            each.set_axis_off()
            continue
        draw_image(images[i], ax=each)
        if truths is not None:
            for box in truths.boxes[i, : truths.counts[i]]:
                outline(each, box, color=COLORS["true"], linewidth=3.0, label="true")
        for box, score in zip(pixels[i], found.scores[i, : found.counts[i]], strict=False):
            outline(each, box, color=COLORS["predicted"], linestyle="--", linewidth=1.4,
                    label="found")  # fmt: skip
            if scores:
                _write(each, box, f"{score:.2f}", (height, width))
    _explain(axes, truths is not None)
    return axes


def detector_curves(columns: Mapping[str, np.ndarray], axes: Any = None) -> np.ndarray:
    """Draw the loss and its parts, IoU and score in the true centres, and gradient norm by step.

    Parameters
    ----------
    columns : mapping
        Arrays by name, as from the `History` that `whitebox_loc.training.fit_detector` returns.
    axes : array of four matplotlib axes, optional
        Where to draw; None makes a figure.

    Returns
    -------
    ndarray of matplotlib.axes.Axes, shape (1, 4)

    Raises
    ------
    ValueError
        If a column is missing, as in the history of another kind of training.

    Examples
    --------
    >>> names = ("loss", "heat_loss", "size_loss", "offset_loss", "iou", "score", "gradient_norm")
    >>> axes = detector_curves({name: np.ones(3) for name in ("step", *names)})
    >>> [ax.get_ylabel() for ax in axes.flat]
    ['loss', 'share of the side', 'IoU or score', 'norm']
    """
    columns = check_columns(columns, DRAWN, "fit", "learning_curves")
    axes = axes_grid(axes, 1, 4, (3.2, 2.6))
    total, errors, overlap, norm = axes.flat
    steps = columns["step"]
    first: dict[str, Any] = {"color": COLORS["line"], "lw": 1.2, "marker": mark_of(steps)}
    second = {**first, "color": COLORS["predicted"], "ls": "--"}
    total.plot(steps, columns["loss"], label="all", **first)
    total.plot(steps, columns["heat_loss"], label="heat map", **second)
    errors.plot(steps, columns["size_loss"], label="size", **first)
    errors.plot(steps, columns["offset_loss"], label="place", **second)
    overlap.plot(steps, columns["iou"], label="IoU", **first)
    overlap.plot(steps, columns["score"], label="score", **second)
    overlap.set_ylim(-0.02, 1.02)
    norm.plot(steps, columns["gradient_norm"], **first)
    titles = ("Loss", "Errors of size and place", "In the true centres", "Gradient norm")
    units = ("loss", "share of the side", "IoU or score", "norm")
    for ax, title, unit in zip(axes.flat, titles, units, strict=True):
        ax.set_title(title, fontsize=9)
        ax.set_ylabel(unit, fontsize=8)
        ax.set_xlabel("step", fontsize=8)
        ax.tick_params(which="both", labelsize=7)
        ax.grid(alpha=0.3)
        if ax is not overlap and len(steps):
            ax.set_yscale("log")
        if ax is not norm:
            ax.legend(frameon=False, fontsize=8)
    return axes


def _check(name: str, value: Any, needed: tuple[str, ...], allowed: str) -> None:
    missing = [each for each in needed if not hasattr(value, each)]
    if missing:
        raise TypeError(
            f"`{name}` must be {allowed}, with the arrays {list(needed)}; got "
            f"{type(value).__name__} without {missing}."
        )


def _all_images(images: Any) -> np.ndarray:
    """Return images (n, height, width, channels) as they are, perhaps none."""
    array = as_array("images", images)
    if not array.size:
        return np.zeros((0, 1, 1, 1))
    check_table("images", array, ("n", "height", "width", "channels"), nan=False)
    return array


def _write(ax: Any, box: np.ndarray, text: str, size: tuple[int, int]) -> None:
    # Above the box, but always within the image, if that is wider than the text.
    place, whole = ax.get_position(original=True), ax.figure.get_size_inches()
    scale = min(place.height * whole[1] / size[0], place.width * whole[0] / size[1])
    tall, wide = LETTERS[0] / scale, LETTERS[1] / scale
    left = float(max(-0.5, min(box[1] - 0.5, size[1] - 0.5 - wide)))
    bottom = float(max(-0.5 + tall, min(box[0] - 0.5, size[0] - 0.5)))
    ax.text(
        left, bottom, text, fontsize=6, va="bottom", color="black",
        bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.6, "alpha": 0.85},
    )  # fmt: skip


def _explain(axes: np.ndarray, with_truth: bool) -> None:
    handles = [
        Line2D([], [], color=COLORS["predicted"], ls="--", lw=1.4, label="found, with score")
    ]
    if with_truth:
        handles.insert(0, Line2D([], [], color=COLORS["true"], lw=3.0, label="true"))
    # Below a single column of images there may be no room for two names side by side, and what
    # is beside a narrow image is of use for longer ones.
    alone = axes.shape[1] == 1
    for ax in axes.flat:
        ax.set_anchor("NW" if alone else "N")
    axes[-1, 0].legend(
        handles=handles, loc="upper left", bbox_to_anchor=(0, -0.03), ncols=1 if alone else 2,
        frameon=False, fontsize=8, borderaxespad=0, borderpad=0,
    )  # fmt: skip
