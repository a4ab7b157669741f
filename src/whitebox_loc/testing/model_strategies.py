"""Localizers for property-based tests: built and traced once, with other weights each time."""

from __future__ import annotations

import functools
from collections.abc import Hashable, Sequence
from typing import Any

from hypothesis import note
from hypothesis import strategies as st
from hypothesis.control import cleanup

from whitebox_loc._types import Model
from whitebox_loc._validation import check_choice, check_int, check_size, shortened
from whitebox_loc.introspect.tracing.layers import named_layers
from whitebox_loc.models import HEADS, localizer, reinitialize
from whitebox_loc.models.initialization import kept_random_state
from whitebox_loc.testing.strategies import SIZE

_FILTERS = ((2,), (3, 4))

_free: dict[Hashable, list[tuple[Model, Any]]] = {}


def localizers(
    *,
    size: tuple[int, int] = SIZE,
    channels: int = 1,
    heads: str | Sequence[str] = tuple(HEADS),
    classes: int | None = None,
) -> st.SearchStrategy[Model]:
    """Draw small untrained localizers.

    Building and tracing a model takes a thousand times longer than running it. So models are
    **shared**: each configuration is built once in a process, and an example gets it with the
    weights of its own seed. After the example a model goes back, and its weights will be drawn
    anew: do not keep it. A model whose settings were changed is not used again.

    Parameters
    ----------
    size : (height, width), default (12, 16)
        Of the images, in pixels.
    channels : int, default 1
        Of the images.
    heads : str or sequence of str, default all
        Names in `whitebox_loc.models.HEADS`.
    classes : int, optional
        As in `whitebox_loc.models.localizer`.

    Returns
    -------
    strategy of keras.Model
        With 2, or 3 and 4 filters, and 2 along profiles. Shrinks to the first head with the fewest
        filters and the weights of seed 0. A failing test prints the call that builds its model.

    Examples
    --------
    >>> from hypothesis import given, settings
    >>> import whitebox_loc as wb
    >>> @settings(max_examples=5)
    ... @given(localizers(heads="dense"), wb.testing.images())
    ... def test_coordinates_are_fractions(model, images):
    ...     corners = model(images).numpy()
    ...     assert ((corners >= 0) & (corners <= 1)).all()
    >>> test_coordinates_are_fractions()
    """
    names = [heads] if isinstance(heads, str) else heads
    if not isinstance(names, (list, tuple)) or not names:
        raise TypeError(
            f"`heads` must be a name or a sequence of names from {list(HEADS)}; got "
            f"{shortened(heads)}."
        )
    settings = {
        "size": check_size("size", size),
        "channels": check_int("channels", channels, low=1),
        "classes": None if classes is None else check_int("classes", classes, low=2),
    }
    return _localizers([check_choice("heads", name, HEADS) for name in names], settings)


@st.composite
def _localizers(draw: st.DrawFn, heads: list[str], settings: dict[str, Any]) -> Model:
    head = draw(st.sampled_from(heads))
    along = None if HEADS[head][2] is None else 2
    filters = draw(st.sampled_from(_FILTERS))
    options = {**settings, "head": head, "filters": filters, "line_filters": along}
    seed = draw(st.integers(0, 2**16))
    arguments = ", ".join(f"{k}={v!r}" for k, v in {**options, "seed": seed}.items())
    note(f"whitebox_loc.models.localizer({arguments})")
    return reinitialize(_lent(options), seed=seed)


def _lent(options: dict[str, Any]) -> Model:
    """Return a model that no one else has until the example ends."""
    free = _free.setdefault(tuple(options.items()), [])
    if free:
        model, settings = free.pop()
    else:
        with kept_random_state():
            model = localizer(**options)
        settings = _settings(model)
    cleanup(functools.partial(_take_back, free, model, settings))
    return model


def _take_back(free: list[tuple[Model, Any]], model: Model, settings: Any) -> None:
    if _settings(model) == settings:
        free.append((model, settings))


def _settings(model: Model) -> Any:
    """Return what of a model a test may have changed, besides its weights."""
    calls = [vars(layer).get("call") for layer in (model, *named_layers(model).values())]
    return repr(model.get_config()), calls
