"""`train`: pretraining on clips, fine-tuning on CT scans."""

from pathlib import Path
from typing import Any

import click

from console.command import command
from console.options import struct_options
from console.shared_options import Features, Output, Reading
from console.training import AugmentationOptions, SessionOptions, SplitOptions, config_options, run_stage
from console.values import PATH


@click.group()
def train() -> None:
    """Train a network on a cache: first on clips, then on CT."""


def training_options(function: Any) -> Any:
    """Decorator: the arguments and options of both stages."""
    for decorate in (
        struct_options("output", Output),
        struct_options("reading", Reading),
        struct_options("session", SessionOptions),
        struct_options("augmentation", AugmentationOptions),
        struct_options("split", SplitOptions),
        config_options,
        struct_options("features", Features),
        click.argument("run", type=PATH),
        click.argument("cache", type=PATH),
    ):
        function = decorate(function)
    return function


@command()
@training_options
def pretrain(cache: Path, run: Path, **options: Any) -> None:
    """Train on the clips of CACHE with the backbone frozen, into the new folder RUN.

    The same command with --resume resumes a run that was stopped.

    \b
    Example:
      python cli.py train pretrain clips.zarr runs/pretrained --weights vgg16.weights.h5
    """
    run_stage("pretrain", cache, run, **options)


@command()
@training_options
@click.option("--from", "parent", type=PATH, help="The run to start from; default: none, the paper's `No PT`.")
def finetune(cache: Path, run: Path, parent: Path | None, **options: Any) -> None:
    """Train all layers on the scans of CACHE, into the new folder RUN.

    The same command with --resume resumes a run that was stopped.

    \b
    Example:
      python cli.py train finetune ct.zarr runs/pt_cw_aug --from runs/pretrained --class-weights --augment
    """
    run_stage("finetune", cache, run, parent, **options)


train.add_command(pretrain)
train.add_command(finetune)
COMMAND = train
