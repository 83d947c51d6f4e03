"""`evaluate`: score a run on a cache."""

from pathlib import Path

import click

from console.command import command
from console.options import struct_options
from console.progress import Progress
from console.shared_options import Features, Output, Reading
from console.values import PATH


@command()
@click.argument("run", type=PATH)
@click.argument("cache", type=PATH)
@click.option(
    "--part",
    type=click.Choice(("train", "validation", "test")),
    help="Part of the run's split to score, on the cache it was trained on; default: validation.",
)
@click.option("--picture", type=PATH, help="Also write the confusion matrix to this PNG file.")
@struct_options("features", Features)
@struct_options("reading", Reading)
@struct_options("output", Output)
def evaluate(
    run: Path,
    cache: Path,
    part: str | None,
    picture: Path | None,
    features: Features,
    reading: Reading,
    output: Output,
) -> None:
    """Score RUN on CACHE: kappa, accuracy, F1, confusion matrix.

    Intervals are at 95 %. On the cache that RUN was trained on, only the samples of one part of its split are
    scored; on any other, all.

    \b
    Example:
      python cli.py evaluate runs/pt_cw_aug ct.zarr
    """
    from trainer import backend

    backend.start()
    from trainer.evaluation import pictures, report, submission
    from trainer.evaluation.evaluate import evaluate as score
    from trainer.runs import marks

    submission.check_outputs(run, [picture] if picture else [], is_ours=marks.is_picture)
    notes: list[str] = []
    with Progress(output.quiet, verb="predicted") as progress:
        metrics = score(run, cache, part, reading.readers, progress.on_progress, features.features, notes.append)
    title = f"{run} on {cache}, part {metrics['part']}"
    output.show(lambda: metrics, lambda: [title, *notes, *report.metrics_lines(metrics)])
    if picture:  # last, so that a failure does not lose the metrics
        pictures.replace_picture(picture, pictures.confusion_picture(metrics))


COMMAND = evaluate
