"""Speed of the data: images drawn against two yardsticks, and a training step fed by it.

Run ``python benchmarks/data_speed.py`` (a minute; ``--no-training`` for the NumPy half
alone). Each line is a ratio of two times from this run, the best and the median of
several repeats that take turns, so that other work on the machine meets both alike.

Above 32 MB the C library asks the system for fresh memory each time, and the page faults
bound every way to draw: hence two numbers of images, and the ratio of filling alone.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import numpy as np

from whitebox_loc.data import SCENES, Scene, generate

SIDE = 100


def notebook_loop(n: int) -> np.ndarray:
    """Draw images as the original notebook does, one by one in float64 and three channels."""
    random = np.random.randint
    images, targets = np.zeros((n, SIDE, SIDE, 3)), np.zeros((n, 4))
    for i in range(n):
        row0, col0 = random(0, 90), random(0, 90)
        row1, col1 = random(row0, 100), random(col0, 100)
        image = np.zeros((SIDE, SIDE, 3))
        image[row0:row1, col0:col1] = 1
        images[i] = image
        targets[i] = row0, col0, row1 - row0, col1 - col0
    return images


def filled(n: int, dtype: str) -> np.ndarray:
    """Fill an array of the same size, fresh from the system like that of `generate`."""
    images = np.empty((n, SIDE, SIDE, 1), dtype)
    images.fill(1)
    return images


def touched(n: int, dtype: str) -> np.ndarray:
    """Draw images and read all of them, so that every page of memory is paid for."""
    images = generate("uniform", n, seed=0, dtype=dtype).images
    images.max()
    return images


def take_turns(tasks: dict[str, Callable[[], object]], repeats: int) -> dict[str, list[float]]:
    """Time each task `repeats` times, round robin.

    A turn lasts a tenth of a second or more: a quick task is called many times in it,
    and so is not charged for caches that the task before it has emptied.
    """
    calls = {name: max(1, round(0.1 / average(task, 3))) for name, task in tasks.items()}
    seconds: dict[str, list[float]] = {name: [] for name in tasks}
    for _ in range(repeats):
        for name, task in tasks.items():
            task()
            seconds[name].append(average(task, calls[name]))
    return seconds


def average(task: Callable[[], object], calls: int) -> float:
    """Return the mean time of a call; each result is freed before the next call."""
    start = time.perf_counter()
    for _ in range(calls):
        task()
    return (time.perf_counter() - start) / calls


def show(text: str, top: list[float], bottom: list[float]) -> None:
    """Print a ratio of best times and of median times."""
    best = min(top) / min(bottom)
    median = statistics.median(top) / statistics.median(bottom)
    print(f"{text:<72} best {best:6.2f}   median {median:6.2f}")


def drawing(n: int, repeats: int) -> None:
    seconds = take_turns(
        {
            "notebook": lambda: notebook_loop(n),
            "uint8": lambda: generate("uniform", n, seed=0, dtype="uint8"),
            "float32": lambda: generate("uniform", n, seed=0),
            "fill uint8": lambda: filled(n, "uint8"),
            "fill": lambda: filled(n, "float32"),
            "read": lambda: touched(n, "float32"),
            "fill and read": lambda: filled(n, "float32").max(),
        },
        repeats,
    )
    print(f"{n} images of {SIDE} x {SIDE}")
    for name in ("notebook", "uint8", "float32", "fill"):
        print(f"  {name:<10} {n / min(seconds[name]):>12,.0f} images/s at best")
    show("  notebook's loop / generate uint8 (35 or more)", seconds["notebook"], seconds["uint8"])
    show(
        "  notebook's loop / fill uint8: the most memory allows",
        seconds["notebook"],
        seconds["fill uint8"],
    )
    show("  fill float32 / generate float32 (0.5 or more)", seconds["fill"], seconds["float32"])
    show("  the same, and all of it read once", seconds["fill and read"], seconds["read"])


def decorated(n: int, repeats: int) -> None:
    """Draw the scene of varied appearance, and each of its decorations alone."""
    scene = SCENES["augmented"]
    plain = {"texture", "noise", "blur", "distractors", "background_gradient",
             "background_texture", "occlusion"}  # fmt: skip
    alone = {name: Scene(**{name: getattr(scene, name)}) for name in sorted(plain)}
    scenes = {"uniform": Scene(), "augmented": scene, **alone}
    seconds = take_turns(
        {name: lambda s=each: generate(s, n, seed=0) for name, each in scenes.items()}, repeats
    )
    print(f"{n} images of {SIDE} x {SIDE} in float32, by appearance")
    for name, times in seconds.items():
        milliseconds = 1000 * min(times) * 64 / n
        print(f"  {name:<20} {n / min(times):>10,.0f} images/s   {milliseconds:6.1f} ms for 64")


def training(steps: int, repeats: int) -> None:
    import keras
    import tensorflow as tf

    from whitebox_loc.data import dataset

    model = keras.Sequential(
        [
            keras.Input((SIDE, SIDE, 1)),
            keras.layers.Conv2D(8, 3, padding="same", activation="relu"),
            keras.layers.Conv2D(8, 3, padding="same", activation="relu"),
            keras.layers.GlobalMaxPooling2D(),
            keras.layers.Dense(4, activation="sigmoid"),
        ]
    )
    optimizer = keras.optimizers.Adam()
    optimizer.build(model.trainable_variables)

    @tf.function
    def step(images: tf.Tensor, boxes: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(keras.losses.binary_crossentropy(boxes, model(images)))
        gradients = tape.gradient(loss, model.trainable_variables)
        optimizer.apply_gradients(zip(gradients, model.trainable_variables, strict=True))
        return loss

    batches = iter(dataset("uniform", batch_size=64, seed=0))
    constant = next(batches)

    def run(next_batch: Callable[[], tuple[tf.Tensor, tf.Tensor]]) -> float:
        for _ in range(steps):
            loss = step(*next_batch())
        return float(loss)

    seconds = take_turns(
        {"dataset": lambda: run(lambda: next(batches)), "constant": lambda: run(lambda: constant)},
        repeats,
    )
    milliseconds = 1000 * min(seconds["constant"]) / steps
    print(f"training step of a small CNN, 64 images, {milliseconds:.1f} ms on a constant batch")
    show("  step fed by dataset / constant (1.1 or less)", seconds["dataset"], seconds["constant"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--n", type=int, nargs="+", default=[1024, 4096])
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--no-training", action="store_true")
    arguments = parser.parse_args()
    for n in arguments.n:
        drawing(n, arguments.repeats)
    decorated(256, arguments.repeats)
    if not arguments.no_training:
        training(arguments.steps, arguments.repeats)


if __name__ == "__main__":
    main()
