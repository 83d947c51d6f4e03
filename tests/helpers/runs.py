"""Tiny caches that can be trained on, and runs on them."""

import json
from functools import cache as once

from tests.helpers.caches import make_cache, tiny_attributes
from tests.helpers.commands import cli

SHAPE = (4, 16, 16)
TRAIN_SMALL = ("--backbone", "small", "--epochs", 1, "--batch-size", 4, "--quiet")


def make_clips(root, samples=12, shape=SHAPE, class_names=("one", "two"), **fields):
    return make_cache(root, samples, tiny_attributes("uint8", shape, "video", class_names), **fields)


def make_scans(root, samples=12, shape=SHAPE, class_names=("a", "b", "c"), recipe=(), **fields):
    recipe = {"window": [-1000.0, 400.0], "orientation": "SPL"} | dict(recipe)
    labels = fields.pop("labels", [number % len(class_names) for number in range(12)])
    return make_cache(
        root, samples, tiny_attributes("uint16", shape, "ct", class_names, **recipe), None, labels, **fields
    )


@once
def trained(base):
    """A folder of two caches and a run on each, and the results of both commands; trained once, only to be read."""
    folder = base / "trained"
    folder.mkdir()
    clips, scans = make_clips(folder / "clips.zarr"), make_scans(folder / "ct.zarr")
    parts = {"train": [0, 1, 2, 4, 5, 6], "validation": [3, 7, 8], "test": [9, 10, 11]}
    by_hand = folder / "by_hand.json"
    by_hand.write_text(json.dumps({part: [f"s{number}" for number in numbers] for part, numbers in parts.items()}))
    pretrain = cli("train", "pretrain", clips, folder / "pretrained", *TRAIN_SMALL[:-1], "--json")
    assert pretrain.exit_code == 0, pretrain.output
    options = ("--from", folder / "pretrained", "--split", by_hand, "--epochs", 1, "--batch-size", 4)
    finetune = cli("train", "finetune", scans, folder / "tuned", *options)
    assert finetune.exit_code == 0, finetune.output
    return folder, pretrain, finetune


def pretrain(clips, run, *options):
    return cli("train", "pretrain", clips, run, *TRAIN_SMALL, *options)


def finetune(scans, run, *options):
    return cli("train", "finetune", scans, run, *TRAIN_SMALL, *options)


def write_split(folder, **parts):
    path = folder / "split.json"
    path.write_text(json.dumps(parts))
    return path
