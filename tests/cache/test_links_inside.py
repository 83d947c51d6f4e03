"""No command writes through a link inside CACHE or FEATURES, or removes anything that such a link points to."""

import os
import shutil
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest

from cache.errors import CacheError
from cache.verify import verify
from tests.faults import world
from tests.helpers.archives import changed_folder, command, command_words, extract, fresh_copy
from tests.helpers.caches import make_cache
from tests.helpers.interruptions import documents_built_once

__all__ = ["changed_folder", "documents_built_once"]  # fixtures

DERIVED = [f"{array}{part}" for array in ("label", "sample_id", "group") for part in ("", "/zarr.json", "/c", "/c/0")]
LEDGER = [
    "ledger", "ledger/zarr.json", "ledger/entries.jsonl", "ledger/snapshot.jsonl", "ledger/digests.json",
    "ledger/lock", "ledger/readers", "ledger/partial",
]  # fmt: skip
# Present only while a run writes, or after it was killed.
TEMPORARY = ["ledger/unpublished", "ledger/lock.owner", "ledger/partial-lock.owner", "ledger/aside"]


def cache_paths(array, axes):
    """Every path inside a cache of two samples."""
    rows = [f"{array}/c/{row}{'/0' * depth}" for row in (0, 1) for depth in range(axes + 1)]
    return ["zarr.json", *LEDGER, *DERIVED, array, f"{array}/zarr.json", f"{array}/c", f"{array}/partial", *rows]


VOLUMES = cache_paths("volume", 3)
FEATURES = [*cache_paths("features", 2), "ledger/extractor.npz"]
NEW_ROWS = ("c/2", "c/2/0", "c/3")  # for a new sample, and for a changed one
TARGETS = ("file", "folder", "copy", "nothing")
COMMANDS = ("preprocess", "repair", "label", "remove", "verify", "info")
RUNS = (("preprocess",), ("repair",), ("info", "verify", "label"), ("remove",))


@pytest.fixture
def feature_folder(tmp_path):
    """A folder with a volume cache and its features; since extraction, a sample was added and a chunk deleted."""
    make_cache(tmp_path / "volumes", 2)
    extract(tmp_path)
    make_cache(tmp_path / "volumes", 1)
    (tmp_path / "features.zarr").rename(tmp_path / "as made")
    (tmp_path / "as made/features/c/1/0/0").unlink()
    return tmp_path


# -- victims -----------------------------------------------------------------------------------------------------------


class Victims:
    """Files outside a cache to which links inside it point; none may change."""

    def __init__(self, folder):
        self.folder = folder
        self.folder.mkdir()
        (folder / "file").write_bytes(b"precious")
        fill(folder / "folder")
        self.record()

    def record(self):
        age(self.folder)
        self.before = contents(self.folder)

    def put_link(self, place, target):
        """Put a link to `target` at `place`; the target "copy" is a copy of the original content of `place`."""
        destination = self.folder / target
        if target == "copy":
            shutil.rmtree(self.folder / "copy", ignore_errors=True)
            destination = self.folder / "copy" / place.name
            destination.parent.mkdir()
            if place.exists():
                (shutil.copytree if place.is_dir() else shutil.copy2)(place, destination)
            self.record()
        if place.is_dir():
            shutil.rmtree(place)
        else:
            place.unlink(missing_ok=True)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.symlink_to(destination)

    def check(self, case):
        assert contents(self.folder) == self.before, case


def fill(folder):
    """Fill a folder with files that have the names of those that writers create, replace or delete."""
    names = {*VOLUMES, *FEATURES, *TEMPORARY, "partial/" + "0" * 32, "0" * 32, "c/0/0/0/0", "1/0/0/0", "lock", "a b"}
    for name in names - {parent.as_posix() for nested in names for parent in Path(nested).parents}:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(f"precious {name}".encode())


def age(folder):
    """Set all modification times below `folder` to the past, so that a change shows."""
    for path in [*folder.rglob("*"), folder]:
        os.utime(path, (10**9, 10**9))


def contents(folder):
    """Everything that must stay unchanged: names, bytes, modes and times."""
    return {
        path.relative_to(folder).as_posix(): (
            path.lstat().st_mode,
            path.lstat().st_mtime_ns,
            path.read_bytes() if path.is_file() else b"",
        )
        for path in [folder, *folder.rglob("*")]
    }


# -- tests -------------------------------------------------------------------------------------------------------------


def test_the_listed_paths_are_all_paths_inside_a_cache(changed_folder, feature_folder):
    for place, folder in (("volume/c/1/0/0/0", changed_folder), ("features/c/1/0/0", feature_folder)):
        root = folder / "as made"
        expected = VOLUMES if folder == changed_folder else FEATURES
        assert {place, *(path.relative_to(root).as_posix() for path in root.rglob("*"))} == set(expected)


@pytest.mark.parametrize("names", RUNS, ids=" ".join)
@pytest.mark.parametrize("target", TARGETS)
def test_no_command_writes_through_a_link_inside_cache(changed_folder, tmp_path, names, target):
    victims = Victims(tmp_path / "outside")
    for link in [*VOLUMES, *TEMPORARY, *(f"volume/{row}" for row in NEW_ROWS)]:
        victims.put_link(fresh_copy(changed_folder) / link, target)
        for name in names:
            code = command(*command_words(name, changed_folder))
            victims.check(f"{name} with {link} as a link")
            if name == "repair" and code == 0:
                assert command("verify", changed_folder / world.CT) == 0, f"repaired with {link} as a link"


@pytest.mark.parametrize("target", TARGETS)
def test_features_are_not_written_through_a_link_inside_features(feature_folder, tmp_path, target):
    victims = Victims(tmp_path / "outside")
    for link in [*FEATURES, *TEMPORARY, *(f"features/{row}" for row in NEW_ROWS)]:
        root = fresh_copy(feature_folder, "features.zarr")
        victims.put_link(root / link, target)
        for work in (partial(extract, feature_folder, times=2.0), partial(verify, root)):
            with suppress(CacheError):
                work()
            victims.check(link)


@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.parametrize("linked", [False, True])
def test_the_cache_folder_itself_may_be_a_link(changed_folder, name, linked, tmp_path):
    root = fresh_copy(changed_folder)
    if linked:
        root.rename(tmp_path / "elsewhere")
        root.symlink_to(tmp_path / "elsewhere")
    assert command(*command_words(name, changed_folder)) == (1 if name == "verify" else 0)
    assert root.is_symlink() == linked
    if name in ("preprocess", "repair"):
        assert command("verify", root) == 0


def test_the_features_folder_itself_may_be_a_link(feature_folder):
    fresh_copy(feature_folder, "elsewhere")
    (feature_folder / "features.zarr").symlink_to(feature_folder / "elsewhere")
    extract(feature_folder)
    assert (feature_folder / "features.zarr").is_symlink()
    assert verify(feature_folder / "elsewhere").sound
