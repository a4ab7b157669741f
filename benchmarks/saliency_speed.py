"""Cost of every saliency method as a multiple of the passes that it needs.

    python benchmarks/saliency_speed.py                    # every method, 256 images and 1
    python benchmarks/saliency_speed.py --targets          # four coordinates against one
    python benchmarks/saliency_speed.py --memory           # integrated gradients by steps
    python benchmarks/rivals.py                            # the same work, other libraries

The ideal is the number of images that must go through the model times the time of one in a
plain compiled forward (or forward and gradient) pass, measured in the same run, in turns with
the method. Four convolutions, 64x64x1 images, target `top`.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import tensorflow as tf

import whitebox_loc as wb

SIZE = (64, 64)
FORWARD_FAMILIES = {"perturbation", "intervention"}
FORWARD_METHODS = {"eigencam", "scorecam", "ablationcam"}
# Enough passes to time, few enough to wait for.
OPTIONS: dict[str, dict] = {
    "smoothgrad": {"samples": 8},
    "squaregrad": {"samples": 8},
    "vargrad": {"samples": 8},
    "integrated_gradients": {"steps": 10},
    "blur_ig": {"steps": 10},
    "expected_gradients": {"samples": 10},
    "occlusion": {"patch": 16, "stride": 16},
    "rise": {"samples": 32},
    "drise": {"samples": 32},
    "kernel_shap": {"samples": 64},
    "lime": {"samples": 64},
    "sobol": {"samples": 2},
    "hsic": {"samples": 32},
}
LIMITS = {256: 1.10, 1: 1.3}


def main() -> None:
    """Print one table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name in ("targets", "memory"):
        parser.add_argument(f"--{name}", action="store_true")
    parser.add_argument("--memory-of", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--methods", nargs="*", default=list(wb.introspect.METHODS))
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    if options.memory_of:
        print(peak_growth(options.memory_of))
    elif options.memory:
        memory()
    elif options.targets:
        targets(options.repeats)
    else:
        multiples(options.methods, options.repeats)


def multiples(methods: list[str], repeats: int) -> None:
    print("| method | family | passes an image | 256 images | 1 image |\n|---|---|---|---|---|")
    model = wb.models.localizer(size=SIZE, head="dense")
    for name in methods:
        cells = []
        for n in LIMITS:
            images = wb.data.generate(wb.data.Scene(size=SIZE), n, seed=0).images
            ratio, passes = multiple(model, images, name, repeats)
            cells.append(f"{ratio:.2f}{'' if ratio <= LIMITS[n] else ' (over)'}")
        family = wb.introspect.METHODS[name].family
        print(f"| {name} | {family} | {passes / n:g} | {' | '.join(cells)} |", flush=True)


def multiple(model, images, name: str, repeats: int) -> tuple[float, int]:
    options = OPTIONS.get(name, {})
    if name == "drise" and "boxes" in wb.introspect.METHODS[name].options:
        options = {**options, "boxes": [0.2, 0.2, 0.7, 0.7]}
    _, info = wb.introspect.saliency(model, images, "top", name, return_info=True, **options)
    batch = min(info.passes, 256)
    plain = plain_pass(model, batch, gradient=needs_gradient(name))
    method, ideal = in_turns(
        [lambda: wb.introspect.saliency(model, images, "top", name, **options), plain], repeats
    )
    return method / (ideal * info.passes / batch), info.passes


def needs_gradient(name: str) -> bool:
    family = wb.introspect.METHODS[name].family
    return family not in FORWARD_FAMILIES and name not in FORWARD_METHODS


def plain_pass(model, n: int, *, gradient: bool) -> Callable[[], object]:
    """Return the ideal: a compiled pass over `n` images, result on the host."""
    images = tf.constant(wb.data.generate(wb.data.Scene(size=SIZE), n, seed=1).images)

    @tf.function
    def forward(x):
        return model(x, training=False)[:, 0]

    @tf.function
    def backward(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            value = model(x, training=False)[:, 0]
        return tape.gradient(value, x)

    run = backward if gradient else forward
    return lambda: run(images).numpy()


def in_turns(tasks, repeats: int) -> list[float]:
    """Return the median time of each task; each turn repeats quick ones for 50 ms."""
    counts = []
    for task in tasks:
        task()
        start = time.perf_counter()
        task()
        counts.append(max(1, round(0.05 / (time.perf_counter() - start))))
    times: list[list[float]] = [[] for _ in tasks]
    for _ in range(repeats):
        for task, count, spent in zip(tasks, counts, times, strict=True):
            start = time.perf_counter()
            for _ in range(count):
                task()
            spent.append((time.perf_counter() - start) / count)
    return [statistics.median(spent) for spent in times]


def targets(repeats: int) -> None:
    print("| method | four coordinates / one |\n|---|---|")
    model = wb.models.localizer(size=SIZE, head="dense")
    images = wb.data.generate(wb.data.Scene(size=SIZE), 64, seed=0).images
    four = list(wb.introspect.targets.COORDINATES)
    for name in ("occlusion", "rise", "kernel_shap", "gradient", "integrated_gradients"):
        options = OPTIONS.get(name, {})
        one, all_four = in_turns(
            [
                lambda: wb.introspect.saliency(model, images, "top", name, **options),  # noqa: B023
                lambda: wb.introspect.saliency(model, images, four, name, **options),  # noqa: B023
            ],
            repeats,
        )
        print(f"| {name} | {all_four / one:.2f} |", flush=True)


def memory() -> None:
    print("| steps | growth of peak memory, GB |\n|---|---|")
    for steps in (10, 50, 200):
        command = [sys.executable, __file__, "--memory-of", str(steps)]
        growth = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        print(f"| {steps} | {float(growth):.2f} |", flush=True)


def peak_growth(steps: int) -> float:
    """Return by how much integrated gradients on 256 images raise the peak, in GB."""
    model = wb.models.localizer(size=SIZE, head="dense")
    images = wb.data.generate(wb.data.Scene(size=SIZE), 256, seed=0).images
    plain_pass(model, 1, gradient=True)()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    wb.introspect.saliency(model, images, "top", "integrated_gradients", steps=steps)
    return (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 2**20


if __name__ == "__main__":
    main()
