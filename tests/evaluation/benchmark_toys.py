"""A small world for benchmarks, which worker processes can import; or run it as a script.

python benchmark_toys.py OUT [SECONDS]
"""

import os
import sys
import time

import keras
import numpy as np

import whitebox_loc as wb
from whitebox_loc.evaluation.benchmarking.running import benchmark
from whitebox_loc.evaluation.scores.record import Metric

SIZE = (4, 6)
SCENES = {"toy": wb.data.Scene(size=SIZE), "thin": wb.data.Scene(size=SIZE, short_side=(1, 1))}


def linear_model(seed=0):
    """Boxes that are linear in the pixels: the gradient is the column of weights."""
    inputs = keras.Input((*SIZE, 1))
    outputs = keras.layers.Dense(4, name="box")(keras.layers.Flatten()(inputs))
    model = keras.Model(inputs, outputs)
    kernel = np.random.default_rng(seed).standard_normal((24, 4)).astype("float32")
    model.layers[-1].set_weights([kernel, np.zeros(4, "float32")])
    return model


def total(trial):
    return trial.maps.astype(np.float64).sum((1, 2))


def product(trial):
    return (trial.maps * trial.images[..., 0].astype(np.float64)).sum((1, 2))


def height_of_tall_ones(trial, least=2):
    top, _, bottom, _ = trial.boxes.T
    return np.where(bottom - top >= least, bottom - top, np.nan)


def never(trial):
    return np.full(len(trial), np.nan)


def too_short(trial):
    return np.zeros(len(trial) - 1)


def infinite(trial):
    return np.full(len(trial), np.inf)


def broken(trial):
    raise ZeroDivisionError("this metric\nis broken")


def again(trial):
    """Total of the maps of doubled images by ``explain``; equal to `total` for gradients."""
    return trial.explain(trial.model, 2 * trial.images).sum((1, 2))


def of_the_gap(trial):
    return np.abs(trial.gap)


def sleepy(trial, seconds=0.0):
    time.sleep(seconds)
    return trial.seed + total(trial)


def deadly_once(trial, marker=""):
    """Kill the process the first time that it is asked, as the system does without memory."""
    try:
        os.close(os.open(marker, os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return total(trial)
    os.kill(os.getpid(), 9)


def metric(function, name=None, truth="none", needs=(), **options):
    return Metric(
        name or function.__name__, function, "complexity", truth, True, (-np.inf, np.inf), "x",
        "none", "nothing", frozenset(needs), options=options,
    )  # fmt: skip


def run(out=None, seconds=0.0, executor=None, extra=(), **options):
    """Benchmark two models, three methods and two scenes: twelve jobs."""
    models = {"a": linear_model(0), "b": linear_model(1)}
    methods = {
        "gradient": "gradient",
        "noisy": ("smoothgrad", {"samples": 3}),
        "ig": ("integrated_gradients", {"steps": 4}),
    }
    metrics = [
        metric(total), metric(height_of_tall_ones), metric(broken),
        metric(sleepy, seconds=seconds), *extra,
    ]  # fmt: skip
    settings = {"n": 6, "seed": 3, "baselines": False, "progress": False}
    return benchmark(models, methods, SCENES, metrics, executor, out, **(settings | options))


if __name__ == "__main__":
    run(sys.argv[1], float(sys.argv[2]) if len(sys.argv) > 2 else 0.0)
