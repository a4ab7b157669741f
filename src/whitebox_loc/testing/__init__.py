"""Property-based tests of localizers, saliency methods and metrics: strategies and contracts.

Strategies draw boxes, scenes, images and small localizers for Hypothesis. Contracts check what
you wrote: they raise an AssertionError that says what is wrong, for which input and by how much.

>>> import whitebox_loc as wb
>>> wb.testing.check_saliency_method("gradient")
"""

try:
    import hypothesis as _hypothesis  # noqa: F401
except ImportError as error:
    raise ImportError(
        "whitebox_loc.testing needs Hypothesis, which is not installed here. Install it by "
        '`pip install "whitebox_loc[test]"`.'
    ) from error

from whitebox_loc.testing.localizer_contract import check_localizer
from whitebox_loc.testing.map_contracts import check_explainer, check_saliency_method
from whitebox_loc.testing.metric_contract import check_metric
from whitebox_loc.testing.model_strategies import localizers
from whitebox_loc.testing.strategies import boxes, images, scenes

__all__ = [
    "boxes",
    "check_explainer",
    "check_localizer",
    "check_metric",
    "check_saliency_method",
    "images",
    "localizers",
    "scenes",
]
