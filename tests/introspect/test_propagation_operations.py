"""Operations of all kinds before `lrp` and `deeplift`: shared out without rest, or refused."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from whitebox_loc.introspect import saliency

layers, ops = keras.layers, keras.ops
SHAPE = (4, 5, 1)
EPS = np.finfo(np.float32).eps


def own(function):
    """A layer of TensorFlow operations."""
    return layers.Lambda(function, name="own")


def lines(x):
    return x[..., 0]


def largest_pad(t):
    sides = [[0, 0], [1, 1], [1, 1], [0, 0]]
    return tf.pad(t, sides, constant_values=tf.reduce_max(t))


def loop(t):
    return tf.while_loop(lambda i, a: i < 3, lambda i, a: (i + 1, 1.1 * a), [0, t])[1]


def scattered(t):
    return tf.tensor_scatter_nd_update(tf.zeros_like(t), [[0]], t[:1])


def python(t):
    return tf.ensure_shape(tf.numpy_function(lambda a: a, [t], tf.float32), t.shape)


REFUSED = {
    "gru": lambda x: layers.GRU(3)(lines(x)),
    "lstm": lambda x: layers.LSTM(3)(lines(x)),
    "simple_rnn": lambda x: layers.SimpleRNN(3)(lines(x)),
    "bidirectional": lambda x: layers.Bidirectional(layers.SimpleRNN(2))(lines(x)),
    "conv_lstm": lambda x: layers.ConvLSTM2D(2, 3)(x[:, None]),
    "gru_beside": lambda x: layers.Concatenate()([layers.GRU(3)(lines(x)), layers.Flatten()(x)]),
    "map": lambda x: own(lambda t: tf.map_fn(lambda a: 2.0 * a, t))(x),
    "loop": lambda x: own(loop)(x),
    "condition": lambda x: own(lambda t: tf.cond(tf.reduce_sum(t) > 0, lambda: 2 * t, lambda: t))(
        x
    ),
    "function": lambda x: own(tf.function(lambda t: 2.0 * t))(x),
    "python": lambda x: own(python)(x),
    "argmax": lambda x: ops.cast(ops.argmax(x, axis=1), "float32"),
    "integers": lambda x: ops.cast(ops.cast(10 * x, "int32"), "float32"),
    "integers_beside": lambda x: x + ops.cast(ops.cast(10 * x, "int32"), "float32"),
    "comparison": lambda x: ops.cast(x > 0.5, "float32"),
    "one_hot": lambda x: ops.one_hot(ops.argmax(lines(x), axis=1), 4),
    "embedding": lambda x: layers.Embedding(11, 2)(ops.cast(10 * x, "int32")),
    "discretization": lambda x: layers.Discretization([0.2, 0.5])(x),
    "top_k_indices": lambda x: ops.cast(ops.top_k(lines(x), 2)[1], "float32"),
    "round": lambda x: ops.round(10 * x),
    "floor": lambda x: ops.floor(10 * x),
    "sign": lambda x: ops.sign(x - 0.5),
    "fourier": lambda x: ops.fft((lines(x), 0 * lines(x)))[0],
    "complex": lambda x: own(lambda t: tf.math.real(tf.cast(t, tf.complex64)))(x),
    "pad_by_a_signal": lambda x: own(largest_pad)(x),
    "scatter": lambda x: own(scattered)(x),
    "sort": lambda x: ops.sort(x, axis=1),
    "cumulative_product": lambda x: ops.cumprod(x, axis=1),
    "bicubic": lambda x: layers.UpSampling2D(2, interpolation="bicubic")(x),
    "power": lambda x: x**2.5,
    "heads": lambda x: layers.MultiHeadAttention(2, 3)(lines(x), lines(x)),
    "log_softmax": lambda x: layers.Activation("log_softmax")(x),
}
"""What neither method has a rule for: a layer or operation is named."""

LRP_ALONE = {
    "gate": lambda x: x * ops.cast(x > 0.5, "float32"),
    "choice": lambda x: ops.where(x > 0.5, x, 0.2 * x),
    "masking": lambda x: layers.Masking(0.5)(lines(x)),
    "threshold": lambda x: layers.ReLU(threshold=0.5)(x),
}
"""What switches signals by the image's own numbers, which DeepLIFT cannot compare."""

DEEPLIFT_ALONE = {
    "stopped": lambda x: x + ops.stop_gradient(x),
    "layer_norm": lambda x: layers.LayerNormalization()(3 * x),
    "group_norm": lambda x: layers.GroupNormalization(1)(layers.Conv2D(2, 3)(x)),
    "rms_norm": lambda x: layers.RMSNormalization()(lines(x)),
    "attention": lambda x: layers.Attention()([lines(x), lines(x)]),
    "dot": lambda x: layers.Dot(1)([lines(x), lines(x)]),
    "absolute": lambda x: ops.abs(x - 0.5),
    "silu": lambda x: layers.Activation("silu")(x),
    "gelu": lambda x: layers.Activation("gelu")(x),
    "glu": lambda x: ops.glu(lines(x)[..., :4]),
    "spread": lambda x: ops.std(x, axis=1),
}
"""What multiplies or bends signals, which relevance has no rule for."""

BOTH = {
    "unrolled": lambda x: layers.SimpleRNN(2, unroll=True)(lines(x)),
    "gather": lambda x: ops.take(x, [2, 1, 1], axis=1),
    "cumulative_sum": lambda x: ops.cumsum(x, axis=1),
    "roll": lambda x: ops.roll(x, 2, axis=1),
    "tile": lambda x: ops.tile(x, (1, 2, 1, 1)),
    "repeat": lambda x: ops.repeat(x, 2, axis=1),
    "patches": lambda x: ops.image.extract_patches(x, 2),
    "reflection": lambda x: ops.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="reflect"),
    "every_step": lambda x: layers.TimeDistributed(layers.Dense(3))(lines(x)),
    "bilinear": lambda x: layers.UpSampling2D(2, interpolation="bilinear")(x),
    "nearest": lambda x: layers.Resizing(3, 7, interpolation="nearest")(x),
    "less_least": lambda x: x - ops.min(x, axis=(1, 2, 3), keepdims=True),
    "batch_norm": lambda x: layers.BatchNormalization()(x),
    "depthwise": lambda x: layers.DepthwiseConv2D(3)(x),
    "transposed_1d": lambda x: layers.Conv1DTranspose(2, 3)(lines(x)),
    "grouped": lambda x: layers.Conv2D(4, 2, groups=2)(layers.Conv2D(2, 1)(x)),
    "selu": lambda x: layers.Activation("selu")(x),
    "softsign": lambda x: layers.Activation("softsign")(x),
    "clip": lambda x: ops.clip(x, 0.2, 0.8),
    "exponential": lambda x: ops.exp(x),
    "boolean_mask": lambda x: own(
        lambda t: tf.reshape(tf.boolean_mask(t, tf.ones_like(t) > 0), tf.shape(t))
    )(x),
}


def network(part):
    x = keras.Input(SHAPE)
    y = part(x)
    y = layers.Flatten()(y) if len(y.shape) > 2 else y
    model = keras.Model(x, layers.Dense(1, use_bias=False)(y))
    generator = np.random.default_rng(0)
    for weight in model.trainable_weights:
        # Biases stay 0: their share goes nowhere.
        if len(weight.shape) > 1:
            weight.assign(generator.normal(0, 0.4, weight.shape))
    return model


IMAGES = np.random.default_rng(1).random((2, *SHAPE), np.float32)


def terms(model):
    """Bound on the size of what is added up in the model's output, from its last layer."""
    weights = np.abs(model.layers[-1].get_weights()[0])
    return 10 * weights.sum()


def refused(model, method):
    with pytest.raises(ValueError, match=f"Method '{method}' cannot pass ") as caught:
        saliency(model, IMAGES, 0, method)
    text = str(caught.value)
    assert "cannot pass layer '" in text or "cannot pass operation '" in text
    assert "use method='integrated_gradients'" in text or "use method='occlusion'" in text


def shared_by_relevance(model):
    """What is shared out is the target, or by first order its gradient times the input."""
    maps = saliency(model, IMAGES, 0, "lrp", epsilon=0.0).astype(np.float64)
    images = tf.constant(IMAGES)
    with tf.GradientTape() as tape:
        tape.watch(images)
        values = model(images, training=False)[:, 0]
    slopes = tape.gradient(values, images).numpy()
    bound = 100 * EPS * terms(model)
    kept = np.abs(maps.sum((1, 2)) - values.numpy()).max() <= bound
    return kept or np.abs(maps - (slopes * IMAGES)[..., 0]).max() <= bound


def shared_by_deeplift(model):
    maps = saliency(model, IMAGES, 0, "deeplift", baseline=0.3).astype(np.float64)
    base = np.full_like(IMAGES, 0.3)
    change = np.float64(model(IMAGES, training=False)) - model(base, training=False)
    return np.abs(maps.sum((1, 2)) - change[:, 0]).max() <= 100 * EPS * terms(model)


ALL = {**REFUSED, **LRP_ALONE, **DEEPLIFT_ALONE, **BOTH}
# Of each sort of operations, some are enough for every day.
RARE = {
    *("lstm", "function", "python", "one_hot", "discretization", "floor", "sign", "complex"),
    *("scatter", "sort", "cumulative_product", "bicubic", "power", "heads", "log_softmax"),
    *("threshold", "group_norm", "rms_norm", "dot", "absolute", "gelu", "glu", "spread"),
    *("roll", "tile", "repeat", "reflection", "every_step", "less_least", "depthwise"),
    *("transposed_1d", "selu", "softsign", "boolean_mask"),
}
KINDS = [pytest.param(kind, marks=pytest.mark.slow if kind in RARE else ()) for kind in ALL]


@pytest.mark.filterwarnings("ignore:Layer 'flatten")  # it does not carry the mask on
@pytest.mark.parametrize("kind", KINDS)
def test_relevance_is_shared_out_or_refused(kind):
    model = network(ALL[kind])
    if kind in LRP_ALONE or kind in BOTH:
        assert shared_by_relevance(model)
    else:
        refused(model, "lrp")
    if kind in DEEPLIFT_ALONE or kind in BOTH:
        assert shared_by_deeplift(model)
    else:
        refused(model, "deeplift")


def test_recurrent_layers_are_named():
    model = network(
        lambda x: layers.Bidirectional(layers.GRU(2, name="inner"), name="both")(lines(x))
    )
    with pytest.raises(ValueError, match="cannot pass") as caught:
        saliency(model, IMAGES, 0, "lrp")
    assert str(caught.value) == (
        "Method 'lrp' cannot pass layer 'both/forward_inner' (GRU): there is no rule for its "
        "operation TensorListFromTensor (a loop). Replace it by layers that the method knows, "
        "explain a target in front of or behind it (introspect.targets.unit), or use "
        "method='integrated_gradients', which needs derivatives only."
    )


def test_a_target_without_a_derivative_is_refused():
    model = network(lambda x: x)
    with pytest.raises(ValueError, match="the derivative of its operation Round is 0"):
        saliency(model, IMAGES, lambda out: tf.round(out[:, 0]), "lrp")
    # A condition that only chooses loses nothing.
    maps = saliency(model, IMAGES, lambda out: tf.where(out[:, 0] > 0, out[:, 0], out[:, 0]), "lrp")
    np.testing.assert_allclose(maps, saliency(model, IMAGES, 0, "lrp"), rtol=10 * EPS)
