import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy.signal import convolve2d

import whitebox_loc as wb
from whitebox_loc.introspect import effective_receptive_field, receptive_field

L = keras.layers


def reread(model, layer):
    """Return a function from images to a layer's output that needs no engine."""
    return keras.Model(model.inputs[0], model.get_layer(layer).output)


def seen_by_each_unit(function, size, channels=1, shown=64.0):
    """Perturb one pixel after the other: bool (h, w, *output shape), true where it matters.

    Several images, weights without zeros and no saturation: where a pixel can matter, it
    does in at least one of the images. Pixels and weights are whole numbers, and their sums
    stay below 2**24: exact in float32, in whatever order they are added. What comes after the
    sums (a mean of 143 pixels, a softmax) rounds to some 1e-6 of its value, and a pixel that
    matters moves it by more than 1e-3: between the two lies the bound.
    """
    base = np.random.default_rng(1).integers(1, 4, (4, *size, channels)).astype("float32")
    before = np.asarray(function(base))
    seen = []
    for y in range(size[0]):
        # Far above all others, so that it also wins in a maximum; below, in case of a minus.
        changed = np.broadcast_to(base, (2, size[1], *base.shape)).copy()
        for x in range(size[1]):
            changed[:, x, :, y, x] = np.reshape([shown, -shown], (2, 1, 1))
        after = np.asarray(function(changed.reshape(-1, *base.shape[1:])))
        after = after.reshape(2, size[1], *before.shape)
        moved = np.abs(after - before) > 1e-4 * np.maximum(np.abs(after), np.abs(before))
        seen.append(moved.any(axis=(0, 2)))
    return np.stack(seen)


def boxes_of(seen):
    """Smallest box around the true pixels of each unit."""
    boxes = np.zeros((*seen.shape[2:], 4), int)
    for unit in np.ndindex(*seen.shape[2:]):
        y, x = np.nonzero(seen[(slice(None), slice(None), *unit)])
        boxes[unit] = (y.min(), x.min(), y.max() + 1, x.max() + 1) if len(y) else 0
    return boxes


def windows_of(field):
    windows = np.zeros((*field.shape, 4), int)
    for unit in np.ndindex(*field.shape):
        windows[unit] = field.window(unit[:-1], unit[-1])
    return windows


def positive(model):
    """Whole numbers as weights, without zeros and without cancelling."""
    rng = np.random.default_rng(0)
    model.set_weights([rng.integers(1, 3, w.shape) for w in model.get_weights()])
    return model


def branches(x):
    near = L.Conv2D(2, 1, name="near")(x)
    far = L.Conv2D(2, 5, padding="same", name="far")(x)
    return L.Concatenate(name="both")([near, far])


class DilatedOperation(L.Layer):
    """A dilated convolution in one operation, as Keras does not trace it."""

    def call(self, x):
        kernel = tf.constant([1.0, 2.0, 3.0, 4.0, 5.0, 6.0], shape=(2, 3, 1, 1))
        return tf.nn.conv2d(x, kernel, strides=1, padding="SAME", dilations=(3, 2))


STACKS = {
    "valid": [lambda x: L.Conv2D(2, 3)(x), lambda x: L.Conv2D(2, (1, 5))(x)],
    "same": [lambda x: L.Conv2D(2, 3, padding="same")(x)] * 2,
    "stride": [lambda x: L.Conv2D(2, 3, strides=2, padding="same")(x)] * 2,
    "stride of another size": [lambda x: L.Conv2D(2, (2, 3), strides=(3, 2))(x)],
    "dilation": [lambda x: L.Conv2D(2, 3, dilation_rate=2, padding="same")(x)],
    "dilation, valid": [lambda x: L.Conv2D(2, (2, 3), dilation_rate=(3, 2))(x)],
    "dilated operation": [DilatedOperation()],
    "dilated depthwise": [
        lambda x: L.Conv2D(2, 1)(x),
        lambda x: L.DepthwiseConv2D(3, dilation_rate=2, depth_multiplier=2)(x),
    ],
    "separable": [lambda x: L.SeparableConv2D(3, 3, padding="same")(x)],
    "groups": [branches, lambda x: L.Conv2D(4, 3, groups=2)(x)],
    "pooling": [
        lambda x: L.MaxPooling2D(2)(x),
        lambda x: L.AveragePooling2D(3, strides=1, padding="same")(x),
    ],
    "padding": [
        lambda x: L.Conv2D(2, 3)(x),
        lambda x: L.ZeroPadding2D(((2, 1), (0, 3)))(x),
        lambda x: L.Conv2D(1, 2)(x),
    ],
    "cropping": [lambda x: L.Cropping2D(((1, 2), (3, 0)))(x), lambda x: L.Conv2D(2, 2)(x)],
    "nearest": [lambda x: L.Conv2D(2, 3)(x), lambda x: L.UpSampling2D((2, 3))(x)],
    "bilinear": [lambda x: L.UpSampling2D(2, interpolation="bilinear")(x)],
    "transposed": [lambda x: L.Conv2DTranspose(2, 3, strides=2, padding="same")(x)],
    "transposed, valid": [lambda x: L.Conv2DTranspose(2, (2, 5), strides=(3, 2))(x)],
    "permuted": [lambda x: L.Conv2D(2, (1, 3))(x), lambda x: L.Permute((2, 1, 3))(x)],
    "profile": [
        lambda x: L.Conv2D(2, 3)(x),
        lambda x: keras.ops.max(x, axis=2),
        lambda x: L.Conv1D(2, 3, padding="same")(x),
    ],
    "branches": [branches],
    "sum of branches": [lambda x: L.Add()([x, L.Conv2D(1, 5, padding="same")(x)])],
    "flatten": [lambda x: L.Conv2D(2, 3, strides=3)(x), lambda x: L.Flatten()(x)],
    "dense": [lambda x: L.Flatten()(x), lambda x: L.Dense(3)(x)],
    "dense at each place": [lambda x: L.Conv2D(2, 3)(x), lambda x: L.Dense(3)(x)],
    "global": [lambda x: L.Conv2D(2, 3, strides=3)(x), lambda x: L.GlobalMaxPooling2D()(x)],
    "softmax along rows": [lambda x: L.Conv2D(2, 3)(x), lambda x: L.Softmax(axis=1)(x)],
    "normalization": [lambda x: L.Conv2D(2, 3)(x), lambda x: L.BatchNormalization()(x)],
    "squeeze and excite": [
        lambda x: L.Multiply()([x, L.GlobalAveragePooling2D(keepdims=True)(x)]),
    ],
    "coordinates": [lambda x: keras.ops.concatenate([x, keras.ops.ones_like(x)], -1)],
    "patches": [lambda x: L.Reshape((4, 3, 3, 4, 1))(x), lambda x: keras.ops.sum(x, (2, 4))],
    "stacked": [lambda x: keras.ops.stack([x[:, :-2], x[:, 2:]], -2)],
}


@pytest.mark.parametrize("name", STACKS)
def test_windows_equal_perturbing_every_pixel(name):
    size = (12, 12) if name == "patches" else (11, 13)
    inputs = x = keras.Input((*size, 1))
    for step in STACKS[name]:
        x = step(x)
    model = positive(keras.Model(inputs, L.Identity(name="last")(x)))
    field = receptive_field(model, "last")
    expected = boxes_of(seen_by_each_unit(reread(model, "last"), size))
    np.testing.assert_array_equal(windows_of(field), expected)


@pytest.mark.parametrize("depth", [1, 2, 5])
@pytest.mark.parametrize("padding", ["same", "valid"])
def test_stacks_of_small_convolutions_have_the_closed_form(depth, padding):
    # Every 3x3 convolution adds one pixel on each side: also where that is more than the image.
    model = keras.Sequential([keras.Input((11, 12, 1))])
    for _ in range(depth):
        model.add(L.Conv2D(1, 3, padding=padding))
    field = receptive_field(model, model.layers[-1].name)
    assert field.size == (2 * depth + 1,) * 2
    assert field.stride == (1, 1)
    assert field.offset == ((-depth,) * 2 if padding == "same" else (0, 0))


def test_strided_and_dilated_stacks_have_the_closed_form():
    # Araujo et al. 2019: size = 1 + sum (k_l - 1) d_l prod of earlier strides,
    # stride = product, start = - sum of padding in front times earlier strides.
    model = keras.Sequential(
        [
            keras.Input((64, 64, 1)),
            L.ZeroPadding2D(1),
            L.Conv2D(2, 5, strides=2),
            L.MaxPooling2D(3, strides=2),
            L.Conv2D(2, 3, dilation_rate=3, padding="same", name="last"),
            L.DepthwiseConv2D(3, dilation_rate=2, name="deep"),
        ]
    )
    last = receptive_field(model, "last")
    assert last.size == (1 + 4 + 2 * 2 + 2 * 3 * 4,) * 2
    assert last.stride == (4, 4)
    assert last.offset == (-1 - 3 * 4,) * 2
    deep = receptive_field(model, "deep")
    assert deep.size == (last.size[0] + 2 * 2 * 4,) * 2
    assert (deep.stride, deep.offset) == (last.stride, last.offset)


def test_units_of_every_head_see_what_perturbation_says():
    # All boxes of the library's own models depend on the whole image; a profile on its rows.
    model = wb.models.localizer(size=(14, 18))
    assert receptive_field(model, "box").window().tolist() == [0, 0, 14, 18]
    profile = receptive_field(model, "row_profile")
    assert profile.shape == (16, 8)
    assert profile.size == (5, 18)
    assert profile.stride == (1, None)
    assert profile.window(8).tolist() == [5, 0, 10, 18]
    # The first place of conv1 lies in the frame of black pixels: it sees none of the image.
    assert receptive_field(model, "conv1").window((0, 0)).tolist() == [0, 0, 0, 0]
    for head in ("dense", "coordconv"):
        model = wb.models.localizer(size=(14, 18), head=head)
        assert receptive_field(model, "conv2").size == (7, 7)
        assert receptive_field(model, "box").window(None, 0).tolist() == [0, 0, 14, 18]


class Subclassed(keras.Model):
    def __init__(self):
        super().__init__()
        self.first = L.Conv2D(2, 3, name="first")
        self.second = L.Conv2D(2, 3, name="second")

    @tf.function
    def halves(self, x):
        return x[:, ::2, ::2]

    def call(self, x):
        return self.second(self.halves(keras.ops.relu(self.first(x))))


def nested(size):
    inner = keras.Sequential([L.Conv2D(2, 3, name="first"), L.MaxPooling2D(2)], name="inner")
    inputs = keras.Input((*size, 1))
    return keras.Model(inputs, L.Conv2D(1, 3, name="second")(inner(inputs)))


def sequential(size):
    layers = [L.Conv2D(2, 3, name="first"), L.MaxPooling2D(2), L.Conv2D(1, 3, name="second")]
    return keras.Sequential(layers)


@pytest.mark.parametrize("make", [sequential, nested, lambda size: Subclassed()])
def test_any_style_of_model(make):
    size = (11, 13)
    model, example = make(size), np.zeros((1, *size, 1), "float32")
    field = receptive_field(model, "second", example=example)
    before = model.get_weights()
    positive(model)
    expected = boxes_of(seen_by_each_unit(model, size))
    np.testing.assert_array_equal(windows_of(field), expected)
    assert len(before) == len(model.get_weights())


def test_an_activation_with_a_derivative_of_its_own_moves_nothing():
    # SiLU, whose derivative TensorFlow is told: as in the blocks of EfficientNet.
    def block(activation):
        x = keras.Input((12, 10, 1))
        y = L.Conv2D(4, 3, strides=2, padding="same", activation=activation, name="stem")(x)
        part = L.Conv2D(4, 1, activation=activation)(y)
        y = L.DepthwiseConv2D(3, padding="same", activation=activation)(y)
        return keras.Model(x, L.Add(name="end")([y, part]))

    model = block("silu")
    for layer in ("stem", "end"):
        found, expected = (receptive_field(m, layer) for m in (model, block("relu")))
        assert found.size == expected.size
        assert (found.stride, found.offset) == (expected.stride, expected.offset)
        np.testing.assert_array_equal(windows_of(found), windows_of(expected))
    images = np.random.default_rng(0).random((3, 12, 10, 1), np.float32)
    best = wb.introspect.top_images(model, "end", 0, images, k=1)
    first = int(model.predict(images, verbose=0)[..., 0].max((1, 2)).argmax())
    np.testing.assert_array_equal(best.images[0], images[first])


def test_a_layer_that_is_called_twice():
    shared, inputs = L.Conv2D(1, 3, name="shared"), keras.Input((9, 9, 1))
    model = keras.Model(inputs, shared(shared(inputs)))
    assert receptive_field(model, "shared#1").size == (3, 3)
    assert receptive_field(model, "shared#2").size == (5, 5)
    with pytest.raises(ValueError, match=r"`layer` must name one tensor; 'shared' stands for"):
        receptive_field(model, "shared")


def test_half_precision_and_several_inputs():
    image, other = keras.Input((9, 9, 3)), keras.Input((2,))
    x = L.Conv2D(2, 3, dtype="float16", name="conv")(image)
    mixed = L.Add(name="sum")([L.Flatten()(x), L.Dense(98, name="beside")(other)])
    model = keras.Model([image, other], mixed)
    example = [np.zeros((1, 9, 9, 3), "float32"), np.zeros((1, 2), "float32")]
    assert receptive_field(model, "conv", example=example).size == (3, 3)
    assert receptive_field(model, "sum", example=example).window(None, 0).tolist() == [0, 0, 3, 3]
    with pytest.raises(ValueError, match="`layer` 'beside' does not depend on the image"):
        receptive_field(model, "beside", example=example)
    with pytest.raises(ValueError, match=r"`example` must be given, .* has inputs of shapes"):
        receptive_field(model, "conv")


def test_errors_name_the_operation_and_the_index():
    inputs = keras.Input((6, 6, 1))
    x = keras.ops.cumsum(inputs, axis=1)
    model = keras.Model(inputs, L.Conv2D(1, 3, name="conv")(x))
    message = "`layer` 'conv' depends on the image through operation 'Cumsum'"
    with pytest.raises(ValueError, match=message):
        receptive_field(model, "conv")
    field = receptive_field(wb.models.localizer(size=(9, 9)), "conv1")
    with pytest.raises(ValueError, match=r"`position` must have one index for each of the 2 axes"):
        field.window(3)
    with pytest.raises(ValueError, match=r"`position\[1\]` must be .* between -13 and 12; got 13"):
        field.window((0, 13))
    with pytest.raises(ValueError, match=r"`channel` must be .* between -8 and 7; got 8"):
        field.window((0, 0), 8)


def test_effective_field_of_a_linear_network_is_the_composed_kernel():
    model = keras.Sequential(
        [
            keras.Input((11, 12, 1)),
            L.Conv2D(1, 3, padding="same", name="one"),
            L.Conv2D(1, 3, padding="same", name="two"),
        ]
    )
    one, two = (wb.introspect.kernels(model, name)[..., 0, 0] for name in ("one", "two"))
    composed = np.abs(convolve2d(one.astype("float64"), two.astype("float64")))
    expected = np.zeros((11, 12))
    expected[4 - 2 : 4 + 3, 6 - 2 : 6 + 3] = composed
    found = effective_receptive_field(model, "two", (4, 6), 0, n=3)
    # Sums of 9 float32 products of size <= 1: 9 * 6e-8, and the mean of equal maps.
    np.testing.assert_allclose(found, expected, atol=1e-6)
    np.testing.assert_array_equal(found, effective_receptive_field(model, "two", (4, 6), n=3))


def test_effective_field_is_the_mean_over_images_and_channels():
    inputs = keras.Input((6, 7, 3))
    model = keras.Model(inputs, L.Conv2D(4, 3, activation="tanh", name="conv")(inputs))
    images = np.random.default_rng(0).random((5, 6, 7, 3), np.float32)
    expected = np.zeros((6, 7))
    for channel in range(4):
        with tf.GradientTape() as tape:
            x = tf.constant(images)
            tape.watch(x)
            # The middle of 4 x 5 places.
            value = model(x)[:, 2, 2, channel]
        expected += np.abs(tape.gradient(value, x)).sum((0, 3)) / 20
    found = effective_receptive_field(model, "conv", images=images, batch_size=2)
    # Sums of 5 * 4 * 3 float32 numbers below 1, each off by a few roundings of 6e-8.
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_effective_field_lies_inside_the_theoretical_one():
    model = wb.models.localizer(size=(20, 24), head="dense")
    top, left, bottom, right = receptive_field(model, "conv3").window((1, 1))
    inside = np.zeros((20, 24), bool)
    inside[top:bottom, left:right] = True
    found = effective_receptive_field(model, "conv3", (1, 1), n=64, seed=3)
    np.testing.assert_array_equal(found > 0, inside)
    again = effective_receptive_field(model, "conv3", (1, 1), n=64, seed=3)
    np.testing.assert_array_equal(found, again)
