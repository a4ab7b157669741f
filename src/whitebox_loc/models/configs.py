"""Configurations of models, without the names that Keras makes up."""

from __future__ import annotations

import re
from typing import Any

__all__ = ["without_made_up_names"]


def without_made_up_names(config: Any) -> Any:
    """Return a configuration with names that are a class and perhaps a number made regular.

    Keras counts layers for as long as the process lives, so that a second model gets others.
    Here they are numbered as they appear.

    Examples
    --------
    >>> layers = [{"class_name": "Dense", "config": {"name": name}} for name in ("dense_7", "box")]
    >>> [layer["config"]["name"] for layer in without_made_up_names(layers)]
    ['dense 0', 'box']
    """
    names: dict[str, str] = {}
    _made_up(config, names)
    return _renamed(config, names)


def _made_up(config: Any, names: dict[str, str]) -> None:
    """Collect names that are a class and perhaps a number, and number them as they appear."""
    if isinstance(config, dict):
        kind, inner = config.get("class_name"), config.get("config")
        name = inner.get("name") if isinstance(inner, dict) else None
        if isinstance(kind, str) and isinstance(name, str):
            stem = re.sub(r"_\d+$", "", name)
            if stem.replace("_", "") == kind.lower():
                names.setdefault(name, f"{stem} {len(names)}")
        config = list(config.values())
    if isinstance(config, (list, tuple)):
        for item in config:
            _made_up(item, names)


def _renamed(config: Any, names: dict[str, str]) -> Any:
    if isinstance(config, dict):
        return {key: _renamed(item, names) for key, item in config.items()}
    if isinstance(config, (list, tuple)):
        return [_renamed(item, names) for item in config]
    return names.get(config, config) if isinstance(config, str) else config
