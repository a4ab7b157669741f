"""Hard rendering in NumPy: a pixel is inside the shape or it is not."""

from __future__ import annotations

import numpy as np

from whitebox_loc._types import Array, ArrayLike, Seed
from whitebox_loc._validation import as_array, check_boxes, check_choice, check_int
from whitebox_loc.data.appearance import Artist, draw_levels, is_plain
from whitebox_loc.data.sampling import Streams
from whitebox_loc.data.scenes import Scene, as_scene

DTYPES = ("float32", "uint8")


def render(
    boxes: ArrayLike,
    scene: Scene | str = "uniform",
    *,
    labels: ArrayLike = None,
    seed: Seed = 0,
    dtype: str = "float32",
    chunk: int = 256,
) -> Array:
    """Draw the given boxes as images of a scene.

    Parameters
    ----------
    boxes : array_like, shape (n, 4)
        Boxes as ``yxyx`` in whole pixels, half open, inside the image. An empty box draws nothing.
    scene : Scene or str
        A scene, or a name in `SCENES`. Its limits on sides and position do not
        bind `boxes`; its appearance is used.
    labels : array_like of int, shape (n,), optional
        Index in ``scene.shapes`` of each image's shape; the first by default.
    seed, dtype, chunk
        As in `generate`; only the appearance (levels in a range, texture, noise, ...) is random.

    Returns
    -------
    ndarray, shape (n, height, width, channels)

    Raises
    ------
    ValueError, TypeError
        If a box is swapped, fractional or outside the image, a label, the scene's name or the dtype
        is unknown, or a type is wrong.

    Examples
    --------
    >>> render([[0, 1, 2, 3]], Scene(size=(3, 4)), dtype="uint8")[0, :, :, 0]
    array([[  0, 255, 255,   0],
           [  0, 255, 255,   0],
           [  0,   0,   0,   0]], dtype=uint8)
    """
    scene = as_scene(scene)
    pixels = _check_pixel_boxes(boxes, scene.size)
    kinds = check_labels(labels, len(pixels), scene.shapes)
    kind = np.dtype(check_choice("dtype", dtype, DTYPES))
    chunk = check_int("chunk", chunk, low=1)
    return draw_images(pixels[:, None], kinds[:, None], scene, Streams(seed), kind, chunk)


def draw_images(
    boxes: Array, labels: Array, scene: Scene, streams: Streams, dtype: np.dtype, chunk: int
) -> Array:
    """Draw checked boxes (n, most, 4), labels (n, most); `render` describes the arguments."""
    n, most = labels.shape
    front, back = draw_levels(scene, n, streams)
    if scene.shapes == ("rectangle",) and is_plain(scene):
        fill = _repeat_rows if most == 1 else _fill_slices
        return fill(boxes, _quantize(front, dtype), _quantize(back, dtype), scene)
    images = np.empty((n, *scene.size, scene.channels), dtype)
    artist = Artist(scene, streams, n, most)
    for start in range(0, n, chunk):
        part = slice(start, min(start + chunk, n))
        pixels = artist.draw(part, boxes[part], labels[part], front[part], back[part])
        images[part] = _quantize(pixels, dtype)
    return images


def _repeat_rows(boxes: Array, front: Array, back: Array, scene: Scene) -> Array:
    """Draw one plain rectangle an image, of the given levels."""
    # An image is three rows, each repeated: background above, the rectangle's row, background
    # below. With a whole row as one item, `np.repeat` writes all images in a single pass: less
    # than half the time of filling a slice an image.
    (height, width), channels = scene.size, scene.channels
    top, left, bottom, right = boxes[:, 0].T
    columns = np.repeat(np.arange(width), channels)
    inside = (columns >= left[:, None]) & (columns < right[:, None])
    rows = np.empty((len(boxes), 3, width * channels), front.dtype)
    rows[:] = back[:, None, None]
    rows[:, 1] = np.where(inside, front[:, None], back[:, None])
    counts = np.stack([top, bottom - top, height - bottom], axis=1)
    items = rows.view(f"V{width * channels * rows.itemsize}")
    images = np.repeat(items.ravel(), counts.ravel()).view(rows.dtype)
    return images.reshape(len(boxes), height, width, channels)


def _fill_slices(boxes: Array, front: Array, back: Array, scene: Scene) -> Array:
    """Draw any number of plain rectangles an image, of the given levels."""
    images = np.empty((len(boxes), *scene.size, scene.channels), front.dtype)
    images[:] = back[:, None, None, None]
    for image, corners, level in zip(images, boxes.tolist(), front, strict=True):
        for top, left, bottom, right in corners:
            image[top:bottom, left:right] = level
    return images


def _quantize(values: Array, dtype: np.dtype) -> Array:
    return np.rint(values * np.float32(255)).astype(dtype) if dtype == np.uint8 else values


def _check_pixel_boxes(boxes: ArrayLike, size: tuple[int, int]) -> Array:
    array = check_boxes("boxes", boxes)
    if array.ndim != 2:
        raise ValueError(f"`boxes` must have shape (n, 4); got shape {array.shape}.")
    height, width = size
    top, left, bottom, right = array.T
    whole = (array == np.floor(array)).all(axis=1)
    inside = (top >= 0) & (left >= 0) & (bottom <= height) & (right <= width)
    for good, rule in (
        (whole, "lie on whole pixels; `render_soft` draws fractional boxes"),
        ((top <= bottom) & (left <= right), "be ordered as (top, left, bottom, right)"),
        (inside, f"lie inside the image of {height} x {width} pixels"),
    ):
        if not good.all():
            bad = int(np.argmin(good))
            raise ValueError(f"`boxes` must {rule}; box {bad} is {array[bad].tolist()}.")
    return array.astype(np.int64)


def check_labels(labels: ArrayLike, n: int, shapes: tuple[str, ...]) -> Array:
    """Return labels (n,) as int64, zeros by default, if each is the number of a shape."""
    if labels is None:
        return np.zeros(n, np.int64)
    array = as_array("labels", labels)
    if array.size and array.dtype.kind not in "iu":
        raise TypeError(f"`labels` must hold whole numbers; got dtype {array.dtype}.")
    if array.shape != (n,):
        raise ValueError(f"`labels` must have shape ({n},), one a box; got shape {array.shape}.")
    if array.size and (array.min() < 0 or array.max() >= len(shapes)):
        raise ValueError(
            f"`labels` must lie in 0 .. {len(shapes) - 1}, the scene's shapes {shapes}; "
            f"got {array.min()} .. {array.max()}."
        )
    return array.astype(np.int64)
