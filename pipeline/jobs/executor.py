"""Opens the executor on which a job's tasks run: the one the user names, or the one that the other options imply."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from pipeline.jobs import sample
from pipeline.workers.executor import Executor, Settings, ignore, load_executor
from pipeline.workers.limits import usable_workers


@contextmanager
def open_executor(
    tasks: int,
    folders: tuple[Path, ...],
    *,
    name: str | None = None,
    workers: int | None = None,
    scheduler: str | None = None,
    timeout: float | None = None,
    notify: Callable[[str], None] = ignore,
) -> Iterator[Executor]:
    """An executor for `tasks` tasks on files in `folders`, started when the block begins and ended with it.

    Without a `name` it is a Dask cluster where a `scheduler` is given, else processes on this machine; this process
    where `workers` is 0 or memory is too short for a worker. There are no more local workers than tasks. `timeout` is
    in seconds per task; `notify` gets one-line messages for the user. Raises PipelineError where it cannot be started.
    """
    count = 0
    if scheduler is None and name in (None, "local"):
        count = min(usable_workers(workers, notify), tasks)
    if name is None:
        name = "dask_cluster" if scheduler is not None else "local" if count else "serial"
    settings = Settings(max(count, 1), scheduler or "", timeout, folders, (sample.__name__,), notify)
    with load_executor(name)(settings) as run_tasks:
        yield run_tasks
