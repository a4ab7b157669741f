"""Scenes that differ from the one a model was trained on, by how much."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from whitebox_loc._validation import check_names, check_real
from whitebox_loc.data import SHAPES, Scene, as_scene
from whitebox_loc.data.scenes import Level, level_range


@dataclass(frozen=True)
class Shift:
    """One way in which images may differ from those of training.

    A shift *sets* an amount; it does not add to what the scene has. ``noise`` of 0.02 makes a
    scene with noise of 0.1 less noisy.

    Attributes
    ----------
    name : str
        Its name in `SHIFTS`.
    change : callable
        Scene and severity above 0 to the shifted scene.
    severities : tuple of float
        From 0, which changes nothing, upwards; at least one more.
    moderate : float
        The one of `severities`, above 0, that a robust model should bear.
    unit : str
        What the severity measures.
    summary : str
        One sentence: what changes.

    Raises
    ------
    ValueError, TypeError
        If severities do not rise from 0, or the moderate one is not among them.

    Examples
    --------
    >>> SHIFTS["noise"].scene("uniform", 0.1) == Scene(noise=0.1)
    True
    """

    name: str
    change: Callable[[Scene, float], Scene]
    severities: tuple[float, ...]
    moderate: float
    unit: str
    summary: str

    def __post_init__(self) -> None:
        levels = [check_real("severities", severity) for severity in self.severities]
        if not levels or levels[0] != 0 or sorted(set(levels)) != levels:
            raise ValueError(
                f"`severities` of shift {self.name!r} must begin with 0, the unshifted scene, and "
                f"rise; got {self.severities!r}."
            )
        if self.moderate not in levels[1:]:
            raise ValueError(
                f"`moderate` of shift {self.name!r} must be one of its severities above 0, "
                f"{levels[1:]}; got {self.moderate!r}."
            )
        object.__setattr__(self, "severities", tuple(self.severities))

    def scene(self, scene: Scene | str, severity: float) -> Scene:
        """Return `scene` shifted by `severity`, from 0 on; a ValueError if it cannot be."""
        scene = as_scene(scene)
        severity = check_real("severity", severity, low=0)
        if severity == 0:
            return scene
        try:
            return self.change(scene, severity)
        except ValueError as error:
            raise ValueError(
                f"Shift {self.name!r} of severity {severity:g} ({self.unit}) is not possible for "
                f"this scene: {error}"
            ) from error


def _changed(scene: Scene, **fields: Any) -> Scene:
    # Not the law of the original notebook, which takes no limits on boxes.
    if scene.position == "notebook" and "position" not in fields:
        fields["position"] = "anywhere"
    return dataclasses.replace(scene, **fields)


def _quadrant(scene: Scene, severity: float) -> Scene:
    held_out = scene.region.removeprefix("not_")
    region = "bottom_right" if held_out == "anywhere" else held_out
    return _changed(scene, position="anywhere", region=region)


def _larger(scene: Scene, severity: float) -> Scene:
    low = [max(1, round(severity * side)) for side in scene.size]
    return _sides(scene, heights=(low[0], None), widths=(low[1], None))


def _smaller(scene: Scene, severity: float) -> Scene:
    high = [max(1, round((1 - severity) * side)) for side in scene.size]
    return _sides(scene, heights=(1, high[0]), widths=(1, high[1]))


def _wide(scene: Scene, severity: float) -> Scene:
    return _ratio(scene, (severity, max(severity, float(scene.size[1]))))


def _tall(scene: Scene, severity: float) -> Scene:
    return _ratio(scene, (0.0, 1 / severity))


def _ratio(scene: Scene, aspect: tuple[float, float]) -> Scene:
    """Change the ratio of the sides alone, or free the sides where no box has that ratio."""
    try:
        return _changed(scene, aspect=aspect)
    except ValueError:
        return _sides(scene, aspect=aspect)


def _sides(scene: Scene, **limits: Any) -> Scene:
    free = {"heights": (1, None), "widths": (1, None), "short_side": (1, None), "aspect": None}
    return _changed(scene, **(free | limits))


def _contrast(scene: Scene, severity: float) -> Scene:
    _, behind = _nearest(scene)
    levels = [level + severity * (behind - level) for level in level_range(scene.foreground)]
    return dataclasses.replace(scene, foreground=_level(levels))


def _grey(scene: Scene, severity: float) -> Scene:
    shape, _ = _nearest(scene)
    levels = [level + severity * (shape - level) for level in level_range(scene.background)]
    return dataclasses.replace(scene, background=_level(levels))


def _inverted(scene: Scene, severity: float) -> Scene:
    front, back = (
        _level([level + severity * (1 - 2 * level) for level in level_range(levels)])
        for levels in (scene.foreground, scene.background)
    )
    return dataclasses.replace(scene, foreground=front, background=back)


def _nearest(scene: Scene) -> tuple[float, float]:
    """Return the two levels of shape and background that are closest to each other."""
    front, back = level_range(scene.foreground), level_range(scene.background)
    return (front[0], back[1]) if front[0] > back[1] else (front[1], back[0])


def _level(levels: list[float]) -> Level:
    low, high = sorted(levels)
    return low if low == high else (low, high)


def _cut(scene: Scene, severity: float) -> Scene:
    scene = _changed(scene, position="border", region="anywhere")
    return scene if severity <= 1 else _sides(scene, short_side=(1, 2))


def _shapes(scene: Scene, severity: float) -> Scene:
    others = tuple(shape for shape in SHAPES if shape not in scene.shapes)
    if not others:
        raise ValueError(f"`shapes` of the scene are all there are, {scene.shapes}.")
    return dataclasses.replace(scene, shapes=others)


def _distractors(scene: Scene, severity: float) -> Scene:
    return dataclasses.replace(scene, distractors=round(severity))


def _set(field: str) -> Callable[[Scene, float], Scene]:
    """Return the change that gives one field of the scene the severity."""
    return lambda scene, severity: as_scene(scene, **{field: severity})


_ROWS = (
    Shift("quadrant", _quadrant, (0, 1), 1, "0 or 1",
          "all boxes have their centre in one quadrant, the one left out of training or the last"),
    Shift("larger", _larger, (0, 0.25, 0.5, 0.75, 0.9), 0.5, "least side, share of the canvas",
          "both sides are large"),
    Shift("smaller", _smaller, (0, 0.5, 0.75, 0.9, 0.97), 0.5, "1 - greatest side / canvas",
          "both sides are small"),
    Shift("wide", _wide, (0, 2, 4, 8, 16), 2, "least width / height",
          "boxes are wide and flat; other limits on sides go where no such box fits them"),
    Shift("tall", _tall, (0, 2, 4, 8, 16), 2, "least height / width",
          "boxes are tall and thin; other limits on sides go where no such box fits them"),
    Shift("contrast", _contrast, (0, 0.25, 0.5, 0.75, 0.9), 0.5, "share of contrast lost",
          "the shape is closer to the background's brightness"),
    Shift("inverted", _inverted, (0, 0.25, 0.75, 1), 1, "way to swapped levels; 0.5 is invisible",
          "shape and background swap their brightness"),
    Shift("grey", _grey, (0, 0.1, 0.25, 0.5, 0.75), 0.25, "way to the shape's brightness",
          "the background is grey"),
    Shift("gradient", _set("background_gradient"), (0, 0.1, 0.2, 0.4, 0.8), 0.2,
          "rise, share of contrast", "the background's brightness rises across the image"),
    Shift("backdrop", _set("background_texture"), (0, 0.1, 0.2, 0.4, 0.8), 0.2,
          "depth, share of contrast", "the background is striped"),
    Shift("texture", _set("texture"), (0, 0.15, 0.3, 0.6, 0.9), 0.3, "depth, share of contrast",
          "the shape is striped"),
    Shift("noise", _set("noise"), (0, 0.02, 0.05, 0.1, 0.2), 0.05, "standard deviation",
          "every pixel is noisy"),
    Shift("blur", _set("blur"), (0, 0.5, 1, 2, 4), 1, "standard deviation in pixels",
          "the image is blurred"),
    Shift("occlusion", _set("occlusion"), (0, 0.1, 0.25, 0.5, 0.8), 0.25, "share of the box",
          "a part of the shape is hidden"),
    Shift("cut", _cut, (0, 1, 2), 1, "1: all, 2: all and at most 2 pixels left",
          "the shape goes on behind the border; the box is what is left of it in the image"),
    Shift("distractors", _distractors, (0, 1, 3, 6, 12), 3, "number",
          "small rectangles of half the contrast lie around"),
    Shift("shapes", _shapes, (0, 1), 1, "0 or 1", "shapes that training did not show"),
)  # fmt: skip

SHIFTS: dict[str, Shift] = {shift.name: shift for shift in _ROWS}
"""Name to shift. A new one is a function and a row."""


def _coordconv(**limits: Any) -> Scene:
    return Scene(size=(64, 64), heights=(9, 9), widths=(9, 9), **limits)


COORDCONV: dict[str, tuple[Scene, Scene]] = {
    "uniform": (_coordconv(split=("train", 0.8, 0)), _coordconv(split=("test", 0.8, 0))),
    "quadrant": (_coordconv(region="not_bottom_right"), _coordconv(region="bottom_right")),
}
"""The two (train, test) pairs of scenes of Liu et al. 2018, arXiv:1807.03247: 9 x 9 squares with
3,136 centres on a canvas of 64 x 64, split at random or by quadrant."""


def find_shifts(shifts: object) -> dict[str, Shift]:
    """Return shifts by name from None (all), names, or a mapping, whose keys name its shifts."""
    if shifts is None:
        return SHIFTS
    if isinstance(shifts, dict):
        wrong = [name for name, shift in shifts.items() if not isinstance(shift, Shift)]
        if wrong:
            raise TypeError(
                f"`shifts` must map names to Shift records; {wrong[0]!r} is {shifts[wrong[0]]!r}."
            )
        return {name: dataclasses.replace(shift, name=name) for name, shift in shifts.items()}
    return {name: SHIFTS[name] for name in check_names("shifts", shifts, SHIFTS, least=0)}
