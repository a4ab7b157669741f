"""One small localizer in every style in which Keras models are written."""

import keras
import numpy as np
import pytest

from whitebox_loc.models import adapted

HEIGHT, WIDTH = 8, 10
layers = keras.layers


def trunk(channels=1):
    return [
        layers.Conv2D(3, 3, padding="same", activation="relu", name="conv1"),
        layers.Conv2D(4, 3, strides=2, name="conv2"),
        layers.ReLU(name="relu2"),
        layers.Flatten(name="flatten"),
        layers.Dense(4, activation="sigmoid", name="box"),
    ]


def chain(tensor, parts):
    for part in parts:
        tensor = part(tensor)
    return tensor


def image(channels=1):
    return keras.Input((HEIGHT, WIDTH, channels), name="image")


def functional(channels=1):
    x = image(channels)
    return keras.Model(x, chain(x, trunk()))


def sequential():
    return keras.Sequential([image(), *trunk()])


def sequential_without_input():
    return keras.Sequential(trunk())


def backbone():
    x = image()
    return keras.Model(x, chain(x, trunk()[:3]), name="backbone")


def nested_in_functional():
    x = image()
    return keras.Model(x, chain(backbone()(x), trunk()[3:]))


def nested_in_sequential():
    return keras.Sequential([backbone(), *trunk()[3:]])


class Subclassed(keras.Model):
    def __init__(self):
        super().__init__()
        self.parts = trunk()

    def call(self, x):
        return chain(x, self.parts)


def shared_layer():
    x = image()
    again = layers.Conv2D(3, 3, padding="same", activation="relu", name="again")
    first, second, *rest = trunk()
    return keras.Model(x, chain(again(again(first(x))), [second, *rest]))


def dict_output():
    x = image()
    features = chain(x, trunk()[:-1])
    other = layers.Dense(4, name="other")(features)
    return keras.Model(x, {"box": trunk()[-1](features), "other": other})


def list_output():
    x = image()
    features = chain(x, trunk()[:-1])
    return keras.Model(x, [layers.Dense(2, name="label")(features), trunk()[-1](features)])


def several_inputs():
    x, number = image(), keras.Input((2,), name="number")
    *start, box = trunk()
    joined = layers.Concatenate(name="join")([chain(x, start), number])
    return keras.Model({"image": x, "number": number}, box(joined))


def mixed_float16():
    keras.mixed_precision.set_global_policy("mixed_float16")
    try:
        return functional()
    finally:
        keras.mixed_precision.set_global_policy("float32")


def three_channels():
    return functional(3)


def norm_and_dropout():
    x = image()
    first, *rest = trunk()
    y = layers.Dropout(0.5, name="drop")(layers.BatchNormalization(name="norm")(first(x)))
    model = keras.Model(x, chain(y, rest))
    norm = model.get_layer("norm")
    norm.moving_mean.assign([0.1, -0.2, 0.3])
    norm.moving_variance.assign([0.5, 1.5, 2.0])
    return model


def raw_operations():
    x = image()
    y = layers.Conv2D(3, 3, name="conv1")(keras.ops.pad(x, [[0, 0], [1, 1], [1, 1], [0, 0]]))
    y = layers.ReLU(name="relu")(keras.ops.max(y, axis=2))
    return keras.Model(x, layers.Dense(4, activation="sigmoid", name="box")(layers.Flatten()(y)))


def adapted_style():
    """A model of another size, range, number of channels and format of boxes, and no graph."""
    larger = (2 * HEIGHT, 2 * WIDTH)

    def prepare(images):
        large = keras.ops.image.resize(images * 255.0, larger)
        return (keras.ops.repeat(large, 3, axis=-1) - 127.5) / 127.5

    return adapted(Subclassed(), "center_xywh", prepare=prepare, size=(HEIGHT, WIDTH), channels=1)


STYLES = {
    build.__name__: build
    for build in (
        functional,
        sequential,
        sequential_without_input,
        nested_in_functional,
        nested_in_sequential,
        Subclassed,
        shared_layer,
        dict_output,
        list_output,
        several_inputs,
        mixed_float16,
        three_channels,
        norm_and_dropout,
        raw_operations,
        adapted_style,
    )
}


def make(style, n=3, seed=0):
    """Return a model with weights of some size, and images for it."""
    generator = np.random.default_rng(seed)
    model = STYLES[style]()
    channels = 3 if style == "three_channels" else 1
    images = generator.random((n, HEIGHT, WIDTH, channels), np.float32)
    if style == "several_inputs":
        images = {"image": images, "number": generator.random((n, 2), np.float32)}
    model(images, training=False)
    for weight in model.trainable_weights:
        weight.assign(generator.normal(0, 0.4, weight.shape))
    return model, images


def box_of(outputs, style):
    if style == "dict_output":
        return outputs["box"]
    return outputs[1] if style == "list_output" else outputs


def picture_of(images):
    return images["image"] if isinstance(images, dict) else images


@pytest.fixture(scope="session", params=STYLES)
def styled(request):
    """(name of the style, model, images); the model is shared by all tests."""
    return request.param, *make(request.param)


# Outside the slow tests these stand for the others where each style is costly: one without a graph
# of its own, one nested, one with a state, one of two inputs.
TYPICAL = ("nested_in_functional", "several_inputs", "norm_and_dropout", "adapted_style")


@pytest.fixture(
    scope="session",
    params=[s if s in TYPICAL else pytest.param(s, marks=pytest.mark.slow) for s in STYLES],
)
def typically_styled(request):
    """The same, but most styles are slow."""
    return request.param, *make(request.param)


@pytest.fixture
def build_model():
    return make


@pytest.fixture
def read_box():
    return box_of


@pytest.fixture
def read_picture():
    return picture_of
