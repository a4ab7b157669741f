"""Set-up of all tests and doctests."""

import functools
import gc
import os
import re
import sys

import pytest
from hypothesis import settings

# Before TensorFlow starts: networks as small as ours gain nothing from more threads, and workers
# (`-n 2`) that share the cores lose by them.
for name in ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "OMP_NUM_THREADS"):
    os.environ.setdefault(name, "1")

# The first TensorFlow call of a test takes far longer than the rest: no time limit a case. Every
# run draws other cases, so that few a run do; `--hypothesis-profile=thorough` draws many.
settings.register_profile("few", deadline=None, max_examples=30)
settings.register_profile("thorough", deadline=None, max_examples=500)
settings.load_profile("few")


# Graphs of a thousand models fill the heap, and looking through it takes a tenth of the run.
gc.set_threshold(2_000, 10, 10)


def pytest_collection_finish():
    """Leave what was imported out of every later collection of garbage."""
    gc.freeze()


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


# Examples of docstrings that are whole programs.
WHOLE_DOCTESTS = ("whitebox_loc.report.tours.tour",)


@functools.cache
def compares_numbers(path):
    """Whether a test file has tolerances or compares arrays."""
    return bool(re.search(r"np\.testing\.|\bapprox\(", path.read_text("utf-8")))


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """Mark tests of numbers and doctests as `numeric`, so that no list of them can go stale."""
    for item in items:
        if item.name in WHOLE_DOCTESTS:
            item.add_marker("whole")
        if isinstance(item, pytest.DoctestItem) or compares_numbers(item.path):
            item.add_marker("numeric")
