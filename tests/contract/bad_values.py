"""What arguments are replaced by: one list for all."""

import pathlib

import numpy as np


class Nothing:
    """A class that has nothing to do with anything."""


def _template(good):
    """An array to damage: the good value if it is one, else an image."""
    try:
        array = np.asarray(good)
    except Exception:
        array = np.zeros(0)
    if array.dtype.kind in "iuf" and array.ndim:
        return array.astype(array.dtype)
    return np.full((2, 12, 16, 1), 0.5, np.float32)


def _with(array, value):
    array = array.astype(np.float32)
    array.flat[:1] = value
    return array


def _swapped(good):
    array = _template(good)
    return array[..., [2, 3, 0, 1]] if array.shape[-1] == 4 else array[..., ::-1]


def _model(world, **options):
    import keras

    return keras.Sequential([keras.layers.Dense(4)], **options)


def _dataset(world, good):
    import tensorflow as tf

    return tf.data.Dataset.from_tensors(np.zeros((2, 12, 16, 1), np.float32))


def _tensor(world, good):
    import tensorflow as tf

    return tf.constant(_template(good).astype("float64") * np.nan)


def _layer(world, good):
    import keras

    return keras.layers.Dense(4)


def _object_array(world, good):
    array = np.empty(2, object)
    array[:] = [None, "x"]
    return array


VALUES = {
    "None": lambda w, g: None,
    "'x'": lambda w, g: "x",
    "''": lambda w, g: "",
    "b'x'": lambda w, g: b"x",
    "nan": lambda w, g: float("nan"),
    "inf": lambda w, g: float("inf"),
    "-inf": lambda w, g: float("-inf"),
    "-1": lambda w, g: -1,
    "0": lambda w, g: 0,
    "1": lambda w, g: 1,
    "1.5": lambda w, g: 1.5,
    "-0.5": lambda w, g: -0.5,
    "1j": lambda w, g: 1j,
    "True": lambda w, g: True,
    "10**9": lambda w, g: 10**9,
    "10**30": lambda w, g: 10**30,
    "np.float32(nan)": lambda w, g: np.float32("nan"),
    "[]": lambda w, g: [],
    "()": lambda w, g: (),
    "[[]]": lambda w, g: [[]],
    "{}": lambda w, g: {},
    "{'x': 1}": lambda w, g: {"x": 1},
    "set()": lambda w, g: set(),
    "[None]": lambda w, g: [None],
    "['x']": lambda w, g: ["x"],
    "[-1, 10**9]": lambda w, g: [-1, 10**9],
    "(0, 0)": lambda w, g: (0, 0),
    "(nan, nan)": lambda w, g: (float("nan"), float("nan")),
    "(10**9, 10**9)": lambda w, g: (10**9, 10**9),
    "ragged": lambda w, g: [[1.0, 2.0, 3.0, 4.0], [1.0]],
    "range(3)": lambda w, g: range(3),
    "object()": lambda w, g: object(),
    "lambda": lambda w, g: lambda *a, **k: None,
    "class": lambda w, g: Nothing,
    "module": lambda w, g: np,
    "generator": lambda w, g: (i for i in range(3)),
    "array empty": lambda w, g: np.zeros((0,), np.float32),
    "array none of them": lambda w, g: _template(g)[:0],
    "array without first axis": lambda w, g: _template(g)[0],
    "array with one axis more": lambda w, g: _template(g)[None],
    "array flat": lambda w, g: _template(g).ravel(),
    "array last axis short": lambda w, g: _template(g)[..., :-1],
    "array last axis double": lambda w, g: np.concatenate([_template(g)] * 2, -1),
    "array one more": lambda w, g: np.concatenate([_template(g), _template(g)[:1]]),
    "array first only": lambda w, g: _template(g)[:1],
    "array int": lambda w, g: np.ones_like(_template(g), np.int64),
    "array uint8": lambda w, g: np.full_like(_template(g), 200, np.uint8),
    "array bool": lambda w, g: _template(g) > 0,
    "array float16": lambda w, g: _template(g).astype(np.float16),
    "array float64": lambda w, g: _template(g).astype(np.float64),
    "array complex": lambda w, g: _template(g).astype(np.complex64),
    "array object": lambda w, g: _template(g).astype(object),
    "array of None": _object_array,
    "array str": lambda w, g: _template(g).astype(str),
    "array nan": lambda w, g: _with(_template(g), np.nan),
    "array inf": lambda w, g: _with(_template(g), np.inf),
    "array 1e38": lambda w, g: _with(_template(g), 1e38),
    "array negative": lambda w, g: -_template(g).astype(np.float32),
    "array 0..255": lambda w, g: 255 * _template(g).astype(np.float32),
    "array zero": lambda w, g: np.zeros_like(_template(g)),
    "array masked": lambda w, g: np.ma.masked_array(_template(g)),
    "tensor of nan": _tensor,
    "nested list": lambda w, g: _template(g).tolist(),
    "images wrong size": lambda w, g: np.full((3, 5, 7, 1), 0.5, np.float32),
    "images 3 channels": lambda w, g: np.full((3, 12, 16, 3), 0.5, np.float32),
    "images without channels": lambda w, g: np.full((3, 12, 16), 0.5, np.float32),
    "list of images": lambda w, g: [np.full((12, 16, 1), 0.5, np.float32)] * 3,
    "boxes swapped": lambda w, g: _swapped(g),
    "boxes outside": lambda w, g: np.array([[0, 0, 40, 50]] * 3, np.int64),
    "boxes empty": lambda w, g: np.array([[3, 3, 3, 3]] * 3, np.int64),
    "tf.data": _dataset,
    "folder": lambda w, g: w.path.parent,
    "missing path": lambda w, g: w.path / "missing" / "too.npz",
    "path below a file": lambda w, g: _file(w) / "below",
    "file of rubbish": lambda w, g: _file(w),
    "300 characters": lambda w, g: "n" * 300,
    "300 character path": lambda w, g: w.path.parent / ("n" * 300),
    "surrogate path": lambda w, g: w.path.parent / "\udcff",
    "null byte": lambda w, g: "a\0b",
    "np.str_": lambda w, g: np.str_("x"),
    "np.bool_": lambda w, g: np.bool_(True),
    "layer": _layer,
    "unbuilt model": lambda w, g: _model(w),
    "localizer": lambda w, g: w.model,
    "scene": lambda w, g: w.scene,
    "batch": lambda w, g: w.batch,
}
"""Name to function from a `World` and the good value to the bad one, made anew each time."""

ARRAYS_FOR_ALL = ("array flat", "array int", "array nan", "array str", "array of None")


def values_for(good):
    """Return the names of bad values: damaged arrays, but for a few, only in place of arrays."""
    # A tuple may be a record of arrays of several shapes.
    parts = (good,) if isinstance(good, np.ndarray) else good
    is_array = isinstance(good, (np.ndarray, list, tuple)) and all(
        isinstance(part, (np.ndarray, np.generic, int, float, list, tuple)) for part in parts
    )
    is_array = is_array and np.asarray(good).dtype.kind in "iufb"
    return [
        name
        for name in VALUES
        if is_array or not name.startswith("array ") or name in ARRAYS_FOR_ALL
    ]


def _file(world) -> pathlib.Path:
    path = world.path
    path.write_bytes(b"\x00rubbish\xff")
    return path
