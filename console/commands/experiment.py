"""`experiment`: the paper's Table 1."""

from pathlib import Path
from typing import Any

import click

from console.fields import Command
from console.options import READERS
from console.output import print_lines
from console.parameters import PATH, check_drop_shared
from console.progress import Training
from console.training_options import CONFIG


@click.command(cls=Command)
@click.argument("clips", metavar="VIDEO_CACHE", type=PATH)
@click.argument("scans", metavar="CT_CACHE", type=PATH)
@click.argument("folder", metavar="DIR", type=PATH)
@click.option("--seeds", type=click.IntRange(1), default=1, show_default=True, help="Repeat with as many seeds.")
@click.option("--features", "frozen", is_flag=True, help="Keep the backbone frozen throughout, on cached features.")
@click.option("--pretrain-epochs", type=int, help="For pretraining; default: as --epochs.")
@CONFIG
@READERS
@click.option("--quiet", is_flag=True, help="No progress, only errors.")
def experiment(
    clips: Path,
    scans: Path,
    folder: Path,
    seeds: int,
    frozen: bool,
    pretrain_epochs: int | None,
    split: Path | None,
    drop_shared: bool,
    readers: int,
    quiet: bool,
    class_weights: bool | None,
    **given: Any,
) -> None:
    """Repeat the paper's Table 1: No PT, PT, PT+CW and PT+CW+AUG on one split, into DIR/report.md.

    Run it again to go on after an interruption, or with more --seeds: finished parts are kept.

    \b
    Example:
      python cli.py experiment clips.zarr ct.zarr table1 --seeds 5 --weights vgg16.weights.h5
    """
    if class_weights is not None:
        raise click.UsageError("--class-weights is one of the strategies compared; leave it out")
    check_drop_shared(drop_shared, split)
    if frozen and given["freeze_backbone"] is False:
        raise click.UsageError("--features keeps the backbone frozen, --train-backbone does not; leave one of them out")
    from trainer import backend

    device = backend.start()
    from trainer.experiments.experiment import Experiment, run_experiment

    chosen = {name: value for name, value in given.items() if value is not None}
    pretraining = {} if pretrain_epochs is None else {"epochs": pretrain_epochs}
    asked = Experiment(clips, scans, folder, chosen, pretraining, seeds, frozen, split, readers, drop_shared)
    with Training(quiet) as observer:
        observer.note(device)
        lines = run_experiment(asked, observer)
    if not quiet:
        print_lines([*lines, "", f"{folder / 'report.md'} has this with pictures"])


COMMAND = experiment
