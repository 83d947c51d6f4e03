"""No command writes through a link inside CACHE or FEATURES, nor removes anything that such a link leads to."""

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
# What is there only at times: while a run writes, or after one that was killed.
PASSING = ["ledger/unpublished", "ledger/lock.owner", "ledger/partial-lock.owner", "ledger/aside"]


def places_of(array, axes):
    """Every path inside a cache of two samples."""
    rows = [f"{array}/c/{row}{'/0' * depth}" for row in (0, 1) for depth in range(axes + 1)]
    return ["zarr.json", *LEDGER, *DERIVED, array, f"{array}/zarr.json", f"{array}/c", f"{array}/partial", *rows]


VOLUMES = places_of("volume", 3)
FEATURES = [*places_of("features", 2), "ledger/extractor.npz"]
NEW_ROWS = ("c/2", "c/2/0", "c/3")  # for a new sample, and for a changed one
TARGETS = ("file", "folder", "copy", "nothing")
COMMANDS = ("preprocess", "repair", "label", "remove", "verify", "info")
RUNS = (("preprocess",), ("repair",), ("info", "verify", "label"), ("remove",))


@pytest.fixture
def features_here(tmp_path):
    """A volume cache of two samples, and the features made of them; a third sample is new since, and a chunk lost."""
    make_cache(tmp_path / "volumes", 2)
    extract(tmp_path)
    make_cache(tmp_path / "volumes", 1)
    (tmp_path / "features.zarr").rename(tmp_path / "as made")
    (tmp_path / "as made/features/c/1/0/0").unlink()
    return tmp_path


# -- victims -----------------------------------------------------------------------------------------------------------


class Victims:
    """Things outside a cache that links in it lead to, none of which may change."""

    def __init__(self, folder):
        self.folder = folder
        self.folder.mkdir()
        (folder / "file").write_bytes(b"precious")
        fill(folder / "folder")
        self.remember()

    def remember(self):
        age(self.folder)
        self.before = contents(self.folder)

    def put_link(self, place, target):
        """Put a link to a `target` in this place; a "copy" is what was there."""
        there = self.folder / target
        if target == "copy":
            shutil.rmtree(self.folder / "copy", ignore_errors=True)
            there = self.folder / "copy" / place.name
            there.parent.mkdir()
            if place.exists():
                (shutil.copytree if place.is_dir() else shutil.copy2)(place, there)
            self.remember()
        if place.is_dir():
            shutil.rmtree(place)
        else:
            place.unlink(missing_ok=True)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.symlink_to(there)

    def check(self, why):
        assert contents(self.folder) == self.before, why


def fill(folder):
    """A folder of files named as those that writers write, replace or clear."""
    names = {*VOLUMES, *FEATURES, *PASSING, "partial/" + "0" * 32, "0" * 32, "c/0/0/0/0", "1/0/0/0", "lock", "a b"}
    for name in names - {parent.as_posix() for other in names for parent in Path(other).parents}:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(f"precious {name}".encode())


def age(folder):
    """Everything below `folder` was last changed long ago, so that a change now is seen."""
    for path in [*folder.rglob("*"), folder]:
        os.utime(path, (10**9, 10**9))


def contents(folder):
    """All that must stay as it was: names, bytes, modes and times."""
    return {
        path.relative_to(folder).as_posix(): (
            path.lstat().st_mode,
            path.lstat().st_mtime_ns,
            path.read_bytes() if path.is_file() else b"",
        )
        for path in [folder, *folder.rglob("*")]
    }


# -- tests -------------------------------------------------------------------------------------------------------------


def test_the_places_are_all_that_is_in_a_cache(changed_folder, features_here):
    for place, folder in (("volume/c/1/0/0/0", changed_folder), ("features/c/1/0/0", features_here)):
        root = folder / "as made"
        expected = VOLUMES if folder == changed_folder else FEATURES
        assert {place, *(path.relative_to(root).as_posix() for path in root.rglob("*"))} == set(expected)


@pytest.mark.parametrize("names", RUNS, ids=" ".join)
@pytest.mark.parametrize("target", TARGETS)
def test_no_command_writes_through_a_link_inside_cache(changed_folder, tmp_path, names, target):
    victims = Victims(tmp_path / "outside")
    for link in [*VOLUMES, *PASSING, *(f"volume/{row}" for row in NEW_ROWS)]:
        victims.put_link(fresh_copy(changed_folder) / link, target)
        for name in names:
            code = command(*command_words(name, changed_folder))
            victims.check(f"{name} with {link} as a link")
            if name == "repair" and code == 0:
                assert command("verify", changed_folder / world.CT) == 0, f"repaired with {link} as a link"


@pytest.mark.parametrize("target", TARGETS)
def test_features_are_written_through_no_link_inside_features(features_here, tmp_path, target):
    victims = Victims(tmp_path / "outside")
    for link in [*FEATURES, *PASSING, *(f"features/{row}" for row in NEW_ROWS)]:
        root = fresh_copy(features_here, "features.zarr")
        victims.put_link(root / link, target)
        for work in (partial(extract, features_here, times=2.0), partial(verify, root)):
            with suppress(CacheError):
                work()
            victims.check(link)


@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.parametrize("linked", [False, True])
def test_cache_itself_may_be_a_link(changed_folder, name, linked, tmp_path):
    root = fresh_copy(changed_folder)
    if linked:
        root.rename(tmp_path / "elsewhere")
        root.symlink_to(tmp_path / "elsewhere")
    assert command(*command_words(name, changed_folder)) == (1 if name == "verify" else 0)
    assert root.is_symlink() == linked
    if name in ("preprocess", "repair"):
        assert command("verify", root) == 0


def test_features_themselves_may_be_a_link(features_here):
    fresh_copy(features_here, "elsewhere")
    (features_here / "features.zarr").symlink_to(features_here / "elsewhere")
    extract(features_here)
    assert (features_here / "features.zarr").is_symlink()
    assert verify(features_here / "elsewhere").sound
