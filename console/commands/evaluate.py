"""`evaluate`: how well a run does on a cache."""

from pathlib import Path

import click

from console.options import FEATURES, OUTPUT, READERS
from console.output import print_json, print_lines
from console.parameters import PATH
from console.progress import Progress


@click.command()
@click.argument("run", type=PATH)
@click.argument("cache", type=PATH)
@click.option(
    "--part",
    type=click.Choice(("train", "validation", "test")),
    help="Of the run's split, on the cache it was trained on; default: validation.",
)
@click.option("--picture", type=PATH, help="Write the confusion matrix there, as PNG.")
@FEATURES
@READERS
@OUTPUT
def evaluate(
    run: Path,
    cache: Path,
    part: str | None,
    picture: Path | None,
    features: Path | None,
    readers: int,
    as_json: bool,
    quiet: bool,
) -> None:
    """Say how well RUN does on CACHE: kappa, accuracy, F1 of each class, confusion matrix, 95 % intervals.

    On the cache it was trained on, only its validation ids count.

    \b
    Example:
      python cli.py evaluate runs/pt_cw_aug ct.zarr
    """
    from trainer import backend

    backend.start()
    from trainer.evaluation import report, submission
    from trainer.evaluation.evaluate import evaluate as score
    from trainer.runs import marks

    submission.check_outputs(run, [picture] if picture else [], is_ours=marks.is_picture)
    notes: list[str] = []
    with Progress(0, quiet, "predicted") as progress:
        metrics = score(run, cache, part, readers, progress.at, features, notes.append)
    if as_json:
        print_json(metrics)
    elif not quiet:
        print_lines([f"{run} on {cache}, part {metrics['part']}", *notes, *report.metrics_lines(metrics)])
    if picture:  # last: it must not cost the metrics
        report.replace_picture(picture, report.confusion_picture(metrics))


COMMAND = evaluate
