"""What cannot be adapted is refused with the argument's name, or warned of."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import ops

import whitebox_loc as wb


def flat(outputs=4, bias=0.0, shape=(6, 8, 1), name="theirs"):
    x = keras.Input(shape)
    dense = keras.layers.Dense(
        outputs, kernel_initializer="zeros", bias_initializer=keras.initializers.Constant(bias)
    )
    return keras.Model(x, dense(keras.layers.Flatten()(x)), name=name)


def two_inputs():
    pair = [keras.Input((6, 8, 1)), keras.Input((6, 8, 1))]
    both = keras.layers.Flatten()(keras.layers.Add()(pair))
    return keras.Model(pair, keras.layers.Dense(4)(both), name="pair")


def linear_head():
    """Without biases: all numbers of a black image are 0."""
    x = keras.Input((6, 8, 1))
    ramp = np.linspace([-1.0, -1.0, 0.0, 1.0], [-1.0, 0.5, 1.0, 1.0], 48) / 10
    dense = keras.layers.Dense(4, use_bias=False)
    model = keras.Model(x, dense(keras.layers.Flatten()(x)), name="theirs")
    dense.set_weights([ramp.astype("float32")])
    return model


def open_model():
    x = keras.Input((None, None, None))
    return keras.Model(x, ops.sum(x, (1, 2))[:, :4], name="open")


ERRORS = {
    "no model": (
        ValueError, lambda: wb.models.adapted(flat(name="box")),
        "`model` must not be named 'box', which is the name of an input or output of the result; "
        "got that name. Set model.name to another.",
    ),
    "name": (TypeError, lambda: wb.models.adapted("model.keras"),
        "`model` must be a keras.Model; got str."),
    "format": (
        ValueError, lambda: wb.models.adapted(flat(), "rel_yxyy"),
        f"`read` must be one of {list(wb.boxes.FORMATS)}; got 'rel_yxyy'. "
        "Did you mean 'rel_yxyx'?",
    ),
    "prepare": (
        TypeError, lambda: wb.models.adapted(flat(), prepare=255),
        "`prepare` must be a function of images or None; got 255.",
    ),
    "size": (
        ValueError, lambda: wb.models.adapted(open_model(), channels=4),
        "`size` must be given, since `model` 'open' does not say which images it takes; got None. "
        "Pass size=(height, width) of your images in pixels.",
    ),
    "channels": (
        ValueError, lambda: wb.models.adapted(open_model(), size=(6, 8)),
        "`channels` must be given, since `model` 'open' does not say which images it takes; got "
        "None. Pass channels=1 or channels=3.",
    ),
    "pixels": (
        ValueError,
        lambda: wb.models.adapted(
            keras.Sequential([keras.Input((12,)), keras.layers.Dense(4)]), "xyxy",
            prepare=lambda x: ops.reshape(x, (-1, 12)), size=(3, 4), channels=1,
        ),
        "`pixels` must be given for boxes in 'xyxy', since `prepare` returns no image of known "
        "size; got None. Pass pixels=(height, width) that the boxes refer to.",
    ),
    "two outputs": (
        ValueError,
        lambda: wb.models.adapted(
            keras.Model((m := flat()).input, {"a": m.output, "b": m.output}, name="two")
        ),
        "`read` 'rel_yxyx' needs a model of one output, or a dict with one named 'box'; the "
        "outputs are {'a': (None, 4), 'b': (None, 4)}. Pass a function that picks the box out of "
        "them.",
    ),
    "five numbers": (
        ValueError, lambda: wb.models.adapted(flat(5), "yxyx"),
        "`read` 'yxyx' needs boxes of shape (n, 4); the output has shape (None, 5). Pass a "
        "function that makes boxes of it.",
    ),
    "shape": (
        ValueError, lambda: wb.models.adapted(flat(), lambda out: out[:, :3]),
        "`read` must return 'box' of shape (n, 4), fixed but for n; got (None, 3).",
    ),
    "rank": (
        ValueError, lambda: wb.models.adapted(flat(), lambda out: out[:, None]),
        "`read` must return 'box' of shape (n, 4), fixed but for n; got (None, 1, 4).",
    ),
    "number of candidates": (
        ValueError,
        lambda: wb.models.adapted(
            flat(8), lambda out: {"boxes": ops.reshape(out, (-1, 2, 4)), "scores": out[:, :3]}
        ),
        "`read` must return 'scores' of shape (n, candidates=2), fixed but for n; got (None, 3).",
    ),
    "no box": (
        ValueError, lambda: wb.models.adapted(flat(), lambda out: {"bbox": out}),
        "`read` must return a dict with 'box' (n, 4), or with 'boxes' (n, k, 4) and 'scores' "
        "(n, k); got the keys ['bbox'].",
    ),
    "no scores": (
        ValueError, lambda: wb.models.adapted(flat(), lambda out: {"boxes": out[:, None]}),
        "`read` must return 'scores' (n, k) beside 'boxes' (n, k, 4): how sure the model is of "
        "each; got the keys ['boxes'].",
    ),
    "no tensor": (
        TypeError, lambda: wb.models.adapted(flat(), lambda out: None),
        "`read` must return 'box' as a tensor that the model has computed; got NoneType. Return "
        "boxes (n, 4), or a dict of tensors.",
    ),
    "a None": (
        TypeError, lambda: wb.models.adapted(flat(), lambda out: {"box": out, "label": None}),
        "`read` must return 'label' as a tensor that the model has computed; got NoneType. "
        "Return boxes (n, 4), or a dict of tensors.",
    ),
    "a None of ones own": (
        TypeError, lambda: wb.models.adapted(flat(), lambda out: {"box": out, "mine": None}),
        "`read` must return 'mine' as a tensor that the model has computed; got NoneType. Return "
        "boxes (n, 4), or a dict of tensors.",
    ),
    "a mean over images": (
        ValueError,
        lambda: wb.models.adapted(flat(), lambda out: ops.mean(out, 0, keepdims=True), check=False),
        "`read` must return one row of 'box' for each image; got 1 for n images. Is something "
        "summed, averaged or reshaped over the first axis?",
    ),
    "two images in a row": (
        ValueError,
        lambda: wb.models.adapted(flat(2), lambda out: ops.reshape(out, (-1, 4))),
        "`read` must return one row of 'box' for each image; got 1 for 2 images. Is something "
        "summed, averaged or reshaped over the first axis?",
    ),
    "two inputs": (
        ValueError, lambda: wb.models.adapted(two_inputs()),
        "`model` must take one input, unless `prepare` makes all of them; 'pair' takes 2. Pass a "
        "`prepare` that returns the structure of inputs that it takes.",
    ),
    "one of two inputs": (
        ValueError,
        lambda: wb.models.adapted(two_inputs(), prepare=lambda x: x, size=(6, 8), channels=1),
        "`model` must take one input, unless `prepare` makes all of them; 'pair' takes 2. Pass a "
        "`prepare` that returns the structure of inputs that it takes.",
    ),
    "TensorFlow in prepare": (
        TypeError, lambda: wb.models.adapted(flat(), prepare=lambda x: tf.reverse(x, [1])),
        "`prepare` must be made of keras.ops functions and Keras layers, so that it becomes part "
        "of the model; it raised ValueError. Replace functions of TensorFlow and NumPy by those "
        "of keras.ops, or wrap them in a keras.layers.Lambda, with which the result cannot be "
        "loaded in safe mode.",
    ),
    "NaN": (
        ValueError,
        lambda: wb.models.adapted(
            flat(), prepare=lambda x: x / ops.max(x, (1, 2, 3), keepdims=True)
        ),
        "`read` must return finite numbers; 'box' of a black image holds NaN or infinity. Black "
        "images are baselines of many methods: does `prepare` divide by the brightness of the "
        "image? check=False leaves this out.",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", ERRORS)
def test_error(case):
    kind, call, text = ERRORS[case]
    with pytest.raises(kind) as caught:
        call()
    assert str(caught.value) == text


def test_an_error_of_ones_own_is_left_as_it_is():
    def broken(images):
        raise ZeroDivisionError("on purpose")

    with pytest.raises(ZeroDivisionError, match="on purpose"):
        wb.models.adapted(flat(), prepare=broken)


WARNINGS = {
    "pixels": (
        lambda **o: wb.models.adapted(flat(bias=4.0), **o),
        "'box' of a black image holds numbers from 4 to 4, but rel_yxyx are fractions of the "
        "image, 0 to 1. If these are pixels, pass `read` as the name of their format, such as "
        "'xyxy', or use boxes.convert in it; check=False leaves this out.",
    ),
    "logits": (
        lambda **o: wb.models.adapted(
            flat(bias=-2.0), lambda out: {"box": ops.sigmoid(out), "label": out}, **o
        ),
        "'label' of a black image holds numbers from -2 to -2, but it must hold probabilities, 0 "
        "to 1. Use a sigmoid or softmax in `read`; check=False leaves this out.",
    ),
    "no gradient": (
        lambda **o: wb.models.adapted(flat(), prepare=lambda x: ops.round(x * 255.0), **o),
        "Model 'adapted_theirs': no gradient comes from its boxes to the images, since something "
        "in `prepare`, `read` or the model rounds or chooses. Every map of a gradient would be "
        "0; only perturbation methods apply.",
    ),
}


@pytest.mark.parametrize("case", WARNINGS)
def test_warning(case):
    call, text = WARNINGS[case]
    with pytest.warns(UserWarning, match="Model|black") as caught:
        call()
    assert [str(w.message) for w in caught] == [text]
    assert caught[0].filename == __file__
    call(check=False)


def test_a_few_candidates_may_lie_far_outside():
    far = np.array([[0.1, 0.1, 0.3, 0.3], [0.5, 0.5, 0.9, 0.9], [5, 5, 6, 6]], np.float32)

    def read(out):
        return {"boxes": ops.reshape(out, (-1, 1, 4)) + far, "scores": ops.sigmoid(out[:, :3])}

    wb.models.adapted(flat(), read)


def test_a_prepare_may_make_several_inputs():
    ours = wb.models.adapted(
        two_inputs(), prepare=lambda x: [x, 0.5 * x], size=(6, 8), channels=1, check=False
    )
    assert ours(np.ones((3, 6, 8, 1), "float32")).shape == (3, 4)


UNLIKELY = {
    "label": (lambda out: {"box": out, "label": out}, "a black image sums to 0, .* a softmax in"),
    "label shifted": (
        lambda out: {"box": out, "label": out + 0.25},
        "noise holds numbers from -.*, 0 to 1. Use a sigmoid",
    ),
    "sigmoids": (
        lambda out: {"box": out, "label": ops.sigmoid(out)}, "a black image sums to 2, but it",
    ),
    "scores": (
        lambda out: {"boxes": ops.reshape(out, (-1, 1, 4)), "scores": out[:, 3:]},
        "noise holds numbers from 2.* to 2",
    ),
    "classes": (
        lambda out: {
            "boxes": ops.reshape(out, (-1, 1, 4)), "scores": ops.sigmoid(out[:, :1]),
            "classes": out[:, None],
        },
        "noise holds numbers from -",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", UNLIKELY)
def test_noise_shows_what_black_hides(case):
    read, text = UNLIKELY[case]
    with pytest.warns(UserWarning, match=f"' of {text}") as caught:
        wb.models.adapted(linear_head(), read)
    assert len(caught) == 1
    assert caught[0].filename == __file__


def test_probabilities_warn_of_nothing():
    def read(out):
        return {"box": ops.sigmoid(out), "label": ops.softmax(out)}

    wb.models.adapted(linear_head(), read)
    wb.models.adapted(
        linear_head(),
        lambda out: {
            "boxes": ops.reshape(ops.sigmoid(out), (-1, 1, 4)),
            "scores": ops.sigmoid(out[:, :1]),
            "classes": 0.5 * ops.softmax(out)[:, None],  # may sum to less than 1
        },
    )
