"""All boxes of one canvas from few: what a profile shows of the other axis is a set of patterns."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from whitebox_loc._types import Array
from whitebox_loc.data.scenes import Scene, level_range
from whitebox_loc.verification.expectations import expectation
from whitebox_loc.verification.intervals import bounds, exact
from whitebox_loc.verification.situations import (
    Line,
    patterns,
    short_positions,
    shortest,
)
from whitebox_loc.verification.windows import Reading, Window

Logits = dict[tuple[Line, Line], tuple[Array, Array]]
"""Line along, line across to bounds (positions, 2) on the logits of the two edges."""


@dataclass(frozen=True)
class Answers:
    """Bounds on the two coordinates of one axis, of all boxes of a canvas.

    Attributes
    ----------
    edges : int array (lines, 2)
        Every pair of edges of a box along the axis.
    low, high : arrays (sets, lines, 2)
        Between which the float32 answers lie, in pixels, for each set of patterns that the
        other axis can show.
    kinds : int array (lines,)
        Which set of patterns a line shows to the *other* axis.
    """

    edges: Array
    low: Array
    high: Array
    kinds: Array

    @property
    def most(self) -> Array:
        """Greatest errors (sets, lines, 2) that the bounds allow, in pixels."""
        return np.maximum(np.abs(self.low - self.edges), np.abs(self.high - self.edges))

    @property
    def least(self) -> Array:
        """Least errors (sets, lines, 2) that the bounds allow, in pixels."""
        return np.maximum(np.maximum(self.low - self.edges, self.edges - self.high), 0.0)


def answers(readings: tuple[Reading, Reading], scene: Scene) -> tuple[Answers, Answers]:
    """Return bounds on all coordinates of all boxes of a canvas, along rows and along columns."""
    lines = [all_lines(length) for length in scene.size]
    shown = []  # what the lines along each axis show to the profile of the other axis
    for axis in (0, 1):
        reading = readings[1 - axis]
        shown.append(sets_of(lines[axis], reading.across, reading.framed and not scene.background))
    return (
        _along(readings[0], scene, lines[0], shown[1][0], shown[0][1]),
        _along(readings[1], scene, lines[1], shown[0][0], shown[1][1]),
    )


def all_lines(length: int) -> list[Line]:
    """Return every box along an axis."""
    return [Line(a, b, length) for a in range(length) for b in range(a + 1, length + 1)]


def sets_of(lines: Iterable[Line], window: Window, framed: bool) -> tuple[list[Line], Array]:
    """Return a line for each set of patterns, as short as may be, and each line's number of set."""
    numbers: dict[frozenset[bytes], int] = {}
    known: dict[Line, int] = {}
    examples: list[Line] = []
    kinds = []
    for line in lines:
        short = shortest(line, window)
        if short not in known:
            number = numbers.setdefault(patterns(short, window, framed), len(numbers))
            known[short] = number
            if number == len(examples):
                examples.append(short)
            elif short.length < examples[number].length:
                examples[number] = short
        kinds.append(known[short])
    return examples, np.array(kinds)


def _along(
    reading: Reading, scene: Scene, lines: list[Line], across: list[Line], kinds: Array
) -> Answers:
    window = reading.along
    shorts = list(dict.fromkeys(shortest(line, window) for line in lines))
    starts = np.cumsum([0, *(short.length + window.extra for short in shorts)])
    start = dict(zip(shorts, starts, strict=False))
    places = np.stack([start[shortest(x, window)] + short_positions(x, window) for x in lines])
    table = logits(reading, scene, [(short, line) for line in across for short in shorts])
    low, high = [], []
    for line in across:
        stacked = [np.concatenate([table[short, line][i] for short in shorts]) for i in (0, 1)]
        # (lines, positions, 2) to (2, lines, positions)
        ends = [np.moveaxis(part[places], -1, 0) for part in stacked]
        parts = expectation(*ends)
        low.append(parts[0].T)
        high.append(parts[1].T)
    edges = np.array([[line.first, line.last] for line in lines])
    return Answers(edges, np.stack(low), np.stack(high), kinds)


def logits(reading: Reading, scene: Scene, pairs: list[tuple[Line, Line]]) -> Logits:
    """Return bounds on the float32 logits of boxes: pairs of a line along and a line across."""
    groups: dict[tuple[int, int], list[tuple[Line, Line]]] = defaultdict(list)
    for along, across in pairs:
        groups[along.length, across.length].append((along, across))
    table: Logits = {}
    for group in groups.values():
        for start in range(0, len(group), BATCH):
            part = group[start : start + BATCH]
            logits = bounds(reading.logits, exact(_images(reading, scene, part)))
            low, high = (v.numpy()[..., list(reading.channels)] for v in (logits.low, logits.high))
            table |= dict(zip(part, zip(low, high, strict=True), strict=True))
    return table


BATCH = 2048
"""Images in one pass; canvases here have some 20 lines a side."""


def _images(reading: Reading, scene: Scene, pairs: list[tuple[Line, Line]]) -> Array:
    inside = [
        np.stack([_mask(pair[axis]) for pair in pairs])
        for axis in ((0, 1) if reading.axis == "row" else (1, 0))
    ]
    box = inside[0][:, :, None, None] & inside[1][:, None, :, None]
    front, back = (level_range(level)[0] for level in (scene.foreground, scene.background))
    images = np.where(box, np.float32(front), np.float32(back))
    return np.repeat(images, scene.channels, axis=-1)


def _mask(line: Line) -> Array:
    lines = np.arange(line.length)
    return (lines >= line.first) & (lines < line.last)
