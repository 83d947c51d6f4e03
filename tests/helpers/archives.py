"""The archived cache of an earlier version, unpacked, and commands on it."""

import shutil

import numpy as np
import pytest
from click.testing import CliRunner

import cli
from cache import open_cache
from cache.feature_writer import source_of, writing_features
from cache.features import feature_attributes, pending
from tests.faults import world
from tests.helpers.caches import SHAPE


@pytest.fixture(scope="module")
def changed_folder(tmp_path_factory):
    """A folder of scans, their labels and the cache made of them, whose next commands all have work.

    Since the cache was made, there is a new scan, a changed one, a lost chunk, and other labels.
    """
    folder = tmp_path_factory.mktemp("made")
    world.write_scans(folder / world.SCANS, count=2)
    assert command(*command_words("preprocess", folder)) == 0
    shutil.copytree(folder / world.CT, folder / "as made")
    world.write_labels(folder / "other.csv", ["S01.nii.gz", "S02.nii.gz"], shift=1)
    world.write_scans(folder / world.SCANS, count=1, first=3)
    shutil.copyfile(folder / world.SCANS / "S03.nii.gz", folder / world.SCANS / "S01.nii.gz")
    (folder / "as made/volume/c/1/0/0/0").unlink()
    return folder


def fresh_copy(folder, name=world.CT):
    """The cache in `folder` as it was at first."""
    if (folder / name).is_symlink():
        (folder / name).unlink()
    shutil.rmtree(folder / name, ignore_errors=True)
    return shutil.copytree(folder / "as made", folder / name)


def command_words(name, folder):
    """The words of a command on the cache in `folder`."""
    root, labels = folder / world.CT, folder / world.LABELS
    more = {"repair": ("--workers", 0), "label": (folder / "other.csv",), "remove": ("S02", "--yes")}.get(name, ())
    return {"preprocess": ("preprocess", "ct", folder / world.SCANS, root, "--labels", labels, *world.SIZE)}.get(
        name, (name, root, *more)
    )


def command(*words):
    """The exit code of a command, which must end in one line where it fails."""
    ended = CliRunner().invoke(cli.main, [str(word) for word in words])
    assert ended.exception is None or isinstance(ended.exception, SystemExit), ended.exc_info
    check_message(ended.exit_code, ended.stderr)
    return ended.exit_code


def check_message(code, said):
    assert code in (0, 1, 3), said
    assert "Traceback" not in said
    assert "please report" not in said
    assert said.count("\n") <= 1, said


def extract(folder, times=1.0):
    """Do what the command `features` does, with a mean in place of a network."""
    volumes, into = open_cache(folder / "volumes"), folder / "features.zarr"
    attributes = feature_attributes(SHAPE[0], SHAPE[1], volumes.class_names, "mean", volumes=volumes)
    work = pending(volumes, into, attributes)
    with writing_features(into, attributes, volumes.ids) as features:
        features.keep_extractor(b"weights" * int(times))
        features.follow(volumes)
        for name in work.to_make:
            values, entry = volumes[name].mean(2), volumes.entry(name)
            features.put(name, values * np.float32(times), entry.label, entry.group, source_of(volumes, name))
