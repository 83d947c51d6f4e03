"""Starts the executor that runs a job's tasks: the one that the user names, or the one that other options imply."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from pipeline.jobs import sample
from pipeline.workers.executor import Executor, Settings, ignore, load_executor
from pipeline.workers.limits import usable_workers
from pipeline.workers.options import WorkerOptions


@contextmanager
def open_executor(
    options: WorkerOptions,
    tasks: int,
    folders: tuple[Path, ...],
    timeout: float | None = None,
    notify: Callable[[str], None] = ignore,
) -> Iterator[Executor]:
    """An executor for `tasks` tasks on files in `folders`, started when the block begins and ended with it.

    By default it is a Dask cluster if the options give a scheduler, this process for 0 workers or where memory is too
    short for one, and else processes on this machine, no more than there are tasks.
    `timeout` is in seconds per task; `notify` gets one-line messages for the user. Raises PipelineError where the
    executor cannot be started.
    """
    name, workers, scheduler = options.executor, options.workers, options.scheduler
    count = 0
    if scheduler is None and name in (None, "local"):
        count = min(usable_workers(workers, notify), tasks)
    if name is None:
        name = "dask_cluster" if scheduler is not None else "local" if count else "serial"
    settings = Settings(max(count, 1), scheduler or "", timeout, folders, (sample.__name__,), notify)
    with load_executor(name)(settings) as run_tasks:
        yield run_tasks
