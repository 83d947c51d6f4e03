"""`label`: new labels for the scans of a cache."""

from pathlib import Path

import click

from console.exit_codes import QUARANTINED
from console.options import LINKED, OUTPUT, SHEET
from console.output import print_json, print_lines
from console.parameters import PATH, linked_array, names_from_csv


@click.command()
@click.argument("cache", type=PATH)
@click.argument("labels", metavar="CSV", type=PATH)
@SHEET
@LINKED
@OUTPUT
def label(
    cache: Path,
    labels: Path,
    linked_volume: Path | None,
    class_names: str | None,
    file_column: str | None,
    label_column: str | None,
    patient_column: str | None,
    as_json: bool,
    quiet: bool,
) -> None:
    """Give the scans of CACHE the labels and patients of CSV; no array is touched and no source file is needed.

    The CSV is read as by `preprocess ct --labels`. Samples that it does not name are left without a label.

    \b
    Example:
      python cli.py label ct.zarr corrected.csv
    """
    from pipeline.jobs import relabel, report
    from pipeline.labels.columns import ColumnChoice

    columns = ColumnChoice(file_column, label_column, patient_column)
    job = relabel.prepare(cache, labels, names_from_csv("--class-names", class_names), columns)
    summary = relabel.run(job, linked_array(job.root, "volume", linked_volume))
    if as_json:
        print_json(report.relabel_json(job, summary))
    elif not quiet:
        print_lines(report.relabel_lines(job, summary))
    if summary.wrong_labels:
        click.get_current_context().exit(QUARANTINED)


COMMAND = label
