"""Good calls of every public name run; bad input is refused clearly or answered rightly."""

import types

import pytest

import whitebox_loc as wb
from contract.calls import PACKAGES, all_calls
from contract.outcomes import FAULTS, mutations, run, run_good, sample
from contract.world import World

CALLS, RECORDS = all_calls()


def module_of(name):
    found = wb
    for part in name.split("."):
        found = getattr(found, part)
    return found


@pytest.fixture(scope="module")
def world():
    with World() as made:
        yield made


@pytest.mark.parametrize("package", PACKAGES)
def test_every_public_name_has_a_row(package):
    # `training.History.plot` is a row of `training.History`; a name that is listed by two modules
    # needs one row.
    rows = {name for call in CALLS for name in (call.name, call.name.rsplit(".", 1)[0])}
    rows |= set(RECORDS)
    called = [module_of(name) for name in rows if not isinstance(module_of(name), types.ModuleType)]
    module = module_of(package)
    missing = [
        name
        for name in module.__all__
        if f"{package}.{name}" not in rows
        and f"{package}.{name}" not in PACKAGES
        and not any(getattr(module, name) is other for other in called)
    ]
    assert not missing, f"tests/contract has no good call of these names of {package}: {missing}"


def test_rows_are_of_public_names():
    for name in (*RECORDS, *(call.name for call in CALLS)):
        assert module_of(name) is not None, name


@pytest.mark.parametrize("index", range(len(CALLS)), ids=[call.name for call in CALLS])
def test_good_calls_run(index, world):
    run_good(CALLS[index], world)


def faults(calls, world, count):
    clean = {}
    chosen = sample(mutations(calls, world), count, seed=0)
    outcomes = (run(mutation, world, clean) for mutation in chosen)
    return [str(outcome) for outcome in outcomes if outcome.kind in FAULTS]


def test_bad_input_is_refused_clearly_or_answered_rightly(world):
    found = faults([call for call in CALLS if not call.slow], world, 200)
    assert not found, "\n".join(found)


@pytest.mark.slow
def test_bad_input_is_refused_clearly_or_answered_rightly_five_thousand_times(world):
    found = faults(CALLS, world, 5000)
    assert not found, "\n".join(found)
