"""Training box and classes together."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import whitebox_loc as wb

SCENE = wb.data.Scene(size=(16, 20), shapes=("rectangle", "diamond", "ring"), heights=(8, None))


def small_model(**options):
    return wb.models.localizer(size=(16, 20), filters=(4,), classes=3, **options)


def train(model, **options):
    return wb.training.fit(model, SCENE, **{"batch_size": 8, "progress": False, **options})


def test_history_measures_the_joint_loss():
    model = small_model()
    batch = wb.data.batch_at(SCENE, 0, batch_size=8, seed=3)
    logits = keras.Model(model.input, model.get_layer("label_logits").output)(batch.images)
    z = logits.numpy().astype("float64")
    log_p = z - np.log(np.exp(z).sum(axis=1, keepdims=True))
    cross_entropy = -np.mean([log_p[i, label] for i, label in enumerate(batch.labels)])
    accuracy = np.mean(z.argmax(axis=1) == batch.labels)
    history = train(model, steps=1, seed=3, label_weight=0.7)
    # Float32 means of 8 numbers of size about 1.
    np.testing.assert_allclose(history["label_loss"][0], cross_entropy, rtol=1e-5)
    assert history["accuracy"][0] == accuracy
    total = history["bce"] + 0.1 * (1 - history["iou"]) + history["edge_loss"]
    np.testing.assert_allclose(history["loss"], total + 0.7 * history["label_loss"], rtol=1e-5)


def test_the_step_goes_down_the_gradient_of_the_joint_loss():
    model, rate = small_model(), 1e-3
    batch = wb.data.batch_at(SCENE, 0, batch_size=8, seed=0)
    reader = keras.Model(model.input, [model.output, *wb.models.edge_logits(model)])
    with tf.GradientTape() as tape:
        found, *edges = reader(batch.images)
        chosen = tf.gather(found["label"], batch.labels, axis=1, batch_dims=1)
        total = wb.losses.BoxBCE()(batch.rel_boxes, found["box"])
        total += wb.losses.edge_cross_entropy(batch.rel_boxes, *edges)
        total -= 2.0 * tf.reduce_mean(tf.math.log(chosen))
    slopes = tape.gradient(total, model.trainable_variables)
    before = [v.numpy() for v in model.trainable_variables]
    train(
        model,
        steps=1,
        loss=wb.losses.BoxBCE(),
        label_weight=2.0,
        optimizer=keras.optimizers.SGD(rate),
    )
    moved = False
    for variable, old, slope in zip(model.trainable_variables, before, slopes, strict=True):
        # Weights below 1 are rounded to 6e-8, gradients of size 1 to 1e-6 of that.
        np.testing.assert_allclose(variable.numpy(), old - rate * slope, atol=2e-7)
        moved |= variable.path.startswith("label_logits") and bool(np.abs(slope).max() > 1e-3)
    assert moved


def test_resumes_to_the_same_bytes(tmp_path):
    straight, first, again = small_model(), small_model(), small_model()
    whole = train(straight, steps=6)
    train(first, steps=3, checkpoint=tmp_path / "run.npz")
    resumed = train(again, steps=6, checkpoint=tmp_path / "run.npz")
    for a, b in zip(straight.get_weights(), again.get_weights(), strict=True):
        assert a.tobytes() == b.tobytes()
    for name in ("loss", "label_loss", "accuracy"):
        assert whole[name].tobytes() == resumed[name].tobytes()
    with pytest.raises(ValueError, match=r"its label_weight is 1\.0, yours is 0\.5"):
        train(small_model(), steps=7, checkpoint=tmp_path / "run.npz", label_weight=0.5)


@pytest.mark.slow
def test_learns_both():
    scene = wb.data.Scene(size=(32, 32), shapes=SCENE.shapes, heights=(8, None), widths=(8, None))
    model = wb.models.localizer(size=(32, 32), classes=3)
    history = wb.training.fit(model, scene, steps=250, batch_size=32, progress=False)
    result = wb.training.evaluate(model, scene, n=500)
    assert result.classification.accuracy >= 0.95
    assert result.mean_iou >= 0.97
    assert history["accuracy"][-50:].mean() > 0.9 > history["accuracy"][:20].mean()


def test_weight_zero_trains_the_box_alone():
    model = small_model()
    before = {v.path: v.numpy() for v in model.trainable_variables}
    history = train(model, steps=2, label_weight=0)
    assert (history["label_loss"] == 0).all()
    assert np.isnan(history["accuracy"]).all()
    for variable in model.trainable_variables:
        same = np.array_equal(variable.numpy(), before[variable.path])
        assert same == variable.path.startswith("label_"), variable.path


@pytest.mark.parametrize(
    "options", [{}, pytest.param({"gradient_accumulation_steps": 2}, marks=pytest.mark.slow)]
)
def test_weight_zero_keeps_classes_from_weight_decay(tmp_path, options):
    def decayed():
        return {
            "optimizer": keras.optimizers.AdamW(1e-2, weight_decay=0.5, **options),
            "label_weight": 0,
        }

    straight, first, again = small_model(), small_model(), small_model()
    before = {v.path: v.numpy() for v in straight.trainable_variables}
    train(straight, steps=4, **decayed())
    for variable in straight.trainable_variables:
        same = np.array_equal(variable.numpy(), before[variable.path])
        assert same == variable.path.startswith("label_"), variable.path
    train(first, steps=2, checkpoint=tmp_path / "run.npz", **decayed())
    train(again, steps=4, checkpoint=tmp_path / "run.npz", **decayed())
    for a, b in zip(straight.get_weights(), again.get_weights(), strict=True):
        assert a.tobytes() == b.tobytes()


def test_without_classes_nothing_of_labels_is_recorded():
    history = train(wb.models.localizer(size=(16, 20), filters=(4,)), steps=1)
    assert history["label_loss"].tolist() == [0]
    assert np.isnan(history["accuracy"]).all()


class Plain(keras.Model):
    """A subclassed model that names its scores nowhere."""

    def __init__(self):
        super().__init__()
        self.flatten = keras.layers.Flatten()
        self.box = keras.layers.Dense(4, activation="sigmoid")
        self.kind = keras.layers.Dense(3, activation="softmax")

    def call(self, images):
        flat = self.flatten(images)
        return {"label": self.kind(flat), "box": self.box(flat)}


def test_a_model_of_ones_own_learns_from_its_probabilities():
    model = Plain()
    batch = wb.data.batch_at(SCENE, 0, batch_size=8, seed=0)
    p = model(batch.images)["label"].numpy().astype("float64")
    expected = -np.log(p[np.arange(8), batch.labels]).mean()
    history = train(model, steps=30)
    np.testing.assert_allclose(history["label_loss"][0], expected, rtol=1e-5)
    assert history["label_loss"][-5:].mean() < history["label_loss"][0]


def scores_model():
    x = keras.Input((16, 20, 1))
    flat = keras.layers.Flatten()(x)
    dense = keras.layers.Dense
    label = dense(3, bias_initializer=keras.initializers.Constant(2.0))(flat)
    return keras.Model(x, {"box": dense(4, activation="sigmoid")(flat), "label": label}, name="raw")


def test_scores_are_not_taken_for_probabilities():
    model = scores_model()
    with pytest.raises(ValueError, match="`model` must return probabilities") as caught:
        train(model, steps=1)
    assert "'raw' returns [2.0, 2.0, 2.0]. End it with a softmax" in str(caught.value)
    assert len(train(model, steps=1, label_weight=0)) == 1
    # A stress test is of the box alone.
    found = wb.training.stress(model, ["noise"], SCENE, n=4)
    assert found.n == 4


def test_half_precision():
    keras.config.set_dtype_policy("mixed_float16")
    try:
        model = small_model()
    finally:
        keras.config.set_dtype_policy("float32")
    history = train(model, steps=3)
    assert np.isfinite(history["label_loss"]).all()


def test_evaluate_scores_the_classes_of_the_same_batch():
    model = small_model(seed=2)
    result = wb.training.evaluate(model, SCENE, n=60, batch_size=17)
    found = result.classification
    outputs = model(result.batch.images)
    np.testing.assert_allclose(found.probabilities, outputs["label"], atol=1e-6)
    np.testing.assert_allclose(result.predictions / [16, 20, 16, 20], outputs["box"], atol=1e-6)
    np.testing.assert_array_equal(found.labels, result.batch.labels)
    assert found.names == SCENE.shapes
    assert found.confusion.sum() == 60
    assert result.scores()["accuracy"] == found.accuracy
    assert "accuracy=" in repr(result)
    labels = wb.training.predict_labels(model, result.batch.images, batch_size=7)
    np.testing.assert_allclose(labels, found.probabilities, atol=1e-6)


def test_labels_of_another_scene_are_not_scored():
    result = wb.training.evaluate(small_model(), wb.data.Scene(size=(16, 20)), n=5)
    assert result.classification is None
    assert "accuracy" not in result.scores()


def test_no_images_have_no_predictions():
    none = np.zeros((0, 16, 20, 1), np.float32)
    assert wb.training.predict(small_model(), none).shape == (0, 4)
    assert wb.training.predict_labels(small_model(), none).shape == (0, 3)


@pytest.mark.parametrize(
    ("build", "options", "message"),
    [
        (
            lambda: wb.models.localizer(size=(16, 20), filters=(4,)),
            {"label_weight": 1.0},
            "`label_weight` 1 needs a `model` that returns classes, such as localizer(classes=6); "
            "'profile_localizer' returns a box only. Leave it None.",
        ),
        (
            lambda: wb.models.localizer(size=(16, 20), filters=(4,), classes=4),
            {},
            "`model` tells 4 classes apart, but `scene` has the 3 shapes ('rectangle', 'diamond', "
            "'ring'). Build it with classes=3, choose another scene, or train the box alone by "
            "label_weight=0.",
        ),
        (
            small_model,
            {"label_weight": -1},
            "`label_weight` must be a finite number between 0 and 1000000.0; got -1.",
        ),
    ],
)
def test_wrong_weights(build, options, message):
    with pytest.raises(ValueError, match="`") as caught:
        train(build(), steps=1, **options)
    assert str(caught.value) == message


def test_a_model_without_classes_predicts_none():
    model = wb.models.localizer(size=(16, 20), filters=(4,))
    with pytest.raises(ValueError, match="'profile_localizer' returns no output 'label'"):
        wb.training.predict_labels(model, np.zeros((1, 16, 20, 1)))


def test_a_box_must_be_named():
    x = keras.Input((16, 20, 1))
    model = keras.Model(x, {"corners": keras.layers.Dense(4)(keras.layers.Flatten()(x))})
    with pytest.raises(ValueError, match=r"must name its box 'box'; its outputs are \['corners'\]"):
        wb.training.predict(model, np.zeros((1, 16, 20, 1)))


def test_the_progress_bar_shows_the_accuracy(capsys):
    train(Plain(), steps=2, progress=True)
    assert "accuracy=" in capsys.readouterr().err
