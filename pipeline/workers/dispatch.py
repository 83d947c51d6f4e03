"""Sends tasks to Dask workers and handles workers that die or hang.

Each worker has one attempt in flight, pinned to it: one task, or a few short ones. So when a worker dies, it is known
which attempt it was running. Its tasks are run again alone, after all others and with nothing else running. A task that
kills its worker twice when alone has failed. A single task that exceeds the time limit fails at once; where it was sent
with others, they are run again one by one. The worker is killed and replaced while the others continue.
"""

import queue
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import CancelledError
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Any, TypeVar

from cache.text import cut
from pipeline.errors import PipelineError
from pipeline.workers.dask_client import call_cluster, idle_workers, kill_worker
from pipeline.workers.failures import TaskFailure, died, timed_out

T = TypeVar("T")
R = TypeVar("R")
CHECK_SECONDS = 0.5  # between checks of the workers
NO_WORKER_SECONDS = 60.0
IDLE_SECONDS = 60.0  # an attempt that its worker has not started by then never will be; heartbeats take a few seconds
RESULT_SECONDS = 10.0  # results are a few hundred bytes
REPLACE_SECONDS = 10.0  # to wait at the end for hung workers to be killed
MAX_DEATHS_ALONE = 2
REMEDY = "start workers that have enough memory (`dask worker --memory-limit`)"
BATCH_SECONDS, MAX_BATCH = 0.2, 16  # tasks are sent together while a batch takes no longer than that


@dataclass
class Attempt:
    """The tasks that one worker is running; `started` is in seconds of `time.monotonic`."""

    tasks: list[Any]
    worker: str
    started: float


def overdue(attempt: Attempt, now: float, timeout: float | None) -> bool:
    """Whether an attempt has exceeded the time limit; None means no limit."""
    return timeout is not None and now - attempt.started > timeout


def run_on_workers(
    client: Any, work: Callable[[T], R], tasks: Iterable[T], timeout: float | None = None, remedy: str = REMEDY
) -> Iterator[list[tuple[T, R | TaskFailure]]]:
    """Run `tasks` on the workers of `client`; the next task is taken only when a worker is free.

    Raises what `work` raises, and PipelineError with `remedy` where no worker is left or none makes progress.
    """
    dispatch = _Dispatch(client, work, timeout, remedy)
    try:
        yield from dispatch.run(iter(tasks))
    finally:
        client.cancel(list(dispatch.running), force=True)
        for thread in dispatch.replacing:
            thread.join(REPLACE_SECONDS)


def _run_batch(work: Callable[[T], R], tasks: list[T]) -> list[R]:
    return [work(task) for task in tasks]


class _Dispatch:
    def __init__(self, client: Any, work: Callable[[Any], Any], timeout: float | None, remedy: str) -> None:
        self.client, self.work, self.timeout, self.remedy = client, work, timeout, remedy
        self.running: dict[Any, Attempt] = {}  # by future
        self.finished: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self.deaths: Counter[int] = Counter()  # by id() of a task in `suspects`
        self.suspects: deque[Any] = deque()  # to run alone at the end
        self.singles: deque[Any] = deque()  # to run one by one next
        self.workers: set[str] = set()
        self.hung: set[str] = set()  # workers that are being replaced
        self.replacing: list[threading.Thread] = []
        self.task_seconds = BATCH_SECONDS  # the duration of a task in the latest batch
        self.worker_seen = self.checked = time.monotonic()

    def run(self, tasks: Iterator[Any]) -> Iterator[list[tuple[Any, Any]]]:
        """Run all `tasks`, then, alone, those that were running when a worker died."""
        self._check_workers()
        next_batch = partial(self._next_batch, tasks)
        self._feed(next_batch, len(self.workers))
        while self.running or self._has_more(tasks):
            results = self._collect()
            self._feed(next_batch, len(self.workers))  # first, because the caller may take long to handle the results
            if results:
                yield results
        while self.suspects:
            if not self.running:
                self._feed(lambda: [self.suspects[0]], 1)
            if results := self._collect():
                yield results

    def _has_more(self, tasks: Iterator[Any]) -> bool:
        if not self.singles:
            self.singles.extend(islice(tasks, 1))
        return bool(self.singles)

    def _next_batch(self, tasks: Iterator[Any]) -> list[Any]:
        """The tasks to send next; empty when none are left."""
        if self.singles:
            return [self.singles.popleft()]
        return list(islice(tasks, max(1, min(MAX_BATCH, int(BATCH_SECONDS / self.task_seconds)))))

    def _feed(self, next_batch: Callable[[], list[Any]], limit: int) -> None:
        """Give each idle worker a batch, until `limit` of them are busy or no task is left."""
        busy = {attempt.worker for attempt in self.running.values()}
        for worker in sorted(self.workers - self.hung - busy)[: max(0, limit - len(busy))]:
            if not (batch := next_batch()):
                return
            future = call_cluster(
                self.client.submit,
                _run_batch,
                self.work,
                batch,
                workers=[worker],
                allow_other_workers=False,
                pure=False,
                retries=0,
            )
            self.running[future] = Attempt(batch, worker, time.monotonic())
            future.add_done_callback(self.finished.put)

    def _collect(self) -> list[tuple[Any, Any]]:
        """The results that have arrived, after a short wait where there are none."""
        results = []
        try:
            finished = [self.finished.get(timeout=CHECK_SECONDS)]
            while not self.finished.empty():
                finished.append(self.finished.get())
        except queue.Empty:
            finished = []
        for future in finished:
            if future in self.running:
                results += self._results(future)
        if time.monotonic() - self.checked > CHECK_SECONDS:
            results += self._check_workers()
        return results

    def _results(self, future: Any) -> list[tuple[Any, Any]]:
        """The results of a finished attempt. Raises what `work` raised."""
        from distributed.scheduler import KilledWorker

        attempt = self.running.pop(future)
        if future.status == "finished":
            try:
                results = future.result(timeout=RESULT_SECONDS)
            except (TimeoutError, CancelledError):  # the worker died with the results still on it
                return self._count_deaths(attempt.tasks)
            self.task_seconds = max(1e-6, (time.monotonic() - attempt.started) / len(attempt.tasks))
            for task in attempt.tasks:
                self._clear(task)
            return list(zip(attempt.tasks, results, strict=True))
        error = future.exception() if future.status == "error" else None
        if error is None or isinstance(error, KilledWorker):
            return self._count_deaths(attempt.tasks)
        if isinstance(error, ImportError):
            raise PipelineError(
                f"worker {attempt.worker} lacks a library: {cut(error)}; install the same packages there as here"
            )
        raise error

    def _check_workers(self) -> list[tuple[Any, Any]]:
        """Find workers that are gone or hang; return the results of tasks that failed because of that."""
        self.checked = time.monotonic()
        self.workers = set(call_cluster(self.client.nthreads))
        self.hung &= self.workers
        if self.workers - self.hung:
            self.worker_seen = self.checked
        elif self.checked - self.worker_seen > NO_WORKER_SECONDS:
            raise PipelineError(
                f"no Dask worker for {NO_WORKER_SECONDS:.0f} s; {self.remedy} and run the same command again: "
                "finished samples are kept"
            )
        results = []
        for future, attempt in list(self.running.items()):
            if future.done():
                continue
            if attempt.worker not in self.workers:
                self._withdraw(future)
                results += self._count_deaths(attempt.tasks)
            elif overdue(attempt, self.checked, self.timeout):
                self._withdraw(future)
                self._replace(attempt.worker)
                results += self._time_out(attempt.tasks)
        self._check_progress()
        return results

    def _withdraw(self, future: Any) -> None:
        del self.running[future]
        future.cancel()

    def _replace(self, worker: str) -> None:
        """Kill a worker that hangs, so that it is replaced; do not wait for that."""
        self.hung.add(worker)
        thread = threading.Thread(target=kill_worker, args=(self.client, worker), daemon=True)
        thread.start()
        self.replacing.append(thread)

    def _time_out(self, tasks: list[Any]) -> list[tuple[Any, Any]]:
        if len(tasks) > 1:  # one of them hangs, which will show when it runs alone; or tasks suddenly take longer
            self.task_seconds = BATCH_SECONDS
            self.singles.extend(tasks)
            return []
        self._clear(tasks[0])
        return [(tasks[0], timed_out(self.timeout or 0))]

    def _check_progress(self) -> None:
        """Raise PipelineError where no worker has started its tasks for a long time: a worker may pause forever."""
        waiting = {attempt.worker for attempt in self.running.values()}
        if not waiting or any(self.checked - attempt.started < IDLE_SECONDS for attempt in self.running.values()):
            return
        idle = idle_workers(self.client, waiting)
        if waiting <= idle.keys():
            worker = min(waiting)
            raise PipelineError(
                f"the Dask workers have started nothing for {IDLE_SECONDS:.0f} s; worker {worker} is {idle[worker]}; "
                f"{self.remedy} and run the same command again: finished samples are kept"
            )

    def _count_deaths(self, tasks: list[Any]) -> list[tuple[Any, Any]]:
        """Count a worker's death against its `tasks`; the results of those that have failed."""
        failed = []
        for task in tasks:
            self.deaths[id(task)] += 1
            if self.deaths[id(task)] == 1:
                self.suspects.append(task)
            elif self.deaths[id(task)] > MAX_DEATHS_ALONE:
                failed.append((task, died(self.deaths[id(task)])))
                self._clear(task)
        return failed

    def _clear(self, task: Any) -> None:
        if self.deaths.pop(id(task), 0):
            self.suspects = deque(suspect for suspect in self.suspects if suspect is not task)
