"""The table that a benchmark fills: tidy rows, with their files and small views."""

from __future__ import annotations

import csv
import json
import math
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from whitebox_loc._digests import digest
from whitebox_loc._files import csv_cell, naming, replacing
from whitebox_loc._validation import check_choice, check_path, shortened
from whitebox_loc._version import __version__

Row = dict[str, Any]
"""A value for each of `COLUMNS`, or for those that a job computes."""

COLUMNS = (
    "model", "method", "baseline", "scene", "metric", "truth", "coordinate", "seed", "images",
    "n", "mean", "low", "high", "status", "error",
)  # fmt: skip
"""What a row holds, in the order of the file."""


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
        - ``mean``, ``low``, ``high``: mean over these and its 95% interval; NaN without any, the
          interval also for one;
        - ``status``: ``"ok"``, ``"undefined"`` (for every image), ``"not applicable"`` (to such
          a model or method) or ``"failed"``; ``error``: why, if it is not ``"ok"``.
    seconds : dict
        Time of each job in this call, by (model, method, scene); jobs that were taken from
        an earlier call are not in it.

    Notes
    -----
    ``pd.DataFrame(results.rows)`` is the same table in pandas, which this library does not need.

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

    rows: list[Row]
    seconds: dict[tuple[str, str, str], float] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[Row]:
        return iter(self.rows)

    def __repr__(self) -> str:
        return f"Results({len(self.rows)} rows, {len(self.failures())} failed)"

    def select(self, **wanted: Any) -> Results:
        """Return the rows whose columns equal the values given, or are among a list of values.

        Raises
        ------
        ValueError, TypeError
            If there is no such column, or what is wanted cannot stand in it.
        """
        for name in wanted:
            check_choice("column", name, COLUMNS)
        lists = {k: v if isinstance(v, (list, tuple, set)) else [v] for k, v in wanted.items()}
        for name, values in lists.items():
            if not all(isinstance(each, (str, int, float)) for each in values):
                raise TypeError(
                    f"`{name}` must be a value of that column, or a list of such; got "
                    f"{shortened(wanted[name])}."
                )
        return Results([r for r in self.rows if all(r[k] in v for k, v in lists.items())])

    def names(self, column: str) -> list[Any]:
        """Return the different values of a column, in the order of the rows."""
        check_choice("column", column, COLUMNS)
        return list(dict.fromkeys(row[column] for row in self.rows))

    def failures(self) -> list[Row]:
        """Return the rows whose method or metric ended with an error."""
        return [row for row in self.rows if row["status"] == "failed"]

    def table(self, metric: str, **wanted: Any) -> str:
        """Return one metric as text: a line a model, method and scene, a column a coordinate.

        It has means with their intervals. Baselines are marked by a star; names that are the same
        in every line are left out. `wanted` is as for `select`: for example ``model="localizer"``.

        Raises
        ------
        ValueError
            If there are no such rows.
        """
        check_choice("metric", metric, self.names("metric"))
        part = self.select(metric=metric, **wanted)
        if not part.rows:
            raise ValueError(f"`wanted` leaves no rows of metric {metric!r}; got {wanted}.")
        keys = [k for k in ("model", "scene") if len(part.names(k)) > 1] + ["method"]
        columns = part.names("coordinate")
        lines: dict[tuple[str, ...], dict[str, str]] = {}
        for row in part:
            label = tuple(str(row[k]) for k in keys)
            if row["baseline"] is True:
                label = (*label[:-1], f"{label[-1]} *")
            lines.setdefault(label, {})[row["coordinate"]] = _cell(row)
        return _text((metric,) + ("",) * (len(keys) - 1), columns, lines)

    def to_csv(self, path: str | os.PathLike[str]) -> None:
        """Write the rows as CSV, whole or not at all; NaN is an empty field.

        Text that a spreadsheet would take for a formula, since it begins with ``=``, ``+``, ``-``
        or ``@`` (behind apostrophes or not), gets an apostrophe in front; the JSON needs none.
        """
        rows = ([_plain(row[k]) for k in COLUMNS] for row in self.rows)
        write_csv("path", check_path("path", path), COLUMNS, rows)

    def to_json(self, path: str | os.PathLike[str]) -> None:
        """Write the rows as JSON with their checksum, whole or not at all; NaN is null."""
        rows = [{k: _plain(row[k], None) for k in COLUMNS} for row in self.rows]
        content = {"whitebox_loc": __version__, "checksum": digest(rows), "rows": rows}
        with naming("path", check_path("path", path)), replacing(path) as part:
            part.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def write_csv(name: str, path: Path, columns: Iterable[str], rows: Iterable[Iterable[Any]]) -> None:
    """Write a table, whole or not at all; errors of the disk name the argument."""
    with (
        naming(name, path),
        replacing(path) as part,
        open(part, "w", newline="", encoding="utf-8") as file,
    ):
        writer = csv.writer(file, lineterminator="\n")
        writer.writerows([csv_cell(cell) for cell in row] for row in (columns, *rows))


def read_results(path: str | os.PathLike[str]) -> Results:
    """Return the results that `Results.to_json` wrote: equal rows, no times.

    Raises
    ------
    ValueError
        If the file holds something else, or not the rows that were written. Files of earlier
        versions have no checksum; of them only the form is checked.
    OSError
        If it cannot be read.
    """
    with naming("path", check_path("path", path)):
        text = Path(path).read_bytes()
    try:
        content = json.loads(text)
    except ValueError as error:
        raise _damaged(path, f"it is not JSON ({error})") from error
    rows = content.get("rows") if isinstance(content, dict) else None
    if not isinstance(rows, list):
        raise _damaged(path, "it has no list of rows")
    for index, row in enumerate(rows):
        fault = fault_of(row, COLUMNS)
        if fault:
            raise _damaged(path, f"row {index}: {fault}")
    if content.get("checksum", digest(rows)) != digest(rows):
        raise _damaged(path, "its checksum does not fit its rows")
    nan = math.nan
    return Results([{k: nan if row[k] is None else row[k] for k in COLUMNS} for row in rows])


def fault_of(row: object, columns: Iterable[str]) -> str:
    """Return what keeps `row` from being a row of a table with these columns; empty if nothing."""
    if not isinstance(row, dict):
        return f"it must be an object; it is {row!r}"
    for name in columns:
        if name not in row:
            return f"{name!r} is missing"
        if not FITS[name](row[name]):
            return f"{name!r} is {row[name]!r}"
    if (row["status"] == "ok") != (row["n"] > 0 and _is_known(row["mean"])):
        return f"its status is {row['status']!r} with n = {row['n']!r} and mean = {row['mean']!r}"
    return ""


def _is_known(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value)


def _is_mean(value: object) -> bool:
    return value is None or _is_known(value) or (isinstance(value, float) and math.isnan(value))


FITS: dict[str, Callable[[Any], bool]] = {
    **dict.fromkeys(
        ("model", "method", "scene", "metric", "coordinate", "error"),
        lambda value: isinstance(value, str),
    ),
    **dict.fromkeys(("seed", "images", "n"), lambda value: type(value) is int and value >= 0),
    **dict.fromkeys(("mean", "low", "high"), _is_mean),
    "baseline": lambda value: isinstance(value, bool),
    "truth": lambda value: value in ("task", "model", "none"),
    "status": lambda value: value in ("ok", "undefined", "not applicable", "failed"),
}
"""Column to whether a value can stand in it."""


def _damaged(path: str | os.PathLike[str], fault: str) -> ValueError:
    return ValueError(
        f"`path` {os.fspath(path)!r} holds no benchmark results, or damaged ones: {fault}. Name "
        "the results.json of a benchmark, or call it again with the same `out` to write it anew."
    )


def _plain(value: Any, missing: Any = "") -> Any:
    return missing if isinstance(value, float) and math.isnan(value) else value


def _cell(row: Row) -> str:
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
        cells = enumerate(zip(line, widths, strict=True))
        row = [c.ljust(w) if i < head else c.rjust(max(w, 19)) for i, (c, w) in cells]
        text.append("  ".join(row).rstrip())
    return "\n".join(text)
