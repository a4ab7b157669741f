import csv
import gc
import json
import math
import os
from pathlib import Path

import keras
import numpy as np
import pytest

import whitebox_loc as wb
from whitebox_loc.evaluation.benchmarking import jobs
from whitebox_loc.evaluation.benchmarking.results import COLUMNS, Results, read_results
from whitebox_loc.evaluation.benchmarking.running import benchmark
from whitebox_loc.evaluation.benchmarking.specs import ModelSpec
from whitebox_loc.evaluation.benchmarking.stores import DamagedCellWarning


@pytest.fixture(scope="module")
def toys():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(Path(__file__).parent)
        import benchmark_toys

        yield benchmark_toys


QUIET = {"baselines": False, "progress": False}


def one(toys, *metrics, **options):
    """One linear model, the gradient, one scene."""
    settings = {"n": 9, "seed": 5, **QUIET} | options
    methods = settings.pop("methods", ["gradient"])
    scenes = {"toy": toys.SCENES["toy"]}
    return benchmark({"net": toys.linear_model(7)}, methods, scenes, metrics, **settings)


def test_rows_are_those_computed_by_hand(toys):
    found = one(toys, toys.metric(toys.product, truth="task"), toys.metric(toys.total))
    kernel = np.random.default_rng(7).standard_normal((24, 4)).astype("float32")
    batch = wb.data.generate(toys.SCENES["toy"], 9, seed=5)
    names = ["top", "left", "bottom", "right"]
    assert [r["metric"] for r in found] == ["product"] * 4 + ["total"] * 4
    assert [r["coordinate"] for r in found] == names * 2
    # The gradient of a linear model is its kernel, so gradient x image is its output.
    outputs = batch.images.reshape(9, 24).astype(np.float64) @ kernel
    rng = np.random.default_rng(5)
    picked = rng.integers(9, size=(2000, 9))
    for i, row in enumerate(found.rows[:4]):
        draws = [np.mean([outputs[j, i] for j in line]) for line in picked]
        # Sums of float32 products in another order: 24 terms below 4, 2e-6 at most.
        assert row["mean"] == pytest.approx(outputs[:, i].mean(), abs=2e-6)
        assert row["low"] == pytest.approx(np.quantile(draws, 0.025), abs=2e-6)
        assert row["high"] == pytest.approx(np.quantile(draws, 0.975), abs=2e-6)
        assert (row["n"], row["images"], row["seed"]) == (9, 9, 5)
        assert (row["truth"], row["status"], row["error"]) == ("task", "ok", "")
        assert (row["model"], row["method"], row["scene"]) == ("net", "gradient", "toy")
    for i, row in enumerate(found.rows[4:]):
        assert row["mean"] == pytest.approx(kernel[:, i].sum(), abs=2e-6)
        assert row["high"] - row["low"] < 1e-6
        assert row["truth"] == "none"


def test_images_without_a_value_are_left_out(toys):
    found = one(toys, toys.metric(toys.height_of_tall_ones, least=3), toys.metric(toys.never))
    top, _, bottom, _ = wb.data.generate(toys.SCENES["toy"], 9, seed=5).boxes.T
    tall = [b - t for t, b in zip(top, bottom, strict=True) if b - t >= 3]
    assert 1 < len(tall) < 9
    row, undefined = found.rows[0], found.rows[4]
    assert row["n"] == len(tall)
    assert row["mean"] == pytest.approx(sum(tall) / len(tall), abs=1e-8)
    assert undefined["status"] == "undefined"
    assert undefined["n"] == 0
    assert math.isnan(undefined["mean"])


def test_options_of_the_call_replace_those_of_the_row(toys):
    row = toys.metric(toys.height_of_tall_ones, least=1)
    found = benchmark(
        {"net": toys.linear_model()}, ["gradient"], {"toy": toys.SCENES["toy"]},
        {"all": row, "tall": (row, {"least": 3})}, n=9, seed=5, coordinates=["left"], **QUIET,
    )  # fmt: skip
    assert [(r["metric"], r["coordinate"]) for r in found] == [("all", "left"), ("tall", "left")]
    assert found.rows[0]["n"] == 9
    assert found.rows[1]["n"] < 9


def test_explain_repeats_the_method_elsewhere(toys):
    found = one(toys, toys.metric(toys.total), toys.metric(toys.again, needs=["explain"]))
    for first, second in zip(found.rows[:4], found.rows[4:], strict=True):
        assert first["mean"] == pytest.approx(second["mean"], abs=1e-6)


def test_a_failing_metric_is_a_row_and_the_others_go_on(toys):
    metrics = [toys.broken, toys.too_short, toys.infinite, toys.total]
    found = one(toys, *map(toys.metric, metrics))
    status = {r["metric"]: (r["status"], r["error"]) for r in found}
    assert status["broken"] == ("failed", "ZeroDivisionError: this metric is broken")
    assert status["too_short"][1].endswith(
        "must return one number an image, shape (9,); got shape (8,)."
    )
    assert "must be finite or NaN" in status["infinite"][1]
    assert status["total"][0] == "ok"
    assert len(found.failures()) == 12
    assert all(math.isnan(row["mean"]) for row in found.failures())


def test_a_failing_method_is_rows_and_the_others_go_on(toys):
    methods = {"cam": "gradcam", "typo": ("gradient", {"step": 3}), "fine": "gradient"}
    found = one(toys, toys.metric(toys.total), methods=methods)
    assert [r["status"] for r in found] == ["failed"] * 8 + ["ok"] * 4
    assert "has no option 'step'" in found.rows[4]["error"]


def test_a_metric_that_does_not_apply_says_why(toys):
    gap = toys.metric(toys.of_the_gap, needs=["gap"])
    methods = {"gradient": "gradient", "ig": ("integrated_gradients", {"steps": 2})}
    found = one(toys, gap, toys.metric(toys.total, "t", needs=["used"]), methods=methods)
    rows = {(r["method"], r["metric"]): r for r in found}
    assert rows["gradient", "of_the_gap"]["status"] == "not applicable"
    assert rows["gradient", "of_the_gap"]["error"] == "needs a method with a completeness gap"
    assert rows["ig", "t"]["error"] == "needs a model whose mechanism is known"
    # Integrated gradients are exact on a linear model, up to float32.
    assert rows["ig", "of_the_gap"]["mean"] < 1e-5
    assert found.failures() == []


def test_baselines_stand_in_every_table_unless_refused(toys):
    options = {"n": 2, "coordinates": ["top"], "baselines": True}
    found = one(
        toys, toys.metric(toys.total), methods={"noise": "random", "g": "gradient"}, **options
    )
    assert found.names("method") == ["noise", "g", "edge_detector", "blurred_oracle"]
    assert [r["baseline"] for r in found] == [True, False, True, True]
    assert found.failures() == []


def test_the_seed_reaches_images_methods_and_controls(toys):
    metrics = [toys.metric(toys.total)]
    both = {"noisy": ("smoothgrad", {"samples": 2}), "random": "random", "ig": "gradient"}
    first, again, other = (one(toys, *metrics, methods=both, seed=seed).rows for seed in (1, 1, 2))
    assert first == again
    product = toys.metric(toys.product)
    for method in ("noisy", "random"):
        means = [
            one(toys, product, methods={method: both[method]}, seed=s).rows[0]["mean"]
            for s in (1, 2)
        ]
        assert means[0] != means[1]
    assert first != other


def test_a_method_added_as_a_row_is_in_the_table(toys, monkeypatch):
    from whitebox_loc.introspect.methods import Maps, Method

    def brightness(query):
        return Maps(np.repeat(query.images[None, ..., 0], query.targets, 0))

    row = Method("brightness", "gradient", brightness, "none", "the model")
    monkeypatch.setitem(wb.introspect.METHODS, "brightness", row)
    found = one(toys, toys.metric(toys.total), methods=["brightness"])
    boxes = wb.data.generate(toys.SCENES["toy"], 9, seed=5).boxes
    area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    assert found.rows[0]["error"] == ""
    assert found.rows[0]["mean"] == pytest.approx(area.mean(), abs=1e-8)


def test_files_hold_the_rows(toys, tmp_path):
    found = toys.run(tmp_path)
    assert len(found) == 2 * 3 * 2 * 4 * 4
    keys = [
        tuple(r[k] for k in ("model", "method", "scene", "metric", "coordinate")) for r in found
    ]
    assert len(set(keys)) == len(keys)
    with open(tmp_path / "results.csv", newline="") as file:
        read = list(csv.DictReader(file))
    assert list(read[0]) == list(COLUMNS)
    for row, line in zip(found, read, strict=True):
        assert {k: "" if v != v else str(v) for k, v in row.items()} == line
    again = read_results(tmp_path / "results.json")
    np.testing.assert_equal(again.rows, found.rows)
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "jobs", "results.csv", "results.json", "timings.csv",
    ]  # fmt: skip


def test_a_finished_benchmark_is_not_run_again(toys, tmp_path, monkeypatch):
    first = one(toys, toys.metric(toys.total), out=tmp_path)
    kept = (tmp_path / "results.csv").read_bytes()
    monkeypatch.setattr(jobs, "run", lambda job: pytest.fail("ran again"))
    second = one(toys, toys.metric(toys.total), out=tmp_path)
    np.testing.assert_equal(second.rows, first.rows)
    assert (tmp_path / "results.csv").read_bytes() == kept


def test_only_the_new_metric_is_asked(toys, tmp_path, monkeypatch):
    one(toys, toys.metric(toys.total), out=tmp_path)
    asked = []
    real = jobs.run
    monkeypatch.setattr(
        jobs, "run", lambda job: asked.append([m.label for m in job.metrics]) or real(job)
    )
    found = one(toys, toys.metric(toys.product), toys.metric(toys.total), out=tmp_path)
    assert asked == [["product"]]
    one(toys, toys.metric(toys.product), toys.metric(toys.total), out=tmp_path)
    assert asked == [["product"]]
    assert found.names("metric") == ["product", "total"]
    fresh = one(toys, toys.metric(toys.product), toys.metric(toys.total))
    np.testing.assert_equal(found.rows, fresh.rows)


def test_what_failed_is_tried_again(toys, tmp_path, monkeypatch):
    maybe = toys.metric(toys.sleepy, "maybe", seconds=-1.0)
    assert one(toys, maybe, out=tmp_path).failures()
    monkeypatch.setattr(toys.time, "sleep", lambda seconds: None)
    assert one(toys, maybe, out=tmp_path).failures() == []


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 6}, {"n": 8}, {"coordinates": ["left", "top", "bottom", "right"]},
        {"methods": {"gradient": ("squaregrad", {"samples": 2})}}, "weights", "scene", "metric",
    ],
    ids=str,
)  # fmt: skip
def test_no_stale_row_gets_into_other_settings(toys, tmp_path, change):
    def call(out, changed):
        settings = {"n": 9, "seed": 5, "methods": {"gradient": "gradient"}, **QUIET}
        if changed and isinstance(change, dict):
            settings |= change
        what = change if changed else ""
        scene = toys.SCENES["thin" if what == "scene" else "toy"]
        model = toys.linear_model(1 if what == "weights" else 0)
        least = 3 if what == "metric" else 1
        metrics = [toys.metric(toys.product), toys.metric(toys.height_of_tall_ones, least=least)]
        methods = settings.pop("methods")
        return benchmark({"net": model}, methods, {"s": scene}, metrics, None, out, **settings)

    before = call(tmp_path, False)
    after = call(tmp_path, True)
    assert str(after.rows) != str(before.rows)
    np.testing.assert_equal(after.rows, call(None, True).rows)
    np.testing.assert_equal(call(tmp_path, False).rows, before.rows)


def test_an_edited_metric_is_another_metric(toys, tmp_path):
    def made(factor):
        names = {"np": np, "factor": factor}
        exec("def f(trial):\n    return np.full(len(trial), factor * 1.0)", names)
        return names["f"]

    values = [one(toys, toys.metric(made(f), "f"), out=tmp_path).rows[0]["mean"] for f in (2, 3)]
    assert values == [2.0, 3.0]


class Crash(BaseException):
    pass


def test_a_crash_at_any_write_loses_and_doubles_nothing(toys, tmp_path, monkeypatch):
    models = {"net": toys.linear_model()}
    metrics = [toys.metric(toys.total), toys.metric(toys.broken)]

    def call(folder):
        return benchmark(models, ["gradient", "gradient_x_input"], toys.SCENES, metrics, None,
                         folder, n=3, **QUIET)  # fmt: skip

    expected = call(tmp_path / "whole")
    replace = os.replace
    writes = 0
    for crash_at in range(1, 100):
        folder, count = tmp_path / str(crash_at), 0

        def dying(source, target, crash_at=crash_at):
            nonlocal count
            count += 1
            # Dead at this write, and nothing written afterwards.
            if count >= crash_at:
                raise Crash
            replace(source, target)

        with monkeypatch.context() as patch:
            patch.setattr(os, "replace", dying)
            try:
                call(folder)
            except Crash:
                writes += 1
            else:
                break
        np.testing.assert_equal(call(folder).rows, expected.rows)
        for name in ("results.csv", "results.json"):
            assert (folder / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    assert writes == 4 + 3


def test_ctrl_c_keeps_what_is_finished(toys, tmp_path, monkeypatch):
    real, count = jobs.run, 0

    def stopped(job):
        nonlocal count
        count += 1
        if count == 3:
            raise KeyboardInterrupt
        return real(job)

    monkeypatch.setattr(jobs, "run", stopped)
    with pytest.raises(KeyboardInterrupt) as stop:
        toys.run(tmp_path, extra=[toys.metric(toys.never)])
    assert stop.value.__notes__[0].startswith("2 of 12 jobs were finished; they are kept in")
    assert len(read_results(tmp_path / "results.json")) == 2 * 5 * 4


def test_a_damaged_job_file_is_done_again(toys, tmp_path):
    first = one(toys, toys.metric(toys.total), out=tmp_path)
    (file,) = (tmp_path / "jobs").iterdir()
    for text in ("", "[]", '{"format": "other", "cells": {}}', json.dumps({"cells": 3})):
        file.write_text(text)
        with pytest.warns(DamagedCellWarning):
            again = one(toys, toys.metric(toys.total), out=tmp_path)
        np.testing.assert_equal(again.rows, first.rows)


def test_a_model_may_be_a_file(toys, tmp_path):
    toys.linear_model(7).save(tmp_path / "net.keras")
    settings = {"n": 9, "seed": 5, **QUIET}
    args = ["gradient"], {"toy": toys.SCENES["toy"]}, [toys.metric(toys.total)]
    from_file = benchmark({"net": tmp_path / "net.keras"}, *args, **settings)
    np.testing.assert_equal(from_file.rows, one(toys, toys.metric(toys.total)).rows)


def test_tables(toys):
    found = toys.run()
    lines = found.table("total", model="a").splitlines()
    assert lines[0].split() == ["total", "top", "left", "bottom", "right"]
    row = found.select(model="a", method="ig", scene="toy", metric="total", coordinate="top").rows[
        0
    ]
    assert any(line.startswith("toy") and f"{row['mean']:.3f} [" in line for line in lines)
    assert found.table("broken").count("failed") == 2 * 3 * 2 * 4
    assert isinstance(found.select(metric=["total", "broken"]), Results)
    with pytest.raises(ValueError, match="`metric` must be one of"):
        found.table("totla")
    with pytest.raises(ValueError, match="`wanted` leaves no rows"):
        found.table("total", model="c")
    with pytest.raises(ValueError, match="`column` must be one of"):
        found.select(modle="a")


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"models": {"x": 3}}, TypeError, r"`models\['x'\]` must be a keras.Model, the path"),
        ({"models": ["integrtor"]}, ValueError, r"`models\['integrtor'\]` must be one of"),
        ({"methods": ["gradeint"]}, ValueError, "Did you mean 'gradient'"),
        ({"methods": "gradient"}, TypeError, "`methods` must be a list of names or a dict"),
        ({"methods": []}, ValueError, "`methods` must hold at least one"),
        ({"methods": {"g": ("gradient", 3)}}, TypeError, "with a dict of options"),
        pytest.param(
            {"methods": {"g": ("gradient", {"a": object()})}}, TypeError, "An option must be",
            id="an object as option",
        ),
        ({"metrics": ["masss"]}, ValueError, r"`metrics\['masss'\]` must be one of"),
        ({"scenes": ["uniform"]}, ValueError, "`model` takes images of"),
        ({"scenes": [wb.data.Scene()]}, TypeError, "`scenes` must hold names"),
        ({"coordinates": ["area"]}, ValueError, r"`coordinates\[0\]` must be one of"),
        ({"coordinates": []}, ValueError, "`coordinates` must name at least one"),
        ({"n": 0}, ValueError, "`n` must be a whole number >= 1"),
        ({"executor": 4}, TypeError, "`executor` must be a concurrent.futures.Executor or None"),
    ],
    ids=str,
)  # fmt: skip
def test_wrong_arguments(toys, tmp_path, change, error, message):
    good = {
        "models": {"net": toys.linear_model()}, "methods": ["gradient"], "scenes": toys.SCENES,
        "metrics": [toys.metric(toys.total)], "executor": None,
    }  # fmt: skip
    with pytest.raises(error, match=message):
        benchmark(**(good | change), out=tmp_path / "out", **QUIET)
    assert not (tmp_path / "out").exists()


def test_progress_bar_counts_jobs(toys, capsys):
    one(toys, toys.metric(toys.total), progress=True)
    assert "1/1" in capsys.readouterr().err


def test_models_are_let_go(toys):
    one(toys, toys.metric(toys.total))
    gc.collect()  # what tests before this one left in circles
    specs = [each for each in gc.get_objects() if isinstance(each, ModelSpec)]
    assert not any(isinstance(spec.model, keras.Model) for spec in specs)
