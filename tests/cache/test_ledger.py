"""The ledger believes whole lines with their checksum, all of them, and nothing else."""

import errno
import json
import os
import resource
import tracemalloc
import zlib
from contextlib import closing, contextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cache import ledger
from cache.errors import CacheError
from cache.schema import Entry, Source
from tests.helpers.strategies import entries

ENTRIES = [
    Entry(f"s{row}", "complete", row=row, source=Source("/data", (f"{row}.nii",), 1, 2, "d"), digest="e", nbytes=50)
    for row in range(3)
]
LINES = [ledger.dump([entry]) for entry in ENTRIES]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "entries.jsonl"


def loaded(path, data):
    path.write_bytes(data)
    return ledger.read(path.parent)


def line(text):
    """A line that bears its checksum."""
    return b"%08x %s\n" % (zlib.crc32(text), text)


@given(st.lists(entries, max_size=6))
def test_written_entries_are_read_and_the_last_line_of_an_id_counts(tmp_path, several):
    found = loaded(tmp_path / "entries.jsonl", ledger.dump(several))
    assert list(found.entries.items()) == list({entry.id: entry for entry in several}.items())
    assert (found.damaged, found.lines) == ([], len(several))


def test_a_ledger_cut_at_any_byte_holds_the_lines_before(path):
    data = b"".join(LINES)
    for size in range(len(data) + 1):
        found = loaded(path, data[:size])
        whole = data[:size].count(b"\n")
        assert list(found.entries.values()) == ENTRIES[:whole]
        assert found.damaged == []
        assert found.end == sum(map(len, LINES[:whole]))


def test_a_bit_flipped_anywhere_costs_its_own_line_only(path):
    data = b"".join(LINES)
    for bit in range(8 * len(data)):
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        found = loaded(path, bytes(flipped))
        touched = data[: bit // 8].count(b"\n")
        lost = {touched, touched + 1} if data[bit // 8] == 10 else {touched}  # a lost line break joins two
        assert list(found.entries.values()) == [entry for row, entry in enumerate(ENTRIES) if row not in lost]
        assert found.damaged or touched == 2


@pytest.mark.parametrize(
    "junk",
    [
        b"\n", b"junk\n", b"\xff\xfe\x00\n", b"\0" * 500 + b"\n", b"x" * 70_000 + b"\n", LINES[0].upper(),
        line(b""), line(b"null"), line(b"[]"), line(b"\xff"), line(b'{"id":"a"'), line(b"[" * 100_000),
        line(b"9" * 10_000), line(json.dumps({"id": "a", "state": "complete", "row": -5}).encode()),
        line(json.dumps({"id": "a", "state": "excluded", "row": 10**12}).encode()),
        line(json.dumps({"id": "a", "state": "excluded", "new": 1}).encode()),
        line(json.dumps({"id": "a", "state": "excluded", "source": {"root": "/", "files": ["../b"]}}).encode()),
        line(json.dumps({"id": "a", "state": "excluded", "source": {"root": [], "files": 5}}).encode()),
    ],
)  # fmt: skip
def test_a_garbage_line_is_reported_and_its_neighbours_are_read(path, monkeypatch, junk):
    monkeypatch.setattr(ledger, "LINE_BYTES", 1000)
    found = loaded(path, LINES[0] + junk + LINES[1])
    assert list(found.entries.values()) == ENTRIES[:2]
    assert found.damaged == [2]


def test_a_long_tail_of_garbage_is_read_in_pieces(path, monkeypatch):
    monkeypatch.setattr(ledger, "LINE_BYTES", 1 << 16)
    with path.open("wb") as file:
        file.write(LINES[0])
        file.truncate(1 << 26)  # zeros, as a crash leaves on some file systems
    tracemalloc.start()
    found = ledger.read(path.parent)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert list(found.entries.values()) == ENTRIES[:1]
    assert found.end == len(LINES[0])
    assert peak < 1 << 20


def test_no_ledger_is_an_empty_one(path):
    assert ledger.read(path.parent) == ledger.Ledger()


@pytest.mark.parametrize("number", [errno.EIO, errno.EACCES, errno.EMFILE])
def test_an_unreadable_ledger_is_not_mistaken_for_an_empty_one(path, monkeypatch, number):
    def failing(*arguments):
        raise OSError(number, os.strerror(number))

    path.write_bytes(LINES[0])
    monkeypatch.setattr("cache.ledger.open_regular", failing)
    with pytest.raises(CacheError, match=rf"^cannot read .*entries.jsonl: {os.strerror(number)}; "):
        ledger.read(path.parent)


def test_the_next_writer_cuts_a_torn_line(path):
    found = loaded(path, LINES[0] + LINES[1][:-5])
    with closing(ledger.LedgerWriter(path, found.end)) as writer:
        writer.append(ENTRIES[2:])
    assert path.read_bytes() == LINES[0] + LINES[2]


@contextmanager
def disk_of(size):
    """No file can grow beyond `size` bytes: a write in between is cut short, the next fails."""
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, old[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)


def test_a_disk_that_fills_up_within_a_line_leaves_none_of_it(path):
    with closing(ledger.LedgerWriter(path, 0)) as writer:
        writer.append(ENTRIES[:1])
        with disk_of(len(LINES[0]) + 20), pytest.raises(OSError, match="File too large"):
            writer.append(ENTRIES[1:])
        assert path.read_bytes() == LINES[0]
        writer.append(ENTRIES[2:])
    assert path.read_bytes() == LINES[0] + LINES[2]


def test_a_line_that_was_not_flushed_is_taken_back(path, monkeypatch):
    def failing(_):
        raise OSError(5, "Input/output error")

    with closing(ledger.LedgerWriter(path, 0)) as writer:
        writer.append(ENTRIES[:1])
        monkeypatch.setattr(os, "fsync", failing)
        with pytest.raises(OSError, match="Input/output"):
            writer.append(ENTRIES[1:])
    assert path.read_bytes() == LINES[0]


@pytest.mark.parametrize("size", [-2, True, 1.0, "1", None])
def test_a_snapshot_with_impossible_coverage_is_ignored(path, size):
    path.write_bytes(b"".join(LINES))
    covers = json.dumps({"log_bytes": size, "log_crc": 0, "lines": 0}).encode()
    (path.parent / ledger.SNAPSHOT).write_bytes(line(covers))
    assert list(ledger.read(path.parent).entries.values()) == ENTRIES


@pytest.mark.parametrize("size", [400, (1 << 63) - 1, 10**400])
def test_a_snapshot_may_cover_more_than_the_log_has(path, size):
    path.write_bytes(LINES[2])
    (path.parent / ledger.SNAPSHOT).write_bytes(ledger.dump_snapshot(ENTRIES[:2], size, 0))
    assert list(ledger.read(path.parent).entries.values()) == ENTRIES[:2]


# -- the log and its snapshot ------------------------------------------------------------------------------------------


def junk(data):
    """Other bytes, as many lines as `data` has."""
    return b"".join(b"x" * (len(each) - 1) + b"\n" for each in data.splitlines(keepends=True))


HEAD, TAIL = b"".join(LINES[:2]), LINES[2]
OF_HEAD = ledger.dump_snapshot(ENTRIES[:2], len(HEAD), zlib.crc32(HEAD))
OF_ALL = ledger.dump_snapshot(ENTRIES[:2])
OF_NOTHING = ledger.dump_snapshot([], 0, 0)
OTHER = "it has changed since it was written"


@pytest.mark.parametrize(
    ("log", "snapshot", "rows", "fault", "damaged"),
    [
        (HEAD + TAIL, OF_HEAD, [0, 1, 2], "", []),
        (HEAD + TAIL, OF_NOTHING, [0, 1, 2], "", []),
        (HEAD, OF_HEAD, [0, 1], "", []),
        (HEAD + junk(TAIL), OF_HEAD, [0, 1], "", [3]),
        (junk(HEAD) + TAIL, OF_HEAD, [0, 1, 2], OTHER, []),  # what follows the part that the snapshot covers counts
        (junk(HEAD) + junk(TAIL), OF_HEAD, [0, 1], OTHER, [3]),
        (LINES[0] + junk(LINES[1]) + TAIL, OF_HEAD[:-5], [0, 2], OTHER, [2]),  # whatever is left of both
        (junk(LINES[0]) + LINES[1] + TAIL, OF_HEAD[:-5], [0, 1, 2], OTHER, [1]),
        (LINES[0], OF_HEAD, [0, 1], OTHER, []),
        (b"", OF_HEAD, [0, 1], "it is missing", []),
        (b"", OF_HEAD[:-5], [0], "it is missing", [0]),
        (b"", OF_NOTHING, [], "", []),
        (b"", OF_ALL, [0, 1], ledger.REPLACED, []),
        (TAIL, OF_ALL, [0, 1], ledger.REPLACED, []),
        (junk(HEAD) + TAIL, OF_ALL, [0, 1], ledger.REPLACED, []),
        (TAIL, OF_ALL[:-5], [0, 2], ledger.REPLACED, [0]),
        (LINES[0] + junk(LINES[1]), junk(b"x\n") + HEAD, [0, 1], "", [2]),  # the line of what it covers is damaged
    ],
)
def test_the_log_and_its_snapshot_are_combined(path, log, snapshot, rows, fault, damaged):
    (path.parent / ledger.SNAPSHOT).write_bytes(snapshot)
    found = loaded(path, log)
    assert {entry.row for entry in found.entries.values()} == set(rows)
    assert (found.fault, found.damaged) == (fault, damaged)
    assert found.is_complete == (not fault and not damaged)
    assert found.superseded == []


def test_files_replaced_while_they_are_read_are_read_again(path, monkeypatch):
    recovered = ledger._recovered

    def replaced(*arguments):
        (path.parent / ledger.SNAPSHOT).write_bytes(ledger.dump_snapshot(ENTRIES, len(TAIL), zlib.crc32(TAIL)))
        path.write_bytes(TAIL)
        return recovered(*arguments)

    (path.parent / ledger.SNAPSHOT).write_bytes(OF_HEAD)
    path.write_bytes(junk(HEAD))
    monkeypatch.setattr(ledger, "_recovered", replaced)
    found = ledger.read(path.parent)
    assert (list(found.entries.values()), found.fault) == (ENTRIES[2:], "")


def test_a_ledger_that_does_not_change_is_recovered_once(path, monkeypatch):
    recovered, times = ledger._recovered, []
    monkeypatch.setattr(ledger, "_recovered", lambda *arguments: times.append(1) or recovered(*arguments))
    (path.parent / ledger.SNAPSHOT).write_bytes(OF_HEAD)
    assert list(loaded(path, junk(HEAD)).entries.values()) == ENTRIES[:2]
    assert times == [1]


def test_the_row_that_a_sample_had_before_is_known_until_another_has_it(path):
    moved = Entry("s0", "complete", row=7, nbytes=50)
    assert loaded(path, ledger.dump([ENTRIES[0], moved])).superseded == ENTRIES[:1]
    assert loaded(path, ledger.dump([ENTRIES[0], ENTRIES[0]])).superseded == []
    assert loaded(path, ledger.dump([ENTRIES[0], moved, Entry("new", "complete", row=0)])).superseded == []


def test_a_long_log_is_read_completely_and_a_too_long_line_is_skipped(path, monkeypatch):
    monkeypatch.setattr(ledger, "LINE_BYTES", 500)
    monkeypatch.setattr(ledger, "MAX_GARBAGE", 1000)
    assert loaded(path, LINES[0] * 20 + LINES[1]).lines == 21
    assert loaded(path, LINES[0] + b"x" * 900 + b"\n" + LINES[1]).damaged == [2]
    assert loaded(path, LINES[0] + b"x" * 5000 + b"\n" + LINES[1]).lines == 1


def test_how_large_a_snapshot_can_be(path):
    assert ledger.snapshot_bytes(path.parent) == ledger.LINE_BYTES
    (path.parent / ledger.SNAPSHOT).write_bytes(OF_HEAD)
    assert ledger.snapshot_bytes(path.parent) == ledger.LINE_BYTES + len(HEAD)
