"""The ``whitebox-loc`` command."""

from __future__ import annotations

import argparse
import os
import sys
import types
from collections.abc import Sequence

import whitebox_loc


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status.

    Status 0 is success, 1 a failure while running, 2 a wrong argument, 130 an
    interruption with Ctrl-C.
    """
    options = _parser().parse_args(arguments)
    try:
        return options.run(options)
    except KeyboardInterrupt as stop:
        notes = " ".join(getattr(stop, "__notes__", []))
        print(f"\nwhitebox-loc: {stop or 'interrupted'}. {notes}", file=sys.stderr)
        print("Run the same command again to go on from there.", file=sys.stderr)
        return 130
    except (ValueError, TypeError, OSError, ArithmeticError, RuntimeError) as error:
        if options.traceback:
            raise
        notes = " ".join(getattr(error, "__notes__", []))
        print(f"whitebox-loc: {error} {notes}".rstrip(), file=sys.stderr)
        return 2 if isinstance(error, (ValueError, TypeError)) else 1


def _parser() -> argparse.ArgumentParser:
    # Of the docstring the first line: its examples are not for a terminal.
    title = (whitebox_loc.__doc__ or "").partition("\n")[0]
    parser = argparse.ArgumentParser(prog="whitebox-loc", description=title)
    parser.add_argument("--version", action="version", version=whitebox_loc.__version__)
    commands = parser.add_subparsers(required=True, metavar="command")
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("--seed", type=int, default=0, help="seed of weights and images")
    shared.add_argument("--quiet", action="store_true", help="no progress bars")
    shared.add_argument("--traceback", action="store_true", help="show where an error came from")

    def command(name: str, words: str) -> argparse.ArgumentParser:
        show = argparse.ArgumentDefaultsHelpFormatter
        part = commands.add_parser(
            name, help=words, description=words, formatter_class=show, parents=[shared]
        )
        part.add_argument("--out", default=name, help="folder for the report and its files")
        return part

    tour = command("tour", "train a localizer, evaluate it, look inside, and write one report")
    tour.add_argument("--seconds", type=float, default=60.0, help="greatest training time")
    tour.add_argument("--scene", default="uniform", help="named scene to train on")
    tour.add_argument("--head", default="profile", help="head of the localizer")
    tour.add_argument("--images", type=int, default=2000, help="held-out images a scene")
    tour.set_defaults(run=_tour)
    words = "score every saliency method by every metric, and write the leaderboard"
    bench = command("bench", words)
    bench.add_argument("--quick", action="store_true", help="few small images: minutes")
    bench.add_argument("--workers", type=int, default=os.cpu_count(), help="processes")
    bench.set_defaults(run=_bench)
    prove = command("prove", "prove that a localizer is right on every box; status 0 if it is")
    prove.add_argument("model", help="file of a localizer, such as tour/model.keras")
    prove.add_argument("--scene", default="uniform", help="named scene of one plain rectangle")
    prove.add_argument("--how", default="auto", help="auto, symmetry or enumeration")
    prove.add_argument("--any-canvas", action="store_true", help="all canvases, not the model's")
    prove.add_argument("--up-to", type=int, default=4096, help="longest side of a canvas")
    prove.set_defaults(run=_prove)
    return parser


def _tour(options: argparse.Namespace) -> int:
    tour = _report().tour(
        options.out,
        seconds=options.seconds,
        scene=options.scene,
        head=options.head,
        n=options.images,
        seed=options.seed,
        progress=not options.quiet,
    )
    print(tour.summary())
    return 0


def _bench(options: argparse.Namespace) -> int:
    from concurrent.futures import ProcessPoolExecutor
    from multiprocessing import get_context

    from whitebox_loc._validation import check_int

    check_int("seed", options.seed, low=0)
    workers = check_int("workers", options.workers, low=1)
    report = _report()
    settings = {"quick": options.quick, "seed": options.seed, "progress": not options.quiet}
    if workers == 1:
        board = report.leaderboard(options.out, **settings)
    else:
        # TensorFlow does not survive a fork.
        with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
            board = report.leaderboard(options.out, executor=pool, **settings)
    print(board.summary())
    return 0


def _prove(options: argparse.Namespace) -> int:
    _quiet_tensorflow()
    from pathlib import Path

    from whitebox_loc import verification
    from whitebox_loc.models.files import read_model

    proof = verification.prove(
        read_model("MODEL", Path(options.model)),
        options.scene,
        options.how,
        canvas="any" if options.any_canvas else None,
        up_to=options.up_to,
        out=options.out,
        progress=not options.quiet,
    )
    path = proof.save(Path(options.out) / "proof.json")
    print(f"{proof}\n{path}")
    return 0 if proof.holds else 1


def _report() -> types.ModuleType:
    """Import the reports."""
    _quiet_tensorflow()
    from whitebox_loc import report

    return report


def _quiet_tensorflow() -> None:
    """Import TensorFlow, and hide what its C++ half prints; exceptions still come."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    sys.stderr.flush()
    stderr = os.dup(2)
    with open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        import tensorflow  # noqa: F401
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)


if __name__ == "__main__":
    sys.exit(main())
