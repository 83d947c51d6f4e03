"""Sends tasks to Dask workers and handles workers that die or hang.

Each worker has one try in flight, pinned to it: one task, or a handful of short ones. A worker that dies therefore
takes that try down, and which one is known; its tasks are tried again alone, once all others are done and with nothing
else running. After two deaths alone a task is given up. A try that exceeds the time limit is given up at once, or, if
it was a handful, its tasks are tried one by one next. The worker is killed and replaced while the others work.
"""

import asyncio
import queue
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import CancelledError
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Any, TypeVar

from cache.text import cut
from pipeline.errors import PipelineError

T = TypeVar("T")
R = TypeVar("R")
LIVENESS_SECONDS = 0.5  # how often to look whether the workers are still there
NO_WORKER_SECONDS = 60.0
IDLE_SECONDS = 60.0  # after which a try that its worker has not begun will never be; heartbeats come every few seconds
HEARTBEAT_SECONDS = 20.0  # what a worker said longer ago is out of date
RESULT_SECONDS = 10.0  # results are a few hundred bytes
REPLACE_SECONDS = 10.0  # to wait at the end for hung workers to be killed
DEATHS_ALONE = 2
REMEDY = "start workers that have enough memory (`dask worker --memory-limit`)"
HANDFUL_SECONDS, MOST_IN_HAND = 0.2, 16  # tasks go to a worker together while they take no longer than that


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
        f"it was not done after {seconds:g} s; expected it to end; check the file, or allow more time "
        "(--scan-timeout, --clip-timeout)"
    )


@dataclass
class Try:
    """What one worker has in flight; `started` in seconds of `time.monotonic`."""

    tasks: list[Any]
    worker: str
    started: float


def overdue(trial: Try, now: float, timeout: float | None) -> bool:
    return timeout is not None and now - trial.started > timeout


def on_workers(
    client: Any, work: Callable[[T], R], tasks: Iterable[T], timeout: float | None = None, remedy: str = REMEDY
) -> Iterator[list[tuple[T, R | Lost]]]:
    """Run `tasks` on the workers of `client` as the module says; `tasks` is drawn from as workers become free.

    Raises what `work` raises, and PipelineError, which names `remedy`, where no worker is left or none does anything.
    """
    run = _Run(client, work, timeout, remedy)
    try:
        yield from run.all(iter(tasks))
    finally:
        client.cancel(list(run.running), force=True)
        for thread in run.replacing:
            thread.join(REPLACE_SECONDS)


def ask(question: Callable[..., T], *arguments: Any, **options: Any) -> T:
    """The answer of a cluster. Raises PipelineError if there is none, as when the scheduler or a worker has died."""
    try:
        return question(*arguments, **options)
    except (Exception, asyncio.CancelledError) as error:
        said = cut(f"{type(error).__name__}: {error}")
        raise PipelineError(
            f"the Dask cluster does not answer ({said}); its scheduler or a worker may have died, as where memory is "
            "short: start it again, and run the same command again: what is done is kept"
        ) from error


def kill_worker(client: Any, worker: str) -> None:
    """Have the nanny of `worker` kill its process, after which it starts another; without a nanny it is left alone."""

    def kill(dask_worker: Any) -> None:  # nested, so that it travels by value; what it gets is the nanny
        import psutil

        if dask_worker.worker_address == worker and dask_worker.pid:
            psutil.Process(dask_worker.pid).kill()

    with suppress(Exception):  # the worker, its nanny or its machine may be gone already
        client.run(kill, workers=[worker], nanny=True)


def idle_workers(client: Any, workers: set[str]) -> dict[str, str]:
    """Those of `workers` that run nothing, by address, and their state with the memory they hold and may hold."""

    def idle(dask_scheduler: Any) -> dict[str, tuple[str, int, int]]:
        import time

        found = {}
        for address in workers & set(dask_scheduler.workers):
            state = dask_scheduler.workers[address]
            counts = state.metrics.get("task_counts", {})
            busy = sum(counts.get(name, 0) for name in ("executing", "long-running", "cancelled", "resumed"))
            if not busy and time.time() - state.last_seen < HEARTBEAT_SECONDS:
                held = state.metrics.get("memory", 0)
                found[address] = (state.status.name, held, state.memory_limit or 0)
        return found

    return {
        address: f"{status}, with {held >> 20} MiB in use" + (f" of {limit >> 20} MiB allowed" if limit else "")
        for address, (status, held, limit) in ask(client.run_on_scheduler, idle).items()
    }


def _each(work: Callable[[T], R], tasks: list[T]) -> list[R]:
    return [work(task) for task in tasks]


class _Run:
    def __init__(self, client: Any, work: Callable[[Any], Any], timeout: float | None, remedy: str) -> None:
        self.client, self.work, self.timeout, self.remedy = client, work, timeout, remedy
        self.running: dict[Any, Try] = {}  # by future
        self.finished: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self.deaths: Counter[int] = Counter()  # by id() of a task in `suspects`
        self.suspects: deque[Any] = deque()  # to be tried alone at the end
        self.singly: deque[Any] = deque()  # to be tried one by one next
        self.workers: set[str] = set()
        self.hung: set[str] = set()  # workers that are being replaced
        self.replacing: list[threading.Thread] = []
        self.seconds = HANDFUL_SECONDS  # that a task took of late
        self.seen_workers = self.looked = time.monotonic()

    def all(self, tasks: Iterator[Any]) -> Iterator[list[tuple[Any, Any]]]:
        self._look()
        draw = partial(self._draw, tasks)
        self._feed(draw, len(self.workers))
        while self.running or self._some_left(tasks):
            batch = self._collect()
            self._feed(draw, len(self.workers))  # before the caller takes its time over the batch
            if batch:
                yield batch
        while self.suspects:
            if not self.running:
                self._feed(lambda: [self.suspects[0]], 1)
            if batch := self._collect():
                yield batch

    def _some_left(self, tasks: Iterator[Any]) -> bool:
        if not self.singly:
            self.singly.extend(islice(tasks, 1))
        return bool(self.singly)

    def _draw(self, tasks: Iterator[Any]) -> list[Any]:
        """The tasks to send next; empty when none are left."""
        if self.singly:
            return [self.singly.popleft()]
        return list(islice(tasks, max(1, min(MOST_IN_HAND, int(HANDFUL_SECONDS / self.seconds)))))

    def _feed(self, draw: Callable[[], list[Any]], most: int) -> None:
        """Give each idle worker something to do, until `most` of them are busy or there is no more."""
        busy = {trial.worker for trial in self.running.values()}
        for worker in sorted(self.workers - self.hung - busy)[: max(0, most - len(busy))]:
            if not (taken := draw()):
                return
            future = ask(
                self.client.submit,
                _each,
                self.work,
                taken,
                workers=[worker],
                allow_other_workers=False,
                pure=False,
                retries=0,
            )
            self.running[future] = Try(taken, worker, time.monotonic())
            future.add_done_callback(self.finished.put)

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
        if isinstance(error, ImportError):
            raise PipelineError(
                f"worker {trial.worker} cannot do the work: {cut(error)}; install there what is installed here"
            )
        raise error

    def _look(self) -> list[tuple[Any, Any]]:
        """Take stock of the workers; the tasks of those that are gone have died with them."""
        self.looked = time.monotonic()
        self.workers = set(ask(self.client.nthreads))
        self.hung &= self.workers
        if self.workers - self.hung:
            self.seen_workers = self.looked
        elif self.looked - self.seen_workers > NO_WORKER_SECONDS:
            raise PipelineError(
                f"no Dask worker for {NO_WORKER_SECONDS:.0f} s; {self.remedy} and run the same command again: "
                "what is done is kept"
            )
        batch = []
        for future, trial in list(self.running.items()):
            if future.done():
                continue
            if trial.worker not in self.workers:
                self._withdraw(future)
                batch += self._died(trial.tasks)
            elif overdue(trial, self.looked, self.timeout):
                self._withdraw(future)
                self._replace(trial.worker)
                batch += self._late(trial.tasks)
        self._refuse_standstill()
        return batch

    def _withdraw(self, future: Any) -> None:
        del self.running[future]
        future.cancel()

    def _replace(self, worker: str) -> None:
        """Have a worker that hangs killed and replaced, without waiting for it."""
        self.hung.add(worker)
        thread = threading.Thread(target=kill_worker, args=(self.client, worker), daemon=True)
        thread.start()
        self.replacing.append(thread)

    def _late(self, tasks: list[Any]) -> list[tuple[Any, Any]]:
        if len(tasks) > 1:  # one of them hangs, and will show it alone; or all of a sudden they take long
            self.seconds = HANDFUL_SECONDS
            self.singly.extend(tasks)
            return []
        self._clear(tasks[0])
        return [(tasks[0], timed_out(self.timeout or 0))]

    def _refuse_standstill(self) -> None:
        """Raise PipelineError where nothing that was given out long ago has begun: a worker may pause for ever."""
        waiting = {trial.worker for trial in self.running.values()}
        if not waiting or any(self.looked - trial.started < IDLE_SECONDS for trial in self.running.values()):
            return
        idle = idle_workers(self.client, waiting)
        if waiting <= idle.keys():
            worker = min(waiting)
            raise PipelineError(
                f"the Dask workers have begun nothing for {IDLE_SECONDS:.0f} s; worker {worker} is {idle[worker]}; "
                f"{self.remedy} and run the same command again: what is done is kept"
            )

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
