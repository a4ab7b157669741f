"""The tasks of Liu et al. 2018 (arXiv:1807.03247): 9 x 9 squares on a canvas of 64 x 64.

    python benchmarks/coordconv_task.py            # from images to boxes: this library's task
    python benchmarks/coordconv_task.py --controls # the same, by padding and pooling
    python benchmarks/coordconv_task.py --paint    # from coordinates to a pixel: the paper's table

Each network is trained on 80% of the 3,136 positions and tested on the other 20% (uniform), or
trained on three quadrants and tested on the fourth (quadrant). The requirements: the profile head
is at least 99% exact on the quadrant, and so is a localizer of at most 1,000 weights on both.
"""

from __future__ import annotations

import argparse
import time

import keras
import numpy as np

import whitebox_loc as wb

SIZE = (64, 64)
EXACT = 0.99
SPLITS = wb.training.COORDCONV


def main() -> None:
    """Print one row a network and split."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--controls", action="store_true")
    parser.add_argument("--paint", action="store_true")
    parser.add_argument("--steps", type=int, default=3000, help="of networks without a profile")
    parser.add_argument("--profile-steps", type=int, default=400)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--splits", nargs="+", default=list(SPLITS), choices=SPLITS)
    parser.add_argument("--only", nargs="+", help="networks, by a word of their name")
    options = parser.parse_args()
    if options.paint:
        paint(options)
    elif options.controls:
        controls(options)
    else:
        localize(options)


def localize(options: argparse.Namespace) -> None:
    head("exact (test)", "exact (train)", "error px")
    for seed in range(options.seeds):
        for split in options.splits:
            for kind, build in (
                ("profile", lambda s: wb.models.localizer(SIZE, seed=s)),
                ("profile, 222 weights", small_profile),
                ("whole coordconv, no strides", whole_coordconv),
                ("coordconv", lambda s: wb.models.localizer(SIZE, head="coordconv", seed=s)),
                ("dense", lambda s: wb.models.localizer(SIZE, head="dense", seed=s)),
            ):
                if options.only and not set(options.only) & set(kind.split()):
                    continue
                steps = options.profile_steps if kind.startswith("profile") else options.steps
                trained(kind, build(seed), split, steps, seed)


def controls(options: argparse.Namespace) -> None:
    """Train one plain network with each way to pad and each way to pool."""
    head("exact (test)", "exact (train)", "error px")
    for padding in ("zero", "mirror", "wrap"):
        for pooling in ("max", "average", "flatten"):
            if options.only and not set(options.only) & {padding, pooling}:
                continue
            for split in options.splits:
                model = plain(padding, pooling)
                trained(f"plain {padding} padding, {pooling}", model, split, options.steps, 0)


def trained(kind: str, model: keras.Model, split: str, steps: int, seed: int) -> None:
    train, test = SPLITS[split]
    start = time.process_time()
    # The profile head needs no falling rate; the others are far from exact without one.
    rate = None
    if not kind.startswith("profile"):
        rate = keras.optimizers.schedules.CosineDecay(3e-3, steps, alpha=0.01)
    wb.training.fit(model, train, steps=steps, seed=seed, learning_rate=rate, progress=False)
    seconds = time.process_time() - start
    seen, unseen = (wb.training.evaluate(model, scene, n=2000) for scene in (train, test))
    verdict = ""
    if kind.startswith("profile"):
        verdict = "reached" if unseen.exact_rate >= EXACT else "NOT reached"
    row(kind, split, seed, model, steps, seconds, f"{unseen.exact_rate:.1%}",
        f"{seen.exact_rate:.1%}", f"{unseen.pixel_error:.3f}", verdict)  # fmt: skip


def small_profile(seed: int) -> keras.Model:
    """Return the profile head with 2 filters, and 4 channels in its one-dimensional part."""
    model = wb.models.localizer(size=SIZE, filters=(2, 2), line_filters=4, seed=seed)
    assert model.count_params() <= 1000
    return model


def whole_coordconv(seed: int) -> keras.Model:
    """Return the paper's regressor with ReLUs: full resolution, its own place, a maximum."""
    layers = keras.layers
    images = keras.Input((*SIZE, 1), name="image")
    axis = np.linspace(-1, 1, 64, dtype="float32")
    grid = np.stack(np.meshgrid(axis, axis, indexing="ij"), axis=-1)[None]
    x = layers.Concatenate()([images, keras.ops.zeros_like(images) + grid])
    for index, kernel in enumerate((1, 1, 3, 3), start=1):
        x = layers.Conv2D(8, kernel, padding="same", activation="relu", name=f"conv{index}")(x)
    x = layers.GlobalMaxPooling2D(name="pool")(x)
    model = keras.Model(images, layers.Dense(4, name="box")(x), name="whole_coordconv")
    return wb.models.reinitialize(model, seed=seed)


def plain(padding: str, pooling: str) -> keras.Model:
    """Return strided convolutions that know of their place by padding and pooling alone."""
    layers = keras.layers
    images = keras.Input((*SIZE, 1), name="image")
    x = images
    for index, channels in enumerate((16, 32, 32, 64), start=1):
        x = padded(x, padding)
        x = layers.Conv2D(channels, 3, strides=2, activation="relu", name=f"conv{index}")(x)
    if pooling == "flatten":
        x = layers.Flatten(name="flatten")(x)
    else:
        pool = layers.GlobalMaxPooling2D if pooling == "max" else layers.GlobalAveragePooling2D
        x = layers.Dense(64, activation="relu", name="hidden")(pool(name="pool")(x))
    boxes = layers.Dense(4, activation="sigmoid", name="box")(x)
    return wb.models.reinitialize(keras.Model(images, boxes, name=f"{padding}_{pooling}"), seed=0)


def padded(x, padding: str):
    """Add one pixel on each side: black, a copy of the outermost, or that of the other side."""
    if padding == "zero":
        return keras.layers.ZeroPadding2D(1)(x)
    if padding == "mirror":
        return keras.ops.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="symmetric")
    x = keras.ops.concatenate([x[:, -1:], x, x[:, :1]], axis=1)
    return keras.ops.concatenate([x[:, :, -1:], x, x[:, :, :1]], axis=2)


def paint(options: argparse.Namespace) -> None:
    """From the coordinates of a centre to one pixel among 64 x 64, as in the paper's table."""
    head("accuracy (test)", "accuracy (train)", "-")
    for seed in range(options.seeds):
        for split in options.splits:
            for kind, build in (("painter, coordconv", coordconv_painter),
                                ("painter, deconvolution", deconvolution_painter)):  # fmt: skip
                if options.only and not set(options.only) & set(kind.split()):
                    continue
                keras.utils.set_random_seed(seed)
                model = build()
                start = time.process_time()
                data = [centres(scene) for scene in SPLITS[split]]
                learn(model, *data[0], options.steps, seed)
                seconds = time.process_time() - start
                seen, unseen = (hits(model, *part) for part in data)
                row(kind, split, seed, model, options.steps, seconds, f"{unseen:.1%}",
                    f"{seen:.1%}", "-", "")  # fmt: skip


def centres(scene: wb.data.Scene) -> tuple[np.ndarray, np.ndarray]:
    """Return all centres of a scene's squares, in -1 ... 1, and the number of their pixel."""
    every = wb.data.nth_boxes(scene, np.arange(wb.data.count_boxes(scene)))
    pixels = every[:, :2] + 4
    return (pixels / 31.5 - 1).astype("float32"), pixels @ np.array([SIZE[1], 1])


def learn(model: keras.Model, x: np.ndarray, y: np.ndarray, steps: int, seed: int) -> None:
    """Train by cross entropy over all pixels, 32 centres a step, with a falling learning rate."""
    rate = keras.optimizers.schedules.CosineDecay(0.005, steps, alpha=0.02)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(rate), loss)
    order = np.random.default_rng(seed).integers(len(x), size=(steps, 32))
    for batch in order:
        model.train_on_batch(x[batch], y[batch])


def hits(model: keras.Model, x: np.ndarray, y: np.ndarray) -> float:
    classes = [
        np.asarray(model(x[i : i + 64], training=False)).argmax(axis=1)
        for i in range(0, len(x), 64)
    ]
    return float((np.concatenate(classes) == y).mean())


def coordconv_painter() -> keras.Model:
    """Return 1 x 1 convolutions of the wanted centre beside each pixel's own place."""
    layers, ops = keras.layers, keras.ops
    centre = keras.Input((2,), name="centre")
    axis = np.linspace(-1, 1, 64, dtype="float32")
    grid = np.stack(np.meshgrid(axis, axis, indexing="ij"), axis=-1)[None]
    blank = ops.reshape(centre, (-1, 1, 1, 2))
    x = layers.Concatenate()([blank + np.zeros_like(grid), ops.zeros_like(blank) + grid])
    for channels in (32, 32, 64, 64):
        x = layers.Conv2D(channels, 1, activation="relu")(x)
    return keras.Model(centre, layers.Flatten()(layers.Conv2D(1, 1)(x)), name="coordconv_painter")


def deconvolution_painter() -> keras.Model:
    """Return six transposed convolutions of stride 2 with batch normalization."""
    layers = keras.layers
    centre = keras.Input((2,), name="centre")
    x = layers.Reshape((1, 1, 2))(centre)
    for channels in (64, 64, 64, 32, 32):
        x = layers.Conv2DTranspose(channels, 3, strides=2, padding="same")(x)
        x = layers.ReLU()(layers.BatchNormalization(momentum=0.9)(x))
    x = layers.Conv2DTranspose(1, 3, strides=2, padding="same")(x)
    return keras.Model(centre, layers.Flatten()(x), name="deconvolution_painter")


def head(*scores: str) -> None:
    names = ["network", "split", "seed", "weights", "steps", "CPU s", *scores, "requirement"]
    print("| " + " | ".join(names) + " |\n" + "|---" * len(names) + "|")


def row(kind, split, seed, model, steps, seconds, *scores) -> None:
    cells = [kind, split, seed, f"{model.count_params():,}", steps, f"{seconds:.0f}", *scores]
    print("| " + " | ".join(map(str, cells)) + " |", flush=True)


if __name__ == "__main__":
    main()
