"""`experiment`: the paper's Table 1."""

from pathlib import Path
from typing import Any

import click

from console.command import command
from console.options import struct_options
from console.output import print_lines
from console.progress import Progress
from console.shared_options import Reading
from console.training import SplitOptions, config_options
from console.values import PATH, WholeNumber


@command()
@click.argument("clips", metavar="VIDEO_CACHE", type=PATH)
@click.argument("scans", metavar="CT_CACHE", type=PATH)
@click.argument("folder", metavar="DIR", type=PATH)
@click.option(
    "--seeds",
    type=WholeNumber(1),
    metavar="N",
    default=1,
    show_default=True,
    help="Number of seeds to repeat the comparison with.",
)
@click.option("--features", "frozen", is_flag=True, help="Keep the backbone frozen and train on cached features.")
@click.option(
    "--pretrain-epochs", type=WholeNumber(1), metavar="N", help="Epochs of pretraining; default: the same as --epochs."
)
@config_options
@struct_options("split", SplitOptions)
@struct_options("reading", Reading)
@click.option("--quiet", is_flag=True, help="Print errors only: no progress, no tables.")
def experiment(
    clips: Path,
    scans: Path,
    folder: Path,
    seeds: int,
    frozen: bool,
    config: dict[str, Any],
    pretrain_epochs: int | None,
    split: SplitOptions,
    reading: Reading,
    quiet: bool,
) -> None:
    """Repeat the paper's Table 1 and write DIR/report.md.

    The strategies No PT, PT, PT+CW and PT+CW+AUG are compared on one split. Run it again to resume after an
    interruption, or with more --seeds: finished runs are kept.

    \b
    Example:
      python cli.py experiment clips.zarr ct.zarr table1 --seeds 5 --weights vgg16.weights.h5
    """
    if "class_weights" in config:
        raise click.UsageError("--class-weights is one of the strategies that are compared; leave it out")
    if frozen and config.get("freeze_backbone") is False:
        raise click.UsageError("--features keeps the backbone frozen, --train-backbone does not; leave one of them out")
    from trainer import backend

    backend.start()
    from trainer.experiments.experiment import Experiment, run_experiment

    pretraining = {} if pretrain_epochs is None else {"epochs": pretrain_epochs}
    request = Experiment(
        clips, scans, folder, config, pretraining, seeds, frozen, split.split, reading.readers, split.drop_shared
    )
    with Progress(quiet) as progress:
        lines = run_experiment(request, progress)
    if not quiet:
        print_lines([*lines, "", f"{folder / 'report.md'} shows this with pictures"])


COMMAND = experiment
