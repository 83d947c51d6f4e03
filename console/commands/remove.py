"""`remove`: delete samples and everything recorded about them."""

from pathlib import Path

import click

from console.command import command
from console.exit_codes import FAILED
from console.options import struct_options
from console.output import printable
from console.shared_options import Output, Storage
from console.values import PATH


@command()
@click.argument("cache", type=PATH)
@click.argument("ids", metavar="ID...", nargs=-1)
@click.option("--from", "file", type=PATH, help="Also remove the ids in this file, which has one per line.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--dry-run", is_flag=True, help="Report what would be removed; write nothing.")
@struct_options("storage", Storage)
@struct_options("output", Output)
def remove(
    cache: Path, ids: tuple[str, ...], file: Path | None, yes: bool, dry_run: bool, storage: Storage, output: Output
) -> None:
    """Remove samples and other inputs from CACHE for good.

    Their arrays and every record of them are deleted. Sources, label sheets, feature caches and runs stay. The next
    `preprocess` makes a removed sample again if its file is still in SOURCE.

    \b
    Example:
      python cli.py remove ct.zarr TRN_0007 TRN_0123
    """
    from cache import catalog, removal
    from pipeline.jobs import remove as removing

    requested = [*ids, *(removing.read_ids(file) if file else ())]
    if not requested:
        raise click.UsageError("give the ids to remove, or --from FILE")
    job = removing.prepare(cache, requested)
    if not dry_run:
        linked = storage.linked_array(job.root, catalog.read_attributes(job.root).layout.array)
        if not yes and not _confirmed(removing.question(job)):
            click.echo("Nothing was removed; --yes removes without asking.", err=True)
            click.get_current_context().exit(FAILED)
        removal.remove(job.root, requested, linked)
    output.show(
        lambda: removing.removal_json(job, done=not dry_run),
        lambda: removing.removal_lines(job) if dry_run else removing.removed_lines(job),
    )


def _confirmed(question: str) -> bool:
    """Whether the user answers yes; without a terminal the answer is no."""
    try:
        return click.confirm(printable(question), err=True)
    except click.Abort:
        click.echo(err=True)
        return False


COMMAND = remove
