import errno
import os

import numpy as np
import pytest

import whitebox_loc as wb
from whitebox_loc._files import put_first, replacing


def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "result.txt"
    path.write_text("old")

    def interrupted():
        with replacing(path) as part:
            part.write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_success_replaces_the_file_and_makes_folders(tmp_path):
    path = tmp_path / "new" / "result.txt"
    with replacing(path) as part:
        assert part.suffix == ".txt"
        part.write_text("whole")
        assert not path.exists()
    assert path.read_text() == "whole"
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize(
    ("number", "remedy"),
    [
        (errno.ENOSPC, "The disk is full: make room there, or name a path on another one."),
        (errno.EROFS, "Name a path on a disk that is not read-only."),
        (errno.EACCES, "Name a path that you may read and write."),
    ],
)
@pytest.mark.parametrize("call", ["open", "fsync", "replace"])
def test_errors_of_the_disk_name_the_path_and_the_remedy(
    call, number, remedy, tmp_path, monkeypatch
):
    """As the system reports them, wherever they come up; root may write to every folder."""

    def fails(*_):
        raise OSError(number, os.strerror(number))

    path = tmp_path / "batch.npz"
    monkeypatch.setattr(os, call, fails)
    with pytest.raises(OSError) as caught:  # noqa: PT011 - type and text are compared
        wb.data.save(wb.data.generate(wb.data.Scene(size=(4, 4)), 1), path)
    monkeypatch.undo()
    assert caught.value.errno == number
    assert type(caught.value) is type(OSError(number, ""))
    text = f"[Errno {number}] `path` {str(path)!r}: {os.strerror(number)}. {remedy}"
    assert str(caught.value) == text
    assert not list(tmp_path.iterdir())


def test_a_file_where_a_folder_belongs_and_the_reverse(tmp_path):
    batch = wb.data.generate(wb.data.Scene(size=(4, 4)), 1)
    file = tmp_path / "file"
    file.write_text("")
    with pytest.raises(FileExistsError, match=r"file/batch': .* A file stands where a folder"):
        wb.data.save(batch, file / "batch")
    with pytest.raises(FileExistsError, match=r"`folder` .* A file stands where a folder"):
        wb.data.write_shards("uniform", 1, file, progress=False)
    with pytest.raises(IsADirectoryError, match="There is a folder of that name: name a file"):
        wb.data.save(batch, tmp_path)
    with pytest.raises(IsADirectoryError, match="There is a folder of that name: name a file"):
        wb.data.load(tmp_path)
    with pytest.raises(FileNotFoundError, match="There is nothing of that name: name a file"):
        wb.data.load(tmp_path / "missing")
    assert list(tmp_path.iterdir()) == [file]


def test_a_name_that_is_too_long_is_an_error_before_the_work(tmp_path):
    with (
        pytest.raises(OSError, match="File name too long"),
        replacing(tmp_path / ("n" * 256)),
    ):
        pytest.fail("the work began")
    with pytest.raises(IsADirectoryError), replacing(tmp_path):
        pytest.fail("the work began")
    path = tmp_path / ("n" * 255)  # the longest, so that no letter can be added to it
    with replacing(path) as part:
        part.write_text("whole")
    assert path.read_text() == "whole"
    put_first(tmp_path / ("m" * 255), "whole")
    assert (tmp_path / ("m" * 255)).read_text() == "whole"


def test_names_in_other_bytes_than_utf_8(tmp_path):
    batch = wb.data.generate(wb.data.Scene(size=(4, 4)), 1)
    path = tmp_path / "caf\udce9"  # as Python writes the byte of Latin-1
    wb.data.save(batch, path)
    np.testing.assert_array_equal(wb.data.load(path).images, batch.images)
    with pytest.raises(ValueError, match=r"^`path` '.*\\ud800' has characters that no file name"):
        wb.data.save(batch, f"{tmp_path}/\ud800")
