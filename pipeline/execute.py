"""Running tasks: in this process, or on Dask workers. Dask's only door.

An executor is a function `(work, tasks) -> batches of (task, result)`, in the order of completion; `work` is a
module-level function of one task. A result is what `work` returned, or a `Lost` where that could not be had. What
`work` raises ends the run, so `work` turns what one bad input can cause into a result.

On Dask each worker has one task in flight, pinned to it. A worker that dies therefore takes one task down, and which
one is known; that task is tried again alone, once all others are done and with nothing else running. After two
deaths alone it is given up. A task that exceeds a time limit is given up at once, and its worker replaced.
"""

import logging
import os
import queue
import signal
import tempfile
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import CancelledError, Future, wait
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from multiprocessing import resource_tracker
from pathlib import Path
from typing import Any, TypeVar

import cache
from pipeline.errors import PipelineError

T = TypeVar("T")
R = TypeVar("R")
LIVENESS_SECONDS = 0.5  # how often to look whether the workers are still there
NO_WORKER_SECONDS = 60.0
RESULT_SECONDS = 10.0  # results are a few hundred bytes
DEATHS_ALONE = 2
HANDFUL_SECONDS, MOST_IN_HAND = 0.2, 16  # tasks go to a worker together while they take no longer than that
# Dask's own, but for MALLOC_TRIM_THRESHOLD_: giving memory back after each slice costs 16 % of a scan's time.
WORKER_ENVIRONMENT = {"OMP_NUM_THREADS": 1, "MKL_NUM_THREADS": 1, "OPENBLAS_NUM_THREADS": 1}
GIB = 1 << 30


@dataclass(frozen=True)
class Lost:
    """A task without a result, and why, for the user."""

    reason: str


def died(times: int) -> Lost:
    return Lost(
        f"worker died {times} times on it, twice with nothing else running, likely memory: it needs more than a worker "
        "has; expected it to fit; use fewer --workers or a larger machine and run again"
    )


def timed_out(seconds: float) -> Lost:
    return Lost(
        f"it was not done after {seconds:g} s; expected it to end; check that it can be played, or allow more time"
    )


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
    """An executor over `workers` single-threaded processes of this machine, started now and ended with the block."""
    import dask
    from distributed import Client, LocalCluster

    logging.getLogger("distributed").setLevel(logging.CRITICAL)
    with tempfile.TemporaryDirectory(prefix="dask-", ignore_cleanup_errors=True) as scratch:
        with _interrupts_held(), dask.config.set({"distributed.nanny.pre-spawn-environ": WORKER_ENVIRONMENT}):
            cluster = LocalCluster(
                n_workers=workers,
                threads_per_worker=1,
                processes=True,
                host="127.0.0.1",
                dashboard_address="127.0.0.1:0",  # any free port, so that runs do not get in each other's way
                local_directory=scratch,
                silence_logs=logging.CRITICAL,
            )
        with cluster, Client(cluster) as client:
            yield lambda work, tasks: on_workers(client, work, tasks, timeout)


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
def existing_cluster(address: str, folders: Iterable[Path], timeout: float | None = None) -> Iterator[Executor]:
    """An executor over the workers of the Dask scheduler at `address`, which must all see `folders`.

    Raises PipelineError where there is no scheduler, or a worker lacks this project's version or a folder.
    """
    from distributed import Client

    logging.getLogger("distributed").setLevel(logging.CRITICAL)
    try:
        client = Client(address, timeout="10s", set_as_default=False)
    except (OSError, ValueError, TypeError) as error:
        raise PipelineError(
            f"no Dask scheduler answers at {address} ({type(error).__name__}); "
            "expected an address such as tcp://host:8786; start one with `dask scheduler`"
        ) from error
    with client:
        check_workers(client, address, [str(folder) for folder in folders])
        yield lambda work, tasks: on_workers(client, work, tasks, timeout)


def check_workers(client: Any, address: str, folders: list[str]) -> None:
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
    if not found:
        raise PipelineError(f"the scheduler at {address} has no workers; start some with `dask worker {address}`")
    for worker, (version, unseen) in found.items():
        if version != cache.__version__:
            raise PipelineError(
                f"worker {worker} has viptt-net {version}; expected {cache.__version__}; "
                "install the same wheel on every worker and start them again"
            )
        if unseen:
            raise PipelineError(f"worker {worker} cannot see {unseen[0]}; expected SOURCE and CACHE on shared storage")


def on_workers(
    client: Any, work: Callable[[T], R], tasks: Iterable[T], timeout: float | None = None
) -> Iterator[list[tuple[T, R | Lost]]]:
    """Run `tasks` on the workers of `client` as the module says; `tasks` is drawn from as workers become free."""
    run = _Run(client, work, timeout)
    try:
        yield from run.all(iter(tasks))
    finally:
        client.cancel(list(run.running), force=True)


@dataclass
class _Try:
    """What one worker has in flight."""

    tasks: list[Any]
    worker: str
    started: float


def _each(work: Callable[[T], R], tasks: list[T]) -> list[R]:
    return [work(task) for task in tasks]


class _Run:
    def __init__(self, client: Any, work: Callable[[Any], Any], timeout: float | None) -> None:
        self.client, self.work, self.timeout = client, work, timeout
        self.running: dict[Any, _Try] = {}  # by future
        self.finished: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self.deaths: Counter[int] = Counter()  # by id() of a task in `suspects`
        self.suspects: deque[Any] = deque()
        self.workers: set[str] = set()
        self.hung: set[str] = set()  # workers that are being replaced
        self.seconds = HANDFUL_SECONDS  # that a task took of late
        self.seen_workers = self.looked = time.monotonic()

    def all(self, tasks: Iterator[Any]) -> Iterator[list[tuple[Any, Any]]]:
        self._look()
        more = self._feed(tasks, len(self.workers))
        while more or self.running:
            batch = self._collect()
            more = more and self._feed(tasks, len(self.workers))  # before the caller takes its time over the batch
            if batch:
                yield batch
        while self.suspects:
            if not self.running:
                self._feed(iter([self.suspects[0]]), 1)
            if batch := self._collect():
                yield batch

    def _feed(self, tasks: Iterator[Any], most: int) -> bool:
        """Give each idle worker something to do, `most` of them; False once there is no more."""
        busy = {trial.worker for trial in self.running.values()}
        handful = max(1, min(MOST_IN_HAND, int(HANDFUL_SECONDS / self.seconds)))
        for worker in sorted(self.workers - self.hung - busy)[: most - len(busy)]:
            if not (taken := list(islice(tasks, handful))):
                return False
            future = self.client.submit(
                _each, self.work, taken, workers=[worker], allow_other_workers=False, pure=False, retries=0
            )
            self.running[future] = _Try(taken, worker, time.monotonic())
            future.add_done_callback(self.finished.put)
        return True

    def _collect(self) -> list[tuple[Any, Any]]:
        """What has finished, waiting a moment where nothing has."""
        batch = []
        try:
            done = [self.finished.get(timeout=LIVENESS_SECONDS)]
            while not self.finished.empty():
                done.append(self.finished.get())
        except queue.Empty:
            done = []
        for future in done:
            if future in self.running:
                batch += self._result(future)
        if time.monotonic() - self.looked > LIVENESS_SECONDS:
            batch += self._look()
        return batch

    def _result(self, future: Any) -> list[tuple[Any, Any]]:
        from distributed.scheduler import KilledWorker

        trial = self.running.pop(future)
        if future.status == "finished":
            try:
                results = future.result(timeout=RESULT_SECONDS)
            except (TimeoutError, CancelledError):  # the worker died with the results still on it
                return self._died(trial.tasks)
            self.seconds = max(1e-6, (time.monotonic() - trial.started) / len(trial.tasks))
            for task in trial.tasks:
                self._clear(task)
            return list(zip(trial.tasks, results, strict=True))
        error = future.exception() if future.status == "error" else None
        if error is None or isinstance(error, KilledWorker):
            return self._died(trial.tasks)
        raise error

    def _look(self) -> list[tuple[Any, Any]]:
        """Take stock of the workers; the tasks of those that are gone have died with them."""
        self.looked = time.monotonic()
        self.workers = set(self.client.nthreads())
        self.hung &= self.workers
        if self.workers - self.hung:
            self.seen_workers = self.looked
        elif self.looked - self.seen_workers > NO_WORKER_SECONDS:
            raise PipelineError(
                f"no Dask worker for {NO_WORKER_SECONDS:.0f} s; start workers and run the same command again, "
                "it goes on where it was"
            )
        batch = []
        for future, trial in list(self.running.items()):
            if future.done():
                continue
            if trial.worker not in self.workers:
                del self.running[future]
                future.cancel()
                batch += self._died(trial.tasks)
            elif self.timeout and self.looked - trial.started > self.timeout:
                del self.running[future]
                self._replace(trial.worker)
                batch += self._late(trial.tasks, self.timeout)
        return batch

    def _replace(self, worker: str) -> None:
        """Have the nanny of a worker that hangs kill it and start another; without a nanny it is only left alone."""
        self.hung.add(worker)
        with suppress(ValueError, TimeoutError, OSError):
            self.client.restart_workers([worker], timeout=NO_WORKER_SECONDS, raise_for_error=False)

    def _late(self, tasks: list[Any], timeout: float) -> list[tuple[Any, Any]]:
        if len(tasks) > 1:  # one of them hangs, and will show it alone; or all of a sudden they take long
            self.seconds = HANDFUL_SECONDS
            return self._died(tasks)
        self._clear(tasks[0])
        return [(tasks[0], timed_out(timeout))]

    def _died(self, tasks: list[Any]) -> list[tuple[Any, Any]]:
        lost = []
        for task in tasks:
            self.deaths[id(task)] += 1
            if self.deaths[id(task)] == 1:
                self.suspects.append(task)
            elif self.deaths[id(task)] > DEATHS_ALONE:
                lost.append((task, died(self.deaths[id(task)])))
                self._clear(task)
        return lost

    def _clear(self, task: Any) -> None:
        if self.deaths.pop(id(task), 0):
            self.suspects = deque(suspect for suspect in self.suspects if suspect is not task)


def default_workers() -> int:
    """One worker a core, as far as each has 1 GiB of memory."""
    import psutil

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(cores, psutil.virtual_memory().total // GIB))


def peak_memory() -> int:
    """Bytes that this process has held at most; 0 where the system does not tell."""
    status = Path("/proc/self/status")  # getrusage would give the parent's peak to a child
    lines = status.read_text().splitlines() if status.exists() else []
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))
