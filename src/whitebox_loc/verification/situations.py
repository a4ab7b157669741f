"""The finitely many situations of a box along one axis, as a local window tells them apart."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from whitebox_loc._types import Array
from whitebox_loc.verification.windows import Window


@dataclass(frozen=True)
class Line:
    """A box along one axis: its two edges on a canvas of `length` lines, in pixels."""

    first: int
    last: int
    length: int

    @property
    def gaps(self) -> tuple[int, int, int]:
        """Number of lines before the box, in it and behind it."""
        return self.first, self.last - self.first, self.length - self.last


def from_gaps(before: int, inside: int, behind: int) -> Line:
    """Return the line with these numbers of lines before a box, in it and behind it."""
    return Line(before, before + inside, before + inside + behind)


def shortest(line: Line, window: Window) -> Line:
    """Return the shortest line that no position of the window's features tells from `line`.

    Of each of the three runs as many lines are left as the window is long: then no window that
    reaches out of a run on one side does so on the other, and one position sees that run alone.
    """
    return from_gaps(*(min(gap, window.length) for gap in line.gaps))


def shortest_lines(window: Window) -> list[Line]:
    """Return all that `shortest` can return, for canvases of any length."""
    most = window.length
    return [
        from_gaps(before, inside, behind)
        for before in range(most + 1)
        for inside in range(1, most + 1)
        for behind in range(most + 1)
    ]


def inner_positions(line: Line, window: Window) -> list[int]:
    """Return, of each run as long as the window, the last position that sees it alone; else -1.

    A line of `shortest` has one such position in each run that was cut; more lines there would
    repeat it.
    """
    ends = np.cumsum(line.gaps)
    pairs = zip(ends, line.gaps, strict=True)
    return [int(end) - 1 - window.last if gap >= window.length else -1 for end, gap in pairs]


def short_positions(line: Line, window: Window) -> Array:
    """Return, for each position of a line, the position of its shortest line that sees the same."""
    short = shortest(line, window)
    positions = np.arange(line.length + window.extra)
    cuts = np.subtract(line.gaps, short.gaps)
    for cut, inner in zip(cuts, inner_positions(short, window), strict=True):
        if cut:
            beyond = positions > inner
            positions[beyond] = np.maximum(positions[beyond] - cut, inner)
    return positions


def patterns(line: Line, window: Window, framed: bool) -> frozenset[bytes]:
    """Return the set of what the positions of a window's features see of a line.

    Each line of the canvas is in the box (1), beside it (0), or outside of the canvas (2), which
    nobody can tell from beside it if the canvas is framed by zeros and black is the background.
    """
    outside = 0 if framed else 2
    states = np.full(line.length + 2 * window.length + window.extra, outside, np.uint8)
    states[window.length : window.length + line.length] = 0
    states[window.length + line.first : window.length + line.last] = 1
    starts = np.arange(line.length + window.extra) + window.first + window.length
    return frozenset(states[s : s + window.length].tobytes() for s in starts)
