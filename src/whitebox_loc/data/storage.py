"""Batches on disk: one .npz file, no pickles."""

from __future__ import annotations

import dataclasses
import json
import os

import numpy as np

from whitebox_loc._files import naming, replacing
from whitebox_loc._types import Array
from whitebox_loc._validation import check_path
from whitebox_loc.data.crowds import MultiBatch
from whitebox_loc.data.datasets import Batch
from whitebox_loc.data.render import DTYPES
from whitebox_loc.data.scenes import Scene

FORMAT = "whitebox_loc.batch"
VERSION = 1
ARRAYS = ("images", "boxes", "labels", "valid")

#: Fields that scenes did not have at first. A file without them holds a scene that has their
#: defaults.
LATER_FIELDS = {
    "region", "split", "inverted", "background_gradient", "background_texture", "occlusion",
}  # fmt: skip


def save(batch: Batch, path: str | os.PathLike[str]) -> None:
    """Write a batch to a file; the file appears whole or not at all.

    The `path` is by custom ``*.npz``; its folder is made if it is missing.

    Raises
    ------
    TypeError, ValueError
        If `batch` is not a Batch, or its arrays contradict each other.
    OSError
        If the file cannot be written.

    Examples
    --------
    >>> import tempfile
    >>> from whitebox_loc.data import generate
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save(generate("uniform", 4), f"{folder}/four.npz")
    ...     len(load(f"{folder}/four.npz"))
    4
    """
    value: object = batch
    if isinstance(value, MultiBatch):
        raise TypeError(
            "`batch`: a MultiBatch cannot be saved; keep the MultiScene and the seed, which make "
            "the same images again."
        )
    if not isinstance(value, Batch):
        raise TypeError(
            f"`batch` must be a Batch, as `generate` returns; got {type(value).__name__}."
        )
    _check_arrays(batch)
    with naming("path", check_path("path", path)):
        store(batch, path)


def store(batch: Batch, path: str | os.PathLike[str]) -> None:
    """Write a checked batch; errors of the disk are those of the system."""
    header = {"format": FORMAT, "version": VERSION, "scene": dataclasses.asdict(batch.scene)}
    arrays = {name: getattr(batch, name) for name in ARRAYS}
    # An open file, because savez would add a suffix to a bare path.
    with replacing(path) as temporary, open(temporary, "wb") as file:
        np.savez_compressed(file, header=np.array(json.dumps(header)), **arrays)


def load(path: str | os.PathLike[str]) -> Batch:
    """Read a batch that `save` wrote, bit for bit.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file is truncated, damaged, of another kind or a newer version, or its arrays
        contradict each other; the text names the file.
    """
    with naming("path", check_path("path", path)), open(path, "rb") as file:
        try:
            with np.load(file, allow_pickle=False) as archive:
                arrays = {name: archive[name] for name in archive.files}
        except Exception as error:
            # Damaged bytes make the zip and array readers raise a dozen
            # different types; all mean the same to the caller.
            raise ValueError(
                f"`path` {os.fspath(path)!r} is not a readable batch: it is truncated, damaged or "
                f"of another kind ({type(error).__name__}: {error}). Write it again with `save`."
            ) from error
    try:
        return _assemble(arrays)
    except (ValueError, TypeError) as error:
        raise ValueError(
            f"`path` {os.fspath(path)!r} is not a batch written by `save`: {error}"
        ) from error


def _assemble(arrays: dict[str, Array]) -> Batch:
    names = sorted(("header", *ARRAYS))
    if sorted(arrays) != names:
        raise ValueError(f"it must hold the arrays {names}; it holds {sorted(arrays)}.")
    header = json.loads(str(arrays["header"]))
    if not isinstance(header, dict) or header.get("format") != FORMAT:
        raise ValueError(f"its header does not say {FORMAT!r}.")
    if header.get("version") != VERSION:
        raise ValueError(
            f"its version is {header.get('version')!r} and this library reads {VERSION}."
        )
    batch = Batch(**{name: arrays[name] for name in ARRAYS}, scene=scene_from(header.get("scene")))
    _check_arrays(batch)
    return batch


def scene_from(fields: object) -> Scene:
    """Return the scene of a stored header."""
    names = {field.name for field in dataclasses.fields(Scene)}
    if not isinstance(fields, dict) or not names - LATER_FIELDS <= set(fields) <= names:
        raise ValueError(f"its scene must have the fields {sorted(names)}; got {fields!r}.")
    return Scene(**fields)  # which takes the lists that JSON makes of tuples


def _check_arrays(batch: Batch) -> None:
    n, (height, width) = np.size(batch.labels), batch.scene.size
    expected = {
        "images": ((n, height, width, batch.scene.channels), DTYPES),
        "boxes": ((n, 4), ("int64",)),
        "labels": ((n,), ("int64",)),
        "valid": ((n,), ("bool",)),
    }
    for name, (shape, dtypes) in expected.items():
        array = getattr(batch, name)
        if array.shape != shape or array.dtype.name not in dtypes:
            raise ValueError(
                f"`{name}` must have shape {shape} and dtype {' or '.join(dtypes)}; "
                f"got {array.shape} and {array.dtype}."
            )
    top, left, bottom, right = batch.boxes.T
    if not ((top >= 0) & (left >= 0) & (bottom <= height) & (right <= width)).all():
        raise ValueError(f"a box lies outside the image of {height} x {width} pixels.")
    if not np.array_equal(batch.valid, (bottom > top) & (right > left)):
        raise ValueError("`valid` contradicts `boxes`.")
    if n and not ((batch.labels >= 0) & (batch.labels < len(batch.scene.shapes))).all():
        raise ValueError(f"a label lies outside the scene's shapes {batch.scene.shapes}.")
    if batch.images.dtype == np.float32 and not ((batch.images >= 0) & (batch.images <= 1)).all():
        raise ValueError("float `images` lie outside 0..1.")
