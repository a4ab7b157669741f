"""Models by methods by metrics: one table, on any executor, resumable."""

from whitebox_loc.evaluation.benchmarking.results import Results, read_results
from whitebox_loc.evaluation.benchmarking.running import benchmark
from whitebox_loc.evaluation.benchmarking.specs import BASELINES
from whitebox_loc.evaluation.benchmarking.stores import DamagedCellWarning

__all__ = ["BASELINES", "DamagedCellWarning", "Results", "benchmark", "read_results"]
