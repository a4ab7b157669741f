"""The record of a training run: one row a step."""

from __future__ import annotations

import csv
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from whitebox_loc._files import csv_cell, naming, replacing
from whitebox_loc._types import Array, ArrayLike
from whitebox_loc._validation import as_array, check_choice, check_int, check_path, shortened

COLUMNS = (
    "step", "seconds", "loss", "bce", "floor", "excess", "iou", "pixel_error", "exact_rate",
    "edge_loss", "label_loss", "accuracy", "gradient_norm",
)  # fmt: skip
"""What `fit` records of each step, in this order.

`label_loss` is 0 and `accuracy` NaN where no labels are learned.
"""

HEADLINE = ("loss", "excess", "iou")
"""Columns of a summary in one line, those of them that a run has."""


class History:
    """Learning curves: an array for each column, one entry a training step.

    Every batch is measured before the step that learns from it: on images not seen before.

    Parameters
    ----------
    columns : mapping, optional
        What was recorded so far, by column.
    names : tuple of str, optional
        The columns, ``"step"`` and ``"seconds"`` first; those of `fit` by default.

    Attributes
    ----------
    stopped : str
        Why training ended: ``"seconds"``, ``"steps"`` or ``"target_iou"``; ``""`` before.

    Examples
    --------
    >>> history = History({"step": [1, 2], "loss": [0.7, 0.6]})
    >>> len(history), history["loss"].tolist()
    (2, [0.7, 0.6])
    """

    def __init__(
        self, columns: Mapping[str, Any] | None = None, names: tuple[str, ...] = COLUMNS
    ) -> None:
        self.names = _checked_names(names)
        columns = {} if columns is None else columns
        if not isinstance(columns, Mapping):
            raise TypeError(f"`columns` must be a mapping; got {shortened(columns)}.")
        self._rows: dict[str, list[float]] = {
            name: _checked_column(name, columns.get(name, ())) for name in self.names
        }
        self.stopped = ""

    def append(self, row: Mapping[str, float]) -> None:
        """Add the record of one step; `row` names every column."""
        if not isinstance(row, Mapping) or not set(self.names) <= set(row):
            raise TypeError(
                f"`row` must be a mapping with a number for each of {list(self.names)}; got "
                f"{shortened(row)}."
            )
        for name in self.names:
            self._rows[name].append(float(row[name]))

    def __len__(self) -> int:
        return len(self._rows["step"])

    def __getitem__(self, name: str) -> Array:
        return np.array(self._rows[check_choice("name", name, self.names)])

    def mean(self, name: str, last: int) -> float:
        """Return the mean of a column over the `last` steps (NaN before the first)."""
        check_int("last", last, low=1)
        tail = self._rows[check_choice("name", name, self.names)][-last:]
        return float(np.mean(tail)) if tail else float("nan")

    def to_dict(self) -> dict[str, Array]:
        """Return ``{column: array (steps,)}``."""
        return {name: self[name] for name in self.names}

    def to_csv(self, path: str | os.PathLike[str]) -> Path:
        """Write one line a step with a header; return the path."""
        with (
            naming("path", check_path("path", path)),
            replacing(path) as part,
            open(part, "w", newline="", encoding="utf-8") as file,
        ):
            writer = csv.writer(file)
            writer.writerow(map(csv_cell, self.names))
            writer.writerows(zip(*self._rows.values(), strict=True))
        return Path(path)

    def plot(self, **options: Any) -> Any:
        """Draw `whitebox_loc.plots.learning_curves`, for several boxes `detector_curves`."""
        from whitebox_loc import plots

        draw = plots.learning_curves if self.names == COLUMNS else plots.detector_curves
        return draw(self.to_dict(), **options)

    def __repr__(self) -> str:
        if not len(self):
            return "History(no steps)"
        last = {name: rows[-1] for name, rows in self._rows.items()}
        values = ", ".join(f"{name}={last[name]:.4f}" for name in HEADLINE if name in last)
        steps = f"{len(self)} steps, {last['seconds']:.1f} s"
        return f"History({steps}, {values}, stopped={self.stopped!r})"


def _checked_names(names: Any) -> tuple[str, ...]:
    several = isinstance(names, (list, tuple)) and all(isinstance(name, str) for name in names)
    if not several or "step" not in names or len(set(names)) < len(names):
        raise TypeError(
            "`names` must be a tuple of different names of columns, 'step' among them; got "
            f"{shortened(names)}."
        )
    return tuple(names)


def _checked_column(name: str, values: ArrayLike) -> list[float]:
    array = as_array(f"columns[{name!r}]", values)
    if array.ndim != 1 or array.dtype.kind not in "biuf":
        raise TypeError(
            f"`columns[{name!r}]` must hold one number a step; got {shortened(values)}."
        )
    return [float(value) for value in array]
