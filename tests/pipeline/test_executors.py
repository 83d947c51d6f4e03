"""Executors give the same results and are chosen by name or options; the serial one stops slow tasks."""

import gc
import subprocess
import sys
import threading
import time
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import pytest

from pipeline.errors import PipelineError
from pipeline.jobs.executor import open_executor
from pipeline.workers import machine
from pipeline.workers.executor import Settings, load_executor
from pipeline.workers.executors.dask_cluster import await_worker, dask_cluster
from pipeline.workers.executors.local import local_cluster
from pipeline.workers.executors.serial import serial
from pipeline.workers.failures import timed_out
from pipeline.workers.options import WorkerOptions
from tests.helpers.tasks import HOUR, PATIENCE, results, work

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def pool():
    """Two worker processes."""
    with local_cluster(Settings(2, timeout=HOUR)) as run:
        yield run


def test_serial_and_dask_give_the_same_results(pool):
    tasks = [f"task{number}" for number in range(30)]
    expected = {task: task.upper() for task in tasks}
    assert results(serial(work, tasks)) == expected
    assert results(pool(work, tasks)) == expected


def test_no_tasks_give_no_results(pool):
    assert results(pool(work, [])) == results(serial(work, [])) == {}


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, ("local", 3)),
        ({"workers": 2}, ("local", 2)),
        ({"workers": 0}, ("serial", 1)),
        ({"scheduler": "tcp://h:1"}, ("dask_cluster", 1)),
        ({"workers": 4, "executor": "serial"}, ("serial", 1)),
    ],
)
def test_the_options_choose_the_executor_and_its_number_of_workers(options, expected, monkeypatch):
    monkeypatch.setattr(machine, "cores", lambda: 8)
    monkeypatch.setattr(machine, "memory", lambda: 1 << 40)
    opened = []

    def load(name):
        return lambda settings: nullcontext(opened.append((name, settings.workers)))

    monkeypatch.setattr("pipeline.jobs.executor.load_executor", load)
    with open_executor(WorkerOptions(**options), 3, ()):
        pass
    assert opened == [expected]


def test_an_executor_is_chosen_by_name_and_an_unknown_name_is_rejected(tmp_path):
    with open_executor(WorkerOptions(executor="serial"), 1, (tmp_path,)) as run:
        assert results(run(work, ["a"])) == {"a": "A"}
    with pytest.raises(PipelineError, match="no executor 'abacus'; expected one of dask_cluster, local, serial"):
        load_executor("abacus")
    with pytest.raises(PipelineError, match="add --scheduler"), load_executor("dask_cluster")(Settings()):
        pass


def test_the_serial_executor_abandons_a_task_that_hangs():
    result_of = results(serial(work, ["a", "sleep", "b"], timeout=2))
    assert result_of == {"a": "A", "sleep": timed_out(2), "b": "B"}


def test_the_serial_executor_stops_a_python_task_after_its_time_limit():
    stopped = threading.Event()

    def run_forever(task):
        try:
            while True:
                time.sleep(0.001)
        finally:
            stopped.set()

    assert results(serial(run_forever, ["a"], timeout=0.05)) == {"a": timed_out(0.05)}
    assert stopped.wait(PATIENCE)


def test_a_process_with_an_abandoned_decoder_exits_normally(tmp_path):
    pytest.importorskip("cv2")
    script = (
        "import cv2, numpy, sys\nfrom pipeline.workers.executors.serial import serial\n"
        "writer = cv2.VideoWriter(sys.argv[1], cv2.VideoWriter.fourcc(*'XVID'), 25, (320, 240))\n"
        "for _ in range(50): writer.write(numpy.zeros((240, 320, 3), numpy.uint8))\n"
        "writer.release()\n"
        "def work(clip):\n"
        "    while True:\n"
        "        capture = cv2.VideoCapture(clip)\n"
        "        while capture.read()[0]: pass\n"
        "print([failure.reason for batch in serial(work, sys.argv[1:], timeout=0.3) for _, failure in batch])\n"
    )
    command = [sys.executable, "-c", script, str(tmp_path / "clip.avi")]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE)
    assert (result.returncode, result.stderr) == (0, "")
    assert "not finished after 0.3 s" in result.stdout


def test_the_serial_executor_with_a_time_limit_raises_exceptions_of_tasks():
    with pytest.raises(OSError, match="full"):
        results(serial(work, ["raise"], timeout=5))


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:9", "nonsense://x", "127.0.0.1:notaport"])
def test_an_address_without_a_scheduler_gives_a_one_line_error(address, tmp_path, monkeypatch):
    monkeypatch.setattr("pipeline.workers.executors.dask_cluster.CONNECT_SECONDS", 0.5)
    with (
        pytest.raises(PipelineError) as info,
        dask_cluster(Settings(address=address, folders=(tmp_path,))),
    ):
        pass
    message = str(info.value)
    assert message.startswith(f"no Dask scheduler answers at {address} (")
    assert message.endswith("expected an address such as tcp://host:8786; start one with `dask scheduler`")
    assert "\n" not in message


def test_a_client_is_closed_if_no_scheduler_answers(monkeypatch):
    """If a client is garbage-collected while another starts, the two deadlock."""
    monkeypatch.setattr("pipeline.workers.executors.dask_cluster.CONNECT_SECONDS", 0.1)
    before = gc.get_threshold()
    gc.set_threshold(1)
    try:
        for _ in range(5):
            with pytest.raises(PipelineError), dask_cluster(Settings(address="tcp://127.0.0.1:9")):
                pass
    finally:
        gc.set_threshold(*before)


def test_dask_cluster_waits_for_the_first_worker(monkeypatch):
    monkeypatch.setattr("pipeline.workers.executors.dask_cluster.FIRST_WORKER_SECONDS", 0.1)
    from distributed import LocalCluster

    lines = []
    with (
        LocalCluster(n_workers=0, dashboard_address="127.0.0.1:0", silence_logs=50) as cluster,
        pytest.raises(PipelineError) as info,
        dask_cluster(Settings(address=cluster.scheduler_address, notify=lines.append)),
    ):
        pass
    address = cluster.scheduler_address
    assert lines == [f"waiting up to 0 s for the first worker of {address}"]
    assert str(info.value) == (
        f"the scheduler at {address} has no workers after 0 s; start some with `dask worker {address}`"
    )


def test_dask_cluster_does_not_wait_if_the_scheduler_has_workers():
    notes = []
    with_workers, waits = SimpleNamespace(nthreads=lambda: {"tcp://a": 1}), []
    await_worker(with_workers, "tcp://s", notes.append)
    without_workers = SimpleNamespace(nthreads=dict, wait_for_workers=lambda count, timeout: waits.append(count))
    await_worker(without_workers, "tcp://s", notes.append)
    assert (len(notes), waits) == (1, [1])


def test_pinned_threads_limit_blas_to_one():
    script = (
        "import numpy, threadpoolctl; from pipeline.workers.threads import pin_threads; pin_threads(); "
        "assert all(pool['num_threads'] == 1 for pool in threadpoolctl.threadpool_info()), 'not pinned'"
    )
    subprocess.run([sys.executable, "-c", script], check=True, cwd=ROOT)
