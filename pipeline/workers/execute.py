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

import asyncio
import atexit
import ctypes
import errno
import logging
import math
import os
import signal
import socket
import sys
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, wait
from contextlib import ExitStack, contextmanager, suppress
from copy import deepcopy
from dataclasses import dataclass, field
from functools import lru_cache, partial
from multiprocessing import resource_tracker
from pathlib import Path
from typing import IO, Any, TypeVar

import cache
from cache.signals import held
from cache.text import cut
from pipeline.errors import PipelineError
from pipeline.workers import machine
from pipeline.workers.dispatch import Lost as Lost
from pipeline.workers.dispatch import ask, on_workers
from pipeline.workers.dispatch import died as died
from pipeline.workers.dispatch import timed_out as timed_out

T = TypeVar("T")
R = TypeVar("R")
CONNECT_SECONDS, FIRST_WORKER_SECONDS = 10.0, 60.0  # to a scheduler
STOP_SECONDS = 1.0
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
WORKER_ADDRESS_SPACE = 800 * machine.MIB  # half a GiB is mapped once all is imported, threads and data come to that
OPEN_FILES, OPEN_FILES_OF_WORKER = 64, 32
LEAST_OPEN_FILES, LEAST_OPEN_FILES_OF_WORKER = 24, 6  # with less no worker starts

SIGKILLED = "killed by signal 9"  # as a system ends a process where memory is short

Executor = Callable[[Callable[[Any], Any], Iterable[Any]], Iterator[list[tuple[Any, Any]]]]


def serial(
    work: Callable[[T], R], tasks: Iterable[T], timeout: float | None = None
) -> Iterator[list[tuple[T, R | Lost]]]:
    """One task after the other, in this process. One that exceeds `timeout` seconds is stopped as soon as it returns to
    Python, and left behind in its thread until then. Only a worker can end a task that holds the interpreter."""
    for task in tasks:
        yield [(task, work(task) if timeout is None else _limited(work, task, timeout))]


def _limited(work: Callable[[T], R], task: T, timeout: float) -> R | Lost:
    future: Future[R] = Future()

    def run() -> None:
        try:
            future.set_result(work(task))
        except BaseException as error:  # noqa: BLE001 - raised again where the result is asked for
            future.set_exception(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    if wait([future], timeout).done:
        return future.result()
    _stop(thread)
    return timed_out(timeout)


def _stop(thread: threading.Thread) -> None:
    """Raise SystemExit in `thread`, and give it a moment before this process ends.

    A thread that comes back from C++ into an interpreter that is being taken down would abort the process.
    """
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread.ident or 0), ctypes.py_object(SystemExit))
    atexit.register(thread.join, STOP_SECONDS)


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
    distributed = _load_distributed()
    with ExitStack() as stack:
        with _worker_ends() as ends:
            try:
                client = stack.enter_context(_local_client(distributed, workers))
            except (Exception, asyncio.CancelledError) as error:  # whatever it is, there is a way without
                raise PipelineError(_start_failure(error, workers, ends)) from error
        remedy = f"use fewer --workers, or --workers 0 to work in this process{_tight_limits(workers)},"
        yield lambda work, tasks: on_workers(client, work, tasks, timeout, remedy)


def _load_distributed() -> Any:
    """Dask's module, which reads its settings when it is imported. Raises PipelineError where it cannot be."""
    try:
        import distributed
    except Exception as error:
        raise PipelineError(
            f"Dask cannot be loaded: {_cause(error)}; check its settings (~/.config/dask, variables DASK_…), "
            "or use --workers 0 to work without it"
        ) from error
    for name in ("distributed", "distributed.client", "tornado", "asyncio"):  # their troubles are told by us, in a line
        logging.getLogger(name).setLevel(logging.CRITICAL)
    return distributed


@contextmanager
def _local_client(distributed: Any, workers: int) -> Iterator[Any]:
    """A client of a new cluster on this machine."""
    import dask
    from distributed.config import defaults

    _allow_open_files()
    if _open_files() < LEAST_OPEN_FILES + workers * LEAST_OPEN_FILES_OF_WORKER:  # Dask may wait for ever
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
    with socket.create_server(("127.0.0.1", 0)) as server:  # Dask would try for a minute
        socket.create_connection(server.getsockname(), timeout=10).close()
    settings = {"distributed": deepcopy(defaults["distributed"])}
    settings |= {f"distributed.{name}": value for name, value in SETTINGS.items()}
    with ExitStack() as stack:
        scratch = stack.enter_context(tempfile.TemporaryDirectory(prefix="dask-", ignore_cleanup_errors=True))
        stack.enter_context(dask.config.set(settings))  # until the end: workers that are replaced need them, too
        with _interrupts_held():
            cluster = distributed.LocalCluster(
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
                preload=["pipeline.jobs.sample"],  # so that what cannot be imported shows now, and takes no task's time
            )
        stack.push(partial(_close, cluster))
        client = distributed.Client(cluster)
        stack.push(partial(_close, client))
        yield client


def _close(started: Any, *_: object) -> None:
    """End a cluster or a client. What goes wrong then, as where a worker is just being replaced, changes no result."""
    with suppress(Exception):
        started.close()


@dataclass
class _Ends:
    """How worker processes ended, as the nannies log it; and `errors`, the file with what processes said meanwhile."""

    errors: IO[str]
    logged: list[str] = field(default_factory=list)

    def told(self) -> str:
        """The end of the first process that died, and the last word of any; empty where nothing is known."""
        self.errors.seek(0)
        said = [line.strip() for line in self.errors if line.strip()][-1:]
        ends = [end for line in self.logged if (end := line.partition("Worker process ")[2].partition(" ")[2])]
        return "; ".join(cut(text.removeprefix("was ")) for text in (*ends[:1], *said))


@contextmanager
def _worker_ends() -> Iterator[_Ends]:
    """Watch how the worker processes end that are started in the block. Their stderr is kept from the terminal.

    A process that cannot import its first modules would write a traceback there.
    """
    with tempfile.TemporaryFile("w+", errors="replace") as errors, ExitStack() as stack:
        ends, logger, handler = _Ends(errors), logging.getLogger("distributed.nanny"), logging.Handler()
        handler.emit = lambda record: ends.logged.append(record.getMessage())  # type: ignore[method-assign]
        logger.addHandler(handler)
        stack.callback(logger.removeHandler, handler)
        stack.callback(logger.setLevel, logger.level)
        logger.setLevel(logging.INFO)
        with suppress(OSError):  # there may be no stderr
            before = os.dup(2)
            stack.callback(os.close, before)
            stack.callback(os.dup2, before, 2)
            os.dup2(errors.fileno(), 2)
        yield ends


def _allow_open_files() -> None:
    """Raise this process's limit of open files as far as it may: each worker takes a dozen."""
    with suppress(ImportError, OSError, ValueError):  # Windows; a hard limit that the system does not keep to
        import resource

        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _open_files() -> float:
    """How many files this process may have open."""
    with suppress(ImportError, OSError, ValueError):
        import resource

        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        return soft if soft >= 0 else math.inf
    return math.inf


def _start_failure(error: BaseException, workers: int, ends: _Ends) -> str:
    """One line on why the local workers did not start."""
    cause, todo = _cause(error), ""
    if cause.startswith("AssertionError") or "failed to start worker process" in cause:  # Dask's, who knows no more
        told = ends.told()
        cause = f"a worker process died while it started{told and f' ({told})'}"
        todo = "free memory or use fewer --workers, or " if SIGKILLED in told else ""
    count = f"{workers} local workers" if workers > 1 else "a local worker"
    return f"{count} cannot start: {cause}{_tight_limits(workers)}; {todo}use --workers 0 to work in this process"


def _cause(error: BaseException) -> str:
    """The first cause of `error`, on one line."""
    while error.__cause__ is not None:
        error = error.__cause__
    return " ".join(f"{type(error).__name__}: {error}".split())


def _tight_limits(workers: int) -> str:
    """What on this machine is likely to keep `workers` from starting, in parentheses; empty where nothing is."""
    found = [] if workers <= most_workers() else [_memory_here()]
    if (files := _open_files()) < OPEN_FILES + workers * OPEN_FILES_OF_WORKER:
        found.append(f"{files} open files (`ulimit -n`)")
    if sys.platform == "linux" and not os.access("/dev/shm", os.W_OK):
        found.append("no writable /dev/shm")
    return f" (limits here: {', '.join(found)})" if found else ""


@contextmanager
def _interrupts_held() -> Iterator[None]:
    """Hold back Ctrl-C and SIGTERM until the block ends: a cluster that is stopped while it starts leaves tracebacks.

    In the processes and threads that are started inside the block Ctrl-C is lost: a terminal sends it to every process,
    and workers must leave it to the coordinator. SIGTERM ends them as ever.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    resource_tracker.ensure_running()  # it would lift the block when it starts
    with held(signal.SIGTERM):
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
    distributed = _load_distributed()
    client = distributed.Client.__new__(distributed.Client)  # to be had where starting it fails
    try:
        client.__init__(address, timeout=CONNECT_SECONDS, set_as_default=False)
    except (OSError, ValueError, TypeError) as error:
        with suppress(Exception):  # left to the garbage collector, it may close within another's start: a deadlock
            client.close()
        raise PipelineError(
            f"no Dask scheduler answers at {address} ({type(error).__name__}); "
            "expected an address such as tcp://host:8786; start one with `dask scheduler`"
        ) from error
    with client:
        _await_worker(client, address, say)
        check_workers(client, [str(folder) for folder in folders])
        yield lambda work, tasks: on_workers(client, work, tasks, timeout)


def _await_worker(client: Any, address: str, say: Callable[[str], None]) -> None:
    if ask(client.nthreads):
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
            importlib.import_module("pipeline.jobs.sample")
        except (ImportError, AttributeError) as error:
            version = f"missing ({error})"
        return version, [folder for folder in folders if not pathlib.Path(folder).is_dir()]

    found = ask(client.run, inspect)
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
    roomy = (machine.memory() - COORDINATOR_MEMORY) // WORKER_MEMORY
    return min(machine.cores(), max(roomy, 1), most_workers())


def most_workers() -> int:
    """As many workers as there is memory for."""
    space = machine.address_space()
    if space is not None and space < WORKER_ADDRESS_SPACE:
        return 0
    return max(0, machine.memory() - COORDINATOR_MEMORY) // LEAST_WORKER_MEMORY


def usable_workers(wanted: int | None, say: Callable[[str], None]) -> int:
    """The number of workers `wanted`, or the default for None; fewer, which `say` is told, where memory is short."""
    most = most_workers()
    if (1 if wanted is None else wanted) > most:
        where = {0: "in this process", 1: "with 1 worker process"}.get(most, f"with {most} worker processes")
        say(f"working {where}: there are {_memory_here()}")
    return default_workers() if wanted is None else min(wanted, most)


def too_large(workers: int, each: int) -> Iterator[str]:
    """A line where `workers` that take `each` bytes do not fit into memory."""
    if (needed := COORDINATOR_MEMORY + workers * each) > machine.memory():
        needs = f"{workers} {'workers need' if workers > 1 else 'worker needs'} about {needed // machine.MIB} MiB"
        yield f"{needs}; there are {_memory_here()}: use fewer --workers"


def _memory_here() -> str:
    space = machine.address_space()
    limit = "" if space is None else f" and {space // machine.MIB} MiB of address space (`ulimit -v`)"
    return f"{machine.memory() // machine.MIB} MiB of memory{limit}"


def peak_memory() -> int:
    """Bytes that this process has held at most; 0 where the system does not tell."""
    status = Path("/proc/self/status")  # getrusage would give the parent's peak to a child
    lines = status.read_text().splitlines() if status.exists() else []
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))
