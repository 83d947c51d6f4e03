"""Options of commands that read a sheet of labels."""

import click

from console.values import PATH, NameList

QUOTING = """Quote a name with a comma: '"a, b",c'."""

LABELS = click.option("--labels", type=PATH, help="CSV with the columns FileName,TypeOfTB and optionally Patient.")
CLASS_NAMES = click.option(
    "--class-names",
    type=NameList(),
    metavar="A,B,…",
    help=f"Classes other than the five types, counted from 1 in the CSV. {QUOTING}",
)
