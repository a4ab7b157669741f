"""Batches of labelled images, once as arrays or endlessly as a tf.data pipeline."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, overload

import numpy as np

from whitebox_loc._types import Array, Seed, Tensor
from whitebox_loc._validation import check_bool, check_choice, check_int, check_memory, shortened
from whitebox_loc.data.crowds import Labelled, MultiBatch, MultiScene, draw_multi_batch
from whitebox_loc.data.render import DTYPES, draw_images
from whitebox_loc.data.sampling import Streams, draw_boxes, draw_labels
from whitebox_loc.data.scenes import Scene, as_scene

if TYPE_CHECKING:
    import tensorflow as tf

#: Most batches to skip and most workers: the number of a batch must fit into 64 bits.
MOST = 2**31 - 1


@dataclass(frozen=True, eq=False)
class Batch(Labelled):
    """Images with the truth about them; ``n`` is ``len(batch)``.

    Attributes
    ----------
    images : ndarray (n, height, width, channels)
        float32 in 0..1 or uint8 in 0..255.
    boxes : ndarray of int64, shape (n, 4)
        ``yxyx`` in pixels, half open.
    labels : ndarray of int64, shape (n,)
        Index in ``scene.shapes`` of the shape drawn.
    valid : ndarray of bool, shape (n,)
        False where the box is empty and nothing was drawn.
    scene : Scene
    """

    images: Array
    boxes: Array
    labels: Array
    valid: Array
    scene: Scene


@overload
def generate(
    scene: Scene | str, n: int, *, seed: Seed = 0, dtype: str = "float32",
    valid_only: bool = False, chunk: int = 256,
) -> Batch: ...  # fmt: skip


@overload
def generate(
    scene: MultiScene, n: int, *, seed: Seed = 0, dtype: str = "float32",
    valid_only: bool = False, chunk: int = 256,
) -> MultiBatch: ...  # fmt: skip


def generate(
    scene: Scene | str | MultiScene,
    n: int,
    *,
    seed: Seed = 0,
    dtype: str = "float32",
    valid_only: bool = False,
    chunk: int = 256,
) -> Batch | MultiBatch:
    """Draw `n` images of a scene.

    The same seed gives the same bytes, whatever `chunk`; a larger `n` only adds
    images after the first ones.

    Parameters
    ----------
    scene : Scene, str or MultiScene
        A scene, a name in `SCENES`, or a scene of several boxes.
    n : int
        Number of images, 0 or more.
    seed : int, SeedSequence or Generator
        Source of randomness. A Generator is advanced.
    dtype : {"float32", "uint8"}
        float32 images lie in 0..1; uint8 images are the same times 255, rounded.
    valid_only : bool
        Draw empty boxes again (only the `notebook` scene has any, and no `MultiScene`).
    chunk : int
        Images drawn at a time. It changes the memory used, never the result.

    Raises
    ------
    ValueError, TypeError
        If the scene's name or the dtype is unknown, a number is negative, or a type is wrong.

    Examples
    --------
    >>> batch = generate("uniform", 8, seed=0)
    >>> batch.images.shape, batch.images.dtype, batch.boxes.shape
    ((8, 100, 100, 1), dtype('float32'), (8, 4))
    """
    scene = _as_any_scene(scene)
    n = check_int("n", n, low=0)
    check_images("n", n, scene)
    check_bool("valid_only", valid_only)
    kind = np.dtype(check_choice("dtype", dtype, DTYPES))
    chunk = check_int("chunk", chunk, low=1)
    streams = Streams(seed)
    if isinstance(scene, MultiScene):
        return draw_multi_batch(scene, n, streams, kind, chunk)
    boxes = draw_boxes(scene, n, streams, valid_only=valid_only)
    labels = draw_labels(len(scene.shapes), (n,), streams)
    images = draw_images(boxes[:, None], labels[:, None], scene, streams, kind, chunk)
    valid = np.all(boxes[:, 2:] > boxes[:, :2], axis=1)
    return Batch(images, boxes, labels, valid, scene)


@overload
def batch_at(
    scene: Scene | str, index: int, *, batch_size: int = 64, seed: int = 0,
    dtype: str = "float32", valid_only: bool = True,
) -> Batch: ...  # fmt: skip


@overload
def batch_at(
    scene: MultiScene, index: int, *, batch_size: int = 64, seed: int = 0,
    dtype: str = "float32", valid_only: bool = True,
) -> MultiBatch: ...  # fmt: skip


def batch_at(
    scene: Scene | str | MultiScene,
    index: int,
    *,
    batch_size: int = 64,
    seed: int = 0,
    dtype: str = "float32",
    valid_only: bool = True,
) -> Batch | MultiBatch:
    """Return one batch of the endless sequence that `dataset` yields.

    Parameters
    ----------
    scene, dtype
        As in `generate`.
    index : int
        Number of the batch in the sequence, from 0.
    batch_size : int
        Images in the batch.
    seed : int
        Of the whole sequence. It shares no random stream with ``generate(scene, n, seed=seed)``.
    valid_only : bool
        Draw empty boxes again. False keeps the `notebook` scene's 5%.

    Raises
    ------
    ValueError, TypeError
        As `generate`; also if `index` is negative or `batch_size` below 1.

    Examples
    --------
    >>> first, again = batch_at("thin", 7, batch_size=2), batch_at("thin", 7, batch_size=2)
    >>> bool((first.images == again.images).all())
    True
    """
    seed = check_int("seed", seed, low=0)
    index = check_int("index", index, low=0)
    batch_size = check_int("batch_size", batch_size, low=1)
    sequence = np.random.SeedSequence(seed, spawn_key=(index,))
    one: Any = _as_any_scene(scene)
    check_images("batch_size", batch_size, one)
    return generate(one, batch_size, seed=sequence, dtype=dtype, valid_only=valid_only)


def dataset(
    scene: Scene | str | MultiScene,
    batch_size: int = 64,
    seed: int = 0,
    *,
    start: int = 0,
    shard: tuple[int, int] = (0, 1),
    dtype: str = "float32",
    valid_only: bool = True,
    labels: bool = False,
) -> tf.data.Dataset:
    """Return an endless tf.data pipeline of a scene's images and boxes.

    Batch ``i`` is ``batch_at(scene, i, ...)``: it depends on the arguments and on ``i`` alone.

    Parameters
    ----------
    scene, batch_size, seed, dtype, valid_only
        As in `batch_at`.
    start : int
        Batches of this shard to skip, such as steps already done.
    shard : tuple of int
        ``(worker, workers)``: this pipeline yields batches ``worker``, ``worker + workers``, ...
    labels : bool
        Yield ``(images, (boxes, labels))`` in place of ``(images, boxes)``.

    Returns
    -------
    tf.data.Dataset
        Images ``(batch_size, height, width, channels)``; boxes ``rel_yxyx``, float32 ``(batch_size,
        4)``, fractions of the image; labels int64 ``(batch_size,)``. With a MultiScene boxes are
        ``(batch_size, k, 4)``, padded by zeros, and labels ``(batch_size, k)``, padded by -1.

    Raises
    ------
    ValueError, TypeError
        As `batch_at`; also if `shard` is not a worker among workers.

    Examples
    --------
    >>> images, boxes = next(iter(dataset("uniform", batch_size=4, seed=0)))
    >>> tuple(images.shape), tuple(boxes.shape)
    ((4, 100, 100, 1), (4, 4))
    """
    import tensorflow as tf

    one: Any = _as_any_scene(scene)
    kind = check_choice("dtype", dtype, DTYPES)
    worker, workers = check_shard(shard)
    first = worker + check_int("start", start, low=0, high=MOST) * workers
    at = partial(batch_at, one, batch_size=batch_size, seed=seed, dtype=kind, valid_only=valid_only)
    check_bool("labels", labels)
    example = at(first)  # a bad argument fails here, not inside the pipeline

    def draw(index: Array) -> tuple[Array, Array, Array]:
        batch = at(int(index))
        return batch.images, batch.rel_boxes, batch.labels

    def load(index: Tensor) -> tuple[Tensor, Any]:
        images, boxes, kinds = tf.numpy_function(draw, [index], [kind, tf.float32, tf.int64])
        for tensor, array in (
            (images, example.images),
            (boxes, example.boxes),
            (kinds, example.labels),
        ):
            tensor.set_shape(array.shape)
        return (images, (boxes, kinds)) if labels else (images, boxes)

    return tf.data.Dataset.counter(first, workers).map(load).prefetch(2)


def _as_any_scene(scene: Any) -> Scene | MultiScene:
    return scene if isinstance(scene, MultiScene) else as_scene(scene)


def check_images(name: str, n: int, scene: Scene | MultiScene) -> None:
    """Refuse so many images that no machine has the memory."""
    check_memory(name, n, 4.0 * n * math.prod(scene.size) * scene.channels, "images")


def check_shard(shard: object) -> tuple[int, int]:
    """Return the worker's number and the number of workers."""
    if not isinstance(shard, (tuple, list)) or len(shard) != 2:
        raise TypeError(
            f"`shard` must be (worker, workers), such as (0, 4); got {shortened(shard)}."
        )
    workers = check_int("shard[1]", shard[1], low=1, high=MOST)
    return check_int("shard[0]", shard[0], low=0, high=workers - 1), workers
