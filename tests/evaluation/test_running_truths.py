"""What a benchmark takes for the truth, what it knows again, and which rows it is given."""

import dataclasses
import functools
import importlib
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

import whitebox_loc as wb
from whitebox_loc._digests import describe, digest
from whitebox_loc.evaluation import METRICS
from whitebox_loc.evaluation.audits.controls import CONTROLS
from whitebox_loc.evaluation.benchmarking import jobs
from whitebox_loc.evaluation.benchmarking.running import benchmark
from whitebox_loc.introspect import METHODS, saliency
from whitebox_loc.introspect.methods import Maps, Method

SCENE = wb.data.Scene(size=(8, 8))
QUIET = {"n": 4, "seed": 5, "progress": False, "coordinates": ["top"], "baselines": False}


@pytest.fixture(scope="module")
def toys():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(Path(__file__).parent)
        import benchmark_toys

        yield benchmark_toys


def call(model, methods, metrics, scene=SCENE, **options):
    return benchmark({"m": model}, methods, {"s": scene}, metrics, **(QUIET | options)).rows


TABLE = {"k": 1.0}


def reads_a_table(trial):
    return np.full(len(trial), sum(TABLE["k"] for _ in range(1)))


class Holder:
    def __init__(self, k):
        self.k = k

    def __call__(self, trial):
        return np.full(len(trial), 3.0 * self.k)

    def one(self, trial):
        return np.full(len(trial), 1.0 * self.k)

    def two(self, trial):
        return np.full(len(trial), 2.0 * self.k)


def with_array(k):
    weights = np.array([0.0, k])
    return lambda trial: np.full(len(trial), weights.sum())


def with_number(k):
    def metric(trial):
        return np.full(len(trial), float(k))

    return metric


def with_default(k):
    return lambda trial, *, k=k: np.full(len(trial), float(k))


def with_method_of(k):
    holder = Holder(k)
    return lambda trial: holder.one(trial)


def scaled(trial, by):
    return np.full(len(trial), float(by["k"]))


PAIRS = {
    "array in a closure": (with_array(1), with_array(5), 1, 5),
    "two of one factory": (with_number(1), with_number(5), 1, 5),
    "default": (with_default(1), with_default(5), 1, 5),
    "two bound methods": (Holder(1).one, Holder(1).two, 1, 2),
    "bound to two objects": (Holder(1).one, Holder(5).one, 1, 5),
    "callable objects": (Holder(1), Holder(5), 3, 15),
    "object in a closure": (with_method_of(1), with_method_of(5), 1, 5),
    "partials": (*(functools.partial(scaled, by={"k": k}) for k in (1, 5)), 1, 5),
    "two on a line": (lambda t: np.full(len(t), 1.0), lambda t: np.full(len(t), 5.0), 1, 5),
}


@pytest.mark.parametrize("name", PAIRS)
def test_metrics_that_differ_only_in_their_data_are_two(toys, tmp_path, name):
    first, second, *values = PAIRS[name]
    for _ in range(2):
        found = [
            one["mean"]
            for function in (first, second)
            for one in call(toys.linear_model(), ["gradient"], [toys.metric(function, "f")],
                            toys.SCENES["toy"], out=tmp_path)
        ]  # fmt: skip
        assert found == values
    # Both are known again: it is not that nothing ever is.
    assert digest(first) == digest(first) != digest(second)
    assert len(list((tmp_path / "jobs").iterdir())) == 1


def test_a_table_that_a_metric_reads_is_part_of_it(toys, tmp_path, monkeypatch):
    def value():
        metric = toys.metric(reads_a_table)
        args = (toys.linear_model(), ["gradient"], [metric], toys.SCENES["toy"])
        return call(*args, out=tmp_path)[0]["mean"]

    assert value() == 1.0
    monkeypatch.setitem(TABLE, "k", 5.0)
    assert value() == 5.0


def test_what_cannot_be_described_is_never_taken_from_an_earlier_call(toys, tmp_path):
    rng = np.random.default_rng(0)

    def draws(trial):
        return np.full(len(trial), rng.random())

    args = (toys.linear_model(), ["gradient"], [toys.metric(draws)], toys.SCENES["toy"])
    first, second = (call(*args, out=tmp_path)[0]["mean"] for _ in range(2))
    assert first != second
    assert describe(draws) != describe(draws)


@pytest.mark.parametrize("thing", ["generator", "tensor", "slots"])
def test_what_hides_its_content_has_no_description(thing):
    import keras

    class Slots:
        __slots__ = ("k",)

    hidden = {
        "generator": np.random.default_rng(0), "tensor": keras.ops.ones(2), "slots": Slots(),
    }[thing]  # fmt: skip
    assert describe(lambda: hidden) != describe(lambda: hidden)
    with pytest.raises(TypeError, match="An option must be"):
        describe(hidden)


def test_what_has_no_source_is_never_known_again():
    scope = {}
    exec("def one(trial): return 1.0", scope)
    assert describe(scope["one"]) != describe(scope["one"])


@pytest.mark.parametrize(("before", "after"), [(3.0, 3.0), (4.0, 5.0)])
def test_the_source_counts_only_while_it_is_what_runs(tmp_path, monkeypatch, before, after):
    file, name = tmp_path / f"metric_of_{before:g}.py", f"metric_of_{before:g}"
    text = (
        "def one():\n    return {0}\n\n\nclass Two:\n    def __call__(self):\n        return {0}\n"
    )
    file.write_text(text.format(before))
    monkeypatch.syspath_prepend(tmp_path)
    module = importlib.import_module(name)
    file.write_text(text.format(after))
    for thing in (module.one, module.Two()):
        assert (describe(thing) == describe(thing)) == (before == after)


def digests_of_the_library():
    tables = (METRICS, METHODS, CONTROLS, wb.models.COMPILED)
    rows = {name: row for table in tables for name, row in table.items()}
    return {k: digest(getattr(r, "function", None) or r.usage) for k, r in rows.items()}


@pytest.mark.whole
def test_another_process_knows_the_rows_of_the_library_again():
    # Sets, and what is made from them, have another order there.
    code = "import json, test_running_truths as t; print(json.dumps(t.digests_of_the_library()))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=Path(__file__).parent, capture_output=True, check=True,
        env=os.environ | {"PYTHONHASHSEED": "7"},
    )  # fmt: skip
    assert json.loads(done.stdout.splitlines()[-1]) == digests_of_the_library()


def test_a_mechanism_that_says_nothing_of_such_images_stops_only_its_own_rows():
    scene = wb.data.Scene(size=(8, 8), noise=0.1)
    names = ["mass_accuracy_task", "mass_accuracy_model", "sparseness"]
    rows = call("wrong_edge", ["gradient", "random", "blurred_oracle"], names, scene)
    told = {(r["method"], r["metric"]): r for r in rows}
    for method in ("gradient", "random", "blurred_oracle"):
        assert told[method, "mass_accuracy_task"]["status"] == "ok"
        assert told[method, "sparseness"]["status"] == "ok"
        row = told[method, "mass_accuracy_model"]
        assert row["status"] == "not applicable"
        assert "not derived for such images: `images` must be plain" in row["error"]


def test_an_edited_mechanism_makes_new_rows(tmp_path, monkeypatch):
    old = wb.models.COMPILED["corner_only"]
    everything = dataclasses.replace(old, usage=lambda lit: np.ones((4, *lit.shape), bool))
    means = []
    for row in (everything, old, everything):
        monkeypatch.setitem(wb.models.COMPILED, "corner_only", row)
        found = call("corner_only", ["occlusion"], ["mass_accuracy_model"], out=tmp_path)
        means.append(found[0]["mean"])
    assert means[0] == means[2] == 1.0
    assert means[1] < 1.0


def seen(kind, truth, kept, elsewhere=None):
    """A metric that keeps the maps it is given, and those of another model."""

    def keep(trial):
        kept["maps"], kept["trial"] = trial.maps, trial
        if elsewhere is not None:
            kept["elsewhere"] = trial.explain(elsewhere, trial.images)
        return np.zeros(len(trial))

    base = METRICS["sparseness"]
    return dataclasses.replace(base, name="keep", function=keep, kind=kind, truth=truth)


@pytest.mark.parametrize("kind", ["faithfulness", "sanity"])
def test_the_truth_of_a_model_is_what_it_answers_to_moved_edges(kind):
    scene = wb.data.Scene(size=(8, 8), shapes=("rectangle", "diamond"))
    model, other = (wb.models.localizer(size=(8, 8), seed=seed) for seed in (0, 1))
    batch, kept = wb.data.generate(scene, 4, seed=5, valid_only=True), {}

    def expected(asked):
        exact = saliency(asked, batch.images, "top", "edge_move", boxes=batch.boxes, scene=scene,
                         labels=batch.labels)  # fmt: skip
        return gaussian_filter(exact, (0, 1.5, 1.5), mode="constant")

    (row,) = call(model, ["blurred_oracle"], [seen(kind, "model", kept, other)], scene)
    assert row["status"] == "ok"
    # The same passes, so only the order of a sum in float32 may differ.
    np.testing.assert_allclose(kept["maps"], expected(model), rtol=1e-4, atol=1e-7)
    np.testing.assert_allclose(kept["elsewhere"], expected(other), rtol=1e-4, atol=1e-7)
    assert np.abs(kept["maps"] - kept["elsewhere"]).max() > 1e-4


def test_the_truth_about_places_is_the_mechanism_or_nothing():
    kept = {}
    (row,) = call("wrong_edge", ["oracle"], [seen("location", "model", kept)])
    assert row["status"] == "ok"
    np.testing.assert_array_equal(kept["maps"] != 0, kept["trial"].used)
    net = wb.models.localizer(size=(8, 8))
    (row,) = call(net, ["oracle"], [seen("location", "model", kept)])
    assert row["status"] == "not applicable"
    assert row["error"] == "needs a model whose mechanism is known"
    (row,) = call(net, ["oracle"], [seen("location", "task", kept)])
    assert row["status"] == "ok"


def test_without_moved_edges_there_is_no_truth_of_a_model(monkeypatch):
    def refuse(*args, **options):
        raise ValueError("edges stand still")

    monkeypatch.setattr(jobs, "saliency", refuse)
    net = wb.models.localizer(size=(8, 8))
    oracle, noise = call(net, ["oracle", "random"], [seen("faithfulness", "model", {})])
    assert oracle["status"] == "not applicable"
    assert "no model truth from moved edges: ValueError: edges stand still" in oracle["error"]
    assert noise["status"] == "ok"


def test_the_label_of_a_control_decides_nothing(toys):
    args = (toys.linear_model(), {"a": "random", "b": "random"}, [toys.metric(toys.product)])
    first, second = call(*args, toys.SCENES["toy"])
    assert first["mean"] == second["mean"]


def test_a_label_that_a_baseline_has_is_refused(toys):
    args = (toys.linear_model(), {"random": "gradient"}, [toys.metric(toys.total)])
    with pytest.raises(ValueError, match=r"label 'random' for 'gradient'.*or baselines=False"):
        call(*args, toys.SCENES["toy"], baselines=True)
    assert not call(*args, toys.SCENES["toy"])[0]["baseline"]


def brightness(query):
    return Maps(np.repeat(query.images[None, ..., 0], query.targets, 0))


def test_a_row_under_another_name_is_refused(toys, monkeypatch):
    monkeypatch.setitem(METHODS, "mine", dataclasses.replace(METHODS["gradient"]))
    with pytest.raises(ValueError, match=r"`METHODS\['mine'\]` must be a row of that name"):
        call(toys.linear_model(), ["mine"], [toys.metric(toys.total)], toys.SCENES["toy"])


def test_rows_may_be_given_in_place_of_names(toys):
    mine = Method("brightness", "gradient", brightness, "none", "the model")
    before, args = dict(METHODS), ([toys.metric(toys.total)], toys.SCENES["toy"])
    listed = call(toys.linear_model(), [mine, METHODS["gradient"], CONTROLS["constant"]], *args)
    assert [r["method"] for r in listed] == ["brightness", "gradient", "constant"]
    assert [r["baseline"] for r in listed] == [False, False, True]
    boxes = wb.data.generate(toys.SCENES["toy"], 4, seed=5).boxes
    area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    assert listed[0]["mean"] == pytest.approx(area.mean(), abs=1e-8)
    assert listed[2]["mean"] == 24
    labelled = call(toys.linear_model(), {"x": mine, "y": (mine, {})}, *args)
    assert [(r["method"], r["mean"]) for r in labelled] == [
        (label, listed[0]["mean"]) for label in "xy"
    ]
    assert before == METHODS
    with pytest.raises(ValueError, match="must name each once"):
        call(toys.linear_model(), ["gradient", METHODS["gradient"]], *args)
    other = dataclasses.replace(mine, name="gradient")
    assert call(toys.linear_model(), {"z": other}, *args)[0]["mean"] == listed[0]["mean"]


def test_a_worker_gets_its_own_row_back(toys, monkeypatch):
    mine = dataclasses.replace(METHODS["gradient"], function=brightness)
    own, ran = METHODS["gradient"], []

    class Elsewhere:
        def submit(self, function, job):
            """Run where the table has another row, as in a process of an older script."""
            from concurrent.futures import Future

            future = Future()
            monkeypatch.setitem(METHODS, "gradient", own)
            future.set_result(function(job))
            ran.append(METHODS["gradient"] is own)
            return future

    monkeypatch.setitem(METHODS, "gradient", mine)
    found = call(toys.linear_model(), ["gradient"], [toys.metric(toys.total)],
                 toys.SCENES["toy"], executor=Elsewhere())  # fmt: skip
    boxes = wb.data.generate(toys.SCENES["toy"], 4, seed=5).boxes
    area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    assert found[0]["mean"] == pytest.approx(area.mean(), abs=1e-8)
    assert ran == [True]


@pytest.mark.parametrize("method", ["edge_move", "smoothgrad"])
def test_moved_edges_are_drawn_as_the_scene_draws_them(method):
    scene = wb.data.Scene(size=(8, 8), shapes=("diamond", "rectangle"))
    model, kept = wb.models.localizer(size=(8, 8)), {}
    options = {"base": "edge_move", "samples": 2, "seed": 5} if method == "smoothgrad" else {}
    call(model, {"m": (method, options)}, [seen("location", "task", kept)], scene)
    batch = wb.data.generate(scene, 4, seed=5, valid_only=True)
    known = {"boxes": batch.boxes, "scene": scene, "labels": batch.labels}
    expected = saliency(model, batch.images, "top", method, **options, **known)
    np.testing.assert_allclose(kept["maps"], expected, rtol=1e-4, atol=1e-7)
    blind = saliency(model, batch.images, "top", method, **options)
    assert np.abs(blind - expected).max() > 1e-4


def test_what_the_caller_says_of_the_images_holds():
    kept, model = {}, wb.models.localizer(size=(8, 8))
    options = {"boxes": [2, 2, 6, 6], "scene": None}
    call(model, {"m": ("edge_move", options)}, [seen("location", "task", kept)])
    images = kept["trial"].images
    expected = saliency(model, images, "top", "edge_move", boxes=[2, 2, 6, 6])
    np.testing.assert_allclose(kept["maps"], expected, rtol=1e-4, atol=1e-7)


def test_boxes_in_pixels_are_not_given_to_what_takes_fractions():
    kept, model = {}, wb.models.localizer(size=(8, 8))
    options = {"samples": 50, "seed": 1}
    call(model, {"m": ("drise", options)}, [seen("location", "task", kept)])
    expected = saliency(model, kept["trial"].images, "top", "drise", **options)
    np.testing.assert_allclose(kept["maps"], expected, rtol=1e-4, atol=1e-7)
    assert np.abs(expected).max() > 1e-4
