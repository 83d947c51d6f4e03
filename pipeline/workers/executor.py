"""The interface of an executor: a context manager that gives a function `(work, tasks) → batches of (task, result)`.

Each file in `executors/` is one; its `EXECUTOR` takes the `Settings` below and returns the context manager. Batches
come in the order of completion. `work` is a module-level function of one task, so that it can be sent to other
processes. A result is the value that `work` returned, or a `TaskFailure` where there is none. An exception raised by
`work` ends the run, so `work` must convert any error of one bad input to a result.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cache import registry
from cache.text import shown
from pipeline.errors import PipelineError

EXECUTORS = "pipeline.workers.executors"

Executor = Callable[[Callable[[Any], Any], Iterable[Any]], Iterator[list[tuple[Any, Any]]]]
ExecutorContext = AbstractContextManager[Executor]


def ignore(line: str) -> None:
    """Discard a message for the user."""


@dataclass(frozen=True)
class Settings:
    """Settings for any executor; each uses the fields that apply to it.

    `workers` is a number of processes, at least 1; `address` is that of a Dask scheduler. `timeout` limits each task,
    in seconds. `folders` must be visible to all workers, and `modules` are imported when a worker starts. `notify` is
    called with one-line messages for the user.
    """

    workers: int = 1
    address: str = ""
    timeout: float | None = None
    folders: tuple[Path, ...] = ()
    modules: tuple[str, ...] = ()
    notify: Callable[[str], None] = ignore


def load_executor(name: str) -> Callable[[Settings], ExecutorContext]:
    """The `EXECUTOR` of the file `name`. Raises PipelineError where there is no such file."""
    try:
        executor: Callable[[Settings], ExecutorContext] = registry.load(EXECUTORS, name, "EXECUTOR")
    except KeyError as error:
        names = ", ".join(registry.names(EXECUTORS))
        raise PipelineError(f"no executor {shown(name)}; expected one of {names}") from error
    return executor
