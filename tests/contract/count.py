"""Count what mutated calls come to, as a Markdown table, and list the faults.

python tests/contract/count.py [--package introspect] [--calls 5000] [--seed 0]
"""

import argparse
import contextlib
import os
import sys
from collections import Counter, defaultdict
from pathlib import Path

TESTS = str(Path(__file__).parents[1])


def main():
    # The folder of this file would put its modules on the path under second names.
    sys.path[0] = TESTS
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    os.environ.setdefault("MPLBACKEND", "Agg")
    options = _options()

    import keras

    from contract.calls import all_calls
    from contract.outcomes import OUTCOMES, mutations, run, sample
    from contract.world import World

    keras.config.disable_traceback_filtering()
    calls, clean = all_calls()[0], {}
    wanted = [c for c in calls if c.name.startswith(options.package)]
    with World() as world:
        chosen = sample(mutations(wanted, world), options.calls, options.seed)
        counts, listed = _counted((run(each, world, clean) for each in chosen), options)
    print(_table(counts, OUTCOMES))
    for (where, kind, what), values in sorted(listed.items()):
        print(f"{where}: {kind}: {what}\n    {', '.join(values)}")


def _counted(outcomes, options):
    """Return the numbers of outcomes and what to list of them; of all until Ctrl-C."""
    from contract.outcomes import FAULTS

    counts, listed = Counter(), defaultdict(list)
    with contextlib.suppress(KeyboardInterrupt):
        for outcome in outcomes:
            mutation = outcome.mutation
            if options.verbose:
                print(outcome, file=sys.stderr)
            counts[mutation.call.package, outcome.kind] += 1
            if outcome.kind in (options.show or FAULTS):
                where = f"{mutation.call.name}({mutation.argument})"
                what = f"{outcome.error} {outcome.place}"
                listed[where, outcome.kind, what].append(mutation.value)
    return counts, listed


def _options():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--package", default="", help="first part of the names, such as introspect")
    parser.add_argument("--calls", type=int, default=5000, help="mutated calls")
    parser.add_argument("--seed", type=int, default=0, help="which of them")
    parser.add_argument(
        "--show", nargs="*", default=[], help="outcomes to list; the faults if none"
    )
    parser.add_argument("--verbose", action="store_true", help="print each outcome as it comes")
    return parser.parse_args()


def _table(counts, outcomes):
    packages = sorted({package for package, _ in counts})
    lines = [
        "| package | calls | " + " | ".join(outcomes) + " |",
        "|---" * (len(outcomes) + 2) + "|",
    ]
    for package in (*packages, "all"):
        row = [
            sum(n for (p, kind), n in counts.items() if kind == o and package in (p, "all"))
            for o in outcomes
        ]
        lines.append(f"| {package} | {sum(row)} | " + " | ".join(map(str, row)) + " |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
