"""What a change of the tests no longer runs: two reports of coverage, compared file by file.

pytest -n 2 --cov --cov-report=json:before.json, the change, the same to after.json, then
python benchmarks/coverage_kept.py before.json after.json

Ends with status 1 where a file lost lines or branches. Where the file itself is another one, its
lines have other numbers, and the shares are compared.
"""

import argparse
import json
import sys
from pathlib import Path


def report(path):
    """Return {file: (lines run, branches run, all lines, all branches)}, each a set."""
    files = {}
    for name, file in json.loads(Path(path).read_text())["files"].items():
        lines, missing = set(file["executed_lines"]), set(file["missing_lines"])
        run = {tuple(b) for b in file["executed_branches"]}
        branches = run | {tuple(b) for b in file["missing_branches"]}
        files[name] = (lines, run, lines | missing, branches)
    return files


def shares(files):
    """Return the shares of lines and of branches that some files run, in percent."""
    sizes = [[len(part) for part in file] for file in files]
    lines, branches, all_lines, all_branches = (sum(column) for column in zip(*sizes, strict=True))
    return tuple(
        100 * run / whole if whole else 100.0
        for run, whole in ((lines, all_lines), (branches, all_branches))
    )


def lost(before, after):
    """Return what one file no longer runs, in words; empty where nothing is lost."""
    if before[2:] == after[2:]:
        parts = [sorted(old - new) for old, new in zip(before[:2], after[:2], strict=True)]
        names = ("lines", "branches")
        return "; ".join(f"{name} {part}" for name, part in zip(names, parts, strict=True) if part)
    pairs = zip(("lines", "branches"), shares([before]), shares([after]), strict=True)
    return "; ".join(f"{name} {a:.2f}% -> {b:.2f}%" for name, a, b in pairs if b < a)


def main():
    """Print the shares of all files, and what each file lost."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("before")
    parser.add_argument("after")
    options = parser.parse_args()
    before, after = report(options.before), report(options.after)
    for name, files in {"before": before, "after": after}.items():
        lines, branches = shares(files.values())
        print(f"{name:<8} lines {lines:.2f}%   branches {branches:.2f}%")
    losses = {name: lost(before[name], after[name]) for name in sorted(before.keys() & after)}
    losses = {name: text for name, text in losses.items() if text}
    for name, text in losses.items():
        print(f"{name}: no longer run: {text}")
    return 1 if losses else 0


if __name__ == "__main__":
    sys.exit(main())
