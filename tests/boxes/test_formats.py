import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from whitebox_loc.boxes import FORMATS, convert
from whitebox_loc.boxes.formats import _linear_map, is_relative

# One box by hand on an image of height 100 and width 200: rows 10..29, columns 20..59.
# Height 20, width 40, centre (20, 40).
SIZE = (100, 200)
BY_HAND = {
    "yxyx": [10, 20, 30, 60],
    "xyxy": [20, 10, 60, 30],
    "yxhw": [10, 20, 20, 40],
    "xywh": [20, 10, 40, 20],
    "center_yxhw": [20, 40, 20, 40],
    "center_xywh": [40, 20, 40, 20],
    "rel_yxyx": [0.1, 0.1, 0.3, 0.3],
    "rel_xyxy": [0.1, 0.1, 0.3, 0.3],
    "rel_yxhw": [0.1, 0.1, 0.2, 0.2],
    "rel_xywh": [0.1, 0.1, 0.2, 0.2],
    "rel_center_yxhw": [0.2, 0.2, 0.2, 0.2],
    "rel_center_xywh": [0.2, 0.2, 0.2, 0.2],
}
EPS = np.finfo(np.float64).eps

names = st.sampled_from(FORMATS)
sizes = st.tuples(st.integers(1, 5000), st.integers(1, 5000))
# Multiples of 1/8 below 2**10 and sizes of powers of two: sums, halves and quotients by
# the size all fit in 53 bits, so every conversion is exact.
exact_numbers = st.integers(-8192, 8191).map(lambda i: i / 8)
exact_sizes = st.tuples(st.integers(0, 12), st.integers(0, 12)).map(
    lambda powers: (2 ** powers[0], 2 ** powers[1])
)


def lists_of(numbers):
    return st.lists(st.tuples(*[numbers] * 4), min_size=1, max_size=5).map(np.array)


def test_formats_are_the_twelve_named():
    assert set(FORMATS) == set(BY_HAND)


@pytest.mark.parametrize("source", FORMATS)
@pytest.mark.parametrize("target", FORMATS)
def test_every_pair_by_hand(source, target):
    got = convert([BY_HAND[source]], source, target, size=SIZE)
    # One sum and one scaling of numbers up to 60: two roundings of 60 * EPS / 2 each,
    # on inputs (like 0.1) that are themselves rounded once: three halves in all.
    np.testing.assert_allclose(got, [BY_HAND[target]], rtol=0, atol=1.5 * 60 * EPS)


# Keras 3.12 multiplies columns by the height; 3.15 does not.
SWAPS = keras.utils.bounding_boxes.convert_format(
    np.float32([[0.5, 0.5, 0.25, 0.25]]), "rel_center_xywh", "center_xywh", height=32, width=64
)[0, 0] == 16  # fmt: skip


@pytest.mark.parametrize("source", [name for name in FORMATS if not name.endswith("yxhw")])
@pytest.mark.parametrize("target", [name for name in FORMATS if not name.endswith("yxhw")])
def test_agrees_with_keras(source, target):
    boxes = np.array([[2, 3, 9, 12], [0, 0, 32, 64]], dtype=np.float32)
    given_boxes = convert(boxes, "yxyx", source, size=(32, 64))
    expected = keras.utils.bounding_boxes.convert_format(
        given_boxes, source=source, target=target, height=32, width=64, dtype="float32"
    )
    if source == "rel_center_xywh" and not target.startswith("rel_") and SWAPS:
        pytest.skip("this Keras takes heights for widths; test_every_pair_by_hand has the truth")
    # Whole numbers and sizes of powers of two: no rounding on either side.
    np.testing.assert_array_equal(
        convert(given_boxes, source, target, size=(32, 64)), np.asarray(expected)
    )


@given(lists_of(exact_numbers), names, names, exact_sizes)
def test_round_trip_is_exact_where_numbers_are(boxes, source, target, size):
    there = convert(boxes, source, target, size=size)
    np.testing.assert_array_equal(convert(there, target, source, size=size), boxes)


@given(lists_of(exact_numbers), names, names, names, exact_sizes)
def test_a_detour_changes_nothing(boxes, source, middle, target, size):
    detour = convert(convert(boxes, source, middle, size=size), middle, target, size=size)
    np.testing.assert_array_equal(detour, convert(boxes, source, target, size=size))


@given(st.integers(1, 5000), st.integers(0, 5000))
def test_fractions_are_the_correctly_rounded_quotients(length, pixel):
    got = convert([pixel, 0, pixel, 0], "yxyx", "rel_yxyx", size=(length, 1))
    assert got.tolist() == [pixel / length, 0, pixel / length, 0]


@given(
    lists_of(st.floats(-1e4, 1e4, allow_subnormal=False).filter(lambda x: x == 0 or abs(x) > 1e-9)),
    names,
    names,
    sizes,
)
def test_round_trip_of_any_numbers(boxes, source, target, size):
    there = convert(boxes, source, target, size=size)
    back = convert(there, target, source, size=size)
    # Let M be the largest number on an axis, u = EPS / 2. Each direction adds two numbers at
    # most (magnitude 2M) and scales once: error 2 * 2M * u forward, doubled by the
    # sum on the way back, plus two roundings at magnitude 4M: 16 M u = 8 M EPS. Axes
    # do not mix, but taking M over both only loosens the bound.
    bound = 8 * EPS * np.abs(boxes).max()
    np.testing.assert_allclose(back, boxes, rtol=0, atol=bound)


@given(lists_of(exact_numbers), names, names, sizes, st.sampled_from(["float32", "float64"]))
def test_tensorflow_equals_numpy(boxes, source, target, size, dtype):
    # The same IEEE operations in the same order: equal to the last bit.
    boxes = boxes.astype(dtype)
    tensor = convert(tf.constant(boxes), source, target, size=size)
    array = convert(boxes, source, target, size=size)
    assert tensor.dtype.name == array.dtype.name == dtype
    np.testing.assert_array_equal(tensor.numpy(), array)


@pytest.mark.parametrize("source", FORMATS)
@pytest.mark.parametrize("target", FORMATS)
def test_linear_maps_have_only_exact_coefficients(source, target):
    for row in _linear_map(source, target):
        assert 1 <= len(row) <= 2
        assert all(coefficient in (-1, -0.5, 0.5, 1) for _, coefficient in row)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_floats_keep_their_dtype(dtype):
    boxes = np.array([[1, 2, 3, 4]], dtype=dtype)
    assert convert(boxes, "yxyx", "rel_center_xywh", size=(8, 8)).dtype == dtype
    tensor = convert(tf.constant(boxes), "yxyx", "rel_center_xywh", size=(8, 8))
    assert tensor.dtype == dtype


def test_whole_numbers_become_float():
    assert convert([[1, 2, 4, 4]], "yxyx", "center_yxhw").tolist() == [[2.5, 3.0, 3.0, 2.0]]
    got = convert(np.array([[5, 5, 2, 2]], np.uint8), "yxyx", "yxhw")
    assert got.dtype == np.float64
    assert got.tolist() == [[5, 5, -3, -3]]
    # In 8 bits, 200 + 100 would be 44.
    got = convert(np.array([[200, 0, 100, 9]], np.uint8), "yxhw", "yxyx")
    assert got.dtype == np.float64
    assert got.tolist() == [[200, 0, 300, 9]]
    tensor = convert(tf.constant([[1, 2, 4, 4]]), "yxyx", "center_yxhw")
    assert tensor.dtype == tf.float32
    assert tensor.numpy().tolist() == [[2.5, 3.0, 3.0, 2.0]]


@pytest.mark.parametrize("shape", [(4,), (0, 4), (2, 3, 4)])
def test_any_leading_shape(shape):
    boxes = np.arange(np.prod(shape), dtype=float).reshape(shape)
    got = convert(boxes, "xywh", "yxyx")
    assert got.shape == shape
    for index in np.ndindex(shape[:-1]):
        np.testing.assert_array_equal(got[index], convert(boxes[index], "xywh", "yxyx"))


@pytest.mark.parametrize("name", FORMATS)
def test_same_format_gives_an_equal_copy(name):
    boxes = np.array([[1.0, 2.0, 3.0, 4.0]])
    got = convert(boxes, name, name)
    np.testing.assert_array_equal(got, boxes)
    got[:] = 0
    assert boxes.tolist() == [[1.0, 2.0, 3.0, 4.0]]


def test_a_nan_in_a_tensor_stays_on_its_axis():
    got = convert(tf.constant([[float("nan"), 1.0, 2.0, 3.0]]), "yxhw", "center_yxhw")
    np.testing.assert_array_equal(np.isnan(got.numpy()), [[True, False, False, False]])


def test_graphs_with_unknown_batch_and_functional_models():
    @tf.function(input_signature=[tf.TensorSpec([None, 4], tf.float32)])
    def graph(boxes):
        return convert(boxes, "rel_yxyx", "xywh", size=(10, 20))

    boxes = np.array([[0.0, 0.5, 0.5, 1.0]], dtype=np.float32)
    assert graph(boxes).numpy().tolist() == [[10, 0, 10, 5]]
    inputs = keras.Input((4,))
    model = keras.Model(inputs, convert(inputs, "rel_yxyx", "xywh", size=(10, 20)))
    assert np.asarray(model(boxes)).tolist() == [[10, 0, 10, 5]]
    variable = keras.Variable(boxes)
    assert np.asarray(convert(variable, "yxyx", "yxhw")).tolist() == [[0, 0.5, 0.5, 0.5]]


def message(error, function, *args, **kwargs):
    with pytest.raises(error) as caught:
        function(*args, **kwargs)
    return str(caught.value)


@pytest.mark.parametrize("source", FORMATS)
@pytest.mark.parametrize("target", FORMATS)
def test_size_is_needed_exactly_when_the_unit_changes(source, target):
    if is_relative(source) == is_relative(target):
        convert([[1, 2, 3, 4]], source, target)
    else:
        assert message(ValueError, convert, [[1, 2, 3, 4]], source, target).startswith("`size`")


def test_messages():
    boxes = [[1, 2, 3, 4]]
    assert message(ValueError, convert, boxes, "yxyx", "rel_yxhw") == (
        "`size` must be given to convert 'yxyx' (pixels) to 'rel_yxhw' (fractions of the image); "
        "got None. Pass size=(height, width) of the image in pixels."
    )
    assert message(ValueError, convert, boxes, "yxyx", "xyhw") == (
        f"`target` must be one of {list(FORMATS)}; got 'xyhw'. Did you mean 'yxhw'?"
    )
    assert message(TypeError, convert, boxes, None, "yxyx") == (
        f"`source` must be one of {list(FORMATS)}; got None."
    )
    assert message(ValueError, convert, [[1, 2, 3]], "yxyx", "yxhw") == (
        "`boxes` must have shape (..., 4), four numbers to a box; got shape (1, 3)."
    )
    assert message(ValueError, convert, tf.zeros([2, 3]), "yxyx", "yxhw") == (
        "`boxes` must have shape (..., 4), four numbers to a box; got shape (2, 3)."
    )
    assert message(ValueError, convert, [[1, 2, 3, np.nan]], "yxyx", "yxhw") == (
        "`boxes` must be finite; box (0,) is [1.0, 2.0, 3.0, nan]."
    )
    assert message(ValueError, convert, boxes, "yxyx", "yxhw", size=(0, 5)) == (
        "`size[0]` must be a whole number >= 1; got 0."
    )


def test_numpy_boxes_import_neither_tensorflow_nor_matplotlib():
    program = (
        "import sys, numpy as np, whitebox_loc.boxes as boxes\n"
        "boxes.convert([[1, 2, 3, 4]], 'yxyx', 'rel_xywh', size=(9, 9))\n"
        "boxes.ciou(np.ones((2, 4)), [[1, 2, 3, 4]], pairwise=True)\n"
        "print(sorted({'tensorflow', 'keras', 'matplotlib'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
