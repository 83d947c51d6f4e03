"""--workers and --scheduler → an executor."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from console.output import no_note, note

if TYPE_CHECKING:
    from pipeline.workers.execute import Executor


@contextmanager
def executor_for(
    workers: int | None,
    scheduler: str | None,
    tasks: int,
    folders: tuple[Path, ...],
    timeout: float,
    quiet: bool,
) -> Iterator["Executor"]:
    """The executor asked for, started when entered; no more local workers than there are tasks."""
    from pipeline.workers import execute

    say = no_note if quiet else note
    if scheduler is not None:
        with execute.existing_cluster(scheduler, folders, timeout, say) as run_all:
            yield run_all
        return
    count = min(execute.usable_workers(workers, say), tasks)
    if count == 0:
        yield partial(execute.serial, timeout=timeout)
    else:
        with execute.local_cluster(count, timeout) as run_all:
            yield run_all
