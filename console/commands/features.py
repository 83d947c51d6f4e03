"""`features`: features of the frozen backbone, computed once."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from console.fields import Command, field_options
from console.options import LINKED, OUTPUT, READERS
from console.output import print_json, print_lines
from console.parameters import PATH, linked_array
from console.progress import Progress
from trainer.config import Config


@click.command("features", cls=Command)
@click.argument("cache", type=PATH)
@click.argument("into", metavar="FEATURES", type=PATH)
@field_options(Config, ("backbone", "weights", "input_conv", "seed", "precision"))
@click.option("--from", "parent", type=PATH, help="Take the backbone of this run instead.")
@click.option("--augment", is_flag=True, help="One set of features for each of the paper's seven rotations.")
@READERS
@LINKED
@OUTPUT
def extract_features(
    cache: Path,
    into: Path,
    parent: Path | None,
    augment: bool,
    readers: int,
    linked_volume: Path | None,
    as_json: bool,
    quiet: bool,
    **given: Any,
) -> None:
    """Compute what the frozen backbone says of every sample of CACHE, once, into FEATURES.

    Run it again to add new samples or to go on after an interruption: what is there and fresh is kept.

    \b
    Example:
      python cli.py features clips.zarr clips_features.zarr --weights vgg16.weights.h5
    """
    from trainer import backend

    backend.start()
    from trainer.features.extract import Extraction, extract

    chosen = {name: value for name, value in given.items() if value is not None}
    linked = linked_array(into, "features", linked_volume)
    with Progress(0, quiet, "through the backbone") as progress:
        done = extract(Extraction(cache, into, chosen, parent, augment, readers, linked), progress.at)
    if as_json:
        print_json(asdict(done))
    elif not quiet:
        rate = f", {done.rate:.1f} frames/s" if done.made else ""
        gone = f"; {len(done.vanished)} kept that are no more in {cache}" if done.vanished else ""
        print_lines([f"{into}: {done.made} made, {done.kept} already there{rate}{gone}"])


COMMAND = extract_features
