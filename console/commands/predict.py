"""`predict`: predictions as ImageCLEF takes them."""

from pathlib import Path

import click

from console.options import FEATURES, READERS
from console.output import print_lines, printable
from console.parameters import PATH
from console.progress import Progress


@click.command()
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
@FEATURES
@READERS
@click.option("--quiet", is_flag=True, help="No progress, only errors.")
def predict(
    run: Path,
    cache: Path,
    out: Path,
    ids: Path | None,
    probabilities: Path | None,
    features: Path | None,
    readers: int,
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
    with Progress(0, quiet, "predicted") as progress:
        found = predictions(run, cache, wanted, readers, progress.at, features)
    submission.write_submission(out, found)
    if probabilities:
        submission.write_probabilities(probabilities, found)
    if not quiet:
        if advice := submission.naming_advice(found):
            click.echo(printable(advice), err=True)
        left = len(found.cache) - len(found.ids)
        print_lines([f"{out}: {len(found.ids)} samples" + (f", {left} of {cache} not asked for" if left else "")])


COMMAND = predict
