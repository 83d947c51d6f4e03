"""A cache that differs from its sources, and commands on it that all have work to do."""

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
    """A folder of scans, their labels and their cache, on which every command has work to do.

    Since the cache was written, a scan was added, another changed, a chunk deleted, and other labels were written.
    """
    folder = tmp_path_factory.mktemp("changed")
    world.write_scans(folder / world.SCANS, count=2)
    assert command(*command_words("preprocess", folder)) == 0
    shutil.copytree(folder / world.CT, folder / "as made")
    world.write_labels(folder / "other.csv", ["S01.nii.gz", "S02.nii.gz"], shift=1)
    world.write_scans(folder / world.SCANS, count=1, first=3)
    shutil.copyfile(folder / world.SCANS / "S03.nii.gz", folder / world.SCANS / "S01.nii.gz")
    (folder / "as made/volume/c/1/0/0/0").unlink()
    return folder


def fresh_copy(folder, name=world.CT):
    """A new copy of the original cache in `folder`, with the given name."""
    if (folder / name).is_symlink():
        (folder / name).unlink()
    shutil.rmtree(folder / name, ignore_errors=True)
    return shutil.copytree(folder / "as made", folder / name)


def command_words(name, folder):
    """The arguments of a command on the cache in `folder`."""
    root, labels = folder / world.CT, folder / world.LABELS
    arguments = {"repair": ("--workers", 0), "label": (folder / "other.csv",), "remove": ("S02", "--yes")}.get(name, ())
    return {"preprocess": ("preprocess", "ct", folder / world.SCANS, root, "--labels", labels, *world.SIZE)}.get(
        name, (name, root, *arguments)
    )


def command(*words):
    """Run a command and return its exit code; a command that fails must print one line."""
    result = CliRunner().invoke(cli.main, [str(word) for word in words])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exc_info
    check_message(result.exit_code, result.stderr)
    return result.exit_code


def check_message(code, stderr):
    assert code in (0, 1, 3), stderr
    assert "Traceback" not in stderr
    assert "please report" not in stderr
    assert stderr.count("\n") <= 1, stderr


def extract(folder, times=1.0):
    """Write the features that the command `features` would, with a mean in place of a network."""
    volumes, path = open_cache(folder / "volumes"), folder / "features.zarr"
    attributes = feature_attributes(SHAPE[0], SHAPE[1], volumes.class_names, "mean", volumes=volumes)
    work = pending(volumes, path, attributes)
    with writing_features(path, attributes, volumes.ids) as features:
        features.keep_extractor(b"weights" * int(times))
        features.follow(volumes)
        for name in work.to_make:
            values, entry = volumes[name].mean(2), volumes.entry(name)
            features.put(name, values * np.float32(times), entry.label, entry.group, source_of(volumes, name))
