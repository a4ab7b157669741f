"""A trial, which metrics take, and a metric: a function and a row."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from whitebox_loc._types import Array, ArrayLike, Model
from whitebox_loc._validation import check_choice, check_names, shortened

if TYPE_CHECKING:
    import keras

    from whitebox_loc.data.scenes import Scene

KINDS = ("location", "faithfulness", "stability", "sanity", "complexity")
"""What metrics are about."""

TRUTHS = ("task", "model", "none")
"""What a metric compares maps with: what the image says, what the model does, or nothing."""

_NEEDS = ("model", "explain", "used", "gap", "scene")


@dataclass(frozen=True)
class Trial:
    """One coordinate's maps, by one method, for one model and batch: the argument of metrics.

    Parameters
    ----------
    maps : float array (n, height, width)
        Signed maps.
    images : float array (n, height, width, channels)
    boxes : array (n, 4)
        True boxes, ``yxyx`` pixels, half open.
    coordinate : str
        What the maps explain: "top", "left", "bottom", "right" or a derived coordinate.
    scene : Scene
        What the images show.
    labels : int array (n,)
        Shape of each image, an index in ``scene.shapes``.
    model : keras.Model, optional
        The model that the maps explain.
    explain : callable, optional
        From a model and images to maps: the same method, target and options elsewhere.
    used : bool array (n, height, width), optional
        Model truth: the pixels that this model uses for the coordinate.
    gap : float array (n,), optional
        Completeness gap: sum of the map minus the difference of the target that it explains.
    seed : int, default 0
        For metrics with a random part.
    batch_size : int, default 256
        Most images in one pass of the model.

    Examples
    --------
    >>> import whitebox_loc as wb
    >>> scene = wb.data.Scene(size=(6, 8))
    >>> batch = wb.data.generate(scene, 2, seed=0)
    >>> trial = Trial(batch.images[..., 0], batch.images, batch.boxes, "top", scene, batch.labels)
    >>> len(trial), trial.lacks({"model", "scene"})
    (2, ['model'])
    """

    maps: Array
    images: Array
    boxes: Array
    coordinate: str
    scene: Scene
    labels: Array
    model: keras.Model | None = None
    explain: Callable[[Model, Array], ArrayLike] | None = None
    used: Array | None = None
    gap: Array | None = None
    seed: int = 0
    batch_size: int = 256

    def __len__(self) -> int:
        return len(self.maps)

    def lacks(self, needs: Any) -> list[str]:
        """Return which of the parts named in `needs` this trial does not have."""
        needs = check_names("needs", needs, _NEEDS, least=0)
        return [name for name in _NEEDS if name in needs and getattr(self, name) is None]


@dataclass(frozen=True)
class Metric:
    """A row of METRICS; a kind or truth that is not known raises a ValueError or TypeError.

    Attributes
    ----------
    name : str
    function : callable
        From a `Trial` and keyword options to a float64 array (n,), NaN where undefined.
    kind : str
        One of `KINDS`.
    truth : {"task", "model", "none"}
        What the maps are compared with: what the image says, what the model does, nothing.
    higher_is_better : bool
    range : (float, float)
        Least and greatest value, infinite where there is none.
    formula : str
        LaTeX.
    paper : str
    fooled_by : str
        What scores well without being a true explanation, or the other way round.
    needs : frozenset of str
        Parts of a trial it cannot do without: some of "model", "explain", "used", "gap", "scene".
    signed : bool
        Whether it claims to see the signs of a map.
    oracle : str
        Which map is exact for it: "slope", by how much the target moves per unit of brightness;
        or a name in `replacing.FILLS`, each pixel's share in the difference that the target has
        to the image filled so. With "black" they differ in dark pixels, whose share is 0.
    options : mapping
        Options that the row sets.
    """

    name: str
    function: Callable[..., Array]
    kind: str
    truth: str
    higher_is_better: bool
    range: tuple[float, float]
    formula: str
    paper: str
    fooled_by: str
    needs: frozenset[str] = frozenset()
    signed: bool = False
    oracle: str = "slope"
    options: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        # Tables are made by kind and truth: a row of an unknown one would be in none.
        check_choice("kind", self.kind, KINDS)
        check_choice("truth", self.truth, TRUTHS)

    def score(self, trial: Trial, **options: Any) -> Array:
        """Return ``function(trial)`` with the row's options, after checking what it needs.

        Raises
        ------
        ValueError, TypeError
            If the trial lacks a part that the metric needs, or is none.
        """
        if not isinstance(trial, Trial):
            raise TypeError(
                f"`trial` must be a Trial, of maps, images and boxes; got {shortened(trial)}."
            )
        lacking = trial.lacks(self.needs)
        if lacking:
            raise ValueError(
                f"Metric {self.name!r} needs `trial.{lacking[0]}`, which is None. Give the trial "
                f"all of {sorted(self.needs)}, or leave the metric out."
            )
        return self.function(trial, **{**self.options, **options})


def check_values(name: str, values: ArrayLike, n: int) -> Array:
    """Return what a metric returned as float64 array (n,), finite or NaN where undefined."""
    array = np.asarray(values, np.float64)
    if array.shape != (n,):
        raise ValueError(
            f"Metric {name!r} must return one number an image, shape ({n},); got shape "
            f"{array.shape}."
        )
    if np.isinf(array).any():
        bad = int(np.argmax(np.isinf(array)))
        raise ValueError(
            f"Metric {name!r} must be finite or NaN; it is {array[bad]} on image {bad}. Return "
            "NaN where it is undefined."
        )
    return array
