"""From bounds along rows and along columns to a claim about boxes."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from whitebox_loc._types import Array
from whitebox_loc.data.sampling import count_boxes, nth_boxes
from whitebox_loc.data.scenes import Scene
from whitebox_loc.verification.any_canvas import Situations, errors, refuted, situations
from whitebox_loc.verification.findings import HALF, Findings, Lines, Tally
from whitebox_loc.verification.symmetry import Answers, answers
from whitebox_loc.verification.windows import Reading

CHUNK = 1 << 20
"""Boxes that are scored at once."""


def prove_canvas(readings: tuple[Reading, Reading], scene: Scene) -> Findings:
    """Return what holds for all boxes of a scene, by symmetry."""
    rows, columns = answers(readings, scene)
    legal = _legal(scene, rows, columns)
    tally = Tally()
    for row_lines, row_kind, column_lines, column_kind in _blocks(rows, columns):
        along = _scored(rows, column_kind, row_lines)
        across = _scored(columns, row_kind, column_lines)
        chosen = None if legal is None else legal[np.ix_(row_lines, column_lines)]
        tally.add(along, across, chosen)
    return tally.findings("symmetry")


def _scored(axis: Answers, kind: int, lines: Array) -> Lines:
    edges, low, high = axis.edges[lines], axis.low[kind, lines], axis.high[kind, lines]
    return Lines(
        edges,
        np.maximum(np.maximum(low - edges, edges - high), 0.0).max(-1),
        np.maximum(np.abs(low - edges), np.abs(high - edges)).max(-1),
        np.maximum(np.minimum(edges[:, 1], low[:, 1]) - np.maximum(edges[:, 0], high[:, 0]), 0.0),
        np.maximum(high[:, 1] - low[:, 0], 0.0),
    )


def _legal(scene: Scene, rows: Answers, columns: Answers) -> Array | None:
    """Return which pairs of lines are boxes of the scene, None if all are."""
    total = count_boxes(scene)
    shape = len(rows.edges), len(columns.edges)
    if total == shape[0] * shape[1]:
        return None
    tables = [_numbers(rows.edges), _numbers(columns.edges)]
    legal = np.zeros(shape, bool)
    for start in range(0, total, CHUNK):
        boxes = nth_boxes(scene, np.arange(start, min(start + CHUNK, total)))
        places = (table[boxes[:, i], boxes[:, i + 2]] for i, table in enumerate(tables))
        legal[tuple(places)] = True
    return legal


def _numbers(edges: Array) -> Array:
    table = np.zeros((edges.max() + 1,) * 2, np.int64)
    table[edges[:, 0], edges[:, 1]] = np.arange(len(edges))
    return table


def _blocks(rows: Answers, columns: Answers) -> Iterator[tuple[Array, int, Array, int]]:
    """Yield lines along rows and along columns, and what each shows to the other axis."""
    for row_kind in np.unique(rows.kinds):
        row_lines = np.flatnonzero(rows.kinds == row_kind)
        for column_kind in np.unique(columns.kinds):
            column_lines = np.flatnonzero(columns.kinds == column_kind)
            step = max(CHUNK // len(column_lines), 1)
            for start in range(0, len(row_lines), step):
                part = row_lines[start : start + step]
                yield part, int(row_kind), column_lines, int(column_kind)


def prove_any_canvas(readings: tuple[Reading, Reading], scene: Scene, up_to: int) -> Findings:
    """Return what holds for all boxes of all canvases up to a side, or as far as it holds."""
    axes = [situations(reading, scene) for reading in readings]
    for index, (reading, cases) in enumerate(zip(readings, axes, strict=True)):
        least = refuted(cases, reading.along, up_to)
        if least.max() > HALF:
            return _refuted(cases, least, index)
    side = _farthest(axes, up_to)
    bound = [errors(cases, side or 1) for cases in axes]
    index = int(np.argmax([error.max() for error in bound]))
    box, canvas = _example(axes[index], bound[index].max(-1), index)
    boxes = (side * (side + 1) * (side + 2) // 6) ** 2
    return Findings(
        "every canvas", boxes, float(bound[index].max()), box, _overlap(axes, bound), 0,
        0 if side else 1, np.zeros((0, 4), int), side, canvas,
    )  # fmt: skip


def _refuted(cases: Situations, least: Array, index: int) -> Findings:
    box, canvas = _example(cases, least, index)
    return Findings(
        "every canvas", 0, float(least.max()), box, 0.0, int((least > HALF).sum()), 0,
        np.array([box]), 0, canvas,
    )  # fmt: skip


def _example(
    cases: Situations, error: Array, index: int
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return the box and the canvas of the situation of the greatest error (sets, situations)."""
    other, place = np.unravel_index(error.argmax(), error.shape)
    pair = [cases.lines[int(place)], cases.across[int(other)]]
    rows, columns = pair if index == 0 else pair[::-1]
    box = (rows.first, columns.first, rows.last, columns.last)
    return box, (rows.length, columns.length)


def _farthest(axes: list[Situations], up_to: int) -> int:
    """Return the longest side, at most `up_to`, up to which the bounds are within half a pixel."""

    def holds(side: int) -> bool:
        return all((errors(cases, side) <= HALF).all() for cases in axes)

    if holds(up_to):
        return up_to
    low, high = 0, up_to  # of 0 nothing is claimed
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if holds(middle) else (low, middle)
    return low


def _overlap(axes: list[Situations], bound: list[Array]) -> float:
    """Return a bound on the least IoU: the two axes' worst lines, together."""
    shared, answered = [], []
    for cases, error in zip(axes, bound, strict=True):
        sides = np.array([line.last - line.first for line in cases.lines])
        off = error.sum(-1)
        # Longer sides than those of the shortest canvases overlap more.
        shared.append(np.maximum(1 - off / sides, 0).min())
        answered.append((1 + off / sides).max())
    inside = shared[0] * shared[1]
    return float(inside / (1 + answered[0] * answered[1] - inside))
