"""Executors: the same results everywhere, and a worker that dies or hangs costs one task."""

import ctypes
import gc
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import nullcontext, suppress
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
from test_cli import SMALL, cli, facts, write

from pipeline.errors import PipelineError
from pipeline.jobs.executor import open_executor
from pipeline.workers import dask_client, dispatch, machine
from pipeline.workers.executor import Settings, load_executor
from pipeline.workers.executors.dask_cluster import dask_cluster
from pipeline.workers.executors.local import hold_interrupts, local_cluster
from pipeline.workers.executors.serial import serial
from pipeline.workers.failures import TaskFailure, died, timed_out
from pipeline.workers.limits import default_workers, usable_workers
from pipeline.workers.options import WorkerOptions
from pipeline.workers.startup import raise_open_file_limit

ROOT = Path(__file__).resolve().parents[2]
HOUR, PATIENCE = 3600.0, 120.0  # seconds; never reached by the clock, and what a busy machine may take


def work(task: str) -> str:
    """What the tests run; it must be importable by workers."""
    name, _, folder = task.partition("@")
    if name == "poison":
        os._exit(9)
    if name == "hang":  # holding the interpreter, so that nothing in the process can answer
        Path(folder, "hung").write_text(str(os.getpid()))
        ctypes.PyDLL(None).sleep(600)
    if name == "sleep":
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
    with local_cluster(Settings(2, timeout=HOUR)) as run:
        yield run


def test_serial_and_dask_give_the_same_results(pool):
    tasks = [f"task{number}" for number in range(30)]
    expected = {task: task.upper() for task in tasks}
    assert results(serial(work, tasks)) == expected
    assert results(pool(work, tasks)) == expected


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


def test_an_executor_is_chosen_by_name_and_an_unknown_one_is_refused(tmp_path):
    with open_executor(WorkerOptions(executor="serial"), 1, (tmp_path,)) as run:
        assert results(run(work, ["a"])) == {"a": "A"}
    with pytest.raises(PipelineError, match="no executor 'abacus'; expected one of dask_cluster, local, serial"):
        load_executor("abacus")
    with pytest.raises(PipelineError, match="add --scheduler"), load_executor("dask_cluster")(Settings()):
        pass


def test_no_tasks_are_no_work(pool):
    assert results(pool(work, [])) == results(serial(work, [])) == {}


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
    assert max(ahead) <= 2 * dispatch.MAX_BATCH


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
    assert lost == died(3)
    assert "likely memory" in lost.reason
    assert found == {task: task.upper() for task in tasks if task != "poison"}


def test_two_poison_tasks_blame_only_themselves(pool):
    found = results(pool(work, ["poison@1", "a", "poison@2", "b", "c"]))
    assert {task for task, result in found.items() if isinstance(result, TaskFailure)} == {"poison@1", "poison@2"}


def test_a_task_whose_worker_dies_once_is_done_by_another(pool, tmp_path):
    found = results(pool(work, ["a", f"die-once@{tmp_path}", "b"]))
    assert found == {"a": "A", f"die-once@{tmp_path}": "DIE-ONCE", "b": "B"}


def test_a_try_is_overdue_after_the_limit_and_never_without_one():
    trial = dispatch.Attempt(["a"], "tcp://worker", started=10.0)
    assert not dispatch.overdue(trial, 12.0, 2)
    assert dispatch.overdue(trial, 12.1, 2)
    assert not dispatch.overdue(trial, 1e9, None)


@pytest.fixture
def hang(tmp_path, monkeypatch):
    """A task that hangs, overdue as soon as it does, whatever the clock says."""
    name, mark = f"hang@{tmp_path}", tmp_path / "hung"
    monkeypatch.setattr(dispatch, "overdue", lambda trial, now, timeout: name in trial.tasks and mark.exists())
    yield name
    if mark.exists():
        deadline = time.monotonic() + PATIENCE
        while psutil.pid_exists(int(mark.read_text())):
            assert time.monotonic() < deadline, "the process that hung is still there"
            time.sleep(0.05)


def test_a_hung_worker_is_replaced_while_the_others_work(pool, hang, monkeypatch):
    begun, others_done, waited = threading.Event(), threading.Event(), []
    kill = dask_client.kill_worker

    def slow_kill(client, worker):
        begun.set()
        waited.append(others_done.wait(PATIENCE))
        kill(client, worker)

    monkeypatch.setattr(dispatch, "kill_worker", slow_kill)

    def tasks():
        yield hang
        number = 0
        while not begun.is_set():
            yield f"before{number}"
            number += 1
        yield from (f"after{number}" for number in range(40))

    found = {}
    for batch in pool(work, tasks()):
        found |= dict(batch)
        if sum(task.startswith("after") for task in found) == 40:
            others_done.set()
    assert waited == [True]
    assert found.pop(hang) == timed_out(HOUR)
    assert found == {task: task.upper() for task in found}
    assert results(pool(work, ["a", "b", "c"])) == {"a": "A", "b": "B", "c": "C"}


def test_a_task_that_hangs_among_others_in_a_handful_costs_itself_only(pool, hang):
    tasks = [f"task{number}" for number in range(60)]
    tasks.insert(30, hang)
    found = results(pool(work, tasks))
    assert found.pop(hang) == timed_out(HOUR)
    assert found == {f"task{number}": f"TASK{number}" for number in range(60)}


def test_serial_leaves_a_task_that_hangs_behind():
    found = results(serial(work, ["a", "sleep", "b"], timeout=2))
    assert found == {"a": "A", "sleep": timed_out(2), "b": "B"}


def test_serial_stops_a_task_that_runs_on_in_python():
    ended = threading.Event()

    def run_on(task):
        try:
            while True:
                time.sleep(0.001)
        finally:
            ended.set()

    assert results(serial(run_on, ["a"], timeout=0.05)) == {"a": timed_out(0.05)}
    assert ended.wait(PATIENCE)


def test_a_process_that_left_a_decoder_behind_ends_as_if_it_had_not(tmp_path):
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
        "print([end.reason for batch in serial(work, sys.argv[1:], timeout=0.3) for _, end in batch])\n"
    )
    command = [sys.executable, "-c", script, str(tmp_path / "clip.avi")]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert "it was not done after 0.3 s" in ended.stdout


def test_serial_with_a_limit_raises_what_work_raises():
    with pytest.raises(OSError, match="full"):
        results(serial(work, ["raise"], timeout=5))


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:9", "nonsense://x", "127.0.0.1:notaport"])
def test_an_address_without_a_scheduler_is_one_clear_line(address, tmp_path, monkeypatch):
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


def test_schedulers_that_do_not_answer_leave_no_client_to_the_garbage_collector(monkeypatch):
    """Where one is collected while another starts, both wait for each other for ever."""
    monkeypatch.setattr("pipeline.workers.executors.dask_cluster.CONNECT_SECONDS", 0.1)
    before = gc.get_threshold()
    gc.set_threshold(1)
    try:
        for _ in range(5):
            with pytest.raises(PipelineError), dask_cluster(Settings(address="tcp://127.0.0.1:9")):
                pass
    finally:
        gc.set_threshold(*before)


def test_pinned_threads_stay_one_for_blas():
    script = (
        "import numpy, threadpoolctl; from pipeline.workers.threads import pin_threads; pin_threads(); "
        "assert all(pool['num_threads'] == 1 for pool in threadpoolctl.threadpool_info()), 'not pinned'"
    )
    subprocess.run([sys.executable, "-c", script], check=True, cwd=ROOT)


@pytest.mark.parametrize(
    ("mebibytes", "workers"), [(128, 0), (245, 0), (246, 1), (256, 1), (1119, 1), (1120, 2), (1 << 20, 8)]
)
def test_there_is_one_worker_a_core_as_far_as_memory_lasts(mebibytes, workers, monkeypatch):
    monkeypatch.setattr(machine, "cores", lambda: 8)
    monkeypatch.setattr(machine, "memory", lambda: mebibytes * machine.MIB)
    assert default_workers() == workers


@pytest.mark.parametrize(
    ("wanted", "mebibytes", "workers", "said"),
    [
        (None, 1120, 2, []),
        (None, 128, 0, ["working in this process: there are 128 MiB of memory"]),
        (0, 128, 0, []),
        (1, 256, 1, []),
        (1, 128, 0, ["working in this process: there are 128 MiB of memory"]),
        (4, 256, 1, ["working with 1 worker process: there are 256 MiB of memory"]),
        (20, 1 << 20, 20, []),
    ],
)
def test_no_more_workers_are_started_than_memory_holds(wanted, mebibytes, workers, said, monkeypatch):
    monkeypatch.setattr(machine, "cores", lambda: 8)
    monkeypatch.setattr(machine, "memory", lambda: mebibytes * machine.MIB)
    monkeypatch.setattr(machine, "address_space", lambda: None)
    lines = []
    assert usable_workers(wanted, lines.append) == workers
    assert lines == said


def test_no_worker_is_started_where_it_has_no_address_space(monkeypatch):
    monkeypatch.setattr(machine, "address_space", lambda: 500 * machine.MIB)
    lines = []
    assert usable_workers(2, lines.append) == 0
    assert lines[0].endswith("and 500 MiB of address space (`ulimit -v`)")


def test_workers_have_no_limit_at_which_they_would_pause(pool):
    from distributed import default_client

    workers = default_client().scheduler_info(n_workers=-1)["workers"].values()
    assert [worker["memory_limit"] for worker in workers] == [0, 0]


def test_local_workers_ignore_dask_settings_made_for_another_cluster():
    import dask

    with (
        dask.config.set({"distributed.comm.require-encryption": True, "distributed.worker.preload": ["not_there"]}),
        local_cluster(Settings(1)) as run,
    ):
        assert results(run(work, ["a"])) == {"a": "A"}


def start_failure(prepare="", **environment):
    """What `local_cluster(2)` raises in a process of its own, and what that process prints besides."""
    script = (
        f"{prepare}\nfrom pipeline.workers.executor import Settings\n"
        "from pipeline.workers.executors.local import local_cluster\n"
        "with local_cluster(Settings(2, modules=('pipeline.jobs.sample',))): pass"
    )
    wrapped = (
        f"if __name__ == '__main__':\n    from pipeline.errors import PipelineError\n    try: exec({script!r})\n"
        "    except PipelineError as error: print(error)\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", wrapped],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)} | environment,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    return ended.stdout


def test_too_few_open_files_are_one_line_with_the_limit():
    pytest.importorskip("resource")
    line = start_failure("import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (20, 20))")
    assert line.startswith("2 local workers cannot start: OSError: [Errno 24] Too many open files")
    assert line.endswith("(limits here: 20 open files (`ulimit -n`)); use --workers 0 to work in this process\n")


def test_a_low_soft_limit_of_open_files_is_raised():
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(soft, 256), hard))
    try:
        raise_open_file_limit()
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (hard, hard)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_broken_dask_settings_are_one_line_with_the_file(tmp_path):
    (tmp_path / "dask.yaml").write_text("distributed: [1,\n")
    line = start_failure(DASK_CONFIG=str(tmp_path / "dask.yaml"))
    assert line.startswith(f"Dask cannot be loaded: ValueError: A dask config file at '{tmp_path / 'dask.yaml'}' is")
    assert line.endswith("or use --workers 0 to work without it\n")
    assert line.count("\n") == 1


LESS = "free memory or use fewer --workers, or use --workers 0 to work in this process"
IN_THIS_PROCESS = "use --workers 0 to work in this process"
BROKEN = """import os, sys
class Finder:
    def find_spec(self, name, *others):
        if name == {module!r}:
            {act}
if "spawn_main" in " ".join(sys.orig_argv):
    sys.meta_path.insert(0, Finder())
"""


@pytest.mark.parametrize(
    ("module", "act", "cause"),
    [
        (
            "distributed",
            "os._exit(3)",
            f"a worker process died while it started (exited with status 3); {IN_THIS_PROCESS}",
        ),
        (
            "numcodecs",
            "os._exit(3)",
            f"a worker process died while it started (exited with status 3); {IN_THIS_PROCESS}",
        ),
        (
            "distributed",
            "os.kill(os.getpid(), 9)",
            f"a worker process died while it started (killed by signal 9); {LESS}",
        ),
        (
            "pipeline.jobs.sample",
            "os.kill(os.getpid(), 9)",
            f"a worker process died while it started (killed by signal 9); {LESS}",
        ),
        (
            "distributed.worker",
            "raise ImportError('libGL.so.1: cannot open shared object file')",
            "a worker process died while it started (exited with status 1; ImportError: libGL.so.1: cannot open shared "
            f"object file); {IN_THIS_PROCESS}",
        ),
        (
            "xxhash",
            "raise ModuleNotFoundError('No module named xxhash')",
            f"ModuleNotFoundError: No module named xxhash; {IN_THIS_PROCESS}",
        ),
    ],
)
def test_a_worker_that_dies_while_it_starts_is_one_line_with_its_end(tmp_path, module, act, cause):
    (tmp_path / "sitecustomize.py").write_text(BROKEN.format(module=module, act=act))
    line = start_failure(PYTHONPATH=f"{tmp_path}{os.pathsep}{ROOT}")
    assert line == f"2 local workers cannot start: {cause}\n"


def test_a_worker_killed_in_its_first_moments_is_one_line(tmp_path):
    write(tmp_path / "s/a.nii")
    arguments = ["preprocess", "ct", tmp_path / "s", tmp_path / "c", "--workers", "2"]
    with subprocess.Popen(
        [sys.executable, ROOT / "cli.py", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        killed = False
        while not killed and process.poll() is None:
            for child in psutil.Process(process.pid).children():
                with suppress(psutil.Error):
                    if "spawn_main" in " ".join(child.cmdline()):
                        child.kill()
                        killed = True
        out, err = process.communicate(timeout=PATIENCE)
    assert (process.returncode, out) == (1, "")
    assert err == (
        f"Error: a local worker cannot start: a worker process died while it started (killed by signal 9); {LESS}\n"
    )


def test_a_library_that_a_worker_lacks_ends_the_run_and_quarantines_nothing(tmp_path, monkeypatch):
    write(tmp_path / "s/a.nii")
    monkeypatch.setitem(sys.modules, "pipeline.transforms.ct", None)
    ended = cli("preprocess", "ct", tmp_path / "s", tmp_path / "c", *SMALL)
    assert (ended.exit_code, ended.stdout) == (1, "")
    assert ended.stderr.startswith("Error: a library is missing or broken: import of pipeline.transforms.ct halted")
    assert facts(tmp_path / "c")["discovered"] == 0


@pytest.mark.parametrize(
    "broken", ["socket.create_connection", "tempfile.TemporaryDirectory", "distributed.LocalCluster"]
)
def test_whatever_keeps_local_workers_from_starting_is_one_line_with_its_cause(broken, monkeypatch):
    def fail(*args, **options):
        try:
            raise OSError(99, "not here")
        except OSError as error:
            raise RuntimeError("Cluster failed") from error

    monkeypatch.setattr(broken, fail)
    with pytest.raises(PipelineError) as info, local_cluster(Settings(1)):
        pass
    assert str(info.value).startswith("a local worker cannot start: OSError: [Errno 99] not here")


def test_paused_workers_end_the_run_with_one_line(monkeypatch):
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
        results(dispatch.run_on_workers(client, work, ["a", "b"]))
    message = str(info.value)
    assert message.startswith("the Dask workers have started nothing for 1 s; worker tcp://127.0.0.1:")
    assert " is paused, with " in message
    assert " of 30 MiB allowed; start workers that have enough memory (`dask worker --memory-limit`)" in message


def test_only_a_worker_that_says_it_runs_nothing_counts_as_idle():
    def state(status="running", seen=0.0, **counts):
        return SimpleNamespace(
            status=SimpleNamespace(name=status),
            last_seen=time.time() - seen,
            memory_limit=100 << 20,
            metrics={"task_counts": counts, "memory": 90 << 20},
        )

    workers = {
        "busy": state(executing=1),
        "paused and busy": state("paused", executing=1, ready=3),
        "silent, as one that holds the interpreter": state(seen=HOUR),
        "paused": state("paused", ready=1),
        "another's": state("paused"),
    }
    client = SimpleNamespace(run_on_scheduler=lambda function: function(SimpleNamespace(workers=workers)))
    found = dask_client.idle_workers(client, workers.keys() - {"another's"} | {"gone"})
    assert found == {"paused": "paused, with 90 MiB in use of 100 MiB allowed"}


def test_a_first_worker_is_waited_for(monkeypatch):
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


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_while_the_cluster_starts_is_handled_once_it_has(number):
    def handle(*_):
        raise KeyboardInterrupt

    def start():
        with hold_interrupts():
            signal.raise_signal(number)
            started.append(number)

    before, started = signal.signal(number, handle), []
    try:
        with pytest.raises(KeyboardInterrupt):
            start()
        assert started == [number]
        assert signal.getsignal(number) is handle
    finally:
        signal.signal(number, before)
