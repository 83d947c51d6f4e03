"""`repair`: make damaged, missing and stale samples again."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from console.command import command
from console.exit_codes import FAILED
from console.options import struct_options
from console.progress import Progress
from console.shared_options import Output, Storage
from console.values import PATH
from console.workers import check_workers, executor_for
from pipeline.workers.options import WorkerOptions

if TYPE_CHECKING:
    from pipeline.jobs.repair import RepairJob


@command()
@click.argument("cache", type=PATH)
@struct_options("workers", WorkerOptions)
@struct_options("storage", Storage)
@click.option("--dry-run", is_flag=True, help="Report what would be done; write nothing.")
@struct_options("output", Output)
def repair(cache: Path, workers: WorkerOptions, storage: Storage, dry_run: bool, output: Output) -> None:
    """Make damaged, missing and stale samples of CACHE again.

    They are made from their sources; all other samples stay as they are. The exit code is 1 where a sample cannot
    be repaired; with --dry-run, where that is known beforehand.

    \b
    Example:
      python cli.py repair ct.zarr
    """
    from cache.verify import verify
    from pipeline.jobs import repair, report
    from pipeline.sources.walk import is_folder

    check_workers(workers)
    with Progress(output.quiet, verb="checked") as progress:
        verification = verify(cache, callback=progress)
    job = repair.prepare(cache, verification)
    if dry_run:
        _show_plan(job, output)
        return
    linked = storage.linked_array(job.root, "volume")
    folders = (job.root, *(source for source in map(Path, job.attributes.sources) if is_folder(source)))
    executor = executor_for(workers, len(job.tasks), folders, output)
    with Progress(output.quiet, len(job.tasks)) as progress:
        result = repair.run(job, executor, progress, linked)
    failed = bool(result.failed)
    output.show(lambda: report.repair_json(result), lambda: report.repair_lines(result), even_if_quiet=failed)
    if failed:
        click.get_current_context().exit(FAILED)


def _show_plan(job: "RepairJob", output: Output) -> None:
    """Print what `repair` would do, and exit as it would."""
    from pipeline.jobs import report

    failed = bool(job.result.failed)
    output.show(lambda: report.repair_plan_json(job), lambda: report.repair_plan_lines(job), even_if_quiet=failed)
    if failed:
        click.get_current_context().exit(FAILED)


COMMAND = repair
