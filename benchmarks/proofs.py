"""Train a localizer on a small canvas, prove it on a large one, compare two ways of proving.

    python benchmarks/proofs.py                            # some five minutes on two cores
    python benchmarks/proofs.py --seconds 5 --sides 8 12   # to see that it works
    python benchmarks/proofs.py --counts                   # how many boxes stand for all; seconds

Weights do not depend on the canvas: those of a profile head, trained on a canvas of `--side`, are
put on 100x100, where all 25,502,500 boxes are proved by symmetry (goal: 10 s), and on every canvas
(goal: up to 4,096 in 30 s). On the small canvases of `--sides` symmetry and enumeration are
compared, also for a spoiled model: all weights of one layer times the largest of .95, .9, ... with
which some box is wrong. They agree if the numbers of enumeration lie within what symmetry allows.
"""

from __future__ import annotations

import argparse
import os
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np

import whitebox_loc as wb
from whitebox_loc.verification import Proof, prove
from whitebox_loc.verification.situations import shortest, shortest_lines
from whitebox_loc.verification.symmetry import all_lines, sets_of
from whitebox_loc.verification.windows import readings

LARGE, FARTHEST = 100, 4096
SPOILED = "row_context"


def main() -> None:
    """Print four tables: counts, training, proofs, and symmetry against enumeration."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=60.0, help="of training")
    parser.add_argument("--side", type=int, default=24, help="of the canvas to train on")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--sides", type=int, nargs="*", default=[24, 32], help="to enumerate")
    parser.add_argument("--counts", action="store_true", help="only what stands for all boxes")
    options = parser.parse_args()
    show_counts()
    if options.counts:
        return
    model = trained(options)
    show_proofs(model)
    show_ways(model, options.sides)


def show_counts() -> None:
    """Print how many images of short canvases stand for all boxes, by the default network."""
    reading = readings(wb.models.localizer(size=(LARGE, LARGE)))[0]
    print(f"windows: {reading.along} along an axis, {reading.across} across\n")
    print("| canvas | pairs of edges | sets of patterns | situations | short images | largest |")
    print("|---|---|---|---|---|---|")
    lines = all_lines(LARGE)
    tables = {
        f"{LARGE} x {LARGE}": (
            f"{len(lines):,}",
            lines,
            {shortest(x, reading.along) for x in lines},
        ),
        "every one": ("any", shortest_lines(reading.across), shortest_lines(reading.along)),
    }
    for canvas, (pairs, others, situations) in tables.items():
        sets, _ = sets_of(others, reading.across, framed=True)
        sides = [max(line.length for line in group) for group in (situations, sets)]
        images = 2 * len(sets) * len(situations)
        print(
            f"| {canvas} | {pairs} | {len(sets)} | {len(situations)} | {images:,} "
            f"| {sides[0]} x {sides[1]} |"
        )
    print(flush=True)


def trained(options: argparse.Namespace) -> keras.Model:
    scene = wb.data.Scene(size=(options.side, options.side))
    model = wb.models.localizer(size=scene.size, seed=options.seed)
    history = wb.training.fit(model, scene, options.seconds, options.seed, progress=False)
    print("| trained on | seed | weights | seconds | steps |\n|---|---|---|---|---|")
    print(
        f"| {options.side} x {options.side} | {options.seed} | {model.count_params():,} "
        f"| {history['seconds'][-1]:.1f} | {len(history):,} |\n",
        flush=True,
    )
    return model


def show_proofs(model: keras.Model) -> None:
    print("| canvas | boxes | seconds | holds | worst error px | least IoU | wrong | undecided |")
    print("|---|---|---|---|---|---|---|---|")
    large = on_canvas(model, LARGE)
    show_proof(f"{LARGE} x {LARGE}", prove(large, how="symmetry", progress=False))
    sides = [256, 1024, FARTHEST]
    for side in sides:
        proof = prove(large, canvas="any", up_to=side, progress=False)
        show_proof(f"every one up to {proof.up_to} (asked: {side})", proof)
        if proof.up_to != side:
            break
    print()


def show_proof(canvas: str, proof: Proof) -> None:
    boxes = f"{proof.boxes:,}" if proof.boxes < 1e9 else f"{proof.boxes:.1e}"
    print(
        f"| {canvas} | {boxes} | {proof.seconds:.1f} | {proof.holds} | {proof.worst_error:.2g} "
        f"| {proof.least_iou:.4f} | {proof.wrong:,} | {proof.undecided:,} |",
        flush=True,
    )


def show_ways(model: keras.Model, sides: list[int]) -> None:
    print(
        "| model | canvas | boxes | wrong | undecided | worst error px | least IoU | seconds "
        "| seconds of enumeration / symmetry | agree |\n|---|---|---|---|---|---|---|---|---|---|"
    )
    for side in sides:
        right = on_canvas(model, side)
        wrong, factor = spoiled(right)
        show_two(f"trained, {side} x {side}", right)
        show_two(f"spoiled by {factor:.2f}, {side} x {side}", wrong)


def show_two(name: str, model: keras.Model) -> None:
    """Print a row: the numbers of symmetry, and behind a slash those of enumeration."""
    pair = [prove(model, how=how, progress=False) for how in ("symmetry", "enumeration")]

    def both(form: str, field: str) -> str:
        return " / ".join(format(getattr(proof, field), form) for proof in pair)

    title, canvas = name.split(", ")
    print(
        f"| {title} | {canvas} | {both(',', 'boxes')} | {both(',', 'wrong')} "
        f"| {both(',', 'undecided')} | {both('.3g', 'worst_error')} | {both('.6f', 'least_iou')} "
        f"| {both('.1f', 'seconds')} | {pair[1].seconds / pair[0].seconds:.1f} "
        f"| {'yes' if agree(*pair) else '**NO**'} |",
        flush=True,
    )


def agree(bounds: Proof, answers: Proof) -> bool:
    """Return whether what a model answers lies within what was proved of it."""
    same = answers.boxes == bounds.boxes
    number = bounds.wrong <= answers.wrong <= bounds.wrong + bounds.undecided
    within = answers.worst_error <= bounds.worst_error and answers.least_iou >= bounds.least_iou
    return bool(same and number and within)


def spoiled(model: keras.Model) -> tuple[keras.Model, float]:
    """Return a copy of which some box is wrong, and the factor of one layer's weights."""
    bad = on_canvas(model, model.input.shape[1])
    layer: Any = bad.get_layer(SPOILED)
    weights = layer.get_weights()
    for factor in np.arange(0.95, 0.0, -0.05):
        layer.set_weights([factor * weight for weight in weights])
        if prove(bad, how="symmetry", progress=False).wrong:
            return bad, float(factor)
    raise SystemExit(f"No weights of {SPOILED} make a box wrong; train for longer.")


def on_canvas(model: keras.Model, side: int) -> keras.Model:
    """Return the same weights on another canvas."""
    other = wb.models.localizer(size=(side, side))
    other.set_weights(model.get_weights())
    return other


if __name__ == "__main__":
    main()
