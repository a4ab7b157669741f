"""Saliency: one signed map per image and target, by any method of the table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from whitebox_loc._types import Array, ArrayLike, Model
from whitebox_loc._validation import check_bool, check_choice, check_int, check_model
from whitebox_loc.introspect.attribution.choices import Choice, choose
from whitebox_loc.introspect.methods import Maps, Method
from whitebox_loc.introspect.targets import LINKS
from whitebox_loc.introspect.targets.builders import as_targets
from whitebox_loc.introspect.targets.query import Query
from whitebox_loc.introspect.tracing.inputs import check_images
from whitebox_loc.introspect.tracing.refusals import check_answer


@dataclass(frozen=True)
class SaliencyInfo:
    """What is known about maps besides the maps.

    Attributes
    ----------
    method : str
    options : mapping
        All options with the values used.
    targets, links : tuple of str
        How each target was read: ``"identity"``, or where its log-odds were found.
    values : array (n,) or (k, n)
        The targets at the images.
    reference : array of the same shape, or None
        The targets at the baseline; None for methods without one.
    gap : array of the same shape, or None
        Completeness gap: sum of the map minus (values - reference), the error of quadrature.
    passes : int
        Images that went through the model for the maps, variants of an image counted.
    """

    method: str
    options: Mapping[str, Any]
    targets: tuple[str, ...]
    links: tuple[str, ...]
    values: Array
    reference: Array | None
    gap: Array | None
    passes: int


def saliency(
    model: Model,
    images: ArrayLike,
    target: Any = "top",
    method: str | Method = "gradient",
    *,
    link: str = "identity",
    batch_size: int = 256,
    return_info: bool = False,
    **options: Any,
) -> Any:
    """Return how much each pixel accounts for a target, as signed maps.

    Parameters
    ----------
    model : keras.Model
        Any model with one output of shape (n, 4), ``rel_yxyx`` boxes in fractions, or one
        named ``"box"``; with an integer, callable or unit target, any model. It is run in
        inference and left as it is.
    images : float array (n, height, width, channels)
        Or, for a model of several inputs, the structure that it takes, one image array in it.
        They must be finite, and in the range that the model takes.
    target : default "top"
        What is explained, or a list of such:

        - ``"top"``, ``"left"``, ``"bottom"``, ``"right"``, ``"height"``, ``"width"``,
          ``"center_y"``, ``"center_x"``, ``"area"``, in fractions of the image;
        - the number of an output;
        - a function of the outputs (tensors, as the model returns them) to a tensor (n,).
          It is compiled, and compiled again when a value it refers to is replaced, but not
          when an array it refers to is changed in place;
        - what a function in `introspect.targets` returns.
    method : str or Method, default "gradient"
        A name from `METHODS`, or a row of your own.
    link : {"identity", "logit"}, default "identity"
        Explain the output itself or its log-odds. These are read in front of the sigmoid
        if there is one, which is exact also where it is saturated. Otherwise the output must be
        a probability above 0 and below 1.
    batch_size : int, default 256
        Most images in one pass of the model; steps, samples and baselines count as images.
    return_info : bool, default False
        Also return a `SaliencyInfo`.
    **options
        Options of the method, ``METHODS[method].options``, and of the one that it wraps.

    Returns
    -------
    float32 array (n, height, width)
        Target per unit of brightness, or target, as the method has it; summed over channels,
        not rescaled. For a list of k targets (k, n, height, width).

    Raises
    ------
    ValueError, TypeError
        If an argument is not one of the above, the method does not apply to the model, or the
        maps would not be finite, as with a weight that is NaN.

    Warns
    -----
    whitebox_loc.data.ImageRangeWarning
        Of images in 0..255, unless the model begins with what may bring them into its range: a
        Rescaling, Normalization or Lambda layer, or operations that are no layers.

    Examples
    --------
    >>> import whitebox_loc as wb
    >>> scene = wb.data.Scene(size=(12, 16))
    >>> images = wb.data.generate(scene, 2, seed=0).images
    >>> model = wb.models.localizer(size=(12, 16))
    >>> saliency(model, images, "top").shape
    (2, 12, 16)
    >>> maps, info = saliency(
    ...     model, images, ["top", "area"], "integrated_gradients", steps=20, return_info=True
    ... )
    >>> maps.shape, info.gap.shape, info.passes
    ((2, 2, 12, 16), (2, 2), 40)
    """
    choice = choose(method, options)
    inputs = check_images(images, check_model(model))
    several = isinstance(target, (list, tuple))
    targets = as_targets(target)
    check_choice("link", link, LINKS)
    check_int("batch_size", batch_size, low=1)
    check_bool("return_info", return_info)
    query = Query(model, inputs, targets, link, batch_size)
    query.check_log_odds()
    name = choice.row.name
    maps = choice.row.function(query, **choice.options)
    if not isinstance(maps, Maps):
        raise TypeError(
            f"Method {name!r} must return introspect.methods.Maps(values), values of shape "
            f"(targets, images, height, width); got {type(maps).__name__}."
        )
    check_answer(f"Maps of method {name!r}", maps.values, model, link)
    pick = slice(None) if several else 0
    if not return_info:
        return maps.values[pick]
    return maps.values[pick], _info(choice, query, maps, pick)


def _info(choice: Choice, query: Query, maps: Maps, pick: slice | int) -> SaliencyInfo:
    passes, values = query.passes, query.values_everywhere()
    reference, gap = None, None
    if maps.reference is not None:
        reference = maps.reference()
        # In float64, so that the gap shows the error of the maps and not of this sum.
        gap = maps.values.sum((2, 3), dtype=np.float64) - (values.astype(np.float64) - reference)
    return SaliencyInfo(
        method=choice.row.name,
        options=choice.described,
        targets=query.labels,
        links=query.links,
        values=values[pick],
        reference=None if reference is None else reference.astype(np.float32)[pick],
        gap=None if gap is None else gap[pick],
        passes=passes,
    )
