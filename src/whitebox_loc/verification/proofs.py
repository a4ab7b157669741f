"""Proving that a localizer is right on every box of a scene, not on a sample of them."""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from whitebox_loc._digests import model_digest
from whitebox_loc._files import naming, replacing
from whitebox_loc._types import Array, Model
from whitebox_loc._validation import (
    check_bool,
    check_choice,
    check_executor,
    check_int,
    check_model,
    check_path,
)
from whitebox_loc.data.scenes import Scene, as_scene
from whitebox_loc.verification.canvases import prove_any_canvas, prove_canvas
from whitebox_loc.verification.enumeration import enumerate_boxes
from whitebox_loc.verification.findings import Findings
from whitebox_loc.verification.graphs import UnsupportedModelError, box_model
from whitebox_loc.verification.windows import readings

HOW = ("auto", "symmetry", "enumeration")


@dataclass(frozen=True, eq=False)
class Proof:
    """Whether a localizer is within half a pixel of every box, and how that was shown.

    Attributes
    ----------
    boxes : int
        Number of boxes that the claim is about.
    holds : bool or None
        True: proved. False: there is a counterexample. None: not proved, which is neither, since
        what float32 may round, or the bound on far boundaries, is larger than the margin.
    worst_error : float
        Bound on the greatest error of a coordinate, in pixels.
    worst_box : tuple of int
        The box, ``yxyx`` in pixels, where it is reached.
    least_iou : float
        Bound on the least IoU of a box with the answer.
    wrong, undecided : int
        Number of boxes that are answered wrongly, and of those of which that is not known; with
        ``canvas="any"``, of local situations.
    counterexamples : int array (k, 4)
        The worst 100 of the wrong boxes, worst first.
    how : {"symmetry", "enumeration", "every canvas"}
    scene : str
        What was drawn.
    up_to : int or None
        With ``canvas="any"``, the longest side of a canvas for which the claim holds.
    canvas : tuple of int or None
        With ``canvas="any"``, size of the canvas on which `worst_box` lies; larger canvases
        that look the same near the box share its bound.
    seconds : float
        Time that the proof took.
    model : str
        Digest of the model, layers and weights.
    """

    boxes: int
    holds: bool | None
    worst_error: float
    worst_box: tuple[int, ...]
    least_iou: float
    wrong: int
    undecided: int
    how: str
    scene: str
    seconds: float
    model: str
    counterexamples: Array = field(default_factory=lambda: np.zeros((0, 4), int), repr=False)
    up_to: int | None = None
    canvas: tuple[int, ...] | None = None

    def __str__(self) -> str:
        way = "enumeration" if self.how == "enumeration" else "symmetry"
        return (
            f"{self._claim()}, by {way} in {self.seconds:.3g} s: worst error "
            f"{self.worst_error:.2g} px, least IoU {self.least_iou:.4f}, {self.wrong:,} wrong, "
            f"{self.undecided:,} undecided"
        )

    def _claim(self) -> str:
        if self.up_to == 0:  # nothing is claimed of boxes of every canvas
            where = " x ".join(map(str, self.canvas or ()))
            return "not proved right on any canvas" if self.holds is None else f"wrong on {where}"
        words = {
            True: "right on every one",
            False: "wrong on some",
            None: "not proved right on all",
        }
        canvases = f" of every canvas up to {self.up_to} x {self.up_to}" if self.up_to else ""
        return f"{words[self.holds]} of {self.boxes:,} boxes{canvases}"

    def save(self, path: Any) -> Path:
        """Write the proof as JSON, with the digest of its model; return the path."""
        target = check_path("path", path)
        fields = asdict(self) | {"counterexamples": self.counterexamples.tolist()}
        with naming("path", target), replacing(target) as temporary:
            temporary.write_text(json.dumps(fields, indent=1), "utf-8")
        return target

    @classmethod
    def load(cls, path: Any, model: Model) -> Proof:
        """Read the proof of a model.

        Raises
        ------
        ValueError
            If the file holds none, or the proof of another model.
        """
        source = check_path("path", path)
        with naming("path", source):
            text = source.read_text("utf-8")
        try:
            fields = json.loads(text)
            boxes = np.array(fields.pop("counterexamples"), int).reshape(-1, 4)
            for name in ("worst_box", "canvas"):
                fields[name] = fields[name] and tuple(fields[name])
            proof = cls(**fields, counterexamples=boxes)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise ValueError(f"`path` {str(source)!r} holds no proof: {error!r}.") from error
        if proof.model != model_digest(check_model(model)):
            raise ValueError(
                f"`path` {str(source)!r} holds the proof of another model, {proof.model[:12]}; "
                "weights or layers differ. Prove this one by verification.prove."
            )
        return proof


def prove(
    model: Model,
    scene: Scene | str | None = None,
    how: str = "auto",
    *,
    canvas: str | None = None,
    up_to: int = 4096,
    executor: Any = None,
    out: Any = None,
    progress: bool = True,
) -> Proof:
    """Prove that a localizer answers every box of a scene to within half a pixel, or refute it.

    Parameters
    ----------
    model : keras.Model
        A localizer of one box, images to ``rel_yxyx``.
    scene : Scene or str, optional
        Which boxes: a scene of one plain rectangle, whose size is taken from the model if a name
        is given; default every box of the model's canvas, ``"uniform"``.
    how : {"auto", "symmetry", "enumeration"}
        By symmetry few boxes stand for all: what a profile shows of the other axis is one of a
        few sets of patterns. It needs a model whose coordinates are expectations over positions,
        read from maxima of local features, as those of ``head="profile"``. By enumeration the
        model is run on every box, which may take hours. ``"auto"`` takes symmetry where it holds.
    canvas : {None, "any"}
        ``"any"`` proves the claim for all boxes of all canvases, from 1 x 1 up to `up_to`, on
        which the same weights can be put.
    up_to : int, default 4096
        Longest side of a canvas; if the claim does not hold so far, the proof says how far.
    executor : concurrent.futures.Executor, optional
        Runs enumeration in parts.
    out : path, optional
        Folder in which enumeration keeps what it has done; it goes on from there.
    progress : bool, default True
        Show a bar with the time left.

    Returns
    -------
    Proof

    Raises
    ------
    ValueError, TypeError
        If an argument is none of these, a weight is not finite, the scene is not of two values,
        or the argument by symmetry does not hold for the model: with the operation and reason.

    Notes
    -----
    By symmetry the claim is about the float32 graph on any processor that rounds to nearest, in
    whatever order it adds; by enumeration about the answers on this machine. docs/proofs.md has
    theorems, assumptions and what is not proved.

    Examples
    --------
    >>> import whitebox_loc as wb
    >>> model = wb.models.compiled("integrator", size=(8, 8))
    >>> proof = prove(model, progress=False)
    >>> proof.holds, proof.boxes, proof.how
    (True, 1296, 'enumeration')
    """
    start = time.perf_counter()
    check_model(model)
    check_choice("how", how, HOW)
    check_executor(executor)
    check_bool("progress", progress)
    up_to = check_int("up_to", up_to, low=1, high=2**16)
    if canvas is not None:
        check_choice("canvas", canvas, ("any",))
    _check_weights(model)
    drawn = _scene_of(model, scene)
    if canvas == "any":
        findings = _every_canvas(model, drawn, scene, how, up_to)
    else:
        findings = _one_canvas(model, drawn, how, executor, out, progress)
    return Proof(
        **findings.fields(), scene=str(drawn), seconds=time.perf_counter() - start,
        model=model_digest(model),
    )  # fmt: skip


def _one_canvas(
    model: Model, scene: Scene, how: str, executor: Any, out: Any, progress: bool
) -> Findings:
    if how != "enumeration":
        try:
            return prove_canvas(readings(model), scene)
        except UnsupportedModelError as reason:
            if how == "symmetry":
                raise ValueError(
                    f"`how` 'symmetry' does not hold for this model. {reason} Use "
                    "how='enumeration'."
                ) from reason
    return enumerate_boxes(model, scene, executor, out, progress)


def _every_canvas(model: Model, drawn: Scene, scene: Any, how: str, up_to: int) -> Findings:
    if how == "enumeration" or (drawn != as_scene("uniform", **_canvas(model))):
        raise ValueError(
            "`canvas` 'any' is proved by symmetry for all boxes, the scene 'uniform'; got "
            f"how={how!r}, scene={scene!r}."
        )
    try:
        return prove_any_canvas(readings(model), drawn, up_to)
    except UnsupportedModelError as reason:
        raise ValueError(
            f"`canvas` 'any' needs the argument by symmetry, which does not hold for this model. "
            f"{reason} Use canvas=None."
        ) from reason


def _canvas(model: Model) -> dict[str, Any]:
    boxes = box_model(model)
    if len(boxes.inputs) != 1 or len(boxes.input.shape) != 4 or boxes.output.shape[1:] != (4,):
        raise ValueError(
            "`model` must make boxes (n, 4) of images (n, height, width, channels); got inputs "
            f"{[x.shape for x in boxes.inputs]} and output {boxes.output.shape}."
        )
    height, width, channels = boxes.input.shape[1:]
    if None in (height, width, channels):
        raise ValueError(
            f"`model` must take images of one size; got {boxes.input.shape[1:]}. Build it with a "
            "size."
        )
    return {"size": (height, width), "channels": channels}


def _scene_of(model: Model, scene: Scene | str | None) -> Scene:
    shape = _canvas(model)
    if isinstance(scene, Scene):
        drawn = scene
    else:
        drawn = as_scene("uniform" if scene is None else scene, **shape)
    if {"size": drawn.size, "channels": drawn.channels} != shape:
        raise ValueError(
            f"`scene` must have the model's size {shape['size']} and {shape['channels']} channels; "
            f"got {drawn.size} and {drawn.channels}."
        )
    plain = as_scene("uniform")
    for name in PLAIN:
        value = getattr(drawn, name)
        if value != getattr(plain, name):
            raise ValueError(
                f"`scene` must show one plain rectangle, so that images have two values; got "
                f"{name}={value!r}."
            )
    for name in ("foreground", "background"):
        if isinstance(getattr(drawn, name), tuple):
            raise ValueError(f"`scene` must have one {name}; got {getattr(drawn, name)}.")
    if drawn.position == "notebook":
        raise ValueError(
            "`scene` must draw a box in every image; the boxes of position 'notebook' may be "
            "empty. Use 'uniform', which has all others."
        )
    return drawn


PLAIN = (
    "shapes", "texture", "noise", "blur", "distractors", "inverted", "background_gradient",
    "background_texture", "occlusion",
)  # fmt: skip
"""Fields of a scene that are as in ``"uniform"`` where images have two values."""


def _check_weights(model: Model) -> None:
    for weight in model.weights:
        if not np.isfinite(np.asarray(weight)).all():
            raise ValueError(
                f"`model` must have finite weights; {weight.path!r} holds NaN or infinity. Train "
                "it again or load an earlier checkpoint."
            )
