"""Every option of every method, by every bad value: a clear error that names it, or a result."""

import keras
import numpy as np
import pytest

import whitebox_loc as wb
from whitebox_loc.introspect import METHODS, saliency

SIZE = (6, 7)
IMAGES = np.random.default_rng(0).random((2, *SIZE, 1), np.float32)

VALUES = {
    "None": None,
    "text": "x",
    "nan": float("nan"),
    "inf": float("inf"),
    "-1": -1,
    "0": 0,
    "1e9": 10**9,
    "[]": [],
    "{}": {},
    "object": object(),
    "True": True,
    "3.7": 3.7,
    "axes": np.zeros((2, 3, 4, 5)),
    "ragged": [[1], [1, 2]],
}

NUMBERS = {"-1", "0", "1e9", "3.7"}
RIGHT = {
    "baseline": NUMBERS,
    "seed": {"0", "1e9"},
    "noise": {"0", "1e9", "3.7"},
    "ridge": {"0", "1e9", "3.7"},
    "kernel_width": {"1e9", "3.7"},
    "max_sigma": {"None", "3.7"},
    "layer": {"None"},
    "relu": {"True"},
    "softmax": {"True"},
    "boxes": {"None"},
    "scene": {"None"},
    "labels": {"None"},
    "composite": {"None"},
    "bias": {"None", "True"},
    "epsilon": {"None", "0", "1e9", "3.7"},
    "gamma": {"None", "0", "1e9", "3.7"},
    "alpha": {"None"},
    "beta": {"None"},
    # Between 0 and 1 where nothing else is said.
    "low": {"None", "-1", "0"},
    "high": {"None", "0", "1e9", "3.7"},
}
"""Which of the values each option allows; the others have none of them."""

RIGHT_OF = {("lrp", "rule"): {"None"}, ("kernel_shap", "samples"): {"1e9"}}
"""Where methods differ. Few segments have few sets, which are tried once each."""

BESIDE = {
    "alpha": {"rule": "alpha_beta"},
    "beta": {"rule": "alpha_beta"},
    "gamma": {"rule": "gamma"},
    "low": {"rule": "z_box"},
    "high": {"rule": "z_box"},
    "labels": {"scene": wb.data.as_scene("uniform", size=SIZE)},
}
"""What an option needs to be read at all."""


def few(row):
    """As few steps, samples and segments as are enough."""
    if "segments" in row.options:
        return {"segments": (1, 2), "samples": 16}
    return {name: 3 for name in ("steps", "samples") if name in row.options}


@pytest.fixture(scope="module")
def model():
    conv = keras.layers.Conv2D(2, 3, activation="relu")
    box = keras.layers.Dense(4, activation="sigmoid")
    return keras.Sequential([keras.Input((*SIZE, 1)), conv, keras.layers.Flatten(), box])


def right(method, option):
    return RIGHT_OF.get((method, option), RIGHT.get(option, set()))


@pytest.mark.parametrize("method", [name for name, row in METHODS.items() if row.options])
def test_a_bad_value_is_refused_by_the_name_of_its_option(model, method):
    row, wrong = METHODS[method], []
    for option in row.options:
        for name, value in VALUES.items():
            options = {**few(row), **BESIDE.get(option, {}), option: value}
            try:
                maps = saliency(model, IMAGES, "top", method, **options)
            except (ValueError, TypeError) as error:
                named = f"`{option}`" in str(error) and str(error).endswith((".", "?", ")"))
                told = "refused" if named else f"unclear: {error}"
            else:
                told = "allowed" if np.isfinite(maps).all() else "not finite"
            if told != ("allowed" if name in right(method, option) else "refused"):
                wrong.append((option, name, told))
    assert not wrong


def test_tables_name_options_only():
    known = {(name, option) for name, row in METHODS.items() for option in row.options}
    assert RIGHT_OF.keys() <= known
    assert {*RIGHT, *BESIDE} <= {option for _, option in known}


ABSURD = {
    "midpoint": (
        "integrated_gradients",
        {"steps": 10**12, "rule": "midpoint"},
        "`steps` 1000000000000 asks for 336,000 GB of points on the way; at most 137 GB are tried. "
        "Take a smaller number.",
    ),
    "gauss": (
        "blur_ig",
        {"steps": 2001},
        "`steps` must be a whole number between 1 and 2000; got 2001.",
    ),
    "blur": (
        "blur_ig",
        {"max_sigma": 71.0},
        "`max_sigma` must be a finite number between 0.001 and 70.0; got 71.0.",
    ),
    "noise": (
        "smoothgrad",
        {"samples": 10**12},
        "`samples` 1000000000000 asks for 168,000 GB of noise; at most 137 GB are tried. Take a "
        "smaller number.",
    ),
    "of the base method": (
        "smoothgrad",
        {"base": "integrated_gradients", "steps": 2001},
        "`steps` must be a whole number between 1 and 2000; got 2001.",
    ),
    "windows": (
        "occlusion",
        {"patch": 10**6, "stride": 1},
        "`patch` and `stride`, 1000000 and 1, make 1000011000030 windows; at most 1000000 are "
        "tried. Take a smaller `patch` or a larger `stride`.",
    ),
    "cells": (
        "rise",
        {"cells": 10**5},
        "`cells` must be a whole number between 1 and 1000; got 100000.",
    ),
    "pairs": (
        "hsic",
        {"samples": 30000},
        "`samples` must be a whole number between 2 and 20000; got 30000.",
    ),
    "dimensions": (
        "sobol",
        {"segments": np.arange(200 * 100).reshape(200, 100)},
        "`segments` must be at most 10600, for which there are Sobol sequences; got 20000.",
    ),
    "step": (
        "edge_move",
        {"step": 8},
        "`step` must be a whole number between 1 and 7; got 8.",
    ),
}


@pytest.mark.parametrize("case", ABSURD)
def test_absurd_sizes_are_refused_before_memory_is_asked_for(model, case):
    method, options, text = ABSURD[case]
    images = IMAGES
    if case == "dimensions":
        model = keras.Sequential([keras.Input((200, 100, 1)), keras.layers.GlobalMaxPooling2D()])
        images = np.zeros((1, 200, 100, 1), np.float32)
    with pytest.raises(ValueError, match="`") as caught:
        saliency(model, images, 0, method, **options)
    assert str(caught.value) == text


def test_too_few_samples_for_many_segments_are_refused_at_once(model):
    # Before the rank of a matrix (segments, segments) is computed.
    for method in ("kernel_shap", "lime"):
        with pytest.raises(ValueError, match="5 masks do not tell 42 segments apart"):
            saliency(model, IMAGES, "top", method, segments=(10**9, 10**9), samples=5)
