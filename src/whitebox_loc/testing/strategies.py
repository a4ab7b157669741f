"""Strategies for boxes, scenes and images, which shrink towards the plainest."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from whitebox_loc import data
from whitebox_loc._types import Array, Size
from whitebox_loc._validation import check_bool, check_choice, check_int, check_size, shortened
from whitebox_loc.boxes import FORMATS, convert
from whitebox_loc.data import SCENES, SHAPES, Scene, as_scene

SIZE = (12, 16)
"""Height and width in pixels if none are given: small, and not equal."""

LEVELS = 8
"""Pixels of images of no scene are multiples of one part in so many, which add up exactly."""

MOST = 1000
"""Boxes or images that a test is given at most: Hypothesis gives up on larger examples."""


def boxes(
    format: str = "yxyx",
    *,
    size: Size = SIZE,
    n: int | tuple[int, int] = (1, 4),
    parts: int = 1,
    empty: bool = False,
) -> st.SearchStrategy[Array]:
    """Draw boxes inside an image, all of them ordered.

    Parameters
    ----------
    format : str, default "yxyx"
        A name from `whitebox_loc.boxes.FORMATS`.
    size : (height, width), default (12, 16)
        Of the image, in pixels.
    n : int or (int, int), default (1, 4)
        Number of boxes, or the least and the greatest number.
    parts : int, default 1
        Edges lie on whole pixels; with 8 on eighths of pixels.
    empty : bool, default False
        Also draw boxes of no height or no width.

    Returns
    -------
    strategy of arrays (n, 4)
        int64 for whole ``yxyx`` pixels, otherwise float64. Shrinks to few boxes, and each to the
        smallest in the first corner.

    Examples
    --------
    >>> from hypothesis import find, given
    >>> import whitebox_loc as wb
    >>> @given(boxes("xywh", n=1))
    ... def test_a_box_is_all_of_itself(box):
    ...     assert wb.boxes.iou(box, box, "xywh") == 1
    >>> test_a_box_is_all_of_itself()
    >>> find(boxes(), lambda box: True)
    array([[0, 0, 1, 1]])
    """
    check_choice("format", format, FORMATS)
    lengths = check_size("size", size)
    least, most = _limits("n", n)
    check_int("parts", parts, low=1, high=1024)
    check_bool("empty", empty)

    def write(corners: list[Any]) -> Array:
        rows_first = [(top, left, bottom, right) for (top, bottom), (left, right) in corners]
        array = np.array(rows_first, np.int64).reshape(-1, 4)
        if parts == 1 and format == "yxyx":
            return array
        return convert(array / parts, "yxyx", format, size=lengths)

    edges = (_edges(length * parts, 0 if empty else 1) for length in lengths)
    return st.lists(st.tuples(*edges), min_size=least, max_size=most).map(write)


def scenes(*, plain: bool = False, **fields: Any) -> st.SearchStrategy[Scene]:
    """Draw scenes of one box an image.

    Parameters
    ----------
    plain : bool, default False
        Leave each field that is not given as `whitebox_loc.data.Scene` has it, except the size.
    **fields
        Fields of `whitebox_loc.data.Scene`, each a value or a strategy of values. What could
        contradict them does not vary. The default size is (12, 16).

    Returns
    -------
    strategy of Scene
        Shrinks to a white rectangle on black, in any place.

    Raises
    ------
    TypeError, ValueError
        If a field does not exist, or values contradict one another.

    Examples
    --------
    >>> from hypothesis import find, given
    >>> import whitebox_loc as wb
    >>> @given(scenes(channels=3))
    ... def test_images_have_the_channels_of_their_scene(scene):
    ...     assert wb.data.generate(scene, 2).images.shape == (2, 12, 16, 3)
    >>> test_images_have_the_channels_of_their_scene()
    >>> find(scenes(), lambda scene: True) == wb.data.Scene(size=(12, 16))
    True
    """
    check_bool("plain", plain)
    fields = {"size": SIZE, **fields}
    # What cannot be is refused here and not in the middle of a test; strategies only by name.
    usual = SCENES["uniform"]
    if any(map(_is_strategy, fields.values())):
        as_scene(usual, **{name: getattr(usual, name, None) for name in fields})
    else:
        as_scene(usual, **fields)
    return _scenes(plain, fields)


def images(
    scene: Any = None,
    *,
    n: int | tuple[int, int] = (1, 3),
    size: Size | None = None,
    channels: int | None = None,
) -> st.SearchStrategy[Array]:
    """Draw images: those of a scene, or any at all.

    Parameters
    ----------
    scene : Scene, str or strategy of scenes, optional
        What the images show. Without it they are dark, with some pixels of multiples of 1/8.
    n : int or (int, int), default (1, 3)
        Number of images, or the least and the greatest number.
    size, channels : (height, width), default (12, 16), and int, default 1
        A scene has its own.

    Returns
    -------
    strategy of float32 arrays (n, height, width, channels)
        In [0, 1]. Shrinks to one image: of the smallest box in the first corner, or a black one.

    Examples
    --------
    >>> from hypothesis import given
    >>> import whitebox_loc as wb
    >>> model = wb.models.compiled("integrator", size=(12, 16))
    >>> @given(images())
    ... def test_every_image_has_a_box_inside_it(images):
    ...     corners = model(images).numpy()
    ...     assert ((corners >= 0) & (corners <= 1)).all()
    >>> test_every_image_has_a_box_inside_it()
    """
    least, most = _limits("n", n)
    if scene is None:
        height, width = check_size("size", SIZE if size is None else size)
        depth = check_int("channels", 1 if channels is None else channels, low=1)
        pixels = st.integers(0, LEVELS).map(lambda level: level / LEVELS)
        shapes = st.integers(least, most).map(lambda count: (count, height, width, depth))
        return arrays(np.float32, shapes, elements=pixels, fill=st.just(0.0))
    for name, value in (("size", size), ("channels", channels)):
        if value is not None:
            raise ValueError(
                f"`{name}` must be None beside a `scene`, which has its own; got "
                f"{shortened(value)}. Use as_scene(scene, {name}={shortened(value)})."
            )
    return _scene_images(scene if _is_strategy(scene) else st.just(as_scene(scene)), least, most)


_VARIED = {
    "channels": st.sampled_from([1, 3]),
    "shapes": st.sampled_from([("rectangle",), tuple(SHAPES), *((name,) for name in SHAPES)]),
    "position": st.sampled_from(["anywhere", "border"]),
    "foreground": st.sampled_from([1.0, 0.7, (0.6, 1.0)]),
    "background": st.sampled_from([0.0, 0.25, (0.0, 0.3)]),
    "texture": st.sampled_from([0.0, 0.3]),
    "background_gradient": st.sampled_from([0.0, 0.3]),
    "background_texture": st.sampled_from([0.0, 0.3]),
    "noise": st.sampled_from([0.0, 0.05, (0.0, 0.1)]),
    "blur": st.sampled_from([0.0, 0.7]),
    "distractors": st.sampled_from([0, 2]),
    "inverted": st.sampled_from([0.0, 1.0, 0.5]),
    "occlusion": st.sampled_from([0.0, 0.3]),
}  # fmt: skip
"""Fields that differ from scene to scene, the plain value first."""

_SIDES = ("heights", "widths")

_TOGETHER = (
    ("foreground", "background"),
    ("texture", "background_gradient", "background_texture"),
    ("position", "region", "aspect", "short_side", "split", *_SIDES),
)
"""Fields that can contradict one another: if one is given, the others do not vary."""


@st.composite
def _scenes(draw: st.DrawFn, plain: bool, fields: dict[str, Any]) -> Scene:
    values = {k: draw(v) if _is_strategy(v) else v for k, v in fields.items()}
    if plain:
        return Scene(**values)
    constant = {name for group in _TOGETHER if set(group) & set(fields) for name in group}
    for name, strategy in _VARIED.items():
        if name not in constant and name not in fields:
            values[name] = draw(strategy)
    if not constant & set(_SIDES):
        for name, length in zip(_SIDES, values["size"], strict=True):
            least = draw(st.integers(1, length))
            values[name] = (least, draw(st.none() | st.integers(least, length)))
    return Scene(**values)


@st.composite
def _scene_images(
    draw: st.DrawFn, strategy: st.SearchStrategy[Scene], least: int, most: int
) -> Array:
    scene, count = as_scene(draw(strategy)), draw(st.integers(least, most))
    seed = draw(st.integers(0, 2**32 - 1))
    if scene.position == "notebook":
        return data.generate(scene, count, seed=seed).images
    numbers, labels = (
        np.array(draw(st.lists(st.integers(0, most), min_size=count, max_size=count)), np.int64)
        for most in (data.count_boxes(scene) - 1, len(scene.shapes) - 1)
    )
    return data.render(data.nth_boxes(scene, numbers), scene, labels=labels, seed=seed)


def _edges(length: int, least: int) -> st.SearchStrategy[tuple[int, int]]:
    """Draw two whole numbers in 0..length, the second larger by `least` or more."""
    numbers = st.integers(0, length - least)
    return st.tuples(numbers, numbers).map(lambda two: (min(two), max(two) + least))


def _limits(name: str, value: Any) -> tuple[int, int]:
    if isinstance(value, (tuple, list)) and len(value) == 2:
        least = check_int(f"{name}[0]", value[0], low=0, high=MOST)
        return least, check_int(f"{name}[1]", value[1], low=least, high=MOST)
    least = check_int(name, value, low=0, high=MOST)
    return least, least


def _is_strategy(value: object) -> bool:
    return isinstance(value, st.SearchStrategy)
