import itertools
import math
import re

import keras
import numpy as np
import pytest
import tensorflow as tf

import whitebox_loc as wb
from whitebox_loc.boxes import convert, iou
from whitebox_loc.boxes.formats import RELATIVE_FORMATS
from whitebox_loc.losses import BoxBCE, entropy_floor
from whitebox_loc.metrics import ExactRate, ExcessBCE, MeanIoU, PixelError

SIZE = (20, 50)
MAKERS = {
    "MeanIoU": MeanIoU,
    "PixelError": lambda: PixelError(SIZE),
    "ExactRate": lambda: ExactRate(SIZE),
    "ExcessBCE": lambda: ExcessBCE("rel_yxhw"),
}
each_metric = pytest.mark.parametrize("name", MAKERS)


def boxes(n, seed):
    """True boxes of whole pixels, and guesses that miss each edge by under 0.6 pixels."""
    generator = np.random.default_rng(seed)
    top, left = generator.integers(0, 10, n), generator.integers(0, 30, n)
    bottom, right = top + generator.integers(2, 10, n), left + generator.integers(2, 20, n)
    truth = np.stack([top, left, bottom, right], axis=-1).astype(float)
    guess = truth + generator.uniform(-0.6, 0.6, (n, 4)) * (generator.random((n, 1)) < 0.7)
    return [convert(x, "yxyx", "rel_yxyx", size=SIZE).astype(np.float32) for x in (truth, guess)]


def oracle(name, truth, guess):
    """One number a box in NumPy, in float64."""
    truth, guess = truth.astype(float), guess.astype(float)
    if name == "MeanIoU":
        return iou(truth, guess, "rel_yxyx")
    if name == "ExcessBCE":
        t, p = (
            np.clip(np.stack([x[:, 0], x[:, 1], x[:, 2] - x[:, 0], x[:, 3] - x[:, 1]], -1), 0, 1)
            for x in (truth, guess)
        )
        with np.errstate(divide="ignore", invalid="ignore"):
            parts = t * np.log(t / p), (1 - t) * np.log((1 - t) / (1 - p))
        return np.nan_to_num(parts[0]).mean(axis=-1) + np.nan_to_num(parts[1]).mean(axis=-1)
    scale = np.array([20, 50, 20, 50])
    if name == "PixelError":
        return np.abs((truth - guess) * scale).mean(axis=-1)
    return (np.floor(truth * scale + 0.5) == np.floor(guess * scale + 0.5)).all(axis=-1)


def inside(truth, guess):
    """Drop guesses off the image, where cross entropy is not the textbook's."""
    keep = (truth[:, :2] > 0).all(axis=-1) & (guess > 1e-3).all(axis=-1) & (guess < 1).all(axis=-1)
    return truth[keep], guess[keep]


@each_metric
@pytest.mark.parametrize("weighted", [False, True])
def test_uneven_batches_against_numpy(name, weighted):
    truth, guess = inside(*boxes(200, seed=1))
    weights = np.random.default_rng(2).uniform(0, 3, len(truth)) if weighted else None
    metric = MAKERS[name]()
    starts = [0, 64, 128, len(truth) - 1, len(truth)]
    for start, stop in itertools.pairwise(starts):
        part = slice(start, stop)
        metric.update_state(truth[part], guess[part], weights[part] if weighted else None)
    values = oracle(name, truth, guess)
    expected = np.average(values, weights=weights)
    assert 0 < expected < (1 if name in ("MeanIoU", "ExactRate") else 9)
    # Float64 on both sides: means of under 200 numbers, a rounding of EPS each at worst, and
    # for the cross entropy logarithms of up to 5 of numbers known to EPS / 1e-3.
    assert float(metric.result()) == pytest.approx(expected, rel=1e-12, abs=1e-12)


@each_metric
def test_weights_as_a_column_and_reset(name):
    truth, guess = boxes(6, seed=3)
    weights = np.arange(6.0)
    flat, column = MAKERS[name](), MAKERS[name]()
    flat.update_state(truth, guess, weights)
    column.update_state(truth, guess, weights[:, None])
    assert float(flat.result()) == float(column.result())
    flat.reset_state()
    assert math.isnan(float(flat.result()))
    flat.update_state(truth, guess)
    fresh = MAKERS[name]()
    fresh.update_state(truth, guess)
    assert float(flat.result()) == float(fresh.result())


@each_metric
def test_perfect_boxes(name):
    truth, _ = boxes(50, seed=4)
    metric = MAKERS[name]()
    metric.update_state(truth, truth)
    best = {"MeanIoU": 1, "PixelError": 0, "ExactRate": 1, "ExcessBCE": 0}[name]
    # Only the cross entropy rounds: logarithms below 4 in float64.
    assert float(metric.result()) == pytest.approx(best, rel=0, abs=1e-14)


@each_metric
def test_sums_do_not_drift(name):
    # A box of weight 2**24, then one of weight 1: a float32 sum would not notice it.
    metric = MAKERS[name]()
    truth = np.float32([[0.0, 0.0, 0.5, 0.5]])
    other = np.float32([[0.0, 0.0, 0.5, 0.25]])
    metric.update_state(truth, truth, [2.0**24])
    first = float(metric.total.value)
    metric.update_state(truth, other)
    values = [MAKERS[name]() for _ in range(2)]
    values[0].update_state(truth, truth)
    values[1].update_state(truth, other)
    a, b = (float(value.result()) for value in values)
    assert float(metric.weight.value) == 2**24 + 1
    assert first == a * 2**24
    assert float(metric.result()) == (a * 2**24 + b) / (2**24 + 1)


@each_metric
def test_config_builds_it_again(name):
    metric = MAKERS[name]()
    again = keras.metrics.deserialize(keras.metrics.serialize(metric))
    assert type(again) is type(metric)
    assert again.get_config() == metric.get_config()
    copy = type(metric).from_config(metric.get_config())
    for each in (metric, again, copy):
        each.update_state(*boxes(5, seed=5))
    assert float(metric.result()) == float(again.result()) == float(copy.result())


@pytest.mark.parametrize("policy", ["float32", "mixed_float16"])
def test_a_model_evaluates_them_with_an_uneven_last_batch(policy, tmp_path):
    truth, guess = boxes(10, seed=6)
    # A layer without weights: the prediction is the input, in the policy's precision.
    layer = keras.layers.Activation("linear", dtype=policy)
    model = keras.Sequential([keras.Input((4,)), layer])
    model.compile(loss=BoxBCE(), metrics=[make() for make in MAKERS.values()])
    got = model.evaluate(guess, truth, batch_size=4, verbose=0, return_dict=True)
    predicted = model.predict(guess, verbose=0)
    for make in MAKERS.values():
        metric = make()
        metric.update_state(truth, predicted)
        # Ten numbers summed in another order, in float64.
        assert got[metric.name] == pytest.approx(float(metric.result()), rel=1e-13, abs=1e-13)
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    assert again.evaluate(guess, truth, batch_size=4, verbose=0, return_dict=True) == got


def test_graph_with_unknown_batch():
    metric = PixelError(SIZE)

    @tf.function(input_signature=[tf.TensorSpec([None, 4]), tf.TensorSpec([None, 4])])
    def update(truth, guess):
        metric.update_state(truth, guess)

    for n in (3, 1):
        update(*boxes(n, seed=n))
    assert float(metric.weight.value) == 4


def test_exact_rate_needs_all_four_edges():
    truth = np.float32([[2, 10, 12, 40]] * 6) / np.float32([20, 50, 20, 50])
    miss = np.zeros((6, 4), np.float32)
    miss[:4] = 0.51 * np.eye(4)
    miss[4] = -0.49
    metric = ExactRate(SIZE)
    metric.update_state(truth, truth + miss / np.float32([20, 50, 20, 50]))
    assert float(metric.result()) == 2 / 6


def test_pixel_error_scales_rows_and_columns_apart():
    # 2 of 20 rows and 10 of 50 columns are both a tenth: (2 + 10 + 0 + 0) / 4 = 3.
    metric = PixelError(SIZE)
    guess = tf.constant([[0.1, 0.2, 1.0, 1.0]], tf.float64)
    metric.update_state(tf.constant([[0, 0, 1, 1]], tf.float64), guess)
    # Two products and a mean of numbers of at most 12, each rounded once.
    assert float(metric.result()) == pytest.approx(3, rel=0, abs=12 * 2.3e-16)


@pytest.mark.parametrize("name", RELATIVE_FORMATS)
def test_excess_is_the_loss_minus_the_floor(name):
    truth, guess = boxes(64, seed=7)
    metric = ExcessBCE(name)
    metric.update_state(truth, guess)
    loss = float(BoxBCE(name, dtype="float64")(truth, guess))
    # Float64: numbers of order 1, and 1 - p near an end is rounded to 2e-16 / 0.01.
    assert float(metric.result()) == pytest.approx(loss - entropy_floor(truth, name), abs=1e-11)
    assert ExcessBCE().format == "rel_yxyx"


def test_messages():
    with pytest.raises(ValueError) as caught:  # noqa: PT011  (the whole text is compared)
        ExcessBCE("yxyx")
    assert str(caught.value) == (
        f"`format` must be one of {list(RELATIVE_FORMATS)}; got 'yxyx'. Did you mean 'rel_yxyx'?"
    )
    with pytest.raises(TypeError) as caught:
        PixelError(100)
    assert str(caught.value) == (
        "`size` must be two whole numbers (height, width) in pixels; got 100."
    )


@pytest.mark.parametrize(
    "measure",
    [
        lambda b: wb.metrics.MeanIoU().update_state(b, b),
        lambda b: wb.metrics.PixelError((8, 8)).update_state(b, b),
        lambda b: wb.losses.BoxBCE()(b, b),
        lambda b: wb.losses.IoULoss("giou")(b, b),
    ],
)
def test_padded_boxes_are_refused(measure):
    several = np.array([[[0.1, 0.1, 0.5, 0.5], [0, 0, 0, 0]]], "float32")
    message = "`y_true` must have shape (n, 4), one box an image; got (1, 2, 4). For several"
    with pytest.raises(ValueError, match=re.escape(message)):
        measure(several)
