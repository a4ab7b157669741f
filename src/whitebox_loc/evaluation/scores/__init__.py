"""Scores of maps, and METRICS: one row for each, with what fools it.

To add a metric: a function from a `Trial` to one number an image, and a row here.
"""

from __future__ import annotations

from typing import Any

from whitebox_loc.evaluation.scores import trials
from whitebox_loc.evaluation.scores.complexity import entropy, gini
from whitebox_loc.evaluation.scores.faithfulness import completeness_gap, infidelity
from whitebox_loc.evaluation.scores.location import mass_accuracy, pointing_game, rank_accuracy
from whitebox_loc.evaluation.scores.record import Metric, Trial
from whitebox_loc.evaluation.scores.replacing import deletion, insertion
from whitebox_loc.evaluation.scores.sanity import efficient_randomization, randomization
from whitebox_loc.evaluation.scores.signs import evidence_signs
from whitebox_loc.evaluation.scores.stability import max_sensitivity

__all__ = [
    "METRICS",
    "Metric",
    "Trial",
    "completeness_gap",
    "deletion",
    "efficient_randomization",
    "entropy",
    "evidence_signs",
    "gini",
    "infidelity",
    "insertion",
    "mass_accuracy",
    "max_sensitivity",
    "pointing_game",
    "randomization",
    "rank_accuracy",
]

_INF = float("inf")
_ARRAS = "L. Arras et al., 2022, doi:10.1016/j.inffus.2021.11.008"
_ZHANG = "J. Zhang et al., 2016, arXiv:1608.00507"
_PETSIUK = "V. Petsiuk et al., 2018, arXiv:1806.07421"
_YEH = "C.-K. Yeh et al., 2019, arXiv:1901.09392"
_ADEBAYO = "J. Adebayo et al., 2018, arXiv:1810.03292"
_HEDSTROM = "A. Hedström et al., 2024, arXiv:2405.02383"

_MASS = r"\sum_{p \in M} \lvert a_p \rvert \big/ \sum_p \lvert a_p \rvert"
_SIGNED_MASS = r"\sum_{p \in M} \max(0, s_p a_p) \big/ \sum_p \lvert a_p \rvert"
_RANK = r"\lvert \mathrm{top}_K \cap M \rvert / K,\; K = \lvert M \rvert"
_SIGNED_RANK = r"\lvert \{p \in \mathrm{top}_K \cap M : s_p a_p > 0\} \rvert / K"
_POINT = r"[\arg\max_p \lvert a_p \rvert \in M]"
_SIGNED_POINT = r"[\arg\max_p \lvert a_p \rvert \in \{p \in M : s_p a_p > 0\}]"
_CURVE = r"\overline{\lvert f(x_k) - f(x) \rvert}"
_UNFAITHFUL = r"\mathrm{E}_I \big( I \cdot a - (f(x) - f(x - I)) \big)^2"
_SHARE = r"\mathrm{E}_I (\beta I \cdot a - \Delta_I)^2 / \mathrm{E}_I \Delta_I^2"

_WORLD = frozenset({"model", "scene"})
_METHOD = frozenset({"model", "explain"})
_FEW = "a map that names one true pixel and no other, since what it misses costs nothing; "


def _location(score: trials.Score, truth: str, formula: str, paper: str, fooled_by: str,
              signed: bool = False) -> Metric:  # fmt: skip
    if truth == "task":
        function = trials.Bound(trials.against_evidence, score, signed)
    else:
        function = trials.Bound(trials.against_used, score)
    name = f"{'signed_' * signed}{score.__name__}_{truth}"
    needs = frozenset({"scene"} if truth == "task" else {"used"})
    return Metric(name, function, "location", truth, True, (0, 1), formula, paper, fooled_by,
                  needs, signed)  # fmt: skip


def _faithful(name: str, score: trials.Score, formula: str, paper: str, fooled_by: str,
              **more: Any) -> Metric:  # fmt: skip
    function = trials.Bound(trials.of_variants, score)
    settings = {"higher_is_better": False, "range": (0, _INF), "needs": _WORLD, **more}
    return Metric(name, function, "faithfulness", "model", formula=formula, paper=paper,
                  fooled_by=fooled_by, **settings)  # fmt: skip


_ROWS = (
    _location(
        mass_accuracy, "task", _MASS, _ARRAS,
        _FEW + "signs turned round; a faithful map of a model that looks elsewhere scores low",
    ),
    _location(mass_accuracy, "model", _MASS, _ARRAS, _FEW + "signs turned round"),
    _location(mass_accuracy, "task", _SIGNED_MASS, _ARRAS, signed=True, fooled_by=_FEW
              + "maps relative to a baseline brighter than the image have the other sign there"),
    _location(
        rank_accuracy, "task", _RANK, _ARRAS,
        "any rescaling that keeps the order: it does not see how strong the false pixels are",
    ),
    _location(rank_accuracy, "model", _RANK, _ARRAS,
              "any rescaling that keeps the order; a mask of most of the image is met by any map"),
    _location(rank_accuracy, "task", _SIGNED_RANK, _ARRAS,
              "any rescaling that keeps order and signs", signed=True),
    _location(
        pointing_game, "task", _POINT, _ZHANG,
        "all pixels but one: noise with a single lucky maximum is perfect, and blur costs little",
    ),
    _location(pointing_game, "model", _POINT, _ZHANG,
              "all pixels but one; a mask of most of the image is met by any map"),
    _location(pointing_game, "task", _SIGNED_POINT, _ZHANG, "all pixels but one", signed=True),
    _faithful(
        "deletion", deletion, _CURVE, _PETSIUK,
        "images that no scene can draw: it may measure how the model fails on them. With black, "
        "dark pixels change nothing, so the dark side of an edge counts for nothing",
        higher_is_better=True, oracle="black", options={"fill": "black"},
    ),
    _faithful(
        "deletion_blur", deletion, _CURVE, _PETSIUK,
        "images that no scene can draw; and blur changes the two sides of an edge in opposite "
        "ways, so that true pixels replaced together cancel",
        higher_is_better=True, oracle="blur", options={"fill": "blur"},
    ),
    _faithful(
        "deletion_render", deletion, _CURVE, _PETSIUK + "; edges in place of pixels",
        "everything but the order of four edges: where on the evidence of an edge the mass lies, "
        "and all mass elsewhere, is not seen",
        higher_is_better=True, options={"fill": "render"},
    ),
    _faithful("insertion", insertion, _CURVE, _PETSIUK,
              "what fools deletion; and a model whose output for a black image is near the truth",
              oracle="black", options={"fill": "black"}),
    _faithful("insertion_blur", insertion, _CURVE, _PETSIUK,
              "what fools deletion; a blurred image still shows the model where the edges are",
              oracle="blur", options={"fill": "blur"}),
    _faithful("insertion_render", insertion, _CURVE, _PETSIUK + "; edges in place of pixels",
              "everything but the order of four edges",
              options={"fill": "render"}),
    _faithful("infidelity", infidelity, _UNFAITHFUL, _YEH,
              "the unit of the map: a true map times two is worse than no map at all; and noise, "
              "which rewards the local slope even where the model saturates",
              signed=True, options={"perturbation": "noise"}),
    _faithful("infidelity_scaled", infidelity, _SHARE, _YEH,
              "signs turned round: the best factor is then negative",
              range=(0, 1), options={"perturbation": "noise", "scaled": True, "relative": True}),
    _faithful("infidelity_render", infidelity, _SHARE, _YEH + "; edges in place of pixels",
              "all mass that no moved edge sweeps over, and signs turned round",
              range=(0, 1), options={"perturbation": "render", "scaled": True, "relative": True}),
    Metric(
        "completeness_gap", trials.completeness_gap_of, "faithfulness", "model", False, (0, _INF),
        r"\lvert \sum_p a_p - \Delta f \rvert / \lvert \Delta f \rvert",
        "M. Sundararajan et al., 2017, arXiv:1703.01365",
        "any map with the right sum, wherever its mass lies",
        frozenset({"gap"}), signed=True, oracle="black",
    ),
    Metric("max_sensitivity", trials.max_sensitivity_of, "stability", "none", False, (0, _INF),
           r"\max_{\lVert \varepsilon \rVert_\infty \le r} "
           r"\lVert a(x + \varepsilon) - a(x) \rVert / \lVert a(x) \rVert",
           _YEH, "a map that ignores image and model: a constant is perfectly stable",
           _METHOD),
    Metric("randomization", trials.Bound(trials.of_method, randomization), "sanity",
           "model", False, (-1, 1),
           r"\frac{1}{L} \sum_l \rho\big(\lvert a \rvert, \lvert a_l \rvert\big)",
           _ADEBAYO, "noise that is drawn anew at each call: it passes perfectly; and ranks of the "
           "many pixels near zero count as much as those of the few that matter",
           _METHOD),
    Metric("smooth_randomization", trials.Bound(trials.of_method, randomization), "sanity",
           "model", False, (-1, 1),
           r"\frac{1}{L} \sum_l \rho\big(\lvert \bar a \rvert, \lvert \bar a_l \rvert\big)",
           _HEDSTROM, "noise that is drawn anew at each call",
           _METHOD, options={"samples": 8}),
    Metric("efficient_randomization", trials.Bound(trials.of_method, efficient_randomization),
           "sanity", "model", True, (-1, _INF), r"(h(a') - h(a)) / h(a)",
           _HEDSTROM, "where the map lies: values alone are counted, shuffled pixels score alike",
           _METHOD),
    Metric("sparseness", trials.Bound(trials.of_maps, gini), "complexity", "none", True, (0, 1),
           r"\sum_k \frac{2k - d - 1}{d}\, \frac{\lvert a_{(k)} \rvert}{\sum_p \lvert a_p \rvert}",
           "P. Chalasani et al., 2020, arXiv:1810.06583",
           "one pixel anywhere is simpler than the truth: it does not know what is true"),
    Metric(
        "complexity", trials.Bound(trials.of_maps, entropy), "complexity", "none", False, (0, _INF),
        r"-\sum_p q_p \ln q_p,\; q_p = \lvert a_p \rvert / \sum_r \lvert a_r \rvert",
        "U. Bhatt et al., 2020, arXiv:2005.00631",
        "one pixel anywhere is simpler than the truth: it does not know what is true",
    ),
)  # fmt: skip

METRICS = {row.name: row for row in _ROWS}
"""Name to metric: what `audit` and `benchmark` can be asked for."""
