"""What is drawn: the frozen description of a scene, and the named scenes."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from whitebox_loc._validation import (
    check_choice,
    check_int,
    check_memory,
    check_real,
    check_size,
    shortened,
)
from whitebox_loc.data.enumeration import Geometry, count_legal
from whitebox_loc.data.shapes import SHAPES
from whitebox_loc.data.splits import PARTS, REGIONS, Split, count_part

#: Position rules; `sampling.draw_boxes` says how each is drawn.
POSITIONS = ("anywhere", "border", "notebook")

#: The original notebook keeps the first corner this many pixels from the far border.
NOTEBOOK_MARGIN = 10

Range = tuple[int, int | None]
Level = float | tuple[float, float]

#: Least contrast of the shape to the background behind it, as a share of that of the two levels;
#: distractors, blur and noise aside.
CONTRAST_LEFT = 0.1


@dataclass(frozen=True)
class Scene:
    """A world of images with one bright shape, whose bounding box is the truth.

    Where a number may be a range ``(low, high)``, each image draws its own.

    Parameters
    ----------
    size : tuple of int
        Height and width of the image in pixels.
    channels : int
        Channels of the image; all carry the same shape (noise differs).
    shapes : str or tuple of str
        Names in `SHAPES`, drawn equally often. An image's label is the index of its shape here.
    heights, widths : tuple of (int, int or None)
        Least and greatest side of the box in pixels, both included; None is the side of the image.
    short_side : tuple of (int, int or None)
        The same for the shorter of the two sides: ``(1, 2)`` gives thin boxes.
    aspect : tuple of float, optional
        Least and greatest width / height of the box.
    position : {"anywhere", "border", "notebook"}
        ``"anywhere"``: every box within the limits is equally likely; ``"border"``: every such box
        that touches a border of the image. ``"notebook"`` is the distribution of the original
        notebook, without limits on sides: the first row is uniform in ``0 .. H - 11``, the last row
        (not included) uniform from the first row to ``H - 1``, columns likewise. About 5% of its
        boxes are empty and nothing is drawn; a batch marks them ``valid=False``.
    region : str
        Where the box's centre lies, a name in `REGIONS`: ``"anywhere"``, a quadrant of the canvas
        such as ``"top_left"``, or the other three, ``"not_top_left"``. A centre on the middle line
        belongs to the bottom or the right.
    split : tuple of (str, float, int), optional
        ``("train", 0.8, seed)`` keeps 80% of the boxes, ``("test", 0.8, seed)`` the other 20%. The
        set of all boxes is shuffled by `seed` and cut once: parts are disjoint and complete.
    foreground, background : float or tuple of float
        Brightness in 0..1. They must not overlap.
    texture : float or tuple of float
        Depth in 0..0.9 of a random striped pattern on the shape: its contrast to the background
        varies between ``1 - texture`` and 1.
    noise : float or tuple of float
        Standard deviation of Gaussian noise, in brightness, drawn for each pixel and channel. The
        result is clipped to 0..1.
    blur : float or tuple of float
        Standard deviation in pixels of a Gaussian blur before the noise. The box stays as it was.
    distractors : int or tuple of int
        Number of small rectangles at half the shape's contrast, behind the box: before any blur no
        pixel inside it changes. Sides are 1 to an eighth of the image's shorter side.
    inverted : float
        Share in 0..1 of images whose brightness ``v`` is turned into ``1 - v`` before the noise.
    background_gradient, background_texture : float or tuple of float
        Depth of a linear ramp in a random direction across the background, and of stripes on it:
        from the background's brightness to this share of the way to the shape's. With `texture`
        they add up to at most 0.9, so that the shape keeps a tenth of its contrast.
    occlusion : float or tuple of float
        Share in 0..0.9 of the box's area that a rectangle of background hides, in a random place
        within the box, in proportion to its sides, rounded to pixels. The box stays that of the
        whole shape, and no row or column of it is hidden whole.

    Raises
    ------
    TypeError, ValueError
        If a field is out of range, or no box satisfies the limits.

    Examples
    --------
    >>> Scene(size=(32, 48), shapes=("ellipse", "ring"), noise=0.1).limits()
    ((1, 32), (1, 48), (1, 32))
    >>> Scene(shapes="circle")
    Traceback (most recent call last):
        ...
    ValueError: `shapes[0]` must be one of ['rectangle', 'ellipse', ...]; got 'circle'.
    """

    size: tuple[int, int] = (100, 100)
    channels: int = 1
    shapes: tuple[str, ...] = ("rectangle",)
    heights: Range = (1, None)
    widths: Range = (1, None)
    short_side: Range = (1, None)
    aspect: tuple[float, float] | None = None
    position: str = "anywhere"
    foreground: Level = 1.0
    background: Level = 0.0
    texture: Level = 0.0
    noise: Level = 0.0
    blur: Level = 0.0
    distractors: int | tuple[int, int] = 0
    region: str = "anywhere"
    split: Split | None = None
    inverted: float = 0.0
    background_gradient: Level = 0.0
    background_texture: Level = 0.0
    occlusion: Level = 0.0

    def __post_init__(self) -> None:
        checked: dict[str, Any] = {
            "size": check_size("size", self.size),
            "channels": check_int("channels", self.channels, low=1),
            "shapes": _check_shapes(self.shapes),
            "heights": _check_range("heights", self.heights),
            "widths": _check_range("widths", self.widths),
            "short_side": _check_range("short_side", self.short_side),
            "aspect": _check_aspect(self.aspect),
            "position": check_choice("position", self.position, POSITIONS),
            "foreground": _check_level("foreground", self.foreground),
            "background": _check_level("background", self.background),
            "distractors": _check_number("distractors", self.distractors),
            "region": check_choice("region", self.region, REGIONS),
            "split": _check_split(self.split),
            "inverted": check_real("inverted", self.inverted, low=0, high=1),
        }
        for name in ("texture", "background_gradient", "background_texture", "occlusion"):
            checked[name] = _check_level(name, getattr(self, name), 1 - CONTRAST_LEFT)
        for name in ("noise", "blur"):
            checked[name] = _check_level(name, getattr(self, name), None)
        for name, value in checked.items():
            object.__setattr__(self, name, value)
        _check_memory(self)
        _check_contrast(self)
        _check_position(self)

    def limits(self) -> tuple[tuple[int, int], tuple[int, int], tuple[int, int]]:
        """Return the pixel limits of height, width and shorter side, None filled in."""
        height, width = self.size
        sides = ((self.heights, height), (self.widths, width), (self.short_side, min(self.size)))
        rows, columns, short = (
            (low, side if high is None else min(high, side)) for (low, high), side in sides
        )
        return rows, columns, short


def as_scene(scene: Scene | str, **changes: Any) -> Scene:
    """Return a scene, or that of a name in `SCENES`, with fields replaced.

    Raises
    ------
    ValueError, TypeError
        If no scene has that name, or a new field does not exist or is out of range.

    Examples
    --------
    >>> as_scene("thin", size=(32, 32)).short_side
    (1, 2)
    """
    if isinstance(getattr(scene, "scene", None), Scene):
        raise TypeError(
            "`scene` must draw one box an image here; got a MultiScene, which draws several. Pass "
            "its `.scene`, or use what works on several boxes, such as training.fit_detector and "
            "training.evaluate_detector."
        )
    if not isinstance(scene, Scene):
        scene = SCENES[check_choice("scene", scene, SCENES)]
    fields = [field.name for field in dataclasses.fields(Scene)]
    unknown = sorted(set(changes) - set(fields))
    if unknown:
        raise TypeError(f"A scene has no field {unknown[0]!r}; its fields are {fields}.")
    return dataclasses.replace(scene, **changes) if changes else scene


def geometry(scene: Scene) -> Geometry:
    """Return what decides which boxes of a scene are legal, before its split."""
    border = scene.position == "border"
    return Geometry(scene.size, scene.limits(), scene.aspect, border, scene.region)


def count_drawable(scene: Scene) -> int:
    """Return how many boxes a scene that is not the notebook's can draw."""
    return count_part(count_legal(geometry(scene)), scene.split)


def _check_shapes(value: object) -> tuple[str, ...]:
    names = (value,) if isinstance(value, str) else value
    if not isinstance(names, (tuple, list)) or not names:
        raise TypeError(
            f"`shapes` must be a name or a tuple of names from {list(SHAPES)}; "
            f"got {shortened(value)}."
        )
    names = tuple(check_choice(f"shapes[{i}]", name, SHAPES) for i, name in enumerate(names))
    if len(set(names)) < len(names):
        raise ValueError(f"`shapes` must name each shape once; got {names}.")
    return names


def _check_range(name: str, value: object) -> Range:
    meaning = "(least, greatest) in pixels, greatest None for no limit"
    return _rising(name, value, meaning, check_int, low=1, is_open=True)


def _check_aspect(value: object) -> tuple[float, float] | None:
    if value is None:
        return None
    return _rising("aspect", value, "(least, greatest) width / height, or None", check_real)


def _check_level(name: str, value: object, high: float | None = 1) -> Level:
    check = partial(check_real, high=high)
    if not isinstance(value, (tuple, list)):
        return check(name, value, low=0)
    return _rising(name, value, "a number or a range (low, high)", check)


def _check_number(name: str, value: object) -> int | tuple[int, int]:
    if not isinstance(value, (tuple, list)):
        return check_int(name, value, low=0)
    return _rising(name, value, "a whole number or a range (low, high)", check_int)


def _rising(
    name: str, value: object, meaning: str, check: Callable[..., Any], low: int = 0,
    is_open: bool = False,
) -> tuple[Any, Any]:  # fmt: skip
    """Return two checked numbers, the second at least the first, or None where it `is_open`."""
    if not isinstance(value, (tuple, list)) or len(value) != 2:
        raise TypeError(f"`{name}` must be {meaning}; got {shortened(value)}.")
    first, last = check(f"{name}[0]", value[0], low=low), value[1]
    return first, None if is_open and last is None else check(f"{name}[1]", last, low=first)


def _check_split(value: object) -> Split | None:
    if value is None:
        return None
    if not isinstance(value, (tuple, list)) or len(value) != 3:
        raise TypeError(
            "`split` must be (part, share, seed), such as ('train', 0.8, 0), or None; "
            f"got {shortened(value)}."
        )
    part, share, seed = value
    return (
        check_choice("split[0]", part, PARTS),
        check_real("split[1]", share, low=0, high=1),
        check_int("split[2]", seed, low=0),
    )


def _check_memory(scene: Scene) -> None:
    """Refuse sizes of which one image, or the table of all heights and widths, has no room."""
    (height, width), (rows, columns, _) = scene.size, scene.limits()
    check_memory("size", scene.size, 4.0 * height * width, "an image")
    check_memory("channels", scene.channels, 4.0 * height * width * scene.channels, "an image")
    sides = (1.0 + max(high - low, 0) for low, high in (rows, columns))
    check_memory("size", scene.size, 24.0 * math.prod(sides), "heights and widths")


def level_range(level: Level) -> tuple[float, float]:
    """Return a number or a range of them as ``(low, high)``."""
    return level if isinstance(level, tuple) else (level, level)


def _check_contrast(scene: Scene) -> None:
    front, back = level_range(scene.foreground), level_range(scene.background)
    if front[0] <= back[1] and back[0] <= front[1]:
        raise ValueError(
            f"`foreground` and `background` must not overlap, or the shape could be invisible; "
            f"got {scene.foreground} and {scene.background}."
        )
    depths = {
        name: level_range(getattr(scene, name))[1]
        for name in ("texture", "background_gradient", "background_texture")
    }
    if sum(depths.values()) > 1 - CONTRAST_LEFT + 1e-9:  # sums of decimals are not exact
        raise ValueError(
            "`texture`, `background_gradient` and `background_texture` may add up to "
            f"{1 - CONTRAST_LEFT}, or the shape could be invisible; got {depths}."
        )


def _check_position(scene: Scene) -> None:
    if scene.region != "anywhere" and scene.position != "anywhere":
        raise ValueError(
            f"`region` {scene.region!r} needs position='anywhere'; got position={scene.position!r}."
        )
    if scene.position == "notebook":
        free = {"heights": (1, None), "widths": (1, None), "short_side": (1, None), "aspect": None}
        bound = [name for name, value in free.items() if getattr(scene, name) != value]
        if bound:
            raise ValueError(
                f"position='notebook' fixes the distribution of sides and takes no `{bound[0]}`; "
                f"got {getattr(scene, bound[0])}. Use position='anywhere'."
            )
        if scene.split is not None:
            raise ValueError(
                "position='notebook' draws boxes that are not equally likely and takes no "
                f"`split`; got {scene.split}. Use position='anywhere'."
            )
        if min(scene.size) <= NOTEBOOK_MARGIN:
            raise ValueError(
                f"position='notebook' needs a `size` above {NOTEBOOK_MARGIN} pixels both ways; "
                f"got {scene.size}."
            )
        return
    if count_drawable(scene) == 0:
        bound = [
            f", `{name}` {getattr(scene, name)!r}"
            for name, free in (("region", "anywhere"), ("split", None))
            if getattr(scene, name) != free
        ]
        raise ValueError(
            f"No box fits this scene: `size` {scene.size}, `heights` {scene.heights}, "
            f"`widths` {scene.widths}, `short_side` {scene.short_side}, `aspect` {scene.aspect}"
            f"{''.join(bound)}. Widen a limit or enlarge `size`."
        )


#: Named scenes, 100 x 100 pixels and one channel; `as_scene(name, size=...)` changes that.
SCENES: dict[str, Scene] = {
    "uniform": Scene(),
    "notebook": Scene(position="notebook"),
    "small": Scene(heights=(1, 10), widths=(1, 10)),
    "large": Scene(heights=(50, None), widths=(50, None)),
    "thin": Scene(short_side=(1, 2)),
    "border": Scene(position="border"),
    "shapes": Scene(shapes=tuple(SHAPES), heights=(8, None), widths=(8, None)),
    "augmented": Scene(
        foreground=(0.5, 1.0), background=(0.0, 0.3), texture=(0.0, 0.4), noise=(0.0, 0.1),
        blur=(0.0, 1.2), distractors=(0, 4), inverted=0.5, background_gradient=(0.0, 0.25),
        background_texture=(0.0, 0.25), occlusion=(0.0, 0.3),
    ),
}  # fmt: skip
