"""A saved batch comes back bit for bit, or the file is refused with one clear error."""

from __future__ import annotations

import dataclasses
import io
import json
import pickle

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from whitebox_loc.data import Batch, MultiScene, Scene, generate, load, save

SCENE = Scene(
    size=(6, 7), channels=3, shapes=("ring", "cross"), foreground=(0.5, 1), aspect=(0.1, 9)
)


def assert_same(a: Batch, b: Batch) -> None:
    assert a.scene == b.scene
    for name in ("images", "boxes", "labels", "valid"):
        first, second = getattr(a, name), getattr(b, name)
        assert first.dtype == second.dtype
        assert first.shape == second.shape
        assert first.tobytes() == second.tobytes()


@pytest.mark.parametrize("dtype", ["float32", "uint8"])
@pytest.mark.parametrize("scene", [SCENE, "notebook", "shapes"])
@pytest.mark.parametrize("n", [0, 5])
def test_round_trip(tmp_path, scene, dtype, n):
    batch = generate(scene, n, seed=1, dtype=dtype)
    save(batch, tmp_path / "new" / "batch.npz")
    assert_same(load(tmp_path / "new" / "batch.npz"), batch)


def test_the_path_is_used_as_it_is_and_bytes_repeat(tmp_path):
    for name in ("a", "b"):
        save(generate(SCENE, 3), tmp_path / name)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a", "b"]
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    path = tmp_path_factory.mktemp("saved") / "batch.npz"
    batch = generate(SCENE, 3, seed=0)
    save(batch, path)
    return batch, path.read_bytes(), path.with_name("damaged.npz")


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(data=st.data())
def test_a_truncated_file_is_refused(saved, data):
    _, content, path = saved
    path.write_bytes(content[: data.draw(st.integers(0, len(content) - 1))])
    with pytest.raises(ValueError, match=r"damaged\.npz' is not a readable batch: it is truncated"):
        load(path)


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None, max_examples=300)
@given(data=st.data())
def test_a_damaged_byte_is_refused_or_does_not_matter(saved, data):
    batch, content, path = saved
    damaged = bytearray(content)
    damaged[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(1, 255))
    path.write_bytes(damaged)
    try:
        loaded = load(path)
    except ValueError as error:
        text = str(error)
    else:
        assert_same(loaded, batch)
        return
    assert "damaged.npz' is not a" in text


def npy(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"not a batch",
        npy(np.arange(3)),
        pickle.dumps({"images": 1}),
        b"PK\x03\x04" + b"x" * 99,
    ],
)
def test_a_foreign_file_is_refused(tmp_path, content):
    path = tmp_path / "foreign.npz"
    path.write_bytes(content)
    with pytest.raises(
        ValueError, match=r"^`path` '.*foreign\.npz' is not a readable batch: .* `save`\.$"
    ):
        load(path)


def header(**changes) -> np.ndarray:
    fields = {"format": "whitebox_loc.batch", "version": 1, "scene": dataclasses.asdict(SCENE)}
    return np.array(json.dumps(fields | changes))


def scene_with(**changes) -> dict:
    return dataclasses.asdict(SCENE) | changes


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"header": header(format="other")}, "its header does not say 'whitebox_loc.batch'."),
        ({"header": np.array("[]")}, "its header does not say 'whitebox_loc.batch'."),
        ({"header": np.array("{")}, "Expecting property name"),
        ({"header": header(version=2)}, "its version is 2 and this library reads 1."),
        ({"header": header(scene={})}, "its scene must have the fields"),
        ({"header": header(scene=scene_with(noise=-1))}, "`noise` must be a finite number >= 0"),
        (
            {"header": header(scene=scene_with(size=[6, 8]))},
            "`images` must have shape (3, 6, 8, 3)",
        ),
        ({"images": np.zeros((3, 6, 7, 3))}, "got (3, 6, 7, 3) and float64."),
        ({"images": np.full((3, 6, 7, 3), 2, np.float32)}, "float `images` lie outside 0..1."),
        ({"images": np.full((3, 6, 7, 3), np.nan, np.float32)}, "float `images` lie outside 0..1."),
        ({"boxes": np.full((3, 4), 9)}, "a box lies outside the image of 6 x 7 pixels."),
        ({"valid": np.zeros(3, bool)}, "`valid` contradicts `boxes`."),
        ({"labels": np.full(3, 2)}, "a label lies outside the scene's shapes ('ring', 'cross')."),
        ({"labels": np.zeros((), np.int64)}, "`images` must have shape (1, 6, 7, 3)"),
        ({"extra": np.zeros(1)}, "it must hold the arrays ['boxes', 'header', 'images',"),
    ],
)
def test_a_file_that_contradicts_itself_is_refused(tmp_path, changes, text):
    batch = generate(SCENE, 3, seed=0)
    arrays = {name: getattr(batch, name) for name in ("images", "boxes", "labels", "valid")}
    path = tmp_path / "odd.npz"
    np.savez(path, **({"header": header()} | arrays | changes))
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the text is compared
        load(path)
    assert str(caught.value).startswith(f"`path` {str(path)!r} is not a batch written by `save`: ")
    assert text in str(caught.value)


def test_a_file_from_before_scenes_had_backgrounds_is_read(tmp_path):
    batch = generate(SCENE, 3, seed=0)
    fields = dataclasses.asdict(SCENE)
    for name in ("region", "split", "inverted", "background_gradient", "background_texture"):
        del fields[name]
    del fields["occlusion"]
    arrays = {name: getattr(batch, name) for name in ("images", "boxes", "labels", "valid")}
    np.savez(tmp_path / "old.npz", header=header(scene=fields), **arrays)
    assert_same(load(tmp_path / "old.npz"), batch)


def test_a_scene_with_ranges_and_a_split_is_read_back(tmp_path):
    scene = Scene(size=(6, 7), noise=(0.0, 0.1), distractors=(0, 2), split=("test", 0.5, 3))
    batch = generate(scene, 3, seed=0)
    save(batch, tmp_path / "new.npz")
    loaded = load(tmp_path / "new.npz")
    assert_same(loaded, batch)
    assert loaded.scene == scene


def test_a_missing_file_and_a_wrong_batch(tmp_path):
    with pytest.raises(FileNotFoundError):
        load(tmp_path / "none.npz")
    multi = generate(MultiScene(Scene(size=(20, 20)), boxes=2), 1)
    with pytest.raises(TypeError, match="a MultiBatch cannot be saved; keep the MultiScene and"):
        save(multi, tmp_path / "x.npz")
    with pytest.raises(TypeError, match=r"^`batch` must be a Batch, as `generate` returns; got"):
        save({}, tmp_path / "x.npz")
    batch = generate(SCENE, 3, seed=0)
    with pytest.raises(ValueError, match=r"^`valid` contradicts `boxes`"):
        save(dataclasses.replace(batch, valid=~batch.valid), tmp_path / "x.npz")
    assert not list(tmp_path.iterdir())


def test_pickles_are_refused(tmp_path):
    path = tmp_path / "pickle.npz"
    np.savez(path, header=np.array([{"a": 1}], dtype=object))
    with pytest.raises(ValueError, match=r"not a readable batch: .*allow_pickle=False"):
        load(path)
