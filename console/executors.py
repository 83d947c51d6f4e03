"""The executor that the user's options imply."""

from pathlib import Path
from typing import TYPE_CHECKING

from console.output import no_note, note

if TYPE_CHECKING:
    from pipeline.workers.executor import ExecutorContext
    from pipeline.workers.options import WorkerOptions


def executor_for(
    options: "WorkerOptions", tasks: int, folders: tuple[Path, ...], timeout: float, quiet: bool
) -> "ExecutorContext":
    """The executor for `tasks` tasks on files in `folders`, started when entered."""
    from pipeline.jobs.executor import open_executor

    notify = no_note if quiet else note
    return open_executor(options, tasks, folders, timeout, notify)
