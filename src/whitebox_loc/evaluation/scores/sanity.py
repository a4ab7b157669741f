"""Sanity: whether the map changes when the model's weights become random."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import keras
import numpy as np

from whitebox_loc._types import Array, ArrayLike, Seed, Tensor
from whitebox_loc._validation import (
    check_bool,
    check_callable,
    check_choice,
    check_int,
    check_model,
    check_real,
)
from whitebox_loc.data.sampling import branch, seed_root
from whitebox_loc.evaluation.scores.checking import MOST_SAMPLES, check_shown, flat, ratio
from whitebox_loc.evaluation.scores.similarity import SIMILARITIES
from whitebox_loc.evaluation.scores.stability import explained
from whitebox_loc.introspect.tracing.layers import named_layers
from whitebox_loc.models.initialization import kept_random_state, reinitialize

Explain = Callable[[keras.Model, Array], ArrayLike]

ORDERS = ("top_down", "bottom_up")

RANDOM_WEIGHTS = 1
"""Spawn key of the stream that random weights come from."""


def randomization(
    model: keras.Model,
    images: ArrayLike,
    explain: Explain,
    *,
    similarity: str = "spearman",
    absolute: bool = True,
    order: str = "top_down",
    samples: int = 1,
    noise: float = 0.1,
    seed: Seed = 0,
    return_layers: bool = False,
) -> Any:
    r"""Return how alike maps stay while layer after layer gets random weights (MPRT).

    Parameters
    ----------
    model : keras.Model
        Functional or Sequential, with weights. It is left as it is: a copy is randomized.
    images : float array (n, height, width, channels)
    explain : callable
        From a model and images to maps (n, height, width).
    similarity : {"spearman", "ssim"}, default "spearman"
        How two maps are compared.
    absolute : bool, default True
        Compare \|a\|. Signed maps of a random model are often the same ones with the sign turned
        round, which would pass for the greatest possible change.
    order : {"top_down", "bottom_up"}, default "top_down"
        Start at the outputs, as the paper does, or at the image. Randomized layers stay so. A
        layer that the draw leaves as it is, such as a BatchNormalization that has learned
        nothing, is no step.
    samples : int, default 1
        With more than one, maps are means over noisy images before they are compared: smooth
        MPRT. The same noise for all models.
    noise : float, default 0.1
        Its standard deviation in brightness.
    seed : int or Generator, default 0
        Of a stream of its own: a model that was made with the same seed gets other weights.
    return_layers : bool, default False
        Also return the names of the layers and the similarity after each, (layers, n).

    Returns
    -------
    float64 array (n,)
        Mean similarity over the layers, -1 to 1; lower is better. NaN where the map of the model
        itself ranks nothing: it is constant, or with "ssim" zero.

    Raises
    ------
    ValueError, TypeError
        If an argument is not one of the above, an image is not finite, or the model has no
        weights that a draw changes, or cannot be copied.

    References
    ----------
    J. Adebayo et al., "Sanity checks for saliency maps", 2018, arXiv:1810.03292. A. Hedström et
    al., "A fresh look at sanity checks for saliency maps", 2024, arXiv:2405.02383: smooth MPRT.

    Examples
    --------
    >>> import whitebox_loc as wb
    >>> model = wb.models.localizer(size=(8, 8), head="dense", filters=(4,))
    >>> images = wb.data.generate(wb.data.Scene(size=(8, 8)), 2, seed=0).images
    >>> scores, layers, steps = randomization(
    ...     model, images, wb.introspect.saliency, return_layers=True
    ... )
    >>> scores.shape, layers
    ((2,), ['box', 'conv1'])
    """
    images, model = check_shown(images), check_model(model)
    compare = SIMILARITIES[check_choice("similarity", similarity, SIMILARITIES)]
    check_choice("order", order, ORDERS)
    _check_explain(explain)
    check_bool("absolute", absolute)
    check_bool("return_layers", return_layers)
    rng = _generator(seed)
    noises = _noises(rng, samples, noise)

    def maps_of(any_model: keras.Model) -> Array:
        points = (images + draw(images.shape) for draw in noises)
        maps = np.mean([explained(partial(explain, any_model), each) for each in points], 0)
        return np.abs(maps) if absolute else maps

    before = maps_of(model)
    names, steps = [], []
    for name, variant in _cascade(model, order, rng):
        names.append(name)
        steps.append(compare(before, maps_of(variant)))
    scores = np.mean(steps, axis=0)
    return (scores, names, np.stack(steps)) if return_layers else scores


def efficient_randomization(
    model: keras.Model, images: ArrayLike, explain: Explain, *, bins: int = 100, seed: Seed = 0
) -> Array:
    """Return by how much maps get more complex when all weights are random (efficient MPRT).

    (h' - h) / h, with h the entropy of the histogram of a map's values for the model itself, and
    h' for a copy with random weights. No two maps are compared.

    Parameters
    ----------
    model, images, explain, seed
        As for `randomization`.
    bins : int, default 100
        Equal bins between each map's least and greatest value.

    Returns
    -------
    float64 array (n,)
        At least -1; higher is better. NaN where h is 0: all values of the map are equal.

    Raises
    ------
    ValueError, TypeError
        As `randomization`, where the paper is named, too.

    Examples
    --------
    >>> import whitebox_loc as wb
    >>> model = wb.models.localizer(size=(8, 8), head="dense", filters=(4,))
    >>> images = wb.data.generate(wb.data.Scene(size=(8, 8)), 2, seed=0).images
    >>> efficient_randomization(model, images, wb.introspect.saliency).shape
    (2,)
    """
    images, model = check_shown(images), check_model(model)
    check_int("bins", bins, low=2, high=MOST_SAMPLES)
    _check_explain(explain)
    random, _ = _randomized(model, _generator(seed))
    maps = (explained(partial(explain, each), images) for each in (model, random))
    before, after = (_histogram_entropy(each, bins) for each in maps)
    return ratio(after - before, before)


def _check_explain(explain: object) -> None:
    check_callable("explain", explain, 2, "from a model and images to maps")
    if isinstance(explain, keras.layers.Layer):
        raise TypeError(
            "`explain` must be a function from a model and images to maps; got the model or layer "
            f"{explain.name!r}. Is its place among the arguments right?"
        )


def _cascade(
    model: keras.Model, order: str, rng: np.random.Generator
) -> Iterator[tuple[str, keras.Model]]:
    """Yield a copy of the model again and again, one more layer randomized each time."""
    copy, fresh = _randomized(model, rng)
    copy.set_weights(model.get_weights())
    layers = named_layers(copy)
    for name in list(fresh) if order == "bottom_up" else reversed(fresh):
        for variable, value in zip(_own(layers[name]), fresh[name], strict=True):
            variable.assign(value)
        yield name, copy


def _generator(seed: Seed) -> np.random.Generator:
    """Return a generator that no model draws its first weights from, whatever its seed."""
    return np.random.default_rng(branch(seed_root(seed), RANDOM_WEIGHTS))


def _randomized(
    model: keras.Model, rng: np.random.Generator
) -> tuple[keras.Model, dict[str, list[Array]]]:
    """Return a copy with random weights, and those of each layer that they change."""
    copy = _copy(model)
    layers = {name: own for name, layer in named_layers(copy).items() if (own := _own(layer))}
    before = {name: [v.numpy() for v in own] for name, own in layers.items()}
    reinitialize(copy, seed=rng)
    fresh = {name: [v.numpy() for v in own] for name, own in layers.items()}
    fresh = {n: new for n, new in fresh.items() if not all(map(np.array_equal, new, before[n]))}
    if not fresh:
        raise ValueError(
            f"`model` {model.name!r} cannot be randomized: the initializers of its layers draw the "
            "weights that it has. Give a layer a random initializer, such as 'glorot_uniform'."
        )
    return copy, fresh


def _own(layer: keras.Layer) -> list[Tensor]:
    """Return the weights that a layer holds itself, not those of layers inside it."""
    return list(layer._trainable_variables + layer._non_trainable_variables)


def _copy(model: keras.Model) -> keras.Model:
    if not model.weights:
        raise ValueError(f"`model` {model.name!r} has no weights to randomize.")
    try:
        with kept_random_state():
            copy = keras.models.clone_model(model)
        copy.set_weights(model.get_weights())
    except Exception as error:
        raise ValueError(
            f"`model` {model.name!r} of class {type(model).__name__} cannot be copied by "
            "keras.models.clone_model, and the model itself is never changed. Build it as a "
            f"functional or Sequential model. ({error})"
        ) from error
    return copy


def _noises(rng: np.random.Generator, samples: int, noise: float) -> list[Callable[..., Array]]:
    """Return functions from a shape to the noise of each sample, the same at every call."""
    check_int("samples", samples, low=1, high=MOST_SAMPLES)
    check_real("noise", noise, low=0)
    if samples == 1:
        return [partial(np.zeros, dtype=np.float32)]

    def grain(seed: int, shape: tuple[int, ...]) -> Array:
        draw = np.random.default_rng(seed).standard_normal(shape, dtype=np.float32)
        return np.float32(noise) * draw

    return [partial(grain, int(seed)) for seed in rng.integers(2**32, size=samples)]


def _histogram_entropy(maps: Array, bins: int) -> Array:
    counts = np.stack([np.histogram(_span(m), bins)[0] for m in flat(maps)])
    share = counts / counts.sum(1, keepdims=True)
    return -(share * np.log(np.where(share > 0, share, 1))).sum(1) + 0.0


def _span(values: Array) -> Array:
    """Shift and stretch to 0..1, which moves no value to another bin; tiny ranges would fail."""
    low, high = values.min(), values.max()
    return (values - low) / (high - low) if high > low else np.zeros_like(values)
