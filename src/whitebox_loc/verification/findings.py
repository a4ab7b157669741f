"""What a way of proving finds out about a set of boxes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from whitebox_loc._types import Array

HALF = 0.5
"""A coordinate is right if it is off by at most so much, in pixels."""

MOST = 100
"""Number of counterexamples that are kept."""


@dataclass(frozen=True, eq=False)
class Findings:
    """Number of boxes, the worst of them, and how many are wrong or undecided."""

    how: str
    boxes: int
    worst_error: float
    worst_box: tuple[int, ...]
    least_iou: float
    wrong: int
    undecided: int
    counterexamples: Array
    up_to: int | None = None
    canvas: tuple[int, ...] | None = None

    def fields(self) -> dict[str, Any]:
        """Return the fields of a Proof."""
        return vars(self) | {"holds": False if self.wrong else None if self.undecided else True}


@dataclass(frozen=True, eq=False)
class Lines:
    """Lines along one axis, and bounds on what is answered to them.

    Attributes
    ----------
    edges : int array (n, 2)
    least, most : arrays (n,)
        Bounds on the greater error of the two edges, in pixels.
    shared : array (n,)
        Length that line and answer have in common, from below.
    answered : array (n,)
        Length of the answer, from above.
    """

    edges: Array
    least: Array
    most: Array
    shared: Array
    answered: Array


@dataclass
class Tally:
    """Adds up findings, block by block: all pairs of some lines along rows and along columns."""

    boxes: int = 0
    worst_error: float = -1.0
    worst_box: tuple[int, ...] = ()
    least_iou: float = 1.0
    wrong: int = 0
    undecided: int = 0
    examples: Array = field(default_factory=lambda: np.zeros((0, 4), np.int64))
    scores: Array = field(default_factory=lambda: np.zeros(0))

    def add(self, rows: Lines, columns: Lines, legal: Array | None = None) -> None:
        """Take in all pairs of lines along rows and along columns, or the legal ones."""
        most = np.maximum(rows.most[:, None], columns.most)
        least = np.maximum(rows.least[:, None], columns.least)
        shared = rows.shared[:, None] * columns.shared
        sides = [np.diff(lines.edges)[:, 0] for lines in (rows, columns)]
        # Nothing may be known along one axis, and no box be answered along the other: inf * 0.
        with np.errstate(invalid="ignore"):
            answered = rows.answered[:, None] * columns.answered
        union = sides[0][:, None] * sides[1] + answered - shared
        iou = np.divide(shared, union, out=np.zeros_like(shared), where=shared > 0)
        if legal is not None:
            most, least = np.where(legal, most, -1.0), np.where(legal, least, -1.0)
            iou = np.where(legal, iou, 1.0)
        self.boxes += most.size if legal is None else int(legal.sum())
        self.least_iou = min(self.least_iou, float(iou.min()))
        place = int(most.argmax())
        if most.flat[place] > self.worst_error:
            self.worst_error = float(most.flat[place])
            self.worst_box = tuple(map(int, _boxes(rows, columns, np.array([place]))[0]))
        wrong = least > HALF
        self.wrong += int(wrong.sum())
        self.undecided += int(((most > HALF) & ~wrong).sum())
        if wrong.any():
            places = np.flatnonzero(wrong)
            if len(places) > MOST:
                order = np.argpartition(-least.flat[places], MOST - 1)[:MOST]
                places = places[order]
            self._keep(_boxes(rows, columns, places), least.flat[places])

    def _keep(self, boxes: Array, scores: Array) -> None:
        boxes, scores = np.concatenate([self.examples, boxes]), np.append(self.scores, scores)
        order = np.lexsort((*boxes.T[::-1], -scores))[:MOST]
        self.examples, self.scores = boxes[order], scores[order]

    def findings(self, how: str) -> Findings:
        """Return what was added up."""
        return Findings(
            how, self.boxes, self.worst_error, self.worst_box, self.least_iou, self.wrong,
            self.undecided, self.examples,
        )  # fmt: skip


def _boxes(rows: Lines, columns: Lines, places: Array) -> Array:
    """Return the boxes (k, 4) at flat places of all pairs."""
    first, second = np.divmod(places, len(columns.edges))
    along, across = rows.edges[first], columns.edges[second]
    return np.stack([along[:, 0], across[:, 0], along[:, 1], across[:, 1]], -1)
