"""`verify`: read a cache again and compare it with its records."""

from pathlib import Path

import click

from console.exit_codes import FAILED
from console.options import OUTPUT
from console.output import print_json, print_lines
from console.parameters import PATH
from console.progress import Progress


@click.command()
@click.argument("cache", type=PATH)
@click.option(
    "--sample", "percent", type=click.FloatRange(0, 100, min_open=True), default=100.0, help="Check only PERCENT."
)
@OUTPUT
def verify(cache: Path, percent: float, as_json: bool, quiet: bool) -> None:
    """Read CACHE again and compare it with its records.

    Exits with 1 where a sample is damaged, missing, or stale (its source or recipe changed), and names each.

    \b
    Example:
      python cli.py verify ct.zarr --sample 10
    """
    from cache.verify import verify as check
    from pipeline.jobs import report

    with Progress(0, quiet, "checked") as progress:
        found = check(cache, percent, progress=progress.at)
    if as_json:
        print_json(report.verify_json(found))
    elif not quiet or not found.sound:
        print_lines(report.verify_lines(found))
    if not found.sound:
        click.get_current_context().exit(FAILED)


COMMAND = verify
