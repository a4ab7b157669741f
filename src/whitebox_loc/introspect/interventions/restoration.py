"""Activation patching: which layers and places carry a difference between two images."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from whitebox_loc._types import Array, ArrayLike, Model
from whitebox_loc._validation import check_choice, check_int, check_model
from whitebox_loc.introspect.interventions.layer_swaps import Swap, targets_of
from whitebox_loc.introspect.targets import COORDINATES
from whitebox_loc.introspect.tracing.inputs import Inputs, check_images
from whitebox_loc.introspect.tracing.layers import find_layers, layer_names
from whitebox_loc.introspect.tracing.refusals import check_answer

PARTS = ("layer", "channel", "row", "column", "place")
"""What is patched at a time: all of a layer, or each of its parts."""


@dataclass(frozen=True, eq=False)
class Restoration:
    """Targets of corrupted images with parts of a layer taken from the clean ones.

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
    clean: Array
    corrupted: Array
    patched: Array
    targets: tuple[str, ...] = COORDINATES

    @property
    def restored(self) -> Array:
        """Share of the change undone ``(*parts, n, t)``: 0 none, 1 all.

        ``(patched - corrupted) / (clean - corrupted)``, and NaN where clean and corrupted
        differ by less than 1e-4 (of the image, for coordinates): there is nothing to undo.
        """
        whole = self.clean.astype(np.float64) - self.corrupted
        undone = self.patched.astype(np.float64) - self.corrupted
        moved = np.abs(whole) >= _MOVED
        return np.where(moved, undone / np.where(moved, whole, 1.0), np.nan)

    @property
    def share(self) -> Array:
        """Share of the change undone over all images ``(*parts, t)``: 0 none, 1 all.

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


def activation_patching(
    model: Model,
    clean: ArrayLike,
    corrupted: ArrayLike,
    layers: str | Sequence[str],
    *,
    by: str = "layer",
    target: Any = None,
    link: str = "identity",
    batch_size: int = 256,
) -> dict[str, Restoration]:
    """Return, by layer, which parts of it carry what differs between two versions of images.

    The model sees the corrupted images, but one part of one layer is what it is for the clean
    ones. A part that alone restores a coordinate carries all of the difference that matters to it.

    Parameters
    ----------
    model, clean, corrupted
        As `model` and `images` for `ablate`.
    layers : str or sequence of str
        Paths as `list_layers` gives them, ``path#2`` for the second of several calls.
    by : {"layer", "channel", "row", "column", "place"}, default "layer"
        What is patched at a time, in one pass a part. Rows and columns are the first and second
        axis behind the batch axis; a place is all channels at one index on the axes between.
    target, link : optional
        What is looked at, or a list of such, as in `saliency`; the four coordinates by default.
    batch_size : int, default 256
        Images in one pass.

    Raises
    ------
    ValueError
        If a layer has no such parts.

    References
    ----------
    J. Vig et al., "Investigating gender bias in language models using causal mediation
    analysis", NeurIPS 2020, arXiv:2004.12265; K. Meng et al., "Locating and editing factual
    associations in GPT", NeurIPS 2022, arXiv:2202.05262.

    Examples
    --------
    >>> import whitebox_loc as wb
    >>> scene, model = wb.data.Scene(size=(12, 16)), wb.models.localizer(size=(12, 16))
    >>> clean = wb.data.render([[2, 3, 8, 9]], scene)
    >>> moved = wb.data.render([[5, 3, 8, 9]], scene)
    >>> restorations = activation_patching(model, clean, moved, ["conv1", "box"])
    >>> restorations["box"].share[0].round(3)  # the output itself carries everything
    np.float64(1.0)
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
    targets = targets_of(target, link)

    def swap(inputs: Inputs, name: str) -> Swap:
        return Swap(model, inputs, name, batch_size, targets, link)

    return {name: _patched(swap(first, name), swap(second, name), by) for name in names}


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
