"""Occlusion, RISE and D-RISE against loops in float64, closed forms and laws of the family."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import whitebox_loc as wb
from whitebox_loc.introspect import METHODS, saliency
from whitebox_loc.introspect.methods.perturbation.masks import segment_labels
from whitebox_loc.introspect.targets import as_target
from whitebox_loc.introspect.targets.query import Query
from whitebox_loc.introspect.tracing.inputs import check_images

FAMILY = [name for name, row in METHODS.items() if row.family == "perturbation"]
RANDOM = [name for name in FAMILY if "seed" in METHODS[name].options]
# Small enough that every test takes seconds at most.
FEW = {
    "occlusion": {"patch": 4, "stride": 3},
    "rise": {"samples": 40, "cells": 3},
    "drise": {"samples": 40, "cells": 3},
    "kernel_shap": {"segments": (2, 3), "samples": 40},
    "lime": {"segments": (2, 3), "samples": 40},
    "sobol": {"segments": (2, 3), "samples": 8},
    "hsic": {"segments": (2, 3), "samples": 40},
}
# A float32 model with sums of up to 150 terms is exact to 150 * 2**-24 = 9e-6 of their size.
CLOSE = 2e-5


class Net:
    """Flatten, Dense(6, tanh), Dense(4, sigmoid): the model, and the same in float64."""

    def __init__(self, size=(7, 9), channels=2, seed=0):
        random = np.random.default_rng(seed)
        pixels = size[0] * size[1] * channels
        shapes = [(pixels, 6), (6,), (6, 4), (4,)]
        self.weights = [random.normal(size=s).astype("float32") / s[0] ** 0.5 for s in shapes]
        self.model = keras.Sequential(
            [
                keras.Input((*size, channels)),
                keras.layers.Flatten(),
                keras.layers.Dense(6, activation="tanh"),
                keras.layers.Dense(4, activation="sigmoid"),
            ]
        )
        self.model.set_weights(self.weights)
        self.images = random.random((3, *size, channels)).astype("float32")

    def __call__(self, image):
        a, b, c, d = (w.astype(float) for w in self.weights)
        return 1 / (1 + np.exp(-(np.tanh(image.astype(float).ravel() @ a + b) @ c + d)))


@pytest.fixture(scope="module")
def net():
    return Net()


@pytest.mark.parametrize(
    ("patch", "stride", "base"), [(8, 4, 0.0), (3, 2, 0.4), (1, 1, 0.0), (4, 3, 1.0), (20, 6, 0.0)]
)
def test_occlusion_against_loops(net, patch, stride, base):
    height, width, _ = net.images.shape[1:]
    expected = np.zeros((4, 3, height, width))
    for n, image in enumerate(net.images):
        total, cover = np.zeros((4, height, width)), np.zeros((height, width))
        for y in range(stride - patch, height, stride):
            for x in range(stride - patch, width, stride):
                hidden, window = image.copy(), np.zeros((height, width), bool)
                window[max(y, 0) : y + patch, max(x, 0) : x + patch] = True
                hidden[window] = base
                total[:, window] += (net(image) - net(hidden))[:, None]
                cover += window
        assert cover.min() > 0
        expected[:, n] = total / cover
    found = saliency(
        net.model, net.images, [0, 1, 2, 3], "occlusion", patch=patch, stride=stride, baseline=base
    )
    np.testing.assert_allclose(found, expected, rtol=0, atol=CLOSE)


def linear_model(size, channels=1, outputs=2):
    model = keras.Sequential(
        [keras.Input((*size, channels)), keras.layers.Flatten(), keras.layers.Dense(outputs)]
    )
    kernel = model.get_weights()[0].astype(float)
    return model, kernel.reshape(*size, channels, outputs)


def test_occlusion_of_single_pixels_is_exact_on_linear_models():
    model, weights = linear_model((6, 5), channels=3)
    images = np.random.default_rng(1).random((4, 6, 5, 3), "float32")
    base = np.random.default_rng(2).random((6, 5, 3), "float32")
    found = saliency(model, images, [0, 1], "occlusion", patch=1, stride=1, baseline=base)
    expected = np.einsum("yxck,nyxc->knyx", weights, images.astype(float) - base)
    np.testing.assert_allclose(found, expected, rtol=0, atol=CLOSE)


def test_occlusion_covers_the_border_as_often_as_the_middle():
    # Where the stride divides the patch, each pixel is in (patch / stride)^2 windows.
    model, _ = linear_model((11, 14))
    images = np.ones((1, 11, 14, 1), "float32")
    info = saliency(model, images, 0, "occlusion", patch=6, stride=2, return_info=True)[1]
    # Starts -4, -2 .. 10 and -4 .. 12, and the image itself.
    assert info.passes == 8 * 9 + 1


def rise_masks(size, samples, cells, probability, seed):
    """What the pixels show, (samples, height, width): the paper's recipe, pixel by pixel."""
    random = np.random.default_rng(seed)
    grids = (random.random((samples, cells, cells)) < probability).astype(float)
    cell = [-(-n // cells) for n in size]
    shifts = random.integers(0, cell, size=(samples, 2), dtype=np.int32)
    masks = np.zeros((samples, *size))
    for s in range(samples):
        for y, x in np.ndindex(*size):
            places = []
            for at, step in zip((y + shifts[s, 0], x + shifts[s, 1]), cell, strict=True):
                place = (at + 0.5) / ((cells + 1) * step) * cells - 0.5
                places.append(min(max(place, 0), cells - 1))
            i, j = (int(p) for p in places)
            v, u = places[0] - i, places[1] - j
            k, m = min(i + 1, cells - 1), min(j + 1, cells - 1)
            masks[s, y, x] = (1 - v) * ((1 - u) * grids[s, i, j] + u * grids[s, i, m]) + v * (
                (1 - u) * grids[s, k, j] + u * grids[s, k, m]
            )
    return masks


@pytest.mark.parametrize(("cells", "probability", "base"), [(3, 0.5, 0.0), (4, 0.3, 0.6)])
def test_rise_against_loops(net, cells, probability, base):
    options = {"samples": 30, "cells": cells, "probability": probability, "seed": 5}
    masks = rise_masks(net.images.shape[1:3], **options)
    found = saliency(net.model, net.images, [0, 1, 2, 3], "rise", baseline=base, **options)
    for n, image in enumerate(net.images):
        seen = [net(m[..., None] * image + (1 - m[..., None]) * base) for m in masks]
        for k in range(4):
            values = np.array([v[k] for v in seen])
            covariance = [
                np.cov(values, masks[:, y, x])[0, 1] for y, x in np.ndindex(masks.shape[1:])
            ]
            expected = np.reshape(covariance, masks.shape[1:]) / probability
            np.testing.assert_allclose(found[k, n], expected, rtol=0, atol=CLOSE)


def test_rise_is_unbiased():
    # One cell: the image is seen as a whole or not at all, so that the mean over masks that
    # show a pixel less the mean over all is (1 - p) (f(x) - f(black)), here 0.7 * 3.
    model, _ = linear_model((2, 2), outputs=1)
    model.set_weights([np.full((4, 1), 0.75, "float32"), np.full(1, 10, "float32")])
    images = np.ones((1, 2, 2, 1), "float32")
    options = {"samples": 4, "cells": 1, "probability": 0.3}
    maps = [saliency(model, images, 0, "rise", seed=s, **options)[0, 0, 0] for s in range(400)]
    error = np.std(maps) / 20
    # Dividing by samples instead of samples - 1 would lie 25 %, some 8 errors, too low.
    assert abs(np.mean(maps) - 0.7 * 3) < 4 * error < 0.25 * 0.7 * 3


def test_rise_masks_show_every_pixel_equally_often():
    # Of the recipe that the maps above are compared with, corners included.
    size, samples = (5, 6), 2000
    masks = rise_masks(size, samples, 3, 0.4, 9)
    # A pixel's variance is at most p (1 - p).
    error = (0.4 * 0.6 / samples) ** 0.5
    assert np.abs(masks.mean(0) - 0.4).max() < 4.5 * error


def overlap(a, b):
    height = min(a[2], b[2]) - max(a[0], b[0])
    width = min(a[3], b[3]) - max(a[1], b[1])
    shared = max(height, 0) * max(width, 0)
    return shared / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared)


def ordered_net():
    """A net of boxes with area: top and left around .3, bottom and right around .7."""
    net = Net(seed=3)
    net.weights[3] = np.array([-1, -1, 1, 1], "float32")
    net.model.set_weights(net.weights)
    return net


@pytest.mark.parametrize("reference", ["predicted", "one", "several"])
def test_drise_against_loops(reference):
    net = ordered_net()
    several = np.array([[0.2, 0.1, 0.6, 0.9], [0.3, 0.3, 0.7, 0.7], [0, 0, 1, 1]])
    options = {"predicted": {}, "one": {"boxes": several[0]}, "several": {"boxes": several}}
    common = {"samples": 20, "cells": 3, "seed": 1}
    masks = rise_masks(net.images.shape[1:3], probability=0.5, **common)
    found = saliency(
        net.model, net.images, ["top", "area"], "drise", **options[reference], **common
    )
    for n, image in enumerate(net.images):
        box = {"predicted": net(image), "one": several[0], "several": several[n]}[reference]
        values = np.array([overlap(net(m[..., None] * image), box) for m in masks])
        away = np.einsum("s,syx->yx", values - values.mean(), masks) / 19 / 0.5
        assert np.abs(away).max() > 100 * CLOSE
        for k in range(2):
            np.testing.assert_allclose(found[k, n], away, rtol=0, atol=CLOSE)


def test_drise_follows_rows_under_noise():
    # smoothgrad asks about 2 variants of each image: each keeps the box of its own image.
    net = ordered_net()
    boxes = np.array([[0.2, 0.1, 0.6, 0.9], [0.3, 0.3, 0.7, 0.7], [0, 0, 1, 1]])
    common = {"base": "drise", "cells": 3, "noise": 0.0, "samples": 2}
    maps = saliency(net.model, net.images, "top", "smoothgrad", boxes=boxes, **common)
    for n in range(3):
        single = saliency(net.model, net.images[[n]], "top", "smoothgrad", boxes=boxes[n], **common)
        np.testing.assert_allclose(maps[n], single[0], rtol=0, atol=CLOSE)
        assert np.abs(maps[n] - maps[n - 1]).max() > 10 * CLOSE
    query = Query(net.model, check_images(net.images), [as_target("top")])
    swapped = query.at(net.images[[2, 0]], np.array([2, 0]))
    found = METHODS["drise"].function(swapped, boxes=boxes, cells=3).values[0]
    np.testing.assert_allclose(found, maps[[2, 0]], rtol=0, atol=CLOSE)


@pytest.fixture(scope="module")
def scene():
    images = wb.data.generate(wb.data.Scene(size=(12, 16)), 5, seed=0).images
    return wb.models.localizer(size=(12, 16)), images


NAMES = ["top", "left", "bottom", "right"]


def distance(true, predicted):
    """A loss that differs between images whatever is predicted, unlike an IoU of 0."""
    return tf.reduce_sum((true - predicted) ** 2, 1)


def close_to(method, spread):
    """Tolerance for two maps of targets that are exact to CLOSE and vary by `spread` over masks.

    Maps are differences of two targets, averaged (4 are left for the fits). Indices and
    dependences are such differences in units of the spread, which for an untrained localizer
    is hardly more than rounding; hence a net whose targets do vary. A Sobol index S moves by
    (2 sqrt(2 S) + 2 S) CLOSE / spread, and S < 2 for so few samples. HSIC is half a mean of
    z z' exp(-(d / w)^2 / 2), |z| < 1.3, with distances d and a median w wrong by 2 CLOSE each:
    2.3 CLOSE / w; and parts seen or not, as there, vary more than parts seen by shares.
    """
    gain = {"sobol": 8 / spread, "hsic": 3 / spread}.get(method, 4)
    return {"rtol": 0, "atol": gain * CLOSE}


def spread_of(net, read):
    """Smallest standard deviation of a target where six parts are seen by random shares."""
    labels = segment_labels(FEW["sobol"]["segments"], net.images.shape[1:3])
    shares = np.random.default_rng(0).random((200, 6))
    values = [
        [read(net(share[labels][..., None] * image), n) for share in shares]
        for n, image in enumerate(net.images)
    ]
    return np.std(values, axis=1).min()


@pytest.mark.parametrize("method", FAMILY)
def test_targets_share_passes_and_batches_do_not_matter(method):
    net = ordered_net()
    model, images = net.model, net.images
    together, info = saliency(model, images, NAMES, method, return_info=True, **FEW[method])
    assert together.shape == (4, 3, 7, 9)
    assert together.dtype == np.float32
    close = close_to(method, spread_of(net, lambda box, n: box))
    # Another image's map would be seen; drise has one map for all targets.
    assert np.abs(together - together[:, ::-1]).max() > 10 * close["atol"]
    for k, name in enumerate(NAMES):
        single, alone = saliency(model, images, name, method, return_info=True, **FEW[method])
        np.testing.assert_allclose(single, together[k], **close)
        assert alone.passes == info.passes
    for size in (1, 3, 7, 50):
        other = saliency(model, images, NAMES, method, batch_size=size, **FEW[method])
        np.testing.assert_allclose(other, together, **close)
    # An image's map is its own, whatever stands beside it.
    last = saliency(model, images[-1:], NAMES, method, **FEW[method])
    np.testing.assert_allclose(last[:, 0], together[:, -1], **close)


@pytest.mark.parametrize("method", FAMILY)
def test_boxes_of_targets_follow_their_images(method):
    net = ordered_net()
    boxes = np.array([[0, 0, 0.5, 0.6], [0.1, 0.2, 0.9, 0.8], [0.5, 0.4, 1, 1]])
    target = wb.introspect.targets.loss(distance, boxes)
    maps = saliency(net.model, net.images, target, method, batch_size=7, **FEW[method])
    # The loss is steeper than a coordinate by 2 |true - predicted|, 4 coordinates together.
    close = close_to(method, spread_of(net, lambda box, n: ((boxes[n] - box) ** 2).sum() / 4))
    for n in range(3):
        target = wb.introspect.targets.loss(distance, boxes[n])
        single = saliency(net.model, net.images[n : n + 1], target, method, **FEW[method])[0]
        np.testing.assert_allclose(maps[n], single, **close)


@pytest.mark.parametrize("method", RANDOM)
def test_same_seed_same_bytes(scene, method):
    def maps(seed):
        return saliency(*scene, "top", method, seed=seed, **FEW[method])

    assert maps(7).tobytes() == maps(7).tobytes()
    assert maps(7).tobytes() == maps(np.random.default_rng(7)).tobytes()
    if method != "kernel_shap":
        assert maps(7).tobytes() != maps(8).tobytes()


@pytest.mark.parametrize("method", [m for m in FAMILY if m != "drise"])
def test_sign_follows_the_target(scene, method):
    model, images = scene
    maps = saliency(model, images, lambda out: out[:, 0], method, **FEW[method])
    minus = saliency(model, images, lambda out: -out[:, 0], method, **FEW[method])
    scale = np.abs(maps).max()
    if method in ("sobol", "hsic"):
        assert maps.min() >= 0
        np.testing.assert_allclose(minus, maps, rtol=0, atol=1e-6 * scale)
    else:
        assert maps.min() < 0 < maps.max()
        np.testing.assert_allclose(minus, -maps, rtol=0, atol=1e-6 * scale)


@pytest.mark.parametrize("method", [m for m in FAMILY if m != "drise"])
def test_constant_targets_have_empty_maps(scene, method):
    model, images = scene
    flat = saliency(model, images, lambda out: 0.0 * out[:, 0] + 0.3, method, **FEW[method])
    # The fits take the value off by a float64 solution of some ten unknowns.
    np.testing.assert_allclose(flat, 0, atol=1e-15)


@pytest.mark.parametrize("method", [m for m in FAMILY if m not in ("sobol", "hsic")])
def test_several_baselines_are_averaged(method):
    net = ordered_net()

    def maps(base):
        return saliency(net.model, net.images, [0, 1, 2, 3], method, baseline=base, **FEW[method])

    mean = (maps(0.2) + maps(0.9)) / 2
    np.testing.assert_allclose(maps((0.2, 0.9)), mean, rtol=0, atol=CLOSE)
    assert np.abs(maps(0.2) - maps(0.9)).max() > 10 * CLOSE


ERRORS = [
    ("occlusion", {"patch": 0}, ValueError, "`patch` must be a whole number >= 1; got 0"),
    ("occlusion", {"stride": 1.5}, TypeError, "`stride` must be a whole number >= 1; got 1.5"),
    ("occlusion", {"patch": 3}, ValueError, "`stride` must be at most `patch`, 3, or .*got 4"),
    ("occlusion", {"baseline": "x"}, TypeError, "`baseline` must be a number, an image"),
    (
        "rise",
        {"samples": 1},
        ValueError,
        "`samples` must be a whole number between 2 and 10000000; got 1",
    ),
    ("rise", {"cells": 0}, ValueError, "`cells` must be a whole number between 1 and 1000; got 0"),
    ("rise", {"probability": 1.0}, ValueError, "`probability` must lie between 0 and 1, or all"),
    ("rise", {"probability": 2}, ValueError, "`probability` must be a finite number between 0"),
    ("rise", {"seed": "a"}, TypeError, "`seed` must be a whole number"),
    ("drise", {"boxes": [[0, 0, 1, 1]] * 2}, ValueError, r"`boxes` must have shape \(5, 4\), one"),
    ("drise", {"boxes": [1, 2]}, ValueError, r"`boxes` must have shape \(..., 4\)"),
]


@pytest.mark.parametrize(("method", "options", "error", "message"), ERRORS)
def test_bad_options(scene, method, options, error, message):
    with pytest.raises(error, match=message):
        saliency(*scene, "top", method, **options)
