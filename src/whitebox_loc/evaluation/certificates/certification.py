"""Certifying methods: comparing their maps with what compiled models really use."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache, partial
from typing import Any

import keras
import numpy as np

from whitebox_loc._statistics import bootstrap_interval
from whitebox_loc._types import Array, ArrayLike
from whitebox_loc._validation import (
    check_choice,
    check_int,
    check_memory,
    check_names,
    check_size,
    shortened,
)
from whitebox_loc.boxes.formats import COORDINATES
from whitebox_loc.data import Scene, as_scene, generate
from whitebox_loc.evaluation.benchmarking.specs import named_scenes
from whitebox_loc.evaluation.certificates.results import Certificate, Check
from whitebox_loc.evaluation.scores.checking import check_drawing
from whitebox_loc.introspect.attribution.choices import choose
from whitebox_loc.introspect.attribution.maps import saliency
from whitebox_loc.introspect.methods import METHODS
from whitebox_loc.models import COMPILED, Compiled, compiled, mechanism

MAJORITY = 0.5
"""Share of the map that used pixels must have more than: see `certify`."""

SILENCE = 1e-5
"""Largest map where nothing is used: a hundred float32 roundings (6e-8) of an answer of 1."""

RESAMPLES = 2000

NOT_FINITE = "not finite"
"""Note of a check on maps that hold a NaN or an infinity."""

Explain = Callable[[keras.Model, Array, str], ArrayLike]


def certify(
    method: str | Explain,
    *,
    mechanisms: str | Iterable[str] | None = None,
    scenes: Mapping[str, Scene] | None = None,
    size: tuple[int, int] = (16, 20),
    n: int = 16,
    seed: int = 0,
    batch_size: int = 256,
    **options: Any,
) -> Certificate:
    """Run a method over compiled models and scenes, and compare its maps with model truth.

    For each model, scene and coordinate, `mechanism` gives the pixels of each image that the
    model uses. Three checks follow, and a certificate is passed if all are:

    - ``"share"``, where some pixels are used and others not: of the sum of the map's absolute
      values, the used pixels must have more than half, and more than their share of the
      image; the lower end of the 95% bootstrap interval of the mean over images decides. A
      blank map has share 0.
    - ``"shown"``, where all pixels are used, so that no map could be at a wrong place: the
      map must not be blank.
    - ``"silence"``, where none is used: the map must be 0, but for rounding.

    Half, because no lower threshold makes sure that a map that does not depend on the model, or
    on the coordinate, fails somewhere; the share of the image, because a uniform map reaches it.
    Passing is necessary for a map to be true, not sufficient: signs and sizes are not judged, nor
    whether all used pixels have a part in the map.

    Parameters
    ----------
    method : str or callable
        A name from `METHODS`, or a function ``(model, images, coordinate)`` to maps
        ``(n, height, width)``.
    mechanisms : str or iterable of str, optional
        One or more names from `COMPILED`; by default all.
    scenes : mapping of str to Scene, optional
        Plain scenes of one size, all with one channel; by default boxes anywhere, large
        ones, thin ones, and such that touch the border.
    size : (int, int), default (16, 20)
        Height and width of the images of the default scenes.
    n : int, default 16
        Images of each scene, at least 2.
    seed : int, default 0
        Source of images, resamples, and of methods that take a seed.
    batch_size : int, default 256
        Most images in one pass of a model.
    **options
        Options of the method.

    Returns
    -------
    Certificate
        Its ``failures`` name the mechanisms that failed; ``table()`` has the details. A method
        fails where it raises an exception or changes the weights of the model.

    Raises
    ------
    ValueError, TypeError
        If an argument is not one of the above.

    Examples
    --------
    >>> import whitebox_loc as wb
    >>> certify("gradient", mechanisms=["constant"], n=2)
    <Certificate of gradient: passed; 16 checks>
    >>> def bright(model, images, coordinate):
    ...     return images[..., 0]
    >>> certify(bright, mechanisms=["constant"], n=4).failures
    ('constant',)
    """
    explain, name = _explainer(method, options, seed, check_int("batch_size", batch_size, low=1))
    check_int("n", n, low=2)
    names = list(COMPILED)
    if mechanisms is not None:
        names = check_names("mechanisms", mechanisms, COMPILED)
    seed = check_int("seed", seed, low=0)
    by_name = _check_scenes(_default_scenes(check_size("size", size)) if scenes is None else scenes)
    check_drawing(n, by_name.values())
    images = {key: generate(scene, n, seed=seed).images for key, scene in by_name.items()}
    rows: list[Check] = []
    for each in names:
        rows += _certify_one(explain, each, images, seed)
    return Certificate(name, dict(options), tuple(rows))


def _certify_one(
    explain: Callable[..., Array], name: str, images: Mapping[str, Array], seed: int
) -> list[Check]:
    every = np.concatenate(list(images.values()))
    model = _model(COMPILED[name], every.shape[1:3])
    used = mechanism(model).used(every)
    weights = model.get_weights()
    note, maps = "", np.empty(0)
    try:
        maps = explain(model, every)
    except Exception as error:  # Whatever it is, it is the method's failure on this model.
        note = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
    if not all(map(np.array_equal, model.get_weights(), weights)):
        # The model is kept for others, who must get the one whose truth is known.
        model.set_weights(weights)
        note = note or "changed the model: its weights are not what they were"
    if note:
        return [Check(name, "", "", "error", np.nan, np.nan, np.nan, np.nan, False, note)]
    rows, start = [], 0
    for scene, batch in images.items():
        part = slice(start, start + len(batch))
        start += len(batch)
        for index, coordinate in enumerate(COORDINATES):
            where = (name, scene, coordinate)
            rows += _checks(maps[index, part], used[index, part], where, seed)
    return rows


def _checks(maps: Array, used: Array, where: tuple[str, str, str], seed: int) -> list[Check]:
    """Compare maps (n, height, width) with used pixels of the same shape."""
    size = np.abs(maps.astype(np.float64))
    area = used.mean((1, 2))
    blank = size.max((1, 2)) == 0
    none, everything = area == 0, area == 1
    rows = []
    if none.any():
        loudest = float(size[none].max())
        # A NaN is not silent.
        passed = bool(loudest <= SILENCE)
        note = "" if np.isfinite(size[none]).all() else NOT_FINITE
        rows.append(Check(*where, "silence", loudest, loudest, loudest, SILENCE, passed, note))
    if everything.any():
        share = float(1 - blank[everything].mean())
        finite = bool(np.isfinite(size[everything]).all())
        passed = share == 1 and finite
        note = NOT_FINITE if not finite else _blank_note(blank[everything]) if share < 1 else ""
        rows.append(Check(*where, "shown", share, share, share, 1.0, passed, note))
    some = ~none & ~everything
    if some.any():
        rows.append(_share(size[some], used[some], blank[some], where, seed))
    return rows


def _share(size: Array, used: Array, blank: Array, where: tuple[str, str, str], seed: int) -> Check:
    """Check that used pixels have most of the map, and more of it than by chance."""
    if not np.isfinite(size).all():
        return Check(*where, "share", np.nan, np.nan, np.nan, MAJORITY, False, NOT_FINITE)
    total = size.sum((1, 2))
    share = (size * used).sum((1, 2)) / np.where(blank, 1, total)
    limit = np.maximum(MAJORITY, used.mean((1, 2)))
    margin = share - limit
    # One image alone has no spread; twice the same gives it the interval of one point.
    several = np.resize(margin, max(len(margin), 2))
    ends = bootstrap_interval(several, resamples=RESAMPLES, seed=seed)
    threshold = float(limit.mean())
    # The interval is that of the margin, moved to where shares are.
    low, high = (float(np.clip(threshold + end, 0, 1)) for end in ends)
    note = _blank_note(blank) if blank.any() else ""
    # Rounding of the sums; a uniform map is at its limit and must not pass by it.
    passed = bool(ends[0] > 1e-9)
    return Check(*where, "share", float(share.mean()), low, high, threshold, passed, note)


def _blank_note(blank: Array) -> str:
    return f"blank on {blank.sum()} of {len(blank)} images"


@lru_cache(maxsize=2 * len(COMPILED))
def _model(row: Compiled, size: tuple[int, int]) -> keras.Model:
    # Kept between methods, because what was traced for a model is kept with it. Rows compare
    # by identity: one that takes another's place gets a model of its own.
    return compiled(row.name, size)


def _default_scenes(size: tuple[int, int]) -> dict[str, Scene]:
    """Return the scenes; sides of two pixels at least but for the thin one."""
    check_memory("size", size, 4.0 * size[0] * size[1], "an image")
    sides: dict[str, Any] = {"heights": (2, None), "widths": (2, None)}
    if min(size) < 3:
        raise ValueError(f"`size` must be at least 3 pixels both ways; got {size}.")
    return {
        "uniform": Scene(size, **sides),
        "large": Scene(size, heights=(size[0] // 2, None), widths=(size[1] // 2, None)),
        "thin": as_scene("thin", size=size),
        "border": Scene(size, position="border", **sides),
    }


def _check_scenes(scenes: Mapping[str, Scene]) -> dict[str, Scene]:
    if not isinstance(scenes, Mapping) or not scenes:
        raise TypeError(
            f"`scenes` must be a mapping from names to at least one Scene; got {shortened(scenes)}."
        )
    by_name = named_scenes(scenes)
    sizes = {scene.size for scene in by_name.values()}
    if len(sizes) > 1:
        raise ValueError(
            f"`scenes` must all have one size; got {sorted(sizes)}. Use as_scene(scene, size=...)."
        )
    for name, scene in by_name.items():
        images = generate(scene, 4, seed=0).images
        two_levels = images.shape[3] == 1 and set(np.unique(images)) <= {0, 1}
        if scene.shapes != ("rectangle",) or not two_levels:
            raise ValueError(
                f"`scenes` must be plain: rectangles of brightness 1 on 0 in one channel; "
                f"{name!r} is {scene}."
            )
    return by_name


def _explainer(
    method: str | Explain, options: dict[str, Any], seed: int, batch_size: int
) -> tuple[Callable[..., Array], str]:
    """Return a function from model and images to maps (4, n, height, width), and its name."""
    if callable(method):
        if options:
            raise TypeError(
                f"A callable `method` takes no options; got {sorted(options)}. Bind them to it."
            )
        name = getattr(method, "__name__", type(method).__name__)
        return partial(_stacked, method), name
    choice = choose(check_choice("method", method, METHODS), options)
    name = choice.row.name
    if "seed" in choice.options:
        options = {"seed": seed, **options}

    def explain(model: keras.Model, images: Array) -> Array:
        return saliency(model, images, COORDINATES, name, batch_size=batch_size, **options)

    return explain, name


def _stacked(method: Explain, model: keras.Model, images: Array) -> Array:
    maps = np.stack([np.asarray(method(model, images, each)) for each in COORDINATES])
    if maps.shape != (4, *images.shape[:3]):
        raise ValueError(
            f"`method` must return maps of shape {images.shape[:3]}; got {maps.shape[1:]}."
        )
    return maps
