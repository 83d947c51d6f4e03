"""The simulated disk of the power-cut method keeps all flushed data, and any part of the rest."""

import os
import random

import pytest

from tests.faults.disk import RECORD, Disk

CREATE = os.O_CREAT | os.O_WRONLY


@pytest.fixture
def disk(tmp_path):
    """A disk with the file `old`, whose trace a test extends with calls on paths below the root."""
    (tmp_path / "old").write_bytes(b"before")
    return Traced(tmp_path)


class Traced:
    def __init__(self, root):
        self.root, self.disk = root, Disk(root, root)

    def add(self, kind, descriptor=-1, flags=0, first=b"", second=b""):
        """Add a call; an argument that is not bytes is a path below the root."""
        first, second = (part if isinstance(part, bytes) else os.fsencode(self.root / part) for part in (first, second))
        self.disk.replay(RECORD.pack(kind.encode(), descriptor, flags, 0, len(first), len(second)) + first + second)

    def possible_states(self, cut=None):
        """The sets of (path, content) in 300 random states after a power cut, by default one at the end."""
        cut = self.disk.time + 1 if cut is None else cut
        states = [self.disk.state(cut, random.Random(number)).items for number in range(300)]
        return {frozenset((name, item and item[0]) for name, item in items.items()) for items in states}


def write(disk, name, data, flush=True, descriptor=5):
    disk.add("open", descriptor, CREATE, first=name)
    disk.add("write", descriptor, first=data)
    if flush:
        disk.add("fsync", descriptor)
    disk.add("close", descriptor)


def flush_root(disk):
    disk.add("open", 9, os.O_RDONLY, first="")
    disk.add("fsync", 9)
    disk.add("close", 9)


def test_a_cut_before_the_first_change_leaves_the_disk_unchanged(disk):
    write(disk, "new", b"abcd")
    flush_root(disk)
    assert disk.possible_states(cut=1) == {frozenset({("old", b"before")})}


def test_a_flushed_file_with_a_flushed_name_survives(disk):
    write(disk, "new", b"abcd")
    flush_root(disk)
    assert disk.possible_states() == {frozenset({("old", b"before"), ("new", b"abcd")})}


def test_a_flushed_file_may_lack_its_name(disk):
    write(disk, "new", b"abcd")
    assert disk.possible_states() == {
        frozenset({("old", b"before")}),
        frozenset({("old", b"before"), ("new", b"abcd")}),
    }


def test_unflushed_data_may_be_complete_missing_torn_or_zeros(disk):
    write(disk, "new", b"abcd", flush=False)
    flush_root(disk)
    contents = {dict(state)["new"] for state in disk.possible_states()}
    assert contents == {b"abcd", b"", b"a", b"ab", b"abc", bytes(4)}


def test_a_truncated_file_may_keep_its_bytes(disk):
    disk.add("open", 5, os.O_WRONLY | os.O_TRUNC, first="old")
    assert {dict(state)["old"] for state in disk.possible_states()} == {b"before", b""}


def test_a_renamed_file_may_have_either_name_both_or_none(disk):
    disk.add("rename", first="old", second="moved")
    names = {frozenset(dict(state)) for state in disk.possible_states()}
    assert names == {frozenset(names) for names in (["old"], ["moved"], ["old", "moved"], [])}
    flush_root(disk)
    assert {frozenset(dict(state)) for state in disk.possible_states()} == {frozenset(["moved"])}


def test_files_in_a_folder_are_lost_with_its_name(disk):
    disk.add("mkdir", first="folder")
    write(disk, "folder/new", b"abcd")
    disk.add("open", 7, os.O_RDONLY, first="folder")
    disk.add("fsync", 7)
    names = {frozenset(dict(state)) for state in disk.possible_states()}
    assert names == {frozenset(["old"]), frozenset(["old", "folder", "folder/new"])}


def test_a_removed_file_may_come_back_until_its_folder_is_flushed(disk):
    disk.add("unlink", first="old")
    assert {frozenset(dict(state)) for state in disk.possible_states()} == {frozenset(), frozenset(["old"])}
    flush_root(disk)
    assert disk.possible_states() == {frozenset()}


def test_a_state_is_written_to_a_folder(disk, tmp_path):
    disk.add("mkdir", first="folder")
    write(disk, "folder/new", b"abcd")
    disk.add("open", 7, os.O_RDONLY, first="folder")
    disk.add("fsync", 7)
    flush_root(disk)
    before = (tmp_path / "old").stat().st_mtime_ns
    target = tmp_path / "written"
    target.mkdir()
    disk.disk.state(disk.disk.time + 1, random.Random(0)).write(target)
    assert {path.relative_to(target).as_posix() for path in target.rglob("*")} == {"old", "folder", "folder/new"}
    assert (target / "folder/new").read_bytes() == b"abcd"
    assert (target / "old").stat().st_mtime_ns == before
