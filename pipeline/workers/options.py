"""Options that choose where tasks run. Nothing heavy is imported here, so that `--help` is quick."""

from typing import Annotated

import msgspec

WORKERS_HELP = "Local processes; default: one per core, fewer where memory is short; 0: this process."
SCHEDULER_HELP = "Use the Dask cluster at ADDRESS, such as tcp://host:8786."
EXECUTOR_HELP = "Executor that makes the samples; default: chosen from --workers and --scheduler."


class WorkerOptions(msgspec.Struct, frozen=True):
    """`workers` is a number of processes on this machine, `scheduler` the address of a Dask scheduler, `executor` the
    name of a file in `executors/`. None means the default."""

    workers: Annotated[int, msgspec.Meta(ge=0, description=WORKERS_HELP)] | None = None
    scheduler: Annotated[str, msgspec.Meta(description=SCHEDULER_HELP, extra={"metavar": "ADDRESS"})] | None = None
    executor: (
        Annotated[str, msgspec.Meta(description=EXECUTOR_HELP, extra={"registry": "pipeline.workers.executors"})] | None
    ) = None
