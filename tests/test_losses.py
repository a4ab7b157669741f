import math

import keras
import numpy as np
import pytest
import tensorflow as tf

from whitebox_loc.boxes import FORMATS, convert
from whitebox_loc.boxes.entropy import cross_entropy
from whitebox_loc.boxes.formats import RELATIVE_FORMATS
from whitebox_loc.losses import OVERLAPS, BoxBCE, IoULoss, SumLoss, entropy_floor

TRUTH = np.array([[0.2, 0.1, 0.6, 0.4], [0.0, 0.0, 1.0, 1.0], [0.5, 0.3, 0.7, 0.9]], np.float32)
GUESS = np.array([[0.1, 0.2, 0.5, 0.5], [0.1, 0.1, 0.9, 0.8], [0.6, 0.1, 0.9, 0.2]], np.float32)
# Float32 losses of at most 4 terms and logarithms of at most 9.3: tens of roundings of 6e-8.
CLOSE = {"rel": 1e-5, "abs": 1e-5}
DEGENERATE = {
    "exact": TRUTH[0],
    "all zero": [0, 0, 0, 0],
    "all one": [1, 1, 1, 1],
    "whole image": [0, 0, 1, 1],
    "swapped rows": [0.6, 0.1, 0.2, 0.4],
    "swapped whole": [1, 1, 0, 0],
    "outside": [-0.5, -1, 1.5, 3],
    "touching": [0.6, 0.1, 0.8, 0.4],
    "disjoint": [0.8, 0.8, 0.9, 0.9],
}


@pytest.mark.parametrize("name", RELATIVE_FORMATS)
def test_box_bce_is_the_mean_cross_entropy_in_its_format(name):
    truth, guess = (convert(boxes.astype(float), "rel_yxyx", name) for boxes in (TRUTH, GUESS))
    expected = cross_entropy(truth, guess).mean(axis=-1)
    got = BoxBCE(name, reduction=None)(TRUTH, GUESS)
    assert got.shape == (3,)
    assert got.numpy() == pytest.approx(expected, **CLOSE)
    assert float(BoxBCE(name)(TRUTH, GUESS)) == pytest.approx(expected.mean(), **CLOSE)


def test_box_bce_by_hand():
    # Height and width one half, corner at 0: only two of four numbers have entropy, log 2.
    box = [[0.0, 0.0, 0.5, 0.5]]
    assert float(BoxBCE("rel_yxhw")(box, box)) == pytest.approx(math.log(2) / 2, **CLOSE)


@pytest.mark.parametrize("kind", OVERLAPS)
@pytest.mark.parametrize("size", [None, (10, 40)])
def test_iou_loss_is_one_minus_the_overlap(kind, size):
    expected = 1 - OVERLAPS[kind](TRUTH[:2], GUESS[:2], "rel_yxyx", size=size)
    got = IoULoss(kind, size=size, reduction=None)(TRUTH[:2], GUESS[:2])
    assert got.numpy() == pytest.approx(expected, **CLOSE)
    assert float(IoULoss(kind)(TRUTH, TRUTH)) == 0


def test_iou_loss_by_default_is_plain_and_takes_weights():
    losses = IoULoss(reduction=None)(TRUTH, GUESS).numpy()
    weighted = IoULoss()(TRUTH, GUESS, sample_weight=np.array([1.0, 0.0, 2.0]))
    # Keras divides by the number of boxes, not by the sum of the weights.
    assert float(weighted) == pytest.approx((losses[0] + 2 * losses[2]) / 3, **CLOSE)


def all_losses():
    yield from (BoxBCE(name) for name in ("rel_yxyx", "rel_yxhw", "rel_center_xywh"))
    yield from (IoULoss(kind) for kind in OVERLAPS)
    yield BoxBCE("rel_yxhw") + 0.1 * IoULoss("ciou")


@pytest.mark.parametrize("dtype", ["float16", "float32"])
@pytest.mark.parametrize(
    "loss", list(all_losses()), ids=lambda loss: str(loss.get_config()["name"])
)
def test_finite_in_every_degenerate_case(loss, dtype):
    for truth in ([0.2, 0.1, 0.6, 0.4], [0, 0, 1, 1], [0.5, 0.5, 0.5, 0.5], [0, 0, 0, 0]):
        guess = tf.constant(np.array(list(DEGENERATE.values()), dtype))
        with tf.GradientTape() as tape:
            tape.watch(guess)
            value = loss(tf.constant([truth] * len(DEGENERATE), dtype), guess)
        assert value.dtype == tf.float32
        assert np.isfinite(value)
        assert np.isfinite(tape.gradient(value, guess)).all()


@pytest.mark.parametrize("name", ["rel_yxyx", "rel_yxhw", "rel_center_xywh"])
def test_descent_brings_every_wrong_box_back(name):
    guess = tf.Variable(np.array(list(DEGENERATE.values()), np.float32))
    truth = np.broadcast_to(TRUTH[0], guess.shape)
    loss = BoxBCE(name)
    optimizer = keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(0.05, 4000))
    optimizer.build([guess])

    @tf.function
    def descend():
        for _ in tf.range(4000):
            with tf.GradientTape() as tape:
                value = loss(truth, guess)
            optimizer.apply([tape.gradient(value, guess)], [guess])

    descend()
    # The loss is convex in the box, so Adam with a step that shrinks to 0 arrives; a tenth
    # of a pixel of 100 is where we stop asking.
    np.testing.assert_allclose(guess.numpy(), truth, rtol=0, atol=0.001)


def test_sums_are_weighted_sums():
    bce, overlap = BoxBCE(reduction=None), IoULoss("giou", reduction=None)
    expected = bce(TRUTH, GUESS) + 0.1 * overlap(TRUTH, GUESS)
    for total in (bce + 0.1 * overlap, overlap * 0.1 + bce, SumLoss([bce, overlap], [1, 0.1])):
        assert total(TRUTH, GUESS).numpy() == pytest.approx(expected.numpy(), **CLOSE)
    total = 2 * (bce + 0.1 * overlap) + overlap
    assert [type(term) for term in total.terms] == [BoxBCE, IoULoss, IoULoss]
    assert total.weights == [2, 0.2, 1]
    assert float((BoxBCE() + IoULoss())(TRUTH, TRUTH)) == pytest.approx(
        float(BoxBCE()(TRUTH, TRUTH)), **CLOSE
    )


def test_sums_take_other_keras_losses_on_either_side():
    mse = keras.losses.MeanSquaredError()
    expected = float(mse(TRUTH, GUESS)) + float(BoxBCE()(TRUTH, GUESS))
    assert float((BoxBCE() + mse)(TRUTH, GUESS)) == pytest.approx(expected, **CLOSE)
    assert float((mse + BoxBCE())(TRUTH, GUESS)) == pytest.approx(expected, **CLOSE)


@pytest.mark.parametrize(
    "loss",
    [
        BoxBCE("rel_xywh", tangent=0.1, reduction="sum", name="mine"),
        IoULoss("diou", size=(3, 5), dtype="float64"),
        BoxBCE() + 0.25 * IoULoss("ciou") + keras.losses.MeanSquaredError(),
    ],
)
def test_losses_survive_serialization(loss):
    again = keras.losses.deserialize(keras.losses.serialize(loss))
    assert type(again) is type(loss)
    assert again.get_config() == loss.get_config()
    assert float(again(TRUTH, GUESS)) == float(loss(TRUTH, GUESS))


def test_a_compiled_model_loads_without_custom_objects(tmp_path):
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(4, activation="sigmoid")])
    model.compile("sgd", loss=BoxBCE("rel_yxhw") + 0.1 * IoULoss("ciou", size=(20, 30)))
    value = model.evaluate(GUESS, TRUTH, verbose=0)
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    assert again.loss.get_config() == model.loss.get_config()
    assert again.evaluate(GUESS, TRUTH, verbose=0) == value


def test_mixed_precision_computes_in_float32():
    truth, guess = tf.constant(TRUTH, tf.float16), tf.constant(GUESS, tf.float16)
    for loss in all_losses():
        value = loss(truth, guess)
        assert value.dtype == tf.float32
        # Inputs below 1 rounded to 2**-12, slopes of at most 1 / 0.1 (the numbers nearest
        # to an end) and, for overlaps, 4 / 0.1 (the shortest side).
        assert float(value) == pytest.approx(float(loss(TRUTH, GUESS)), abs=40 * 2**-12)
        assert loss.call(truth, guess).dtype == tf.float32


def notebook_boxes(n, seed):
    generator = np.random.default_rng(seed)
    top, left = generator.integers(0, 90, (2, n))
    return np.stack([top, left, generator.integers(top, 100), generator.integers(left, 100)], -1)


def test_the_floor_of_the_notebook_scene():
    def binary(t):
        return sum(-p * math.log(p) for p in (t, 1 - t) if p > 0)

    # top is uniform on 0..89 and bottom on top..99: the expectation, summed exactly.
    pairs = [(top, bottom) for top in range(90) for bottom in range(top, 100)]
    weights = [1 / 90 / (100 - top) for top, _ in pairs]
    mean = {
        "top": sum(w * binary(t / 100) for w, (t, _) in zip(weights, pairs, strict=True)),
        "bottom": sum(w * binary(b / 100) for w, (_, b) in zip(weights, pairs, strict=True)),
        "height": sum(w * binary((b - t) / 100) for w, (t, b) in zip(weights, pairs, strict=True)),
    }
    expected = {
        "rel_yxhw": (mean["top"] + mean["height"]) / 2,
        "rel_yxyx": (mean["top"] + mean["bottom"]) / 2,
    }
    assert round(expected["rel_yxhw"], 3) == 0.495
    assert round(expected["rel_yxyx"], 3) == 0.502
    boxes = convert(notebook_boxes(100_000, seed=0), "yxyx", "rel_yxyx", size=(100, 100))
    for name, value in expected.items():
        # A box's entropy deviates by less than 0.1 (measured): 5 standard errors.
        assert entropy_floor(boxes, name) == pytest.approx(value, abs=5 * 0.1 / 100_000**0.5)


@pytest.mark.parametrize("name", RELATIVE_FORMATS)
def test_the_floor_is_reached_by_the_truth_and_not_beaten(name):
    floor = entropy_floor(TRUTH, name)
    assert float(BoxBCE(name)(TRUTH, TRUTH)) == pytest.approx(floor, **CLOSE)
    assert float(BoxBCE(name)(TRUTH, GUESS)) > floor


def test_messages():
    def message(error, function, *args, **kwargs):
        with pytest.raises(error) as caught:
            function(*args, **kwargs)
        return str(caught.value)

    relative = list(RELATIVE_FORMATS)
    assert message(ValueError, BoxBCE, "yxyx") == (
        f"`format` must be one of {relative}; got 'yxyx'. Did you mean 'rel_yxyx'?"
    )
    assert message(ValueError, BoxBCE, tangent=1) == (
        "`tangent` must lie strictly between 0 and 1; got 1."
    )
    assert message(ValueError, IoULoss, "gious") == (
        "`kind` must be one of ['iou', 'giou', 'diou', 'ciou']; got 'gious'. Did you mean 'giou'?"
    )
    assert message(ValueError, SumLoss, []) == (
        "`terms` must hold at least one loss and `weights` one number a term; "
        "got 0 terms and 0 weights."
    )
    assert message(TypeError, SumLoss, ["mse"]) == (
        "`terms[0]` must be a keras.losses.Loss; got 'mse' of type str."
    )
    assert message(ValueError, lambda: BoxBCE(reduction="sum") + IoULoss()) == (
        "`terms` must all have the same reduction, because the sum reduces once; got "
        "['sum', 'sum_over_batch_size']. Build the terms with the same `reduction`."
    )
    assert message(TypeError, lambda: IoULoss() * "2") == (
        "`weights[0]` must be a number; got '2' of type str."
    )
    assert message(TypeError, lambda: IoULoss() + 1) == (
        "unsupported operand type(s) for +: 'IoULoss' and 'int'"
    )
    assert message(ValueError, entropy_floor, [[0, 0, 1, 1], [3, 4, 9, 9]]) == (
        "`boxes` must be rel_yxyx boxes within the image; box (1,) is [3.0, 4.0, 9.0, 9.0], "
        "[3.0, 4.0, 9.0, 9.0] in 'rel_yxyx'. "
        'Convert pixel boxes with boxes.convert(boxes, "yxyx", "rel_yxyx", size=size).'
    )
    assert message(ValueError, entropy_floor, np.zeros((0, 4))) == (
        "`boxes` must hold at least one box; got shape (0, 4)."
    )
    assert message(ValueError, entropy_floor, TRUTH, "yxhw").startswith("`format` must be one of")
    assert set(relative) == {name for name in FORMATS if name.startswith("rel_")}
