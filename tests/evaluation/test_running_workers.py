"""The benchmark in other processes: killed, pooled, and on a Dask cluster."""

import multiprocessing
import signal
import subprocess
import sys
import time
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def toys():
    with pytest.MonkeyPatch.context() as patch:
        # Workers that are spawned get the search path of this process.
        patch.syspath_prepend(HERE)
        import benchmark_toys

        yield benchmark_toys


@pytest.fixture(scope="module")
def undisturbed(toys, tmp_path_factory):
    folder = tmp_path_factory.mktemp("undisturbed")
    toys.run(folder)
    return folder


def assert_same_files(folder, other):
    for name in ("results.csv", "results.json"):
        assert (folder / name).read_bytes() == (other / name).read_bytes(), name


def finished(folder):
    return len(list((folder / "jobs").glob("[!.]*.json")))


@pytest.mark.whole
@pytest.mark.parametrize("kills", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_killed_again_and_again_and_resumed(undisturbed, tmp_path, kills):
    def killed_after(jobs):
        command = [sys.executable, str(HERE / "benchmark_toys.py"), str(tmp_path), "0.1"]
        process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        while finished(tmp_path) < jobs:
            assert process.poll() is None
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        assert process.wait(60) == -signal.SIGKILL

    for _ in range(kills):
        before = finished(tmp_path)
        killed_after(before + 2)
        assert before + 2 <= finished(tmp_path) < 12
    assert not (tmp_path / "results.csv").exists()
    # The seconds that a metric sleeps are its option, so the rest has to sleep as well.
    subprocess.run(
        [sys.executable, str(HERE / "benchmark_toys.py"), str(tmp_path), "0.1"], check=True,
        capture_output=True,
    )  # fmt: skip
    assert finished(tmp_path) == 12
    assert_same_files(tmp_path, undisturbed)


@pytest.mark.slow
def test_process_pool(toys, undisturbed, tmp_path):
    marker = tmp_path / "marker"
    deadly = [toys.metric(toys.deadly_once, marker=str(marker))]
    spawn = multiprocessing.get_context("spawn")
    with (
        ProcessPoolExecutor(1, mp_context=spawn) as pool,
        pytest.raises(RuntimeError, match="A worker of the `executor` died") as stop,
    ):
        toys.run(tmp_path / "out", executor=pool, extra=deadly)
    assert marker.exists()
    (note,) = stop.value.__notes__
    assert note.startswith("0 of 12 jobs were finished; they are kept in")
    with ProcessPoolExecutor(2, mp_context=spawn) as pool:
        found = toys.run(tmp_path / "out", executor=pool, extra=deadly)
    total, after = (found.select(metric=m).rows for m in ("total", "deadly_once"))
    assert [r["mean"] for r in after] == [r["mean"] for r in total]
    assert len(found) == 12 * 5 * 4
    toys.run(tmp_path / "out")
    assert_same_files(tmp_path / "out", undisturbed)


@pytest.mark.slow
def test_dask_loses_nothing_when_a_worker_is_killed(toys, undisturbed, tmp_path):
    distributed = pytest.importorskip("distributed")
    marker = tmp_path / "marker"
    deadly = [toys.metric(toys.deadly_once, marker=str(marker))]
    with (
        distributed.LocalCluster(
            2, processes=True, threads_per_worker=1, dashboard_address=None,
            local_directory=str(tmp_path / "dask"), silence_logs="CRITICAL",
        ) as cluster,
        distributed.Client(cluster) as client,
    ):  # fmt: skip
        before = {w["id"]: w["nanny"] for w in client.scheduler_info()["workers"].values()}
        found = toys.run(tmp_path / "out", executor=client.get_executor(), extra=deadly)
    assert len(before) == 2
    assert marker.exists()
    assert found.failures() == found.select(metric="broken").rows
    total, after = (found.select(metric=m).rows for m in ("total", "deadly_once"))
    assert [r["mean"] for r in after] == [r["mean"] for r in total]
    toys.run(tmp_path / "out")
    assert_same_files(tmp_path / "out", undisturbed)


def test_threads(toys, undisturbed, tmp_path):
    with ThreadPoolExecutor(3) as threads:
        toys.run(tmp_path, executor=threads)
    assert_same_files(tmp_path, undisturbed)


class Backwards:
    """An executor that runs nothing until all is submitted, then the last first."""

    def __init__(self, jobs):
        self.left, self.jobs = [], jobs

    def submit(self, function, job):
        self.left.append((Future(), function, job))
        if len(self.left) == self.jobs:
            for future, run, given in reversed(self.left):
                future.set_running_or_notify_cancel()
                if given.method.label == "ig":
                    future.set_exception(OSError("worker unreachable"))
                else:
                    future.set_result(run(given))
        return self.left[-1][0]


def test_order_does_not_matter_and_an_unreachable_worker_is_rows(toys, undisturbed, tmp_path):
    found = toys.run(tmp_path, executor=Backwards(12))
    lost = found.select(method="ig")
    assert {r["error"] for r in lost} == {"OSError: worker unreachable"}
    toys.run(tmp_path)
    assert_same_files(tmp_path, undisturbed)


def test_ctrl_c_keeps_what_an_executor_has_finished(toys, tmp_path):
    class Stopped(Backwards):
        def submit(self, function, job):
            future = super().submit(function, job)
            if len(self.left) == 5:
                self.left[1][0].set_result(function(self.left[1][2]))
                raise KeyboardInterrupt
            return future

    executor = Stopped(12)
    with pytest.raises(KeyboardInterrupt) as stop:
        toys.run(tmp_path, executor=executor)
    assert stop.value.__notes__[0].startswith("1 of 12 jobs were finished")
    assert finished(tmp_path) == 1
    assert all(f.cancelled() or f.done() for f, *_ in executor.left[:-1])


def test_without_a_folder_models_travel_by_a_temporary_one(toys):
    class Here:
        def submit(self, function, job):
            future = Future()
            assert Path(job.model.path).exists()
            future.set_result(function(job))
            return future

    np.testing.assert_equal(toys.run(executor=Here()).rows, toys.run().rows)
