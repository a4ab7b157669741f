"""One proof for every canvas: logits are local, and far boundaries draw little mass."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from whitebox_loc._types import Array
from whitebox_loc.data.scenes import Scene
from whitebox_loc.verification.expectations import EXP, expectation, rounding
from whitebox_loc.verification.graphs import UnsupportedModelError
from whitebox_loc.verification.intervals import UNIT
from whitebox_loc.verification.situations import Line, inner_positions, shortest_lines
from whitebox_loc.verification.symmetry import logits, sets_of
from whitebox_loc.verification.windows import Reading, Window


@dataclass(frozen=True)
class Situations:
    """Bounds on the logits of every local situation along one axis, on any canvas.

    Attributes
    ----------
    lines : list of Line
        The shortest canvas of each situation.
    across : list of Line
        One line of each set of patterns that the other axis can show.
    low, high : arrays (sets, situations, positions, 2)
        For each set of patterns that the other axis can show; -inf where a canvas has no
        position.
    inner : int array (situations, 3)
        The position that longer runs of lines before, in and behind the box repeat, or -1.
    """

    lines: list[Line]
    across: list[Line]
    low: Array
    high: Array
    inner: Array


def situations(reading: Reading, scene: Scene) -> Situations:
    """Return bounds on the logits of a box in every situation along an axis."""
    if reading.along.last < 0:
        raise UnsupportedModelError(
            f"Reading of {reading.axis}s: a boundary must see the {reading.axis} behind it; the "
            f"last that it sees is {-reading.along.last} before."
        )
    lines = shortest_lines(reading.along)
    framed = reading.framed and not scene.background
    across, _ = sets_of(shortest_lines(reading.across), reading.across, framed)
    table = logits(reading, scene, [(along, other) for other in across for along in lines])
    most = max(line.length for line in lines) + reading.along.extra
    low, high = (np.full((len(across), len(lines), most, 2), -np.inf) for _ in range(2))
    for s, other in enumerate(across):
        for k, line in enumerate(lines):
            ends = table[line, other]
            low[s, k, : len(ends[0])], high[s, k, : len(ends[1])] = ends
    inner = np.array([inner_positions(line, reading.along) for line in lines])
    return Situations(lines, across, low, high, inner)


def errors(cases: Situations, up_to: int) -> Array:
    """Return bounds (sets, situations, 2) on the error in pixels on all canvases up to a length.

    A run of lines that is longer than on the shortest canvas repeats one position, and moves
    what lies beyond it away from the edge. Both are taken at their most, for each side alone: as
    many repetitions as there are lines more, each as heavy as the heaviest of the side, at the
    farthest distances. The theorem is in docs/proofs.md.
    """
    lengths = np.array([line.length for line in cases.lines])
    more = np.maximum(up_to - lengths, 0)
    bound = []
    for edge in (0, 1):
        edges = np.array([(line.first, line.last)[edge] for line in cases.lines])
        bound.append(
            _errors(cases.low[..., edge], cases.high[..., edge], edges, cases, more, up_to)
        )
    # A situation that needs a longer canvas is no matter of this claim.
    return np.where((lengths > up_to)[:, None], 0.0, np.stack(bound, -1))


def _errors(
    low: Array, high: Array, edges: Array, cases: Situations, more: Array, up_to: int
) -> Array:
    """Return the bounds (sets, situations) of one edge; `low` and `high` are its logits."""
    largest = high.max(-1, keepdims=True)
    most, least = (np.exp(_widened(end - largest, sign)) for end, sign in ((high, 1), (low, -1)))
    total = least.sum(-1)
    places = np.arange(low.shape[-1])
    distance = np.abs(places - edges[:, None]).astype(np.float64)
    after = places >= edges[:, None]
    rows = np.arange(len(edges))
    shifted = np.zeros(after.shape, bool)
    # Of what may be repeated before and behind the edge: the heaviest and the farthest.
    heaviest, farthest = np.zeros((2, *total.shape)), np.zeros((2, len(edges)))
    for place in cases.inner.T:
        cut, behind = place >= 0, place >= edges
        shifted |= cut[:, None] & after & behind[:, None] & (places > place[:, None])
        shifted |= cut[:, None] & ~after & ~behind[:, None] & (places <= place[:, None])
        for side, here in enumerate((cut & ~behind, cut & behind)):
            heaviest[side] = np.maximum(heaviest[side], most[:, rows, place] * here)
            farthest[side] = np.maximum(farthest[side], distance[rows, place] * here)
    reach = most * (distance + more[:, None] * shifted)
    sums = np.stack([(reach * ~after).sum(-1), (reach * after).sum(-1)])
    sums += heaviest * (more * (farthest + (more + 1) / 2))[:, None]
    # Logits may be so large that their intervals tell nothing, which float64 could not divide.
    far, small = (
        np.divide(mass, total, out=np.full_like(total, np.inf), where=total > 1e-290)
        for mass in (sums.max(0), heaviest.max(0) * more)
    )
    # Either the sum has as many terms as lines, or those that are repeated are small.
    end = np.asarray(up_to)
    many = rounding(end + 1, end, up_to)
    few = rounding(np.asarray(low.shape[-1]), end, up_to, small)
    return far + np.minimum(many, few)


def refuted(cases: Situations, window: Window, up_to: int) -> Array:
    """Return the least errors (sets, situations) in pixels on the shortest canvases themselves.

    Those of canvases that are longer than `up_to` are 0.
    """
    least = np.zeros(cases.low.shape[:2])
    lengths = np.array([line.length for line in cases.lines])
    for length in np.unique(lengths):
        rows = np.flatnonzero(lengths == length)
        ends = (
            np.moveaxis(v[:, rows, : length + window.extra], -1, 0) for v in (cases.low, cases.high)
        )
        low, high = expectation(*ends)
        edges = np.array([[cases.lines[k].first, cases.lines[k].last] for k in rows]).T[:, None]
        least[:, rows] = np.maximum(low - edges, edges - high).max(0)
    sides = np.array([line.length for line in cases.across])
    return np.where(np.maximum(lengths, sides[:, None]) > up_to, 0.0, np.maximum(least, 0.0))


def _widened(depth: Array, sign: int) -> Array:
    """Return logits below the largest one, moved up or down by what a float32 softmax rounds."""
    finite = np.where(np.isfinite(depth), depth, 0.0)
    return depth + sign * (UNIT * (np.abs(finite) + 1) + EXP)
