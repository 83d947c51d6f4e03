"""Options that say how a network trains."""

import click

from console.fields import field_options
from console.options import OUTPUT, READERS, options
from console.parameters import PATH
from trainer.config import Config

MODEL = ("backbone", "weights", "input_conv", "rnn", "freeze_backbone", "slices_per_step")
OPTIMISATION = ("epochs", "batch_size", "optimizer", "learning_rate", "class_weights", "seed")
SPEED = ("precision", "jit_compile")
CONFIG = options(
    field_options(Config, (*MODEL, *OPTIMISATION, *SPEED)),
    click.option("--split", type=PATH, help="A split.json of another run or your own: which ids train and validate."),
    click.option(
        "--drop-shared",
        is_flag=True,
        help="With --split: leave out of training whatever has the same array as a validation or test sample.",
    ),
)

TRAINING = options(
    click.argument("cache", type=PATH),
    click.argument("run", type=PATH),
    click.option("--features", type=PATH, help="Cached features of CACHE: train only the layers after the backbone."),
    CONFIG,
    click.option(
        "--augment/--no-augment",
        default=None,
        help="Random augmentation of scans in each epoch, in fine-tuning only. Default: no.",
    ),
    click.option("--augment-by", metavar="A,B,…", help="Some of rotation, shift and blur; default: rotation."),
    click.option("--resume", is_flag=True, help="Resume the run in RUN."),
    click.option(
        "--save-every",
        type=click.FloatRange(0),
        default=60.0,
        show_default=True,
        help="Seconds between checkpoints within an epoch.",
    ),
    READERS,
    OUTPUT,
)
