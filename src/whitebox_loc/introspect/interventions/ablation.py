"""Ablation: what breaks without a channel."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from whitebox_loc import boxes as box_measures
from whitebox_loc._types import Array, ArrayLike, Model, Seed
from whitebox_loc._validation import (
    check_boxes,
    check_choice,
    check_generator,
    check_int,
    check_ints,
    check_model,
)
from whitebox_loc.introspect.interventions.layer_swaps import Swap, targets_of
from whitebox_loc.introspect.targets import COORDINATES
from whitebox_loc.introspect.tracing.inputs import Inputs, check_images
from whitebox_loc.introspect.tracing.refusals import check_answer

MODES = ("zero", "mean", "resample")
"""What an ablated channel is replaced by: nothing, its mean over images, another image's."""


@dataclass(frozen=True, eq=False)
class Ablation:
    """Targets of a model without each of some channels.

    Attributes
    ----------
    layer, mode : str
    channels : int array (k,)
    before : float32 array (n, t)
        The targets of the intact model; by default t = 4, its boxes ``rel_yxyx``.
    after : float32 array (k, n, t)
        The targets with one channel ablated.
    change : float32 array (k, n, t)
        ``after - before``; of coordinates in fractions of the image.
    iou_before : float64 array (n,), or None for other targets than the box
        IoU with the true boxes; if none were given, with `before` itself: 1, or 0 for a box
        without area.
    iou_change : float64 array (k, n), or None
        IoU of `after` minus `iou_before`.
    targets : tuple of str
        Short texts for the t targets.
    """

    layer: str
    mode: str
    channels: Array
    before: Array
    after: Array
    change: Array
    iou_before: Array | None
    iou_change: Array | None
    targets: tuple[str, ...] = COORDINATES


def ablate(
    model: Model,
    images: ArrayLike,
    layer: str,
    channels: int | Sequence[int] | None = None,
    mode: str = "zero",
    *,
    target: Any = None,
    link: str = "identity",
    boxes: ArrayLike = None,
    format: str = "rel_yxyx",
    seed: Seed = 0,
    batch_size: int = 256,
) -> Ablation:
    """Return how the box, or another target, changes when a layer loses one channel at a time.

    Parameters
    ----------
    model, images
        As in `saliency`; by default the model returns a box.
    layer : str
        Path as `list_layers` gives it, ``path#2`` for the second of several calls.
    channels : int or sequence of int, optional
        Indices on the last axis of the layer's output; all by default.
    mode : {"zero", "mean", "resample"}, default "zero"
        Replace the channel by zero; at each place by its mean over `images`; or by what it
        is for another of the images, which leaves each channel its own distribution.
    target, link : optional
        What is looked at, or a list of such, as in `saliency`; the four coordinates by default.
    boxes, format : array (n, 4) and str, optional
        True boxes, with the default target, and their name in `whitebox_loc.boxes.FORMATS`.
        Without them, IoU is measured with the boxes of the intact model.
    seed : int or numpy.random.Generator, default 0
        Source of the other images in ``"resample"``.
    batch_size : int, default 256
        Images in one pass.

    Raises
    ------
    ValueError
        If the model returns no box.

    References
    ----------
    A. S. Morcos et al., "On the importance of single directions for generalization", ICLR
    2018, arXiv:1803.06959; L. Chan et al., "Causal scrubbing", Alignment Forum 2022
    (resampling).

    Examples
    --------
    >>> import whitebox_loc as wb
    >>> scene = wb.data.Scene(size=(12, 16))
    >>> batch = wb.data.generate(scene, 5, seed=0)
    >>> ablation = ablate(wb.models.localizer(size=(12, 16)), batch.images, "conv2", [0, 3])
    >>> ablation.change.shape, ablation.iou_change.shape
    ((2, 5, 4), (2, 5))
    """
    inputs = check_images(images, check_model(model))
    check_choice("mode", mode, MODES)
    check_int("batch_size", batch_size, low=1)
    targets = targets_of(target, link)
    if targets and boxes is not None:
        raise ValueError(
            "`boxes` go with the four coordinates; got `target` as well. Ask for them apart, or "
            "for targets.iou(boxes)."
        )
    swap = Swap(model, inputs, layer, batch_size, targets, link)
    labels = tuple(t.label for t in swap.targets)
    count = swap.shape[-1]
    if channels is None:
        channels = range(count)
    numbers = np.array(check_ints("channels", channels, low=-count, high=count - 1)) % count
    after = np.empty((len(numbers), len(inputs), len(labels)), np.float32)
    others = _others(len(inputs), seed) if mode == "resample" else None
    mean = swap.mean() if mode == "mean" else np.zeros(swap.shape, np.float32)
    for part in swap.batches():
        if others is None:
            instead = np.broadcast_to(mean, (part.stop - part.start, *swap.shape))
        else:
            instead = swap.read(inputs, others[part])
        for row, channel in enumerate(numbers):
            after[row, part] = swap.values(part, instead, np.arange(count) == channel)
    before = swap.values_everywhere()
    check_answer(f"Ablations of layer {layer!r}", after, model, link)
    intact, change = None, None
    if not targets:
        truth = _truth(boxes, format, before, inputs)
        intact = _iou(before, truth)
        change = np.stack([_iou(a, truth) for a in after]) - intact
    return Ablation(layer, mode, numbers, before, after, after - before, intact, change, labels)


def _others(n: int, seed: Seed) -> Array:
    """Return another image's number for each image: along one random circle through all."""
    if n < 2:
        raise ValueError("`mode` 'resample' needs at least two images; got 1. Use mode='zero'.")
    circle = check_generator(seed).permutation(n)
    others = np.empty(n, np.int64)
    others[circle] = np.roll(circle, 1)
    return others


def _truth(boxes: ArrayLike, format: str, before: Array, inputs: Inputs) -> Array:
    if boxes is None:
        return before
    corners = check_boxes("boxes", boxes)
    if corners.shape != before.shape:
        raise ValueError(
            f"`boxes` must have shape {before.shape}, one an image; got {corners.shape}."
        )
    check_choice("format", format, box_measures.FORMATS)
    return box_measures.convert(corners, format, "rel_yxyx", size=inputs.image.shape[1:3])


def _iou(predicted: Array, truth: Array) -> Array:
    # As tensors, because a network may well return a swapped box: it counts as empty.
    first, second = (tf.constant(boxes, tf.float64) for boxes in (predicted, truth))
    return box_measures.iou(first, second, "rel_yxyx").numpy()
