"""`verify`: read a cache again and compare it with its records."""

from pathlib import Path

import click

from console.command import command
from console.exit_codes import FAILED
from console.options import struct_options
from console.progress import Progress
from console.shared_options import Output
from console.values import PATH, FiniteFloat


@command()
@click.argument("cache", type=PATH)
@click.option(
    "--sample",
    "percent",
    type=FiniteFloat(0, 100, min_open=True),
    metavar="PERCENT",
    default=100.0,
    help="Check only this percentage of the samples, chosen at random.",
)
@struct_options("output", Output)
def verify(cache: Path, percent: float, output: Output) -> None:
    """Read CACHE again and compare it with its records.

    The exit code is 1 where a sample is damaged, missing, or stale (its source or recipe changed); each is named.

    \b
    Example:
      python cli.py verify ct.zarr --sample 10
    """
    from cache.verify import verify as check
    from pipeline.jobs import report

    with Progress(output.quiet, verb="checked") as progress:
        verification = check(cache, percent, callback=progress)
    has_faults = not verification.sound
    output.show(
        lambda: report.verify_json(verification), lambda: report.verify_lines(verification), even_if_quiet=has_faults
    )
    if has_faults:
        click.get_current_context().exit(FAILED)


COMMAND = verify
