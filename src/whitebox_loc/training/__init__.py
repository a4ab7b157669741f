"""Training with a time or step budget, and evaluation on held-out scenes."""

from whitebox_loc.training.breakdowns import Breakdown, breakdown
from whitebox_loc.training.classification import Classification, score_labels
from whitebox_loc.training.detector_evaluation import DetectorEvaluation, evaluate_detector
from whitebox_loc.training.detector_fitting import DETECTOR_COLUMNS, fit_detector
from whitebox_loc.training.evaluation import Evaluation, evaluate, predict, predict_labels
from whitebox_loc.training.fitting import fit
from whitebox_loc.training.history import History
from whitebox_loc.training.loops import TrainingDivergedError
from whitebox_loc.training.shifts import COORDCONV, SHIFTS, Shift
from whitebox_loc.training.stress_tests import Curve, Stress, stress

__all__ = [
    "COORDCONV", "DETECTOR_COLUMNS", "SHIFTS", "Breakdown", "Classification", "Curve",
    "DetectorEvaluation", "Evaluation", "History", "Shift", "Stress", "TrainingDivergedError",
    "breakdown", "evaluate", "evaluate_detector", "fit", "fit_detector", "predict",
    "predict_labels", "score_labels", "stress",
]  # fmt: skip
