"""Whether an explanation is true: evidence, interventions, scores, audits, certificates.

Task truth is what the image says (`evidence_mask`), model truth what a network uses
(`whitebox_loc.models.mechanism`, `edge_moves`). Scores name the one they are measured against.
"""

from whitebox_loc._statistics import mean_interval
from whitebox_loc.evaluation.audits import CONTROLS, Audit, Control, audit, audit_table
from whitebox_loc.evaluation.benchmarking import (
    BASELINES,
    DamagedCellWarning,
    Results,
    benchmark,
    read_results,
)
from whitebox_loc.evaluation.certificates import Certificate, certify
from whitebox_loc.evaluation.crosstalk import CrossTalk, cross_talk
from whitebox_loc.evaluation.scores import (
    METRICS,
    Metric,
    Trial,
    completeness_gap,
    deletion,
    efficient_randomization,
    entropy,
    evidence_signs,
    gini,
    infidelity,
    insertion,
    mass_accuracy,
    max_sensitivity,
    pointing_game,
    randomization,
    rank_accuracy,
)
from whitebox_loc.evaluation.truth import evidence_mask

# Their home is `introspect`; here only for those who have imported them from here.
from whitebox_loc.introspect import EdgeMoves as EdgeMoves
from whitebox_loc.introspect import edge_moves as edge_moves
from whitebox_loc.introspect import response as response

__all__ = [
    "BASELINES",
    "CONTROLS",
    "METRICS",
    "Audit",
    "Certificate",
    "Control",
    "CrossTalk",
    "DamagedCellWarning",
    "Metric",
    "Results",
    "Trial",
    "audit",
    "audit_table",
    "benchmark",
    "certify",
    "completeness_gap",
    "cross_talk",
    "deletion",
    "efficient_randomization",
    "entropy",
    "evidence_mask",
    "evidence_signs",
    "gini",
    "infidelity",
    "insertion",
    "mass_accuracy",
    "max_sensitivity",
    "mean_interval",
    "pointing_game",
    "randomization",
    "rank_accuracy",
    "read_results",
]
