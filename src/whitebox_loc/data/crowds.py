"""Scenes of several boxes an image, and the draw of boxes that keep their distance."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np

from whitebox_loc._types import Array
from whitebox_loc._validation import check_int, shortened
from whitebox_loc.data.render import draw_images
from whitebox_loc.data.sampling import Streams, count_boxes, draw_labels, nth_boxes
from whitebox_loc.data.scenes import NOTEBOOK_MARGIN, Scene, as_scene

#: Images whose boxes are drawn together, from a random stream of their own. Part of the seed.
BLOCK = 64
#: Draws of one box before the image is begun anew. Part of the seed.
TRIES = 32
#: Beginnings of an image before the draw gives up.
STARTS = 10_000
#: A scene is refused unless each of so many crowded images succeeds within a hundredth of that.
TRIALS = 32


@dataclass(frozen=True)
class MultiScene:
    """A world of images with several bright shapes, each with a box of its own.

    The number of boxes of an image is uniform between the two limits. They are drawn one after
    another, each equally likely among the boxes of `scene` that keep the gap to those before it,
    and then shuffled. An image in which a next box finds no place in 32 draws is begun anew, with
    the same number. So boxes are the smaller the more there are.

    Parameters
    ----------
    scene : Scene or str
        Which boxes are legal and how images look: a scene, or a name in `SCENES`. Shape, texture
        and occlusion are those of each box, the rest is the image's. Boxes are never empty.
    boxes : tuple of int, or int
        Fewest and most boxes an image; a single number is both. The fewest may be 0.
    gap : int
        Least number of whole rows or whole columns that are free between any two boxes. With 0
        boxes may touch; they never overlap.

    Raises
    ------
    TypeError, ValueError
        If a field is out of range, or the scene has no room for the most boxes. Only scenes
        are refused that hold them provably never, or in no more than a few beginnings of 100.

    Examples
    --------
    >>> multi = MultiScene(Scene(size=(64, 64)), boxes=(1, 4), gap=2)
    >>> multi.most, multi.size
    (4, (64, 64))
    """

    scene: Scene = field(default_factory=Scene)
    boxes: tuple[int, int] = (1, 4)
    gap: int = 2

    def __post_init__(self) -> None:
        object.__setattr__(self, "scene", as_scene(self.scene))
        object.__setattr__(self, "boxes", _check_numbers(self.boxes))
        object.__setattr__(self, "gap", check_int("gap", self.gap, low=0))
        _check_room(self)

    @property
    def fewest(self) -> int:
        """Least number of boxes of an image."""
        return self.boxes[0]

    @property
    def most(self) -> int:
        """Greatest number of boxes of an image."""
        return self.boxes[1]

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the image in pixels."""
        return self.scene.size

    @property
    def channels(self) -> int:
        """Channels of the image."""
        return self.scene.channels

    @property
    def shapes(self) -> tuple[str, ...]:
        """Names of the shapes; class k is the k-th."""
        return self.scene.shapes


class Labelled:
    """What batches of one box and of several boxes an image have in common."""

    images: Array
    boxes: Array
    scene: Any

    def __len__(self) -> int:
        return len(self.images)

    @property
    def rel_boxes(self) -> Array:
        """Boxes as ``rel_yxyx``, fractions of the image size; float32, of the shape of `boxes`."""
        height, width = self.scene.size
        return (self.boxes / (height, width, height, width)).astype(np.float32)


@dataclass(frozen=True, eq=False)
class MultiBatch(Labelled):
    """Images with several boxes each; ``n`` is ``len(batch)`` and ``k`` the most boxes.

    Attributes
    ----------
    images : ndarray (n, height, width, channels)
        float32 in 0..1 or uint8 in 0..255.
    boxes : ndarray of int64, shape (n, k, 4)
        ``yxyx`` in pixels, half open; zeros after the last box of an image.
    labels : ndarray of int64, shape (n, k)
        Index in ``scene.shapes`` of each box's shape; -1 after the last.
    counts : ndarray of int64, shape (n,)
        Number of boxes of each image.
    scene : MultiScene
    """

    images: Array
    boxes: Array
    labels: Array
    counts: Array
    scene: MultiScene

    @property
    def valid(self) -> Array:
        """Which places of `boxes` hold a box, bool (n, k)."""
        return np.arange(self.boxes.shape[1]) < self.counts[:, None]


def draw_multi_batch(
    multi: MultiScene, n: int, streams: Streams, dtype: np.dtype, chunk: int
) -> MultiBatch:
    """Draw checked numbers of images; `whitebox_loc.data.generate` describes the arguments."""
    boxes, counts = draw_crowd(multi, n, streams)
    labels = draw_labels(len(multi.shapes), (n, multi.most), streams)
    labels[np.arange(multi.most) >= counts[:, None]] = -1
    images = draw_images(boxes, labels, multi.scene, streams, dtype, chunk)
    return MultiBatch(images, boxes, labels, counts, multi)


def draw_crowd(multi: MultiScene, n: int, streams: Streams) -> tuple[Array, Array]:
    """Draw the boxes (n, k, 4), zeros after the last, and their numbers (n,) of `n` images."""
    # Whole blocks of images, each from its own stream, so that neither how many images are drawn
    # nor how often another image is begun anew changes an image.
    blocks = -(-n // BLOCK)
    counts = streams.open("box count").integers(*multi.boxes, endpoint=True, size=blocks * BLOCK)
    boxes = np.zeros((blocks * BLOCK, multi.most, 4), np.int64)
    for block in range(blocks):
        part = slice(block * BLOCK, (block + 1) * BLOCK)
        rng = streams.open("boxes", block)
        arrangement, done = _arrange(multi, counts[part], rng, STARTS)
        if not done.all():
            raise ValueError(_no_room(multi, f"not found in {STARTS} beginnings of an image"))
        boxes[part] = _shuffled(arrangement, counts[part], rng)
    return boxes[:n], counts[:n]


def _arrange(
    multi: MultiScene, counts: Array, rng: np.random.Generator, starts: int
) -> tuple[Array, Array]:
    """Return boxes (n, k, 4) in the order drawn, and which images are complete."""
    boxes = np.zeros((len(counts), multi.most, 4), np.int64)
    done = counts == 0
    for _ in range(starts):
        todo = np.flatnonzero(~done)
        if not len(todo):
            break
        attempt, complete = _begin(multi, counts[todo], rng)
        boxes[todo[complete]] = attempt[complete]
        done[todo] = complete
    return boxes, done


def _begin(multi: MultiScene, counts: Array, rng: np.random.Generator) -> tuple[Array, Array]:
    """Begin each image once: the first of its draws that keeps the gap becomes the next box."""
    n, k = len(counts), multi.most
    draws = _candidates(multi.scene, (n, k, TRIES), rng)
    solid = np.all(draws[..., 2:] > draws[..., :2], axis=-1)
    boxes, complete = np.zeros((n, k, 4), np.int64), np.ones(n, bool)
    for j in range(k):
        needed = counts > j
        fits: Array = solid[:, j]
        if j:
            fits = fits & _are_apart(draws[:, j, :, None], boxes[:, None, :j], multi.gap)
        first = fits.argmax(axis=-1)
        complete &= fits.any(axis=-1) | ~needed
        boxes[needed, j] = draws[needed, j, first[needed]]
    return boxes, complete


def _candidates(scene: Scene, shape: tuple[int, ...], rng: np.random.Generator) -> Array:
    """Draw boxes of the scene, int64 (*shape, 4)."""
    if scene.position != "notebook":
        return nth_boxes(scene, rng.integers(count_boxes(scene), size=shape))
    sides = np.array(scene.size, dtype=np.int64)
    first = rng.integers(sides - NOTEBOOK_MARGIN, size=(*shape, 2))
    return np.concatenate([first, rng.integers(first, sides)], axis=-1)


def _are_apart(a: Array, b: Array, gap: int) -> Array:
    """Return whether so many whole rows or columns are free between a box and all others."""
    free = np.maximum(a[..., :2] - b[..., 2:], b[..., :2] - a[..., 2:]).max(axis=-1)
    return np.asarray((free >= gap).all(axis=-1))


def _shuffled(boxes: Array, counts: Array, rng: np.random.Generator) -> Array:
    """Put the boxes of each image in random order: the first ones drawn are the largest."""
    keys = rng.random(boxes.shape[:2])
    keys[np.arange(boxes.shape[1]) >= counts[:, None]] = 2  # places without a box stay behind
    return np.take_along_axis(boxes, keys.argsort(axis=1)[..., None], axis=1)


def _check_numbers(value: object) -> tuple[int, int]:
    pair = value if isinstance(value, (tuple, list)) else (value, value)
    if len(pair) != 2:
        raise TypeError(
            f"`boxes` must be (fewest, most) or one whole number; got {shortened(value)}."
        )
    fewest = check_int("boxes[0]", pair[0], low=0)
    return fewest, check_int("boxes[1]", pair[1], low=max(fewest, 1))


@lru_cache(maxsize=64)
def _check_room(multi: MultiScene) -> None:
    """Raise a ValueError unless images with the most boxes are found easily."""
    (height, width), gap = multi.size, multi.gap
    heights, widths, _ = multi.scene.limits()
    # Each box with a gap below it and to its right, in an image that is larger by a gap.
    least = multi.most * (heights[0] + gap) * (widths[0] + gap)
    if least > (height + gap) * (width + gap):
        raise ValueError(_no_room(multi, "more than fit at the least sides"))
    counts = np.full(TRIALS, multi.most)
    _, done = _arrange(multi, counts, np.random.default_rng(0), STARTS // 100)
    if not done.all():
        share = f"only {done.sum()} of {TRIALS} images in {STARTS // 100} beginnings each"
        raise ValueError(_no_room(multi, f"which were found for {share}"))


def _no_room(multi: MultiScene, why: str) -> str:
    height, width = multi.size
    return (
        f"`boxes` asks for {multi.most} boxes in an image of {height} x {width} pixels, {why}, "
        f"with a gap of {multi.gap}. Ask for fewer, lower `gap`, or give the scene smaller "
        "`heights` and `widths`."
    )
