import os
import signal
import subprocess
import sys
import threading
import time

import keras
import numpy as np
import pytest
import tensorflow as tf

import whitebox_loc as wb

SCENE = wb.data.Scene(size=(16, 20))


def small_model(**options):
    return wb.models.localizer(size=(16, 20), filters=(4,), **options)


def train(model, **options):
    return wb.training.fit(model, SCENE, **{"batch_size": 8, "progress": False, **options})


def assert_same_weights(a, b):
    for x, y in zip(a.get_weights(), b.get_weights(), strict=True):
        np.testing.assert_array_equal(x, y)


def dropout_model():
    inputs = keras.Input((16, 20, 1))
    x = keras.layers.Flatten()(inputs)
    x = keras.layers.Dropout(0.5, seed=1)(x)
    boxes = keras.layers.Dense(4, activation="sigmoid")(x)
    return wb.models.reinitialize(keras.Model(inputs, boxes))


def test_learns_to_find_every_box_exactly():
    model = wb.models.localizer(size=(32, 32))
    wb.training.fit(model, wb.data.Scene(size=(32, 32)), steps=120, batch_size=32, progress=False)
    result = wb.training.evaluate(model, wb.data.Scene(size=(32, 32)), n=1000)
    assert result.exact_rate >= 0.99
    assert result.mean_iou >= 0.99


def test_history_measures_the_batch_before_learning_from_it():
    model = small_model()
    batch = wb.data.batch_at(SCENE, 0, batch_size=8, seed=3)
    found = model(batch.images).numpy().astype("float64")
    history = train(model, steps=1, seed=3)
    truth = batch.rel_boxes.astype("float64")
    size = np.array([16, 20, 16, 20])
    floor = wb.losses.entropy_floor(truth)
    bce = -np.mean(truth * np.log(found) + (1 - truth) * np.log(1 - found))
    expected = {
        "bce": bce,
        "floor": floor,
        "excess": bce - floor,
        "iou": wb.boxes.iou(tf.constant(truth), tf.constant(found), "rel_yxyx").numpy().mean(),
        "pixel_error": np.abs(found - truth).__mul__(size).mean(),
        "exact_rate": (np.rint(found * size) == batch.boxes).all(axis=1).mean(),
    }
    # Means of 32 float32 numbers of size up to 20.
    for name, value in expected.items():
        np.testing.assert_allclose(history[name][0], value, atol=1e-5, err_msg=name)
    total = history["bce"] + 0.1 * (1 - history["iou"]) + history["edge_loss"]
    np.testing.assert_allclose(history["loss"], total, rtol=1e-5)


def norm_model():
    inputs = keras.Input((16, 20, 1))
    x = keras.layers.BatchNormalization()(keras.layers.Conv2D(2, 3, strides=4)(inputs))
    boxes = keras.layers.Dense(4, activation="sigmoid")(keras.layers.Flatten()(x))
    return wb.models.reinitialize(keras.Model(inputs, boxes))


def half_model():
    keras.config.set_dtype_policy("mixed_float16")
    try:
        return norm_model()
    finally:
        keras.config.set_dtype_policy("float32")


def decaying():
    return {"learning_rate": keras.optimizers.schedules.CosineDecay(0.01, 8)}


def averaging():
    return {"optimizer": keras.optimizers.Adam(0.01, use_ema=True)}


@pytest.mark.parametrize(
    ("build", "options"),
    [
        (small_model, dict),
        (norm_model, decaying),
        pytest.param(dropout_model, dict, marks=pytest.mark.slow),
        pytest.param(norm_model, averaging, marks=pytest.mark.slow),
        pytest.param(half_model, dict, marks=pytest.mark.slow),
    ],
)
def test_resumes_exactly(build, options, tmp_path):
    straight, twice = build(), build()
    whole = train(straight, steps=6, **options())
    train(twice, steps=3, checkpoint=tmp_path / "run.npz", **options())
    again = build()
    resumed = train(again, steps=6, checkpoint=tmp_path / "run.npz", **options())
    assert_same_weights(straight, again)
    np.testing.assert_array_equal(whole["loss"], resumed["loss"])
    assert len(resumed) == 6


def test_a_finished_run_is_not_trained_further(tmp_path):
    model = dropout_model()
    train(model, steps=2, checkpoint=tmp_path / "run.npz")
    again = dropout_model()
    history = train(again, steps=2, checkpoint=tmp_path / "run.npz")
    assert_same_weights(model, again)
    assert history.stopped == "steps"


def test_ctrl_c_loses_nothing(tmp_path):
    path = tmp_path / "run.npz"
    model, straight = dropout_model(), dropout_model()
    # Not always Python's own: a shell's background jobs are started with SIGINT ignored.
    before = signal.getsignal(signal.SIGINT)
    killer = threading.Thread(target=interrupt_after, args=(path,))
    killer.start()
    with pytest.raises(KeyboardInterrupt, match="interrupted after step") as caught:
        train(model, steps=100_000, checkpoint=path, checkpoint_seconds=0)
    killer.join()
    assert str(path) in caught.value.__notes__[0]
    assert signal.getsignal(signal.SIGINT) is before
    resumed = dropout_model()
    done = len(train(resumed, steps=1, checkpoint=path))
    assert_same_weights(resumed, model)
    history = train(resumed, steps=done + 2, checkpoint=path)
    train(straight, steps=done + 2)
    assert_same_weights(resumed, straight)
    assert history["step"].tolist() == list(range(1, done + 3))


def interrupt_after(path):
    while not path.exists():
        time.sleep(0.01)
    os.kill(os.getpid(), signal.SIGINT)


@pytest.mark.whole
def test_a_killed_run_resumes_exactly(tmp_path):
    path = tmp_path / "run.npz"
    code = """
import whitebox_loc as wb
scene = wb.data.Scene(size=(16, 20))
model = wb.models.localizer(size=(16, 20), filters=(4,))
wb.training.fit(model, scene, steps=10**6, batch_size=8, progress=False,
                checkpoint="run.npz", checkpoint_seconds=0)
"""
    process = subprocess.Popen([sys.executable, "-c", code], cwd=tmp_path)
    while not path.exists():
        assert process.poll() is None
        time.sleep(0.05)
    time.sleep(0.3)
    process.kill()
    process.wait()
    resumed, straight = small_model(), small_model()
    done = len(train(resumed, steps=1, checkpoint=path))
    train(resumed, steps=done + 2, checkpoint=path)
    train(straight, steps=done + 2)
    assert_same_weights(resumed, straight)


class NaNAfter(keras.losses.Loss):
    """Squared error that becomes NaN after `good` steps."""

    def __init__(self, good):
        super().__init__()
        self.calls, self.good = tf.Variable(0), good

    def call(self, y_true, y_pred):
        count = self.calls.assign_add(1)
        error = tf.reduce_mean(tf.square(y_true - y_pred), axis=-1)
        return tf.where(count > self.good, np.nan, 1.0) * error


@pytest.mark.parametrize("build", [small_model, norm_model])
def test_nan_stops_and_keeps_the_last_good_weights(build, tmp_path):
    path = tmp_path / "run.npz"
    model, good = build(), build()
    with pytest.raises(wb.training.TrainingDivergedError) as caught:
        train(model, steps=9, loss=NaNAfter(3), checkpoint=path)
    assert str(caught.value) == (
        "The loss is nan and the gradient norm nan at step 4. The weights before it are kept in "
        f"the model and {str(path)!r}. Lower `learning_rate`, or look for NaN in the images or in "
        "your loss."
    )
    train(good, steps=3, loss=NaNAfter(3))
    assert_same_weights(model, good)
    kept = build()
    assert len(train(kept, steps=3, loss=NaNAfter(9), checkpoint=path)) == 3
    assert_same_weights(kept, good)


def test_budgets():
    assert len(train(small_model(), steps=0)) == 0
    timed = train(small_model(), seconds=0.5)
    assert timed.stopped == "seconds"
    assert timed["seconds"][-1] >= 0.5
    assert (timed["seconds"][:-1] < 0.5).all()
    met = train(small_model(), steps=10_000, target_iou=0.0)
    assert met.stopped == "target_iou"
    # 2000 images in batches of 8.
    assert len(met) == 250


@pytest.mark.slow
def test_half_precision_trains():
    keras.config.set_dtype_policy("mixed_float16")
    try:
        model = wb.models.localizer(size=(32, 32))
    finally:
        keras.config.set_dtype_policy("float32")
    wb.training.fit(model, wb.data.Scene(size=(32, 32)), steps=120, batch_size=32, progress=False)
    assert wb.training.evaluate(model, wb.data.Scene(size=(32, 32)), n=500).mean_iou >= 0.98


def test_without_edge_weight_only_the_given_loss_counts():
    history = train(small_model(), steps=1, loss=wb.losses.BoxBCE(), edge_weight=0)
    np.testing.assert_allclose(history["loss"], history["bce"], rtol=1e-6)


@pytest.fixture(scope="module")
def of_one_step(tmp_path_factory):
    """The content of the checkpoint of a small model after one step."""
    path = tmp_path_factory.mktemp("one") / "run.npz"
    train(small_model(), steps=1, checkpoint=path)
    return path.read_bytes()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seed": 1}, "belongs to another run: its seed is 0, yours is 1."),
        ({"batch_size": 9}, "belongs to another run: its batch_size is 8, yours is 9."),
        ({"learning_rate": 0.5}, "its optimizer.learning_rate is '0.0099"),
        ({"optimizer": keras.optimizers.SGD()}, "its optimizer is 'Adam', yours is 'SGD'."),
    ],
)
def test_checkpoint_of_another_run(change, message, tmp_path, of_one_step):
    (tmp_path / "run.npz").write_bytes(of_one_step)
    with pytest.raises(ValueError, match="`checkpoint` file") as caught:
        train(small_model(), steps=2, checkpoint=tmp_path / "run.npz", **change)
    assert message in str(caught.value)


def test_checkpoint_that_lacks_a_weight(tmp_path, of_one_step):
    path = tmp_path / "run.npz"
    path.write_bytes(of_one_step)
    with np.load(path) as file:
        arrays = {name: file[name] for name in file.files if name != "model/3"}
    np.savez(path, **arrays)
    with pytest.raises(ValueError, match="belongs to another model or optimizer: it holds"):
        train(small_model(), steps=2, checkpoint=path)


@pytest.mark.parametrize("share", [0.0, 0.3, 0.99])
def test_damaged_checkpoint_changes_nothing(share, tmp_path, of_one_step):
    path = tmp_path / "run.npz"
    path.write_bytes(of_one_step[: int(share * len(of_one_step))])
    model = small_model(seed=4)
    with pytest.raises(ValueError, match=r"run\.npz' is not a readable training checkpoint"):
        train(model, steps=2, checkpoint=path)
    assert_same_weights(model, small_model(seed=4))


def test_model_that_does_not_fit_the_scene():
    with pytest.raises(ValueError, match="`model` takes images of") as caught:
        wb.training.fit(small_model(), "uniform", steps=1)
    assert str(caught.value) == (
        "`model` takes images of (height, width, channels) = (16, 20, 1); got `scene` of "
        "(100, 100, 1). Build the model or the scene with the same size and channels."
    )


def test_learning_rate_and_optimizer_exclude_each_other():
    with pytest.raises(ValueError, match="`learning_rate` and `optimizer` exclude each other"):
        train(small_model(), steps=1, learning_rate=0.1, optimizer=keras.optimizers.SGD())


class Unbuilt(keras.Model):
    def __init__(self):
        super().__init__()
        self.flatten = keras.layers.Flatten()
        self.box = keras.layers.Dense(4, activation="sigmoid")

    def call(self, images):
        return self.box(self.flatten(images))


def test_a_model_without_weights_yet_is_built_and_learns():
    model = Unbuilt()
    history = train(model, steps=30)
    assert (history["gradient_norm"] > 0).all()
    assert history["bce"][-5:].mean() < history["bce"][:5].mean()


def test_a_frozen_model_is_an_error():
    model = small_model()
    model.trainable = False
    with pytest.raises(ValueError, match="has no trainable weights"):
        train(model, steps=1)


@pytest.mark.parametrize(
    "policy",
    ["mixed_float16", pytest.param("mixed_bfloat16", marks=pytest.mark.bfloat16), "float64"],
)
def test_models_that_answer_in_another_precision(policy):
    keras.config.set_dtype_policy(policy)
    try:
        model = dropout_model()
    finally:
        keras.config.set_dtype_policy("float32")
    history = train(model, steps=3)
    assert np.isfinite(history["loss"]).all()
    assert 0 <= wb.training.evaluate(model, SCENE, n=10).mean_iou <= 1


class Zero(keras.losses.Loss):
    def call(self, y_true, y_pred):
        return 0.0 * tf.reduce_sum(y_pred, axis=-1)


def test_a_loss_of_zero_is_not_divergence():
    history = train(small_model(), steps=2, loss=Zero(), edge_weight=0)
    assert history["loss"].tolist() == [0, 0]
    assert history["gradient_norm"].tolist() == [0, 0]


def test_a_scale_that_overflows_is_lowered_and_not_divergence():
    # 2^15 is half of float16's largest power of two: the first steps overflow.
    model = half_model()
    optimizer = keras.optimizers.LossScaleOptimizer(keras.optimizers.Adam(), initial_scale=2.0**24)
    before = model.get_weights()
    history = train(model, steps=25, optimizer=optimizer)
    assert not np.isfinite(history["gradient_norm"][0])
    assert np.isfinite(history["gradient_norm"][-1])
    assert float(optimizer.dynamic_scale) < 2.0**24
    assert any((a != b).any() for a, b in zip(before, model.get_weights(), strict=True))


def test_averaged_weights_are_those_that_remain():
    options = {"use_ema": True, "ema_momentum": 0.5}
    model, plain = small_model(), small_model()
    kernels = []

    class Squared(keras.losses.Loss):
        def call(self, y_true, y_pred):
            return tf.reduce_mean(tf.square(y_true - y_pred), axis=-1)

    train(model, steps=2, loss=Squared(), optimizer=keras.optimizers.Adam(0.01, **options))
    for steps in (1, 2):
        train(plain, steps=steps, loss=Squared(), optimizer=keras.optimizers.Adam(0.01))
        kernels.append(plain.get_layer("conv1").kernel.numpy())
        plain = small_model()
    # Keras starts the average with the weights after the first step.
    average = 0.5 * kernels[0] + 0.5 * kernels[1]
    found = model.get_layer("conv1").kernel.numpy()
    assert not np.allclose(found, kernels[-1], atol=1e-5)
    # Weights below 1, two roundings a step.
    np.testing.assert_allclose(found, average, atol=1e-6)


def test_whole_numbers_of_numpy_are_whole_numbers(tmp_path):
    path = tmp_path / "run.npz"
    train(dropout_model(), steps=1, seed=np.int64(1), batch_size=np.int32(8), checkpoint=path)
    assert len(train(dropout_model(), steps=2, seed=1, checkpoint=path)) == 2


def test_ctrl_c_during_the_last_checkpoint_is_not_lost(tmp_path, monkeypatch):
    from whitebox_loc.training import checkpoints

    save = checkpoints.save

    def save_and_interrupt(run, path):
        save(run, path)
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(checkpoints, "save", save_and_interrupt)
    with pytest.raises(KeyboardInterrupt, match="interrupted after step 2"):
        # None is due before the last, however slow the machine.
        train(dropout_model(), steps=2, checkpoint=tmp_path / "run.npz", checkpoint_seconds=1e9)


@pytest.mark.parametrize(
    ("options", "kind", "message"),
    [
        ({"loss": keras.losses.mean_squared_error}, TypeError, "must be a keras.losses.Loss of"),
        ({"edge_weight": 1.0}, ValueError, "`edge_weight` 1 needs a model with distributions"),
        ({"seed": -1}, ValueError, "`seed` must be a whole number >= 0; got -1."),
        ({"seconds": -1}, ValueError, "`seconds` must be a finite number >= 0; got -1."),
        ({"target_iou": 2}, ValueError, "`target_iou` must be a finite number between 0 and 1"),
    ],
)
def test_wrong_arguments(options, kind, message):
    with pytest.raises(kind) as caught:
        train(dropout_model(), steps=1, **options)
    assert message in str(caught.value)


def test_an_optimizer_of_another_model_is_an_error():
    optimizer = keras.optimizers.Adam()
    train(dropout_model(), steps=1, optimizer=optimizer)
    with pytest.raises(ValueError, match="has been used for another model, whose averages"):
        train(dropout_model(), steps=1, optimizer=optimizer)


def test_progress_bar_shows_loss_excess_and_iou(capsys):
    train(dropout_model(), steps=2, progress=True)
    shown = capsys.readouterr().err
    assert "2/2 steps" in shown
    assert all(f"{name}=" in shown for name in ("loss", "excess", "iou"))
