"""`predict`: predictions as ImageCLEF takes them."""

from pathlib import Path

import click

from console.command import command
from console.options import takes
from console.output import note, print_lines
from console.progress import Progress
from console.shared_options import Features, Reading
from console.values import PATH


@command()
@click.argument("run", type=PATH)
@click.argument("cache", type=PATH)
@click.argument("out", metavar="OUT.csv", type=PATH)
@click.option("--ids", type=PATH, help="Predict exactly these: a file with one id or file name a line.")
@click.option(
    "--probabilities",
    type=PATH,
    is_flag=False,
    flag_value=Path(),
    help="Write each class's probability too, to this file; without one to OUT.probabilities.csv.",
)
@takes("features", Features)
@takes("reading", Reading)
@click.option("--quiet", is_flag=True, help="No progress, only errors.")
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
    """Write what RUN predicts for each sample of CACHE to OUT.csv, as ImageCLEF takes it: `TST_0001.nii.gz,2`.

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
    wanted = names.read_ids(ids) if ids else None
    with Progress(quiet, verb="predicted") as progress:
        found = predictions(run, cache, wanted, reading.readers, progress.on_progress, features.features)
    submission.write_submission(out, found)
    if probabilities:
        submission.write_probabilities(probabilities, found)
    if not quiet:
        if advice := submission.naming_advice(found):
            note(advice)
        left = len(found.cache) - len(found.ids)
        print_lines([f"{out}: {len(found.ids)} samples" + (f", {left} of {cache} not asked for" if left else "")])


COMMAND = predict
