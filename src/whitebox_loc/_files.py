"""Files appear whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

FORMULA = re.compile(r"'*[=+\-@\t\r]")
"""How text begins that a spreadsheet takes for a formula, behind apostrophes or without."""


def csv_cell(value: Any) -> Any:
    """Return what stands for `value` in a CSV file: no text of ours is run as a formula.

    Text like a `FORMULA` gets one apostrophe more, which a reader takes away to get it back.
    """
    return f"'{value}" if isinstance(value, str) and FORMULA.match(value) else value


@contextlib.contextmanager
def naming(name: str, path: str | os.PathLike[str]) -> Iterator[None]:
    """Let errors of the disk name the argument, the path and the remedy."""
    try:
        os.fsencode(path)
    except UnicodeEncodeError as error:
        raise ValueError(
            f"`{name}` {os.fspath(path)!a} has characters that no file name can have here "
            f"({error.reason}). Name another path."
        ) from error
    try:
        yield
    except OSError as error:
        if f"`{name}`" in str(error):  # an inner block named it
            raise
        remedy = REMEDIES.get(error.errno or 0, "Name another path")
        text = f"`{name}` {os.fspath(path)!r}: {error.strerror or error}. {remedy}."
        raise (OSError(text) if error.errno is None else OSError(error.errno, text)) from error


REMEDIES = {
    errno.ENOENT: "There is nothing of that name: name a file that exists",
    errno.ENOSPC: "The disk is full: make room there, or name a path on another one",
    errno.EDQUOT: "The disk is full: make room there, or name a path on another one",
    errno.EACCES: "Name a path that you may read and write",
    errno.EPERM: "Name a path that you may read and write",
    errno.EROFS: "Name a path on a disk that is not read-only",
    errno.EISDIR: "There is a folder of that name: name a file",
    errno.ENOTDIR: "A file stands where a folder belongs: move it, or name another path",
    errno.EEXIST: "A file stands where a folder belongs: move it, or name another path",
    errno.ENAMETOOLONG: "Take a shorter name",
}
"""What to do about an error of the disk, by its number."""


def make_folder(name: str, path: Path) -> Path:
    """Return `path` after making it and the folders above it, where they are missing."""
    with naming(name, path):
        path.mkdir(parents=True, exist_ok=True)
    return path


@contextlib.contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path beside `path`; rename it to `path` if the block succeeds.

    After an error (Ctrl-C included) the temporary file is removed and an older file at `path`
    is untouched.
    """
    target, temporary = _beside(path)
    # Both would be errors of the rename, after the work.
    with contextlib.suppress(FileNotFoundError):
        target.lstat()
    if target.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), os.fspath(target))
    # Created here, so that a folder that cannot be written to is an error before the work.
    os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
    try:
        yield temporary
        with open(temporary, "rb+") as written:
            os.fsync(written.fileno())
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)


def put_first(path: str | os.PathLike[str], text: str) -> None:
    """Write a text file unless there is one by that name: of several calls at once, one does."""
    target, temporary = _beside(path)
    try:
        _write_new(temporary, text)
        with contextlib.suppress(FileExistsError):
            try:
                os.link(temporary, target)  # Which, unlike a rename, replaces nothing.
            except FileExistsError:
                raise
            except OSError:
                # A file system without links. One call still wins, but another may for a
                # moment see a part of the text, and raise the error of a damaged file.
                _write_new(target, text)
    finally:
        temporary.unlink(missing_ok=True)


def _beside(path: str | os.PathLike[str]) -> tuple[Path, Path]:
    """Return a path, its folder made, and a new one there, not longer than names may be."""
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    # With the same suffix, by which Keras and matplotlib choose their file format.
    return target, target.with_name(f".{target.stem[:40]}-{secrets.token_hex(6)}{target.suffix}")


def printable(path: str | os.PathLike[str]) -> str:
    r"""Return a path as text that can be written in UTF-8: other bytes are escaped.

    >>> printable("caf\udce9")
    'caf\\udce9'
    """
    return os.fspath(path).encode("utf-8", "backslashreplace").decode("utf-8")


def _write_new(path: Path, text: str) -> None:
    with open(path, "x", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
