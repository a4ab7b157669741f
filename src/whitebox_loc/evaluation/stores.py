"""Finished jobs in a folder: one small file each, whole or absent."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from whitebox_loc._files import replacing
from whitebox_loc.evaluation.jobs import Cell, Job, Outcome

__all__ = ["load_cells", "save_cells"]

FORMAT = "whitebox_loc benchmark job 2"


def load_cells(folder: Path | None, job: Job) -> dict[str, Cell]:
    """Return what is already known of a job, by the label of each metric.

    A file belongs to a job by the digest of all its settings, and a cell to a metric by the
    digest of the metric: what was measured otherwise is never found. Cells that failed are left
    out, so that they are tried again.
    """
    if folder is None:
        return {}
    stored = _read(folder / f"{job.key}.json")
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
    cells = _read(path) | {keys[label]: cell for label, cell in outcome.cells.items()}
    about = {"format": FORMAT, "settings": job.settings, "names": _names(job), "cells": cells}
    with replacing(path) as part:
        part.write_text(json.dumps(about) + "\n", encoding="utf-8")


def _names(job: Job) -> dict[str, Any]:
    """Names for a reader of the file; they decide nothing."""
    return {"model": job.model.name, "method": job.method.label, "scene": job.scene_name}


def _read(path: Path) -> dict[str, Cell]:
    try:
        about = json.loads(path.read_text(encoding="utf-8"))
        return about["cells"] if about["format"] == FORMAT else {}
    except FileNotFoundError:
        return {}
    except (ValueError, KeyError, TypeError):
        # Not ours or damaged: the job is done again and the file replaced.
        return {}
