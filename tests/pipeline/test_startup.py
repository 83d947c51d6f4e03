"""Local workers: how many fit into memory, and a one-line error with the cause if they cannot start."""

import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from pipeline.errors import PipelineError
from pipeline.workers import machine
from pipeline.workers.executor import Settings
from pipeline.workers.executors.local import block_interrupts, local_cluster
from pipeline.workers.limits import default_workers, usable_workers
from pipeline.workers.startup import exceeded_limits, raise_open_file_limit, start_error, watch_workers
from tests.helpers.commands import SMALL, cli, info_json
from tests.helpers.scans import write_scan
from tests.helpers.tasks import PATIENCE, results, work

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    ("mebibytes", "workers"), [(128, 0), (245, 0), (246, 1), (256, 1), (1119, 1), (1120, 2), (1 << 20, 8)]
)
def test_the_default_is_one_worker_per_core_or_as_many_as_fit_into_memory(mebibytes, workers, monkeypatch):
    monkeypatch.setattr(machine, "cores", lambda: 8)
    monkeypatch.setattr(machine, "memory", lambda: mebibytes * machine.MIB)
    assert default_workers() == workers


@pytest.mark.parametrize(
    ("requested", "mebibytes", "workers", "notes"),
    [
        (None, 1120, 2, []),
        (None, 128, 0, ["working in this process, because there are only 128 MiB of memory"]),
        (0, 128, 0, []),
        (1, 256, 1, []),
        (1, 128, 0, ["working in this process, because there are only 128 MiB of memory"]),
        (4, 256, 1, ["working with 1 worker process, because there are only 256 MiB of memory"]),
        (20, 1 << 20, 20, []),
    ],
)
def test_requested_workers_are_limited_by_memory_with_a_note(requested, mebibytes, workers, notes, monkeypatch):
    monkeypatch.setattr(machine, "cores", lambda: 8)
    monkeypatch.setattr(machine, "memory", lambda: mebibytes * machine.MIB)
    monkeypatch.setattr(machine, "address_space", lambda: None)
    lines = []
    assert usable_workers(requested, lines.append) == workers
    assert lines == notes


def test_no_worker_is_used_if_the_address_space_is_too_small(monkeypatch):
    monkeypatch.setattr(machine, "address_space", lambda: 500 * machine.MIB)
    lines = []
    assert usable_workers(2, lines.append) == 0
    assert lines[0].endswith("and 500 MiB of address space (`ulimit -v`)")


def test_local_workers_ignore_dask_settings_for_another_cluster():
    import dask

    with (
        dask.config.set({"distributed.comm.require-encryption": True, "distributed.worker.preload": ["not_there"]}),
        local_cluster(Settings(1)) as run,
    ):
        assert results(run(work, ["a"])) == {"a": "A"}


def start_failure(prepare="", **environment):
    """The error message of `local_cluster(2)` in a new process; asserts that it prints nothing else."""
    script = (
        f"{prepare}\nfrom pipeline.workers.executor import Settings\n"
        "from pipeline.workers.executors.local import local_cluster\n"
        "with local_cluster(Settings(2, modules=('pipeline.jobs.sample',))): pass"
    )
    wrapped = (
        f"if __name__ == '__main__':\n    from pipeline.errors import PipelineError\n    try: exec({script!r})\n"
        "    except PipelineError as error: print(error)\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", wrapped],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)} | environment,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert (result.returncode, result.stderr) == (0, "")
    return result.stdout


def test_too_few_open_files_give_a_one_line_error_with_the_limit():
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


def test_broken_dask_settings_give_a_one_line_error_with_the_file(tmp_path):
    (tmp_path / "dask.yaml").write_text("distributed: [1,\n")
    line = start_failure(DASK_CONFIG=str(tmp_path / "dask.yaml"))
    assert line.startswith(f"Dask cannot be loaded: ValueError: A dask config file at '{tmp_path / 'dask.yaml'}' is")
    assert line.endswith("or use --workers 0 to work without it\n")
    assert line.count("\n") == 1


HINT = "free memory or use fewer --workers, or use --workers 0 to work in this process"
IN_THIS_PROCESS = "use --workers 0 to work in this process"
BROKEN = """import os, sys
class Finder:
    def find_spec(self, name, *_):
        if name == {module!r}:
            {action}
if "spawn_main" in " ".join(sys.orig_argv):
    sys.meta_path.insert(0, Finder())
"""


@pytest.mark.parametrize(
    ("module", "action", "cause"),
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
            f"a worker process died while it started (killed by signal 9); {HINT}",
        ),
        (
            "pipeline.jobs.sample",
            "os.kill(os.getpid(), 9)",
            f"a worker process died while it started (killed by signal 9); {HINT}",
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
def test_a_worker_that_dies_during_its_start_gives_a_one_line_error_with_the_cause(tmp_path, module, action, cause):
    (tmp_path / "sitecustomize.py").write_text(BROKEN.format(module=module, action=action))
    line = start_failure(PYTHONPATH=f"{tmp_path}{os.pathsep}{ROOT}")
    assert line == f"2 local workers cannot start: {cause}\n"


def test_a_worker_killed_during_its_start_gives_a_one_line_error(tmp_path):
    write_scan(tmp_path / "s/a.nii")
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
        f"Error: a local worker cannot start: a worker process died while it started (killed by signal 9); {HINT}\n"
    )


def test_a_missing_library_ends_the_run_and_quarantines_nothing(tmp_path, monkeypatch):
    write_scan(tmp_path / "s/a.nii")
    monkeypatch.setitem(sys.modules, "pipeline.transforms.ct", None)
    result = cli("preprocess", "ct", tmp_path / "s", tmp_path / "c", *SMALL)
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith("Error: a library is missing or broken: import of pipeline.transforms.ct halted")
    assert info_json(tmp_path / "c")["discovered"] == 0


@pytest.mark.parametrize(
    "function", ["socket.create_connection", "tempfile.TemporaryDirectory", "distributed.LocalCluster"]
)
def test_any_error_in_starting_local_workers_gives_a_one_line_error_with_the_cause(function, monkeypatch):
    def fail(*args, **options):
        try:
            raise OSError(99, "unavailable")
        except OSError as error:
            raise RuntimeError("Cluster failed") from error

    monkeypatch.setattr(function, fail)
    with pytest.raises(PipelineError) as info, local_cluster(Settings(1)):
        pass
    assert str(info.value).startswith("a local worker cannot start: OSError: [Errno 99] unavailable")


@pytest.mark.parametrize(
    ("error", "workers", "logged", "start", "contains"),
    [
        (OSError("full"), 2, "", "2 local workers cannot start: OSError: full", "; use --workers 0"),
        (OSError("full"), 1, "killed by signal 9", "a local worker cannot start: OSError: full", "; use --workers 0"),
        (AssertionError(), 2, "", "2 local workers cannot start: a worker process died while it started", "; use --"),
        (RuntimeError("Nanny failed to start worker process"), 2, "Worker process 7 was killed by signal 9",
         "2 local workers cannot start: a worker process died while it started (killed by signal 9)", "; free memory"),
        (RuntimeError("failed to start worker process"), 2, "Worker process 7 exited with status 1",
         "2 local workers cannot start: a worker process died while it started (exited with status 1)", "; use --"),
    ],
)  # fmt: skip
def test_the_message_of_a_start_failure_has_the_cause_and_a_remedy(error, workers, logged, start, contains):
    try:
        raise TimeoutError("the cluster did not start") from error
    except TimeoutError as outer:
        with watch_workers() as watch:
            watch.logged += ["unrelated", logged]
            text = start_error(outer, workers, watch)
    assert text.startswith(start)
    assert contains in text
    assert text.endswith("use --workers 0 to work in this process")


def test_the_last_line_of_a_dead_process_is_reported():
    with watch_workers() as watch:
        os.write(2, b"Traceback\n\nImportError: no dask\n\n")
        assert watch.first_death() == "ImportError: no dask"


@pytest.mark.parametrize(("writable", "reported"), [(True, False), (False, True)])
def test_a_read_only_shm_is_reported(writable, reported, monkeypatch):
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(os, "access", lambda *_: writable)
    assert ("no writable /dev/shm" in exceeded_limits(1)) == reported


@pytest.mark.parametrize("signal_number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_while_the_cluster_starts_is_handled_afterwards(signal_number):
    def handle(*_):
        raise KeyboardInterrupt

    def start():
        with block_interrupts():
            signal.raise_signal(signal_number)
            started.append(signal_number)

    before, started = signal.signal(signal_number, handle), []
    try:
        with pytest.raises(KeyboardInterrupt):
            start()
        assert started == [signal_number]
        assert signal.getsignal(signal_number) is handle
    finally:
        signal.signal(signal_number, before)
