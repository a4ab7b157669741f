"""Batches: what they hold, and that the pipeline yields exactly the named ones."""

from __future__ import annotations

import hashlib
import itertools
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from whitebox_loc.data import SCENES, SHAPES, Scene, batch_at, dataset, generate, render

SCENE = Scene(size=(12, 20), channels=3, shapes=("ellipse", "cross"), noise=0.1)


@pytest.mark.parametrize("name", SCENES)
def test_generate_draws_its_boxes(name):
    batch = generate(name, 30, seed=1)
    assert (batch.scene, len(batch)) == (SCENES[name], 30)
    assert (batch.boxes.dtype, batch.boxes.shape) == (np.int64, (30, 4))
    assert (batch.labels.dtype, batch.valid.dtype) == (np.int64, np.bool_)
    np.testing.assert_array_equal(
        batch.images, render(batch.boxes, batch.scene, labels=batch.labels, seed=1)
    )


def test_rel_boxes_are_fractions_of_the_image():
    batch = generate(SCENE, 9)
    assert batch.rel_boxes.dtype == np.float32
    pixels = batch.rel_boxes.astype(np.float64) * (12, 20, 12, 20)
    # A fraction of at most 1 is rounded to float32 by at most 2**-25, times 20 pixels.
    np.testing.assert_allclose(pixels, batch.boxes, rtol=0, atol=20 * 2**-25)


def test_no_images():
    batch = generate(SCENE, 0)
    assert batch.images.shape == (0, 12, 20, 3)
    assert batch.boxes.shape == batch.rel_boxes.shape == (0, 4)


def assert_same(element, batch):
    images, boxes = element
    np.testing.assert_array_equal(images, batch.images)
    np.testing.assert_array_equal(boxes, batch.rel_boxes)


def test_dataset_yields_the_named_batches():
    data = dataset(SCENE, 5, 3)
    for index, element in enumerate(data.take(4)):
        assert_same(element, batch_at(SCENE, index, batch_size=5, seed=3))
    assert data.cardinality() == tf.data.INFINITE_CARDINALITY
    images, boxes = data.element_spec
    assert (images.shape, images.dtype) == ((5, 12, 20, 3), tf.float32)
    assert (boxes.shape, boxes.dtype) == ((5, 4), tf.float32)


def test_start_resumes_and_shards_share_out_the_sequence():
    expected = [batch_at(SCENE, i, batch_size=2, seed=0) for i in range(9)]
    workers = [iter(dataset(SCENE, 2, 0, shard=(k, 3))) for k in range(3)]
    for batch, worker in zip(expected, itertools.cycle(workers), strict=False):
        assert_same(next(worker), batch)
    resumed = iter(dataset(SCENE, 2, 0, shard=(1, 3), start=2))
    assert_same(next(resumed), expected[1 + 2 * 3])


def test_batches_differ_by_index_and_seed_and_from_generate():
    boxes = [batch_at("uniform", i, batch_size=4, seed=s).boxes for i in range(4) for s in (0, 1)]
    boxes += [generate("uniform", 4, seed=s).boxes for s in (0, 1)]
    assert len({b.tobytes() for b in boxes}) == len(boxes)


def test_labels_and_dtype():
    images, (boxes, labels) = next(iter(dataset(SCENE, 50, dtype="uint8", labels=True)))
    batch = batch_at(SCENE, 0, batch_size=50, dtype="uint8")
    assert images.dtype == tf.uint8
    assert_same((images, boxes), batch)
    np.testing.assert_array_equal(labels, batch.labels)
    assert set(labels.numpy()) == {0, 1}


def test_empty_boxes_are_left_out_unless_asked_for():
    for valid_only in (True, False):
        _, boxes = next(iter(dataset("notebook", 400, valid_only=valid_only)))
        filled = np.all(boxes[:, 2:] > boxes[:, :2], axis=1)
        assert filled.all() == valid_only


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        (
            {"batch_size": 0},
            ValueError,
            "`batch_size` must be a whole number >= 1; got 0.",
        ),
        (
            {"shard": (2, 2)},
            ValueError,
            "`shard[0]` must be a whole number between 0 and 1; got 2.",
        ),
        ({"shard": 1}, TypeError, "`shard` must be (worker, workers), such as (0, 4); got 1."),
        (
            {"start": -1},
            ValueError,
            "`start` must be a whole number between 0 and 2147483647; got -1.",
        ),
        (
            {"dtype": "int8"},
            ValueError,
            "`dtype` must be one of ['float32', 'uint8']; got 'int8'. Did you mean 'uint8'?",
        ),
    ],
)
def test_errors_come_before_the_pipeline_runs(options, error, text):
    with pytest.raises(error) as caught:
        dataset("uniform", **options)
    assert str(caught.value) == text


def test_sizes_that_no_machine_has_are_refused_before_memory_is_asked_for():
    for call, name in (
        (lambda: generate(SCENE, 10**30), "n"),
        (lambda: batch_at(SCENE, 0, batch_size=10**9), "batch_size"),
        (lambda: Scene(size=(10**9, 10**9)), "size"),
        (lambda: Scene(size=(8, 8), channels=10**12), "channels"),
        # An image of 10 GB, but a table of all pairs of sides.
        (lambda: Scene(size=(10**5, 10**5)), "size"),
    ):
        with pytest.raises(ValueError, match=f"^`{name}` .* asks for .* GB of .*; at most 137 GB"):
            call()
    assert Scene(size=(10**5, 10**5), heights=(1, 9), widths=(1, 9)).size == (10**5, 10**5)


def test_generate_errors():
    with pytest.raises(ValueError, match=r"^`n` must be a whole number >= 0; got -1\.$"):
        generate("uniform", -1)
    with pytest.raises(
        TypeError, match=r"^`n` must be a whole number >= 0; got 2\.5 of type float"
    ):
        generate("uniform", 2.5)


def test_a_fresh_interpreter_draws_the_same_without_tensorflow():
    code = (
        "import hashlib, sys\n"
        "from whitebox_loc.data import Scene, generate, SHAPES\n"
        "scene = Scene(size=(16, 16), shapes=tuple(SHAPES), noise=.1, texture=.3, distractors=2)\n"
        "print(hashlib.sha256(generate(scene, 20, seed=6).images.tobytes()).hexdigest())\n"
        "print(sorted({'tensorflow', 'keras', 'matplotlib'} & set(sys.modules)))\n"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    scene = Scene(size=(16, 16), shapes=tuple(SHAPES), noise=0.1, texture=0.3, distractors=2)
    here = hashlib.sha256(generate(scene, 20, seed=6).images.tobytes()).hexdigest()
    assert run.stdout.split("\n")[:2] == [here, "[]"]
