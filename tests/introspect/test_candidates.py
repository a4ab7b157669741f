"""Targets of models with several boxes: values by hand, slopes by differences, every method."""

import keras
import numpy as np
import pytest

from whitebox_loc.introspect import METHODS, saliency, targets

LAYERS = keras.layers
SIZE = (8, 10)
IMAGES = np.random.default_rng(0).random((3, *SIZE, 1), np.float32)
K, C = 5, 3
EDGES = ("top", "left", "bottom", "right")


def shake(model, seed=1, scale=0.4):
    generator = np.random.default_rng(seed)
    for weight in model.trainable_weights:
        weight.assign(generator.normal(0, scale, weight.shape))
    return model


def build(classes="softmax"):
    """A small network with five candidates of three classes; boxes with area around .5."""
    x = keras.Input((*SIZE, 1))
    y = LAYERS.Conv2D(4, 3, activation="relu", name="conv")(x)
    flat = LAYERS.Flatten()(y)
    first = LAYERS.Dense(2 * K, activation="sigmoid", name="first")(flat)
    last = LAYERS.Dense(2 * K, activation="sigmoid", name="last")(flat)
    corner, other = (LAYERS.Reshape((K, 2))(t) for t in (first, last))
    low = LAYERS.Rescaling(0.5)(corner)
    high = LAYERS.Rescaling(0.5, offset=0.5)(other)
    outputs = {"boxes": LAYERS.Concatenate(name="boxes")([low, high])}
    scores = LAYERS.Dense(K, name="objectness")(flat)
    outputs["scores"] = LAYERS.Activation("sigmoid", name="scores")(scores)
    if classes:
        logits = LAYERS.Reshape((K, C))(LAYERS.Dense(K * C, name="logits")(flat))
        outputs["classes"] = LAYERS.Activation(classes, name="classes")(logits)
    return shake(keras.Model(x, outputs))


@pytest.fixture(scope="module")
def model():
    return build()


@pytest.fixture(scope="module")
def outputs(model):
    return {k: v.numpy().astype(np.float64) for k, v in model(IMAGES).items()}


OWN, LABELS = np.array([4, 0, 2]), np.array([1, 2, 0])
ROWS = np.arange(3)
DERIVED = {
    "height": lambda b: b[..., 2] - b[..., 0],
    "width": lambda b: b[..., 3] - b[..., 1],
    "center_y": lambda b: (b[..., 0] + b[..., 2]) / 2,
    "center_x": lambda b: (b[..., 1] + b[..., 3]) / 2,
    "area": lambda b: (b[..., 2] - b[..., 0]) * (b[..., 3] - b[..., 1]),
}


def part_of(outputs, part):
    if part in EDGES:
        return outputs["boxes"][..., EDGES.index(part)]
    if part == "score":
        return outputs["scores"]
    return DERIVED[part](outputs["boxes"])


def test_values_are_those_of_the_candidate(model, outputs):
    parts = [p for p in targets.PARTS if p != "class"]
    asked = [targets.candidate(OWN, p) for p in parts] + [targets.candidate(3, p) for p in parts]
    maps, info = saliency(model, IMAGES, asked, return_info=True)
    expected = [part_of(outputs, p)[ROWS, OWN] for p in parts]
    expected += [part_of(outputs, p)[:, 3] for p in parts]
    np.testing.assert_allclose(info.values, expected, rtol=1e-5)
    assert info.targets[0] == "top of own candidate"
    assert info.targets[-1] == "score of candidate 3"
    # An eager tape through the model by itself.
    import tensorflow as tf

    images = tf.constant(IMAGES)
    for part, found in zip(parts, maps, strict=False):
        with tf.GradientTape() as tape:
            tape.watch(images)
            value = part_of(model(images), part)
            value = tf.reduce_sum(tf.gather(value, OWN, batch_dims=1))
        slope = tape.gradient(value, images)[..., 0]
        # A few hundred float32 products in another order.
        np.testing.assert_allclose(found, slope, atol=1e-5 * np.abs(slope).max())


def test_classes_of_a_candidate(model, outputs):
    asked = [targets.candidate(OWN, "class", classes=LABELS)]
    asked += [targets.candidate(1, "class", classes=c) for c in range(C)]
    p = outputs["classes"]
    expected = np.stack([p[ROWS, OWN, LABELS], *p[:, 1].T])
    _, info = saliency(model, IMAGES, asked, return_info=True)
    np.testing.assert_allclose(info.values, expected, rtol=1e-5)
    of_one = [f"class {c} of candidate 1" for c in range(C)]
    assert info.targets == ("own class of own candidate", *of_one)
    _, info = saliency(model, IMAGES, asked, link="logit", return_info=True)
    np.testing.assert_allclose(info.values, np.log(expected / (1 - expected)), atol=1e-4)
    assert info.links == ("input of the softmax",) * 4


@pytest.mark.parametrize("reshaped", ["softmax", "sigmoid"])
def test_log_odds_stay_exact_where_outputs_are_saturated(reshaped):
    """Also where candidates are made of a grid after the sigmoid or softmax."""
    x = keras.Input((*SIZE, 1))
    grid = LAYERS.Conv2D(3, 3, strides=3, name="conv")(x)
    scores = LAYERS.Conv2D(1, 1, activation="sigmoid", name="objectness")(grid)
    classes = LAYERS.Activation(reshaped)(LAYERS.Conv2D(3, 1, name="logits")(grid))
    boxes = LAYERS.Conv2D(4, 1)(grid)
    model = keras.Model(
        x,
        {
            "boxes": LAYERS.Reshape((-1, 4))(boxes),
            "scores": LAYERS.Reshape((-1,))(scores),
            "classes": LAYERS.Reshape((-1, 3))(classes),
        },
    )
    shake(model, scale=3.0)
    inner = keras.Model(x, [model.get_layer("logits").output, grid])
    logits, features = (t.numpy().astype(np.float64) for t in inner(IMAGES))
    kernel, bias = model.get_layer("objectness").get_weights()
    raw = (features @ kernel[0, 0].astype(np.float64) + bias).reshape(3, -1)
    assert np.abs(raw).max() > 20
    z = logits.reshape(3, -1, 3)[ROWS, OWN]
    own = z[ROWS, LABELS]
    rest = np.log(np.exp(np.array([np.delete(z[i], LABELS[i]) for i in ROWS])).sum(1))
    wanted = own - rest if reshaped == "softmax" else own
    asked = [targets.candidate(OWN, "score"), targets.candidate(OWN, "class", classes=LABELS)]
    _, info = saliency(model, IMAGES, asked, link="logit", return_info=True)
    # Numbers up to some hundred, in float32.
    np.testing.assert_allclose(info.values, [raw[ROWS, OWN], wanted], rtol=1e-4, atol=1e-4)
    assert info.links == ("input of the sigmoid", f"input of the {reshaped}")


def test_log_odds_of_a_softmax_over_all_candidates():
    """Its input, cut into candidates, would be another softmax: the formula is right."""
    x = keras.Input((*SIZE, 1))
    flat = LAYERS.Flatten()(x)
    outputs = {
        "boxes": LAYERS.Reshape((K, 4))(LAYERS.Dense(4 * K)(flat)),
        "scores": LAYERS.Dense(K, activation="sigmoid")(flat),
        "classes": LAYERS.Reshape((K, C))(LAYERS.Dense(K * C, activation="softmax")(flat)),
    }
    model = shake(keras.Model(x, outputs), scale=0.2)
    p = model(IMAGES)["classes"].numpy().astype(np.float64)[ROWS, OWN, LABELS]
    asked = targets.candidate(OWN, "class", classes=LABELS)
    _, info = saliency(model, IMAGES, asked, link="logit", return_info=True)
    np.testing.assert_allclose(info.values, np.log(p / (1 - p)), rtol=1e-4)
    assert info.links == ("log(p) - log(1 - p) of the output",)


def overlap(a, b):
    height = min(a[2], b[2]) - max(a[0], b[0])
    width = min(a[3], b[3]) - max(a[1], b[1])
    shared = max(height, 0) * max(width, 0)
    return shared / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared)


def likeness(outputs, box, wanted=None):
    """D-RISE's similarity of one image's outputs, in loops and float64."""
    best = -1.0
    for j, candidate in enumerate(outputs["boxes"]):
        value = overlap(candidate, box) * outputs["scores"][j]
        if wanted is not None:
            p = outputs["classes"][j]
            value *= p @ wanted / np.sqrt(p @ p) / np.sqrt(wanted @ wanted)
        best = max(best, value)
    return best


BOXES = np.array([[0.1, 0.2, 0.7, 0.9], [0.3, 0.3, 0.9, 0.6], [0.2, 0.1, 0.8, 0.8]])
VECTORS = np.random.default_rng(3).random((3, C))
CLASSES = {
    "none": (None, [None] * 3),
    "one": (2, [np.eye(C)[2]] * 3),
    "own": (LABELS, np.eye(C)[LABELS]),
    "vectors": (VECTORS, VECTORS),
}


@pytest.mark.parametrize("kind", CLASSES)
def test_likeness_to_a_given_box(model, outputs, kind):
    given, wanted = CLASSES[kind]
    _, info = saliency(model, IMAGES, targets.detection(BOXES, given), return_info=True)
    each = [{name: a[n] for name, a in outputs.items()} for n in ROWS]
    expected = [likeness(each[n], BOXES[n], wanted[n]) for n in ROWS]
    np.testing.assert_allclose(info.values, expected, rtol=1e-5)
    assert np.ptp(expected) > 0.01


@pytest.mark.parametrize("kind", CLASSES)
def test_rise_of_the_likeness_is_drise(model, kind):
    """The paper's sum over masks, in float64, less what does not depend on the pixel."""
    given, wanted = CLASSES[kind]
    options = {"samples": 30, "cells": 3, "probability": 0.4, "seed": 5}
    found = saliency(model, IMAGES, targets.detection(BOXES, given), "rise", **options)
    masks = rise_masks(SIZE, **options)
    for n in ROWS:
        seen = model((masks[..., None] * IMAGES[n]).astype(np.float32))
        seen = {name: a.numpy().astype(np.float64) for name, a in seen.items()}
        weights = np.array(
            [likeness({k: a[s] for k, a in seen.items()}, BOXES[n], wanted[n]) for s in range(30)]
        )
        # The paper's map is mean(w m) / p. Less mean(w) mean(m) / p, with s - 1 for s:
        paper = np.einsum("s,syx->yx", weights, masks) / 30 / 0.4
        expected = (paper - weights.mean() * masks.mean(0) / 0.4) * 30 / 29
        assert np.abs(expected).max() > 1e-3
        # Sums of 30 float32 numbers of size 1, each 6e-8 off.
        np.testing.assert_allclose(found[n], expected, atol=5e-6)


def rise_masks(size, samples, cells, probability, seed):
    """The recipe of RISE: coarse grids, interpolated between their cells' middles, shifted."""
    generator = np.random.default_rng(seed)
    grids = generator.random((samples, cells, cells)) < probability
    cell = [-(-length // cells) for length in size]
    shifts = generator.integers(0, cell, size=(samples, 2), dtype=np.int32)
    masks = np.zeros((samples, *size))
    for s in range(samples):
        for y in range(size[0]):
            for x in range(size[1]):
                places = []
                for at, step in zip((y + shifts[s, 0], x + shifts[s, 1]), cell, strict=True):
                    place = (at + 0.5) * cells / ((cells + 1) * step) - 0.5
                    places.append(min(max(place, 0), cells - 1))
                low = [min(int(p), cells - 2) for p in places]
                v, u = (p - q for p, q in zip(places, low, strict=True))
                corner = grids[s, low[0] : low[0] + 2, low[1] : low[1] + 2].astype(float)
                masks[s, y, x] = np.array([1 - v, v]) @ corner @ np.array([1 - u, u])
    return masks


def test_likeness_of_a_model_of_one_box():
    x = keras.Input((*SIZE, 1))
    flat = LAYERS.Flatten()(x)
    outputs = {
        "box": LAYERS.Rescaling(0.5, offset=[0.0, 0.0, 0.5, 0.5])(
            LAYERS.Dense(4, activation="sigmoid")(flat)
        ),
        "label": LAYERS.Dense(C, activation="softmax")(flat),
    }
    model = shake(keras.Model(x, outputs), scale=0.1)
    found = {k: v.numpy().astype(np.float64) for k, v in model(IMAGES).items()}
    asked = [targets.detection(BOXES), targets.detection(BOXES, LABELS)]
    _, info = saliency(model, IMAGES, asked, return_info=True)
    one = [
        {"boxes": found["box"][[n]], "scores": [1.0], "classes": found["label"][[n]]} for n in ROWS
    ]
    expected = [
        [likeness(one[n], BOXES[n]) for n in ROWS],
        [likeness(one[n], BOXES[n], np.eye(C)[LABELS[n]]) for n in ROWS],
    ]
    np.testing.assert_allclose(info.values, expected, rtol=1e-5)
    same = saliency(model, IMAGES, asked[0], "rise", samples=20, cells=3)
    drise = saliency(model, IMAGES, "top", "drise", samples=20, cells=3, boxes=BOXES)
    np.testing.assert_allclose(same, drise, atol=1e-6)


def test_candidates_without_classes_or_area_are_like_nothing():
    """Zero vectors and empty boxes: likeness 0, and a finite slope."""
    x = keras.Input((*SIZE, 1))
    flat = LAYERS.Flatten()(x)
    model = keras.Model(
        x,
        {
            "boxes": LAYERS.Reshape((2, 4))(LAYERS.Dense(8)(flat)),
            "scores": LAYERS.Dense(2)(flat),
            "classes": LAYERS.Reshape((2, 2))(LAYERS.Dense(4)(flat)),
        },
    )
    for weight in model.trainable_weights:
        weight.assign(0 * weight)
    maps, info = saliency(model, IMAGES, targets.detection(BOXES, 1), return_info=True)
    assert not maps.any()
    assert not info.values.any()


# Two of each family; the others take half a minute. D-RISE by its own name compares the box
# of a model that has one.
QUICK = {"gradient_x_input", "smoothgrad", "gradcam", "scorecam", "rise", "kernel_shap", "lrp",
         "deeplift", "edge_move"}  # fmt: skip
ALL = [
    pytest.param(name, marks=() if name in QUICK else pytest.mark.slow)
    for name in METHODS
    if name != "drise"
]


@pytest.mark.parametrize("method", ALL)
def test_every_method_explains_candidates(model, method):
    few = {k: 4 for k in ("steps", "samples") if k in METHODS[method].options}
    if "segments" in METHODS[method].options:
        few = {"segments": (1, 2), "samples": 16}
    asked = [targets.candidate(OWN, "top"), targets.candidate(OWN, "class", classes=LABELS)]
    maps = saliency(model, IMAGES, asked, method, link="logit", **few)
    assert np.isfinite(maps).all()
    assert (np.abs(maps).max((2, 3)) > 0).all()
    alone = saliency(
        model, IMAGES[1:2], targets.candidate(0, "top"), method, link="logit", batch_size=2, **few
    )
    # Differences of log-odds up to 10, in float32.
    np.testing.assert_allclose(maps[0, 1:2], alone, rtol=0, atol=1e-4 * np.abs(maps[0]).max())


def test_each_image_keeps_its_own_box_in_small_batches(model):
    asked = targets.detection(BOXES, LABELS)
    together = saliency(model, IMAGES, asked, "smoothgrad", samples=3, batch_size=2)
    for n in ROWS:
        alone = targets.detection(BOXES[n], int(LABELS[n]))
        single = saliency(model, IMAGES[[n]], alone, "smoothgrad", samples=3)
        np.testing.assert_allclose(together[n], single[0], rtol=1e-4, atol=1e-6)


def test_numbers_beyond_the_model_are_refused_also_when_compiled_before(model):
    saliency(model, IMAGES, targets.candidate(K - 1))
    with pytest.raises(ValueError, match=r"must be one of the model's 5 candidates, 0 .. 4"):
        saliency(model, IMAGES, targets.candidate(K))
    with pytest.raises(ValueError, match=r"`classes` 3 must be one of the model's 3 classes"):
        saliency(model, IMAGES, targets.candidate(0, "class", classes=C))
    with pytest.raises(ValueError, match=r"`classes` 3 must be one of the model's 3 classes"):
        saliency(model, IMAGES, targets.detection(BOXES, C))
    with pytest.raises(ValueError, match="`classes` must hold 3 probabilities a box"):
        saliency(model, IMAGES, targets.detection(BOXES, np.ones((3, 4))))
    with pytest.raises(ValueError, match="must hold one box or class an image, 3"):
        saliency(model, IMAGES, targets.candidate([0, 1]))


def test_models_that_do_not_fit():
    plain = build(classes=None)
    with pytest.raises(ValueError, match="`part` 'class' needs a model with an output 'classes'"):
        saliency(plain, IMAGES, targets.candidate(0, "class", classes=1))
    with pytest.raises(ValueError, match="`classes` of detection need a model with an output"):
        saliency(plain, IMAGES, targets.detection(BOXES, 1))
    with pytest.raises(ValueError, match=r"name one with `target` targets.candidate"):
        saliency(plain, IMAGES, "top")
    with pytest.raises(ValueError, match=r"D-RISE is that with method='rise'"):
        saliency(plain, IMAGES, targets.candidate(0), "drise", samples=4)
    x = keras.Input((*SIZE, 1))
    single = keras.Model(x, LAYERS.Dense(4)(LAYERS.Flatten()(x)))
    with pytest.raises(ValueError, match="`model` must return outputs named 'boxes'"):
        saliency(single, IMAGES, targets.candidate(0))
    for asked in (targets.candidate(0, "area"), targets.detection(BOXES)):
        with pytest.raises(ValueError, match="`link` 'logit' needs a"):
            saliency(plain, IMAGES, asked, link="logit")


BAD = [
    (lambda: targets.candidate(-1), ValueError, "must be a candidate number >= 0"),
    (lambda: targets.candidate("top"), TypeError, "`which` must be the number of a candidate"),
    (lambda: targets.candidate([]), ValueError, "`which` is empty"),
    (lambda: targets.candidate(0, "upper"), ValueError, "`part` must be one of"),
    (lambda: targets.candidate(0, "class"), ValueError, "`classes` must be given for the part"),
    (lambda: targets.candidate(0, "top", classes=1), ValueError, "`classes` must be given for"),
    (lambda: targets.candidate([0, 1], "class", classes=[1, 1, 1]), ValueError, "as many as `wh"),
    (lambda: targets.detection([1, 2]), ValueError, "`boxes` must have shape"),
    (lambda: targets.detection(BOXES, [1, 2]), ValueError, "`classes` must be one for all `boxes`"),
    (lambda: targets.detection(BOXES, "ring"), TypeError, "`classes` must be probabilities"),
    (lambda: targets.detection(BOXES, -VECTORS), ValueError, "must have shape .n, c. and be fin"),
]


@pytest.mark.parametrize(("make", "error", "text"), BAD)
def test_bad_input(make, error, text):
    with pytest.raises(error, match=text):
        make()
