"""Print what ``import whitebox_loc`` adds to starting Python, and what its parts add.

python benchmarks/import_cost.py
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time

LIMIT = 0.2
STATEMENTS = (
    "import whitebox_loc",
    "import whitebox_loc.boxes",
    "import whitebox_loc.data",
    "import whitebox_loc.models",
)


def main() -> None:
    """Print one line a statement: median seconds beyond those of an empty program."""
    empty = median_seconds("pass")
    for statement in STATEMENTS:
        seconds = median_seconds(statement) - empty
        note = f" ({seconds / LIMIT:.2f} of the limit)" if statement == STATEMENTS[0] else ""
        print(f"{statement:<28} {seconds:6.3f} s{note}")


def median_seconds(code: str, repeats: int = 7) -> float:
    """Return the median wall time of a fresh interpreter that runs `code`."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        subprocess.run([sys.executable, "-c", code], check=True, stderr=subprocess.DEVNULL)
        times.append(time.perf_counter() - start)
    return statistics.median(times)


if __name__ == "__main__":
    main()
