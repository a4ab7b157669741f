"""The classifying localizer: its scores, and that it leaves the localizer as it was."""

import subprocess
import sys

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import whitebox_loc as wb

heads = pytest.mark.parametrize("head", list(wb.models.HEADS))
SIZE = (12, 17)


def images(n=5):
    return wb.data.generate(wb.data.Scene(size=SIZE), n, seed=0).images


def slow_label(model, maps):
    """Return the distribution over classes from one image's feature maps, in float64."""
    weights = {
        layer.name: [np.asarray(w, "float64") for w in layer.get_weights()]
        for layer in model.layers
    }
    x, number = np.maximum(maps.astype("float64"), 0), 1
    while f"label_conv{number}" in weights:
        x = np.maximum(strided(x, *weights[f"label_conv{number}"]), 0)
        number += 1
    assert max(x.shape[:2]) <= 8
    hidden = x.max(axis=(0, 1)) @ weights["label_hidden"][0] + weights["label_hidden"][1]
    scores = np.maximum(hidden, 0) @ weights["label_logits"][0] + weights["label_logits"][1]
    p = np.exp(scores - scores.max())
    return p / p.sum()


def strided(x, kernel, bias):
    """3x3, stride 2, as many outputs as there are starts of pairs, padded to the far side."""
    height, width = (-(-side // 2) for side in x.shape[:2])
    pads = [
        max(2 * (n - 1) + 3 - side, 0) for n, side in zip((height, width), x.shape[:2], strict=True)
    ]
    x = np.pad(x, [*((p // 2, p - p // 2) for p in pads), (0, 0)])
    out = np.empty((height, width, kernel.shape[-1]))
    for i, j in np.ndindex(height, width):
        patch = x[2 * i : 2 * i + 3, 2 * j : 2 * j + 3]
        out[i, j] = np.tensordot(patch, kernel, 3) + bias
    return out


@pytest.mark.parametrize(
    ("head", "trunk"), [("profile", "conv2"), ("coordconv", "conv4"), ("dense", "conv4")]
)
def test_label_equals_a_slow_rewrite(head, trunk):
    model = wb.models.localizer(size=SIZE, head=head, classes=4, seed=3)
    maps = keras.Model(model.input, model.get_layer(trunk).output)(images()).numpy()
    expected = [slow_label(model, one) for one in maps]
    found = model(images())["label"].numpy()
    assert found.dtype == np.float32
    # Two convolutions and two dense layers of at most 9 * 16 float32 products: relative error
    # below 4 * 144 * 6e-8 = 3.5e-5 of scores of size below 1.
    np.testing.assert_allclose(found, expected, atol=4e-5)
    assert np.std(expected, axis=0).max() > 1e-4


@heads
def test_classes_change_nothing_of_the_box(head):
    plain = wb.models.localizer(size=SIZE, head=head)
    both = wb.models.localizer(size=SIZE, head=head, classes=3)
    shared = [layer for layer in plain.layers if layer.get_weights()]
    for layer in shared:
        both.get_layer(layer.name).set_weights(layer.get_weights())
    np.testing.assert_array_equal(both(images())["box"], plain(images()))


@pytest.mark.parametrize(
    ("head", "weights"), [("profile", 2844), ("coordconv", 37252), ("dense", 23556)]
)
def test_without_classes_there_are_no_layers_for_them(head, weights):
    model = wb.models.localizer(size=(16, 20), head=head)
    assert model.count_params() == weights
    assert not [layer.name for layer in model.layers if layer.name.startswith("label")]


@heads
@settings(max_examples=8, deadline=None)
@given(st.integers(1, 40), st.integers(1, 40), st.integers(2, 9))
def test_any_canvas(head, height, width, classes):
    model = wb.models.localizer((height, width), head=head, classes=classes)
    found = model(np.ones((2, height, width, 1), "float32"))
    assert set(found) == {"box", "label"}
    assert found["box"].shape == (2, 4)
    assert found["label"].shape == (2, classes)
    # A float32 softmax of at most 9 terms.
    np.testing.assert_allclose(np.sum(found["label"], axis=1), 1, atol=1e-6)


@pytest.mark.whole
def test_a_saved_model_opens_without_this_library(tmp_path):
    model = wb.models.localizer(size=SIZE, classes=3)
    model.save(tmp_path / "model.keras")
    np.save(tmp_path / "images.npy", images())
    np.savez(tmp_path / "found.npz", **{k: v.numpy() for k, v in model(images()).items()})
    code = """
import sys, keras, numpy as np
found, before = keras.models.load_model("model.keras")(np.load("images.npy")), np.load("found.npz")
assert set(found) == {"box", "label"}
for name in found:
    assert (np.asarray(found[name]) == before[name]).all(), name
assert not any(name.startswith("whitebox_loc") for name in sys.modules)
"""
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True)


@pytest.mark.bfloat16
def test_half_precision_answers_in_single():
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        model = wb.models.localizer(size=SIZE, classes=3)
    finally:
        keras.config.set_dtype_policy("float32")
    found = model(images())
    assert model.get_layer("label_conv1").compute_dtype == "bfloat16"
    assert found["label"].dtype == found["box"].dtype == "float32"


def test_distributions_over_edges_are_still_read():
    model = wb.models.localizer(size=SIZE, classes=3)
    found = wb.models.edge_distributions(model, images())
    expected = model(images())["box"].numpy()[:, 2]
    # Expectation of 13 positions below 1.
    np.testing.assert_allclose(found["bottom"] @ (np.arange(13) / 12), expected, atol=1e-6)


class Subclassed(keras.Model):
    def __init__(self, outputs):
        super().__init__()
        self.flatten, self.outputs_of = keras.layers.Flatten(), outputs

    def call(self, x):
        return self.outputs_of(self.flatten(x))


def test_class_count():
    shape = (*SIZE, 1)
    assert wb.models.class_count(wb.models.localizer(size=SIZE, classes=5), shape) == 5
    assert wb.models.class_count(wb.models.localizer(size=SIZE), shape) is None
    assert wb.models.class_count(Subclassed(lambda x: {"box": x, "label": x[:, :7]}), shape) == 7
    assert wb.models.class_count(Subclassed(lambda x: x[:, :4]), shape) is None
    with pytest.raises(ValueError, match=r"`model` must return its output 'label' with shape"):
        wb.models.class_count(Subclassed(lambda x: {"box": x, "label": x[:, :1]}), shape)


@pytest.mark.parametrize(
    ("classes", "kind", "message"),
    [
        (1, ValueError, "`classes` must be a whole number between 2 and 16384; got 1."),
        (
            2.0,
            TypeError,
            "`classes` must be a whole number between 2 and 16384; got 2.0 of type float.",
        ),
    ],
)
def test_wrong_numbers_of_classes(classes, kind, message):
    with pytest.raises(kind) as caught:
        wb.models.localizer(classes=classes)
    assert str(caught.value) == message
