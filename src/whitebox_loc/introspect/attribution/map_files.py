"""Maps of more images than fit in memory: a file of maps for each shard of images."""

from __future__ import annotations

import copy
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np

from whitebox_loc._digests import describe, digest, model_digest
from whitebox_loc._files import naming, replacing
from whitebox_loc._types import Array, Model
from whitebox_loc._validation import (
    check_bool,
    check_brightness,
    check_choice,
    check_int,
    check_model,
    check_numbers,
    check_path,
)
from whitebox_loc._version import __version__
from whitebox_loc.data import Batch, Shards, read_shards
from whitebox_loc.data.datasets import check_shard
from whitebox_loc.data.sharding import claim, is_whole, opened, refuse_folder, run_shards
from whitebox_loc.introspect.attribution.choices import Choice, choose
from whitebox_loc.introspect.attribution.maps import saliency
from whitebox_loc.introspect.methods import Method
from whitebox_loc.introspect.targets import LINKS, Target, as_target

FORMAT = "whitebox_loc maps 1"
DTYPES = ("float32", "float16")


class MapShards:
    """Maps in a folder, each read when it is used: ``maps[i]``, or in a loop.

    Entry i belongs to shard i of the images: an array (n, height, width), or (k, n, height,
    width) for a list of k targets, of the dtype of the files.

    Attributes
    ----------
    folder : Path
    about : dict
        The manifest: model, method, options, target, images, dtype.
    """

    def __init__(self, folder: Path, about: dict[str, Any]) -> None:
        self.folder, self.about = folder, about
        self._count = check_int("shards", about["shards"], low=1)
        self._dtype = check_choice("dtype", about["dtype"], DTYPES)
        self._key = digest(about)

    def __len__(self) -> int:
        return self._count

    def path(self, index: int) -> Path:
        """Return the file of the maps of shard `index`."""
        return self.folder / f"maps-{check_int('index', index, low=0):06}.npz"

    def missing(self) -> list[int]:
        """Return the numbers of the shards whose maps are not there, or cut short."""
        return [i for i in range(len(self)) if not is_whole(self.path(i))]

    def stored(self, index: int, maps: Array) -> Array:
        """Return maps in the dtype of the files; they must be finite, as all maps are."""
        maps = check_numbers("maps", maps)
        with np.errstate(over="ignore"):
            stored = maps.astype(self._dtype)
        if not np.isfinite(stored).all():
            raise ValueError(
                f"`dtype` {self._dtype!r} cannot hold the maps of shard {index}, which reach "
                f"{np.abs(maps).max():g}. Take dtype='float32' and another folder."
            )
        return stored

    def save(self, index: int, maps: Array) -> None:
        """Write the maps of shard `index`; the file appears whole or not at all."""
        stored = self.stored(index, maps)
        # Not compressed: maps hardly shrink. The zip file keeps a checksum of each array.
        with replacing(self.path(index)) as part, open(part, "wb") as file:
            np.savez(file, maps=stored, key=np.array(f"{self._key} {index}"))

    def __iter__(self) -> Iterator[Array]:
        return (self[index] for index in range(len(self)))

    def __getitem__(self, index: int) -> Array:
        index = range(len(self))[check_int("index", index)]
        path = self.path(index)
        refuse_folder(path)
        name = f"The maps of shard {index} of {len(self)}, {str(path)!r},"
        again = "`saliency_shards` again as before"
        try:
            with open(path, "rb") as file, np.load(file, allow_pickle=False) as archive:
                key, maps = str(archive["key"]), archive["maps"]
        except FileNotFoundError:
            raise FileNotFoundError(
                f"{name} are missing. Call {again}; it makes what is missing."
            ) from None
        except Exception as error:
            # Damaged bytes raise a dozen different types.
            raise ValueError(
                f"{name} are damaged ({type(error).__name__}: {error}). Delete the file and call "
                f"{again}."
            ) from error
        if key != f"{self._key} {index}":
            raise ValueError(f"{name} belong elsewhere. Delete the file and call {again}.")
        return maps

    def __repr__(self) -> str:
        return f"MapShards({len(self)} files of {self.about['method']!r}, {str(self.folder)!r})"


def saliency_shards(
    model: Model,
    batches: Shards | str | os.PathLike[str] | Sequence[Batch],
    folder: str | os.PathLike[str],
    target: Any = "top",
    method: str | Method = "gradient",
    *,
    link: str = "identity",
    batch_size: int = 256,
    dtype: str = "float32",
    shard: tuple[int, int] = (0, 1),
    progress: bool = True,
    **options: Any,
) -> MapShards:
    """Write the maps of each shard of images to a file of its own.

    The maps of shard i are ``saliency(model, batches[i].images, target, method, ...)``. One shard
    and its maps are held at a time. A call that was stopped is repeated to go on. A folder holds
    the maps of one model, method, target and source, and refuses others.

    Parameters
    ----------
    batches : Shards, path-like or sequence of Batch
        What `write_shards` returns, its folder, or batches in memory. Images of uint8 are
        divided by 255.
    folder : path-like
        Where ``manifest.json`` and ``maps-000000.npz``, ... are written.
    model, target, method, link, batch_size
        As for `saliency`. A target that holds one row an image, such as ``targets.iou(boxes)``,
        holds those of all shards in their order, and each shard gets its own.
    dtype : {"float32", "float16"}
        Of the files. float16 takes half the space, holds about three digits, and flushes what is
        smaller than 6e-8 to 0; values above 65504 are an error.
    shard, progress
        As for `write_shards`.
    **options
        Options of the method. Where it has a ``scene``, as `edge_move` has, ``boxes``, ``scene``
        and ``labels`` default to those of each batch. Given ``boxes`` are one for all images, or,
        as ``labels``, one for each image of all shards in their order. What draws, draws the same
        for each shard.

    Raises
    ------
    ValueError, TypeError
        As `saliency`, or if the folder holds other maps, or a shard of images is damaged.
    FileNotFoundError
        If a shard of images is missing.
    KeyboardInterrupt
        After Ctrl-C. The files that were finished are kept.

    Examples
    --------
    >>> import tempfile
    >>> import whitebox_loc as wb
    >>> scene, folder = wb.data.Scene(size=(8, 8)), tempfile.mkdtemp()
    >>> shards = wb.data.write_shards(scene, 5, folder, shard_size=3, progress=False)
    >>> model = wb.models.localizer(size=(8, 8))
    >>> maps = saliency_shards(model, shards, folder + "/maps", "left", progress=False)
    >>> [array.shape for array in maps]
    [(3, 8, 8), (2, 8, 8)]
    """
    place = check_path("folder", folder)
    source, images = _source(batches)
    check_bool("progress", progress)
    worker, workers = check_shard(shard)
    choice = choose(method, options)
    truths = _truths(choice, options)
    options["link"] = check_choice("link", link, LINKS)
    options["batch_size"] = check_int("batch_size", batch_size, low=1)
    call = _Call(model, source, target, choice.row, options, truths)
    about = {
        "format": FORMAT,
        "whitebox_loc": __version__,
        "model": model_digest(check_model(model)),
        "method": choice.row.name,
        **_about_method(choice, truths),
        "target": [describe(as_target(each)) for each in target]
        if isinstance(target, (list, tuple))
        else describe(as_target(target)),
        "link": link,
        "dtype": check_choice("dtype", dtype, DTYPES),
        "images": images,
        "shards": len(source),
    }
    manifest = place / "manifest.json"
    with naming("folder", place):
        new = not manifest.exists()
    if new:
        # A folder is claimed by a call that can be answered, so that it can be put right.
        index = min(worker, len(source) - 1)
        MapShards(place, about).stored(index, call.maps(index, most=1))
    with naming("folder", place):
        shards = MapShards(place, claim(manifest, about))
    left = [index for index in shards.missing() if index % workers == worker]

    def write(index: int) -> None:
        shards.save(index, call.maps(index))

    run_shards(write, left, len(range(worker, len(source), workers)), None, progress)
    return shards


def read_maps(folder: str | os.PathLike[str]) -> MapShards:
    """Open a folder that `saliency_shards` made, also one that is not complete.

    It is a sequence of arrays. Reading one that is missing, damaged or misplaced is an error.

    Raises
    ------
    FileNotFoundError, ValueError
        If the folder has no manifest, or one that is damaged or of another kind.
    """
    return opened(check_path("folder", folder), FORMAT, "maps", MapShards)


@dataclass(frozen=True)
class _Call:
    """The saliency of each shard of images; `truths` are options that each batch adds."""

    model: Model
    source: Any
    target: Any
    method: Method
    options: dict[str, Any]
    truths: tuple[str, ...]

    def __post_init__(self) -> None:
        self._own(0, 0)  # which counts the rows, before anything is written

    @cached_property
    def starts(self) -> list[int]:
        """Return the number of the first image of each shard, and of all images."""
        if isinstance(self.source, Shards):
            return [*range(0, self.source.n, self.source.shard_size), self.source.n]
        return [0, *accumulate(len(batch) for batch in self.source)]

    def maps(self, index: int, most: int | None = None) -> Array:
        """Return the maps of a shard, or of its first `most` images."""
        batch = self.source[index]
        images = check_brightness("images", batch.images[:most])
        truths = {name: getattr(batch, name) for name in self.truths}
        for name in truths.keys() - {"scene"}:
            truths[name] = truths[name][:most]
        target, options = self._own(self.starts[index], len(images))
        return np.asarray(saliency(self.model, images, target, self.method, **truths, **options))

    def _own(self, start: int, count: int) -> tuple[Any, dict[str, Any]]:
        """Return target and options for some images: their rows of what has one an image."""
        cut = partial(_rows, start=start, count=count, whole=self.starts[-1])
        options = dict(self.options)
        if np.ndim(options.get("boxes", 0)) == 2:
            options["boxes"] = cut("boxes", np.asarray(options["boxes"]))
        if np.ndim(options.get("labels", 0)) == 1:
            options["labels"] = cut("labels", np.asarray(options["labels"]), shared=False)
        return _cut_target(self.target, cut), options


def _rows(
    name: str, data: Array, *, start: int, count: int, whole: int, shared: bool = True
) -> Array:
    if shared and len(data) == 1:
        return data
    if len(data) != whole:
        raise ValueError(
            f"`{name}` must hold one row for each image of all shards together, {whole}"
            f"{', or one for all' if shared else ''}; got {len(data)}."
        )
    return data[start : start + count]


def _cut_target(target: Any, cut: Any) -> Any:
    if isinstance(target, (list, tuple)):
        return [_cut_target(each, cut) for each in target]
    if not isinstance(target, Target) or target.data is None:
        return target
    own = copy.copy(target)
    object.__setattr__(own, "data", cut("target", target.data))  # It is frozen.
    return own


def _truths(choice: Choice, options: dict[str, Any]) -> tuple[str, ...]:
    """Return the options that are set to what is known about each batch."""
    if "scene" not in choice.options:
        return ()  # Boxes of other methods are fractions, and not those of the scene.
    names = {"boxes", "scene", "labels"} - set(options)
    if "scene" in options:
        names -= {"labels"}  # which are numbers of shapes in the batch's own scene
    return tuple(sorted(names))


def _about_method(choice: Choice, truths: tuple[str, ...]) -> dict[str, Any]:
    """Return what distinguishes a method with its options; defaults are spelled out."""
    options = {name: value for name, value in choice.described.items() if name not in truths}
    code, base = choice.row.function, choice.base
    return {
        "function": digest([code, base.function] if base else code),
        "options": describe(options),
    }


def _source(batches: Any) -> tuple[Any, Any]:
    """Return a sequence of batches, and what distinguishes it from others."""
    if isinstance(batches, (str, os.PathLike)):
        batches = read_shards(batches)
    if isinstance(batches, Shards):
        return batches, batches.about
    if not isinstance(batches, Sequence) or not all(isinstance(b, Batch) for b in batches):
        raise TypeError(
            "`batches` must be what `write_shards` or `read_shards` returns, its folder, or a list "
            f"of Batch; got {type(batches).__name__}."
        )
    if not batches:
        raise ValueError("`batches` must hold at least one batch; got an empty list.")
    return batches, digest([(batch.images, batch.boxes, batch.labels) for batch in batches])
