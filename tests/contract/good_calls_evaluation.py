"""Good calls of `whitebox_loc.evaluation`."""

import numpy as np

import whitebox_loc as wb
from contract.calls import Call

FAILING = ("lambda", "class", "layer", "localizer", "unbuilt model")
"""Methods that fail on every model: a row says so, of which the numbers are NaN."""

NO_MOVE = ("boxes empty", "array int", "array uint8", "array zero")
"""Boxes that leave no edge a legal move, of which `deletion` and `insertion` say NaN."""

BLANK = ("array zero", "array 1e38")
"""Images on which this model's map is constant, so that there is nothing to compare."""

ONE = ("1",)
"""One image has a mean, but no interval."""

ZERO = ("array zero", "0", "True", "array bool", "array uint8", "array int")
"""A map of zeros has no mass and no peak, and a mask of nothing or everything no rank: NaN."""


def _explain_model(model, images):
    return wb.introspect.saliency(model, images, "top", "gradient")


def _explain_target(model, images, target):
    return wb.introspect.saliency(model, images, target, "gradient")


def _explain_images(w):
    return lambda images: wb.introspect.saliency(w.model, images, "top", "gradient")


def _scored(w):
    return {"model": w.model, "images": w.images, "maps": w.maps[0]}


def _masks(w):
    return {"maps": w.maps[0], "masks": w.images[..., 0] > 0.5}


def _results(w):
    if not hasattr(w, "results"):
        w.results = wb.evaluation.benchmark(**_benchmark(w))
    return w.results


def _benchmark(w):
    return {
        "models": {"small": w.model},
        "methods": ["gradient"],
        "scenes": {"tiny": w.scene},
        "metrics": ["sparseness"],
        "n": 3,
        "coordinates": ("top",),
        "baselines": False,
        "progress": False,
    }


def _results_file(w):
    path = w.path
    _results(w).to_json(path)
    return path


def _trial(w):
    return wb.evaluation.Trial(
        w.maps[0], w.images, w.boxes, "top", w.scene, w.batch.labels, w.model
    )


CALLS = [
    Call(
        "evaluation.Metric.score",
        lambda w: {"trial": _trial(w)},
        on=lambda w: wb.evaluation.METRICS["sparseness"],
    ),
    Call("evaluation.Trial.lacks", lambda w: {"needs": {"model", "used"}}, on=_trial),
    Call(
        "evaluation.Trial",
        lambda w: {
            "maps": w.maps[0],
            "images": w.images,
            "boxes": w.boxes,
            "coordinate": "top",
            "scene": w.scene,
            "labels": w.batch.labels,
        },
        # A record; `Metric.score` and the metrics look at what they need.
        keep=tuple(wb.evaluation.Trial.__dataclass_fields__),
    ),
    Call("evaluation.Results.select", lambda w: {"metric": "sparseness"}, on=_results),
    Call("evaluation.Results.names", lambda w: {"column": "metric"}, on=_results),
    Call("evaluation.Results.table", lambda w: {"metric": "sparseness"}, on=_results),
    Call("evaluation.Results.to_csv", lambda w: {"path": w.path}, on=_results),
    Call("evaluation.Results.to_json", lambda w: {"path": w.path}, on=_results),
    Call("evaluation.read_results", lambda w: {"path": _results_file(w)}),
    Call("evaluation.audit", lambda w: {"metric": "sparseness", "n": 8}),
    Call(
        "evaluation.audit",
        lambda w: {"metric": "mass_accuracy_model", "n": 8, "model": "integrator"},
    ),
    Call("evaluation.audit_table", lambda w: {"audits": [_audit(w)]}),
    Call("evaluation.benchmark", _benchmark, nan=ONE),
    Call(
        "evaluation.certify",
        lambda w: {
            "method": "gradient",
            "mechanisms": ["integrator"],
            "scenes": {"tiny": w.scene},
            "size": (12, 16),
            "n": 2,
        },
        slow=True,
        nan=FAILING,
    ),
    Call(
        "evaluation.certify",
        lambda w: {"method": _explain_target, "mechanisms": "integrator", "n": 2},
        slow=True,
        nan=FAILING,
    ),
    Call(
        "evaluation.Certificate.verdict",
        lambda w: {"mechanism": "integrator"},
        on=lambda w: _certificate(w),
    ),
    Call(
        "evaluation.cross_talk",
        lambda w: {"maps": w.maps, "boxes": w.boxes, "resamples": 5},
        nan=("array zero", *NO_MOVE),
    ),
    Call("evaluation.completeness_gap", lambda w: {"maps": w.maps[0], "gap": np.ones(3)}),
    Call("evaluation.deletion", lambda w: {**_scored(w), "steps": 2}),
    Call("evaluation.insertion", lambda w: {**_scored(w), "steps": 2, "fill": "blur"}),
    Call(
        "evaluation.deletion",
        lambda w: {
            **_scored(w),
            "steps": 2,
            "fill": "render",
            "boxes": w.boxes,
            "scene": w.scene,
        },
        nan=NO_MOVE,
    ),
    Call(
        "evaluation.insertion",
        lambda w: {**_scored(w), "fill": "render", "boxes": w.boxes, "scene": w.scene},
        nan=NO_MOVE,
    ),
    Call("evaluation.deletion", lambda w: {**_scored(w), "fill": "mean", "spacing": "linear"}),
    Call("evaluation.infidelity", lambda w: {**_scored(w), "samples": 2}),
    Call(
        "evaluation.infidelity",
        lambda w: {
            **_scored(w),
            "samples": 2,
            "perturbation": "render",
            "boxes": w.boxes,
            "scene": w.scene,
        },
        # With `relative` also where the target never changes.
        nan=(*NO_MOVE, "True", "np.bool_"),
    ),
    Call(
        "evaluation.infidelity",
        lambda w: {
            **_scored(w),
            "samples": 2,
            "perturbation": "square",
            "side": 12,
            "relative": True,
        },
        # A small square may miss all that the target depends on.
        nan=(*BLANK, "None", "1"),
    ),
    Call("evaluation.entropy", lambda w: {"maps": w.maps[0]}, nan=ZERO),
    Call("evaluation.gini", lambda w: {"maps": w.maps[0]}, nan=ZERO),
    Call(
        "evaluation.evidence_mask",
        lambda w: {"boxes": w.boxes, "size": (12, 16)},
        # Of an image that is too small it is the boxes that do not fit.
        also={"size": ("boxes",)},
    ),
    Call("evaluation.evidence_signs", lambda w: {"boxes": w.boxes, "scene": w.scene}),
    Call("evaluation.mass_accuracy", _masks, nan=ZERO),
    Call("evaluation.pointing_game", _masks, nan=ZERO),
    Call("evaluation.rank_accuracy", _masks, nan=ZERO),
    Call(
        "evaluation.max_sensitivity",
        lambda w: {"explain": _explain_images(w), "images": w.images, "samples": 2},
        nan=BLANK,
    ),
    Call(
        "evaluation.mean_interval",
        lambda w: {"values": [0.1, 0.4, 0.2], "resamples": 5},
        nan=("()", "[]", "array empty", "array first only", "array none of them"),
    ),
    Call(
        "evaluation.randomization",
        lambda w: {"model": w.model, "images": w.images, "explain": _explain_model},
        nan=BLANK,
    ),
    Call(
        "evaluation.efficient_randomization",
        lambda w: {"model": w.model, "images": w.images, "explain": _explain_model, "bins": 5},
        nan=BLANK,
    ),
]

RECORDS = {
    "evaluation.BASELINES": "constant",
    "evaluation.CONTROLS": "constant",
    "evaluation.METRICS": "constant",
    "evaluation.Audit": "record that `audit` makes",
    "evaluation.Control": "record of a row of `CONTROLS`",
    "evaluation.DamagedCellWarning": "class of a warning",
    "evaluation.CrossTalk": "record that `cross_talk` makes",
    "evaluation.Metric": "record of a row of `METRICS`",
}


def _audit(w):
    if not hasattr(w, "audit"):
        w.audit = wb.evaluation.audit("sparseness", n=8)
    return w.audit


def _certificate(w):
    if not hasattr(w, "certificate"):
        w.certificate = wb.evaluation.certify("gradient", mechanisms="integrator", n=2)
    return w.certificate
