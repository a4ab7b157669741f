"""Images of a scene on disk, as many as fit there: a folder of shards, made in any order."""

from __future__ import annotations

import dataclasses
import json
import os
import zipfile
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, CancelledError, Executor, Future
from concurrent.futures import wait as wait_for
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from tqdm.auto import tqdm

from whitebox_loc._files import naming, put_first
from whitebox_loc._types import Array
from whitebox_loc._validation import check_bool, check_choice, check_executor, check_int, check_path
from whitebox_loc._version import __version__
from whitebox_loc.data.datasets import Batch, batch_at, check_images, check_shard
from whitebox_loc.data.render import DTYPES
from whitebox_loc.data.sampling import Streams, draw_boxes
from whitebox_loc.data.scenes import Scene, as_scene
from whitebox_loc.data.storage import load, scene_from, store

T = TypeVar("T")

FORMAT = "whitebox_loc shards 1"

#: So many have different names of six digits.
MOST_FILES = 10**6

#: Shards handed to an executor for each that is being made. More would only fill its queue.
AHEAD = 64


class Shards:
    """Batches in a folder, read when they are asked for: ``shards[i]``, or in a loop.

    Attributes
    ----------
    folder : Path
    scene : Scene
    n : int
        Images in all shards together.
    seed, shard_size, dtype, valid_only
        As given to `write_shards`.
    about : dict
        What the manifest says: everything that decides the images.
    """

    def __init__(self, folder: Path, about: dict[str, Any]) -> None:
        self.folder, self.about = folder, about
        self.scene = scene_from(about["scene"])
        self.n = check_int("n", about["n"], low=1)
        self.seed = check_int("seed", about["seed"], low=0)
        self.shard_size = check_int("shard_size", about["shard_size"], low=1)
        self.dtype = check_choice("dtype", about["dtype"], DTYPES)
        self.valid_only = bool(about["valid_only"])

    def __len__(self) -> int:
        return -(-self.n // self.shard_size)

    def images_in(self, index: int) -> int:
        """Return the number of images in shard `index`: only the last may hold fewer."""
        index = check_int("index", index, low=0, high=len(self) - 1)
        return min(self.shard_size, self.n - index * self.shard_size)

    def path(self, index: int) -> Path:
        """Return the file of shard `index`."""
        index = check_int("index", index, low=0, high=len(self) - 1)
        return self.folder / f"shard-{index:06}.npz"

    def missing(self) -> list[int]:
        """Return the numbers of the shards that are not there, or cut short."""
        return [i for i in range(len(self)) if not is_whole(self.path(i))]

    def make(self, index: int) -> Batch:
        """Draw shard `index` anew, without looking at its file."""
        return batch_at(
            self.scene, index, batch_size=self.images_in(index), seed=self.seed, dtype=self.dtype,
            valid_only=self.valid_only,
        )  # fmt: skip

    def __getitem__(self, index: int) -> Batch:
        index, n = check_int("index", index), len(self)
        if not -n <= index < n:
            # The error by which Python's sequences end.
            raise IndexError(f"`index` must lie in {-n} .. {n - 1}; got {index}.")
        return self._read(index % n)

    def __iter__(self) -> Iterator[Batch]:
        return (self._read(index) for index in range(len(self)))

    def _read(self, index: int) -> Batch:
        path, advice = self.path(index), "Delete it and call `write_shards` again as before."
        refuse_folder(path)
        try:
            batch = load(path)
        except FileNotFoundError:
            raise FileNotFoundError(
                f"Shard {index} of {len(self)} is missing: there is no {str(path)!r}. Call "
                "`write_shards` again as before; it makes what is missing."
            ) from None
        except ValueError as error:
            text = f"Shard {index} of {len(self)} cannot be read: {error} {advice}"
            raise ValueError(text) from error
        same = batch.scene == self.scene and batch.images.dtype == self.dtype
        if not same or not np.array_equal(batch.boxes, self._boxes(index)):
            raise ValueError(f"{str(path)!r} does not hold shard {index} of this folder. {advice}")
        return batch

    def _boxes(self, index: int) -> Array:
        """Return what `make` would give as boxes, at little cost."""
        streams = Streams(np.random.SeedSequence(self.seed, spawn_key=(index,)))
        return draw_boxes(self.scene, self.images_in(index), streams, valid_only=self.valid_only)

    def __repr__(self) -> str:
        return f"Shards({self.n} images in {len(self)} files, folder={str(self.folder)!r})"


def write_shards(
    scene: Scene | str,
    n: int,
    folder: str | os.PathLike[str],
    *,
    seed: int = 0,
    shard_size: int = 4096,
    dtype: str = "uint8",
    valid_only: bool = True,
    shard: tuple[int, int] = (0, 1),
    executor: Executor | None = None,
    progress: bool = True,
) -> Shards:
    """Draw `n` images of a scene into files of `shard_size` images each.

    Shard i is ``batch_at(scene, i, batch_size=shard_size, seed=seed)``: it depends on the
    arguments, shard size included, and on i alone, so that shards can be made in any order, by any
    number of processes and machines. A call that was stopped, also by a kill, is repeated to go on:
    it makes what is missing, and the files are the same bytes.

    Parameters
    ----------
    scene, seed, valid_only
        As in `batch_at`.
    n : int
        Number of images, at least 1.
    folder : path-like
        Where ``manifest.json`` and ``shard-000000.npz``, ... are written.
    shard_size : int
        Images in a file, of which a process holds one: 4096 images of 100x100 uint8 take 41 MB.
    dtype : {"float32", "uint8"}
        As in `generate`.
    shard : tuple of int
        ``(worker, workers)``: this call makes shards ``worker``, ``worker + workers``, ... of a
        folder that the machines of a group share.
    executor : concurrent.futures.Executor, optional
        Makes several shards at a time: a process pool, ``client.get_executor()`` of Dask, or any
        other whose workers see the folder. None works in this process. It is not shut down.
    progress : bool
        Show a progress bar.

    Raises
    ------
    ValueError, TypeError
        If an argument is out of range, or the folder holds other shards.
    RuntimeError, KeyboardInterrupt
        If a worker of the executor was killed, or after Ctrl-C. What was finished is kept.
    OSError
        If a file cannot be written.

    Examples
    --------
    >>> import tempfile
    >>> from whitebox_loc.data import Scene
    >>> folder = tempfile.mkdtemp()
    >>> shards = write_shards(Scene(size=(8, 8)), 10, folder, shard_size=4, progress=False)
    >>> len(shards), [len(batch) for batch in shards], shards[1].images.dtype.name
    (3, [4, 4, 2], 'uint8')
    """
    check_executor(executor)
    check_bool("progress", progress)
    about = {
        "format": FORMAT,
        "whitebox_loc": __version__,
        "scene": dataclasses.asdict(as_scene(scene)),
        "n": check_int("n", n, low=1),
        "seed": check_int("seed", seed, low=0),
        "shard_size": check_int("shard_size", shard_size, low=1),
        "dtype": check_choice("dtype", dtype, DTYPES),
        "valid_only": check_bool("valid_only", valid_only),
    }
    worker, workers = check_shard(shard)
    shards = Shards(check_path("folder", folder), about)
    if len(shards) > MOST_FILES:
        raise ValueError(
            f"`n` {n} in files of `shard_size` {shard_size} images makes {len(shards):,} files; at "
            f"most {MOST_FILES:,} are possible. Take a larger `shard_size`."
        )
    check_images("shard_size", min(n, shard_size), shards.scene)
    claim(shards.folder / "manifest.json", about)
    left = [index for index in shards.missing() if index % workers == worker]
    whole = len(range(worker, len(shards), workers))
    run_shards(partial(_write, shards), left, whole, executor, progress)
    return shards


def read_shards(folder: str | os.PathLike[str]) -> Shards:
    """Open a folder that `write_shards` made, also one that is not complete.

    It is a sequence of `Batch`. A shard that is missing, damaged or misplaced raises an error with
    its name when it is read.

    Raises
    ------
    FileNotFoundError, ValueError
        If the folder has no manifest, or it is damaged or of another kind.

    Examples
    --------
    >>> import tempfile
    >>> folder = tempfile.mkdtemp()
    >>> shards = write_shards("thin", 3, folder, shard_size=2, progress=False)
    >>> read_shards(folder).n
    3
    """
    return opened(folder, FORMAT, "shards", Shards)


def _write(shards: Shards, index: int) -> None:
    with naming("folder", shards.folder):
        store(shards.make(index), shards.path(index))


def claim(path: Path, about: dict[str, Any]) -> dict[str, Any]:
    """Write a manifest, or raise a ValueError if there is one that says something else.

    Returns what the manifest says, which may write the same numbers in another way.
    """
    with naming("folder", path.parent):
        if not path.exists():
            put_first(path, json.dumps(about, indent=1) + "\n")
    # Also after writing: another process may have been a moment earlier.
    present = read_manifest(path)
    if difference := first_difference(about, present):
        raise ValueError(
            f"`folder` {str(path.parent)!r} holds something else: {difference}. Name another "
            "folder, or delete this one."
        )
    return present


def first_difference(own: dict[str, Any], stored: dict[str, Any]) -> str:
    """Return in words which of the settings is not as it was stored, or an empty string."""
    own = json.loads(json.dumps(own))  # because tuples come back from a file as lists
    keys = [key for key in own if own[key] != stored.get(key)]
    return f"its {keys[0]} is {stored.get(keys[0])!r}, yours is {own[keys[0]]!r}" if keys else ""


def is_whole(path: Path) -> bool:
    """Return whether a shard is there and not cut short."""
    refuse_folder(path)
    return zipfile.is_zipfile(path)


def refuse_folder(path: Path) -> None:
    """Raise a ValueError if a folder has the name of a shard."""
    if path.is_dir():
        raise ValueError(
            f"{str(path)!r} is a folder, but has the name of a file of its `folder`. Move it "
            "elsewhere, and call again as before."
        )


def opened(
    folder: str | os.PathLike[str], kind: str, name: str, make: Callable[[Path, dict[str, Any]], T]
) -> T:
    """Return what `make` makes of a folder and its manifest, which must be of a kind."""
    path = check_path("folder", folder) / "manifest.json"
    with naming("folder", folder):
        about = read_manifest(path)
    try:
        if about["format"] != kind:
            raise ValueError(f"its format is {about['format']!r}, not {kind!r}")
        return make(Path(folder), about)
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"`folder`: {str(path)!r} is no manifest of {name}: {error}.") from error


def read_manifest(path: Path) -> dict[str, Any]:
    """Return what a manifest says."""
    try:
        about = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise FileNotFoundError(
            f"There is no {str(path)!r}: `folder` holds no shards. Make them first."
        ) from None
    except ValueError as error:
        raise ValueError(f"`folder`: {str(path)!r} is damaged ({error}).") from error
    if not isinstance(about, dict):
        raise ValueError(f"`folder`: {str(path)!r} is no manifest.")
    return about


def run_shards(
    function: Callable[[int], Any],
    left: list[int],
    whole: int,
    executor: Executor | None,
    progress: bool,
) -> None:
    """Call a function for each shard that is left of the `whole`, here or by an executor."""
    ready = whole - len(left)
    with tqdm(total=whole, initial=ready, unit="shard", disable=not progress) as bar:
        try:
            for _ in map(function, left) if executor is None else _by(executor, function, left):
                ready += 1
                bar.update()
        except (KeyboardInterrupt, BrokenExecutor, CancelledError) as stop:
            text = f"{ready} of {whole} shards are finished. Call again as before to go on."
            if isinstance(stop, KeyboardInterrupt):
                stop.add_note(text)
                raise
            raise RuntimeError(
                f"A worker of the `executor` died. {text} If it happens again: did the workers run "
                "out of memory (take a smaller `shard_size`)?"
            ) from stop


def _by(executor: Executor, function: Callable[[int], Any], left: list[int]) -> Iterator[Any]:
    """Yield what the function returns, in any order, with a bounded number of calls under way."""
    rest: Iterable[int] = iter(left)
    running: set[Future[Any]] = set()
    try:
        while True:
            ahead = islice(rest, AHEAD - len(running))
            running |= {executor.submit(function, index) for index in ahead}
            if not running:
                return
            ended, running = wait_for(running, return_when=FIRST_COMPLETED)
            for future in ended:
                yield future.result()
    finally:
        for future in running:
            future.cancel()
