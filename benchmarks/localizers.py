"""Train localizers on a time budget and print how well they find held-out boxes.

    python benchmarks/localizers.py                        # the profile head, ten seeds
    python benchmarks/localizers.py --rivals               # every head and VGG16, one seed
    python benchmarks/localizers.py --steps-to-target      # steps and seconds to the target

The requirement: at least 9 of 10 seeds with mean IoU >= 0.99 and >= 99% of boxes exact to the
pixel, on `uniform` and on `notebook`, within 60 s of training wall time and 10,000 weights.
"""

from __future__ import annotations

import argparse
import time

import whitebox_loc as wb

MEAN_IOU, EXACT_RATE, WEIGHTS, SEEDS_NEEDED = 0.99, 0.99, 10_000, 0.9
SCENES = ("uniform", "notebook")


def main() -> None:
    """Print one row a run and the verdict."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--rivals", action="store_true")
    parser.add_argument("--bce-only", action="store_true", help="no edge distribution loss")
    parser.add_argument("--train-on", default="each", help="'each' scene, or the name of one")
    parser.add_argument("--steps-to-target", action="store_true")
    options = parser.parse_args()
    if options.rivals:
        rivals(options)
    elif options.steps_to_target:
        steps_to_target(options)
    else:
        ten_seeds(options)


def ten_seeds(options: argparse.Namespace) -> None:
    head = (
        "| trained and tested on | seed | seconds | steps | mean IoU | min IoU | exact | error px |"
    )
    print(head + "\n|---|---|---|---|---|---|---|---|")
    for scene in SCENES if options.train_on == "each" else [options.train_on]:
        passed = 0
        for seed in range(options.seeds):
            model = wb.models.localizer(seed=seed)
            extra = {"edge_weight": 0.0} if options.bce_only else {}
            result, history = run(model, scene, options.seconds, seed, **extra)
            print(row(scene, seed, result, history), flush=True)
            good = result.mean_iou >= MEAN_IOU and result.exact_rate >= EXACT_RATE
            passed += good and model.count_params() <= WEIGHTS
        verdict = "reached" if passed >= SEEDS_NEEDED * options.seeds else "NOT reached"
        print(f"\n{scene}: {passed} of {options.seeds} seeds, requirement {verdict}\n")


def rivals(options: argparse.Namespace) -> None:
    print("| model | weights | seconds | steps | mean IoU | min IoU | exact | error px | excess |")
    print("|---|---|---|---|---|---|---|---|---|")
    plain = wb.data.as_scene("uniform")
    rgb = wb.data.as_scene("uniform", channels=3)
    models = [(wb.models.localizer(head=head), plain) for head in wb.models.HEADS]
    for model, scene in [*models, (wb.models.vgg16(), rgb)]:
        learning_rate = 1e-4 if model.name.startswith("vgg16") else None
        result, history = run(model, scene, options.seconds, 0, learning_rate=learning_rate)
        print(
            f"| {model.name} | {model.count_params():,} | {history['seconds'][-1]:.1f} "
            f"| {len(history)} | {result.mean_iou:.4f} | {result.min_iou:.4f} "
            f"| {result.exact_rate:.2%} | {result.pixel_error:.3f} | {result.excess:.1e} |",
            flush=True,
        )


def steps_to_target(options: argparse.Namespace) -> None:
    """Print when the requirement is first met on 2000 held-out images, in training seconds."""
    print("| scene | seed | first met after steps | after seconds |\n|---|---|---|---|")
    for scene in SCENES if options.train_on == "each" else [options.train_on]:
        for seed in range(options.seeds):
            print(f"| {scene} | {seed} | {first_met(scene, seed, options.seconds)} |", flush=True)


def first_met(scene: str, seed: int, seconds: float) -> str:
    model, spent, every = wb.models.localizer(seed=seed), 0.0, 20
    import tempfile
    from pathlib import Path

    with tempfile.TemporaryDirectory() as folder:
        checkpoint = Path(folder) / "run.npz"
        steps = 0
        while spent < seconds:
            steps += every
            history = wb.training.fit(
                model, scene, steps=steps, seed=seed, checkpoint=checkpoint, progress=False
            )
            spent = history["seconds"][-1]
            result = wb.training.evaluate(model, scene, n=2000, seed=1000 + seed)
            if result.mean_iou >= MEAN_IOU and result.exact_rate >= EXACT_RATE:
                return f"{steps} | {spent:.1f}"
    return "never | -"


def run(model, scene, seconds, seed, **options):
    start = time.perf_counter()
    history = wb.training.fit(model, scene, seconds, seed, progress=False, **options)
    assert time.perf_counter() - start < seconds + 30
    return wb.training.evaluate(model, scene, n=2000, seed=1000 + seed), history


def row(scene, seed, result, history) -> str:
    return (
        f"| {scene} | {seed} | {history['seconds'][-1]:.1f} | {len(history)} "
        f"| {result.mean_iou:.5f} | {result.min_iou:.4f} | {result.exact_rate:.2%} "
        f"| {result.pixel_error:.5f} |"
    )


if __name__ == "__main__":
    main()
