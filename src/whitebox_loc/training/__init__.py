"""Training with a time or step budget, and evaluation on held-out scenes."""

from whitebox_loc.training.breakdowns import Breakdown, breakdown
from whitebox_loc.training.evaluation import Evaluation, evaluate, predict
from whitebox_loc.training.fitting import TrainingDivergedError, fit
from whitebox_loc.training.history import History

__all__ = [
    "Breakdown",
    "Evaluation",
    "History",
    "TrainingDivergedError",
    "breakdown",
    "evaluate",
    "fit",
    "predict",
]
