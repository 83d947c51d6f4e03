"""A Dask worker that dies or hangs fails only its current task."""

import threading
import time
from types import SimpleNamespace

import psutil
import pytest

from pipeline.errors import PipelineError
from pipeline.workers import dask_client, dispatch
from pipeline.workers.executor import Settings
from pipeline.workers.executors.local import local_cluster
from pipeline.workers.failures import TaskFailure, died, timed_out
from tests.helpers.tasks import HOUR, PATIENCE, results, work


@pytest.fixture(scope="module")
def pool():
    """Two worker processes."""
    with local_cluster(Settings(2, timeout=HOUR)) as run:
        yield run


def test_local_workers_have_no_memory_limit(pool):
    from distributed import default_client

    workers = default_client().scheduler_info(n_workers=-1)["workers"].values()
    assert [worker["memory_limit"] for worker in workers] == [0, 0]


def test_a_task_is_taken_only_when_a_worker_is_free(pool):
    started = []

    def tasks():
        for number in range(40):
            started.append(number)
            yield f"task{number}"

    in_progress = []
    done = 0
    for batch in pool(work, tasks()):
        done += len(batch)
        in_progress.append(len(started) - done)
    assert done == 40
    assert max(in_progress) <= 2 * dispatch.MAX_BATCH


def test_long_tasks_are_sent_singly_and_short_ones_in_batches(pool):
    sizes = [len(batch) for batch in pool(work, [f"slow{number}" for number in range(6)])]
    assert max(sizes) <= 2  # one from each worker
    sizes = [len(batch) for batch in pool(work, [f"task{number}" for number in range(100)])]
    assert max(sizes) > 2


def test_an_exception_in_a_task_ends_the_run(pool):
    with pytest.raises(OSError, match="the cache is full"):
        results(pool(work, ["a", "raise", "b"]))
    assert results(pool(work, ["a"])) == {"a": "A"}  # the workers can run further tasks


@pytest.mark.parametrize("position", [1, 45], ids=["sent alone", "sent among others"])
def test_a_task_that_kills_workers_fails_after_it_killed_two_alone_and_the_others_succeed(pool, position):
    tasks = [f"task{number}" for number in range(60)]
    tasks.insert(position, "poison")
    result_of = results(pool(work, tasks))
    failure = result_of.pop("poison")
    assert failure == died(3)
    assert "needs more memory" in failure.reason
    assert result_of == {task: task.upper() for task in tasks if task != "poison"}


def test_only_the_two_tasks_that_kill_workers_fail(pool):
    result_of = results(pool(work, ["poison@1", "a", "poison@2", "b", "c"]))
    assert {task for task, result in result_of.items() if isinstance(result, TaskFailure)} == {"poison@1", "poison@2"}


def test_a_task_whose_worker_dies_once_runs_again_on_another_worker(pool, tmp_path):
    result_of = results(pool(work, ["a", f"die-once@{tmp_path}", "b"]))
    assert result_of == {"a": "A", f"die-once@{tmp_path}": "DIE-ONCE", "b": "B"}


def test_an_attempt_is_overdue_after_the_limit_and_never_without_one():
    attempt = dispatch.Attempt(["a"], "tcp://worker", started=10.0)
    assert not dispatch.overdue(attempt, 12.0, 2)
    assert dispatch.overdue(attempt, 12.1, 2)
    assert not dispatch.overdue(attempt, 1e9, None)


@pytest.fixture
def hang(tmp_path, monkeypatch):
    """A task that hangs and is overdue as soon as it does."""
    name, marker = f"hang@{tmp_path}", tmp_path / "hung"
    monkeypatch.setattr(dispatch, "overdue", lambda attempt, now, timeout: name in attempt.tasks and marker.exists())
    yield name
    if marker.exists():
        deadline = time.monotonic() + PATIENCE
        while psutil.pid_exists(int(marker.read_text())):
            assert time.monotonic() < deadline, "the process that hung still exists"
            time.sleep(0.05)


def test_a_hung_worker_is_replaced_while_the_others_continue(pool, hang, monkeypatch):
    killing, others_done, wait_results = threading.Event(), threading.Event(), []
    kill = dask_client.kill_worker

    def slow_kill(client, worker):
        killing.set()
        wait_results.append(others_done.wait(PATIENCE))
        kill(client, worker)

    monkeypatch.setattr(dispatch, "kill_worker", slow_kill)

    def tasks():
        yield hang
        number = 0
        while not killing.is_set():
            yield f"before{number}"
            number += 1
        yield from (f"after{number}" for number in range(40))

    result_of = {}
    for batch in pool(work, tasks()):
        result_of |= dict(batch)
        if sum(task.startswith("after") for task in result_of) == 40:
            others_done.set()
    assert wait_results == [True]
    assert result_of.pop(hang) == timed_out(HOUR)
    assert result_of == {task: task.upper() for task in result_of}
    assert results(pool(work, ["a", "b", "c"])) == {"a": "A", "b": "B", "c": "C"}


def test_a_task_that_hangs_in_a_batch_fails_alone(pool, hang):
    tasks = [f"task{number}" for number in range(60)]
    tasks.insert(30, hang)
    result_of = results(pool(work, tasks))
    assert result_of.pop(hang) == timed_out(HOUR)
    assert result_of == {f"task{number}": f"TASK{number}" for number in range(60)}


def test_paused_workers_end_the_run_with_a_one_line_error(monkeypatch):
    import dask
    from distributed import Client, LocalCluster

    monkeypatch.setattr(dispatch, "IDLE_SECONDS", 1.0)
    with (
        dask.config.set({"distributed.worker.memory.terminate": False}),
        LocalCluster(
            n_workers=1, threads_per_worker=1, memory_limit="30MiB", dashboard_address="127.0.0.1:0", silence_logs=50
        ) as cluster,
        Client(cluster) as client,
        pytest.raises(PipelineError) as info,
    ):
        results(dispatch.run_on_workers(client, work, [f"slow{number}" for number in range(100)]))
    message = str(info.value)
    assert message.startswith("the Dask workers have started nothing for 1 s; worker tcp://127.0.0.1:")
    assert " is paused, with " in message
    assert " of 30 MiB allowed; start workers that have enough memory (`dask worker --memory-limit`)" in message


def test_only_workers_that_report_no_running_task_count_as_idle():
    def state(status="running", seconds_ago=0.0, **counts):
        return SimpleNamespace(
            status=SimpleNamespace(name=status),
            last_seen=time.time() - seconds_ago,
            memory_limit=100 << 20,
            metrics={"task_counts": counts, "memory": 90 << 20},
        )

    workers = {
        "busy": state(executing=1),
        "paused and busy": state("paused", executing=1, ready=3),
        "silent, as if holding the interpreter": state(seconds_ago=HOUR),
        "paused": state("paused", ready=1),
        "of another client": state("paused"),
    }
    client = SimpleNamespace(run_on_scheduler=lambda function: function(SimpleNamespace(workers=workers)))
    result_of = dask_client.idle_workers(client, workers.keys() - {"of another client"} | {"gone"})
    assert result_of == {"paused": "paused, with 90 MiB in use of 100 MiB allowed"}
