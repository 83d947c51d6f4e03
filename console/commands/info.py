"""`info`: the contents of a cache."""

from pathlib import Path

import click

from console.command import command
from console.output import print_json, print_lines
from console.values import PATH


@command()
@click.argument("cache", type=PATH)
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def info(cache: Path, as_json: bool) -> None:
    """Show the contents, the recipe and the inputs of CACHE.

    \b
    Example:
      python cli.py info ct.zarr
    """
    from cache import catalog
    from pipeline.jobs import report
    from pipeline.jobs.summary import summarise

    attributes = catalog.read_attributes(cache)
    summary = summarise(attributes, catalog.read_entries(cache))
    if as_json:
        print_json(report.cache_json(summary, attributes))
    else:
        print_lines(report.cache_lines(str(cache), summary, attributes, catalog.unpublished(cache)))


COMMAND = info
