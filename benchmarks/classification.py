"""Train classifying localizers on a time budget and print how well they do on held-out images.

    python benchmarks/classification.py                       # three seeds, 300 s each
    python benchmarks/classification.py --steps 1000          # by steps, on a busy machine
    python benchmarks/classification.py --least-side          # what can be told apart at all

The requirement: accuracy >= 99% and mean IoU >= 0.97 on the six shapes within 300 s of training
wall time on two cores.
"""

from __future__ import annotations

import argparse
import itertools
import time

import numpy as np

import whitebox_loc as wb
from whitebox_loc.data.shapes import SHAPES, shape_mask

ACCURACY, MEAN_IOU = 0.99, 0.97


def main() -> None:
    """Print one row a seed, the confusion matrices and the verdict."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=300.0)
    parser.add_argument("--steps", type=int, help="in place of --seconds")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--head", default="profile")
    parser.add_argument("--n", type=int, default=5000, help="held-out images")
    parser.add_argument("--least-side", action="store_true")
    options = parser.parse_args()
    if options.least_side:
        least_side()
    else:
        train(options)


def train(options: argparse.Namespace) -> None:
    print(
        "| seed | wall s | CPU s | steps | accuracy | cross entropy | ECE | mean IoU | exact |\n"
        "|---|---|---|---|---|---|---|---|---|"
    )
    passed, confusions = 0, []
    for seed in range(options.first_seed, options.first_seed + options.seeds):
        result, row = run(seed, options)
        print(f"| {seed} | {row} |", flush=True)
        confusions.append(result.classification.confusion)
        passed += result.classification.accuracy >= ACCURACY and result.mean_iou >= MEAN_IOU
    verdict = "reached" if passed == options.seeds else "NOT reached"
    print(f"\n{passed} of {options.seeds} seeds, requirement {verdict}\n")
    print(confusion_table(sum(confusions), result.classification.names))


def run(seed: int, options: argparse.Namespace) -> tuple[wb.training.Evaluation, str]:
    scene = wb.data.as_scene("shapes")
    model = wb.models.localizer(head=options.head, classes=len(scene.shapes), seed=seed)
    budget = {"seconds": options.seconds} if options.steps is None else {"steps": options.steps}
    wall, cpu = time.perf_counter(), time.process_time()
    history = wb.training.fit(model, scene, seed=seed, progress=False, **budget)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    result = wb.training.evaluate(model, scene, n=options.n, seed=1000 + seed)
    found = result.classification
    return result, (
        f"{wall:.0f} | {cpu:.0f} | {len(history)} | {found.accuracy:.2%} "
        f"| {found.cross_entropy:.4f} | {found.calibration_error:.4f} "
        f"| {result.mean_iou:.5f} | {result.exact_rate:.2%}"
    )


def confusion_table(confusion: np.ndarray, names: tuple[str, ...]) -> str:
    """Return all seeds together: true class by predicted class."""
    lines = ["| true \\ predicted | " + " | ".join(names) + " |", "|---" * (len(names) + 1) + "|"]
    for name, row in zip(names, confusion, strict=True):
        lines.append(f"| {name} | " + " | ".join(str(count) for count in row) + " |")
    return "\n".join(lines)


def least_side(highest: int = 100) -> None:
    """Print from which side on all shapes of one box differ, and by how many pixels."""
    apart = np.zeros((highest + 1, highest + 1), int)
    for height, width in itertools.product(range(1, highest + 1), repeat=2):
        masks = [shape_mask(shape, height, width) for shape in SHAPES]
        apart[height, width] = min(int((a != b).sum()) for a, b in itertools.combinations(masks, 2))
    alike = np.argwhere(apart[1:, 1:] == 0) + 1
    least = int(alike.min(axis=1).max()) + 1
    print(f"Two shapes are drawn alike in {len(alike)} of {highest**2} sizes of box.")
    print(f"From a shorter side of {least} pixels on all {len(SHAPES)} differ.")
    print(f"From a shorter side of 8 on by at least {apart[8:, 8:].min()} pixels.")


if __name__ == "__main__":
    main()
