"""Which models go on from a checkpoint, and which are refused."""

import keras
import pytest

import whitebox_loc as wb

SCENE = wb.data.Scene(size=(16, 20))


def train(model, **options):
    return wb.training.fit(model, SCENE, **{"batch_size": 8, "progress": False, **options})


def test_checkpoint_of_another_model(tmp_path):
    model = wb.models.localizer(size=(16, 20), filters=(4,))
    train(model, steps=1, checkpoint=tmp_path / "run.npz")
    other = wb.models.localizer(size=(16, 20), filters=(5,))
    with pytest.raises(ValueError, match="belongs to another run: its model is"):
        train(other, steps=2, checkpoint=tmp_path / "run.npz")


def test_checkpoint_of_the_same_shapes_with_another_activation(tmp_path):
    def build(activation):
        return keras.Sequential(
            [
                keras.Input((16, 20, 1)),
                keras.layers.Flatten(),
                keras.layers.Dense(4, activation=activation),
            ]
        )

    train(build("sigmoid"), steps=1, checkpoint=tmp_path / "run.npz")
    with pytest.raises(ValueError, match="belongs to another run: its model is"):
        train(build("hard_sigmoid"), steps=2, checkpoint=tmp_path / "run.npz")


@pytest.mark.parametrize("role", ["prepare", "read"])
def test_checkpoint_of_the_same_layers_around_other_operations(role, tmp_path):
    def build(factor):
        inner = keras.Sequential(
            [
                keras.Input((16, 20, 1)),
                keras.layers.Flatten(),
                keras.layers.Dense(4, activation="sigmoid"),
            ],
            name="theirs",
        )
        change = {role: lambda x: x * factor}
        return wb.models.adapted(inner, **{"read": lambda x: x, **change})

    path = tmp_path / "run.npz"
    train(build(1.0), steps=1, checkpoint=path)
    with pytest.raises(ValueError, match="belongs to another run: its model is"):
        train(build(0.5), steps=2, checkpoint=path)
    # Built again, everything has other names.
    assert len(train(build(1.0), steps=2, checkpoint=path)) == 2


def test_checkpoint_of_the_same_layers_otherwise_wired(tmp_path):
    def build(forwards):
        image = keras.Input((16, 20, 1))
        first = keras.layers.Dense(4)(keras.layers.Flatten()(image))
        second = keras.layers.Dense(4)(first)
        both = keras.layers.Subtract()([first, second] if forwards else [second, first])
        return keras.Model(image, keras.layers.Activation("sigmoid")(both))

    train(build(True), steps=1, checkpoint=tmp_path / "run.npz")
    with pytest.raises(ValueError, match="belongs to another run: its model is"):
        train(build(False), steps=2, checkpoint=tmp_path / "run.npz")


def test_a_saved_model_and_one_of_another_name_go_on(tmp_path):
    path = tmp_path / "run.npz"
    images = keras.Input((16, 20, 1))
    x = keras.layers.BatchNormalization()(keras.layers.Conv2D(2, 3, strides=4)(images))
    x = keras.layers.Dropout(0.5, seed=1)(keras.layers.Flatten()(x))
    model = keras.Model(images, keras.layers.Dense(4, activation="sigmoid")(x))
    train(model, steps=1, checkpoint=path)
    model.save(tmp_path / "model.keras")
    model = keras.models.load_model(tmp_path / "model.keras")
    model.name = "another"
    assert len(train(model, steps=2, checkpoint=path)) == 2


class Own(keras.Model):
    """A model whose wiring is only in its code, and which is built by its first images."""

    def __init__(self, activation):
        super().__init__()
        self.flatten = keras.layers.Flatten()
        self.box = keras.layers.Dense(4, activation=activation)

    def call(self, images):
        return self.box(self.flatten(images))


def test_a_subclassed_model_is_known_by_its_layers(tmp_path):
    train(Own("sigmoid"), steps=1, checkpoint=tmp_path / "run.npz")
    assert len(train(Own("sigmoid"), steps=2, checkpoint=tmp_path / "run.npz")) == 2
    with pytest.raises(ValueError, match="belongs to another run: its model is"):
        train(Own("hard_sigmoid"), steps=3, checkpoint=tmp_path / "run.npz")
