"""Finished jobs in a folder: one small file each, whole or absent, and believed only if sound."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

from whitebox_loc._digests import digest
from whitebox_loc._files import naming, replacing
from whitebox_loc.evaluation.benchmarking.jobs import Cell, Job, Outcome
from whitebox_loc.evaluation.benchmarking.results import fault_of

FORMAT = "whitebox_loc benchmark job 3"

COLUMNS = ("n", "mean", "low", "high", "status", "error")
"""The scores of a metric for one coordinate."""


class DamagedCellWarning(UserWarning):
    """A file of a benchmark does not hold what was written to it; its jobs are done again."""


def load_cells(folder: Path | None, job: Job) -> dict[str, Cell]:
    """Return the stored cells of a job by the label of each metric.

    A file belongs to a job by the digest of all its settings, and a cell to a metric by the
    digest of the metric. Cells that failed are left out, so that they are tried again; and so
    are those that are damaged, with a warning.
    """
    if folder is None:
        return {}
    path = folder / f"{job.key}.json"
    stored, fault = _read(path, job)
    if fault:
        warnings.warn(
            f"{path} is damaged or of another version: {fault}. What is missing is computed again.",
            DamagedCellWarning,
            stacklevel=2,
        )
    cells = {metric.label: stored.get(metric.key) for metric in job.metrics}
    return {
        label: cell
        for label, cell in cells.items()
        if cell is not None and all(row["status"] != "failed" for row in cell)
    }


def save_cells(folder: Path | None, job: Job, outcome: Outcome) -> None:
    """Add the outcome of a job to its file; a kill leaves the earlier file or the new one."""
    if folder is None:
        return
    path = folder / f"{job.key}.json"
    keys = {metric.label: metric.key for metric in job.metrics}
    sound, _ = _read(path, job)
    cells = sound | {keys[label]: cell for label, cell in outcome.cells.items()}
    signed = {
        key: {"rows": cell, "checksum": _checksum(job, key, cell)} for key, cell in cells.items()
    }
    # For a reader of the file; they decide nothing.
    names = {"model": job.model.name, "method": job.method.label, "scene": job.scene_name}
    about = {"format": FORMAT, "settings": job.settings, "names": names, "cells": signed}
    with naming("out", path), replacing(path) as part:
        part.write_text(json.dumps(about) + "\n", encoding="utf-8")


def _checksum(job: Job, key: str, rows: Any) -> str:
    # With the job and the metric: a cell that was copied elsewhere is damage, too.
    return digest([job.key, key, rows])


def _read(path: Path, job: Job) -> tuple[dict[str, Cell], str]:
    """Return the sound cells of a file by the digest of their metric, and what is wrong."""
    try:
        with naming("out", path):
            about = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}, ""
    except ValueError as error:
        return {}, f"it is not JSON ({error})"
    if not isinstance(about, dict) or about.get("format") != FORMAT:
        form = about.get("format") if isinstance(about, dict) else type(about).__name__
        return {}, f"its format is {form!r}, not {FORMAT!r}"
    if not isinstance(about.get("cells"), dict):
        return {}, f"`cells` must be an object; it is {about.get('cells')!r}"
    labels = {metric.key: metric.label for metric in job.metrics}
    faults = {key: _fault(job, key, cell) for key, cell in about["cells"].items()}
    sound = {key: cell["rows"] for key, cell in about["cells"].items() if not faults[key]}
    texts = [f"cell {labels.get(key, key)!r}: {fault}" for key, fault in faults.items() if fault]
    return sound, "; ".join(texts)


def _fault(job: Job, key: str, cell: Any) -> str:
    """Return what is wrong with a cell; empty if nothing is."""
    rows = cell.get("rows") if isinstance(cell, dict) else None
    if not isinstance(rows, list):
        return "it has no rows"
    if len(rows) != len(job.coordinates):
        return f"it has {len(rows)} rows for {len(job.coordinates)} coordinates"
    wrong = [fault for row in rows if (fault := fault_of(row, COLUMNS))]
    if wrong:
        return wrong[0]
    same = cell.get("checksum") == _checksum(job, key, rows)
    return "" if same else "its checksum does not fit its rows"
