"""`remove`: forget samples for good."""

from pathlib import Path

import click

from console.command import command
from console.exit_codes import FAILED
from console.options import takes
from console.output import printable
from console.shared_options import Output, Storage
from console.values import PATH


@command()
@click.argument("cache", type=PATH)
@click.argument("ids", metavar="ID...", nargs=-1)
@click.option("--from", "file", type=PATH, help="Forget the ids in this file too, one a line.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--dry-run", is_flag=True, help="Say what would be forgotten; write nothing.")
@takes("storage", Storage)
@takes("output", Output)
def remove(
    cache: Path, ids: tuple[str, ...], file: Path | None, yes: bool, dry_run: bool, storage: Storage, output: Output
) -> None:
    """Forget the samples and other inputs ID... of CACHE for good: their arrays and all that the cache says of them.

    What is not in CACHE stays: sources, label sheets, caches of features, runs. While its source is in SOURCE, the next
    `preprocess` makes a sample again.

    \b
    Example:
      python cli.py remove ct.zarr TRN_0007 TRN_0123
    """
    from cache import catalog, removal
    from pipeline.jobs import remove as removing

    wanted = [*ids, *(removing.read_ids(file) if file else ())]
    if not wanted:
        raise click.UsageError("expected the ids of what to forget, or --from FILE")
    job = removing.prepare(cache, wanted)
    if not dry_run:
        linked = storage.linked_array(job.root, catalog.read_attributes(job.root).layout.array)
        if not yes and not _agreed(removing.question(job)):
            click.echo("Nothing was removed; --yes removes without asking.", err=True)
            click.get_current_context().exit(FAILED)
        removal.remove(job.root, wanted, linked)
    output.show(
        lambda: removing.removal_json(job, done=not dry_run),
        lambda: removing.removal_lines(job) if dry_run else removing.removed_lines(job),
    )


def _agreed(question: str) -> bool:
    """Whether the user says yes; nobody there to answer is a no."""
    try:
        return click.confirm(printable(question), err=True)
    except click.Abort:
        click.echo(err=True)
        return False


COMMAND = remove
