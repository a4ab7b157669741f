"""A training run in one file, from which it goes on as if it had never stopped."""

from __future__ import annotations

import dataclasses
import json
import os
import zipfile
from typing import Any

import numpy as np

from whitebox_loc._files import replacing
from whitebox_loc._types import Array, Model
from whitebox_loc.data.sharding import first_difference
from whitebox_loc.training.history import History

FORMAT = "whitebox_loc training checkpoint 3"


@dataclasses.dataclass
class Run:
    """Everything that changes while a model is trained, and the name of the run."""

    model: Model
    optimizer: Any
    history: History
    identity: dict[str, Any]
    seconds: float = 0.0

    def variables(self) -> dict[str, Any]:
        """Return all state by a stable key: model, random generators and optimizer."""
        parts = {"model": self.model, "optimizer": self.optimizer}
        return {f"{k}/{i}": v for k, part in parts.items() for i, v in enumerate(part.variables)}


def save(run: Run, path: str | os.PathLike[str]) -> None:
    """Write the run to `path`; an interruption leaves the previous file."""
    arrays = {key: np.asarray(variable) for key, variable in run.variables().items()}
    # npz stores bfloat16 as raw bytes that NumPy cannot read back; float32 holds it exactly.
    arrays = {k: a.astype("float32") if a.dtype.kind == "V" else a for k, a in arrays.items()}
    arrays |= {f"history/{name}": run.history[name] for name in run.history.names}
    about = {"format": FORMAT, "seconds": run.seconds, "identity": run.identity}
    arrays["about"] = np.array(json.dumps(about))
    # Typed loosely, since savez takes the names of arrays as keywords beside its own.
    write: Any = np.savez
    with replacing(path) as part, open(part, "wb") as file:
        write(file, **arrays)


def restore(run: Run, path: str | os.PathLike[str]) -> None:
    """Load `path` into `run`, in place, or raise a ValueError if it is damaged or another run's."""
    try:
        # NumPy leaves a path it opened itself open when the content is damaged.
        with open(path, "rb") as opened, np.load(opened, allow_pickle=False) as file:
            arrays = {key: file[key] for key in file.files}
        about = json.loads(str(arrays.pop("about")))
        if about["format"] != FORMAT:
            raise ValueError(f"its format is {about['format']!r}, not {FORMAT!r}")
    except (ValueError, KeyError, TypeError, EOFError, OSError, zipfile.BadZipFile) as error:
        raise ValueError(
            f"`checkpoint` file {os.fspath(path)!r} is not a readable training checkpoint "
            f"({error}). Delete it to start anew, or name another file."
        ) from error
    if difference := first_difference(run.identity, about["identity"]):
        raise ValueError(
            f"`checkpoint` file {os.fspath(path)!r} belongs to another run: {difference}. Delete "
            "it or name another file."
        )
    _check_shapes(run, arrays, path)
    for key, variable in run.variables().items():
        variable.assign(arrays[key])
    names = run.history.names
    run.history = History({name: arrays[f"history/{name}"] for name in names}, names)
    run.seconds = float(about["seconds"])


def _check_shapes(run: Run, arrays: dict[str, Array], path: str | os.PathLike[str]) -> None:
    own = {key: tuple(variable.shape) for key, variable in run.variables().items()}
    stored = {key: a.shape for key, a in arrays.items() if not key.startswith("history/")}
    if own != stored or not {f"history/{name}" for name in run.history.names} <= set(arrays):
        raise ValueError(
            f"`checkpoint` file {os.fspath(path)!r} belongs to another model or optimizer: it "
            f"holds {len(stored)} arrays of other shapes or number than the {len(own)} variables "
            "of this run. Delete it or name another file."
        )
