"""Count what mutated calls come to, as a Markdown table, and list the faults.

python tests/contract/count.py [--package introspect] [--calls 5000] [--seed 0]
"""

import argparse
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
    from contract.outcomes import FAULTS, OUTCOMES, mutations, run, sample
    from contract.world import World

    keras.config.disable_traceback_filtering()
    calls, _ = all_calls()
    wanted = [c for c in calls if c.name.startswith(options.package)]
    counts, faults, clean = Counter(), defaultdict(list), {}
    with World() as world:
        chosen = sample(mutations(wanted, world), options.calls, options.seed)
        for number, mutation in enumerate(chosen):
            if options.verbose:
                print(
                    number, mutation.call.name, mutation.argument, mutation.value, file=sys.stderr
                )
            outcome = run(mutation, world, clean)
            counts[mutation.call.package, outcome.kind] += 1
            if outcome.kind in options.show or (not options.show and outcome.kind in FAULTS):
                where = f"{mutation.call.name}({mutation.argument})"
                faults[where, outcome.kind, f"{outcome.error} {outcome.place}"].append(
                    mutation.value
                )
    print(_table(counts, OUTCOMES))
    for (where, kind, what), values in sorted(faults.items()):
        print(f"{where}: {kind}: {what}\n    {', '.join(values)}")


def _options():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--package", default="", help="first part of the names, such as introspect")
    parser.add_argument("--calls", type=int, default=5000, help="mutated calls")
    parser.add_argument("--seed", type=int, default=0, help="which of them")
    parser.add_argument(
        "--show", nargs="*", default=[], help="outcomes to list; the faults if none"
    )
    parser.add_argument("--verbose", action="store_true", help="print each call before it is made")
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
