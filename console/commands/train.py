"""`train`: pretraining on clips, fine-tuning on CT."""

from pathlib import Path
from typing import Any

import click

from console.fields import Command
from console.output import print_json, print_lines
from console.parameters import PATH, check_drop_shared, names_from_csv
from console.progress import Training
from console.training_options import TRAINING


@click.group()
def train() -> None:
    """Train a network on a cache: first on clips, then on CT."""


@train.command(cls=Command)
@TRAINING
def pretrain(**given: Any) -> None:
    """Train on the clips of CACHE with the backbone frozen, into the new folder RUN.

    A run that was stopped goes on by the same command with --resume.

    \b
    Example:
      python cli.py train pretrain clips.zarr runs/pretrained --weights vgg16.weights.h5
    """
    _train("pretrain", **given)


@train.command(cls=Command)
@TRAINING
@click.option("--from", "parent", type=PATH, help="The run to start from; default: none, the paper's `No PT`.")
def finetune(**given: Any) -> None:
    """Train all layers on the scans of CACHE, into the new folder RUN.

    \b
    Example:
      python cli.py train finetune ct.zarr runs/pt_cw_aug --from runs/pretrained --class-weights --augment
    """
    _train("finetune", **given)


def _train(
    stage: str,
    cache: Path,
    run: Path,
    split: Path | None,
    drop_shared: bool,
    resume: bool,
    features: Path | None,
    save_every: float,
    readers: int,
    as_json: bool,
    quiet: bool,
    augment: bool | None,
    augment_by: str | None,
    parent: Path | None = None,
    **given: Any,
) -> None:
    """Run one stage, showing how it goes, and print the metrics of its best weights."""
    check_drop_shared(drop_shared, split)
    if augment_by is not None and not augment:
        raise click.UsageError("--augment-by says what --augment does; expected --augment too")
    if augment is not None:
        given["augmentation"] = names_from_csv("--augment-by", augment_by or "rotation") if augment else ()
    from trainer import backend

    device = backend.start()
    from trainer.evaluation.report import metrics_lines
    from trainer.runs.plan import Request
    from trainer.training.train import train

    chosen = {name: value for name, value in given.items() if value is not None}
    request = Request(stage, cache, run, chosen, parent, split, resume, features, readers, save_every, drop_shared)
    with Training(quiet or as_json) as listener:
        listener.note(device)
        metrics = train(request, listener)
    if as_json:
        print_json(metrics)
    elif not quiet:
        print_lines(["", f"{run}: the best epoch on {metrics['n']} validation samples", *metrics_lines(metrics)])


COMMAND = train
