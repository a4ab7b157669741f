"""Images with several boxes found and true, and how a detector learned."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.lines import Line2D

from whitebox_loc._types import Array, ArrayLike
from whitebox_loc._validation import as_array, check_bool
from whitebox_loc.plots.checks import check_table
from whitebox_loc.plots.curves import Panel, check_columns, draw_panels
from whitebox_loc.plots.images import boxes as draw_image
from whitebox_loc.plots.style import COLORS, axes_grid, outline

COLUMNS = 4

PANELS: tuple[Panel, ...] = (
    ("Loss", "loss", "log", {"loss": "all", "heat_loss": "heat map"}),
    ("Errors of size and place", "share of the side", "log",
     {"size_loss": "size", "offset_loss": "place"}),
    ("In the true centres", "IoU or score", "share", {"iou": "IoU", "score": "score"}),
    ("Gradient norm", "norm", "log", {"gradient_norm": "gradient norm"}),
)  # fmt: skip

#: Height and width of a written score in inches, with a little room to spare.
LETTERS = (0.13, 0.22)


def detections(
    images: Array, found: Any, truths: Any = None, ax: Any = None, *, scores: bool = True
) -> Array:
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
        One an image; None makes rows of at most four columns, shape (rows, columns).
    scores : bool, default True
        Write the score of each found box at its upper left corner.

    Raises
    ------
    ValueError, TypeError
        If `found` or `truths` is something else, or knows another number of images, or there is
        none.

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
            outline(each, box, color=COLORS["predicted"], ls="--", lw=1.4, label="found")
            if scores:
                _write(each, box, f"{score:.2f}", (height, width))
    _explain(axes, truths is not None)
    return axes


def detector_curves(columns: Mapping[str, Array], axes: ArrayLike = None) -> Array:
    """Draw the loss and its parts, IoU and score in the true centres, and gradient norm by step.

    Parameters
    ----------
    columns, axes
        As for `learning_curves`, with the same error, from `whitebox_loc.training.fit_detector`;
        four axes, shape (1, 4).

    Examples
    --------
    >>> names = ("loss", "heat_loss", "size_loss", "offset_loss", "iou", "score", "gradient_norm")
    >>> axes = detector_curves({name: np.ones(3) for name in ("step", *names)})
    >>> [ax.get_ylabel() for ax in axes.flat]
    ['loss', 'share of the side', 'IoU or score', 'norm']
    """
    arrays = check_columns(columns, PANELS, "fit", "learning_curves")
    axes = axes_grid(axes, 1, 4, (3.2, 2.6))
    draw_panels(axes, arrays, PANELS, {"which": "both", "labelsize": 7}, dashed=1.2)
    return axes


def _check(name: str, value: Any, names: tuple[str, ...], allowed: str) -> None:
    missing = [each for each in names if not hasattr(value, each)]
    if missing:
        raise TypeError(
            f"`{name}` must be {allowed}, with the arrays {list(names)}; got "
            f"{type(value).__name__} without {missing}."
        )


def _all_images(images: ArrayLike) -> Array:
    """Return images (n, height, width, channels) as they are, perhaps none."""
    array = as_array("images", images)
    if not array.size:
        return np.zeros((0, 1, 1, 1))
    check_table("images", array, ("n", "height", "width", "channels"), nan=False)
    return array


def _write(ax: Any, box: Array, text: str, size: tuple[int, int]) -> None:
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


def _explain(axes: Array, with_truth: bool) -> None:
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
