"""Contracts: what keeps its promises passes, and what breaks one is told which and where."""

import dataclasses
import random
import subprocess
import sys

import keras
import numpy as np
import pytest
from hypothesis import given, settings

import whitebox_loc as wb
from whitebox_loc.evaluation import METRICS
from whitebox_loc.evaluation.audits.known_models import crossed_lines
from whitebox_loc.introspect import METHODS, saliency
from whitebox_loc.introspect.methods import Maps, Method
from whitebox_loc.introspect.targets import COORDINATES
from whitebox_loc.testing import (
    check_explainer,
    check_localizer,
    check_metric,
    check_saliency_method,
)
from whitebox_loc.testing.inputs import small_trial
from whitebox_loc.testing.states import changes, snapshot

SIZE = (12, 16)
# Shares of variance and dependence, squares and variances have no signs.
UNSIGNED = {"squaregrad", "vargrad", "sobol", "hsic"}
SHORT = {
    name: {k: 4 for k in ("steps", "samples") if k in METHODS[name].options} for name in METHODS
}
SHORT |= {
    name: {"segments": (1, 2), "samples": 16}
    for name in METHODS
    if "segments" in METHODS[name].options
}
# One or two a family in every run; all in the slow one.
QUICK = {"gradient", "vargrad", "gradcam", "eigencam", "scorecam", "lrp", "occlusion", "drise",
         "lime", "sobol", "edge_move"}  # fmt: skip


# ---------------------------------------------------------------------- what passes


@pytest.mark.parametrize(
    "name", [n if n in QUICK else pytest.param(n, marks=pytest.mark.slow) for n in METHODS]
)
def test_every_method_keeps_the_contract(name):
    check_saliency_method(name, signed=name not in UNSIGNED, **SHORT[name])


@pytest.mark.parametrize("head", wb.models.HEADS)
@pytest.mark.parametrize("classes", [None, 3])
def test_every_head_keeps_the_contract(head, classes):
    check_localizer(wb.models.localizer(SIZE, head=head, classes=classes))


@pytest.mark.parametrize("name", wb.models.COMPILED)
def test_every_compiled_model_keeps_the_contract(name):
    row = wb.models.COMPILED[name]
    model = wb.models.compiled(name, SIZE)
    check_localizer(model)
    if row.exact:
        batch = wb.data.generate(wb.data.Scene(size=SIZE), 4, seed=0)
        check_localizer(
            model, images=batch.images, oracle=lambda images: batch.boxes / [*SIZE, *SIZE],
            tolerance=row.precision / min(SIZE),
        )  # fmt: skip


@settings(max_examples=10)
@given(wb.testing.localizers(), wb.testing.images(n=2))
def test_drawn_localizers_keep_the_contract_on_any_image(model, images):
    check_localizer(model, images=images)


# ---------------------------------------------------------------------- a world of closed form


@pytest.fixture(scope="module")
def linear():
    """A model whose map is known in closed form: slope times brightness."""
    return crossed_lines(SIZE)


def exact(model, images, target):
    """Slope times brightness in float64, which is what gradient_x_input should return."""
    kernel = np.asarray(model.get_layer("box").kernel, np.float64)[:, COORDINATES.index(target)]
    return kernel.reshape(SIZE) * images[..., 0].astype(np.float64)


def slopes(query):
    return query.gradients(query.images, np.arange(len(query))).numpy()


def right(query):
    return Maps((slopes(query) * query.images).sum(-1))


def test_the_closed_form_is_met(linear):
    check_saliency_method("gradient_x_input", model=linear, oracle=exact)
    check_saliency_method(right, model=linear, oracle=exact)
    check_saliency_method(Method("mine", "gradient", right, "", ""), model=linear, oracle=exact)
    check_explainer(
        lambda model, images, target: exact(model, images, target).astype(np.float32),
        model=linear, oracle=exact,
    )  # fmt: skip


def test_a_row_of_ones_own_can_be_asked_for_maps(linear):
    images = wb.data.generate(wb.data.Scene(size=SIZE), 2, seed=0).images
    row = Method("mine", "gradient", right, "", "")
    maps, info = saliency(linear, images, "top", row, return_info=True)
    assert info.method == "mine"
    # One product a pixel: what is exact in float64 is rounded once.
    np.testing.assert_allclose(maps, exact(linear, images, "top"), rtol=2**-24, atol=0)
    broken = dataclasses.replace(row, function=lambda query: slopes(query).sum(-1))
    with pytest.raises(TypeError, match=r"Method 'mine' must return introspect\.methods\.Maps\("):
        saliency(linear, images, "top", broken)


# ---------------------------------------------------------------------- broken methods


def absolute(query):
    return Maps(np.abs(right(query).values))


def rectified(query):
    return Maps(np.maximum(right(query).values, 0)[:1].repeat(query.targets, 0))


def divided_by_zero(query):
    values = right(query).values
    values[2, 1, 3, 4] = np.nan
    return Maps(values)


def silent(query):
    return Maps(np.zeros_like(right(query).values))


def scaled_by_the_batch(query):
    values = right(query).values
    return Maps(values / np.abs(values).sum())


def noisy(query):
    values = right(query).values
    return Maps(values + np.random.default_rng().normal(0, 0.01, values.shape))


def noisy_for_the_batch(query):
    values = right(query).values
    return Maps(values + np.random.default_rng(len(query)).normal(0, 0.01, values.shape))


def scaled_by_the_batch_size(query):
    return Maps(right(query).values * min(query.batch_size, 4))


def mixed_targets(query):
    values = right(query).values
    return Maps(values - values.mean(0) / 2)


def summed_over_images(query):
    return Maps(right(query).values.sum(1))


def rounded(query):
    return Maps(np.sign(right(query).values).astype(int))


def doubled(query):
    return Maps(2 * right(query).values)


def pruned(query):
    kernel = query.model.get_layer("box").kernel
    kernel.assign(kernel * 0.99)
    return right(query)


def frozen(query):
    query.model.get_layer("box").trainable = False
    return right(query)


def wrapped(query):
    layer = query.model.get_layer("box")
    layer.call = layer.call
    return right(query)


def reseeding(query):
    np.random.seed(3)  # noqa: NPY002 - the fault that is to be found
    return right(query)


def drawing(query):
    random.random()
    return right(query)


def brightening(query):
    values = right(query).values
    query.images[0, 0, 0, 0] += 0.5
    return Maps(values)


BROKEN_METHODS = {
    absolute: r"Method 'absolute' is not signed: the least of all its numbers is 0, the greatest "
    r"0\.0\d+, for targets .* need both signs\. Look for absolute values, squares and ReLUs",
    rectified: "Method 'rectified' is silent: all its maps are 0. Look for a derivative that is",
    divided_by_zero: r"Method 'divided_by_zero' is not finite: the map of 'bottom' on image 1 at "
    r"pixel \(3, 4\) is nan, 1 such of 2304 numbers\. Look for divisions by what can be 0",
    silent: "Method 'silent' is silent: all its maps are 0",
    scaled_by_the_batch: "gives an image another map alone than among others: the map of '.*' on "
    r"image 0 at pixel .* is \S+, and not \S+; \S+ apart where rounding allows \S+\. Look for what "
    "is taken over the batch",
    noisy: r"Method 'noisy' answers one question in two ways: .* Look for random numbers without",
    noisy_for_the_batch: "another map alone than among others: .* numbers that are drawn for a",
    scaled_by_the_batch_size: "gives other maps in batches of 2: the map of ",
    mixed_targets: "gives a target another map alone than among others: the map of 'top' on .*"
    "Look for sums over targets",
    summed_over_images: r"returns maps of another shape: 4 of \[\(12, 16\)\] where 4 of \(3, 12, "
    r"16\) are wanted, \(targets\) and \(images, height, width\)\. Look at the axes",
    rounded: "Method 'rounded' returns int64 where floats are wanted",
    doubled: "Method 'doubled' is not its oracle: the map of '.*' .* Look at the formula",
    pruned: r"does not leave things as they were: it changed weight 0, 'box/kernel'\. Look at what",
    frozen: r"it changed `trainable` of layer 'box'\. Look",
    wrapped: r"it changed `call` of layer 'box' and 1 more\. Look",
    reseeding: r"it changed the random state of NumPy \(`numpy\.random`\)",
    drawing: r"it changed the random state of Python \(`random`\)",
    brightening: "it changed the `images` given",
}


@pytest.mark.parametrize("method", BROKEN_METHODS, ids=lambda f: f.__name__)
def test_a_broken_method_is_told_what_is_wrong(method):
    images = wb.data.generate(wb.data.Scene(size=SIZE, noise=0.05), 3, seed=0).images
    with pytest.raises(AssertionError, match=BROKEN_METHODS[method]):
        check_saliency_method(method, model=crossed_lines(SIZE), images=images, oracle=exact)


def test_a_broken_explainer_is_told_what_is_wrong(linear):
    def late(model, images, target):
        return np.roll(exact(model, images, target), 1, axis=1)

    check_explainer(exact, model=linear, oracle=exact)
    with pytest.raises(AssertionError, match=r"Explainer 'late' is not its oracle: the map of '"):
        check_explainer(late, model=linear, oracle=exact)
    with pytest.raises(AssertionError, match="Explainer '<lambda>' is not signed"):
        check_explainer(lambda *asked: np.abs(exact(*asked)), model=linear)
    check_explainer(lambda *asked: np.abs(exact(*asked)), model=linear, signed=False)


# ---------------------------------------------------------------------- broken metrics


def mass(trial):
    return np.abs(trial.maps).sum((1, 2), dtype=np.float64)


def share_of_the_batch(trial):
    return mass(trial) / mass(trial).sum()


def one_for_all(trial):
    return np.float64(mass(trial).mean())


def infinite(trial):
    return mass(trial) / [1, 0, 1]


def undefined(trial):
    return mass(trial) * np.nan


def unseeded(trial):
    return mass(trial) + np.random.default_rng().normal(size=len(trial))


def rescaling(trial):
    trial.maps[...] /= np.abs(trial.maps).max()
    return mass(trial)


def retraining(trial):
    weight = trial.model.weights[0]
    weight.assign(weight + 1)
    return mass(trial)


def half(trial):
    return mass(trial) / 2


BROKEN_METRICS = {
    share_of_the_batch: "Metric 'share_of_the_batch' gives an image another score alone than among "
    r"others: image 0 is 1, and not 0\.\d+; 0\.\d+ apart where rounding allows \S+\. Look for what",
    one_for_all: r"Metric 'one_for_all' must return one number an image, shape \(3,\); got shape",
    infinite: "Metric 'infinite' must be finite or NaN; it is inf on image 1.*Look at divisions",
    undefined: "Metric 'undefined' is NaN, undefined, on every image of the trial",
    unseeded: "Metric 'unseeded' answers one question in two ways: image . is",
    rescaling: "Metric 'rescaling' does not leave things as they were: it changed the `maps` given",
    retraining: "it changed weight 0, 'conv1/kernel'",
    half: r"Metric 'half' is not its oracle: image \d is \S+, and not \S+; .* Look at the formula",
}


@pytest.fixture
def trial():
    """A trial that a metric may spoil."""
    whole = small_trial()
    model = wb.models.localizer(SIZE, filters=(2,), line_filters=2)
    return dataclasses.replace(whole, model=model, maps=whole.maps.copy())


@pytest.mark.filterwarnings("ignore:divide by zero")
@pytest.mark.parametrize("metric", BROKEN_METRICS, ids=lambda f: f.__name__)
def test_a_broken_metric_is_told_what_is_wrong(metric, trial):
    check_metric(mass, trial=trial, oracle=mass)
    with pytest.raises(AssertionError, match=BROKEN_METRICS[metric]):
        check_metric(metric, trial=trial, oracle=mass)


def test_a_row_that_says_other_than_it_does_is_told(trial):
    row = METRICS["sparseness"]
    check_metric(row, trial=trial)
    narrow = dataclasses.replace(row, range=(0, 0.1))
    with pytest.raises(AssertionError, match=r"leaves its range \[0, 0\.1\]: image 0 has 0\.\d+"):
        check_metric(narrow, trial=trial)
    for function, message in (
        (lambda trial: mass(trial) * trial.used.mean(), r"fails without \['explain', 'gap', 'mod"),
        (lambda trial: mass(trial) + (trial.gap is None), "uses one of .*does not say that it"),
    ):
        needy = dataclasses.replace(row, function=function, range=(0, np.inf))
        with pytest.raises(AssertionError, match=message):
            check_metric(needy, trial=trial)


# ---------------------------------------------------------------------- broken localizers


def built(*parts):
    flat = keras.layers.Flatten(name="flatten")
    box = keras.layers.Dense(4, activation="sigmoid", name="box")
    return keras.Sequential([keras.Input((*SIZE, 1)), *parts, flat, box], name="broken")


class Training(keras.layers.Layer):
    """Runs a layer as in training, always."""

    def __init__(self, layer):
        super().__init__(name="training")
        self.layer = layer

    def call(self, x):
        return self.layer(x, training=True)


class Shared(keras.layers.Layer):
    """Divides by the largest number of the batch."""

    def call(self, x):
        return x / keras.ops.max(x)


class Logarithm(keras.layers.Layer):
    def call(self, x):
        return keras.ops.log(x - 0.5)


BROKEN_LOCALIZERS = {
    "dropout": (
        lambda: built(Training(keras.layers.Dropout(0.5, seed=0))),
        "Localizer 'broken' does not leave things as they were: it changed weight .*seed_generator",
    ),
    "moving means": (
        lambda: built(Training(keras.layers.BatchNormalization())),
        "it changed weight .*moving_mean",
    ),
    "batch": (
        lambda: built(Shared()),
        r"Localizer 'broken' answers an image otherwise alone: '.*' of image \d is \S+, and not "
        r"\S+; \S+ apart where rounding allows \S+\. Look for layers that run as in training",
    ),
    "nan": (
        lambda: built(Logarithm()),
        r"Localizer 'broken' is not finite: 'top' of image 0 is nan, 12 such of 12 numbers\. Look",
    ),
    "two numbers": (
        lambda: keras.Sequential(
            [keras.Input((*SIZE, 1)), keras.layers.Flatten(), keras.layers.Dense(2)], name="broken"
        ),
        r"Localizer 'broken' answers no box: `model` must return one output of shape \(n, 4\)",
    ),
    "half a row": (
        lambda: keras.Sequential(
            [keras.Input((*SIZE, 1)), Halved(), keras.layers.Dense(4)], name="broken"
        ),
        "Localizer 'broken' answers 6 rows of its box for 3 images",
    ),
}


class Halved(keras.layers.Layer):
    def call(self, x):
        return keras.ops.reshape(x, (-1, SIZE[0] * SIZE[1] // 2))


@pytest.mark.parametrize("name", BROKEN_LOCALIZERS)
def test_a_broken_localizer_is_told_what_is_wrong(name):
    build, message = BROKEN_LOCALIZERS[name]
    with pytest.raises(AssertionError, match=message):
        check_localizer(build())


def test_a_localizer_is_compared_with_its_oracle(linear):
    images = wb.data.generate(wb.data.Scene(size=SIZE, noise=0.05), 3, seed=0).images

    def rewritten(images):
        kernel, bias = (np.asarray(w, np.float64) for w in linear.get_layer("box").get_weights())
        return images.reshape(len(images), -1).astype(np.float64) @ kernel + bias

    check_localizer(linear, images=images, oracle=rewritten)
    swapped = lambda images: rewritten(images)[:, [1, 0, 3, 2]]  # noqa: E731
    with pytest.raises(AssertionError, match=r"'crossed_lines' is not its oracle: .* the order of"):
        check_localizer(linear, images=images, oracle=swapped)
    # What the tolerance is for: a shift of a thousandth of the image is not rounding.
    with pytest.raises(AssertionError, match=r"0\.001 apart where rounding allows"):
        check_localizer(linear, images=images, oracle=lambda images: rewritten(images) + 1e-3)
    check_localizer(
        linear, images=images, oracle=lambda images: rewritten(images) + 1e-3, tolerance=2e-3
    )


# ---------------------------------------------------------------------- arguments


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: check_saliency_method("gradent"), ValueError, "Did you mean 'gradient'"),
        (lambda: check_saliency_method("gradient", steps=3), TypeError, "has no option 'steps'"),
        (
            lambda: check_saliency_method("gradient", targets="top"),
            TypeError,
            "`targets` must be a list or tuple of one target or more; got 'top'",
        ),
        (lambda: check_saliency_method("gradient", model=3), TypeError, "`model` must be a keras"),
        (
            lambda: check_saliency_method("gradient", tolerance=-1.0),
            ValueError,
            "`tolerance` must be a finite number >= 0",
        ),
        (
            lambda: check_explainer(exact, oracle=3),
            TypeError,
            "`oracle` must be a function from a model, images and a target to maps, of 3 "
            "arguments; got 3",
        ),
        (
            lambda: check_explainer("gradient"),
            TypeError,
            "`explain` must be a function from a model",
        ),
        (lambda: check_metric("sparsness"), ValueError, "Did you mean 'sparseness'"),
        (lambda: check_metric(mass, trial=3), TypeError, "`trial` must be a Trial; got int"),
        (lambda: check_localizer("profile"), TypeError, r"`model` must be a keras\.Model"),
        (
            lambda: check_localizer(keras.Sequential([keras.layers.Flatten()])),
            ValueError,
            "`images` must be given for a model of no fixed image size",
        ),
    ],
)
def test_wrong_arguments_are_refused(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_a_snapshot_sees_losses_and_new_attributes(linear):
    before = snapshot(linear)
    assert changes(before, snapshot(linear)) == []
    linear.get_layer("flatten").note = 1
    assert changes(before, snapshot(linear)) == ["names of the attributes of layer 'flatten'"]
    del linear.get_layer("flatten").note


def test_without_hypothesis_the_import_says_what_to_install():
    code = """
import sys
sys.modules["hypothesis"] = None
import whitebox_loc as wb
try:
    wb.testing
except ImportError as error:
    print(error)
"""
    found = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert found.stdout == (
        "whitebox_loc.testing needs Hypothesis, which is not installed here. Install it by "
        '`pip install "whitebox_loc[test]"`.\n'
    )
