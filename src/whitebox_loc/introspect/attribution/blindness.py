"""What a map cannot show, said before it is drawn."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from whitebox_loc._validation import check_bool, check_choice, check_model
from whitebox_loc.introspect.attribution.maps import check_options, saliency
from whitebox_loc.introspect.methods import METHODS, Method, rules
from whitebox_loc.introspect.methods.baselines import baseline_images
from whitebox_loc.introspect.methods.cam.cams import MEANS, attempts
from whitebox_loc.introspect.methods.cam.feature_maps import check_options as check_cam_options
from whitebox_loc.introspect.methods.cam.feature_maps import layers_with_places
from whitebox_loc.introspect.methods.obstacles import place_of, severed
from whitebox_loc.introspect.methods.propagation.lrp import as_composite, read_everything
from whitebox_loc.introspect.methods.propagation.operations import owners
from whitebox_loc.introspect.targets import COORDINATES, LINKS, Target, as_target, bin
from whitebox_loc.introspect.targets.one_box import Coordinate, Label, Overlap
from whitebox_loc.introspect.targets.outputs import FORMULA
from whitebox_loc.introspect.targets.query import Query, check_log_odds
from whitebox_loc.introspect.tracing.inputs import check_images
from whitebox_loc.introspect.tracing.refusals import check_answer

__all__ = ["BlindSpot", "BlindSpotWarning", "blind_spots"]

SURE = 1e-3
"""An output is called saturated where its slope is below this share of the steepest."""

TIE = 1e-6
"""Edges of two boxes nearer than this, in fractions, tie: about float32's spacing below 1."""


class BlindSpotWarning(UserWarning):
    """A map will be silent where the model is not."""


@dataclass(frozen=True)
class BlindSpot:
    """One reason why a map is silent.

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
        Where the map is silent whatever the model does; None if it is not about places.
    """

    kind: str
    message: str
    share: np.ndarray
    pixels: np.ndarray | None = None


def blind_spots(
    model: keras.Model,
    images: Any,
    target: Any = "top",
    method: str = "gradient",
    *,
    link: str = "identity",
    warn: bool = True,
    **options: Any,
) -> list[BlindSpot]:
    """Say what `saliency` with the same arguments cannot show on these images.

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
    record = METHODS[check_choice("method", method, METHODS)]
    question = _Question(model, images, _one_target(target), record, link, options)
    _check_question(question)
    check_bool("warn", warn)
    found = [spot for check in CHECKS for spot in [check(question)] if spot is not None]
    if warn:
        for spot in found:
            warnings.warn(spot.message, BlindSpotWarning, stacklevel=2)
    return found


def _one_target(target: Any) -> Target:
    if isinstance(target, (list, tuple)):
        raise TypeError(
            f"`target` must be one target here; got a list of {len(target)}. Ask for the blind "
            "spots of each by itself."
        )
    return as_target(target)


def _check_question(question: _Question) -> None:
    """Refuse what `saliency` refuses, most of which the checks themselves do not look at."""
    check_options(question.record, question.options)
    check_choice("link", question.link, LINKS)
    inputs = check_images(question.images, check_model(question.model))
    values = Query(question.model, inputs, [question.target]).values_everywhere()
    check_answer("Targets", values, question.model)
    check_log_odds(question.model, inputs, [question.target], question.link, 256)


@dataclass(frozen=True)
class _Question:
    """The arguments of `saliency`, as the checks read them."""

    model: keras.Model
    images: Any
    target: Target
    record: Method
    link: str
    options: dict[str, Any]

    def option(self, name: str) -> Any:
        """Return an option of the method, or of the method that it wraps."""
        if name in self.options:
            return self.options[name]
        base = self.options.get("base", self.record.options.get("base"))
        for record in (self.record, METHODS.get(base) if isinstance(base, str) else base):
            if record is not None and name in record.options:
                return record.options[name]
        return None

    @property
    def innermost(self) -> Method:
        """The method, or the one that it wraps."""
        base = self.options.get("base", self.record.options.get("base"))
        return METHODS[base] if self.record.wraps and isinstance(base, str) else self.record

    def query(self) -> Query:
        """Return the question as methods see it."""
        return Query(self.model, check_images(self.images), [self.target], self.link)

    def picture(self) -> np.ndarray:
        """Return the image array among the inputs."""
        return check_images(self.images).image

    def odds(self, target: Any) -> Any:
        """Return the log-odds (n,) of a target; None if no sigmoid or softmax is behind it."""
        inputs = check_images(self.images)
        [how] = Query(self.model, inputs, [as_target(target)], "logit").links
        if how == FORMULA:
            return None
        return self.ask(target, link="logit")[1].values

    def ask(self, target: Any, method: str = "gradient", **options: Any) -> Any:
        """Return maps and info of another saliency of the same images."""
        return saliency(self.model, self.images, target, method, return_info=True, **options)


def _black_pixels(question: _Question) -> BlindSpot | None:
    """Find pixels that are multiplied by zero, because they equal every baseline."""
    if question.record.name == "gradient_x_input":
        baseline: Any = 0.0
    elif question.record.name in FACTOR_METHODS:
        baseline = question.option("baseline")
    elif question.record.name == "lrp" and _shares_begin_with_the_input(question):
        baseline = 0.0
    else:
        return None
    picture = question.picture()
    drawn = question.option("samples") if question.record.name == "expected_gradients" else 8
    bases = baseline_images(baseline, picture.shape[1:], drawn)
    same = np.ones(picture.shape[:3], bool)
    for base in bases:
        same &= (picture == base).all(axis=-1)
    if not same.any():
        return None
    share = same.mean(axis=(1, 2))
    advice = (
        "Use composite='epsilon_plus_flat' or another rule for the first layer"
        if question.record.name == "lrp"
        else "Use several baselines, such as the same box elsewhere"
    )
    return BlindSpot(
        "baseline",
        f"{question.record.name} multiplies each pixel by its difference to the baseline: "
        f"{share.mean():.0%} of the pixels equal it and stay exactly 0, whatever they do for "
        f"{question.target.label!r}. {advice}.",
        share,
        same,
    )


def _shares_begin_with_the_input(question: _Question) -> bool:
    """Whether the rule of the first layer multiplies by the input, whatever layer that is."""
    composite = as_composite(**question.options)
    used = (composite.first or composite.convolution, composite.first or composite.dense)
    return not any(isinstance(r, INPUT_FREE_RULES) for r in (*used, *composite.layers.values()))


def _blanked(question: _Question) -> BlindSpot | None:
    """Find places of a CAM that a final ReLU sets to zero."""
    if question.record.family != "cam" or not question.option("relu"):
        return None
    # The ReLU acts on the layer's grid and the map is enlarged afterwards, so the sign of the
    # enlarged map alone does not tell what was blanked.
    signed, rectified = (
        question.ask(
            question.target, question.record.name, link=question.link,
            **{**question.options, "relu": relu},
        )[0]
        for relu in (False, True)
    )  # fmt: skip
    blanked = (rectified == 0) & (signed != 0)
    if not blanked.any():
        return None
    share = blanked.mean(axis=(1, 2))
    return BlindSpot(
        "relu",
        f"relu=True blanks {share.mean():.0%} of the {question.record.name} map: the places that "
        f"lower {question.target.label!r}. A coordinate is not a class; use relu=False.",
        share,
        blanked,
    )


def _jumps(question: _Question) -> BlindSpot | None:
    """Find operations that the target depends through, and that have no derivative."""
    record = question.innermost
    if record.family != "gradient" and record.name not in LOCAL_METHODS:
        return None
    query, layer = question.query(), question.option("layer")
    by_layer, notes = record.family == "cam", dict[str, Any]()
    if by_layer:
        check_cam_options(query, layer, question.option("relu"), question.option("align"))

    def build(read: Any, images: Any) -> Any:
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
    shape = question.picture().shape[:3]
    silent = np.ones(shape, bool)
    if not notes["all"]:
        silent = question.ask(question.target, link=question.link)[0] == 0
    return BlindSpot(
        "jumps",
        f"{question.target.label!r} depends on the image through {', '.join(notes['cuts'])}, "
        "whose derivative is 0: what goes that way is missing in a map of derivatives"
        f"{', and nothing else is left' if notes['all'] else ''}. Use 'occlusion' or another "
        "method that changes the image, or explain a target in front of it "
        "(introspect.targets.unit).",
        silent.mean(axis=(1, 2)),
        None if by_layer and not notes["all"] else silent,
    )


def _cancelling(question: _Question) -> BlindSpot | None:
    """Find layers whose gradients add up to 0, so that a CAM of their means is rounding."""
    combine = MEANS.get(question.innermost.name)
    if combine is None:
        return None
    try:
        first, *others = attempts(question.query(), combine, question.option("layer"))
    except ValueError:
        return None  # there are no gradients, which `_jumps` says
    if not first.cancels:
        return None
    other = others[-1].layer if others and not others[-1].cancels else None
    if question.option("layer") is not None:
        advice = "The map is rounding. Name a layer further in front"
    elif other is not None:
        advice = f"Layer {other!r} is taken instead of this last one. Name another"
    else:
        advice = "No layer is left that could be taken instead. Name one nevertheless"
    return BlindSpot(
        "cancelling",
        f"The gradients of {question.target.label!r} cancel over the places of layer "
        f"{first.layer!r}, as they do in front of a softmax over places, which does not change "
        f"when all scores rise alike. {advice}, or use 'layercam', which takes no means.",
        first.cancelled[0],
    )


def _saturated(question: _Question) -> BlindSpot | None:
    """Find images whose answer is so sure that its derivative has almost vanished."""
    name = question.target.label
    if question.record.name not in LOCAL_METHODS:
        return None
    advice, slope = _slope(question)
    if slope is None or not (slope < SURE).any():
        return None
    return BlindSpot(
        "saturation",
        f"{name!r} is saturated on {(slope < SURE).mean():.0%} of the images: its slope is below "
        f"{SURE:g} of the steepest, so a map of derivatives shows the little that is left. "
        f"Use {advice}, or a method that moves away from the image.",
        1.0 - slope,
    )


def _slope(question: _Question) -> tuple[str, np.ndarray | None]:
    """Return what to use instead, and the slope (n,) as a share of the steepest; None if unknown.

    Not by the label, which a user's function may have too.
    """
    target, by_link = question.target, "link='logit'"
    if isinstance(target, Label):
        return by_link, _class_slope(question) if question.link == "identity" else None
    if not isinstance(target, Coordinate) or target.label not in COORDINATES:
        return "", None
    slope = _sigmoid_slope(question, target.label)
    if slope is not None:
        return by_link, slope if question.link == "identity" else None
    # The log-odds of an expectation are as flat as the expectation.
    by_bin = "targets.bin(coordinate, index) with link='logit'"
    return by_bin, _expectation_slope(question, target.label)


def _class_slope(question: _Question) -> np.ndarray | None:
    """Return 4 p (1 - p) of the class."""
    odds = question.odds(question.target)
    if odds is not None:
        return _slope_of(odds)
    p = np.asarray(question.ask(question.target)[1].values, np.float64)
    return 4.0 * p * (1.0 - p) if ((p >= 0) & (p <= 1)).all() else None


def _slope_of(odds: Any) -> np.ndarray:
    """Return 4 p (1 - p) from log-odds, because 1 - p has lost its digits where p is nearly 1."""
    # Beyond 700 the cosh of float64 overflows; at 100 the slope is 1e-43.
    return 1.0 / np.cosh(np.clip(np.asarray(odds, np.float64), -100.0, 100.0) / 2.0) ** 2


def _sigmoid_slope(question: _Question, name: str) -> np.ndarray | None:
    """Return 4 p (1 - p) where the coordinate p comes out of a sigmoid."""
    odds = question.odds(name)
    return None if odds is None else _slope_of(odds)


def _expectation_slope(question: _Question, name: str) -> np.ndarray | None:
    """Return 4 p (1 - p) of the likeliest bin, where the coordinate is an expectation."""
    try:
        _, info = question.ask(name)
        length = question.picture().shape[1 if name in ("top", "bottom") else 2]
        nearest = np.rint(np.asarray(info.values) * length).astype(int)
        bins = [bin(name, int(index)) for index in np.unique(nearest)]
        _, info = question.ask(bins)
    except ValueError:
        return None
    row = np.searchsorted(np.unique(nearest), nearest)
    p = np.asarray(info.values, np.float64)[row, np.arange(len(nearest))]
    return 4.0 * p * (1.0 - p)


def _ties(question: _Question) -> BlindSpot | None:
    """Find edges at which the IoU has a kink, so that its derivative is arbitrary."""
    if not isinstance(question.target, Overlap) or question.record.family != "gradient":
        return None
    given = np.asarray(question.target.data, np.float64)
    _, info = question.ask(list(COORDINATES))
    distance = np.abs(np.asarray(info.values, np.float64).T - given)
    share = (distance < TIE).mean(axis=1)
    if not share.any():
        return None
    return BlindSpot(
        "ties",
        f"The IoU has a kink where a predicted edge meets the given one: {share.mean():.0%} of the "
        "edges do, and their derivative is that of one side only. Explain the coordinates, or "
        "give a box that differs from the prediction.",
        share,
    )


FACTOR_METHODS = (
    "gradient_x_input",
    "integrated_gradients",
    "expected_gradients",
    "deeplift",
    "deep_shap",
)
"""Methods whose maps have the difference of image and baseline as a factor."""

LOCAL_METHODS = (
    "gradient",
    "gradient_x_input",
    "guided_backprop",
    "deconvnet",
    "gradcam",
    "gradcam_plus_plus",
    "layercam",
    "xgradcam",
)
"""Methods that know the model by its derivative at the image alone."""

INPUT_FREE_RULES = (rules.Flat, rules.WSquare, rules.ZBox)
"""Rules of `lrp` that give black pixels a share."""

CHECKS: tuple[Callable[[_Question], BlindSpot | None], ...] = (
    _black_pixels,
    _blanked,
    _jumps,
    _cancelling,
    _saturated,
    _ties,
)
"""The known reasons. To add one: a function from a question to a BlindSpot or None."""
