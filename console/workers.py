"""Check --workers, --scheduler and --executor, and start the chosen executor."""

import re
from pathlib import Path
from typing import TYPE_CHECKING

import click

from console.shared_options import TASK_SECONDS, Output
from pipeline.workers.options import WorkerOptions

if TYPE_CHECKING:
    from pipeline.workers.executor import ExecutorContext

ADDRESS = re.compile(r"((tcp|tls|ws|wss|ucx)://)?([^\s:/\[\]]+|\[[0-9a-fA-F:.]+\]):[0-9]{1,5}")


def check_workers(options: WorkerOptions) -> None:
    """Raises UsageError for options that contradict each other, and PipelineError for a malformed address."""
    from cache.text import shown
    from pipeline.errors import PipelineError

    if options.workers is not None and options.scheduler is not None:
        raise click.UsageError("--workers starts local processes, --scheduler uses existing ones; give one of the two")
    if options.scheduler is not None and not ADDRESS.fullmatch(options.scheduler):
        raise PipelineError(
            f"scheduler {shown(options.scheduler)} is not an address; expected one such as tcp://host:8786"
        )


def executor_for(
    options: WorkerOptions, tasks: int, folders: tuple[Path, ...], output: Output, timeout: float = TASK_SECONDS
) -> "ExecutorContext":
    """The executor for `tasks` tasks of at most `timeout` seconds on files in `folders`, started when entered."""
    from pipeline.jobs.executor import open_executor

    return open_executor(options, tasks, folders, timeout, output.note)
