"""Running tasks: in this process, or on Dask workers. With `dispatch`, Dask's only door.

An executor is a function `(work, tasks) -> batches of (task, result)`, in the order of completion; `work` is a
module-level function of one task. A result is what `work` returned, or a `Lost` where that could not be had. What
`work` raises ends the run, so `work` turns what one bad input can cause into a result.

A local cluster runs with Dask's default settings, whatever those of the user say: they are made for another kind of
cluster (one that demands TLS, say), or could stop this one. Dask's own watch over memory is off. It pauses a worker at
80 % of a limit of its own reckoning, for ever where an idle worker needs more than that, and our tasks leave nothing
behind that it could move to disk. Instead there are by default no more workers than memory allows; where it is short
all the same, the system kills a worker, and `dispatch` knows what to do.
"""

import logging
import os
import signal
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, wait
from contextlib import ExitStack, contextmanager, suppress
from copy import deepcopy
from functools import lru_cache
from multiprocessing import resource_tracker
from pathlib import Path
from typing import Any, TypeVar

import cache
from pipeline import machine
from pipeline.dispatch import Lost as Lost
from pipeline.dispatch import died as died
from pipeline.dispatch import on_workers
from pipeline.dispatch import timed_out as timed_out
from pipeline.errors import PipelineError

T = TypeVar("T")
R = TypeVar("R")
FIRST_WORKER_SECONDS = 60.0
START_SECONDS = 300.0  # for a worker to import everything, from a slow network disk, say
# Dask's own, but for MALLOC_TRIM_THRESHOLD_: giving memory back after each slice costs 16 % of a scan's time.
WORKER_ENVIRONMENT = {"OMP_NUM_THREADS": 1, "MKL_NUM_THREADS": 1, "OPENBLAS_NUM_THREADS": 1}
SETTINGS = {
    "nanny.pre-spawn-environ": WORKER_ENVIRONMENT,
    "scheduler.worker-ttl": None,  # a long task may hold the interpreter; a worker that dies is noticed without
    "deploy.lost-worker-timeout": "1 day",  # a nanny whose worker takes its time to come back is not given up
}
# Measured with a 72 MB scan: 55 MiB here and 120 in a worker, libraries that they share counted by half or less.
COORDINATOR_MEMORY, WORKER_MEMORY, LEAST_WORKER_MEMORY = 96 * machine.MIB, 512 * machine.MIB, 150 * machine.MIB

Executor = Callable[[Callable[[Any], Any], Iterable[Any]], Iterator[list[tuple[Any, Any]]]]


def serial(
    work: Callable[[T], R], tasks: Iterable[T], timeout: float | None = None
) -> Iterator[list[tuple[T, R | Lost]]]:
    """One task after the other, in this process. One that exceeds `timeout` seconds is left behind in its thread."""
    for task in tasks:
        yield [(task, work(task) if timeout is None else _limited(work, task, timeout))]


def _limited(work: Callable[[T], R], task: T, timeout: float) -> R | Lost:
    future: Future[R] = Future()

    def run() -> None:
        try:
            future.set_result(work(task))
        except BaseException as error:  # noqa: BLE001 - raised again where the result is asked for
            future.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return future.result() if wait([future], timeout).done else timed_out(timeout)


@lru_cache(maxsize=1)
def pin_threads() -> None:
    """Keep BLAS, OpenMP and the codec of this process to one thread: one process a core is the parallelism."""
    import numcodecs.blosc
    import threadpoolctl

    threadpoolctl.threadpool_limits(1)
    numcodecs.blosc.use_threads = False


@contextmanager
def local_cluster(workers: int, timeout: float | None = None) -> Iterator[Executor]:
    """An executor over `workers` single-threaded processes of this machine, started now and ended with the block.

    Raises PipelineError where they cannot be started.
    """
    with ExitStack() as stack:
        try:
            client = stack.enter_context(_local_client(workers))
        except Exception as error:  # whatever stands in the way, this process can do without
            raise PipelineError(_start_failure(error, workers)) from error
        remedy = "use fewer --workers (0: this process alone)"
        yield lambda work, tasks: on_workers(client, work, tasks, timeout, remedy)


@contextmanager
def _local_client(workers: int) -> Iterator[Any]:
    """A client of a new cluster on this machine."""
    _silence()
    import dask
    from distributed import Client, LocalCluster
    from distributed.config import defaults

    _allow_open_files()
    settings = {"distributed": deepcopy(defaults["distributed"])}
    settings |= {f"distributed.{name}": value for name, value in SETTINGS.items()}
    with ExitStack() as stack:
        scratch = stack.enter_context(tempfile.TemporaryDirectory(prefix="dask-", ignore_cleanup_errors=True))
        stack.enter_context(dask.config.set(settings))  # until the end: workers that are replaced need them, too
        with _interrupts_held():
            cluster = LocalCluster(
                n_workers=workers,
                threads_per_worker=1,
                processes=True,
                host="127.0.0.1",
                protocol="tcp",
                dashboard_address="127.0.0.1:0",  # any free port, so that runs do not get in each other's way
                local_directory=scratch,
                silence_logs=logging.CRITICAL,
                memory_limit=None,
                death_timeout=START_SECONDS,
            )
        stack.enter_context(cluster)
        yield stack.enter_context(Client(cluster))


def _silence() -> None:
    """Dask's troubles are told by us, in a line, or are none of the user's."""
    for name in ("distributed", "tornado", "asyncio"):
        logging.getLogger(name).setLevel(logging.CRITICAL)


def _allow_open_files() -> None:
    """Raise this process's limit of open files as far as it may: each worker takes a dozen."""
    with suppress(ImportError, OSError, ValueError):  # Windows; a hard limit that the system does not keep to
        import resource

        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _start_failure(error: BaseException, workers: int) -> str:
    """One line on why the local workers did not start."""
    reason = _reason(error)
    if "failed to start worker process" in reason:
        reason = "a worker process ended while it started"
    limits = f" (here are {', '.join(found)})" if (found := list(_tight_limits(workers))) else ""
    count = f"{workers} local workers" if workers > 1 else "a local worker"
    return f"{count} cannot start: {reason}{limits}; use fewer --workers, or --workers 0 to work in this process"


def _reason(error: BaseException) -> str:
    """The first cause of `error`, on one line."""
    while error.__cause__ is not None:
        error = error.__cause__
    return " ".join(f"{type(error).__name__}: {error}".split())


def _tight_limits(workers: int) -> Iterator[str]:
    """What on this machine is likely to keep `workers` from starting."""
    if (memory := machine.memory()) < COORDINATOR_MEMORY + workers * LEAST_WORKER_MEMORY:
        yield f"{memory // machine.MIB} MiB of memory"
    with suppress(ImportError):
        import resource

        if 0 <= (files := resource.getrlimit(resource.RLIMIT_NOFILE)[0]) < 64 + 32 * workers:
            yield f"{files} open files allowed by `ulimit -n`"
        if (space := resource.getrlimit(resource.RLIMIT_AS)[0]) != resource.RLIM_INFINITY:
            yield f"{space // machine.MIB} MiB of address space allowed by `ulimit -v`"
    if hasattr(os, "statvfs") and not os.access("/dev/shm", os.W_OK):
        yield "no writable /dev/shm"


@contextmanager
def _interrupts_held() -> Iterator[None]:
    """Hold back Ctrl-C in this thread and in all threads and processes started inside the block, where it is lost.

    A terminal sends Ctrl-C to every process; workers must leave it to the coordinator, which gets it after the block.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    resource_tracker.ensure_running()  # it would lift the block when it starts
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})


@contextmanager
def existing_cluster(
    address: str, folders: Iterable[Path], timeout: float | None = None, say: Callable[[str], None] = lambda line: None
) -> Iterator[Executor]:
    """An executor over the workers of the Dask scheduler at `address`, which must all see `folders`.

    Waits for a first worker, and tells `say`. Raises PipelineError where there is no scheduler, no worker comes, or a
    worker lacks this project's version or a folder.
    """
    _silence()
    try:
        from distributed import Client
    except Exception as error:
        raise PipelineError(f"Dask cannot be loaded: {_reason(error)}; use --workers 0 to work without it") from error
    try:
        client = Client(address, timeout="10s", set_as_default=False)
    except (OSError, ValueError, TypeError) as error:
        raise PipelineError(
            f"no Dask scheduler answers at {address} ({type(error).__name__}); "
            "expected an address such as tcp://host:8786; start one with `dask scheduler`"
        ) from error
    with client:
        _await_worker(client, address, say)
        check_workers(client, [str(folder) for folder in folders])
        yield lambda work, tasks: on_workers(client, work, tasks, timeout)


def _await_worker(client: Any, address: str, say: Callable[[str], None]) -> None:
    if client.nthreads():
        return
    say(f"waiting up to {FIRST_WORKER_SECONDS:.0f} s for the first worker of {address}")
    try:
        client.wait_for_workers(1, timeout=FIRST_WORKER_SECONDS)
    except TimeoutError as error:
        raise PipelineError(
            f"the scheduler at {address} has no workers after {FIRST_WORKER_SECONDS:.0f} s; "
            f"start some with `dask worker {address}`"
        ) from error


def check_workers(client: Any, folders: list[str]) -> None:
    """Raise PipelineError unless every worker has this version of the project and sees `folders`."""

    def inspect() -> tuple[str, list[str]]:  # nested, so that it travels by value and needs nothing installed there
        import importlib
        import pathlib

        try:
            version = str(importlib.import_module("cache").__version__)
            importlib.import_module("pipeline.build")
        except (ImportError, AttributeError) as error:
            version = f"missing ({error})"
        return version, [folder for folder in folders if not pathlib.Path(folder).is_dir()]

    found = client.run(inspect)
    for worker, (version, unseen) in found.items():
        if version != cache.__version__:
            raise PipelineError(
                f"worker {worker} has viptt-net {version}; expected {cache.__version__}; "
                "install the same wheel on every worker and start them again"
            )
        if unseen:
            raise PipelineError(f"worker {worker} cannot see {unseen[0]}; expected SOURCE and CACHE on shared storage")


def default_workers() -> int:
    """One worker a core, as far as memory lasts; 0, this process, where it is too short for even one."""
    left = machine.memory() - COORDINATOR_MEMORY
    return max(1, min(machine.cores(), left // WORKER_MEMORY)) if left >= LEAST_WORKER_MEMORY else 0


def usable_workers(wanted: int | None, say: Callable[[str], None]) -> int:
    """The number of workers `wanted`, or the default for None; tells `say` where memory is too short for them."""
    memory, default = machine.memory(), default_workers()
    here = f"{memory // machine.MIB} MiB of memory may be used here"
    if wanted is None and default == 0:
        say(f"{here}, too little for a worker process: working in this one, where a decoder that crashes ends the run")
    least = COORDINATOR_MEMORY + (wanted or 0) * LEAST_WORKER_MEMORY
    if wanted and memory < least:
        say(f"{here}, and --workers {wanted} take {least // machine.MIB} or more: if they are killed, use fewer")
    return default if wanted is None else wanted


def peak_memory() -> int:
    """Bytes that this process has held at most; 0 where the system does not tell."""
    status = Path("/proc/self/status")  # getrusage would give the parent's peak to a child
    lines = status.read_text().splitlines() if status.exists() else []
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))
