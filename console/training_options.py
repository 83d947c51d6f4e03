"""Options that say how a network trains."""

import click

from console.options import OUTPUT, READERS, options
from console.parameters import PATH

CONFIG = options(
    click.option("--backbone", type=click.Choice(("vgg16", "small")), help="Default: vgg16; small: for demo and CPU."),
    click.option("--weights", help="Of the backbone: imagenet (default), none, or a Keras weights file."),
    click.option(
        "--input-map",
        type=click.Choice(("imagenet", "glorot")),
        help="Start of the 1×1×1 convolution: what the backbone expects (default), or random.",
    ),
    click.option("--rnn", type=click.Choice(("lstm", "gru")), help="Over the slices; default: lstm."),
    click.option(
        "--freeze-backbone/--train-backbone",
        default=None,
        help="Default: frozen in pretraining with vgg16, trained otherwise.",
    ),
    click.option("--epochs", type=int, help="At most; training ends before if nothing improves. Default: 100."),
    click.option("--batch-size", type=int, help="Default: 2."),
    click.option("--optimizer", type=click.Choice(("sgd", "adam")), help="Default: sgd; for small adam."),
    click.option("--learning-rate", type=float, help="At first; default: 0.001."),
    click.option("--seed", type=int, help="Of split, first weights, order and augmentation. Default: 0."),
    click.option(
        "--class-weights/--no-class-weights", default=None, help="Weigh classes by how rare they are. Default: no."
    ),
    click.option("--split", type=PATH, help="Which ids train and validate: another run's split.json, or one by hand."),
    click.option(
        "--drop-shared",
        is_flag=True,
        help="With --split: leave samples out of training whose array is in validation or test too.",
    ),
    click.option(
        "--frame-block",
        type=int,
        help="Slices at a time in the backbone: bounds memory. Default: five of 224×224, more of smaller.",
    ),
    click.option(
        "--precision",
        type=click.Choice(("float32", "mixed_bfloat16")),
        help="Default: float32; mixed_bfloat16 for recent GPUs.",
    ),
    click.option("--jit-compile/--no-jit-compile", default=None, help="Compile by XLA. Default: no."),
)

TRAINING = options(
    click.argument("cache", type=PATH),
    click.argument("run", type=PATH),
    click.option("--features", type=PATH, help="Cached features of CACHE: train only what is behind the backbone."),
    CONFIG,
    click.option(
        "--augment/--no-augment", default=None, help="Turn scans anew in each epoch, in fine-tuning only. Default: no."
    ),
    click.option("--augment-by", metavar="A,B,…", help="Of rotation, shift and blur; default: rotation."),
    click.option("--resume", is_flag=True, help="Go on with the run in RUN where it stopped."),
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
