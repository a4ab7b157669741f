from itertools import pairwise

import keras
import numpy as np
import pytest

import whitebox_loc as wb
from whitebox_loc.verification.graphs import UnsupportedModelError
from whitebox_loc.verification.intervals import SMALLEST, TINY, UNIT, Interval, bounds, exact
from whitebox_loc.verification.windows import readings

layers = keras.layers
SIZE = (9, 11)
SCALES = [0.1, 1.0, 30.0]


def randomize(model, scale, seed):
    rng = np.random.default_rng(seed)
    for weight in model.weights:
        weight.assign(rng.normal(0, scale, weight.shape))
    return model


@pytest.fixture(scope="module", params=["row", "column"])
def logits(request):
    """The logits model of a localizer along one axis."""
    model = wb.models.localizer(size=SIZE, channels=2)
    return readings(model)[("row", "column").index(request.param)].logits


def images(rng, count=4):
    plain = rng.random((count, *SIZE, 2)).astype(np.float32)
    plain[0] = plain[0] > 0.5
    return plain


def numbers(interval):
    return interval.low.numpy(), interval.high.numpy()


def slow(model, low, high, unit):
    """Bounds by hand in float64, layer by layer, products of either sign apart.

    Each sum is widened by what `unit` rounds in a float32 sum of so many terms.
    """
    for layer in model.operations[1:]:
        kind = type(layer).__name__
        if kind == "ZeroPadding2D":
            low, high = (np.pad(v, ((0, 0), *layer.padding, (0, 0))) for v in (low, high))
        elif kind == "Max":
            low, high = (v.max(layer.axis[0]) for v in (low, high))
        elif kind in ("Conv1D", "Conv2D"):
            kernel, bias = (np.asarray(w, np.float64) for w in layer.get_weights())
            if layer.padding == "same":
                low, high = (np.pad(v, ((0, 0), (1, 1), (0, 0))) for v in (low, high))
            assert layer.padding == "valid" or kernel.shape[0] == 3
            terms = kernel[..., 0].size + 3
            sums = correlate(np.maximum(np.abs(low), np.abs(high)), np.abs(kernel)) + np.abs(bias)
            width = unit * terms / (1 - unit * terms) * sums
            if unit:
                width = width + TINY
            up, down = np.maximum(kernel, 0), np.minimum(kernel, 0)
            low, high = (
                correlate(low, up) + correlate(high, down) + bias - width,
                correlate(high, up) + correlate(low, down) + bias + width,
            )
        else:
            assert kind == "Activation"
        if getattr(layer, "activation", None) is keras.activations.relu:
            low, high = np.maximum(low, 0), np.maximum(high, 0)
    return low, high


def correlate(values, kernel):
    spans = kernel.shape[:-2]
    sides = [n - span + 1 for n, span in zip(values.shape[1:-1], spans, strict=True)]
    total = 0.0
    for shift in np.ndindex(*spans):
        part = tuple(slice(s, s + n) for s, n in zip(shift, sides, strict=True))
        total = total + values[(slice(None), *part)] @ kernel[shift]
    return total


@pytest.mark.numeric
@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("seed", range(3))
def test_bounds_of_images_hold_the_float32_logits(logits, scale, seed):
    randomize(logits, scale, seed)
    x = images(np.random.default_rng(seed))
    low, high = numbers(bounds(logits, exact(x)))
    answers = logits(x).numpy()
    assert (low <= answers).all()
    assert (answers <= high).all()
    # They hold what exact arithmetic gives, and no more than what rounding adds to that.
    inner, outer = slow(logits, x, x, 0.0), slow(logits, x, x, 1.01 * UNIT)
    assert (low <= inner[0]).all()
    assert (inner[1] <= high).all()
    assert (outer[0] <= low).all()
    assert (high <= outer[1]).all()


@pytest.mark.numeric
@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("radius", [1e-6, 0.01, 0.3])
def test_bounds_of_boxes_of_images_hold_samples_and_corners(logits, scale, radius):
    randomize(logits, scale, 5)
    rng = np.random.default_rng(0)
    x = images(rng)
    box = [np.clip(x + side, 0, 1).astype(np.float32) for side in (-radius, radius)]
    found = bounds(logits, Interval(*(exact(end).low for end in box)))
    low, high = numbers(found)
    for kind in range(6):
        share = rng.random(x.shape) if kind < 3 else rng.integers(0, 2, x.shape)
        inside = np.clip((box[0] + share * (box[1] - box[0])).astype(np.float32), *box)
        answers = logits(inside).numpy()
        assert (low <= answers).all()
        assert (answers <= high).all()
    inner, outer = slow(logits, *box, 0.0), slow(logits, *box, 1.01 * UNIT)
    assert (low <= inner[0]).all()
    assert (inner[1] <= high).all()
    assert (outer[0] <= low).all()
    assert (high <= outer[1]).all()


@pytest.mark.parametrize("scale", SCALES)
def test_a_larger_box_of_images_has_wider_bounds(logits, scale):
    randomize(logits, scale, 2)
    rng = np.random.default_rng(1)
    x = images(rng).astype(np.float64)
    down, up = rng.random((2, *x.shape))
    ends = []
    for radius in (0.0, 1e-7, 0.02, 0.4):
        box = Interval(exact(x - radius * down).low, exact(x + radius * up).low)
        ends.append(numbers(bounds(logits, box)))
    for (low, high), (lower, higher) in pairwise(ends):
        assert (lower < low).any()
        assert (lower <= low).all()
        assert (high <= higher).all()


def one_layer(layer, shape=(5, 4, 1)):
    inputs = keras.Input(shape)
    return keras.Model(inputs, layer(inputs))


def test_bounds_of_one_sum_are_reached_up_to_its_rounding():
    model = one_layer(layers.Conv2D(3, 2, name="sum"))
    randomize(model, 1.0, 0)
    low, high = numbers(bounds(model, Interval(exact(-np.ones((1, 5, 4, 1))).low,
                                               exact(np.ones((1, 5, 4, 1))).low)))  # fmt: skip
    kernel, bias = (np.asarray(w, np.float64) for w in model.get_weights())
    reach = np.abs(kernel).sum((0, 1, 2))
    # Seven roundings at most of 2^-24 of all: four products and the bias, the two of the margin.
    width = 7.01 * UNIT * (reach + np.abs(bias))
    for end, sign in ((low, -1), (high, 1)):
        extreme = bias + sign * reach
        assert (sign * (end - extreme) >= 0).all()
        assert (sign * (end - extreme) <= width).all()


@pytest.mark.numeric
@pytest.mark.parametrize(
    "layer",
    [
        layers.Conv2D(2, 3, strides=2, padding="same"),
        layers.Conv2D(2, 2, strides=(2, 1)),
        layers.Conv2D(2, 3, dilation_rate=2, padding="same", use_bias=False),
        layers.Conv2D(2, (2, 3), activation="relu", padding="same"),
    ],
)
def test_bounds_of_other_convolutions(layer):
    model = randomize(one_layer(layer, (7, 8, 3)), 1.0, 0)
    x = np.random.default_rng(0).normal(size=(5, 7, 8, 3)).astype(np.float32)
    low, high = numbers(bounds(model, exact(x)))
    answers = model(x).numpy()
    assert (low <= answers).all()
    assert (answers <= high).all()
    assert (high - low).max() < 1e-5 * np.abs(answers).max()


def test_numbers_that_may_be_taken_for_zero_are_within_the_bounds():
    """Weights and images below the range of float32 count, or do not, as a processor has it."""
    model = one_layer(layers.Conv2D(1, 1, use_bias=False), (1, 1, 1))
    for weight, pixel in ((SMALLEST / 4, 2.0**60), (2.0**60, SMALLEST / 4)):
        kernel = np.full((1, 1, 1, 1), weight, np.float32)
        assert kernel.item() == weight
        model.set_weights([kernel])
        low, high = numbers(bounds(model, exact(np.full((1, 1, 1, 1), pixel))))
        assert low.item() <= 0
        assert high.item() >= weight * pixel > TINY


def own_relu(values):
    return -values


own_relu.__name__ = "relu"


@pytest.mark.parametrize(
    ("layer", "reason"),
    [
        (layers.BatchNormalization(name="odd"), r"'odd' \(BatchNormalization\): no bounds are"),
        (layers.Dense(2, name="odd"), r"'odd' \(Dense\): no bounds are known for it"),
        (layers.Conv2D(1, 1, dtype="float16", name="odd"), r"'odd' .*it computes in float16"),
        (layers.Conv2D(1, 1, dtype="mixed_bfloat16", name="odd"), r"'odd' .*computes in bfloat16"),
        (layers.Conv2D(2, 1, activation="tanh", name="odd"), r"'odd' .*the activation 'tanh'"),
        (layers.Activation(own_relu, name="odd"), r"'odd' \(Activation\).*'relu', only for Keras'"),
        (layers.Conv2D(2, 1, groups=2, name="odd"), r"'odd' \(Conv2D\).*grouped"),
        (layers.ReLU(max_value=1, name="odd"), r"'odd' \(ReLU\).*other than plain"),
        (layers.ReLU(negative_slope=0.1, name="odd"), r"'odd' \(ReLU\).*other than plain"),
        (layers.ReLU(threshold=0.1, name="odd"), r"'odd' \(ReLU\).*other than plain"),
        (layers.ZeroPadding2D(((1, 1), (0, 0)), data_format="channels_first", name="odd"),
         r"'odd' \(ZeroPadding2D\): channels must come last"),
    ],
)  # fmt: skip
def test_what_has_no_bounds_is_refused_by_name(layer, reason):
    model = one_layer(layer, (5, 4, 2))
    with pytest.raises(UnsupportedModelError, match=reason):
        bounds(model, exact(np.zeros((1, 5, 4, 2))))


def test_a_causal_convolution_is_refused():
    model = one_layer(layers.Conv1D(1, 2, padding="causal", name="odd"), (5, 1))
    with pytest.raises(UnsupportedModelError, match=r"'odd' \(Conv1D\): padding 'causal'"):
        bounds(model, exact(np.zeros((1, 5, 1))))


def test_a_maximum_with_an_initial_value_is_refused():
    model = one_layer(lambda x: keras.ops.max(x, axis=1, initial=1.0))
    with pytest.raises(UnsupportedModelError, match=r"\(Max\).*initial value"):
        bounds(model, exact(np.zeros((1, 5, 4, 1))))
    assert model(np.zeros((1, 5, 4, 1))).numpy().min() == 1


def test_sums_beyond_float32_are_refused():
    model = one_layer(layers.Conv2D(1, 1, name="odd"))
    model.set_weights([np.full((1, 1, 1, 1), 1e30, np.float32), np.zeros(1, np.float32)])
    x = np.zeros((1, 5, 4, 1), np.float32)
    x[0, 0, 0] = 1e9
    assert np.isinf(model(x).numpy()).any()
    with pytest.raises(UnsupportedModelError, match=r"'odd'.*exceed the range of float32"):
        bounds(model, exact(x))
    assert bounds(model, exact(x / 1e9)).high.numpy().max() == pytest.approx(1e30, rel=1e-6)


def test_a_canvas_smaller_than_a_window_is_refused():
    model = one_layer(layers.Conv2D(1, (3, 1), dilation_rate=(2, 1), name="odd"))
    with pytest.raises(UnsupportedModelError, match=r"'odd'.*\[5, 1\] lines do not fit in \[4, 9"):
        bounds(model, exact(np.zeros((1, 4, 9, 1))))
    assert bounds(model, exact(np.zeros((1, 5, 9, 1)))).low.shape == (1, 1, 9, 1)


def test_options_of_a_call_are_refused():
    model = one_layer(lambda x: layers.Dropout(0.5, name="odd")(x, training=True))
    with pytest.raises(UnsupportedModelError, match=r"'odd' \(Dropout\): it is called with train"):
        bounds(model, exact(np.zeros((1, 5, 4, 1))))
