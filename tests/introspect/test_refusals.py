# ruff: noqa: E501 - whole messages read best
"""What would be an answer without meaning is refused, by name and with the reason."""

import re
import warnings

import keras
import numpy as np
import pytest
import tensorflow as tf

import whitebox_loc as wb
from whitebox_loc import introspect
from whitebox_loc.introspect import saliency, targets

LAYERS = keras.layers
SIZE = (6, 7)
SCENE = wb.data.Scene(size=SIZE)
IMAGES = np.random.default_rng(0).random((2, *SIZE, 1), np.float32)
BOXES = [[1, 1, 4, 5], [2, 0, 5, 6]]


def constant(*outputs):
    """A model without a sigmoid whose outputs are these numbers plus a little of each pixel."""
    x = keras.Input((*SIZE, 1))
    dense = LAYERS.Dense(4, kernel_initializer=keras.initializers.Constant(1e-4))
    model = keras.Model(x, dense(LAYERS.Flatten()(x)), name="plain")
    dense.bias.assign(outputs)
    return model


@pytest.fixture(scope="module")
def network():
    return wb.models.localizer(SIZE, filters=(2, 3), line_filters=2)


def refused(call, message, error=ValueError):
    with pytest.raises(error, match=f"^{re.escape(message)}$"):
        call()


# --- log-odds ------------------------------------------------------------------------

NEEDS = "`link` 'logit' needs probabilities, above 0 and below 1; target {!r} is {} for image 0. Use link='identity', or end the model with a sigmoid, in front of which log-odds are read."


@pytest.mark.parametrize("method", ["gradient", "integrated_gradients", "lrp", "rise", "hsic"])
@pytest.mark.parametrize("value", [-3.0, 2.0])
def test_log_odds_of_what_is_no_probability(method, value):
    model = constant(0.5, 0.5, value, 0.5)
    given = float(model(IMAGES[:1])[0, 2])
    few = {"samples": 8} if method in ("rise", "hsic") else {}
    message = NEEDS.format("bottom", f"{given:.9g}")
    refused(
        lambda: saliency(model, IMAGES, ["top", "bottom"], method, link="logit", **few), message
    )


@pytest.mark.parametrize("value", [0, 1])
def test_log_odds_of_exactly_0_and_1_are_infinite(value):
    model = constant(value, 0.5, 0.5, 0.5)
    message = NEEDS.format("top", value)
    refused(lambda: saliency(model, np.zeros_like(IMAGES), link="logit"), message)
    # In a model of its own, because a sigmoid that the graph shows is looked through.
    x = keras.Input((*SIZE, 1))
    model = keras.Model(x, LAYERS.Activation("sigmoid")(constant(200 * value - 100, 0, 0, 0)(x)))
    assert model(IMAGES)[0, 0] in (0, 1) or value == 0
    maps = saliency(model, IMAGES, link="logit")
    np.testing.assert_allclose(maps, 1e-4, rtol=1e-6)  # the weight of each pixel


def test_log_odds_of_a_probability_beside_outputs_that_are_none():
    """The derivative of log(p / (1 - p)) is that of p over p (1 - p)."""
    model = constant(0.25, -2.0, 0.0, 1.0)
    maps, info = saliency(model, IMAGES, "top", link="logit", return_info=True)
    p = model(IMAGES).numpy()[:, 0].astype(np.float64)
    expected = np.broadcast_to((1e-4 / (p * (1 - p)))[:, None, None], maps.shape)
    # A handful of float32 operations on numbers near 1.
    np.testing.assert_allclose(maps, expected, rtol=1e-6)
    np.testing.assert_allclose(info.values, np.log(p / (1 - p)), rtol=1e-6)


@pytest.mark.parametrize("method", ["integrated_gradients", "occlusion", "hsic", "sobol", "lime"])
def test_log_odds_of_variants_of_the_images(method):
    """A baseline of -1 drives an output below 0 that is a probability at the images."""
    x = keras.Input((*SIZE, 1))
    dense = LAYERS.Dense(4, kernel_initializer=keras.initializers.Constant(0.01), use_bias=False)
    model = keras.Model(x, dense(LAYERS.Flatten()(x)))
    few = {"samples": 16} if method in ("hsic", "lime") else {}
    with pytest.raises(ValueError, match="so they are for the images, but not for what is made"):
        saliency(model, IMAGES, "top", method, link="logit", baseline=-1.0, **few)


def test_log_odds_in_ablations():
    message = NEEDS.format("output 1", "2")
    model = constant(0.5, 2.0, 0.5, 0.5)
    model.layers[-1].kernel.assign(0 * model.layers[-1].kernel)
    flat = model.layers[-2].name
    refused(lambda: introspect.ablate(model, IMAGES, flat, 0, target=1, link="logit"), message)


# --- blind spots ---------------------------------------------------------------------


def test_blind_spots_of_targets_that_do_not_exist(network):
    def ask(target, **options):
        return lambda: introspect.blind_spots(network, IMAGES, target, **options)

    message = "`target` 7 must be the number of one of the model's outputs; its output has shape (None, 4)."
    refused(ask(7), message)
    message = "`target` must be one target here; got a list of 2. Ask for the blind spots of each by itself."
    refused(ask(["top", "left"]), message, TypeError)
    message = "Method 'gradient' has no option 'step'; it has []."
    refused(ask("top", step=3), message, TypeError)


def test_blind_spots_do_not_need_log_odds():
    """Whether a sigmoid is there is asked without reading log-odds of what is none."""
    model = constant(-3.0, 2.0, 0.5, 0.5)
    for name in ("top", "left", "bottom"):
        assert introspect.blind_spots(model, IMAGES, name) == []
    message = NEEDS.format("top", f"{float(model(IMAGES[:1])[0, 0]):.9g}")
    refused(lambda: introspect.blind_spots(model, IMAGES, "top", link="logit"), message)


# --- images --------------------------------------------------------------------------

OF_IMAGES = {
    "saliency": lambda m, images: saliency(m, images),
    "activations": lambda m, images: introspect.activations(m, images),
    "patch": lambda m, images: introspect.patch(m, images, {"conv1": 0.0}),
    "ablate": lambda m, images: introspect.ablate(m, images, "conv2", 0),
    "top_images": lambda m, images: introspect.top_images(m, "conv2", 0, images),
    "blind_spots": lambda m, images: introspect.blind_spots(m, images, "top"),
    "stream": lambda m, images: introspect.top_images(m, "conv2", 0, iter([images])),
    "detections": lambda m, images: introspect.saliency_of_detections(m, images, None),
}


@pytest.mark.parametrize("function", OF_IMAGES)
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_images_that_are_not_finite(function, value, network):
    images = IMAGES.copy()
    images[1, 2, 3] = value
    message = f"`images` must be finite; got {value} at index (1, 2, 3, 0), 1 such of 84 in all."
    refused(lambda: OF_IMAGES[function](network, images), message)


def test_images_too_large_for_float32(network):
    message = "`images` must be finite; got inf at index (0, 0, 0, 0), 84 such of 84 in all."
    refused(lambda: saliency(network, np.full((2, *SIZE, 1), 1e300)), message)


@pytest.mark.parametrize("function", ["saliency", "activations", "patch", "ablate", "top_images"])
def test_floats_up_to_255_are_warned_of(function, network):
    with pytest.warns(wb.data.ImageRangeWarning, match="^`images` holds floats up to 2") as found:
        OF_IMAGES[function](network, 255 * IMAGES)
    assert found[0].filename == __file__


def test_models_that_bring_images_into_their_range_are_not_warned_of():
    x = keras.Input((*SIZE, 1))
    inner = constant(0.1, 0.2, 0.3, 0.4)
    norm = LAYERS.Normalization(mean=127.0, variance=100.0)
    models = [
        keras.Model(x, inner(LAYERS.Rescaling(1 / 255)(x))),
        keras.Sequential([keras.Input((*SIZE, 1)), norm, inner]),
        keras.Model(x, keras.Model(x, inner(LAYERS.Rescaling(1 / 255)(x)))(x)),
        wb.models.adapted(inner, prepare=lambda images: images / 255.0),
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for model in models:
            saliency(model, 255 * IMAGES)
        saliency(inner, IMAGES - 0.5)
    with pytest.warns(wb.data.ImageRangeWarning):
        saliency(inner, 255 * IMAGES)


CASES = {
    "other size": (IMAGES[:, :5], "`images` must be of the shape that model 'profile_localizer' takes, (n, 6, 7, 1); got (2, 5, 7, 1)."),
    "channels": (np.repeat(IMAGES, 3, -1), "`images` must be of the shape that model 'profile_localizer' takes, (n, 6, 7, 1); got (2, 6, 7, 3)."),
    "several": ([IMAGES, np.zeros((2, 3))], "`images` must be of the shape that model 'profile_localizer' takes, (n, 6, 7, 1); got [(2, 6, 7, 1), (2, 3)]."),
    "nested lists": (IMAGES.tolist(), "`images` must be an array (n, height, width, channels); got lists of numbers. Use np.asarray(images, 'float32')."),
    "list": (list(IMAGES), "`images` must be one array (n, height, width, channels); got a list of 2 images. Use np.stack(images)."),
    "list of sizes": ([IMAGES[0], IMAGES[0, 1:]], "`images` must be one array (n, height, width, channels); got a list of 2 images. They are of 2 different shapes: resize or pad them to one size, and use np.stack."),
    "dataset": (tf.data.Dataset.from_tensor_slices(IMAGES).batch(2), "`images` must be an array (n, height, width, channels); got a stream of them, a _BatchDataset. Take one batch, such as next(iter(images)), and of a pair (images, boxes) the first part."),
    "None": (None, "`images` must be a float array (n, height, width, channels), or the structure of arrays that the model takes; got None of type NoneType."),
    "text": ("photo.png", "`images` must be a float array (n, height, width, channels), or the structure of arrays that the model takes; got 'photo.png' of type str."),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_images_that_are_no_batch_for_the_model(case, network):
    images, message = CASES[case]
    with pytest.raises((ValueError, TypeError), match=f"^{re.escape(message)}$"):
        saliency(network, images)


def test_ways_to_write_a_batch_that_a_model_takes():
    """Keras adds the axis of one channel, and finds inputs by name."""
    x, number = keras.Input(SIZE, name="image"), keras.Input((2,), name="number")
    parts = LAYERS.Concatenate()([LAYERS.Flatten()(x), number])
    model = keras.Model([x, number], LAYERS.Dense(4)(parts))
    numbers = np.ones((2, 2), np.float32)
    expected = saliency(model, [IMAGES, numbers])
    found = saliency(model, {"number": numbers, "image": IMAGES})
    np.testing.assert_array_equal(found, expected)
    assert np.abs(expected).max() > 0
    message = f"`images` must be of the shape that model {model.name!r} takes, (n, 6, 7), (n, 2); got (2, 6, 7, 1)."
    refused(lambda: saliency(model, IMAGES), message)


class Own(keras.Model):
    def __init__(self):
        super().__init__(name="own")
        self.conv, self.dense = LAYERS.Conv2D(2, 3, name="conv"), LAYERS.Dense(4, name="dense")

    def call(self, x):
        return self.dense(tf.reshape(self.conv(x), (-1, 40)))


class Compiled(Own):
    @tf.function
    def call(self, x):
        return super().call(x)


def test_a_model_that_does_not_say_what_it_takes():
    model = Own()
    model(IMAGES)
    # Of the words of Keras, those of all its versions.
    words = r"ValueError: Input 0 .*conv.* expected axis -1 of input shape to have value 1.*"
    ours = "`model` 'own' cannot be run on `images`, or an `example`, of shape (n, 6, 7, 3): "
    advice = ". Pass images of the size and channels that it takes."
    with pytest.raises(ValueError, match=f"^{re.escape(ours)}{words}{re.escape(advice)}$"):
        saliency(model, np.repeat(IMAGES, 3, -1))


@pytest.mark.parametrize("called", [False, True])
def test_layers_inside_of_a_tf_function(called):
    model = Compiled()
    if called:
        model(IMAGES)
    message = "No layer of `model` 'own' can be read: its `call` is a tf.function, or runs its layers inside of one, a loop or a condition. Take the decorator away; Keras compiles the model anyway."
    refused(lambda: introspect.activations(model, IMAGES), message)


# --- models --------------------------------------------------------------------------

OF_WEIGHTS = {
    "saliency": ("Maps of method 'gradient'", lambda m: saliency(m, IMAGES)),
    "hsic": ("Targets of masked", lambda m: saliency(m, IMAGES, "top", "hsic", samples=8)),
    "activations": ("Activations", lambda m: introspect.activations(m, IMAGES)),
    "patch": ("Outputs", lambda m: introspect.patch(m, IMAGES, {"conv1": 1.0})),
    "ablate": ("Targets", lambda m: introspect.ablate(m, IMAGES, "conv1", 0)),
    "edge_moves": ("Predicted boxes", lambda m: introspect.edge_moves(m, BOXES, SCENE)),
    "response": ("Derivatives", lambda m: introspect.response(m, BOXES, SCENE)),
    "top_images": ("Activations", lambda m: introspect.top_images(m, "conv2", 0, IMAGES)),
    "probe": ("Activations", lambda m: introspect.probe(m, "conv2", SCENE, n=20)),
    "tuning": ("Activations", lambda m: introspect.tuning(m, "conv2", SCENE, n=20)),
    "layer": ("Activations", lambda m: introspect.maximize(m, "conv2", 0, steps=1)),
    "target": ("Maxima of top", lambda m: introspect.maximize(m, target="top", steps=1)),
}


@pytest.mark.parametrize("function", OF_WEIGHTS)
def test_weights_that_are_not_finite_are_named(function):
    model = wb.models.localizer(SIZE, filters=(2, 3), line_filters=2)
    model.get_layer("conv2").bias.assign([np.nan, 0.0, np.nan])
    what, call = OF_WEIGHTS[function]
    pattern = (
        rf"^{what}.* cannot be given: .*Weight 'conv2/bias' of `model` 'profile_localizer' holds 2 "
        r"such numbers of 3\. Load or train the model again\.$"
    )
    with pytest.raises(ValueError, match=pattern):
        call(model)


def test_infinite_activations_of_finite_weights_are_what_the_layer_says():
    x = keras.Input((*SIZE, 1))
    mask = LAYERS.Lambda(lambda t: tf.where(t > 0.5, t, -np.inf), name="mask")
    model = keras.Model(x, LAYERS.Dense(4)(LAYERS.Flatten()(keras.ops.softmax(mask(x), axis=1))))
    found = introspect.activations(model, IMAGES, "mask")["mask"]
    np.testing.assert_array_equal(found, np.where(IMAGES > 0.5, IMAGES, -np.inf))


def test_numbers_that_grow_too_large_inside():
    model = constant(0.0, 0.0, 0.0, 0.0)
    model.layers[-1].kernel.assign(3e38 * np.ones(model.layers[-1].kernel.shape))
    message = "Maps of method 'gradient_x_input' cannot be given: 84 of 84 numbers are NaN or infinite. All weights of `model` 'plain' and all `images` are finite, so numbers grow too large, or are divided by 0, in its layers: `activations` shows in which."
    refused(lambda: saliency(model, IMAGES - 10, "top", "gradient_x_input"), message)


def test_response_of_a_recurrent_model():
    """A loop and its rolled-out twin with the same weights are one function."""

    def build(unroll):
        keras.utils.set_random_seed(0)
        x = keras.Input((*SIZE, 1))
        lines = LAYERS.GRU(3, unroll=unroll)(LAYERS.Reshape(SIZE)(x))
        return keras.Model(x, LAYERS.Dense(4, activation="sigmoid")(lines))

    found, expected = (introspect.response(build(u), BOXES, SCENE).matrix for u in (False, True))
    assert np.abs(expected).max() > 1e-3
    # The same float32 operations in another order; six steps of sums over some ten products.
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5 * np.abs(expected).max())


# --- sizes and names -----------------------------------------------------------------


def test_absurd_sizes_are_refused_before_memory_is_asked_for(network):
    big = wb.data.Scene(size=(1000, 1000))
    message = "`n` 1000000000 asks for 4,000,000 GB of images; at most 137 GB are tried. Take a smaller number."
    refused(lambda: introspect.probe(network, "conv2", big, n=10**9), message)
    message = "`bins` 1000000000 asks for 1,000 GB of bins; at most 137 GB are tried. Take a smaller number."
    refused(lambda: introspect.tuning(network, "conv2", SCENE, n=4, bins=10**9), message)
    message = "`steps` must be a whole number between 1 and 1000000; got 1000000000."
    refused(lambda: introspect.maximize(network, "conv2", 0, steps=10**9), message)


def fails(*tensors):
    raise KeyError("box")


def one(boxes):
    return boxes


def none():
    return 0


OF_VALUES = {
    "target": (lambda m: saliency(m, IMAGES, lambda outputs: None), "`target` must be a function of tensors to a tensor of one number an image; it returned None of type NoneType."),
    "loss": (lambda m: targets.loss(one, [0, 0, 1, 1]), f"`loss` must be a function of true and predicted boxes, such as a keras.Loss, of 2 arguments; got {one!r} of type function."),
    "replacement": (lambda m: introspect.patch(m, IMAGES, {"conv1": none}), f"`replacements['conv1']` must be a function from the layer's output to a tensor of its shape, of 1 argument; got {none!r} of type function."),
    "return_info": (lambda m: saliency(m, IMAGES, return_info=None), "`return_info` must be True or False; got None of type NoneType."),
    "warn": (lambda m: introspect.blind_spots(m, IMAGES, warn=1), "`warn` must be True or False; got 1 of type int."),
    "fourier": (lambda m: introspect.maximize(m, "conv2", 0, fourier="no"), "`fourier` must be True or False; got 'no' of type str."),
    "format": (lambda m: targets.iou([0, 0, 1, 1], "tlbr"), "`format` must be one of ['yxyx', 'xyxy', 'yxhw', 'xywh', 'center_yxhw', 'center_xywh', 'rel_yxyx', 'rel_xyxy', 'rel_yxhw', 'rel_xywh', 'rel_center_yxhw', 'rel_center_xywh']; got 'tlbr'."),
    "scene": (lambda m: introspect.top_images(m, "conv2", 0, "unifrom"), "`images` must be one of ['uniform', 'notebook', 'small', 'large', 'thin', 'border', 'shapes', 'augmented']; got 'unifrom'. Did you mean 'uniform'?"),
    "factors": (lambda m: introspect.tuning(m, "conv2", SCENE, factors="top"), "`factors` must be a list of names from ['top', 'left', 'bottom', 'right', 'height', 'width', 'center_y', 'center_x', 'area']; got 'top'. For one factor give a list of one."),
    "parts": (lambda m: introspect.saliency_of_detections(m, IMAGES, None, 3), "`parts` must be a list of names; got 3 of type int. Some of ['top', 'left', 'bottom', 'right', 'height', 'width', 'center_y', 'center_x', 'area', 'score', 'class', 'detection']."),
    "folder": (lambda m: introspect.read_maps(None), "`folder` must be a path, as str or pathlib.Path; got None of type NoneType."),
    "n": (lambda m: introspect.effective_receptive_field(m, "conv2", n=10**12), "`n` 1000000000000 asks for 168,000 GB of images; at most 137 GB are tried. Take a smaller number."),
}  # fmt: skip


@pytest.mark.parametrize("case", OF_VALUES)
def test_other_arguments_by_name(case, network):
    call, message = OF_VALUES[case]
    with pytest.raises((ValueError, TypeError), match=f"^{re.escape(message)}$"):
        call(network)


@pytest.mark.parametrize("argument", ["target", "loss", "replacements"])
def test_what_a_given_function_raises_stays_its_own_error(argument, network):
    """Neither taken for a model that cannot be run nor for another kind of error."""
    call = {
        "target": lambda: saliency(network, IMAGES, fails),
        "loss": lambda: saliency(network, IMAGES, targets.loss(fails, [0, 0, 1, 1])),
        "replacements": lambda: introspect.patch(network, IMAGES, {"conv1": fails}),
    }[argument]
    with pytest.raises(KeyError, match="box") as caught:
        call()
    if argument != "replacements":  # Keras drops the notes of errors in its layers.
        [note] = caught.value.__notes__
        assert note.startswith(f"Raised by the function in `{argument}`, called with numbers of")


def test_maps_that_are_written_are_finite(network, tmp_path):
    batch = wb.data.generate(SCENE, 2, seed=0)
    shards = introspect.saliency_shards(network, [batch], tmp_path, progress=False)
    message = "`maps` must be finite; got inf at index (0, 0, 0), 84 such of 84 in all."
    refused(lambda: shards.save(0, np.full((2, *SIZE), np.inf)), message)
    refused(
        lambda: shards.path("0"),
        "`index` must be a whole number >= 0; got '0' of type str.",
        TypeError,
    )


@pytest.mark.parametrize("layers", [5, None, {"conv1": 0}, ["conv1", 3]])
def test_layers_that_are_no_names(layers, network):
    shown = repr(layers)
    message = f"`layers` must be the path of a layer or a list of such, as `list_layers` gives them; got {shown} of type {type(layers).__name__}."
    refused(lambda: introspect.probe(network, layers, SCENE), message, TypeError)


@pytest.mark.parametrize("channel", ["red", 1.5, [[0]], {0}])
def test_channels_that_are_no_numbers(channel, network):
    with pytest.raises(TypeError, match=r"^`channel` must be a whole number"):
        introspect.top_images(network, "conv2", channel, IMAGES)
    with pytest.raises(TypeError, match=r"^`channel` must be a whole number"):
        introspect.maximize(network, "conv2", channel, steps=1)
    with pytest.raises(TypeError, match=r"^`channels` must be a whole number"):
        introspect.ablate(network, IMAGES, "conv2", channel)


LONG = {
    "text": "top" * 10**6,
    "lists": [[[0.5] * 99] * 99] * 99,
    "digits": 10**5000,  # of which Python itself makes no text
    "array": np.linspace(0, 1, 900),
}


@pytest.mark.parametrize("value", LONG.values(), ids=LONG)
def test_messages_are_short_whatever_is_given(value):
    with pytest.raises((ValueError, TypeError)) as found:
        targets.bin(value, 0)
    assert len(str(found.value)) < 400
    with pytest.raises((ValueError, TypeError)) as found:
        targets.candidate(0, classes=value)
    assert len(str(found.value)) < 400
