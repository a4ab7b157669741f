import re
import subprocess
import sys

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import whitebox_loc as wb

heads = pytest.mark.parametrize("head", list(wb.models.HEADS))


def images(size=(12, 17), n=5, seed=0):
    return wb.data.generate(wb.data.Scene(size=size), n, seed=seed)


def correlate(x, kernel, bias):
    """Valid cross-correlation over the leading axes, written out; float64."""
    k = kernel.shape[:-2]
    out = np.zeros((*[s - d + 1 for s, d in zip(x.shape[:-1], k, strict=True)], kernel.shape[-1]))
    for place in np.ndindex(*out.shape[:-1]):
        patch = x[tuple(slice(p, p + d) for p, d in zip(place, k, strict=True))]
        out[place] = np.tensordot(patch, kernel, patch.ndim) + bias
    return out


def slow_profile_localizer(model, image):
    """Return the box of one image, from the weights alone, one number at a time."""
    weights = {
        layer.name: [np.asarray(w, "float64") for w in layer.get_weights()]
        for layer in model.layers
    }
    relu = lambda v: np.maximum(v, 0)  # noqa: E731
    x = np.pad(image.astype("float64"), ((3, 3), (3, 3), (0, 0)))
    x = correlate(relu(correlate(x, *weights["conv1"])), *weights["conv2"])
    found = []
    for name, axis, length in (("row", 1, image.shape[0]), ("column", 0, image.shape[1])):
        line = relu(correlate(relu(x).max(axis=axis), *weights[f"{name}_boundary"]))
        line = relu(correlate(np.pad(line, ((1, 1), (0, 0))), *weights[f"{name}_context"]))
        scores = correlate(line, *weights[f"{name}_logits"])
        p = np.exp(scores - scores.max(axis=0))
        p /= p.sum(axis=0)
        found.append((np.arange(length + 1) / length) @ p)
    return np.stack(found, axis=1).ravel()


def test_profile_equals_a_slow_rewrite():
    model = wb.models.localizer(size=(12, 17), seed=3)
    rewrite = lambda images: [slow_profile_localizer(model, image) for image in images]  # noqa: E731
    # Longest float32 sum: 72 products in conv2, five layers deep; logits of size about 1,
    # so the relative error stays under 5 * 72 * 6e-8 = 2e-5.
    wb.testing.check_localizer(model, images=images().images, oracle=rewrite, tolerance=2e-5)


def slow_context_localizer(model, image):
    """The same for the head "context", whose frame mirrors the image."""
    weights = {
        layer.name: [np.asarray(w, "float64") for w in layer.get_weights()]
        for layer in model.layers
    }
    relu = lambda v: np.maximum(v, 0)  # noqa: E731
    x = np.pad(image.astype("float64"), ((2, 2), (2, 2), (0, 0)), mode="symmetric")
    x = correlate(relu(correlate(x, *weights["conv1"])), *weights["conv2"])
    lines, pooled = {}, []
    for name, axis in (("row", 1), ("column", 0)):
        both = np.concatenate([relu(x).max(axis=axis), relu(x).mean(axis=axis)], axis=-1)
        both = np.pad(both, ((1, 1), (0, 0)))
        lines[name] = relu(correlate(both, *weights[f"{name}_boundary"]))
        pooled += [lines[name].max(axis=0), lines[name].mean(axis=0)]
    kernel, bias = weights["whole"]
    summary = relu(np.concatenate(pooled) @ kernel + bias)
    found = []
    for name, line in lines.items():
        kernel, bias = weights[f"{name}_whole"]
        line = line + summary @ kernel + bias
        for dilation in (1, 2, 4, 8, 16):
            padded = np.pad(line, ((dilation, dilation), (0, 0)))
            kernel, bias = weights[f"{name}_context{dilation}"]
            tall = np.zeros((2 * dilation + 1, *kernel.shape[1:]))
            tall[::dilation] = kernel
            line = line + relu(correlate(padded, tall, bias))
        scores = correlate(line, *weights[f"{name}_logits"])
        p = np.exp(scores - scores.max(axis=0))
        p /= p.sum(axis=0)
        found.append((np.arange(len(p)) / (len(p) - 1)) @ p)
    return np.stack(found, axis=1).ravel()


def test_context_equals_a_slow_rewrite():
    model = wb.models.localizer(size=(12, 17), head="context", seed=3)
    rewrite = lambda images: [slow_context_localizer(model, image) for image in images]  # noqa: E731
    # Sums of at most 108 float32 products, ten layers deep: 10 * 108 * 6e-8 = 6e-5.
    wb.testing.check_localizer(model, images=images().images, oracle=rewrite, tolerance=6e-5)


def test_line_filters():
    tiny = wb.models.localizer(size=(64, 64), filters=(2, 2), line_filters=4)
    # Two convolutions, then for rows and for columns three of one dimension.
    along = (2 * 2 * 4 + 4) + (3 * 4 * 4 + 4) + (4 * 2 + 2)
    assert tiny.count_params() == (9 * 2 + 2) + (9 * 2 * 2 + 2) + 2 * along == 222
    message = (
        "`line_filters` 4 needs a head with profiles, one of ['profile', 'context']; got "
        "head='dense'. Leave it None."
    )
    with pytest.raises(ValueError, match=re.escape(message)):
        wb.models.localizer(head="dense", line_filters=4)


def test_profile_coordinates_are_expectations_of_the_distributions():
    model = wb.models.localizer(size=(12, 17), seed=1)
    batch = images()
    found = wb.models.edge_distributions(model, batch.images, batch_size=2)
    for index, name in enumerate(("top", "left", "bottom", "right")):
        p = found[name].astype("float64")
        length = p.shape[1] - 1
        # float32 softmax: each of at most 18 terms is off by a few units of 6e-8.
        np.testing.assert_allclose(p.sum(axis=1), 1, atol=1e-6)
        expected = p @ (np.arange(length + 1) / length)
        np.testing.assert_allclose(model(batch.images)[:, index], expected, atol=1e-6)


def test_profile_scores_move_with_the_box():
    # Black around the box, so that neither box nor its shift is near the frame.
    model = wb.models.localizer(size=(30, 40), seed=2)
    scores = keras.Model(model.input, wb.models.edge_logits(model))
    boxes = np.array([[8, 10, 14, 19], [8 + 5, 10 + 7, 14 + 5, 19 + 7]])
    rows, columns = scores(wb.data.render(boxes, wb.data.Scene(size=(30, 40))))
    # The same sums of 9, 72, 16 and 48 products, at places that a processor may treat apart.
    for found, width, first, second in ((rows, 16, 4, 9), (columns, 20, 6, 13)):
        found = np.asarray(found)
        size = np.abs(found).max()
        moved = found[1, second : second + width]
        close = 145 * np.finfo(np.float32).eps * size
        np.testing.assert_allclose(found[0, first : first + width], moved, rtol=0, atol=close)
        assert np.ptp(moved) > 100 * close


@heads
@settings(max_examples=8, deadline=None)
@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 3))
def test_any_canvas(head, height, width, channels):
    model = wb.models.localizer((height, width), channels, head)
    found = model(np.ones((2, height, width, channels), "float32")).numpy()
    assert found.shape == (2, 4)
    assert ((found >= 0) & (found <= 1)).all()


@pytest.mark.whole
def test_a_saved_model_opens_without_this_library(tmp_path):
    batch = images()
    np.save(tmp_path / "images.npy", batch.images)
    for head in wb.models.HEADS:
        model = wb.models.localizer(size=(12, 17), head=head)
        model.save(tmp_path / f"{head}.keras")
        np.save(tmp_path / f"{head}.npy", model(batch.images).numpy())
    code = f"""
import sys, keras, numpy as np
for head in {list(wb.models.HEADS)}:
    found = keras.models.load_model(head + ".keras")(np.load("images.npy"))
    assert (np.asarray(found) == np.load(head + ".npy")).all(), (head, found)
assert not any(name.startswith("whitebox_loc") for name in sys.modules)
"""
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True)


@heads
def test_equal_seeds_give_equal_weights_whatever_the_global_seed(head):
    keras.utils.set_random_seed(1)
    first = wb.models.localizer(size=(12, 17), head=head, seed=5).get_weights()
    keras.utils.set_random_seed(2)
    second = wb.models.localizer(size=(12, 17), head=head, seed=5).get_weights()
    other = wb.models.localizer(size=(12, 17), head=head, seed=6).get_weights()
    assert all((a == b).all() for a, b in zip(first, second, strict=True))
    assert any((a != b).any() for a, b in zip(first, other, strict=True))


@pytest.mark.bfloat16
@heads
def test_mixed_precision_computes_in_half_and_answers_in_single(head):
    model32 = wb.models.localizer(size=(12, 17), head=head)
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        model16 = wb.models.localizer(size=(12, 17), head=head)
    finally:
        keras.config.set_dtype_policy("float32")
    assert model16.get_layer("conv1").compute_dtype == "bfloat16"
    batch = images()
    found = model16(batch.images)
    assert found.dtype == "float32"
    # bfloat16 keeps 8 bits: each of about ten roundings on the way is off by up to 2^-9
    # of numbers of size about 1, and coordinates are averages of such numbers.
    np.testing.assert_allclose(found, model32(batch.images), atol=10 * 2**-9)


def test_the_default_is_small():
    assert wb.models.localizer().count_params() <= 10_000


def test_reinitialize_reaches_layers_in_nested_models():
    inner = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2, name="in")])
    outer = keras.Sequential([keras.Input((3,)), inner, keras.layers.Dense(1, name="out")])
    before = outer.get_weights()
    wb.models.reinitialize(outer, seed=0)
    kernels = [0, 2]
    assert all((before[i] != outer.get_weights()[i]).any() for i in kernels)


def test_reinitialize_reaches_every_weight():
    model = keras.Sequential(
        [
            keras.Input((8, 8, 2)),
            keras.layers.DepthwiseConv2D(3),
            keras.layers.SeparableConv2D(3, 3),
            keras.layers.BatchNormalization(),
            keras.layers.Reshape((-1, 3)),
            keras.layers.LSTM(2),
        ]
    )
    first = wb.models.reinitialize(model, seed=0).get_weights()
    model.set_weights([w + 1 for w in first])
    again = wb.models.reinitialize(model, seed=0).get_weights()
    for a, b in zip(first, again, strict=True):
        np.testing.assert_array_equal(a, b)


class Mystery(keras.layers.Layer):
    def build(self, shape):
        self.gain = self.add_weight(shape=(1,), name="gain", initializer="ones")

    def call(self, x):
        return x * self.gain


def test_reinitialize_does_not_skip_what_it_does_not_know():
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2), Mystery(name="m")])
    before = model.get_weights()
    with pytest.raises(ValueError, match="layer 'm' of class Mystery that does not say how its"):
        wb.models.reinitialize(model)
    for a, b in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(
    ("arguments", "kind", "message"),
    [
        (
            {"head": "profil"},
            ValueError,
            "`head` must be one of ['profile', 'context', 'coordconv', 'dense']; got 'profil'. "
            "Did you mean 'profile'?",
        ),
        (
            {"size": 100},
            TypeError,
            "`size` must be two whole numbers (height, width) in pixels; got 100.",
        ),
        (
            {"channels": 0},
            ValueError,
            "`channels` must be a whole number between 1 and 16384; got 0.",
        ),
        (
            {"filters": ()},
            ValueError,
            "`filters` must be a non-empty sequence of channel numbers such as (8, 8); got ().",
        ),
        (
            {"filters": (8, 0)},
            ValueError,
            "`filters[1]` must be a whole number between 1 and 16384; got 0.",
        ),
    ],
)
def test_wrong_arguments(arguments, kind, message):
    with pytest.raises(kind) as caught:
        wb.models.localizer(**arguments)
    assert str(caught.value) == message


def test_edge_distributions_need_a_profile_head():
    model = wb.models.localizer(size=(8, 8), head="dense", filters=(2,))
    with pytest.raises(ValueError, match="head='profile'") as caught:
        wb.models.edge_distributions(model, np.zeros((1, 8, 8, 1)))
    assert "'dense_localizer' with layers ['box', 'conv1', 'flatten', 'image']" in str(caught.value)
