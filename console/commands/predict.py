"""`predict`: predictions in ImageCLEF's format."""

from pathlib import Path

import click

from console.command import command
from console.options import struct_options
from console.output import note, print_lines
from console.progress import Progress
from console.shared_options import Features, Reading
from console.values import PATH


@command()
@click.argument("run", type=PATH)
@click.argument("cache", type=PATH)
@click.argument("out", metavar="OUT.csv", type=PATH)
@click.option(
    "--ids", type=PATH, help="Predict exactly the samples in this file, which has one id or file name per line."
)
@click.option(
    "--probabilities",
    type=PATH,
    is_flag=False,
    flag_value=Path(),
    help="Also write the probability of each class, to this file or by default to OUT.probabilities.csv.",
)
@struct_options("features", Features)
@struct_options("reading", Reading)
@click.option("--quiet", is_flag=True, help="Print errors only: no progress, no tables.")
def predict(
    run: Path,
    cache: Path,
    out: Path,
    ids: Path | None,
    probabilities: Path | None,
    features: Features,
    reading: Reading,
    quiet: bool,
) -> None:
    """Write the predictions of RUN for CACHE to OUT.csv.

    The format is ImageCLEF's, without a header: `TST_0001.nii.gz,2`.

    \b
    Example:
      python cli.py predict runs/pt_cw_aug test.zarr submission.csv --ids test_ids.txt
    """
    from trainer import backend

    backend.start()
    from trainer.evaluation import submission
    from trainer.evaluation.evaluate import predictions
    from trainer.runs import names

    if probabilities == Path():
        probabilities = out.with_name(f"{out.stem}.probabilities.csv")
    outputs = [out, probabilities] if probabilities else [out]
    submission.check_outputs(run, outputs, [ids] if ids else [])
    requested = names.read_ids(ids) if ids else None
    with Progress(quiet, verb="predicted") as progress:
        predicted = predictions(run, cache, requested, reading.readers, progress.on_progress, features.features)
    submission.write_submission(out, predicted)
    if probabilities:
        submission.write_probabilities(probabilities, predicted)
    if not quiet:
        if advice := submission.naming_advice(predicted):
            note(advice)
        others = len(predicted.cache) - len(predicted.ids)
        print_lines(
            [
                f"{out}: {len(predicted.ids)} samples"
                + (f"; {others} others in {cache} were not requested" if others else "")
            ]
        )


COMMAND = predict
