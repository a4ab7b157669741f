"""Class targets against the model's own outputs, and every introspect function on such a model."""

import re

import keras
import numpy as np
import pytest
from scipy.special import logsumexp

import whitebox_loc as wb
from whitebox_loc import introspect
from whitebox_loc.introspect import METHODS, saliency, targets
from whitebox_loc.introspect.units.factors import distinct_images

SIZE = (12, 16)
SCENE = wb.data.Scene(size=SIZE, shapes=("rectangle", "diamond", "ring"), heights=(6, None))
BATCH = wb.data.generate(SCENE, 3, seed=0)
IMAGES = BATCH.images
ROWS = np.arange(3)


@pytest.fixture(scope="module")
def model():
    found = wb.models.localizer(size=SIZE, classes=3, filters=(4, 4))
    # Of a size at which the probabilities differ from one third.
    found.get_layer("label_logits").kernel.assign(
        np.random.default_rng(0).normal(size=(64, 3)).astype(np.float32)
    )
    return found


@pytest.fixture(scope="module")
def linear():
    """One dense layer in front of the softmax, and its weights (height, width, classes)."""
    x = keras.Input((*SIZE, 1))
    flat = keras.layers.Flatten()(x)
    scores = keras.layers.Dense(3, name="label_logits")(flat)
    box = keras.layers.Dense(4, name="box")(flat)
    label = keras.layers.Softmax(name="label")(scores)
    found = keras.Model(x, {"box": box, "label": label})
    weights = np.random.default_rng(1).normal(size=(192, 3)).astype(np.float32)
    found.get_layer("label_logits").kernel.assign(weights)
    # Whole numbers of 256ths: exact sums, so that what does not change the box changes no bit.
    box = found.get_layer("box").kernel
    box.assign(np.round(box * 256) / 256)
    return found, weights.reshape(*SIZE, 3).astype(np.float64)


def log_odds(scores, k):
    rest = np.delete(scores, k, axis=-1)
    return scores[..., k] - np.log(np.exp(rest).sum(-1))


def test_values_are_the_probabilities(model):
    p = model(IMAGES)["label"].numpy().astype(np.float64)
    asked = [targets.label(k) for k in range(3)] + [targets.label(BATCH.labels)]
    _, info = saliency(model, IMAGES, asked, return_info=True)
    own = p[ROWS, BATCH.labels]
    np.testing.assert_allclose(info.values, [*p.T, own], rtol=1e-5)
    assert info.targets == ("class 0", "class 1", "class 2", "own class")
    assert p.std(axis=1).min() > 0.03


def test_slopes_of_a_linear_model(linear):
    model, weights = linear
    scores = np.einsum("nhw,hwk->nk", IMAGES[..., 0].astype(np.float64), weights)
    p = np.exp(scores - scores.max(1, keepdims=True))
    p /= p.sum(1, keepdims=True)
    for k in range(3):
        maps, info = saliency(model, IMAGES, targets.label(k), link="logit", return_info=True)
        # Sums of 192 products of numbers below 4 in float32: 192 * 4 * 6e-8.
        np.testing.assert_allclose(info.values, log_odds(scores, k), atol=1e-4)
        q = np.delete(p, k, axis=1) / np.delete(p, k, axis=1).sum(1, keepdims=True)
        slope = weights[..., k] - np.einsum("nr,hwr->nhw", q, np.delete(weights, k, axis=-1))
        np.testing.assert_allclose(maps, slope, atol=2e-4)
        assert info.links == ("input of the softmax",)
        maps = saliency(model, IMAGES, targets.label(k))
        np.testing.assert_allclose(
            maps, slope * (p[:, k] * (1 - p[:, k]))[:, None, None], atol=2e-4
        )


@pytest.mark.filterwarnings("ignore::whitebox_loc.data.ImageRangeWarning")
def test_log_odds_stay_exact_where_the_softmax_is_saturated(linear):
    model, weights = linear
    big = 50 * np.ones((1, *SIZE, 1), np.float32)
    scores = 50 * weights.sum((0, 1))
    k = int(scores.argmax())
    assert model(big)["label"].numpy()[0, k] == 1
    maps, info = saliency(model, big, targets.label(k), link="logit", return_info=True)
    second = int(np.argsort(scores)[-2])
    assert scores[k] - scores[second] > 100
    np.testing.assert_allclose(info.values, scores[k] - scores[second], rtol=1e-5)
    np.testing.assert_allclose(maps[0], weights[..., k] - weights[..., second], atol=1e-4)


def test_each_image_keeps_its_own_class_in_small_batches(model):
    for link in ("identity", "logit"):
        own = saliency(model, IMAGES, targets.label([2, 0, 1]), batch_size=2, link=link)
        for n, k in enumerate([2, 0, 1]):
            alone = saliency(model, IMAGES[n : n + 1], targets.label(k), link=link)
            np.testing.assert_allclose(own[n], alone[0], rtol=1e-4, atol=1e-7)
    noisy = saliency(model, IMAGES, targets.label([2, 0, 1]), "smoothgrad", samples=3, batch_size=2)
    last = saliency(model, IMAGES[2:], targets.label([1]), "smoothgrad", samples=3)
    np.testing.assert_allclose(noisy[2:], last, rtol=1e-4, atol=1e-7)


def test_names_are_the_shapes_of_the_scene(model):
    named = saliency(model, IMAGES, targets.label("ring", SCENE))
    np.testing.assert_array_equal(named, saliency(model, IMAGES, targets.label(2)))
    assert targets.label("ring").label == "ring"
    assert targets.label("ring").data.tolist() == [5]


# Of each family, what goes through most of the model; every method is in the slow tests.
TYPICAL = {"integrated_gradients", "gradcam", "lrp", "deeplift", "occlusion", "drise", "edge_move"}
EVERY = [
    pytest.param(name, "logit", marks=() if name in TYPICAL else pytest.mark.slow)
    for name in METHODS
]


@pytest.mark.parametrize(
    ("method", "link"), [*EVERY, ("lrp", "identity"), ("deeplift", "identity")]
)
def test_every_method_explains_a_class(model, method, link):
    maps, info = saliency(model, IMAGES[:1], targets.label(1), method, link=link, return_info=True)
    assert maps.shape == (1, *SIZE)
    assert np.isfinite(maps).all()
    # D-RISE asks for the overlap of boxes whatever the target, and untrained boxes are empty.
    assert np.abs(maps).max() > 0 or method == "drise"
    p = model(IMAGES[:1])["label"].numpy()[0].astype(np.float64)
    expected = p[1] if link == "identity" else np.log(p[1] / (1 - p[1]))
    np.testing.assert_allclose(info.values, [expected], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("link", ["identity", "logit"])
def test_completeness_of_deeplift(model, link):
    asked = [targets.label(0), targets.label(BATCH.labels)]
    maps, info = saliency(model, IMAGES, asked, "deeplift", link=link, return_info=True)
    rise = info.values - info.reference
    assert np.abs(rise).max() > 0.01
    # Every rule shares out a difference whole; float32 sums of values of size 1 remain.
    np.testing.assert_allclose(maps.sum((2, 3)), rise, atol=1e-5)


def test_completeness_of_integrated_gradients(model):
    maps = saliency(model, IMAGES, targets.label(1), "integrated_gradients", steps=200,
                    link="logit")  # fmt: skip
    p = model(np.concatenate([IMAGES, 0 * IMAGES]))["label"].numpy().astype(np.float64)[:, 1]
    rise = np.log(p / (1 - p))[:3] - np.log(p / (1 - p))[3:]
    # The quadrature of a function with kinks is good to about 1 / steps of its rise.
    np.testing.assert_allclose(maps.sum((1, 2)), rise, atol=0.01 * np.abs(rise).max() + 1e-3)


def test_coordinates_of_a_classifying_model_are_those_of_its_box(model):
    box = keras.Model(model.input, model.output["box"])
    np.testing.assert_allclose(
        saliency(model, IMAGES, ["top", "area"]), saliency(box, IMAGES, ["top", "area"]), rtol=1e-5
    )


def test_maximize_raises_the_class(model):
    found = introspect.maximize(model, target=targets.label("ring", SCENE), steps=20)
    assert found.values > found.start
    p = model(found.images)["label"].numpy()[0, 2]
    np.testing.assert_allclose(found.values[0], p, rtol=1e-4)


def test_blind_spots_of_a_class(model):
    [spot] = introspect.blind_spots(model, IMAGES, targets.label(1), "gradient_x_input", warn=False)
    assert spot.kind == "baseline"
    np.testing.assert_allclose(spot.share, (IMAGES == 0).mean((1, 2, 3)))


@pytest.mark.parametrize("gain", [0.05, 3.0, 400.0])
def test_a_saturated_class_is_told(linear, gain):
    model, weights = keras.models.clone_model(linear[0]), gain * linear[1]
    model.get_layer("label_logits").kernel.assign(weights.reshape(192, 3))
    scores = np.einsum("nhw,hwk->nk", IMAGES[..., 0].astype(np.float64), weights)
    # 4 p (1 - p) = 1 / cosh(odds / 2)^2; beyond odds of 100 that is 0 to every digit.
    odds = scores[:, 1] - logsumexp(np.delete(scores, 1, axis=1), axis=1)
    slope = 1 / np.cosh(np.clip(odds, -100, 100) / 2) ** 2
    found = introspect.blind_spots(model, IMAGES, targets.label(1), warn=False)
    assert [spot.kind for spot in found] == ["saturation"] * int((slope < 1e-3).any())
    for spot in found:
        np.testing.assert_allclose(spot.share, 1 - slope, atol=1e-3)
        assert "link='logit'" in spot.message
        assert "'class 1' is saturated on" in spot.message
    options = {"link": "logit", "warn": False}
    assert not introspect.blind_spots(model, IMAGES, targets.label(1), **options)
    assert bool(found) == (gain > 1)


def test_layers_of_classes_can_be_read_patched_and_ablated(model):
    read = introspect.activations(model, IMAGES, ["label_logits", "label", "box"])
    outputs = model(IMAGES)
    np.testing.assert_allclose(read["label"], outputs["label"], rtol=1e-5)
    z = read["label_logits"].astype(np.float64)
    np.testing.assert_allclose(
        np.exp(z) / np.exp(z).sum(1, keepdims=True), outputs["label"], rtol=1e-5
    )
    patched = introspect.patch(model, IMAGES, {"label_logits": np.array([[0.0, 1.0, 2.0]])})
    np.testing.assert_allclose(patched["box"], outputs["box"], rtol=1e-5)
    expected = np.exp([0, 1, 2]) / np.exp([0, 1, 2]).sum()
    np.testing.assert_allclose(patched["label"], [expected] * 3, rtol=1e-5)
    lost = introspect.ablate(model, IMAGES, "label_hidden", 0)
    # A fraction below 1 after four layers, computed in batches of two sizes.
    np.testing.assert_allclose(lost.change, 0, atol=2e-6)
    assert np.abs(introspect.ablate(model, IMAGES, "conv2").change).max() > 2e-5
    moved = introspect.activation_patching(model, IMAGES, IMAGES[::-1], ["box", "label_pool"])
    np.testing.assert_allclose(moved["box"].patched, outputs["box"], rtol=1e-5)
    np.testing.assert_allclose(moved["label_pool"].patched, outputs["box"][::-1], rtol=1e-5)


def test_the_rest_of_introspect_takes_a_classifying_model(model):
    found = introspect.probe(model, ["label_pool", "box"], SCENE, n=60)
    assert found.r2.shape == (2, 9)
    tuned = introspect.tuning(model, "label_logits", SCENE, n=60, bins=3)
    assert tuned.mean.shape[-1] == 3
    top = introspect.top_images(model, "label_logits", 1, IMAGES, k=2)
    z = introspect.activations(model, IMAGES, "label_logits")["label_logits"]
    np.testing.assert_allclose(np.max(top.values), z[:, 1].max(), rtol=1e-5)
    assert "label" in {info.path for info in introspect.list_layers(model)}
    # Two 3x3 convolutions, then one of stride 2: 3 + 2 + 2 pixels, two apart.
    field = introspect.receptive_field(model, "label_conv1")
    assert (field.size, field.stride) == ((7, 7), (2, 2))
    seen = introspect.effective_receptive_field(model, "label_conv1", (3, 4), images=IMAGES) != 0
    top, left, bottom, right = field.window((3, 4))
    seen[..., top:bottom, left:right] = False
    assert not seen.any()
    assert introspect.kernels(model, "label_conv1").shape[:2] == (3, 3)


@pytest.mark.parametrize(
    ("build", "kind", "message"),
    [
        (lambda: targets.label("disc"), ValueError, "`which` must be one of ['rectangle', "),
        (lambda: targets.label(1.0), TypeError, "`which` must be the name of a shape, the number"),
        (lambda: targets.label([[1]]), ValueError, "or an array (n,) of such; got shape (1, 1)"),
        (lambda: targets.label(-1), ValueError, "must be a class number >= 0"),
        (lambda: targets.label([]), ValueError, "`which` is empty; give the name of a shape"),
    ],
)
def test_wrong_classes(build, kind, message):
    with pytest.raises(kind) as caught:
        build()
    assert message in str(caught.value)


def test_classes_that_the_model_does_not_have(model):
    with pytest.raises(ValueError, match="`scene` of label") as caught:
        saliency(model, IMAGES, targets.label("ring"))
    assert str(caught.value) == (
        "`scene` of label('ring') has 6 shapes, but the model tells 3 classes apart. Give the "
        "scene that it was trained on, or the class's number."
    )
    saliency(model, IMAGES, targets.label(2))
    with pytest.raises(ValueError, match=r"must be one of the model's 3 classes, 0 \.\. 2"):
        saliency(model, IMAGES, targets.label(3))
    with pytest.raises(ValueError, match=r"must be one of the model's 3 classes, 0 \.\. 2"):
        saliency(model, IMAGES, targets.label([0, 3, 1]))
    plain = wb.models.localizer(size=SIZE, filters=(4,))
    with pytest.raises(ValueError, match=r"must return an output named 'label' of shape"):
        saliency(plain, IMAGES, targets.label(0))


def softmax(scores):
    shares = np.exp(scores - scores.max(-1, keepdims=True))
    return shares / shares.sum(-1, keepdims=True)


@pytest.mark.parametrize("batch_size", [256, 2])
def test_ablation_of_a_score(linear, batch_size):
    model, weights = linear
    scores = np.einsum("nhw,hwk->nk", IMAGES[..., 0].astype(np.float64), weights)
    own = targets.label(BATCH.labels)
    asked = [targets.label(0), own, "top"]
    found = introspect.ablate(model, IMAGES, "label_logits", target=asked, batch_size=batch_size)
    for channel in range(3):
        without = np.where(np.arange(3) == channel, 0.0, scores)
        p, intact = softmax(without), softmax(scores)
        expected = np.stack([p[:, 0], p[ROWS, BATCH.labels]], axis=1)
        # Scores of some tens in float32.
        np.testing.assert_allclose(found.after[channel, :, :2], expected, rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(found.before[:, 1], intact[ROWS, BATCH.labels], rtol=1e-4)
    np.testing.assert_array_equal(found.change, found.after - found.before)
    assert np.abs(found.change[..., :2]).max() > 0.1
    assert (found.change[..., 2] == 0).all()  # the box does not hear the scores
    assert found.targets == ("class 0", "own class", "top")
    assert found.iou_before is None
    odds = introspect.ablate(model, IMAGES, "label_logits", 1, target=own, link="logit")
    without = np.where(np.arange(3) == 1, 0.0, scores)
    expected = [log_odds(row, k) for row, k in zip(without, BATCH.labels, strict=True)]
    np.testing.assert_allclose(odds.after[0, :, 0], expected, rtol=1e-4)


def test_patching_restores_a_class(linear):
    model, weights = linear
    box = [[2, 3, 10, 13]]
    clean, corrupted = (wb.data.render(box, SCENE, labels=[k]) for k in (0, 2))
    asked = [targets.label(1), "left"]
    found = introspect.activation_patching(
        model, clean, corrupted, "label_logits", by="channel", target=asked, link="identity"
    )["label_logits"]
    scores = [
        np.einsum("nhw,hwk->nk", x[..., 0].astype(float), weights) for x in (clean, corrupted)
    ]
    for channel in range(3):
        patched = np.where(np.arange(3) == channel, *scores)
        np.testing.assert_allclose(
            found.patched[channel, :, 0], softmax(patched)[:, 1], rtol=1e-4, atol=1e-7
        )
    np.testing.assert_array_equal(found.patched[:, :, 1], [found.corrupted[:, 1]] * 3)
    whole = introspect.activation_patching(model, clean, corrupted, "label_logits", target=asked)
    assert whole["label_logits"].share[0] == pytest.approx(1)
    assert whole["label_logits"].targets == ("class 1", "left")


def test_probes_name_shapes(model):
    folds, n, ridge = 3, 90, 1e-2
    found = introspect.probe(
        model, ["conv2", "label_pool"], SCENE, n=n, folds=folds, features="max", ridge=ridge
    )
    images, _, labels = distinct_images(SCENE, n, 0)
    for layer, accuracy in zip(found.layers, found.accuracy, strict=True):
        x = introspect.activations(model, images, layer, reduce="max")[layer].astype(float)
        right = 0
        for part in np.array_split(np.arange(n), folds):
            rest = np.setdiff1d(np.arange(n), part)
            away = x[rest] - x[rest].mean(0)
            wanted = np.eye(3)[labels[rest]]
            # The scale of the penalty is over the directions that the features span.
            scale = (away**2).sum() / min(away.shape)
            square = away.T @ away + ridge * scale * np.eye(x.shape[1])
            weights = np.linalg.solve(square, away.T @ (wanted - wanted.mean(0)))
            read = (x[part] - x[rest].mean(0)) @ weights + wanted.mean(0)
            right += (read.argmax(1) == labels[part]).sum()
        assert accuracy == right / n
    assert found.accuracy.max() > 0.5
    assert np.isnan(introspect.probe(model, "conv2", wb.data.Scene(size=SIZE), n=20).accuracy).all()


def test_tuning_to_shapes(model):
    found = introspect.tuning(model, "label_conv1", SCENE, n=60, bins=3)
    images, _, labels = distinct_images(SCENE, 60, 0)
    seen = introspect.activations(model, images, "label_conv1", reduce="mean")["label_conv1"]
    for k in range(3):
        own = seen[labels == k].astype(float)
        np.testing.assert_allclose(found.shape_mean[k], own.mean(0))
        np.testing.assert_allclose(found.shape_std[k], own.std(0))
    assert found.shape_counts.tolist() == np.bincount(labels, minlength=3).tolist()
    assert found.shapes == SCENE.shapes


@pytest.mark.parametrize(
    ("options", "error"),
    [
        (
            {"target": "top", "boxes": BATCH.rel_boxes},
            "`boxes` go with the four coordinates; got `target` as well. Ask for them apart, or "
            "for targets.iou(boxes).",
        ),
        ({"target": []}, "`target` must name at least one target; got an empty list."),
        (
            {"link": "logit"},
            "`link` 'logit' needs a `target`; got target=None, the box as it is. Name the "
            "coordinates, such as target=['top', 'left'].",
        ),
    ],
)
def test_targets_of_ablations_are_checked(linear, options, error):
    with pytest.raises(ValueError, match=re.escape(error)):
        introspect.ablate(linear[0], IMAGES, "label_logits", **options)
