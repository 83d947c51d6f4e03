"""`features`: features of the frozen backbone, computed once."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from console.command import command
from console.options import struct_options
from console.progress import Progress
from console.shared_options import Output, Reading, Storage
from console.values import PATH
from trainer.config import Config


@command("features")
@click.argument("cache", type=PATH)
@click.argument("into", metavar="FEATURES", type=PATH)
@struct_options("config", Config, ("backbone", "weights", "input_conv", "seed", "precision"), only_set=True)
@click.option("--from", "parent", type=PATH, help="Use the backbone of this run.")
@click.option("--augment", is_flag=True, help="Make one set of features for each of the paper's seven rotations.")
@struct_options("reading", Reading)
@struct_options("storage", Storage)
@struct_options("output", Output)
def extract_features(
    cache: Path,
    into: Path,
    config: dict[str, Any],
    parent: Path | None,
    augment: bool,
    reading: Reading,
    storage: Storage,
    output: Output,
) -> None:
    """Compute the features of the frozen backbone once.

    FEATURES becomes a cache with the features of every sample of CACHE, to train on instead of volumes. Run it
    again to add new samples or to resume after an interruption: features that are up to date are kept.

    \b
    Example:
      python cli.py features clips.zarr clips_features.zarr --weights vgg16.weights.h5
    """
    from trainer import backend

    backend.start()
    from trainer.features.extract import Extraction, extract

    linked = storage.linked_array(into, "features")
    with Progress(output.quiet, verb="extracted") as progress:
        done = extract(Extraction(cache, into, config, parent, augment, reading.readers, linked), progress)
    rate = f", {done.rate:.1f} frames/s" if done.made else ""
    vanished = f"; {len(done.vanished)} kept that are no longer in {cache}" if done.vanished else ""
    output.show(
        lambda: asdict(done), lambda: [f"{into}: {done.made} made, {done.kept} already present{rate}{vanished}"]
    )


COMMAND = extract_features
