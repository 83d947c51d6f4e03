"""`repair`: make damaged, missing and stale samples again."""

from pathlib import Path
from typing import TYPE_CHECKING, cast

import click

from console.executors import executor_for
from console.exit_codes import FAILED
from console.options import LINKED, OUTPUT, TASK_SECONDS, WORKERS
from console.output import print_json, print_lines
from console.parameters import PATH, linked_array
from console.progress import Progress
from pipeline.workers.options import WorkerOptions

if TYPE_CHECKING:
    from cache.progress import Callback
    from pipeline.jobs.repair import RepairJob


@click.command()
@click.argument("cache", type=PATH)
@WORKERS
@LINKED
@click.option("--dry-run", is_flag=True, help="Say what would be done; write nothing.")
@OUTPUT
def repair(
    cache: Path,
    workers: int | None,
    scheduler: str | None,
    executor: str | None,
    linked_volume: Path | None,
    dry_run: bool,
    as_json: bool,
    quiet: bool,
) -> None:
    """Make the damaged, missing and stale samples of CACHE again from their sources, and no others.

    Exits with 1 where something cannot be healed, with --dry-run where that is known beforehand.

    \b
    Example:
      python cli.py repair ct.zarr
    """
    from cache.verify import verify as check
    from pipeline.jobs import repair, report
    from pipeline.sources.walk import is_folder

    with Progress(0, quiet, "checked") as progress:
        found = check(cache, progress=progress.at)
    job = repair.prepare(cache, found)
    if dry_run:
        _dry_repair(job, as_json, quiet)
        return
    linked = linked_array(job.root, "volume", linked_volume)
    folders = (job.root, *(source for source in map(Path, job.attributes.sources) if is_folder(source)))
    where = WorkerOptions(workers, scheduler, executor)
    with Progress(len(job.tasks), quiet) as progress:
        run_tasks = executor_for(where, len(job.tasks), folders, TASK_SECONDS, quiet)
        result = repair.run(job, run_tasks, cast("Callback", progress), linked)
    if as_json:
        print_json(report.repair_json(result))
    elif not quiet or result.failed:
        print_lines(report.repair_lines(result))
    if result.failed:
        click.get_current_context().exit(FAILED)


def _dry_repair(job: "RepairJob", as_json: bool, quiet: bool) -> None:
    """Say what `repair` would do, with its exit code."""
    from pipeline.jobs import report

    if as_json:
        print_json(report.repair_plan_json(job))
    elif not quiet or job.result.failed:
        print_lines(report.repair_plan_lines(job))
    if job.result.failed:
        click.get_current_context().exit(FAILED)


COMMAND = repair
