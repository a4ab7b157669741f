"""What is no detector of KerasHub is refused without it being installed."""

import pytest

import whitebox_loc as wb


def test_another_model():
    with pytest.raises(ValueError, match=r"`type\(detector\)` must be one of .*'Functional'"):
        wb.models.hub_detector(wb.models.localizer((8, 8)))
