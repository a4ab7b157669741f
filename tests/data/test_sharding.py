import contextlib
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
import tracemalloc
from concurrent.futures import BrokenExecutor, Future, ProcessPoolExecutor
from pathlib import Path

import numpy as np
import pytest

import whitebox_loc as wb
from whitebox_loc.data import Scene, batch_at, read_shards, sharding, write_shards

SCENE = Scene(size=(12, 10), shapes=("rectangle", "ellipse"), noise=0.1)


def write(folder, **options):
    settings = {"scene": SCENE, "n": 22, "seed": 3, "shard_size": 4, "progress": False}
    return write_shards(folder=folder, **{**settings, **options})


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.glob("[!.]*")}


def test_shards_hold_the_batches_of_the_sequence(tmp_path):
    shards = write(tmp_path, dtype="float32")
    assert (len(shards), shards.n) == (6, 22)
    for index, batch in enumerate(shards):
        # The last is the first images of a whole batch.
        wanted = batch_at(SCENE, index, batch_size=4, seed=3)
        count = 2 if index == 5 else 4
        for name in ("images", "boxes", "labels", "valid"):
            expected = getattr(wanted, name)[:count]
            np.testing.assert_array_equal(getattr(batch, name), expected, strict=True)
    np.testing.assert_array_equal(shards[-1].images, shards[5].images)
    with pytest.raises(IndexError, match=r"^`index` must lie in -6 \.\. 5; got 6\.$"):
        shards[6]


def test_a_reader_knows_what_the_writer_knew(tmp_path):
    made = write(tmp_path, scene="notebook", dtype="uint8", valid_only=False, n=200, shard_size=99)
    found = read_shards(tmp_path)
    assert vars(found) == {**vars(made), "about": found.about}
    assert (found.scene, found.dtype) == (wb.data.SCENES["notebook"], "uint8")
    valid = np.concatenate([batch.valid for batch in found])
    assert not valid.all()  # one in twenty is empty
    np.testing.assert_array_equal(found[1].images, made[1].images)


@pytest.mark.parametrize("kind", ["pool", "machines", "backwards"])
def test_who_makes_a_shard_does_not_matter(tmp_path, kind):
    write(tmp_path / "alone")
    folder = tmp_path / kind
    if kind == "machines":
        for worker in (2, 0, 1):
            write(folder, shard=(worker, 3))
            made = {int(p.stem[-6:]) % 3 for p in folder.glob("shard-*")}
            assert worker in made
    elif kind == "pool":
        spawn = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(2, mp_context=spawn) as executor:
            write(folder, executor=executor)
    else:
        write(folder, executor=Backwards())
    assert contents(folder) == contents(tmp_path / "alone")


class Backwards:
    """An executor that works a moment after it was asked, on the last call first."""

    def __init__(self):
        self.calls, self.most = [], 0

    def submit(self, function, *arguments):
        future = Future()
        self.calls.append((future, function, arguments))
        self.most = max(self.most, len(self.calls))
        threading.Timer(0.01, self.work).start()
        return future

    def work(self):
        future, function, arguments = self.calls.pop()
        future.set_result(function(*arguments))


def test_a_killed_call_goes_on_to_the_same_bytes(tmp_path):
    settings = {"n": 2000, "shard_size": 10}
    folder = tmp_path / "killed"
    code = (
        "from whitebox_loc.data import Scene, write_shards\n"
        f"write_shards({SCENE!r}, 2000, {str(folder)!r}, seed=3, shard_size=10, progress=False)"
    )
    process = subprocess.Popen([sys.executable, "-c", code])
    try:
        end = time.monotonic() + 120
        while len(list(folder.glob("shard-*"))) < 5:
            assert process.poll() is None
            assert time.monotonic() < end
            time.sleep(0.01)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    kept = {path: path.stat().st_mtime_ns for path in folder.glob("shard-*")}
    assert 5 <= len(kept) < 200
    assert sorted(read_shards(folder).missing())[0] == len(kept)
    write(folder, **settings)
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    write(tmp_path / "whole", **settings)
    assert contents(folder) == contents(tmp_path / "whole")


def test_ctrl_c_keeps_what_is_finished(tmp_path, monkeypatch):
    store = sharding.store

    def interrupted(batch, path):
        if "3" in path.name:
            raise KeyboardInterrupt
        store(batch, path)

    monkeypatch.setattr(sharding, "store", interrupted)
    with pytest.raises(KeyboardInterrupt) as caught:
        write(tmp_path / "cut")
    assert "3 of 6 shards are finished" in caught.value.__notes__[0]
    monkeypatch.undo()
    assert read_shards(tmp_path / "cut").missing() == [3, 4, 5]
    write(tmp_path / "cut")
    write(tmp_path / "whole")
    assert contents(tmp_path / "cut") == contents(tmp_path / "whole")


def test_says_that_a_worker_died(tmp_path):
    class Broken:
        def submit(self, *_):
            raise BrokenExecutor("gone")

    with pytest.raises(RuntimeError, match=r"worker of the `executor` died. 0 of 6"):
        write(tmp_path, executor=Broken())
    with pytest.raises(TypeError, match="`executor` must be"):
        write(tmp_path, executor=3)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("scene", "thin"), ("n", 23), ("seed", 4), ("shard_size", 5), ("dtype", "float32"),
        ("valid_only", False),
    ],
)  # fmt: skip
def test_a_folder_holds_one_set(tmp_path, name, value):
    write(tmp_path)
    before = contents(tmp_path)
    with pytest.raises(ValueError, match=f"holds something else: its {name} is"):
        write(tmp_path, **{name: value})
    assert contents(tmp_path) == before


def test_a_shard_cut_short_is_made_again(tmp_path):
    shards = write(tmp_path)
    before = contents(tmp_path)
    path = shards.path(2)
    path.write_bytes(path.read_bytes()[:-30])
    shards.path(4).unlink()
    assert shards.missing() == [2, 4]
    with pytest.raises(ValueError, match=r"Shard 2 of 6 cannot be read.*shard-000002.npz"):
        list(shards)
    with pytest.raises(FileNotFoundError, match=r"Shard 4 of 6 is missing"):
        shards[4]
    write(tmp_path)
    assert contents(tmp_path) == before


def test_damaged_and_misplaced_shards_are_named(tmp_path):
    shards = write(tmp_path)
    damaged = bytearray(shards.path(1).read_bytes())
    damaged[len(damaged) // 2] ^= 255
    shards.path(1).write_bytes(damaged)
    with pytest.raises(ValueError, match=r"shard-000001.npz.*Delete it"):
        shards[1]
    os.replace(shards.path(2), shards.path(3))
    with pytest.raises(ValueError, match=r"shard-000003.npz' does not hold shard 3"):
        shards[3]


def test_a_shard_of_another_dtype_is_named(tmp_path):
    shards, other = write(tmp_path / "bytes"), write(tmp_path / "floats", dtype="float32")
    shards.path(1).write_bytes(other.path(1).read_bytes())
    with pytest.raises(ValueError, match=r"shard-000001.npz' does not hold shard 1"):
        shards[1]


@pytest.mark.parametrize("links", [True, False])
def test_of_calls_at_once_with_other_arguments_one_wins(tmp_path, monkeypatch, links):
    # Every call has looked for a manifest, and found none, before any writes one.
    seeds, exists = range(4), Path.exists
    together = threading.Barrier(len(seeds))

    def seen_at_once(path, **options):
        found = exists(path, **options)
        if path.name == "manifest.json":
            together.wait(60)
        return found

    def refused(*_):
        raise PermissionError("no links here")

    monkeypatch.setattr(Path, "exists", seen_at_once)
    if not links:
        monkeypatch.setattr(os, "link", refused)
    for attempt in range(5):
        folder, won = tmp_path / str(attempt), []

        def call(seed, folder=folder, won=won):
            with contextlib.suppress(ValueError):
                won.append(write(folder, n=4, seed=seed))

        threads = [threading.Thread(target=call, args=(seed,)) for seed in seeds]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(won) == 1
        assert read_shards(folder).seed == won[0].seed
        np.testing.assert_array_equal(won[0][0].images, won[0].make(0).images)
        assert {path.name for path in folder.iterdir()} == {"manifest.json", "shard-000000.npz"}


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format": "other"}', '{"format": 1'])
def test_a_damaged_manifest_is_named(tmp_path, text):
    (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(ValueError, match=r"manifest.json"):
        read_shards(tmp_path)
    with pytest.raises(FileNotFoundError, match="holds no shards"):
        read_shards(tmp_path / "none")


@pytest.mark.parametrize(
    ("name", "value"),
    [("n", 0), ("seed", -1), ("shard_size", 0), ("shard_size", "4"), ("dtype", "int8")],
)
def test_a_manifest_of_impossible_shards_is_named(tmp_path, name, value):
    about = write(tmp_path).about
    (tmp_path / "manifest.json").write_text(json.dumps({**about, name: value}))
    with pytest.raises(ValueError, match=f"manifest.json' is no manifest of shards: `{name}` must"):
        read_shards(tmp_path)


def test_a_folder_named_like_a_shard_is_named(tmp_path):
    shards = write(tmp_path)
    shards.path(1).unlink()
    shards.path(1).mkdir()
    for call in (shards.missing, lambda: shards[1], lambda: write(tmp_path)):
        with pytest.raises(ValueError, match=r"shard-000001.npz' is a folder.*Move it elsewhere"):
            call()


@pytest.mark.parametrize(
    ("name", "value"),
    [("n", 0), ("seed", -1), ("shard_size", 0), ("dtype", "int8"), ("shard", (2, 2))],
)
def test_arguments_are_checked_before_anything_is_written(tmp_path, name, value):
    with pytest.raises(ValueError, match=name):
        write(tmp_path, **{name: value})
    assert not list(tmp_path.iterdir())


def test_one_shard_is_held_at_a_time(tmp_path):
    scene, size = Scene(size=(64, 64)), 64 * 64 * 100
    write_shards(scene, 100, tmp_path / "warm", shard_size=100, progress=False)
    tracemalloc.start()
    try:
        shards = write_shards(scene, 2000, tmp_path, shard_size=100, progress=False)
        for batch in shards:
            assert len(batch) == 100
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    # Read: the batch before is still held by the loop, the file's bytes and their array; half a
    # megabyte for boxes, labels and the machinery. All 20 shards would be 8 MB.
    assert peak < 3 * size + 2**19


def test_calls_ahead_of_an_executor_are_few(tmp_path):
    executor = Backwards()
    write(tmp_path, n=200, shard_size=1, executor=executor)
    assert 1 < executor.most <= sharding.AHEAD


def test_wrong_arguments_and_shards_that_are_not_there(tmp_path):
    shards = write(tmp_path / "made")
    for call in (shards.images_in, shards.path, shards.make):
        for index in (-1, len(shards)):
            with pytest.raises(
                ValueError,
                match=rf"^`index` must be a whole number between 0 and 5; got {index}\.$",
            ):
                call(index)
    with pytest.raises(
        ValueError, match="`n` 2000000 in files of `shard_size` 1 images makes 2,00"
    ):
        write_shards(SCENE, 2 * 10**6, tmp_path / "many", shard_size=1, progress=False)
    for wrong in (None, 3, b"x"):
        with pytest.raises(
            TypeError, match=r"^`folder` must be a path, as str or pathlib\.Path; got"
        ):
            read_shards(wrong)
    assert not (tmp_path / "many").exists()
