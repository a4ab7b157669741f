"""What a map cannot show, known before it is drawn."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from whitebox_loc._types import Array, ArrayLike, Model, Tensor
from whitebox_loc._validation import check_bool, check_choice, check_model
from whitebox_loc.introspect.attribution.choices import Choice, choose
from whitebox_loc.introspect.attribution.maps import saliency
from whitebox_loc.introspect.methods import Method, rules
from whitebox_loc.introspect.methods.baselines import baseline_images
from whitebox_loc.introspect.methods.cam.cams import MEANS, attempts
from whitebox_loc.introspect.methods.cam.feature_maps import check_options as check_cam_options
from whitebox_loc.introspect.methods.cam.feature_maps import layers_with_places
from whitebox_loc.introspect.methods.obstacles import place_of, severed
from whitebox_loc.introspect.methods.propagation.lrp import as_composite, read_everything
from whitebox_loc.introspect.methods.propagation.operations import owners
from whitebox_loc.introspect.methods.record import Read
from whitebox_loc.introspect.targets import COORDINATES, LINKS, Target, as_target, bin
from whitebox_loc.introspect.targets.one_box import Coordinate, Label, Overlap
from whitebox_loc.introspect.targets.outputs import FORMULA
from whitebox_loc.introspect.targets.query import Query
from whitebox_loc.introspect.tracing.inputs import Inputs, check_images
from whitebox_loc.introspect.tracing.refusals import check_answer

SURE = 1e-3
"""An output is called saturated where its slope is below this share of the steepest."""

TIE = 1e-6
"""Edges of two boxes nearer than this, in fractions, tie: about float32's spacing below 1."""


class BlindSpotWarning(UserWarning):
    """A map will be 0 where the model depends on the image."""


@dataclass(frozen=True)
class BlindSpot:
    """One reason why a map misses what the model does.

    Attributes
    ----------
    kind : str
        ``"baseline"``, ``"relu"``, ``"jumps"``, ``"cancelling"``, ``"saturation"`` or ``"ties"``.
    message : str
        What is not shown, and what to do instead.
    share : ndarray (n,)
        For each image the share, 0 to 1, of pixels (``baseline``, ``relu``, ``jumps``), of the
        layer's gradients that their means lose (``cancelling``), of the steepest slope that is
        missing (``saturation``) or of the four edges that tie (``ties``).
    pixels : ndarray of bool (n, height, width) or None
        Where the map is 0 whatever the model does; None if it is not about places.
    """

    kind: str
    message: str
    share: Array
    pixels: Array | None = None


def blind_spots(
    model: Model,
    images: ArrayLike,
    target: Any = "top",
    method: str | Method = "gradient",
    *,
    link: str = "identity",
    warn: bool = True,
    **options: Any,
) -> list[BlindSpot]:
    """Return what `saliency` with the same arguments cannot show on these images.

    Parameters
    ----------
    model, images, target, method, link, **options
        As for `whitebox_loc.introspect.saliency`; one target.
    warn : bool, default True
        Also issue a `BlindSpotWarning` for each.

    Returns
    -------
    list of BlindSpot
        Empty if none of the known reasons applies to any of the images. What a method is
        blind to in general is in ``METHODS[method].blind_to``.

    Raises
    ------
    ValueError, TypeError
        As `saliency`.

    Examples
    --------
    >>> import whitebox_loc as wb
    >>> scene = wb.data.Scene(size=(12, 16))
    >>> images = wb.data.render([[2, 3, 8, 9]], scene)
    >>> model = wb.models.localizer(size=(12, 16))
    >>> [spot] = blind_spots(model, images, "top", "gradient_x_input", warn=False)
    >>> spot.kind, float(spot.share[0])
    ('baseline', 0.8125)
    """
    choice = choose(method, options)
    if isinstance(target, (list, tuple)):
        raise TypeError(
            f"`target` must be one target here; got a list of {len(target)}. Ask for the blind "
            "spots of each by itself."
        )
    target = as_target(target)
    check_choice("link", link, LINKS)
    inputs = check_images(images, check_model(model))
    call = _Call(Query(model, inputs, [target], link), inputs, target, choice)
    check_answer("Targets", call.values([target]), model)
    call.query.check_log_odds()
    check_bool("warn", warn)
    spots = [spot for check in CHECKS for spot in [check(call)] if spot is not None]
    if warn:
        for spot in spots:
            warnings.warn(spot.message, BlindSpotWarning, stacklevel=2)
    return spots


@dataclass(frozen=True)
class _Call:
    """The arguments of `saliency`, as the checks read them."""

    query: Query
    inputs: Inputs
    target: Target
    choice: Choice

    @property
    def name(self) -> str:
        return self.choice.row.name

    def option(self, name: str) -> Any:
        return self.choice.options.get(name)

    def values(self, targets: list[Target], link: str = "identity") -> Array:
        """Return targets (k, n) at the images."""
        query = Query(self.query.model, self.inputs, targets, link)
        return query.values_everywhere().astype(np.float64)

    def odds(self) -> Array | None:
        """Return the target's log-odds (n,); None if no sigmoid or softmax is behind it."""
        query = Query(self.query.model, self.inputs, [self.target], "logit")
        return None if query.links == (FORMULA,) else self.values([self.target], "logit")[0]

    def maps(self, method: str | Method = "gradient", **options: Any) -> Array:
        """Return maps of the same target by a method."""
        options["link"] = self.query.link
        return saliency(self.query.model, self.inputs.packed, self.target, method, **options)


def _black_pixels(call: _Call) -> BlindSpot | None:
    """Find pixels that are multiplied by zero, because they equal every baseline."""
    if call.name in FACTOR_METHODS:
        baseline = call.choice.options.get("baseline", 0.0)
    elif call.name == "lrp" and _shares_begin_with_the_input(call):
        baseline = 0.0
    else:
        return None
    images = call.query.images
    count = call.option("samples") if call.name == "expected_gradients" else 8
    same = np.ones(images.shape[:3], bool)
    for base in baseline_images(baseline, images.shape[1:], count):
        same &= (images == base).all(axis=-1)
    if not same.any():
        return None
    share, advice = same.mean(axis=(1, 2)), "Use several baselines, such as the same box elsewhere"
    if call.name == "lrp":
        advice = "Use composite='epsilon_plus_flat' or another rule for the first layer"
    message = (
        f"{call.name} multiplies each pixel by its difference to the baseline: "
        f"{share.mean():.0%} of the pixels equal it and stay exactly 0, whatever they do for "
        f"{call.target.label!r}. {advice}."
    )
    return BlindSpot("baseline", message, share, same)


def _shares_begin_with_the_input(call: _Call) -> bool:
    """Whether the rule of the first layer multiplies by the input, whatever layer that is."""
    used = as_composite(**call.choice.options)
    first = (used.first,) if used.first else (used.convolution, used.dense)
    return not any(isinstance(rule, INPUT_FREE_RULES) for rule in (*first, *used.layers.values()))


def _blanked(call: _Call) -> BlindSpot | None:
    """Find places of a CAM that a final ReLU sets to zero."""
    if call.choice.row.family != "cam" or not call.option("relu"):
        return None
    # The ReLU acts on the layer's grid and the map is enlarged afterwards, so the sign of the
    # enlarged map alone does not show what was blanked.
    signed, rectified = (
        call.maps(call.choice.row, **{**call.choice.options, "relu": relu})
        for relu in (False, True)
    )
    blanked = (rectified == 0) & (signed != 0)
    if not blanked.any():
        return None
    share = blanked.mean(axis=(1, 2))
    message = (
        f"relu=True blanks {share.mean():.0%} of the {call.name} map: the places that "
        f"lower {call.target.label!r}. A coordinate is not a class; use relu=False."
    )
    return BlindSpot("relu", message, share, blanked)


def _jumps(call: _Call) -> BlindSpot | None:
    """Find operations that the target depends through, and that have no derivative."""
    row = call.choice.innermost
    if row.family != "gradient" and row.name not in LOCAL_METHODS:
        return None
    query, layer = call.query, call.option("layer")
    by_layer, notes = row.family == "cam", dict[str, Any]()
    if by_layer:
        check_cam_options(query, layer, call.option("relu"), call.option("align"))

    def build(read: Read, images: Tensor) -> Tensor:
        (value,), passed = read_everything(query.model, read, images)
        owner, source = owners(query.model, passed), images
        if by_layer:
            (_, source), *_ = layers_with_places(query, passed, [value], layer)
        cuts, notes["all"] = severed(source, value)
        notes["cuts"] = [f"{cut.type} ({place_of(cut, owner.get(cut))})" for cut in cuts]
        return value

    notes = query.function(("jumps", by_layer, layer), build, notes=notes).notes
    if not notes["cuts"]:
        return None
    blank = np.ones(query.images.shape[:3], bool) if notes["all"] else call.maps() == 0
    message = (
        f"{call.target.label!r} depends on the image through {', '.join(notes['cuts'])}, "
        "whose derivative is 0: what goes that way is missing in a map of derivatives"
        f"{', and nothing else is left' if notes['all'] else ''}. Use 'occlusion' or another "
        "method that changes the image, or explain a target in front of it "
        "(introspect.targets.unit)."
    )
    return BlindSpot(
        "jumps", message, blank.mean(axis=(1, 2)), None if by_layer and not notes["all"] else blank
    )


def _cancelling(call: _Call) -> BlindSpot | None:
    """Find layers whose gradients add up to 0, so that a CAM of their means is rounding."""
    combine = MEANS.get(call.choice.innermost.name)
    if combine is None:
        return None
    try:
        first, *others = attempts(call.query, combine, call.option("layer"))
    except ValueError:
        return None  # there are no gradients, which `_jumps` finds
    if not first.cancels:
        return None
    other = others[-1].layer if others and not others[-1].cancels else None
    if call.option("layer") is not None:
        advice = "The map is rounding. Name a layer further in front"
    elif other is not None:
        advice = f"Layer {other!r} is taken instead of this last one. Name another"
    else:
        advice = "No layer is left that could be taken instead. Name one nevertheless"
    message = (
        f"The gradients of {call.target.label!r} cancel over the places of layer "
        f"{first.layer!r}, as they do in front of a softmax over places, which does not change "
        f"when all scores rise alike. {advice}, or use 'layercam', which takes no means."
    )
    return BlindSpot("cancelling", message, first.cancelled[0])


def _saturated(call: _Call) -> BlindSpot | None:
    """Find images whose answer is so sure that its derivative has almost vanished."""
    name = call.target.label
    if call.name not in LOCAL_METHODS:
        return None
    advice, slope = _slope(call)
    if slope is None or not (slope < SURE).any():
        return None
    message = (
        f"{name!r} is saturated on {(slope < SURE).mean():.0%} of the images: its slope is below "
        f"{SURE:g} of the steepest, so a map of derivatives shows the little that is left. "
        f"Use {advice}, or a method that moves away from the image."
    )
    return BlindSpot("saturation", message, 1.0 - slope)


def _slope(call: _Call) -> tuple[str, Array | None]:
    """Return what to use instead, and the slope (n,) as a share of the steepest if it is known."""
    target = call.target
    # Not by the label, which a user's function may have too.
    edge = isinstance(target, Coordinate) and target.label in COORDINATES
    if not edge and not isinstance(target, Label):
        return "", None
    odds = call.odds()
    if edge and odds is None:
        # The log-odds of an expectation are as flat as the expectation.
        by_bin = "targets.bin(coordinate, index) with link='logit'"
        return by_bin, _expectation_slope(call, target.label)
    return "link='logit'", _probability_slope(call, odds) if call.query.link == "identity" else None


def _probability_slope(call: _Call, odds: Array | None) -> Array | None:
    """Return 4 p (1 - p) of the target, from its log-odds if there are any."""
    if odds is not None:
        # 1 - p has lost its digits where p is nearly 1. Beyond 700 the cosh of float64
        # overflows; at 100 the slope is 1e-43.
        return 1.0 / np.cosh(np.clip(odds, -100.0, 100.0) / 2.0) ** 2
    p = call.values([call.target])[0]
    return 4.0 * p * (1.0 - p) if ((p >= 0) & (p <= 1)).all() else None


def _expectation_slope(call: _Call, name: str) -> Array | None:
    """Return 4 p (1 - p) of the likeliest bin, where the coordinate is an expectation."""
    length = call.query.images.shape[1 if name in ("top", "bottom") else 2]
    nearest = np.rint(call.values([call.target])[0] * length).astype(int)
    indices, rows = np.unique(nearest, return_inverse=True)
    try:
        p = call.values([bin(name, int(index)) for index in indices])[rows, np.arange(len(rows))]
    except ValueError:
        return None  # there are no bins
    return 4.0 * p * (1.0 - p)


def _ties(call: _Call) -> BlindSpot | None:
    """Find edges at which the IoU has a kink, so that its derivative is arbitrary."""
    if not isinstance(call.target, Overlap) or call.choice.row.family != "gradient":
        return None
    edges = call.values([as_target(name) for name in COORDINATES]).T
    share = (np.abs(edges - call.target.data) < TIE).mean(axis=1)
    if not share.any():
        return None
    message = (
        f"The IoU has a kink where a predicted edge meets the given one: {share.mean():.0%} of the "
        "edges do, and their derivative is that of one side only. Explain the coordinates, or "
        "give a box that differs from the prediction."
    )
    return BlindSpot("ties", message, share)


FACTOR_METHODS = {
    *("gradient_x_input", "integrated_gradients", "expected_gradients"),
    *("deeplift", "deep_shap"),
}
"""Methods whose maps have the difference of image and baseline as a factor."""

LOCAL_METHODS = {
    *("gradient", "gradient_x_input", "guided_backprop", "deconvnet"),
    *("layercam", "xgradcam", *MEANS),
}
"""Methods that know the model by its derivative at the image alone."""

INPUT_FREE_RULES = (rules.Flat, rules.WSquare, rules.ZBox)
"""Rules of `lrp` that give black pixels a share."""

Check = Callable[[_Call], BlindSpot | None]
CHECKS: tuple[Check, ...] = (_black_pixels, _blanked, _jumps, _cancelling, _saturated, _ties)
"""The known reasons. To add one: a function from a call to a BlindSpot or None."""
