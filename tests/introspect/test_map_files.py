import json

import numpy as np
import pytest

import whitebox_loc as wb
from whitebox_loc.introspect import read_maps, saliency, saliency_shards
from whitebox_loc.introspect.attribution import map_files

SCENE = wb.data.Scene(size=(8, 10))


@pytest.fixture(scope="module")
def model():
    return wb.models.localizer(size=(8, 10), filters=(2,), seed=1)


@pytest.fixture
def shards(tmp_path):
    folder = tmp_path / "images"
    return wb.data.write_shards(SCENE, 7, folder, shard_size=3, progress=False)


def explain(model, shards, folder, *args, **options):
    return saliency_shards(model, shards, folder, *args, **{"progress": False, **options})


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.glob("[!.]*")}


@pytest.mark.parametrize(
    ("target", "method", "options"),
    [
        ("bottom", "gradient", {"link": "logit"}),
        (["top", "area"], "integrated_gradients", {"steps": 3}),
        (0, "smoothgrad", {"samples": 2, "noise": 0.3, "seed": 5}),
        (lambda outputs: outputs[:, 0] - outputs[:, 2], "gradient", {}),
    ],
)
def test_maps_are_those_of_saliency(model, shards, tmp_path, target, method, options):
    found = explain(model, shards, tmp_path / "maps", target, method, **options)
    assert len(found) == 3
    for batch, maps in zip(shards, found, strict=True):
        images = batch.images.astype("float32") / 255
        expected = saliency(model, images, target, method, **options)
        np.testing.assert_array_equal(maps, expected, strict=True)


def test_methods_get_the_truth_about_their_images(model, shards, tmp_path):
    found = explain(model, shards, tmp_path / "maps", "top", "edge_move")
    batch = shards[1]
    images = batch.images.astype("float32") / 255
    expected = saliency(model, images, "top", "edge_move", boxes=batch.boxes, scene=SCENE)
    np.testing.assert_array_equal(found[1], expected)


@pytest.mark.parametrize("kind", ["folder", "batches"])
def test_images_come_from_a_folder_or_from_memory(model, shards, tmp_path, kind):
    given = shards.folder if kind == "folder" else list(shards)
    found = explain(model, given, tmp_path / "maps")
    for maps, wanted in zip(found, explain(model, shards, tmp_path / "other"), strict=True):
        np.testing.assert_array_equal(maps, wanted)
    with pytest.raises(TypeError, match="`batches` must be"):
        explain(model, [batch.images for batch in shards], tmp_path / "maps")


def test_machines_share_the_shards(model, shards, tmp_path):
    part = explain(model, shards, tmp_path / "maps", shard=(1, 2))
    assert part.missing() == [0, 2]
    with pytest.raises(FileNotFoundError, match=r"shard 0 of 3.*missing"):
        list(part)
    explain(model, shards, tmp_path / "maps", shard=(0, 2))
    explain(model, shards, tmp_path / "whole")
    assert contents(tmp_path / "maps") == contents(tmp_path / "whole")


def test_half_precision_rounds_and_never_overflows(model, shards, tmp_path):
    full = explain(model, shards, tmp_path / "full")
    half = explain(model, shards, tmp_path / "half", dtype="float16")
    for a, b in zip(full, half, strict=True):
        np.testing.assert_array_equal(b, a.astype("float16"), strict=True)
    with pytest.raises(ValueError, match=r"cannot hold the maps of shard 0.*float32"):
        explain(model, shards, tmp_path / "large", lambda out: 1e9 * out[:, 0], dtype="float16")


def test_an_interrupted_call_goes_on(model, shards, tmp_path, monkeypatch):
    last = shards[2].images.astype("float32") / 255

    def interrupted(*args, **options):
        if np.array_equal(args[1], last):
            raise KeyboardInterrupt
        return saliency(*args, **options)

    monkeypatch.setattr(map_files, "saliency", interrupted)
    with pytest.raises(KeyboardInterrupt) as caught:
        explain(model, shards, tmp_path / "maps")
    assert "2 of 3 shards are finished" in caught.value.__notes__[0]
    monkeypatch.setattr(map_files, "saliency", lambda *a, **o: saliency(*a, **o) if len(a[1]) == 1
                        else pytest.fail("done before"))  # fmt: skip
    found = explain(model, shards, tmp_path / "maps")
    monkeypatch.undo()
    explain(model, shards, tmp_path / "whole")
    assert contents(tmp_path / "maps") == contents(tmp_path / "whole")
    again = read_maps(tmp_path / "maps")
    assert again.missing() == []
    np.testing.assert_array_equal(again[-1], found[2])


def test_a_folder_holds_the_maps_of_one_question(model, shards, tmp_path):
    options = {"target": "top", "method": "integrated_gradients", "steps": 2}
    explain(model, shards, tmp_path / "maps", **options)
    before = contents(tmp_path / "maps")
    other = wb.models.localizer(size=(8, 10), filters=(2,), seed=2)
    fewer = wb.data.write_shards(SCENE, 6, tmp_path / "six", shard_size=3, progress=False)
    changes = {
        "model": (other, shards, {}),
        "images": (model, fewer, {}),
        "method": (model, shards, {"method": "gradient_x_input", "steps": None}),
        "options": (model, shards, {"steps": 3}),
        "target": (model, shards, {"target": "left"}),
        "link": (model, shards, {"link": "logit"}),
        "dtype": (model, shards, {"dtype": "float16"}),
    }
    for key, (net, images, changed) in changes.items():
        asked = {k: v for k, v in {**options, **changed}.items() if v is not None}
        with pytest.raises(ValueError, match=f"holds something else: its {key} is"):
            explain(net, images, tmp_path / "maps", **asked)
    assert contents(tmp_path / "maps") == before


@pytest.mark.parametrize(
    ("method", "first", "again"),
    [
        ("integrated_gradients", {}, {"steps": 50, "rule": "gauss_legendre", "baseline": 0}),
        ("smoothgrad", {"samples": 2}, {"samples": 2, "noise": 0.1, "base": "gradient", "seed": 0}),
        ("edge_move", {}, {"step": 1}),
    ],
)
def test_defaults_by_their_name_are_no_other_question(
    model, shards, tmp_path, method, first, again
):
    explain(model, shards, tmp_path / "maps", "top", method, shard=(0, 2), **first)
    explain(model, shards, tmp_path / "maps", "top", method, **again)
    assert len(list(read_maps(tmp_path / "maps"))) == 3  # of one identity, also baselines 0 and 0.0


def test_boxes_from_the_images_are_not_those_of_the_scene(model, shards, tmp_path):
    explain(model, shards, tmp_path / "maps", "top", "edge_move")
    with pytest.raises(ValueError, match="its options is"):
        explain(model, shards, tmp_path / "maps", "top", "edge_move", boxes=None)


def test_weights_decide_which_maps_they_are(shards, tmp_path):
    changing = wb.models.localizer(size=(8, 10), filters=(2,), seed=1)
    explain(changing, shards, tmp_path / "maps")
    weight = changing.trainable_variables[0]
    weight.assign(weight + 2.0**-20)
    with pytest.raises(ValueError, match="its model is"):
        explain(changing, shards, tmp_path / "maps")


def test_damaged_and_misplaced_maps_are_named(model, shards, tmp_path):
    found = explain(model, shards, tmp_path / "maps")
    good = found[1]
    damaged = bytearray(found.path(0).read_bytes())
    damaged[len(damaged) // 2] ^= 255
    found.path(0).write_bytes(damaged)
    with pytest.raises(ValueError, match=r"maps-000000.npz', are damaged"):
        found[0]
    found.path(2).write_bytes(found.path(1).read_bytes())
    with pytest.raises(ValueError, match=r"maps-000002.npz', belong elsewhere"):
        found[2]
    found.path(1).write_bytes(found.path(1).read_bytes()[:-30])
    assert found.missing() == [1]
    explain(model, shards, tmp_path / "maps")
    np.testing.assert_array_equal(found[1], good)


def test_a_folder_named_like_a_file_of_maps_is_named(model, shards, tmp_path):
    found = explain(model, shards, tmp_path / "maps")
    found.path(1).unlink()
    found.path(1).mkdir()
    for call in (lambda: found[1], lambda: explain(model, shards, tmp_path / "maps")):
        with pytest.raises(ValueError, match=r"maps-000001.npz' is a folder.*Move it elsewhere"):
            call()


@pytest.mark.parametrize(("name", "value"), [("shards", 0), ("dtype", "float64")])
def test_a_manifest_of_impossible_maps_is_named(model, shards, tmp_path, name, value):
    about = explain(model, shards, tmp_path).about
    (tmp_path / "manifest.json").write_text(json.dumps({**about, name: value}))
    with pytest.raises(ValueError, match=f"is no manifest of maps: `{name}` must"):
        read_maps(tmp_path)


def test_says_which_shard_of_images_is_damaged(model, shards, tmp_path):
    shards.path(1).write_bytes(b"no zip file")
    with pytest.raises(ValueError, match=r"Shard 1 of 3 cannot be read"):
        explain(model, shards, tmp_path / "maps")
    assert read_maps(tmp_path / "maps").missing() == [1, 2]


@pytest.mark.parametrize(
    ("error", "options"),
    [
        (ValueError, {"method": "gradients"}), (ValueError, {"target": "topp"}),
        (ValueError, {"dtype": "float64"}), (ValueError, {"link": "log"}),
        (ValueError, {"batch_size": 0}), (ValueError, {"shard": (1, 1)}),
        (TypeError, {"stepss": 3}),
    ],
)  # fmt: skip
def test_arguments_are_checked_before_anything_is_written(model, shards, tmp_path, error, options):
    with pytest.raises(error):
        explain(model, shards, tmp_path / "maps", **options)
    assert not (tmp_path / "maps").exists()


@pytest.mark.parametrize(
    "wrong",
    [
        {"method": "integrated_gradients", "steps": -1}, {"method": "gradcam", "layer": "none"},
        {"target": []}, {"target": lambda out: 1e9 * out[:, 0], "dtype": "float16"},
        {"target": wb.introspect.targets.unit("none", 0)},
    ],
)  # fmt: skip
def test_a_wrong_question_claims_no_folder(model, shards, tmp_path, wrong):
    with pytest.raises(ValueError, match=r"steps|layer|target|dtype"):
        explain(model, shards, tmp_path / "maps", **wrong)
    assert not (tmp_path / "maps").exists()
    assert explain(model, shards, tmp_path / "maps").missing() == []


def test_a_worker_without_work_asks_well_too(model, shards, tmp_path):
    with pytest.raises(ValueError, match="steps"):
        explain(model, shards, tmp_path, "top", "integrated_gradients", steps=-1, shard=(4, 5))
    assert explain(model, shards, tmp_path / "maps", shard=(4, 5)).missing() == [0, 1, 2]


def test_no_batches_are_refused(model, tmp_path):
    with pytest.raises(ValueError, match="`batches` must hold at least one"):
        explain(model, [], tmp_path / "maps")


@pytest.mark.parametrize("kind", ["files", "batches"])
def test_each_shard_gets_its_rows(model, shards, tmp_path, kind):
    # Batches in memory may differ in length.
    batches = shards if kind == "files" else [shards[0], shards[2], shards[1]]
    boxes = np.concatenate([batch.rel_boxes for batch in batches])[::-1]
    target = [wb.introspect.targets.iou(boxes), "top"]
    found = explain(model, batches, tmp_path / "maps", target)
    start = 0
    for maps, batch in zip(found, batches, strict=True):
        own = [wb.introspect.targets.iou(boxes[start : start + len(batch)]), "top"]
        start += len(batch)
        images = batch.images.astype("float32") / 255
        np.testing.assert_array_equal(maps, saliency(model, images, own))


def test_each_shard_gets_its_rows_of_options(model, shards, tmp_path):
    boxes = np.concatenate([batch.boxes for batch in shards])[::-1]
    labels, scene = np.zeros(7, int), wb.data.Scene(size=(8, 10), foreground=0.5)
    given = {"boxes": boxes, "labels": labels, "scene": scene}
    found = explain(model, shards, tmp_path / "maps", "top", "edge_move", **given)
    images = shards[1].images.astype("float32") / 255
    own = {"boxes": boxes[3:6], "labels": labels[3:6], "scene": scene}
    np.testing.assert_array_equal(found[1], saliency(model, images, "top", "edge_move", **own))
    one = explain(model, shards, tmp_path / "one", "top", "edge_move", boxes=boxes[0])
    shared = {"boxes": boxes[0], "labels": labels[:3], "scene": SCENE}
    np.testing.assert_array_equal(one[1], saliency(model, images, "top", "edge_move", **shared))


@pytest.mark.parametrize("name", ["target", "boxes", "labels"])
def test_rows_of_one_shard_are_not_repeated_for_all(model, tmp_path, name):
    shards = wb.data.write_shards(SCENE, 6, tmp_path, shard_size=3, progress=False)
    first = shards[0]
    asked = {
        "target": {"target": wb.introspect.targets.iou(first.rel_boxes)},
        "boxes": {"method": "edge_move", "boxes": first.boxes},
        "labels": {"method": "edge_move", "labels": first.labels},
    }[name]
    with pytest.raises(ValueError, match=f"`{name}` must hold one row for each image.*, 6.* 3"):
        explain(model, shards, tmp_path / "maps", **asked)
    assert not (tmp_path / "maps").exists()


def test_fractional_boxes_of_a_method_are_not_the_pixels_of_the_scene(model, shards, tmp_path):
    found = explain(model, shards, tmp_path / "maps", "top", "drise", samples=20)
    images = shards[0].images.astype("float32") / 255
    np.testing.assert_array_equal(found[0], saliency(model, images, "top", "drise", samples=20))
