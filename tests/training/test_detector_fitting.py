import os
import signal

import keras
import numpy as np
import pytest
import tensorflow as tf

import whitebox_loc as wb
from whitebox_loc.detection_losses import center_loss, center_targets, heat_map_loss
from whitebox_loc.training import averaging, detector_fitting
from whitebox_loc.training.detector_fitting import DETECTOR_COLUMNS

SCENE = wb.data.Scene(size=(8, 9), heights=(1, 4), widths=(1, 4))
MULTI = wb.data.MultiScene(SCENE, boxes=(0, 3), gap=1)


def small_model(**options):
    return wb.models.detector((8, 9), filters=(2, 3), **options)


def fit(model, scene=MULTI, **options):
    return wb.training.fit_detector(model, scene, **{"batch_size": 8, "progress": False, **options})


def assert_same_weights(a, b):
    for x, y in zip(a.get_weights(), b.get_weights(), strict=True):
        np.testing.assert_array_equal(x, y)


@pytest.mark.slow
def test_learns_to_find_several_boxes():
    scene = wb.data.Scene(size=(24, 24), heights=(5, 10), widths=(5, 10))
    multi = wb.data.MultiScene(scene, boxes=(1, 2))
    model = wb.models.detector((24, 24), filters=(12, 16, 24))
    wb.training.fit_detector(model, multi, steps=200, progress=False)
    result = wb.training.evaluate_detector(model, multi, n=300)
    assert result.recall >= 0.95
    assert result.precision >= 0.9
    assert result.mean_iou >= 0.8


def test_history_measures_the_batch_before_learning_from_it(tmp_path):
    model = small_model()
    batch = wb.data.batch_at(MULTI, 0, batch_size=8, seed=3)
    layers = ["heat_logits", "size_logits", "offset"]
    maps = wb.introspect.activations(model, batch.images, layers=layers)
    found = {name: part.numpy() for name, part in model(batch.images).items()}
    targets = center_targets(batch.rel_boxes, batch.labels, (4, 5), 2, (8, 9))
    size, place = center_loss(targets, maps["size_logits"], maps["offset"])
    expected = {"heat_loss": heat_map_loss(targets, maps["heat_logits"]),
                "size_loss": size, "offset_loss": place}  # fmt: skip
    expected["loss"] = sum(expected.values())
    ious, scores = [], []
    for i, count in enumerate(batch.counts):
        for box in batch.boxes[i, :count]:
            row, column = (box[:2] + box[2:]) // 4  # half of the sum is the centre, a cell has two
            cell = row * 5 + column
            scores.append(found["scores"][i, cell])
            said = tf.constant(found["boxes"][i, cell] * [8, 9, 8, 9], tf.float64)
            ious.append(float(wb.boxes.iou(said, tf.constant(box, tf.float64))))
    expected |= {"iou": np.mean(ious), "score": np.mean(scores)}
    history = fit(model, steps=1, seed=3)
    # float32 sums in another order.
    for name, value in expected.items():
        np.testing.assert_allclose(history[name][0], value, rtol=1e-4, err_msg=name)
    assert wb.training.DETECTOR_COLUMNS == DETECTOR_COLUMNS
    assert tuple(history.to_dict()) == history.names == DETECTOR_COLUMNS
    assert repr(history).startswith("History(1 steps, ")
    assert "iou=" in repr(history)
    assert "excess" not in repr(history)
    header = history.to_csv(tmp_path / "run.csv").read_text().splitlines()[0]
    assert header == ",".join(DETECTOR_COLUMNS)
    assert history.plot().shape == (1, 4)
    with pytest.raises(ValueError, match="`name` must be one of"):
        history["excess"]


def test_resumes_exactly(tmp_path):
    whole, parts = small_model(classes=1), small_model(classes=1)
    expected = fit(whole, steps=5)
    fit(parts, steps=2, checkpoint=tmp_path / "run.npz")
    fresh = small_model(classes=1, seed=9)
    history = fit(fresh, steps=5, checkpoint=tmp_path / "run.npz")
    assert_same_weights(fresh, whole)
    for name in DETECTOR_COLUMNS:
        if name != "seconds":
            np.testing.assert_array_equal(history[name], expected[name])
    other = wb.data.batch_at(MULTI, 0, batch_size=8, seed=1).images
    assert not np.array_equal(other, wb.data.batch_at(MULTI, 0, batch_size=8, seed=0).images)


def test_a_checkpoint_of_another_run_is_refused(tmp_path):
    path = tmp_path / "run.npz"
    fit(small_model(), steps=1, checkpoint=path)
    with pytest.raises(ValueError, match="belongs to another run: its seed is 0, yours is 1"):
        fit(small_model(), steps=1, seed=1, checkpoint=path)
    with pytest.raises(ValueError, match="belongs to another run: its model is"):
        fit(wb.models.detector((8, 9), filters=(2, 4)), steps=1, checkpoint=path)
    with pytest.raises(ValueError, match="belongs to another run"):
        wb.training.fit(
            wb.models.localizer((8, 9)), SCENE, steps=1, checkpoint=path, progress=False
        )


def test_no_step_leaves_the_weights_alone():
    model = small_model()
    fit(model, steps=0)
    assert_same_weights(model, small_model())


@pytest.mark.parametrize("most", [0.99, 0.2])
def test_the_weights_are_an_average(monkeypatch, most):
    """The definition by hand: after t steps the average keeps (1 + t) / (10 + t) of itself."""
    monkeypatch.setattr(averaging, "AVERAGED", most)
    model, plain = small_model(), []
    append = wb.training.History.append

    def remembering(history, row):
        append(history, row)
        plain.append(model.get_weights())

    monkeypatch.setattr(wb.training.History, "append", remembering)
    fit(model, steps=4)
    average = plain[0]
    for done, weights in enumerate(plain[1:], start=1):
        kept = min(most, (1 + done) / (10 + done))
        average = [kept * a + (1 - kept) * b for a, b in zip(average, weights, strict=True)]
    for got, want, last in zip(model.get_weights(), average, plain[-1], strict=True):
        np.testing.assert_allclose(got, want, atol=1e-6)  # float32 sums
        assert np.abs(got - last).max() > 1e-5


def test_the_average_goes_over_the_last_hundred_steps_at_most():
    optimizer = averaging.AveragingAdam()
    for steps, kept in ((0, 0.1), (5, 0.4), (890, 0.99), (10**6, 0.99)):
        optimizer.iterations.assign(steps)
        assert float(optimizer.ema_momentum) == pytest.approx(kept)


def moved(**options):
    """Return by how much one step moves the weight that moves most."""
    model = small_model()
    before = model.get_weights()
    fit(model, steps=1, **options)
    return max(np.abs(a - b).max() for a, b in zip(model.get_weights(), before, strict=True))


def test_the_learning_rate_is_that_of_the_first_step():
    """Adam's first step is the learning rate for all but the least gradients."""
    assert moved() == pytest.approx(2e-3, rel=1e-3)
    assert moved(learning_rate=0.01) == pytest.approx(0.01, rel=1e-3)


def test_large_gradients_are_clipped(monkeypatch):
    """Adam hides a factor, but not beside its epsilon of 1e-7: 1e-9 moves 3e-4 times as far."""
    monkeypatch.setattr(detector_fitting, "LARGEST_GRADIENT", 1e-9)
    # Of weights up to 4 the float32 rounding is 2e-7.
    assert 0 < moved(learning_rate=1.0) < 4e-4
    assert fit(small_model(), steps=1)["gradient_norm"][0] > 0.01  # as it was before


def test_ctrl_c_finishes_the_step_and_keeps_the_run(tmp_path, monkeypatch):
    path = tmp_path / "run.npz"
    append = wb.training.History.append

    def interrupted(history, row):
        append(history, row)
        if len(history) == 2:
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(wb.training.History, "append", interrupted)
    with pytest.raises(KeyboardInterrupt, match="after step 2"):
        fit(small_model(), steps=5, checkpoint=path)
    monkeypatch.undo()
    history = fit(small_model(seed=5), steps=3, checkpoint=path)
    assert history["step"].tolist() == [1, 2, 3]


def test_divergence_keeps_the_last_finite_weights():
    model = small_model()
    bias = model.get_layer("offset").bias
    bias.assign(np.full(2, np.nan, "float32"))
    kernel = model.get_layer("stem").kernel.numpy()
    with pytest.raises(wb.training.TrainingDivergedError, match="The loss is nan"):
        fit(model, steps=2)
    np.testing.assert_array_equal(model.get_layer("stem").kernel, kernel)


def coarse_model():
    """A model with the layers of a detector, but with one cell for all of the image."""
    x = keras.Input((8, 9, 1))
    cells = keras.layers.AveragePooling2D((8, 9))(x)
    counts = {"heat_logits": 1, "size_logits": 2, "offset": 2}
    parts = [keras.layers.Conv2D(count, 1, name=name)(cells) for name, count in counts.items()]
    return keras.Model(x, parts)


def test_bad_arguments():
    with pytest.raises(TypeError, match=r"`scene` must be a whitebox_loc\.data.MultiScene"):
        fit(small_model(), SCENE, steps=1)
    with pytest.raises(ValueError, match="has no layers 'heat_logits'"):
        fit(wb.models.localizer((8, 9), filters=(2,)), steps=1)
    with pytest.raises(ValueError, match="`model` tells 3 classes apart, but `scene` has the 1"):
        fit(small_model(classes=3), steps=1)
    with pytest.raises(ValueError, match="`model` takes images of"):
        fit(wb.models.detector((16, 16), filters=(2,)), steps=1)
    with pytest.raises(ValueError, match="or their grid is not one of 2 or 4 pixels a cell"):
        fit(coarse_model(), steps=1)
    with pytest.raises(TypeError, match=r"`model` must be a keras.Model .* got builtins.str"):
        fit("x", steps=1)
    frozen = small_model()
    frozen.trainable = False
    with pytest.raises(ValueError, match="has no trainable weights"):
        fit(frozen, steps=1)


@pytest.mark.parametrize("policy", ["float16", "mixed_float16"])
def test_half_precision_is_refused(policy):
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        model = small_model()
    finally:
        keras.config.set_dtype_policy(before)
    with pytest.raises(ValueError, match="computes in float16, in which gradients vanish"):
        fit(model, steps=1)


def test_strategies_are_refused():
    strategy = tf.distribute.MirroredStrategy(["CPU:0"])
    plain = small_model()
    with strategy.scope():
        model = small_model()
        with pytest.raises(ValueError, match="`fit_detector` trains on one device"):
            fit(plain, steps=1)
    with pytest.raises(ValueError, match="`fit_detector` trains on one device"):
        fit(model, steps=1)
