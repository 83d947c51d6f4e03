"""The ledger trusts complete lines with a valid checksum, all of them, and nothing else."""

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
    """A ledger line: `text` after its checksum."""
    return b"%08x %s\n" % (zlib.crc32(text), text)


@given(st.lists(entries, max_size=6))
def test_written_entries_are_read_and_the_last_line_of_an_id_wins(tmp_path, written):
    result = loaded(tmp_path / "entries.jsonl", ledger.dump(written))
    assert list(result.entries.items()) == list({entry.id: entry for entry in written}.items())
    assert (result.damaged, result.lines) == ([], len(written))


def test_a_ledger_cut_at_any_byte_keeps_the_complete_lines_before_the_cut(path):
    data = b"".join(LINES)
    for size in range(len(data) + 1):
        result = loaded(path, data[:size])
        complete = data[:size].count(b"\n")
        assert list(result.entries.values()) == ENTRIES[:complete]
        assert result.damaged == []
        assert result.end == sum(map(len, LINES[:complete]))


def test_a_bit_flipped_anywhere_invalidates_only_its_own_line(path):
    data = b"".join(LINES)
    for bit in range(8 * len(data)):
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        result = loaded(path, bytes(flipped))
        touched = data[: bit // 8].count(b"\n")
        invalid = {touched, touched + 1} if data[bit // 8] == 10 else {touched}  # a lost line break joins two
        assert list(result.entries.values()) == [entry for row, entry in enumerate(ENTRIES) if row not in invalid]
        assert result.damaged or touched == 2


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
    result = loaded(path, LINES[0] + junk + LINES[1])
    assert list(result.entries.values()) == ENTRIES[:2]
    assert result.damaged == [2]


def test_a_long_tail_of_garbage_is_read_with_little_memory(path, monkeypatch):
    monkeypatch.setattr(ledger, "LINE_BYTES", 1 << 16)
    with path.open("wb") as file:
        file.write(LINES[0])
        file.truncate(1 << 26)  # zeros, as a crash leaves on some file systems
    tracemalloc.start()
    result = ledger.read(path.parent)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert list(result.entries.values()) == ENTRIES[:1]
    assert result.end == len(LINES[0])
    assert peak < 1 << 20


def test_a_missing_ledger_is_read_as_an_empty_one(path):
    assert ledger.read(path.parent) == ledger.Ledger()


@pytest.mark.parametrize("number", [errno.EIO, errno.EACCES, errno.EMFILE])
def test_an_unreadable_ledger_is_not_mistaken_for_an_empty_one(path, monkeypatch, number):
    def failing(*arguments):
        raise OSError(number, os.strerror(number))

    path.write_bytes(LINES[0])
    monkeypatch.setattr("cache.ledger.open_regular", failing)
    with pytest.raises(CacheError, match=rf"^cannot read .*entries.jsonl: {os.strerror(number)}; "):
        ledger.read(path.parent)


def test_the_next_writer_removes_a_torn_line(path):
    result = loaded(path, LINES[0] + LINES[1][:-5])
    with closing(ledger.LedgerWriter(path, result.end)) as writer:
        writer.append(ENTRIES[2:])
    assert path.read_bytes() == LINES[0] + LINES[2]


@contextmanager
def disk_of(size):
    """No file can grow beyond `size` bytes: a write that reaches the limit is cut short, and the next one fails."""
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, old[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)


def test_a_line_cut_short_by_a_full_disk_is_removed(path):
    with closing(ledger.LedgerWriter(path, 0)) as writer:
        writer.append(ENTRIES[:1])
        with disk_of(len(LINES[0]) + 20), pytest.raises(OSError, match="File too large"):
            writer.append(ENTRIES[1:])
        assert path.read_bytes() == LINES[0]
        writer.append(ENTRIES[2:])
    assert path.read_bytes() == LINES[0] + LINES[2]


def test_a_line_that_could_not_be_flushed_is_removed(path, monkeypatch):
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
    header = json.dumps({"log_bytes": size, "log_crc": 0, "lines": 0}).encode()
    (path.parent / ledger.SNAPSHOT).write_bytes(line(header))
    assert list(ledger.read(path.parent).entries.values()) == ENTRIES


@pytest.mark.parametrize("size", [400, (1 << 63) - 1, 10**400])
def test_a_snapshot_may_cover_more_than_the_log_contains(path, size):
    path.write_bytes(LINES[2])
    (path.parent / ledger.SNAPSHOT).write_bytes(ledger.dump_snapshot(ENTRIES[:2], size, 0))
    assert list(ledger.read(path.parent).entries.values()) == ENTRIES[:2]


# -- the log and its snapshot ------------------------------------------------------------------------------------------


def junk(data):
    """Garbage with the same number and length of lines as `data`."""
    return b"".join(b"x" * (len(original) - 1) + b"\n" for original in data.splitlines(keepends=True))


HEAD, TAIL = b"".join(LINES[:2]), LINES[2]
HEAD_SNAPSHOT = ledger.dump_snapshot(ENTRIES[:2], len(HEAD), zlib.crc32(HEAD))
FULL_SNAPSHOT = ledger.dump_snapshot(ENTRIES[:2])  # covers the whole log
EMPTY_SNAPSHOT = ledger.dump_snapshot([], 0, 0)
CHANGED = "it has changed since it was written"


@pytest.mark.parametrize(
    ("log", "snapshot", "rows", "fault", "damaged"),
    [
        (HEAD + TAIL, HEAD_SNAPSHOT, [0, 1, 2], "", []),
        (HEAD + TAIL, EMPTY_SNAPSHOT, [0, 1, 2], "", []),
        (HEAD, HEAD_SNAPSHOT, [0, 1], "", []),
        (HEAD + junk(TAIL), HEAD_SNAPSHOT, [0, 1], "", [3]),
        (junk(HEAD) + TAIL, HEAD_SNAPSHOT, [0, 1, 2], CHANGED, []),  # lines after the covered part count
        (junk(HEAD) + junk(TAIL), HEAD_SNAPSHOT, [0, 1], CHANGED, [3]),
        (LINES[0] + junk(LINES[1]) + TAIL, HEAD_SNAPSHOT[:-5], [0, 2], CHANGED, [2]),  # the valid lines of both
        (junk(LINES[0]) + LINES[1] + TAIL, HEAD_SNAPSHOT[:-5], [0, 1, 2], CHANGED, [1]),
        (LINES[0], HEAD_SNAPSHOT, [0, 1], CHANGED, []),
        (b"", HEAD_SNAPSHOT, [0, 1], "it is missing", []),
        (b"", HEAD_SNAPSHOT[:-5], [0], "it is missing", [0]),
        (b"", EMPTY_SNAPSHOT, [], "", []),
        (b"", FULL_SNAPSHOT, [0, 1], ledger.REPLACED, []),
        (TAIL, FULL_SNAPSHOT, [0, 1], ledger.REPLACED, []),
        (junk(HEAD) + TAIL, FULL_SNAPSHOT, [0, 1], ledger.REPLACED, []),
        (TAIL, FULL_SNAPSHOT[:-5], [0, 2], ledger.REPLACED, [0]),
        (LINES[0] + junk(LINES[1]), junk(b"x\n") + HEAD, [0, 1], "", [2]),  # its header is damaged
    ],
)
def test_the_log_and_its_snapshot_are_combined(path, log, snapshot, rows, fault, damaged):
    (path.parent / ledger.SNAPSHOT).write_bytes(snapshot)
    result = loaded(path, log)
    assert {entry.row for entry in result.entries.values()} == set(rows)
    assert (result.fault, result.damaged) == (fault, damaged)
    assert result.is_complete == (not fault and not damaged)
    assert result.superseded == []


def test_files_replaced_while_they_are_read_are_read_again(path, monkeypatch):
    recovered = ledger._recovered

    def replaced(*arguments):
        (path.parent / ledger.SNAPSHOT).write_bytes(ledger.dump_snapshot(ENTRIES, len(TAIL), zlib.crc32(TAIL)))
        path.write_bytes(TAIL)
        return recovered(*arguments)

    (path.parent / ledger.SNAPSHOT).write_bytes(HEAD_SNAPSHOT)
    path.write_bytes(junk(HEAD))
    monkeypatch.setattr(ledger, "_recovered", replaced)
    result = ledger.read(path.parent)
    assert (list(result.entries.values()), result.fault) == (ENTRIES[2:], "")


def test_an_unchanged_ledger_is_recovered_once(path, monkeypatch):
    recovered, calls = ledger._recovered, []
    monkeypatch.setattr(ledger, "_recovered", lambda *arguments: calls.append(1) or recovered(*arguments))
    (path.parent / ledger.SNAPSHOT).write_bytes(HEAD_SNAPSHOT)
    assert list(loaded(path, junk(HEAD)).entries.values()) == ENTRIES[:2]
    assert calls == [1]


def test_the_old_row_of_a_sample_is_superseded_until_another_sample_uses_it(path):
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


def test_the_maximum_size_of_a_snapshot_includes_the_log_that_it_covers(path):
    assert ledger.snapshot_bytes(path.parent) == ledger.LINE_BYTES
    (path.parent / ledger.SNAPSHOT).write_bytes(HEAD_SNAPSHOT)
    assert ledger.snapshot_bytes(path.parent) == ledger.LINE_BYTES + len(HEAD)
