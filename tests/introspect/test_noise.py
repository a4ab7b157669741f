"""Methods under noise: the compiled way of simple base methods against the way of all others."""

import keras
import numpy as np
import pytest

import whitebox_loc as wb
from whitebox_loc.introspect import saliency
from whitebox_loc.introspect.methods.gradient import noise
from whitebox_loc.introspect.methods.gradient.gradients import POINTWISE

SIZE = (9, 11)
# float32 sums of ten maps, relative to the largest number of each; the variance is a difference
# of two such sums of about its own size.
CLOSE = 2e-5


@pytest.fixture(scope="module")
def model():
    layers = keras.layers
    found = keras.Sequential(
        [
            keras.Input((*SIZE, 2)),
            layers.Conv2D(4, 3, activation="relu"),
            layers.Conv2D(4, 3, activation="relu"),
            layers.Flatten(),
            layers.Dense(4, activation="sigmoid"),
        ]
    )
    generator = np.random.default_rng(3)
    for weight in found.weights:
        weight.assign(generator.normal(size=weight.shape) * 0.4)
    return found


@pytest.fixture(scope="module")
def images():
    return wb.data.generate(wb.data.Scene(size=SIZE, channels=2, noise=0.3), 5, seed=0).images


# Each base under one method and each method on one base; the other pairs are slow.
PAIRS = [
    pytest.param(
        method, base, marks=() if method == "smoothgrad" or base == "gradient" else pytest.mark.slow
    )
    for method in ("smoothgrad", "squaregrad", "vargrad")
    for base in POINTWISE
]


@pytest.mark.parametrize(("method", "base"), PAIRS)
def test_one_graph_equals_map_after_map(monkeypatch, model, images, method, base):
    options = {"base": base, "samples": 10, "noise": 0.5, "seed": 4}
    # Other batches than the whole: several images, one image and several samples, single ones.
    found = [
        saliency(model, images, ["top", "area"], method, batch_size=size, **options)
        for size in (256, 12, 3, 1)
    ]
    monkeypatch.setattr(noise, "POINTWISE", {})
    expected, info = saliency(
        model, images, ["top", "area"], method, return_info=True, batch_size=64, **options
    )
    scale = np.abs(expected).max(axis=(1, 2, 3), keepdims=True)
    for maps in found:
        assert (np.abs(maps - expected) <= CLOSE * scale).all()
    assert info.passes == 50


def test_passes_are_those_of_all_samples(model, images):
    info = saliency(model, images, "top", "vargrad", samples=7, batch_size=4, return_info=True)[1]
    assert info.passes == 35
