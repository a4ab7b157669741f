"""What must not go wrong without a word: rates, updates that break weights, and the clock."""

import re
import types

import keras
import numpy as np
import pytest
import tensorflow as tf

import whitebox_loc as wb
from whitebox_loc.training import TrainingDivergedError, detector_fitting, fitting, loops

SCENE = wb.data.Scene(size=(8, 8))
CROWD = wb.data.MultiScene(wb.data.Scene(size=(8, 8)), boxes=(1, 1))
SCHEDULE = keras.optimizers.schedules.LearningRateSchedule


def dense_model():
    """The smallest network that can be trained: one layer behind the pixels."""
    layers = [keras.Input((8, 8, 1)), keras.layers.Flatten(), keras.layers.Dense(4, "sigmoid")]
    return wb.models.reinitialize(keras.Sequential(layers))


def train(model, **options):
    return wb.training.fit(model, SCENE, **{"batch_size": 4, "progress": False, **options})


class Table(SCHEDULE):
    """Learning rates one by one; the last one holds from there on."""

    def __init__(self, *rates):
        self.rates = rates

    def __call__(self, step):
        last = len(self.rates) - 1
        return tf.gather(tf.constant(self.rates, tf.float32), tf.minimum(int32(step), last))

    def get_config(self):
        return {"rates": self.rates}


def int32(step):
    return tf.cast(step, tf.int32)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"learning_rate": np.nan}, "`learning_rate` must be a finite number; got nan."),
        ({"learning_rate": np.inf}, "`learning_rate` must be a finite number; got inf."),
        ({"learning_rate": 0.0}, "`learning_rate` must be a finite number > 0; got 0.0."),
        ({"learning_rate": -0.1}, "`learning_rate` must be a finite number > 0; got -0.1."),
        (
            {"learning_rate": Table(np.nan)},
            "`learning_rate(0)` must be a finite number >= 0; got nan.",
        ),
        (
            {"optimizer": keras.optimizers.SGD(np.nan)},
            "`optimizer.learning_rate` must be a finite number; got nan.",
        ),
        (
            {"optimizer": keras.optimizers.SGD(-1.0)},
            "`optimizer.learning_rate` must be a finite number > 0; got -1.0.",
        ),
        (
            {"optimizer": keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(Table(-1.0)))},
            "`optimizer.learning_rate(0)` must be a finite number >= 0; got -1.0.",
        ),
    ],
)
def test_learning_rates_that_are_none_are_refused(options, message):
    model = dense_model()
    before = model.get_weights()
    with pytest.raises(ValueError, match="learning_rate") as caught:
        train(model, steps=1, **options)
    assert str(caught.value) == message
    assert_equal(model.get_weights(), before)


@pytest.mark.parametrize("rate", [np.nan, np.inf, 0, -1.0])
def test_learning_rates_of_detectors_that_are_none_are_refused(rate):
    model = wb.models.detector(size=(8, 8), filters=(2,))
    with pytest.raises(ValueError, match="`learning_rate` must be a finite number"):
        wb.training.fit_detector(model, CROWD, steps=1, learning_rate=rate, progress=False)


def assert_equal(some, others):
    for a, b in zip(some, others, strict=True):
        np.testing.assert_array_equal(a, b)


def breaking(kind):
    """Make an optimizer put NaN into the weights in its third step, however good all is."""

    class Breaking(kind):
        def update_step(self, gradient, variable, learning_rate):
            super().update_step(gradient, variable, learning_rate)
            third = keras.ops.cast(self.iterations, "int32") == 2
            nothing = keras.ops.zeros_like(gradient)
            self.assign_add(variable, keras.ops.where(third, np.nan, nothing))

    return Breaking


SETTINGS = "Lower `learning_rate`, or look at the schedule and the settings of your optimizer."


@pytest.mark.parametrize(
    ("make", "shown", "steps"),
    [
        (lambda: keras.optimizers.Adam(Table(0.01, 0.01, np.nan)), "nan", 3),
        (lambda: keras.optimizers.Adam(Table(0.01, 0.01, -0.5)), "-0.5", 9),
        (lambda: breaking(keras.optimizers.SGD)(0.01), "0.01", 3),
    ],
)
def test_a_step_that_would_break_the_weights_is_undone(make, shown, steps, tmp_path):
    path = tmp_path / "run.npz"
    model, straight = dense_model(), dense_model()
    with pytest.raises(TrainingDivergedError) as caught:
        train(model, steps=steps, optimizer=make(), checkpoint=path)
    assert str(caught.value) == (
        f"Step 3 at a learning rate of {shown} makes weights NaN or infinite, or goes backwards. "
        f"The weights before it are kept in the model and {str(path)!r}. {SETTINGS}"
    )
    train(straight, steps=2, optimizer=make())
    assert_equal(model.get_weights(), straight.get_weights())
    resumed, optimizer = dense_model(), make()
    assert len(train(resumed, steps=2, optimizer=optimizer, checkpoint=path)) == 2
    assert_equal(resumed.get_weights(), straight.get_weights())
    # What counts steps and holds averages is that of the last good step, too.
    assert int(optimizer.iterations) == 2
    assert all(np.isfinite(np.asarray(variable)).all() for variable in optimizer.variables)


def test_moving_averages_of_a_step_that_is_undone_are_undone():
    def build():
        layers = [keras.Input((8, 8, 1)), keras.layers.BatchNormalization()]
        layers += [keras.layers.Flatten(), keras.layers.Dense(4, "sigmoid")]
        return wb.models.reinitialize(keras.Sequential(layers))

    model, straight = build(), build()
    with pytest.raises(TrainingDivergedError, match=r"Step 3 at a learning rate of 0\.01"):
        train(model, steps=3, optimizer=breaking(keras.optimizers.SGD)(0.01))
    train(straight, steps=2, optimizer=breaking(keras.optimizers.SGD)(0.01))
    assert_equal(model.get_weights(), straight.get_weights())


def test_a_detector_keeps_its_last_good_weights(monkeypatch, tmp_path):
    kind = breaking(detector_fitting.AveragingAdam)
    monkeypatch.setattr(detector_fitting, "AveragingAdam", kind)
    path = tmp_path / "run.npz"
    options = {"batch_size": 2, "progress": False, "checkpoint": path}
    model = wb.models.detector(size=(8, 8), filters=(2,))
    with pytest.raises(TrainingDivergedError, match=r"Step 3 at a learning rate of 0\.002"):
        wb.training.fit_detector(model, CROWD, steps=3, **options)
    with np.load(path) as file:
        kept = {key: file[key] for key in file.files if key.startswith(("model/", "optimizer/"))}
    assert all(np.isfinite(array).all() for array in kept.values())
    assert_equal(model.get_weights(), [kept[f"model/{i}"] for i in range(len(model.weights))])


def test_a_warm_up_may_begin_at_zero():
    model, before = dense_model(), dense_model().get_weights()
    train(model, steps=1, learning_rate=Table(0.0, 0.1))
    assert_equal(model.get_weights(), before)
    train(model, steps=2, learning_rate=Table(0.0, 0.1))
    assert any((a != b).any() for a, b in zip(model.get_weights(), before, strict=True))


class Clock:
    """A clock that stands still unless it is told to go on."""

    def __init__(self, monkeypatch):
        self.now = 100.0
        monkeypatch.setattr(loops, "time", types.SimpleNamespace(perf_counter=lambda: self.now))

    def during(self, seconds, function):
        """Return `function`, which takes so many seconds on this clock."""

        def slow(*arguments, **options):
            self.now += seconds
            return function(*arguments, **options)

        return slow


def test_compilation_counts_for_the_budget(monkeypatch):
    clock = Clock(monkeypatch)
    monkeypatch.setattr(fitting, "make_step", clock.during(7.0, fitting.make_step))
    history = train(dense_model(), seconds=6.0, steps=2)
    assert history["seconds"].tolist() == [7.0]
    assert history.stopped == "seconds"


def test_compilation_of_a_detector_counts_for_the_budget(monkeypatch):
    clock = Clock(monkeypatch)
    slow = clock.during(7.0, detector_fitting._make_step)
    monkeypatch.setattr(detector_fitting, "_make_step", slow)
    model = wb.models.detector(size=(8, 8), filters=(2,))
    history = wb.training.fit_detector(
        model, CROWD, seconds=6.0, steps=2, batch_size=2, progress=False
    )
    assert history["seconds"].tolist() == [7.0]


def test_a_run_that_goes_on_adds_its_own_compilation(monkeypatch, tmp_path):
    clock, path = Clock(monkeypatch), tmp_path / "run.npz"
    monkeypatch.setattr(fitting, "make_step", clock.during(7.0, fitting.make_step))
    train(dense_model(), steps=1, checkpoint=path)
    history = train(dense_model(), steps=2, checkpoint=path)
    assert history["seconds"].tolist() == [7.0, 14.0]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"optimizer": "adam"},
            "`optimizer` must be a keras.optimizers.Optimizer, such as "
            "keras.optimizers.Adam(1e-3); got 'adam' of type str.",
        ),
        ({"learning_rate": "fast"}, "`learning_rate` must be a number; got 'fast' of type str."),
        (
            {"batch_size": 10**12},
            "`batch_size` 1000000000000 asks for 256,000 GB of images; at most 137 GB are tried. "
            "Take a smaller number.",
        ),
    ],
)
def test_arguments_of_fit_that_make_no_sense(options, message):
    with pytest.raises((TypeError, ValueError), match=re.escape(message)):
        train(dense_model(), steps=1, **options)


@pytest.mark.parametrize("call", [wb.training.fit, wb.training.evaluate])
def test_no_model_is_a_clear_error(call):
    with pytest.raises(TypeError) as caught:
        call(None, SCENE)
    assert str(caught.value) == (
        "`model` must be a keras.Model (Functional, Sequential or a subclass); got "
        "builtins.NoneType."
    )


def test_a_checkpoint_that_can_be_no_file_is_refused_before_training(tmp_path):
    model = dense_model()
    before = [weight.numpy() for weight in model.weights]
    with pytest.raises(OSError, match=r"`checkpoint` '.*': File name too long\. Take a short"):
        train(model, steps=1, checkpoint=tmp_path / ("n" * 300))
    for weight, old in zip(model.weights, before, strict=True):
        np.testing.assert_array_equal(weight.numpy(), old)
