"""Exact sampling of boxes: every legal box of a scene has a number."""

from __future__ import annotations

import numpy as np

from whitebox_loc._types import Array, ArrayLike, Seed
from whitebox_loc._validation import as_array, check_generator
from whitebox_loc.data.enumeration import count_legal, legal_boxes
from whitebox_loc.data.scenes import NOTEBOOK_MARGIN, Scene, as_scene, count_drawable, geometry
from whitebox_loc.data.splits import part_numbers


def count_boxes(scene: Scene | str) -> int:
    """Return how many boxes a scene can draw, the equally likely ones it samples from.

    Raises
    ------
    ValueError
        If the position rule is ``"notebook"``, whose boxes are not equally likely.

    Examples
    --------
    >>> from whitebox_loc.data import Scene
    >>> count_boxes(Scene(size=(2, 2)))
    9
    """
    return count_drawable(_check_countable(scene))


def nth_boxes(scene: Scene | str, numbers: ArrayLike) -> Array:
    """Return the legal boxes with the given numbers, different ones for different numbers.

    Parameters
    ----------
    scene : Scene or str
        A scene, or the name of one; its position rule must not be ``"notebook"``.
    numbers : array_like of int, shape (n,)
        Numbers in ``0 .. count_boxes(scene) - 1``.

    Returns
    -------
    ndarray of int64, shape (n, 4)
        Boxes as ``yxyx`` in pixels, half open.

    Raises
    ------
    ValueError, TypeError
        If a number is out of range, or the position rule is ``"notebook"``.

    Examples
    --------
    >>> from whitebox_loc.data import Scene
    >>> nth_boxes(Scene(size=(1, 2)), range(3))
    array([[0, 0, 1, 1],
           [0, 1, 1, 2],
           [0, 0, 1, 2]])
    """
    scene = _check_countable(scene)
    numbers = as_array("numbers", numbers)
    if numbers.size and numbers.dtype.kind not in "iu":
        raise TypeError(f"`numbers` must hold whole numbers; got dtype {numbers.dtype}.")
    numbers = numbers.astype(np.int64)
    total = count_boxes(scene)
    if numbers.size and (numbers.min() < 0 or numbers.max() >= total):
        raise ValueError(
            f"`numbers` must lie in 0 .. {total - 1}, the boxes of this scene; "
            f"got {numbers.min()} .. {numbers.max()}."
        )
    whole = geometry(scene)
    return legal_boxes(whole, part_numbers(numbers, count_legal(whole), scene.split))


def draw_boxes(scene: Scene, n: int, streams: Streams, *, valid_only: bool = False) -> Array:
    """Draw the first `n` boxes of an endless sequence, perhaps without empty ones, int64 (n, 4)."""
    if scene.position == "notebook":
        return _draw_notebook(scene.size, n, streams, valid_only)
    return nth_boxes(scene, streams.open("boxes").integers(count_boxes(scene), size=n))


def draw_labels(shapes: int, shape: tuple[int, ...], streams: Streams) -> Array:
    """Draw the numbers of shapes, int64; zeros if there is one shape only."""
    if shapes == 1:
        return np.zeros(shape, np.int64)
    return streams.open("labels").integers(shapes, size=shape)


class Streams:
    """Random streams from one seed, one a quantity, which makes each independent of the others."""

    NAMES = (
        "boxes", "ends", "labels", "foreground", "background", "texture", "noise", "distractors",
        # A new name goes to the end: its place is part of the seed.
        "texture depth", "noise depth", "blur width", "distractor count", "inverted", "gradient",
        "gradient depth", "background texture", "background texture depth", "occlusion",
        "occlusion share", "box count",
    )  # fmt: skip

    def __init__(self, seed: Seed) -> None:
        self._root = seed_root(seed)

    def open(self, name: str, *parts: int) -> np.random.Generator:
        """Return the stream `name`, or the part of it with these numbers, from its start."""
        return np.random.default_rng(branch(self._root, self.NAMES.index(name), *parts))


def seed_root(seed: Seed) -> np.random.SeedSequence:
    """Return the sequence of a seed, from which further streams are drawn by spawn keys."""
    if isinstance(seed, np.random.SeedSequence):
        return seed
    if isinstance(seed, np.random.Generator):
        return np.random.SeedSequence(seed.integers(2**32, size=4).tolist())
    check_generator(seed)
    return np.random.SeedSequence(int(seed))


def branch(root: np.random.SeedSequence, *key: int) -> np.random.SeedSequence:
    """Return the sequence below `root` with these numbers, the same at every call."""
    # Not `spawn`, which remembers how often it was called.
    return np.random.SeedSequence(root.entropy, spawn_key=(*root.spawn_key, *key))


def _draw_notebook(size: tuple[int, int], n: int, streams: Streams, valid_only: bool) -> Array:
    sides = np.array(size, dtype=np.int64)
    starts, ends = streams.open("boxes"), streams.open("ends")
    boxes = np.empty((0, 4), np.int64)
    while len(boxes) < n:
        first = starts.integers(sides - NOTEBOOK_MARGIN, size=(n - len(boxes), 2))
        last = ends.integers(first, sides)
        solid = (last > first).all(axis=1) | (not valid_only)
        boxes = np.concatenate([boxes, np.concatenate([first, last], axis=1)[solid]])
    return boxes


def _check_countable(scene: Scene | str) -> Scene:
    scene = as_scene(scene)
    if scene.position == "notebook":
        raise ValueError(
            "`scene` must not have position='notebook', whose boxes are not equally likely and "
            "have no numbers. Use position='anywhere' or 'border'."
        )
    return scene
