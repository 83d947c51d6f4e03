"""Options that several commands share."""

from collections.abc import Callable
from typing import Any

import click

from cache.registry import names
from console.parameters import PATH, one_of_both
from pipeline.workers.options import EXECUTOR_HELP, SCHEDULER_HELP, WORKERS_HELP

TASK_SECONDS = 300.0  # for one scan or clip


def options(*several: Callable[..., Any]) -> Callable[..., Any]:
    """Several click options as one decorator."""

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        for option in reversed(several):
            command = option(command)
        return command

    return decorate


QUOTED = """quote a name that has a comma: '"a, b",c'."""

OUTPUT = options(
    click.option("--json", "as_json", is_flag=True, help="Print the result as JSON."),
    click.option("--quiet", is_flag=True, help="No progress and no tables, only errors."),
)

WORKERS = options(
    click.option(
        "--workers",
        type=click.IntRange(0),
        callback=one_of_both,
        help=WORKERS_HELP,
    ),
    click.option(
        "--scheduler",
        metavar="ADDRESS",
        callback=one_of_both,
        help=SCHEDULER_HELP,
    ),
    click.option("--executor", type=click.Choice(names("pipeline.workers.executors")), help=EXECUTOR_HELP),
)

LINKED = click.option(
    "--linked-volume",
    type=PATH,
    metavar="DIR",
    help="The folder of arrays in the cache is a link to DIR, on a disk with more space.",
)

SHEET = options(
    click.option("--class-names", metavar="A,B,…", help=f"Other classes, counted from 1 in the CSV; {QUOTED}"),
    click.option("--file-column", metavar="NAME", help="The CSV's column of file names; default: FileName, ID, …"),
    click.option(
        "--label-column", metavar="NAME", help="Its column of labels; default: TypeOfTB, Label, Class or Type."
    ),
    click.option("--patient-column", metavar="NAME", help="Its column of patients; default: Patient, Subject, Case, …"),
)


def time_limit(name: str, what: str) -> Callable[..., Any]:
    """The option that says how long one input may take."""
    return click.option(
        name,
        "timeout",
        type=click.FloatRange(0, min_open=True),
        default=TASK_SECONDS,
        show_default=True,
        help=f"Seconds after which {what} that does not end is quarantined.",
    )


READERS = click.option(
    "--readers", type=click.IntRange(1), default=2, show_default=True, help="Threads that read from the cache."
)


FEATURES = click.option("--features", type=PATH, help="Cached features of CACHE: saves running the backbone.")
