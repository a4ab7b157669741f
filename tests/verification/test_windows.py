import re

import keras
import numpy as np
import pytest

import whitebox_loc as wb
from whitebox_loc.verification import UnsupportedModelError, prove
from whitebox_loc.verification.windows import Local, Window, readings

layers, ops = keras.layers, keras.ops
SIZE = (10, 13)


def positions(length):
    return (np.arange(length + 1, dtype="float32") / length)[:, None]


def expectation(logits, length):
    shares = layers.Softmax(axis=1)(logits)
    return layers.Reshape((2, 1))(ops.sum(shares * positions(length), axis=1))


def corners(pairs):
    return layers.Reshape((4,))(layers.Concatenate(axis=-1)(pairs))


def line(x):
    """Return logits of a padded profile."""
    return layers.Conv1D(2, 2, name=f"{x.name}_logits")(x)


def network(
    maps=lambda x: layers.ZeroPadding2D(1)(x),
    maximum=lambda x, axis: ops.max(x, axis=axis),
    line=line,
    read=expectation,
    join=corners,
    size=SIZE,
):
    """A localizer by hand: maps, a maximum over columns or rows, logits, expectation."""
    images = keras.Input((*size, 1))
    x = maps(images)
    pairs = [
        read(line(maximum(x, axis)), length) for axis, length in zip((2, 1), size, strict=True)
    ]
    return keras.Model(images, join(pairs))


def influence(reading, axis, size=SIZE):
    """Return of each line along the axis which positions of the logits change with it.

    With weights above 0 and brighter lines, every position that sees one changes.
    """
    model = reading.logits
    rng = np.random.default_rng(0)
    for weight in model.weights:
        weight.assign(rng.uniform(0.1, 1, weight.shape))
    black = np.zeros((1, *size, 1), "float32")
    lit = np.repeat(black, size[axis], 0)
    for k in range(size[axis]):
        lit[(k, k) if axis == 0 else (k, slice(None), k)] = 1
    return np.abs(model(lit).numpy() - model(black).numpy()).max(-1) > 0


def seen(window, length):
    places, k = np.arange(length + window.extra), np.arange(length)[:, None]
    return (k - places >= window.first) & (k - places <= window.last)


def check_reading(model, along, across, framed, size=SIZE):
    for axis, reading in enumerate(readings(model)):
        assert reading.axis == ("row", "column")[axis]
        assert (reading.along, reading.across, reading.framed) == (along, across, framed)
        assert reading.channels == (0, 1)
        assert reading.along.extra == 1
        assert (influence(reading, axis, size) == seen(along, size[axis])).all()


@pytest.mark.parametrize("filters", [(3,), (3, 2), (2, 3, 2), (2, 2, 2, 2)])
def test_readings_of_localizers(filters):
    # Each convolution sees one line more a side, of maps with a line more a side as well; the
    # boundary takes one of the lines before, the context one a side.
    k = len(filters)
    model = wb.models.localizer(size=SIZE, filters=filters, line_filters=3)
    across = Window(-k - 1, k - 1, 2)
    assert across.length == 2 * k + 1
    check_reading(model, Window(-k - 2, k + 1, 1), across, True)


def same_once(x):
    return layers.ZeroPadding2D(1)(layers.Conv2D(2, 3, padding="same")(x))


def same_first(x):
    return layers.Conv2D(2, 2)(layers.Conv2D(2, 4, padding="same")(layers.ZeroPadding2D(1)(x)))


def same_later(x):
    return layers.Conv2D(2, 3, padding="same")(layers.Conv2D(2, 3)(layers.ZeroPadding2D(2)(x)))


def padded_later(x):
    return layers.Conv2D(1, 3, dilation_rate=2)(
        layers.ZeroPadding2D(((2, 3), (2, 3)))(layers.Conv2D(2, 3, padding="same")(x))
    )


def in_parts(x):
    inner = keras.Sequential([layers.Conv2D(2, 3, padding="same"), layers.ReLU()])
    outer_input = keras.Input((None, None, 1))
    outer = keras.Model(outer_input, layers.Activation("relu")(inner(outer_input)))
    return layers.ZeroPadding2D((1, 1))(outer(x))


def dropped(x):
    return layers.SpatialDropout2D(0.2)(layers.ZeroPadding2D(1)(layers.Conv2D(2, 3)(
        layers.ZeroPadding2D(1)(x))))  # fmt: skip


def around(x):
    return layers.Conv1D(2, 3, padding="same")(x)


HAND_MADE = {
    # Pixels, a frame and two lines beside a boundary.
    "plain": ({}, Window(-1, 0, 1), Window(-1, -1, 2), True),
    # A 3 x 3 convolution, and zeros around its maps: those have no bias.
    "same": ({"maps": same_once}, Window(-2, 1, 1), Window(-2, 0, 2), False),
    # The frame and the zeros of the first convolution (one before, two behind) are all zeros.
    "same first": ({"maps": same_first, "line": around}, Window(-3, 3, 1), Window(-2, 2, 1), True),
    "same later": ({"maps": same_later}, Window(-3, 2, 1), Window(-3, 1, 2), False),
    "padded later": (
        {"maps": padded_later, "line": around},
        Window(-4, 4, 1),
        Window(-3, 3, 1),
        False,
    ),
    "nested": ({"maps": in_parts}, Window(-2, 1, 1), Window(-2, 0, 2), False),
    "dropout": ({"maps": dropped}, Window(-2, 1, 1), Window(-2, 0, 2), False),
    "lines": (
        {
            "maps": lambda x: layers.ReLU()(x),
            "line": lambda x: layers.Conv1D(2, 3, padding="same")(
                layers.SpatialDropout1D(0.1)(layers.Conv1D(3, 4)(layers.ZeroPadding1D((3, 1))(x)))
            ),
        },
        Window(-4, 1, 1),
        Window(),
        True,
    ),
}


@pytest.mark.parametrize("name", HAND_MADE)
def test_readings_of_networks_by_hand(name):
    options, along, across, framed = HAND_MADE[name]
    check_reading(network(**options), along, across, framed)


@pytest.mark.parametrize("name", HAND_MADE)
def test_framed_maps_of_a_black_image_are_the_same_everywhere(name):
    """So nobody can tell outside of the canvas from beside the box."""
    model = network(**HAND_MADE[name][0])
    framed = readings(model)[0].framed
    rng = np.random.default_rng(0)
    for weight in model.weights:
        weight.assign(rng.uniform(0.1, 1, weight.shape))
    maximum = next(op for op in model.operations if type(op).__name__ == "Max")
    maps = keras.Model(model.input, maximum.input)(np.zeros((1, *SIZE, 1))).numpy()
    constant = np.ptp(maps, axis=(1, 2)).max() < 1e-5
    assert constant == framed


def test_a_localizer_with_classes_is_read_by_its_box():
    plain = readings(wb.models.localizer(size=SIZE))
    labelled = readings(wb.models.localizer(size=SIZE, classes=3))
    for one, two in zip(plain, labelled, strict=True):
        assert (one.axis, one.along, one.across, one.framed, one.channels) == (
            two.axis, two.along, two.across, two.framed, two.channels,
        )  # fmt: skip


def flattened(pairs):
    return layers.Concatenate(axis=-1)([layers.Reshape((2,))(pair) for pair in pairs])


def off_weights(logits, length):
    shares = layers.Softmax(axis=1)(logits)
    weights = (np.arange(length + 1, dtype="float32") / (length + 1))[:, None]
    return layers.Reshape((2, 1))(ops.sum(shares * weights, axis=1))


def centers(logits, length):
    shares = layers.Softmax(axis=1)(logits)
    weights = ((np.arange(length, dtype="float32") + 0.5) / length)[:, None]
    return layers.Reshape((2, 1))(ops.sum(shares * weights, axis=1))


def read(softmax=lambda: layers.Softmax(axis=1), product=None, total=None):
    def reading(logits, length):
        shares = softmax()(logits)
        weighted = shares * positions(length) if product is None else product(shares, length)
        summed = ops.sum(weighted, axis=1) if total is None else total(weighted)
        return layers.Reshape((2, 1))(summed)

    return reading


def masked(logits):
    mask = ops.convert_to_tensor(np.arange(logits.shape[1])[None, :, None] < 3)
    return layers.Softmax(axis=1)(logits, mask=mask)


def halved(shares, length):
    """Weigh shares of whatever length, for networks that are refused before."""
    return shares * 0.5


def columns(x, axis):
    return ops.max(x, axis=axis, keepdims=True)[:, 0] if axis == 1 else ops.max(x, axis=axis)


class Halved(keras.Model):
    def call(self, images, training=None):
        return super().call(images, training=training) / 2


class Layer(keras.layers.Layer):
    def call(self, x):
        return x


def refused_part():
    part = Halved(*(lambda x: (x, layers.ReLU()(x)))(keras.Input((None, None, 1))), name="odd")
    return lambda x: layers.ZeroPadding2D(1)(part(x))


REFUSED = {
    "strides": (
        {"maps": lambda x: layers.Conv2D(2, 3, strides=2, name="odd")(x)},
        "'odd' (Conv2D): with strides (2, 2)",
    ),
    "pooling": ({"maps": lambda x: layers.MaxPooling2D(name="odd")(x)}, "'odd' (MaxPooling2D): "),
    "own layer": ({"maps": lambda x: Layer(name="odd")(x)}, f"'odd' ({__name__}.Layer): "),
    "own call": ({"maps": refused_part()}, f"'odd' ({__name__}.Halved): "),
    "training": (
        {"maps": lambda x: layers.Dropout(0.5, name="odd")(x, training=True)},
        "'odd' (Dropout): it is called with training",
    ),
    "kept axis": (
        {"maximum": columns}, "(Max): only the maximum of a map over its rows or columns",
    ),
    "maximum over both": (
        {"maximum": lambda x, axis: ops.max(x, axis=(1, 2))[:, None] * np.ones((12, 1), "float32")},
        "(Max): only the maximum of a map over its rows or columns",
    ),
    "maximum of channels": (
        {"maps": lambda x: ops.max(x, axis=3)[..., None]},
        "(Max): only the maximum of a map over its rows or columns",
    ),
    "no maximum": (
        {"maximum": lambda x, axis: ops.mean(x, axis=axis)},
        "(Mean): the argument by symmetry knows no windows",
    ),
    "causal": (
        {"line": lambda x: layers.Conv1D(2, 2, padding="causal", name=f"odd{x.name}")(x)},
        "(Conv1D): padding 'causal' is not known",
    ),
    "softmax of channels": (
        {"read": read(lambda: layers.Softmax(axis=-1))},
        "(Softmax): it must run over all positions of a profile, axis 1",
    ),
    "softmax of several": (
        {"read": read(lambda: layers.Softmax(axis=(1, 2)))},
        "(Softmax): it must run over all positions of a profile, axis 1",
    ),
    "softmax as activation": (
        {"read": read(lambda: layers.Activation("softmax"))},
        "(Activation): a softmax must be a layer",
    ),
    "masked softmax": ({"read": read(lambda: masked)}, "(Softmax): it is called with mask"),
    "half softmax": (
        {"read": read(lambda: layers.Softmax(axis=1, dtype="float16"))},
        "(Softmax): the argument is about float32; it computes in float16",
    ),
    "two softmaxes": (
        {"read": read(lambda: lambda x: layers.Softmax(axis=1)(layers.Softmax(axis=1)(x)))},
        "(Softmax): it comes behind the softmax over positions",
    ),
    "other positions": (
        {"read": off_weights},
        "(Multiply): the weights are not the positions of boundaries, j / length",
    ),
    "centers": (
        {"read": centers, "line": lambda x: layers.Conv1D(2, 3)(x)},
        "(Multiply): ", " boundaries are to be weighted",
    ),
    "weighted twice": (
        {"read": read(product=lambda s, n: s * positions(n) * positions(n))},
        "(Multiply): only shares times positions are an expectation",
    ),
    "not weighted": (
        {"read": read(product=lambda s, n: s)},
        "(Sum): only the sum of shares times positions is an expectation",
    ),
    "sum of channels": (
        {"read": read(total=lambda w: ops.sum(w, axis=2)[:, :2])},
        "(Sum): only the sum of shares times positions is an expectation",
    ),
    "sum with its axis": (
        {"read": read(total=lambda w: ops.sum(w, axis=1, keepdims=True))},
        "(Sum): only the sum of shares times positions is an expectation",
    ),
    "swapped outputs": (
        {"join": lambda pairs: corners(pairs[::-1])},
        "top and bottom are not read from one row profile",
    ),
    "edge beside edge": ({"join": flattened}, "top and bottom are not read from one row profile"),
    "joined profiles": (
        {"line": lambda x: line(layers.Concatenate()([x, x]))},
        "(Concatenate): it comes before the coordinates are read",
    ),
    "one axis": (
        {"join": lambda pairs: layers.Reshape((2,))(pairs[0])},
        "the output is not four expectations of positions",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_the_argument_does_not_hold_for_is_refused(name):
    options, *reasons = REFUSED[name]
    if "join" not in options:
        options = {"read": read(product=halved)} | options
    model = network(**options)
    with pytest.raises(UnsupportedModelError, match=".*".join(map(re.escape, reasons))):
        readings(model)


@pytest.mark.parametrize(
    ("head", "reason"),
    [
        ("context", r"'pad\w*' \(Pad\): the argument by symmetry knows no windows"),
        ("coordconv", r"\(\w+\): the argument by symmetry knows no windows"),
        ("dense", r"'conv1' \(Conv2D\): with strides \(2, 2\)"),
    ],
)
def test_other_heads_are_refused(head, reason):
    with pytest.raises(UnsupportedModelError, match=reason):
        readings(wb.models.localizer(size=SIZE, head=head))


def test_models_whose_graph_is_not_what_they_compute_are_refused():
    model = network()
    with pytest.raises(UnsupportedModelError, match="without a `call` of its own"):
        readings(Halved(model.input, model.output))
    with pytest.raises(UnsupportedModelError, match=r"output 'box'; got outputs \['a'\]"):
        readings(keras.Model(model.input, {"a": model.output}))


@pytest.mark.parametrize("dtype", ["float16", "uint8"])
def test_inputs_that_images_are_rounded_to_are_refused(dtype):
    part = keras.Sequential([keras.Input((None, None, 1), dtype=dtype), layers.ReLU()])
    grey = np.full((1, *SIZE, 1), 0.7, "float32")
    assert (part(grey).numpy() != grey).all()
    model = network(maps=lambda x: layers.ZeroPadding2D(1)(part(x)))
    with pytest.raises(UnsupportedModelError, match=f"it takes {dtype}, and bounds hold for float"):
        readings(model)


def test_initial_values_of_a_maximum_are_refused():
    model = network(maximum=lambda x, axis: ops.max(x, axis=axis, initial=1.0))
    with pytest.raises(ValueError, match=r"\(Max\): no bounds are known for a maximum with an ini"):
        prove(model, how="symmetry", progress=False)


def test_boundaries_that_see_no_line_behind_them_have_no_bound_for_every_canvas():
    model = network(
        maps=lambda x: x,
        line=lambda x: layers.Conv1D(2, 2)(layers.ZeroPadding1D((2, 0))(x)),
    )
    assert readings(model)[0].along == Window(-2, -1, 1)
    with pytest.raises(ValueError, match="a boundary must see the row behind it"):
        prove(model, canvas="any", progress=False)


def test_windows_of_steps():
    assert Window().length == 1
    assert Window().padded(2, 3) == Window(-2, -2, 5)
    assert Window(-2, -2, 5).convolved(3, 2) == Window(-2, 2, 1)
    assert Local({"row": Window()}).raw
