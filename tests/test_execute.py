"""Executors: the same results everywhere, and a worker that dies or hangs costs one task."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pipeline import execute
from pipeline.errors import PipelineError

ROOT = Path(__file__).resolve().parent.parent


def work(task: str) -> str:
    """What the tests run; it must be importable by workers."""
    name, _, folder = task.partition("@")
    if name == "poison":
        os._exit(9)
    if name == "hang":
        time.sleep(600)
    if name == "raise":
        raise OSError("the cache is full")
    if name == "die-once" and not Path(folder, "died").exists():
        Path(folder, "died").touch()
        os._exit(9)
    time.sleep(0.3 if name.startswith("slow") else 0.005)
    return name.upper()


def results(batches):
    return dict(pair for batch in batches for pair in batch)


@pytest.fixture(scope="module")
def pool():
    with execute.local_cluster(2, timeout=None) as run:
        yield run


def test_serial_and_dask_give_the_same_results(pool):
    tasks = [f"task{number}" for number in range(30)]
    expected = {task: task.upper() for task in tasks}
    assert results(execute.serial(work, tasks)) == expected
    assert results(pool(work, tasks)) == expected


def test_no_tasks_are_no_work(pool):
    assert results(pool(work, [])) == results(execute.serial(work, [])) == {}


def test_tasks_are_drawn_as_workers_become_free_and_not_before(pool):
    drawn = []

    def tasks():
        for number in range(40):
            drawn.append(number)
            yield f"task{number}"

    ahead = []
    done = 0
    for batch in pool(work, tasks()):
        done += len(batch)
        ahead.append(len(drawn) - done)
    assert done == 40
    assert max(ahead) <= 2 * execute.MOST_IN_HAND


def test_long_tasks_go_one_by_one_and_short_ones_by_the_handful(pool):
    together = [len(batch) for batch in pool(work, [f"slow{number}" for number in range(6)])]
    assert max(together) <= 2  # one from each of two workers
    together = [len(batch) for batch in pool(work, [f"task{number}" for number in range(100)])]
    assert max(together) > 2


def test_what_work_raises_ends_the_run(pool):
    with pytest.raises(OSError, match="the cache is full"):
        results(pool(work, ["a", "raise", "b"]))
    assert results(pool(work, ["a"])) == {"a": "A"}  # and leaves the workers fit for the next


@pytest.mark.parametrize("at", [1, 45], ids=["sent alone", "sent among others"])
def test_a_poison_task_is_given_up_after_two_deaths_alone_and_its_neighbours_are_done(pool, at):
    tasks = [f"task{number}" for number in range(60)]
    tasks.insert(at, "poison")
    found = results(pool(work, tasks))
    lost = found.pop("poison")
    assert lost == execute.died(3)
    assert "likely memory" in lost.reason
    assert found == {task: task.upper() for task in tasks if task != "poison"}


def test_two_poison_tasks_blame_only_themselves(pool):
    found = results(pool(work, ["poison@1", "a", "poison@2", "b", "c"]))
    assert {task for task, result in found.items() if isinstance(result, execute.Lost)} == {"poison@1", "poison@2"}


def test_a_task_whose_worker_dies_once_is_done_by_another(pool, tmp_path):
    found = results(pool(work, ["a", f"die-once@{tmp_path}", "b"]))
    assert found == {"a": "A", f"die-once@{tmp_path}": "DIE-ONCE", "b": "B"}


def test_a_task_that_hangs_costs_itself_only():
    with execute.local_cluster(2, timeout=2) as run:
        start = time.monotonic()
        found = results(run(work, ["hang", *(f"task{number}" for number in range(10))]))
        assert found.pop("hang") == execute.timed_out(2)
        assert len(found) == 10
        among = [*(f"task{number}" for number in range(30)), "hang", *(f"task{number}" for number in range(30, 60))]
        found = results(run(work, among))  # in a handful with innocent ones
        assert found.pop("hang") == execute.timed_out(2)
        assert found == {f"task{number}": f"TASK{number}" for number in range(60)}
        assert results(run(work, ["a", "b", "c"])) == {"a": "A", "b": "B", "c": "C"}
        assert time.monotonic() - start < 90


def test_serial_leaves_a_task_that_hangs_behind():
    found = results(execute.serial(work, ["a", "hang", "b"], timeout=0.5))
    assert found == {"a": "A", "hang": execute.timed_out(0.5), "b": "B"}


def test_serial_with_a_limit_raises_what_work_raises():
    with pytest.raises(OSError, match="full"):
        results(execute.serial(work, ["raise"], timeout=5))


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:9", "nonsense://x", "127.0.0.1:notaport", ""])
def test_an_address_without_a_scheduler_is_one_clear_line(address, tmp_path):
    with pytest.raises(PipelineError) as info, execute.existing_cluster(address, [tmp_path]):
        pass
    message = str(info.value)
    assert message.startswith(f"no Dask scheduler answers at {address} (")
    assert message.endswith("expected an address such as tcp://host:8786; start one with `dask scheduler`")
    assert "\n" not in message


def test_pinned_threads_stay_one_for_blas():
    script = (
        "import numpy, threadpoolctl; from pipeline.execute import pin_threads; pin_threads(); "
        "assert all(pool['num_threads'] == 1 for pool in threadpoolctl.threadpool_info()), 'not pinned'"
    )
    subprocess.run([sys.executable, "-c", script], check=True, cwd=ROOT)


def test_there_is_at_least_one_worker_and_no_more_than_cores():
    assert 1 <= execute.default_workers() <= (os.cpu_count() or 1)
