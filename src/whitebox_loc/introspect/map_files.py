"""Maps of more images than fit in memory: a file of maps for each shard of images."""

from __future__ import annotations

import hashlib
import os
import zipfile
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import keras
import numpy as np

from whitebox_loc._files import replacing
from whitebox_loc._validation import check_brightness, check_choice, check_int
from whitebox_loc._version import __version__
from whitebox_loc.data import Batch, Shards, read_shards
from whitebox_loc.data.datasets import check_shard
from whitebox_loc.data.sharding import claim, read_manifest, run_shards
from whitebox_loc.introspect.attribution import check_options, saliency
from whitebox_loc.introspect.identities import describe, digest, model_digest
from whitebox_loc.introspect.layers import check_model
from whitebox_loc.introspect.methods import METHODS
from whitebox_loc.introspect.targets import LINKS, as_target

__all__ = ["MapShards", "read_maps", "saliency_shards"]

FORMAT = "whitebox_loc maps 1"
DTYPES = ("float32", "float16")


class MapShards:
    """Maps in a folder, read when they are asked for: ``maps[i]``, or in a loop.

    Entry i belongs to shard i of the images: an array (n, height, width), or (k, n, height,
    width) for a list of k targets, of the dtype that was asked for.

    Attributes
    ----------
    folder : Path
    about : dict
        What the manifest says: model, method, options, target, images, dtype.

    Examples
    --------
    See `saliency_shards`.
    """

    def __init__(self, folder: Path, about: dict[str, Any]) -> None:
        self.folder, self.about = folder, about
        self._count, self._dtype = int(about["shards"]), str(about["dtype"])
        self._key = digest(about)

    def __len__(self) -> int:
        return self._count

    def path(self, index: int) -> Path:
        """Return the file of the maps of shard `index`."""
        return self.folder / f"maps-{index:06}.npz"

    def missing(self) -> list[int]:
        """Return the numbers of the shards whose maps are not there, or cut short."""
        return [i for i in range(len(self)) if not zipfile.is_zipfile(self.path(i))]

    def save(self, index: int, maps: np.ndarray) -> None:
        """Write the maps of shard `index`; the file appears whole or not at all."""
        with np.errstate(over="ignore"):
            stored = maps.astype(self._dtype)
        if not np.array_equal(np.isfinite(stored), np.isfinite(maps)):
            raise ValueError(
                f"`dtype` {self._dtype!r} cannot hold the maps of shard {index}, which reach "
                f"{np.abs(maps).max():g}. Take dtype='float32' and another folder."
            )
        # Not compressed: maps hardly shrink. The zip file keeps a checksum of each array.
        with replacing(self.path(index)) as part, open(part, "wb") as file:
            np.savez(file, maps=stored, key=np.array(f"{self._key} {index}"))

    def __getitem__(self, index: int) -> np.ndarray:
        return self._read(range(len(self))[check_int("index", index)])

    def __iter__(self) -> Iterator[np.ndarray]:
        return (self._read(index) for index in range(len(self)))

    def _read(self, index: int) -> np.ndarray:
        path = self.path(index)
        told = f"The maps of shard {index} of {len(self)}, {str(path)!r},"
        again = "`saliency_shards` again as before"
        try:
            with open(path, "rb") as file, np.load(file, allow_pickle=False) as archive:
                key, maps = str(archive["key"]), archive["maps"]
        except FileNotFoundError:
            raise FileNotFoundError(
                f"{told} are missing. Call {again}; it makes what is missing."
            ) from None
        except Exception as error:
            # Damaged bytes raise a dozen different types.
            raise ValueError(
                f"{told} are damaged ({type(error).__name__}: {error}). Delete the file and call "
                f"{again}."
            ) from error
        if key != f"{self._key} {index}":
            raise ValueError(f"{told} belong elsewhere. Delete the file and call {again}.")
        return maps

    def __repr__(self) -> str:
        return f"MapShards({len(self)} files of {self.about['method']!r}, {str(self.folder)!r})"


def saliency_shards(
    model: keras.Model,
    batches: Shards | str | os.PathLike[str] | Sequence[Batch],
    folder: str | os.PathLike[str],
    target: Any = "top",
    method: str = "gradient",
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
    and its maps are held at a time. A call that was stopped, also by a kill, is repeated to go on:
    it makes what is missing. A folder holds the maps of one model, method, target and source, and
    refuses others.

    Parameters
    ----------
    model : keras.Model
        As for `saliency`.
    batches : Shards, path-like or sequence of Batch
        What `write_shards` returns, its folder, or batches in memory. Images of uint8 are
        divided by 255.
    folder : path-like
        Where ``manifest.json`` and ``maps-000000.npz``, ... are written.
    target, method, link, batch_size
        As for `saliency`.
    dtype : {"float32", "float16"}
        Of the files. float16 takes half the space, holds about three digits, and flushes what is
        smaller than 6e-8 to 0; values above 65504 are an error.
    shard : tuple of int
        ``(worker, workers)``: this call explains shards ``worker``, ``worker + workers``, ... The
        machines of a group share the folder and each call with their own.
    progress : bool
        Show a progress bar.
    **options
        Options of the method. ``boxes``, ``scene`` and ``labels`` are set to those of each batch
        for methods that have them, unless given. What draws, draws the same for each shard.

    Returns
    -------
    MapShards

    Raises
    ------
    ValueError, TypeError
        If an argument is not one of the above, the folder holds other maps, or a shard of images
        is damaged.
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
    source, told = _source(batches)
    worker, workers = check_shard(shard)
    row = METHODS[check_choice("method", method, METHODS)]
    given = {
        "target": target,
        "method": method,
        "link": check_choice("link", link, LINKS),
        "batch_size": check_int("batch_size", batch_size, low=1),
        **options,
    }
    known = set(check_options(row, dict(options))) - set(options)
    about = {
        "format": FORMAT,
        "whitebox_loc": __version__,
        "model": model_digest(check_model(model)),
        "method": method,
        "function": digest(row.function),
        "options": describe(options),
        "target": _told(target),
        "link": link,
        "dtype": check_choice("dtype", dtype, DTYPES),
        "images": told,
        "shards": len(source),
    }
    claim(Path(folder) / "manifest.json", about)
    found = MapShards(Path(folder), about)
    left = [index for index in found.missing() if index % workers == worker]
    write = partial(_write, model, source, found, known, given)
    run_shards(write, left, len(range(worker, len(source), workers)), None, progress)
    return found


def read_maps(folder: str | os.PathLike[str]) -> MapShards:
    """Open a folder that `saliency_shards` made, also one that is not complete.

    Parameters
    ----------
    folder : path-like

    Returns
    -------
    MapShards
        A sequence of arrays. A file that is missing, damaged or misplaced raises an error with
        its name when it is read.

    Raises
    ------
    FileNotFoundError
        If the folder has no manifest.
    ValueError
        If the manifest is damaged or of another kind.

    Examples
    --------
    See `saliency_shards`.
    """
    path = Path(folder) / "manifest.json"
    about = read_manifest(path)
    try:
        if about["format"] != FORMAT:
            raise ValueError(f"its format is {about['format']!r}, not {FORMAT!r}")
        return MapShards(Path(folder), about)
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{str(path)!r} is no manifest of maps: {error}.") from error


def _write(
    model: keras.Model, source: Any, found: MapShards, known: set[str], given: Any, index: int
) -> None:
    batch = source[index]
    truth = {"boxes": batch.boxes, "scene": batch.scene, "labels": batch.labels}
    if "scene" in given:
        del truth["labels"]  # which are numbers of shapes in the batch's own scene
    truth = {name: value for name, value in truth.items() if name in known}
    images = check_brightness("images", batch.images)
    found.save(index, saliency(model, images, **truth, **given))


def _source(batches: Any) -> tuple[Any, Any]:
    """Return something to index, and what tells it from others."""
    if isinstance(batches, (str, os.PathLike)):
        batches = read_shards(batches)
    if isinstance(batches, Shards):
        return batches, batches.about
    if not isinstance(batches, Sequence) or not all(isinstance(b, Batch) for b in batches):
        raise TypeError(
            "`batches` must be what `write_shards` or `read_shards` returns, its folder, or a list "
            f"of Batch; got {type(batches).__name__}."
        )
    content = hashlib.sha256()
    for batch in batches:
        for array in (batch.images, batch.boxes, batch.labels):
            content.update(f"{array.shape}{array.dtype}".encode())
            content.update(np.ascontiguousarray(array).tobytes())
    return batches, content.hexdigest()


def _told(target: Any) -> Any:
    """Return what tells a target from others, as plain data."""
    if isinstance(target, (list, tuple)):
        return [_told(each) for each in target]
    return describe(as_target(target))
