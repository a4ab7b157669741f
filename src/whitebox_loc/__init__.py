"""How a localization CNN finds a box, and whether an explanation of it is true.

Submodules load on first use, so ``import whitebox_loc`` imports neither
TensorFlow nor matplotlib:

>>> import whitebox_loc as wb
>>> wb.boxes.convert([[10, 20, 30, 60]], "yxyx", "yxhw")
array([[10., 20., 20., 40.]])
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from whitebox_loc._version import __version__ as __version__

if TYPE_CHECKING:
    from types import ModuleType

    from whitebox_loc import (
        boxes,
        data,
        detection_losses,
        evaluation,
        introspect,
        losses,
        metrics,
        models,
        plots,
        report,
        testing,
        training,
        verification,
    )

__all__ = [
    "boxes",
    "data",
    "detection_losses",
    "evaluation",
    "introspect",
    "losses",
    "metrics",
    "models",
    "plots",
    "report",
    "testing",
    "training",
    "verification",
]


def __getattr__(name: str) -> ModuleType:
    """Import a public submodule when it is first asked for."""
    if name in __all__:
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module 'whitebox_loc' has no attribute {name!r}; it has {__all__}")


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
