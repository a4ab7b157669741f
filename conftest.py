"""Set-up of all tests and doctests."""

import functools
import re
import sys

import pytest
from hypothesis import settings

# The first TensorFlow call of a test takes far longer than the rest: no time limit a case.
settings.register_profile("no-deadline", deadline=None)
settings.load_profile("no-deadline")


@pytest.fixture(autouse=True)
def fixed_seed():
    """Give models that a test builds without a seed the same weights in every run."""
    if "keras" in sys.modules:
        sys.modules["keras"].utils.set_random_seed(0)


@pytest.fixture(autouse=True)
def close_figures():
    """Close what a test has drawn: where pyplot is in use, it keeps every figure."""
    yield
    if "matplotlib.pyplot" in sys.modules:
        sys.modules["matplotlib.pyplot"].close("all")


@functools.cache
def compares_numbers(path):
    """Whether a test file has tolerances or compares arrays."""
    return bool(re.search(r"np\.testing\.|\bapprox\(", path.read_text("utf-8")))


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """Mark tests of numbers and doctests as `numeric`, so that no list of them can go stale."""
    for item in items:
        if isinstance(item, pytest.DoctestItem) or compares_numbers(item.path):
            item.add_marker("numeric")
