"""`label`: new labels for the scans of a cache."""

from pathlib import Path

import click

from console.command import command
from console.exit_codes import QUARANTINED
from console.options import struct_options
from console.shared_options import Output, Storage
from console.sheet_options import CLASS_NAMES
from console.values import PATH
from pipeline.labels.columns import ColumnChoice


@command()
@click.argument("cache", type=PATH)
@click.argument("labels", metavar="CSV", type=PATH)
@CLASS_NAMES
@struct_options("columns", ColumnChoice)
@struct_options("storage", Storage)
@struct_options("output", Output)
def label(
    cache: Path,
    labels: Path,
    class_names: tuple[str, ...] | None,
    columns: ColumnChoice,
    storage: Storage,
    output: Output,
) -> None:
    """Change labels and patients in CACHE to those of CSV.

    Arrays are not touched, and source files are not needed. The CSV is read as by `preprocess ct --labels`. Samples
    that are not in it become unlabelled.

    \b
    Example:
      python cli.py label ct.zarr corrected.csv
    """
    from pipeline.jobs import relabel, report

    job = relabel.prepare(cache, labels, class_names, columns)
    summary = relabel.run(job, storage.linked_array(job.root, "volume"))
    output.show(lambda: report.relabel_json(job, summary), lambda: report.relabel_lines(job, summary))
    if summary.wrong_labels:
        click.get_current_context().exit(QUARANTINED)


COMMAND = label
