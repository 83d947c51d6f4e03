"""The commands of the scenarios: each function returns the words of a command in a folder."""

from collections.abc import Callable
from pathlib import Path

from tests.faults.server import command
from tests.faults.world.sources import CLIPS, LABELS, SCANS

CT, VIDEO, FEATURES = "ct.zarr", "video.zarr", "features.zarr"
SIZE = ("--depth", 4, "--height", 16, "--width", 16, "--workers", 0, "--quiet")
TRAINING = ("--backbone", "small", "--weights", "none", "--readers", 1, "--quiet")

Words = tuple[object, ...]


def make(words: Callable[[Path], Words], folder: Path) -> None:
    """Run a command that must succeed, with or without quarantined inputs."""
    result = command(words(folder))
    if result.code not in (0, 3):
        raise RuntimeError(f"{words(folder)} failed: {result}")


def preprocess_ct(folder: Path) -> Words:
    return ("preprocess", "ct", folder / SCANS, folder / CT, "--labels", folder / LABELS, *SIZE)


def preprocess_video(folder: Path) -> Words:
    return ("preprocess", "video", folder / CLIPS, folder / VIDEO, *SIZE)


def preprocess_second_source(folder: Path) -> Words:
    return ("preprocess", "ct", folder / "more", folder / CT, *SIZE)


def repair(folder: Path) -> Words:
    return ("repair", folder / CT, "--workers", 0, "--quiet")


def label(folder: Path) -> Words:
    return ("label", folder / CT, folder / LABELS, "--quiet")


def remove(folder: Path) -> Words:
    return ("remove", folder / CT, "S02", "--yes", "--quiet")


def features(folder: Path) -> Words:
    return ("features", folder / VIDEO, folder / FEATURES, *TRAINING)


def pretrain(folder: Path) -> Words:
    return ("train", "pretrain", folder / VIDEO, folder / "run", *TRAINING, "--epochs", 1, "--resume")


def pretrain_from_features(folder: Path) -> Words:
    frozen = ("--features", folder / FEATURES, "--freeze-backbone")
    return ("train", "pretrain", folder / VIDEO, folder / "run", *TRAINING, *frozen, "--epochs", 2, "--resume")


def finetune(folder: Path) -> Words:
    pretrained = ("--from", folder / "pretrained")
    return ("train", "finetune", folder / CT, folder / "run", *TRAINING, *pretrained, "--epochs", 1, "--resume")


def experiment(folder: Path) -> Words:
    return ("experiment", folder / VIDEO, folder / CT, folder / "table", *TRAINING, "--epochs", 1)


def predict(folder: Path) -> Words:
    return ("predict", folder / "run", folder / VIDEO, folder / "out.csv", "--quiet")
