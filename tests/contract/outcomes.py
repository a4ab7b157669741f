"""What a mutated call came to: a clear error, a right result, or a fault."""

import contextlib
import dataclasses
import dis
import gc
import os
import random
import re
import resource
import signal
import traceback
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import whitebox_loc
from contract.bad_values import VALUES, values_for

SOURCE = str(Path(whitebox_loc.__file__).parent)
OUTCOMES = ("clear", "right", "raw", "vague", "silent NaN", "hang")
"""The first two are as promised.

A ``raw`` error is raised by another library, by Python itself, or is of a type that says
nothing of arguments; a ``vague`` one is ours and does not name the argument, or is longer than
`LONGEST`; a ``hang`` took longer than `SECONDS` of the processor, or asked for more memory than
`MEMORY`.
"""

FAULTS = OUTCOMES[2:]
LONGEST = 700
SECONDS = 20
MEMORY = 4 * 2**30


class TooLong(BaseException):
    """The soft time limit; no `Exception`, so that nothing takes it for an error of its own."""


@dataclass(frozen=True)
class Mutation:
    """One good call with one argument replaced."""

    call: Any
    argument: str
    value: str


@dataclass(frozen=True)
class Outcome:
    """What came of a mutated call, in a word, and where."""

    mutation: Mutation
    kind: str
    error: str = ""
    place: str = ""

    def __str__(self):
        m = self.mutation
        return f"{m.call.name}({m.argument}={m.value}): {self.kind}: {self.error} {self.place}"


def mutations(calls, world):
    """Return every argument of every call with every bad value that is made for it."""
    made = []
    for call in calls:
        for argument, good in call.replaceable(world).items():
            made += [Mutation(call, argument, value) for value in values_for(good)]
    return made


def sample(everything, count, seed):
    """Return `count` of them in random order (all, where there are fewer)."""
    return random.Random(seed).sample(everything, min(count, len(everything)))


def run_good(call, world):
    """Run a call as it stands and return its result."""
    try:
        return call.function(world)(**call.arguments(world))
    finally:
        _tidy(world)


def run(mutation, world, clean):
    """Run a mutated call; `clean` holds the places of NaN in results of good calls."""
    call = mutation.call
    arguments = call.arguments(world)
    good = arguments.get(mutation.argument, call.replaceable(world)[mutation.argument])
    try:
        function = call.function(world)
        arguments[mutation.argument] = VALUES[mutation.value](world, good)
        with _limits(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                result = function(**arguments)
            except TooLong as error:
                return Outcome(mutation, "hang", f"over {SECONDS} s", _place(error))
            except MemoryError as error:
                return Outcome(mutation, "hang", _short(error), _place(error))
            except AssertionError as error:
                # The contracts of `testing` answer so; anyone else's is a fault.
                kind = "right" if call.package == "testing" else "raw"
                return Outcome(mutation, kind, _short(error), _place(error))
            except Exception as error:
                kind = judge(error, (mutation.argument, *call.also.get(mutation.argument, ())))
                return Outcome(mutation, kind, _short(error), _place(error))
            if mutation.value in call.nan:
                return Outcome(mutation, "right")
            # By row: a name may have several, of which only some leave fields empty.
            if id(call) not in clean:
                clean[id(call)] = set(nan_places(run_good(call, world)))
            new = set(nan_places(result)) - clean[id(call)]
            if new:
                return Outcome(mutation, "silent NaN", f"at {sorted(new)[0] or 'the result'}")
            return Outcome(mutation, "right")
    except TooLong as error:  # After the call itself, or as something swallowed the first.
        return Outcome(mutation, "hang", f"over {SECONDS} s", _place(error))
    finally:
        _tidy(world)


def judge(error, names):
    """Return ``"clear"``, ``"vague"`` or ``"raw"`` for an exception."""
    if any(_names(note, names) for note in getattr(error, "__notes__", ())):
        return "clear"  # What a given function raises is its own error, with a note of whose.
    kinds = (ValueError, TypeError, OSError)
    if not _raised_by_us(error) or not isinstance(error, kinds + _own_errors()):
        return "raw"
    return "clear" if _names(str(error), names) and len(str(error)) <= LONGEST else "vague"


def _names(text, names):
    return any(re.search(rf"`(\w+\.)*{re.escape(name)}(?!\w)", text) for name in names)


def _own_errors():
    return (whitebox_loc.training.TrainingDivergedError,)


def _raised_by_us(error):
    """Whether a ``raise`` statement of this library made the error, rather than a call in it."""
    last = error.__traceback__
    if last is None:
        return False
    while last.tb_next is not None:
        last = last.tb_next
    code = last.tb_frame.f_code
    inside = code.co_filename.startswith(SOURCE + os.sep)
    return inside and code.co_code[last.tb_lasti] == dis.opmap["RAISE_VARARGS"]


def nan_places(value: Any, name: str = "", depth: int = 0) -> Iterator[str]:
    """Yield the names of fields with NaN or infinity in them; places in lists have one name."""
    if isinstance(value, (float, complex, np.ndarray, np.generic)):
        array = np.asarray(value)
        if array.dtype.kind in "fc" and not np.isfinite(array).all():
            yield name
    elif depth < 6:
        for part, item in _parts(value):
            yield from nan_places(item, name + part, depth + 1)


def _parts(value):
    """Return what a result holds, each with how it is reached."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return [(f".{f.name}", getattr(value, f.name)) for f in dataclasses.fields(value)]
    if isinstance(value, whitebox_loc.training.History):
        return [("", value.to_dict())]
    if isinstance(value, Mapping):
        return [(f"[{key!r}]", item) for key, item in value.items()]
    if isinstance(value, (list, tuple)):
        return [("[]", item) for item in value]
    if hasattr(value, "variables") and hasattr(value, "get_config"):
        return [(".variables", variable.numpy()) for variable in value.variables]
    if type(value).__module__.startswith("tensorflow") and hasattr(value, "numpy"):
        return [("", np.asarray(value.numpy()))]
    return []


@contextlib.contextmanager
def _limits():
    """Bound processor time and address space: a wish for 10**30 images stops no machine."""

    def stop(*_):
        raise TooLong

    before = signal.signal(signal.SIGPROF, stop)
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (_address_space() + MEMORY, hard))
    signal.setitimer(signal.ITIMER_PROF, SECONDS, 1)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def _address_space():
    return int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")


def _tidy(world):
    import sys

    world.restore()
    os.chdir(world.root)
    if "matplotlib.pyplot" in sys.modules:
        sys.modules["matplotlib.pyplot"].close("all")
    gc.collect(0)


def _short(error):
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:70]}"


def _place(error):
    frames = traceback.extract_tb(error.__traceback__)
    if not frames:
        return ""
    ours = [f for f in frames if f.filename.startswith(SOURCE + os.sep)]
    last = ours[-1] if ours else frames[-1]
    return f"{os.path.relpath(last.filename, SOURCE)}:{last.lineno}"
