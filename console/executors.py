"""The executor that the user's options imply."""

from pathlib import Path
from typing import TYPE_CHECKING

from console.output import no_note, note

if TYPE_CHECKING:
    from pipeline.workers.executor import ExecutorContext


def executor_for(
    workers: int | None, scheduler: str | None, tasks: int, folders: tuple[Path, ...], timeout: float, quiet: bool
) -> "ExecutorContext":
    """The executor for `tasks` tasks on files in `folders`, started when entered."""
    from pipeline.jobs.executor import open_executor

    notify = no_note if quiet else note
    return open_executor(tasks, folders, workers=workers, scheduler=scheduler, timeout=timeout, notify=notify)
