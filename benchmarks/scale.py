"""What one machine does with millions of images, and what a second worker adds.

    python benchmarks/scale.py                             # everything, some ten minutes
    python benchmarks/scale.py --parts generate memory     # some parts only
    python benchmarks/scale.py --small                     # to see that it works, two minutes

Every number comes from a process of its own, so that neither memory nor compiled functions of
another measurement are in it. Two workers are two processes, held to one core each where that is
said. Rates do not count imports and compilation, the wall time of shards does.
"""  # fmt: skip

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import resource
import socket
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import whitebox_loc as wb

SIZE = (100, 100)
BATCH = 64
PARTS = ("generate", "memory", "saliency", "training")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--parts", nargs="*", choices=PARTS, default=list(PARTS))
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--job", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.job:
        job = json.loads(options.job)
        print("found", json.dumps(globals()[job.pop("do")](**job)))
        return
    for part in options.parts:
        globals()[f"show_{part}"](10 if options.small else 1)
        print(flush=True)


# Tables --------------------------------------------------------------------------------------


def show_generate(less: int) -> None:
    n = 100_000 // less
    print(f"{n:,} images of 100x100, uint8, 4,096 a file\n")
    print("| images a second | 1 worker | 2 workers | ratio |\n|---|---|---|---|")
    for title, do in (("drawn", "draw"), ("drawn and written", "write"), ("read", "read")):
        show_rates(title, [n / run(do=do, n=n, workers=w)["seconds"] for w in (1, 2)])


def show_memory(less: int) -> None:
    print("| peak memory of the process, MB | 10,000 images | 100,000 images |\n|---|---|---|")
    few, many = 10_000 // less, 100_000 // less
    for title, do in (("drawn and written", "write"), ("maps written", "explain")):
        peaks = [run(do=do, n=n, workers=1)["peak"] for n in (few, many)]
        print(f"| {title} | {peaks[0]:.0f} | {peaks[1]:.0f} |", flush=True)
    if less > 1:
        print(f"(with {few:,} and {many:,} images)")


def show_saliency(less: int) -> None:
    n, shard_size = 8_192 // less, 1_024 // less
    print(f"{n:,} images of 100x100, a localizer, one target, float32, {shard_size:,} a file\n")
    print("| maps a second | 1 worker | 2 workers | ratio |\n|---|---|---|---|")
    for method, options in (("gradient", {}), ("integrated_gradients", {"steps": 10})):
        rates = []
        for workers in (1, 2):
            with tempfile.TemporaryDirectory() as folder:
                jobs = [
                    {"do": "explain", "n": n, "workers": workers, "worker": w, "method": method,
                     "shard_size": shard_size, "options": options, "folder": folder, "cores": [w]}
                    for w in range(workers)
                ]  # fmt: skip
                rates.append(sum(result["rate"] for result in run_all(jobs)))
        show_rates(f"{method}, one core each", rates)


def show_training(less: int) -> None:
    steps = 120 // less
    print(f"Training a localizer of 100x100 on batches of {BATCH}, steps a second\n")
    print("| | steps a second | against one process on one core |\n|---|---|---|")
    ports = free_ports(2)
    cases: dict[str, list[dict[str, Any]]] = {
        "1 process, 1 core": [{"cores": [0]}],
        "1 process, 2 cores": [{"cores": [0, 1]}],
        "1 process, 2 cores, 2 virtual replicas": [{"cores": [0, 1], "kind": "mirrored"}],
        "2 processes, 1 core each": [{"cores": [w], "ports": ports, "worker": w} for w in (0, 1)],
    }
    base = None
    for title, jobs in cases.items():
        rate = run_all([{"do": "train", "steps": steps, **job} for job in jobs])[0]["rate"]
        base = base or rate
        print(f"| {title} | {rate:.2f} | {rate / base:.2f} |", flush=True)


def show_rates(title: str, rates: list[float]) -> None:
    print(
        f"| {title} | {rates[0]:,.0f} | {rates[1]:,.0f} | {rates[1] / rates[0]:.2f} |", flush=True
    )


# Processes -----------------------------------------------------------------------------------


def run(**job: Any) -> dict[str, float]:
    return run_all([job])[0]


def run_all(jobs: list[dict[str, Any]]) -> list[dict[str, float]]:
    """Do jobs at the same time, each in a process of its own."""
    command = [sys.executable, __file__, "--job"]
    processes = [
        subprocess.Popen([*command, json.dumps(job)], stdout=subprocess.PIPE, text=True)
        for job in jobs
    ]
    try:
        lines = [process.communicate(timeout=1800)[0] for process in processes]
    finally:
        for process in processes:
            process.kill()
    answers = [[x for x in text.splitlines() if x.startswith("found ")] for text in lines]
    if not all(answers):
        raise SystemExit(f"A job of {jobs} failed; see above.")
    return [json.loads(rows[-1].removeprefix("found ")) for rows in answers]


def free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("localhost", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def hold_to(cores: list[int] | None) -> None:
    """Let this process use no other cores."""
    if cores is not None and hasattr(os, "sched_setaffinity"):
        known = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, {known[core % len(known)] for core in cores})


def peak() -> float:
    """Return the most memory that this process has had, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


# Jobs ----------------------------------------------------------------------------------------


def draw(n: int, workers: int) -> dict[str, float]:
    starts = range(0, n, 4096)
    return timed(workers, _draw_one, [(i, min(4096, n - k)) for i, k in enumerate(starts)])


def _draw_one(index: int, count: int) -> int:
    scene = wb.data.Scene(size=SIZE)
    return len(wb.data.batch_at(scene, index, batch_size=count, dtype="uint8"))


def write(n: int, workers: int) -> dict[str, float]:
    scene = wb.data.Scene(size=SIZE)
    with tempfile.TemporaryDirectory() as folder, pool(workers) as executor:
        chosen = executor if workers > 1 else None
        start = time.perf_counter()
        wb.data.write_shards(scene, n, folder, executor=chosen, progress=False)
        return {"seconds": time.perf_counter() - start, "peak": peak()}


def read(n: int, workers: int) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as folder:
        shards = wb.data.write_shards(wb.data.Scene(size=SIZE), n, folder, progress=False)
        return timed(workers, _read_one, [(folder, i) for i in range(len(shards))])


def _read_one(folder: str, index: int) -> int:
    return len(wb.data.read_shards(folder)[index])


def timed(workers: int, function: Any, arguments: list[Any]) -> dict[str, float]:
    with pool(workers) as executor:
        function(*arguments[0])
        start = time.perf_counter()
        if workers > 1:
            list(executor.map(function, *zip(*arguments, strict=True)))
        else:
            for each in arguments:
                function(*each)
        return {"seconds": time.perf_counter() - start}


def pool(workers: int) -> ProcessPoolExecutor:
    """Return worker processes that have started and imported."""
    executor = ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn"))
    if workers > 1:
        list(executor.map(_warm, range(4 * workers)))
    return executor


def _warm(_: int) -> None:
    _draw_one(0, 1)
    time.sleep(0.1)


def explain(
    n: int,
    workers: int = 1,
    worker: int = 0,
    method: str = "gradient",
    options: dict[str, Any] | None = None,
    folder: str | None = None,
    cores: list[int] | None = None,
    shard_size: int = 1024,
) -> dict[str, float]:
    hold_to(cores)
    scene, model = wb.data.Scene(size=SIZE), wb.models.localizer(size=SIZE, seed=0)
    with tempfile.TemporaryDirectory() as own:
        images, first = (
            wb.data.write_shards(
                scene, count, f"{own}/{count}", shard_size=shard_size, progress=False
            )
            for count in (n, shard_size)
        )
        chosen = {"method": method, "progress": False, **(options or {})}
        wb.introspect.saliency_shards(model, first, f"{own}/compiling", **chosen)
        start, out = time.perf_counter(), f"{folder or own}/maps"
        shared = (worker, workers)
        wb.introspect.saliency_shards(model, images, out, shard=shared, **chosen)
        seconds = time.perf_counter() - start
        shards = range(worker, len(images), workers)
        maps = sum(images.images_in(i) for i in shards)
        return {"rate": maps / seconds, "peak": peak()}


def train(
    steps: int,
    cores: list[int],
    kind: str = "alone",
    ports: list[int] | None = None,
    worker: int = 0,
) -> dict[str, float]:
    hold_to(cores)
    if ports is not None:
        cluster = {"worker": [f"localhost:{port}" for port in ports]}
        task = {"type": "worker", "index": worker}
        os.environ["TF_CONFIG"] = json.dumps({"cluster": cluster, "task": task})
    import tensorflow as tf

    strategy = tf.distribute.get_strategy()
    if ports is not None:
        strategy = tf.distribute.MultiWorkerMirroredStrategy()
    elif kind == "mirrored":
        cpu = tf.config.list_physical_devices("CPU")[0]
        tf.config.set_logical_device_configuration(
            cpu, [tf.config.LogicalDeviceConfiguration()] * 2
        )
        strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    with strategy.scope():
        model = wb.models.localizer(size=SIZE, seed=0)
    scene = wb.data.Scene(size=SIZE)
    history = wb.training.fit(model, scene, steps=steps, batch_size=BATCH, progress=False)
    seconds, skipped = history["seconds"], steps // 4  # the first steps compile
    return {"rate": float((steps - skipped) / (seconds[-1] - seconds[skipped - 1]))}


if __name__ == "__main__":
    # The workers of a pool import this file as a module of its own.
    sys.path.insert(0, str(Path(__file__).parent))
    main()
