"""The demo as data: the amount of phantom data, and the command lines that run on it, in order."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Size:
    """The amount of phantom data to write, and the options of the commands.

    `scans` and `clips` are the arguments of `write_scans` and `write_clips`. `recipe` are options of `preprocess`,
    `training` and `epochs` of `experiment`, and `features` of training on cached features.
    """

    scans: dict[str, Any]
    clips: dict[str, Any]
    recipe: str
    training: str
    epochs: str
    features: str


FULL = Size(
    scans={"per_class": (80, 56, 40, 36, 28), "size": 80, "slices": (34, 44)},
    clips={"groups": 12, "clips": 4},
    recipe="--depth 24 --height 64 --width 64",
    training="--backbone small --batch-size 8",
    epochs="--pretrain-epochs 20 --epochs 28",
    features="--batch-size 8 --optimizer adam --epochs 12",
)
QUICK = Size(  # every command, on too few data to learn from
    scans={"per_class": 3, "size": 32, "slices": (10, 12)},
    clips={"groups": 2, "clips": 1},
    recipe="--depth 8 --height 16 --width 16",
    training="--backbone small",
    epochs="--epochs 1",
    features="--epochs 1",
)


@dataclass(frozen=True)
class Command:
    """One command line, without `python cli.py`."""

    words: tuple[str, ...]


@dataclass(frozen=True)
class MiddleFrames:
    """Write a cache with the features of the middle frame of each clip in `features` to `out`; `title` says why."""

    features: Path
    out: Path
    title: str


def steps(folder: Path, size: Size) -> list[Command | MiddleFrames]:
    """Everything the demo does in `folder` once its phantoms are generated."""
    clips, scans, table = folder / "clips.zarr", folder / "ct.zarr", folder / "table1"
    features, frames = folder / "clips_features.zarr", folder / "one_frame.zarr"
    pretrained, best = table / "seed0/pretrained", table / "seed0/pt_cw_aug"
    on_features = ("--split", table / "clips.json", f"{size.features} --resume")
    middle = MiddleFrames(
        features, frames, f"The middle frame of each clip alone, {frames}: does one frame identify the class?"
    )
    return [
        _command("preprocess ct", folder / "scans", scans, "--labels", folder / "labels.csv", size.recipe),
        _command("preprocess video", folder / "clips", clips, size.recipe),
        _command("verify", scans),
        _command("info", clips),
        _command("experiment", clips, scans, table, size.training, size.epochs),
        _command("evaluate", pretrained, clips),
        _command("features", clips, features, "--from", pretrained),
        _command("train pretrain", clips, folder / "sequence", "--features", features, *on_features),
        middle,
        _command("train pretrain", frames, folder / "one_frame", *on_features),
        _command("evaluate", best, scans, "--picture", folder / "confusion.png"),
        _command("predict", best, scans, folder / "submission.csv", "--probabilities"),
    ]


def _command(name: str, *arguments: Path | str) -> Command:
    """A command line; paths are single words, and texts are split into words."""
    words = [[str(part)] if isinstance(part, Path) else part.split() for part in arguments]
    return Command((*name.split(), *(word for group in words for word in group)))
