"""Run tasks one after the other in this process: no worker processes, no Dask."""

import atexit
import ctypes
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, wait
from contextlib import nullcontext
from functools import partial
from typing import TypeVar

from pipeline.workers.executor import ExecutorContext, Settings
from pipeline.workers.failures import TaskFailure, timed_out

T = TypeVar("T")
R = TypeVar("R")
STOP_SECONDS = 1.0


def serial(
    work: Callable[[T], R], tasks: Iterable[T], timeout: float | None = None
) -> Iterator[list[tuple[T, R | TaskFailure]]]:
    """Run `tasks` in order, in batches of one.

    A task that exceeds `timeout` seconds is stopped as soon as it returns to Python; until then its thread keeps
    running. Only a worker process can end a task that holds the interpreter.
    """
    for task in tasks:
        yield [(task, work(task) if timeout is None else _run_with_limit(work, task, timeout))]


def _run_with_limit(work: Callable[[T], R], task: T, timeout: float) -> R | TaskFailure:
    future: Future[R] = Future()

    def run() -> None:
        try:
            future.set_result(work(task))
        except BaseException as error:  # noqa: BLE001 - raised again by result()
            future.set_exception(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    if wait([future], timeout).done:
        return future.result()
    _stop(thread)
    return timed_out(timeout)


def _stop(thread: threading.Thread) -> None:
    """Raise SystemExit in `thread`, and give it a moment before this process ends.

    A thread that returns from C++ while the interpreter is being shut down would abort the process.
    """
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread.ident or 0), ctypes.py_object(SystemExit))
    atexit.register(thread.join, STOP_SECONDS)


def open_serial(settings: Settings) -> ExecutorContext:
    """An executor in this process, with `settings.timeout` seconds for each task."""
    return nullcontext(partial(serial, timeout=settings.timeout))


EXECUTOR = open_serial
