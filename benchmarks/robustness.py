"""Train on varied appearance, stress the localizer, and compare with one trained on white on black.

    python benchmarks/robustness.py                 # trained on `augmented` and on `uniform`
    python benchmarks/robustness.py --seconds 300 --seeds 3
    python benchmarks/robustness.py --profile       # the default head, which sees less

The requirement: after at most five minutes of training on two cores, mean IoU of at least 0.95 on
every shift of moderate severity.
"""

from __future__ import annotations

import argparse
import time

import keras

import whitebox_loc as wb

LEAST_IOU = 0.95


def main() -> None:
    """Print one table a run, its verdict in words, and whether the requirement is met."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=800)
    parser.add_argument("--seconds", type=float, help="budget of wall time in place of steps")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--images", type=int, default=1000, help="at each severity")
    parser.add_argument("--profile", action="store_true", help="the default head")
    parser.add_argument("--scenes", nargs="+", default=["augmented", "uniform"])
    parser.add_argument("--save", help="file for the model of the first run, such as robust.keras")
    options = parser.parse_args()
    for scene in options.scenes:
        for seed in range(options.first_seed, options.first_seed + options.seeds):
            run(scene, seed, options)


def run(scene: str, seed: int, options: argparse.Namespace) -> None:
    head = "profile" if options.profile else "context"
    model = wb.models.localizer(head=head, seed=seed)
    start_rate = 0.01 if options.profile else 0.005
    if options.seconds:
        budget, rate = {"seconds": options.seconds}, start_rate / 5
    else:
        budget = {"steps": options.steps}
        rate = keras.optimizers.schedules.CosineDecay(start_rate, options.steps, alpha=0.02)
    start = time.process_time()
    history = wb.training.fit(model, scene, seed=seed, learning_rate=rate, progress=False, **budget)
    spent = time.process_time() - start
    if options.save and (scene, seed) == (options.scenes[0], options.first_seed):
        model.save(options.save)
    print(
        f"\n## {scene}, seed {seed}: {model.count_params():,} weights, {len(history)} steps, "
        f"{history['seconds'][-1]:.0f} s of wall time, {spent:.0f} s of CPU time\n"
    )
    stress = wb.training.stress(model, scene="uniform", n=options.images)
    table(stress)
    print("\n" + stress.verdict(LEAST_IOU))
    least = min(stress.moderate(), key=stress.moderate().get)
    value = stress.moderate()[least]
    verdict = "reached" if value >= LEAST_IOU else "NOT reached"
    print(f"\nLeast mean IoU at moderate severity: {value:.4f} ({least}), requirement {verdict}")


def table(stress: wb.training.Stress) -> None:
    print(
        "| shift | moderate | mean IoU | exact | error px | worst coordinates |\n"
        + "|---" * 6
        + "|"
    )
    for name, curve in stress.curves.items():
        i = curve.shift.severities.index(curve.shift.moderate)
        print(
            f"| {name} | {curve.shift.moderate:g} | {curve.mean_iou[i]:.4f} "
            f"| {curve.exact_rate[i]:.1%} | {curve.pixel_error[i]:.3f} "
            f"| {', '.join(curve.worst(i))} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
