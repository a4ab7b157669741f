"""Ablation and activation patching: what breaks without a unit, and what a unit mends."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from whitebox_loc import boxes as box_measures
from whitebox_loc._validation import (
    check_boxes,
    check_choice,
    check_generator,
    check_int,
    check_ints,
    check_model,
)
from whitebox_loc.introspect.inputs import Inputs, check_images
from whitebox_loc.introspect.layers import find_layers, layer_names
from whitebox_loc.introspect.refusals import check_answer
from whitebox_loc.introspect.swapping import Swap
from whitebox_loc.introspect.targets import COORDINATES, LINKS, Target, as_target

__all__ = ["MODES", "PARTS", "Ablation", "Restoration", "ablate", "activation_patching"]

MODES = ("zero", "mean", "resample")
"""What an ablated channel is replaced by: nothing, its mean over images, another image's."""

PARTS = ("layer", "channel", "row", "column", "place")
"""What is patched at a time: all of a layer, or each of its parts."""


@dataclass(frozen=True, eq=False)
class Ablation:
    """What a model says without each of some channels.

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
    channels: np.ndarray
    before: np.ndarray
    after: np.ndarray
    change: np.ndarray
    iou_before: np.ndarray | None
    iou_change: np.ndarray | None
    targets: tuple[str, ...] = COORDINATES


@dataclass(frozen=True, eq=False)
class Restoration:
    """What a model says about corrupted images when parts of a layer hear the clean ones.

    Attributes
    ----------
    layer, by : str
    clean, corrupted : float32 arrays (n, t)
        The targets of the intact model; by default t = 4, its boxes ``rel_yxyx``.
    patched : float32 array ``(*parts, n, t)``
        The targets for the corrupted images with one part of the layer taken from the clean ones.
        `parts` is () for ``by="layer"``, (channels,), (rows,), (columns,), and all axes
        between batch and channel for ``by="place"``.
    targets : tuple of str
        Short texts for the t targets.
    """

    layer: str
    by: str
    clean: np.ndarray
    corrupted: np.ndarray
    patched: np.ndarray
    targets: tuple[str, ...] = COORDINATES

    @property
    def restored(self) -> np.ndarray:
        """Share of the change undone ``(*parts, n, t)``: 0 none, 1 all.

        ``(patched - corrupted) / (clean - corrupted)``, and NaN where clean and corrupted
        differ by less than 1e-4 (of the image, for coordinates): there is nothing to undo.
        """
        whole = self.clean.astype(np.float64) - self.corrupted
        undone = self.patched.astype(np.float64) - self.corrupted
        moved = np.abs(whole) >= _MOVED
        return np.where(moved, undone / np.where(moved, whole, 1.0), np.nan)

    @property
    def share(self) -> np.ndarray:
        """Share of the change undone over all images ``(*parts, t)``: 0 none, 1 all.

        The slope of the regression through zero of what is undone on what there is to undo,
        ``sum undone * whole / sum whole**2``, so that large changes count most; NaN for a
        coordinate that differs in no image.
        """
        whole = self.clean.astype(np.float64) - self.corrupted
        undone = self.patched.astype(np.float64) - self.corrupted
        whole = np.where(np.abs(whole) >= _MOVED, whole, 0.0)
        total = (whole**2).sum(0)
        share = (undone * whole).sum(-2) / np.where(total > 0, total, 1.0)
        return np.where(total > 0, share, np.nan)


# A hundredth of a pixel in an image of 100: far above rounding, far below any edge moved.
_MOVED = 1e-4


def ablate(
    model: keras.Model,
    images: Any,
    layer: str,
    channels: int | Sequence[int] | None = None,
    mode: str = "zero",
    *,
    target: Any = None,
    link: str = "identity",
    boxes: Any = None,
    format: str = "rel_yxyx",
    seed: Any = 0,
    batch_size: int = 256,
) -> Ablation:
    """Return how the box, or another target, changes when a layer loses one channel at a time.

    Parameters
    ----------
    model : keras.Model
        Any model with one output of shape (n, 4), ``rel_yxyx`` boxes in fractions, or one
        named ``"box"``. It is run in inference and left as it is.
    images : float array (n, height, width, channels)
        Or, for a model of several inputs, the structure that it takes, one image array in it.
    layer : str
        Path as `list_layers` gives it, ``path#2`` for the second of several calls.
    channels : int or sequence of int, optional
        Indices on the last axis of the layer's output; all by default.
    mode : {"zero", "mean", "resample"}, default "zero"
        Replace the channel by zero; at each place by its mean over `images`; or by what it
        is for another of the images, drawn so that none keeps its own. Zero takes a network
        where it has never been; resampling leaves each channel its own distribution.
    target : optional
        What is looked at, or a list of such, as in `saliency`: the four coordinates by default,
        or for example ``targets.label("ring")``.
    link : {"identity", "logit"}, default "identity"
        The target itself or its log-odds, as in `saliency`.
    boxes : array (n, 4), optional
        True boxes, with the default target. Without them, IoU is measured with the boxes of
        the intact model.
    format : str, default "rel_yxyx"
        Format of `boxes`, a name from `whitebox_loc.boxes.FORMATS`.
    seed : int or numpy.random.Generator, default 0
        Source of the other images in ``"resample"``.
    batch_size : int, default 256
        Images in one pass.

    Returns
    -------
    Ablation
        Changes by channel, image and target.

    Raises
    ------
    ValueError, TypeError
        If an argument is not one of the above, or the model returns no box.

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
    >>> found = ablate(wb.models.localizer(size=(12, 16)), batch.images, "conv2", [0, 3])
    >>> found.change.shape, found.iou_change.shape
    ((2, 5, 4), (2, 5))
    """
    inputs = check_images(images, check_model(model))
    check_choice("mode", mode, MODES)
    check_int("batch_size", batch_size, low=1)
    wanted = _targets(target, link)
    if wanted and boxes is not None:
        raise ValueError(
            "`boxes` go with the four coordinates; got `target` as well. Ask for them apart, or "
            "for targets.iou(boxes)."
        )
    swap = Swap(model, inputs, layer, batch_size, wanted, link)
    labels = tuple(t.label for t in swap.targets)
    chosen = _channels(channels, swap.shape[-1])
    after = np.empty((len(chosen), len(inputs), len(labels)), np.float32)
    others = _others(len(inputs), seed) if mode == "resample" else None
    mean = swap.mean() if mode == "mean" else np.zeros(swap.shape, np.float32)
    for part in swap.batches():
        if others is None:
            instead = np.broadcast_to(mean, (part.stop - part.start, *swap.shape))
        else:
            instead = swap.read(inputs, others[part])
        for row, channel in enumerate(chosen):
            after[row, part] = swap.values(part, instead, np.arange(swap.shape[-1]) == channel)
    before = swap.values_everywhere()
    check_answer(f"Ablations of layer {layer!r}", after, model, link)
    intact, change = None, None
    if not wanted:
        truth = _truth(boxes, format, before, inputs)
        intact = _iou(before, truth)
        change = np.stack([_iou(a, truth) for a in after]) - intact
    return Ablation(layer, mode, chosen, before, after, after - before, intact, change, labels)


def activation_patching(
    model: keras.Model,
    clean: Any,
    corrupted: Any,
    layers: str | Sequence[str],
    *,
    by: str = "layer",
    target: Any = None,
    link: str = "identity",
    batch_size: int = 256,
) -> dict[str, Restoration]:
    """Return which layers and places carry what differs between two versions of images.

    The model sees the corrupted images, such as ones in which a single edge has been moved,
    but one part of one layer is what it is for the clean images. A part that alone
    restores a coordinate carries all that the model knows of the difference.

    Parameters
    ----------
    model : keras.Model
        Any model with one output of shape (n, 4), ``rel_yxyx`` boxes in fractions, or one
        named ``"box"``. It is run in inference and left as it is.
    clean, corrupted : float arrays (n, height, width, channels)
        Or, for a model of several inputs, the structure that it takes, one image array in it.
    layers : str or sequence of str
        Paths as `list_layers` gives them, ``path#2`` for the second of several calls.
    by : {"layer", "channel", "row", "column", "place"}, default "layer"
        What is patched at a time. Rows and columns are the first and second axis behind
        the batch axis; a place is all channels of one index on the axes between batch and
        channel. One pass for each part.
    target : optional
        What is looked at, or a list of such, as in `saliency`: the four coordinates by default,
        or for example ``targets.label("ring")``.
    link : {"identity", "logit"}, default "identity"
        The target itself or its log-odds, as in `saliency`.
    batch_size : int, default 256
        Images in one pass.

    Returns
    -------
    dict of str to Restoration
        By layer, in the order of `layers`.

    Raises
    ------
    ValueError, TypeError
        If an argument is not one of the above, or a layer has no such parts.

    References
    ----------
    J. Vig et al., "Investigating gender bias in language models using causal mediation
    analysis", NeurIPS 2020, arXiv:2004.12265; K. Meng et al., "Locating and editing factual
    associations in GPT", NeurIPS 2022, arXiv:2202.05262.

    Examples
    --------
    The output itself carries everything:

    >>> import whitebox_loc as wb
    >>> scene, model = wb.data.Scene(size=(12, 16)), wb.models.localizer(size=(12, 16))
    >>> clean = wb.data.render([[2, 3, 8, 9]], scene)
    >>> moved = wb.data.render([[5, 3, 8, 9]], scene)
    >>> found = activation_patching(model, clean, moved, ["conv1", "box"])
    >>> found["box"].share[0].round(3)
    np.float64(1.0)
    >>> activation_patching(model, clean, moved, "conv2", by="row")["conv2"].share.shape
    (14, 4)
    """
    first = check_images(clean, check_model(model), name="clean")
    second = check_images(corrupted, model, name="corrupted")
    if first.image.shape != second.image.shape or first.signature != second.signature:
        raise ValueError(
            "`clean` and `corrupted` must hold the same number of images of the same shape; got "
            f"{first.image.shape} and {second.image.shape}."
        )
    check_choice("by", by, PARTS)
    check_int("batch_size", batch_size, low=1)
    names = layer_names(layers)
    find_layers(model, names)
    wanted = _targets(target, link)

    def ask(inputs: Inputs, name: str) -> Swap:
        return Swap(model, inputs, name, batch_size, wanted, link)

    return {name: _patched(ask(first, name), ask(second, name), by) for name in names}


def _patched(clean: Swap, corrupted: Swap, by: str) -> Restoration:
    inputs, targets = clean.inputs, tuple(t.label for t in clean.targets)
    lengths = _part_lengths(clean.layer, by, clean.shape)
    patched = np.empty((*lengths, len(inputs), len(targets)), np.float32)
    for part in corrupted.batches():
        instead = clean.read(inputs, np.arange(len(inputs))[part])
        for index, mask in _masks(by, lengths, clean.shape):
            patched[index][part] = corrupted.values(part, instead, mask)
    intact, changed = clean.values_everywhere(), corrupted.values_everywhere()
    check_answer(f"Patches of layer {clean.layer!r}", patched, clean.model, clean.link)
    return Restoration(clean.layer, by, intact, changed, patched, targets)


def _targets(target: Any, link: str) -> list[Target]:
    """Return the targets asked for; none for the box."""
    check_choice("link", link, LINKS)
    if target is None:
        if link != "identity":
            raise ValueError(
                f"`link` {link!r} needs a `target`; got target=None, the box as it is. Name the "
                "coordinates, such as target=['top', 'left']."
            )
        return []
    asked = list(target) if isinstance(target, (list, tuple)) else [target]
    if not asked:
        raise ValueError("`target` must name at least one target; got an empty list.")
    return [as_target(t) for t in asked]


def _part_lengths(layer: str, by: str, shape: tuple[int, ...]) -> tuple[int, ...]:
    places = shape[:-1]
    needed = {"row": 1, "column": 2, "place": 1}.get(by, 0)
    if len(places) < needed:
        raise ValueError(
            f"`by` {by!r} needs a layer with {'rows and columns' if needed == 2 else 'places'}; "
            f"layer {layer!r} has shape {shape} for one image. Use by='layer' or by='channel'."
        )
    lengths = {"layer": (), "channel": shape[-1:], "row": places[:1], "column": places[1:2]}
    return lengths.get(by, places)


def _masks(
    by: str, lengths: tuple[int, ...], shape: tuple[int, ...]
) -> Iterator[tuple[tuple[int, ...], np.ndarray]]:
    """Yield each part's index and where it lies in the layer."""
    axis = {"channel": len(shape) - 1, "row": 0, "column": 1}
    for index in np.ndindex(*lengths):
        mask = np.zeros(shape, bool)
        if by in axis:
            np.moveaxis(mask, axis[by], 0)[index] = True
        else:
            mask[index] = True
        yield index, mask


def _channels(channels: Any, count: int) -> np.ndarray:
    if channels is None:
        return np.arange(count)
    return np.array(check_ints("channels", channels, low=-count, high=count - 1)) % count


def _others(n: int, seed: Any) -> np.ndarray:
    """Return another image's number for each image: along one random circle through all."""
    if n < 2:
        raise ValueError("`mode` 'resample' needs at least two images; got 1. Use mode='zero'.")
    circle = check_generator(seed).permutation(n)
    others = np.empty(n, np.int64)
    others[circle] = np.roll(circle, 1)
    return others


def _truth(boxes: Any, format: str, before: np.ndarray, inputs: Inputs) -> np.ndarray:
    if boxes is None:
        return before
    given = check_boxes("boxes", boxes)
    if given.shape != before.shape:
        raise ValueError(
            f"`boxes` must have shape {before.shape}, one an image; got {given.shape}."
        )
    check_choice("format", format, box_measures.FORMATS)
    return box_measures.convert(given, format, "rel_yxyx", size=inputs.image.shape[1:3])


def _iou(found: np.ndarray, truth: np.ndarray) -> np.ndarray:
    # As tensors, because a network may well return a swapped box: it counts as empty.
    return box_measures.iou(
        tf.constant(found, tf.float64), tf.constant(truth, tf.float64), "rel_yxyx"
    ).numpy()
