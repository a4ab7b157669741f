"""Bad arguments of audits, certificates and benchmarks: one error that names the argument."""

import errno
import os
import re

import keras
import numpy as np
import pytest

import whitebox_loc as wb
from whitebox_loc import evaluation
from whitebox_loc.evaluation.audits.known_models import crossed_lines
from whitebox_loc.evaluation.benchmarking import jobs
from whitebox_loc.evaluation.benchmarking.results import COLUMNS, Results

SIZE = (6, 8)
SCENE = wb.data.Scene(size=SIZE)
IMAGES = np.ones((2, *SIZE, 1), "float32")
MAPS = np.ones((2, *SIZE))
BOXES = [[1, 1, 3, 4], [0, 0, 2, 2]]
ROW = dict.fromkeys(COLUMNS, "") | {"metric": "mass"}


def images_only(images):
    return images[..., 0]


def model():
    return crossed_lines(SIZE)


def benchmark(**changes):
    arguments = {
        "models": {"net": model()}, "methods": ["gradient"], "scenes": {"s": SCENE},
        "metrics": ["sparseness"], "n": 2, "baselines": False, "progress": False,
    } | changes  # fmt: skip
    return evaluation.benchmark(**arguments)


CASES = {
    "mechanisms": (
        lambda: evaluation.certify("gradient", mechanisms=3),
        "`mechanisms` must be one of ['integrator', ",
    ),
    "coordinates": (
        lambda: benchmark(coordinates=None),
        "`coordinates` must be one of ['top', 'left', 'bottom', 'right'], or a list of such; got "
        "None of type NoneType.",
    ),
    "models": (
        lambda: benchmark(models=[["a", "list"]]),
        "`models` must hold names; got ['a', 'list']. Give your own as a dict of name to value.",
    ),
    "scenes": (
        lambda: benchmark(scenes={"s": 1}),
        "`scenes['s']` must be one of ['uniform', ",
    ),
    "baselines": (
        lambda: benchmark(baselines="no"),
        "`baselines` must be True or False; got 'no' of type str.",
    ),
    "executor": (
        lambda: benchmark(executor=3),
        "`executor` must be a concurrent.futures.Executor or None; got int.",
    ),
    "n": (
        lambda: benchmark(n=10**12),
        "`n` 1000000000000 asks for 192,000 GB of images; at most 137 GB are tried. Take a smaller "
        "number.",
    ),
    "size": (
        lambda: evaluation.evidence_mask(BOXES, (10**9, 10**9)),
        "`size` (1000000000, 1000000000) asks for 2,000,000,000 GB of masks; at most 137 GB are "
        "tried. Take a smaller number.",
    ),
    "samples": (
        lambda: evaluation.infidelity(model(), IMAGES, MAPS, samples=10**30),
        "`samples` must be a whole number between 1 and 1000000; got " + str(10**30) + ".",
    ),
    "resamples": (
        lambda: evaluation.mean_interval([1.0, 2.0], resamples=10**12),
        "`resamples` must be a whole number between 1 and 10000000; got 1000000000000.",
    ),
    "audits": (
        lambda: evaluation.audit_table("sparseness"),
        "`audits` must be a list of what `audit` returns; got ['s', 'p', 'a', 'r', 's', 'e', ",
    ),
    "metric": (
        lambda: evaluation.audit(None),
        "`metric` must be a Metric or a name; got None.",
    ),
    "trial": (
        lambda: evaluation.METRICS["sparseness"].score(MAPS[:1, :1, :1]),
        "`trial` must be a Trial, of maps, images and boxes; got array([[[1.]]]).",
    ),
    "column": (
        lambda: Results([ROW]).select(metric=MAPS[:1, :1, :2]),
        "`metric` must be a value of that column, or a list of such; got array([[[1., 1.]]]).",
    ),
    "explain": (
        lambda: evaluation.randomization(model(), IMAGES, images_only),
        "`explain` must be a function from a model and images to maps, of 2 arguments; got "
        "<function images_only at ",
    ),
    "explain, swapped": (
        lambda: evaluation.randomization(model(), IMAGES, model()),
        "`explain` must be a function from a model and images to maps; got the model or layer "
        "'crossed_lines'. Is its place among the arguments right?",
    ),
    "model": (
        lambda: evaluation.deletion(None, IMAGES, MAPS),
        "`model` must be a keras.Model (Functional, Sequential or a subclass); got "
        "builtins.NoneType.",
    ),
    "gap": (
        lambda: evaluation.completeness_gap(MAPS, ["a", "b"]),
        "`gap` must hold numbers; got dtype <U1.",
    ),
    "maps": (
        lambda: evaluation.gini([[[1.0], [1.0, 2.0]]]),
        "`maps` must be an array; got [[[1.0], [1.0, 2.0]]] of type list, of which NumPy makes "
        "none. Are its parts of different lengths?",
    ),
    "labels": (
        lambda: evaluation.evidence_signs(BOXES, SCENE, labels=[0.5, 1.0]),
        "`labels` must hold whole numbers; got dtype float64.",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_one_error_names_the_argument(name):
    call, message = CASES[name]
    with pytest.raises((TypeError, ValueError), match=f"^{re.escape(message)}"):
        call()


def test_a_mask_thicker_than_the_image_is_the_whole_of_it():
    """10**30 rows do not fit in an integer of NumPy; beyond the image they change nothing."""
    thick, all_of_it = (
        evaluation.evidence_mask(BOXES, SIZE, thickness=thickness) for thickness in (10**30, 8)
    )
    np.testing.assert_array_equal(thick, all_of_it)


def paths(folder):
    (folder / "file").write_text("")
    (folder / "taken").mkdir()
    (folder / "taken" / "jobs").write_text("")
    below = "A file stands where a folder belongs: move it, or name another path."
    return {
        folder / "file": (NotADirectoryError, below),
        folder / "file" / "below": (NotADirectoryError, below),
        folder / "taken": (FileExistsError, below),
        folder / ("n" * 300): (OSError, "File name too long. Take a shorter name."),
        "a\0b": (ValueError, "must name a file or folder"),
        "": (ValueError, "must name a file or folder"),
        3: (TypeError, "must be a path, as str or pathlib.Path; got 3 of type int."),
    }


def test_a_folder_that_cannot_be_is_refused_before_the_work(tmp_path, monkeypatch):
    monkeypatch.setattr(jobs, "run", lambda job: pytest.fail("ran"))
    for out, (kind, what) in paths(tmp_path).items():
        with pytest.raises(kind, match=rf"(?s)`out` .*{re.escape(what)}"):
            benchmark(out=out)


def test_a_full_disk_names_the_path_and_the_remedy(tmp_path, monkeypatch):
    path = tmp_path / "results.csv"

    def full(source, target):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "replace", full)
    message = (
        f"`path` {str(path)!r}: No space left on device. The disk is full: make room there, or "
        "name a path on another one."
    )
    with pytest.raises(OSError, match=re.escape(message)):
        Results([ROW]).to_csv(path)
    with pytest.raises(FileNotFoundError, match=r"`path` '.*missing'.* name a file that exists\."):
        evaluation.read_results(tmp_path / "missing")


def test_a_file_that_is_no_model_names_its_entry(tmp_path):
    path = tmp_path / "net.keras"
    path.write_text("rubbish")
    with pytest.raises(ValueError, match=r"^`models\['net'\]` '.*' is not a readable .keras file"):
        benchmark(models={"net": path})


def test_a_path_that_is_not_utf_8_serves(tmp_path):
    out = tmp_path / "\udcff"
    assert len(benchmark(out=out, models={"net": keras.models.clone_model(model())})) == 4
    assert len(evaluation.read_results(out / "results.json")) == 4
