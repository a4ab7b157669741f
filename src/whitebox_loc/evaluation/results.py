"""The table that a benchmark fills: tidy rows, with their files and small views."""

from __future__ import annotations

import csv
import json
import math
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from whitebox_loc._files import replacing
from whitebox_loc._validation import check_choice
from whitebox_loc._version import __version__

__all__ = ["COLUMNS", "Results", "read_results"]

COLUMNS = (
    "model", "method", "baseline", "scene", "metric", "truth", "coordinate", "seed", "images",
    "n", "mean", "low", "high", "status", "error",
)  # fmt: skip
"""What a row holds, in the order of the file."""

KEYS = ("model", "method", "scene", "metric", "coordinate")


@dataclass(frozen=True)
class Results:
    """Rows of scores, one a model x method x scene x metric x coordinate.

    Attributes
    ----------
    rows : list of dict
        With the keys:

        - ``model``, ``method``, ``scene``, ``metric``, ``coordinate``: names;
        - ``baseline``: whether the method is a control, whose quality is known;
        - ``truth``: what the metric compares with, ``"task"``, ``"model"`` or ``"none"``;
        - ``seed``: of images and methods; ``images``: how many were drawn;
        - ``n``: for how many of them the metric is defined;
        - ``mean``, ``low``, ``high``: mean over these and its 95% interval; NaN without any;
        - ``status``: ``"ok"``, ``"undefined"`` (for every image), ``"not applicable"`` (to such
          a model or method) or ``"failed"``; ``error``: why, if it is not ``"ok"``.
    seconds : dict
        Time of each job in this call, by (model, method, scene); jobs that were taken from
        an earlier call are not in it.

    Examples
    --------
    >>> row = dict.fromkeys(COLUMNS, "") | {
    ...     "model": "net", "method": "gradient", "metric": "mass", "coordinate": "top",
    ...     "truth": "task", "mean": 0.25, "low": 0.2, "high": 0.3, "status": "ok",
    ... }
    >>> print(Results([row]).table("mass"))
    mass                           top
    gradient       0.250 [0.200 0.300]
    """

    rows: list[dict[str, Any]]
    seconds: dict[tuple[str, str, str], float] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return iter(self.rows)

    def __repr__(self) -> str:
        return f"Results({len(self.rows)} rows, {len(self.failures())} failed)"

    def select(self, **wanted: Any) -> Results:
        """Return the rows whose columns equal the values given, or are among a list of values.

        Raises
        ------
        ValueError
            If there is no such column.
        """
        for name in wanted:
            check_choice("column", name, COLUMNS)
        lists = {k: v if isinstance(v, (list, tuple, set)) else [v] for k, v in wanted.items()}
        return Results([r for r in self.rows if all(r[k] in v for k, v in lists.items())])

    def names(self, column: str) -> list[Any]:
        """Return the different values of a column, in the order of the rows."""
        check_choice("column", column, COLUMNS)
        return list(dict.fromkeys(row[column] for row in self.rows))

    def failures(self) -> list[dict[str, Any]]:
        """Return the rows whose method or metric ended with an error."""
        return [row for row in self.rows if row["status"] == "failed"]

    def table(self, metric: str, **wanted: Any) -> str:
        """Return one metric as text: a line a model, method and scene, a column a coordinate.

        Parameters
        ----------
        metric : str
            One metric; so task truth and model truth never share a table.
        **wanted
            As for `select`: for example ``model="localizer"``.

        Returns
        -------
        str
            Means with their intervals. Baselines are marked by a star; names that are the same
            in every line are left out.

        Raises
        ------
        ValueError
            If there are no such rows.
        """
        check_choice("metric", metric, self.names("metric"))
        chosen = self.select(metric=metric, **wanted)
        if not chosen.rows:
            raise ValueError(f"`wanted` leaves no rows of metric {metric!r}; got {wanted}.")
        shown = [k for k in ("model", "scene") if len(chosen.names(k)) > 1] + ["method"]
        columns = chosen.names("coordinate")
        lines: dict[tuple[str, ...], dict[str, str]] = {}
        for row in chosen:
            label = tuple(str(row[k]) for k in shown)
            if row["baseline"] is True:
                label = (*label[:-1], f"{label[-1]} *")
            lines.setdefault(label, {})[row["coordinate"]] = _cell(row)
        return _text((metric,) + ("",) * (len(shown) - 1), columns, lines)

    def to_csv(self, path: str | os.PathLike[str]) -> None:
        """Write the rows as CSV, whole or not at all; NaN is an empty field."""
        with replacing(path) as part, open(part, "w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
            writer.writeheader()
            writer.writerows({k: _written(row[k]) for k in COLUMNS} for row in self.rows)

    def to_json(self, path: str | os.PathLike[str]) -> None:
        """Write the rows as JSON, whole or not at all; NaN is null."""
        rows = [{k: _written(row[k], None) for k in COLUMNS} for row in self.rows]
        content = {"whitebox_loc": __version__, "rows": rows}
        with replacing(path) as part:
            part.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def read_results(path: str | os.PathLike[str]) -> Results:
    """Return the results that `Results.to_json` wrote.

    Parameters
    ----------
    path : path

    Returns
    -------
    Results
        Equal rows; no times.

    Raises
    ------
    ValueError
        If the file holds something else.
    OSError
        If it cannot be read.
    """
    with open(path, encoding="utf-8") as file:
        try:
            rows = json.load(file)["rows"]
            rows = [{k: _read(k, row[k]) for k in COLUMNS} for row in rows]
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(
                f"`path` {os.fspath(path)!r} holds no benchmark results ({error!r}). Name the "
                "results.json of a benchmark."
            ) from error
    return Results(rows)


def _read(column: str, value: Any) -> Any:
    return math.nan if value is None and column in ("mean", "low", "high") else value


def _written(value: Any, missing: Any = "") -> Any:
    return missing if isinstance(value, float) and math.isnan(value) else value


def _cell(row: dict[str, Any]) -> str:
    if row["status"] != "ok":
        return str(row["status"])
    return f"{row['mean']:.3f} [{row['low']:.3f} {row['high']:.3f}]"


def _text(
    corner: tuple[str, ...], columns: list[str], lines: dict[tuple[str, ...], dict[str, str]]
) -> str:
    table = [(*corner, *columns)]
    table += [(*label, *(cells.get(c, "") for c in columns)) for label, cells in lines.items()]
    widths = [max(len(line[i]) for line in table) for i in range(len(table[0]))]
    head = len(corner)
    text = []
    for line in table:
        left = [cell.ljust(width) for cell, width in zip(line[:head], widths, strict=False)]
        right = [
            cell.rjust(max(width, 19))
            for cell, width in zip(line[head:], widths[head:], strict=True)
        ]
        text.append("  ".join(left + right).rstrip())
    return "\n".join(text)
