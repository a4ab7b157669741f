"""Tables of a leaderboard: tidy rows to one number a method and metric."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from whitebox_loc._types import Array
from whitebox_loc.evaluation.benchmarking.results import Results
from whitebox_loc.evaluation.scores.record import Metric


@dataclass(frozen=True)
class Standing:
    """One table, of one truth: means (methods, metrics) over `counts` of at most `most` rows.

    `lows` and `highs` are means of the ends of the intervals: as wide as if all rows erred
    together, which they may, since they share images.
    """

    methods: list[str]
    metrics: list[str]
    means: Array
    lows: Array
    highs: Array
    counts: Array
    most: int
    baselines: list[str]

    def beaten(self, rows: Mapping[str, Metric], below: Sequence[str]) -> Array:
        """Return where a method is better than all the baselines in `below`, bool array."""
        rivals = [self.methods.index(name) for name in below if name in self.methods]
        signs = np.array([1 if rows[name].higher_is_better else -1 for name in self.metrics])
        scores = np.where(np.isfinite(self.means), self.means * signs, -np.inf)
        return scores > scores[rivals].max(axis=0, initial=-np.inf)


def standing(results: Results, metrics: Sequence[str]) -> Standing | None:
    """Return the table of the metrics, of one truth, that have a defined row; None if none has."""
    part = results.select(metric=list(metrics))
    truths = part.names("truth")
    if len(truths) > 1:
        raise ValueError(f"A table compares with one truth; got metrics of {truths}.")
    good = [row for row in part if row["status"] == "ok"]
    columns = [name for name in metrics if any(row["metric"] == name for row in good)]
    if not columns:
        return None
    methods = part.names("method")
    baselines = [name for name in methods if part.select(method=name).rows[0]["baseline"]]
    methods = [name for name in methods if name not in baselines] + baselines
    cells: dict[tuple[str, str], list[list[float]]] = {}
    for row in good:
        values = [row["mean"], row["low"], row["high"]]
        cells.setdefault((row["method"], row["metric"]), []).append(values)
    table = np.array([[_cell(cells.get((m, c), [])) for c in columns] for m in methods])
    most = len({(row["model"], row["scene"], row["coordinate"]) for row in part})
    means, lows, highs, counts = np.moveaxis(table, -1, 0)
    return Standing(methods, columns, means, lows, highs, counts.astype(int), most, baselines)


def _cell(rows: list[list[float]]) -> list[float]:
    return [*np.mean(rows, axis=0), len(rows)] if rows else [np.nan, np.nan, np.nan, 0]
