"""The ledger: the outcome of every input, one JSON line with a checksum each, appended and never edited.

    entries.jsonl     the log; for each id the last line counts
    snapshot.jsonl    a copy as of the last publication, and the number of bytes of the log that it covers

The coordinator of a run is the only writer, under the cache's lock. A sample exists once its line is on disk (fsync),
which happens after its chunk is. So a kill at any moment leaves at most one torn last line, which the next writer cuts
off, and chunks without a line, whose samples are made again. A line with a wrong checksum is ignored.

The two files are never written at the same time, so a torn write damages at most one of them. If the log is missing,
shorter than the part that the snapshot covers, or different there, readers use the snapshot and the lines of the log
after that part. Before the log itself is replaced, the snapshot is marked as covering all of it, so that a kill in
between changes nothing.
"""

import json
import os
import zlib
from collections.abc import Generator, Iterable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from msgspec import structs

from cache.confined import UnexpectedFile, open_regular
from cache.documents import Record, convert
from cache.errors import CacheError
from cache.oserrors import ABSENT, cannot_read
from cache.schema import Entry

LOG, SNAPSHOT = "entries.jsonl", "snapshot.jsonl"
LINE_BYTES = 1 << 20  # of the longest line; so a gigabyte of garbage is not read into memory
MAX_GARBAGE = 1 << 26  # bytes without a line end; what follows is not read
ALL = -1  # bytes of the log that a snapshot covers: the entire log
REPLACED = "it was being replaced"  # a fault that a kill may leave
ATTEMPTS = 5  # to read both files while a run replaces them


@dataclass
class Ledger:
    """The last entry of every input by id, in the order of first occurrence.

    `superseded` are earlier entries of complete samples, in rows that no current entry has. `damaged` are the numbers,
    from 1, of damaged lines. `fault` says why the snapshot was needed; empty if it was not. `end` is the end of the
    last complete line of the log, and `crc` the CRC-32 of the bytes before it.
    """

    entries: dict[str, Entry] = field(default_factory=dict)
    superseded: list[Entry] = field(default_factory=list)
    damaged: list[int] = field(default_factory=list)
    fault: str = ""
    lines: int = 0
    end: int = 0
    crc: int = 0

    def in_state(self, state: str) -> list[Entry]:
        """The entries with this state."""
        return [entry for entry in self.entries.values() if entry.state == state]

    @property
    def is_complete(self) -> bool:
        """Whether the log alone has every entry."""
        return not (self.damaged or self.fault)

    def add(self, entry: Entry) -> None:
        """Add an entry, which replaces an earlier one of its id."""
        old = self.entries.get(entry.id)
        if old is not None and old.state == "complete" and old.row != entry.row:
            self.superseded.append(old)
        self.entries[entry.id] = entry


class Coverage(Record, frozen=True):
    """The part of the log that a snapshot covers: its first `log_bytes`, with CRC-32 `log_crc`, as `lines` lines."""

    log_bytes: int
    log_crc: int
    lines: int

    def __post_init__(self) -> None:
        if self.log_bytes < ALL:
            raise ValueError(f"{self}")


def read(folder: Path) -> Ledger:
    """The ledger in `folder`; empty if there is none. A torn last line is ignored.

    Raises CacheError where the system cannot read it.
    """
    with _readable(folder / LOG):
        for _ in range(ATTEMPTS):
            coverage = _coverage(folder / SNAPSHOT)
            ledger, crc = _read_lines(folder / LOG, coverage.log_bytes if coverage else 0)
            is_valid = crc == coverage.log_crc if coverage else ledger.lines > 0 and not ledger.damaged
            if not is_valid:
                ledger = _recovered(folder, ledger, coverage)
            if is_valid or _coverage(folder / SNAPSHOT) == coverage:
                break
        return _finished(ledger)


def _recovered(folder: Path, log: Ledger, coverage: Coverage | None) -> Ledger:
    """The ledger from log and snapshot where they disagree, or where there is no valid snapshot."""
    snapshot = _read_lines(folder / SNAPSHOT)[0]
    # The first line of a snapshot is its coverage, which is not an entry.
    is_intact = coverage is not None and snapshot.damaged == [1] and snapshot.lines == coverage.lines + 1
    log.fault = _fault(log, coverage, snapshot)
    if coverage and coverage.log_bytes == ALL and is_intact:
        log.damaged = []
    else:
        tail = _read_lines(folder / LOG, start=coverage.log_bytes if coverage and is_intact else 0)[0]
        log.damaged = [log.lines - tail.lines + number for number in tail.damaged]
        for entry in tail.entries.values():
            snapshot.add(entry)
    if not is_intact and log.fault:
        log.damaged = log.damaged or [0]  # entries that neither file has may be lost
    log.entries, log.superseded = snapshot.entries, snapshot.superseded
    return log


def _fault(log: Ledger, coverage: Coverage | None, snapshot: Ledger) -> str:
    if coverage and coverage.log_bytes == ALL:
        return REPLACED
    if not log.lines:
        return "it is missing" if snapshot.entries else ""
    return "it has changed since it was written" if coverage else ""


def _finished(ledger: Ledger) -> Ledger:
    rows = {entry.row for entry in ledger.entries.values()}
    ledger.superseded = [entry for entry in ledger.superseded if entry.row not in rows]
    return ledger


def _read_lines(path: Path, mark: int = 0, start: int = 0) -> tuple[Ledger, int | None]:
    """The lines of `path` from byte `start`, and the CRC-32 of its first `mark` bytes; None if no line ends there."""
    ledger, crc, at_mark = Ledger(), 0, 0 if mark == 0 else None
    for piece, begins, end in _pieces(path, start):
        crc = zlib.crc32(piece, crc)
        if piece.endswith(b"\n"):
            _add(ledger, piece if begins else b"\n")
            ledger.end, ledger.crc = end, crc
            if end == mark:
                at_mark = crc
    return ledger, at_mark


def _pieces(path: Path, start: int = 0) -> Generator[tuple[bytes, bool, int], None, None]:
    """(bytes, whether they begin a line, their end): lines, or pieces of lines that are too long."""
    try:
        with open_regular(path) as file:
            if start > os.fstat(file.fileno()).st_size:
                return
            file.seek(start)
            begins, line, end = True, start, start
            while end - line < MAX_GARBAGE and (piece := file.readline(LINE_BYTES)):
                end += len(piece)
                yield piece, begins, end
                begins = piece.endswith(b"\n")
                line = end if begins else line
    except UnexpectedFile:  # counts as missing
        return
    except OSError as error:
        if error.errno not in ABSENT:
            raise


def snapshot_bytes(folder: Path) -> int:
    """The largest size of a valid snapshot in `folder`, whose lines are among those of the log that it covers."""
    coverage = _coverage(folder / SNAPSHOT)
    return LINE_BYTES + (coverage.log_bytes if coverage else 0)


def _coverage(path: Path) -> Coverage | None:
    """The coverage of the snapshot in `path`; None where there is no valid one."""
    with closing(_pieces(path)) as pieces:  # so that an error on closing the file is raised here
        for piece, _, _ in pieces:
            with suppress(ValueError, TypeError, RecursionError):
                return convert(Coverage, _decode(piece))
            break
    return None


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    """Convert an OSError to a CacheError that says what to do."""
    try:
        yield
    except OSError as error:
        raise CacheError(cannot_read(path, error, "check the disk and its permissions")) from error


class LedgerWriter:
    """Appends entries to the log in `path`, after its first `end` bytes; to be used under the cache's lock."""

    def __init__(self, path: Path, end: int, crc: int = 0) -> None:
        self.end, self.crc = end, crc
        self._file = path.open("ab", buffering=0)
        self._file.truncate(end)

    def close(self) -> None:
        """Close the log."""
        self._file.close()

    def append(self, entries: Iterable[Entry]) -> None:
        """Append `entries`; on return they survive a power cut. If that fails, none of them is left in the log."""
        data = dump(entries)
        rest = memoryview(data)
        try:
            while rest:
                rest = rest[self._file.write(rest) :]
            os.fsync(self._file.fileno())
        except BaseException:
            with suppress(OSError):
                self._file.truncate(self.end)
            raise
        self.end, self.crc = self.end + len(data), zlib.crc32(data, self.crc)


def dump(entries: Iterable[Entry]) -> bytes:
    """The bytes of a log of `entries`."""
    return b"".join(_encode(entry.to_json()) for entry in entries)


def dump_snapshot(entries: list[Entry], log_bytes: int = ALL, log_crc: int = 0) -> bytes:
    """The bytes of a snapshot of `entries`, which covers the first `log_bytes` of the log, by default all of it."""
    return _encode(structs.asdict(Coverage(log_bytes, log_crc, len(entries)))) + dump(entries)


def _encode(data: Any) -> bytes:
    text = json.dumps(data, separators=(",", ":")).encode()
    return b"%08x %s\n" % (zlib.crc32(text), text)


def _decode(line: bytes) -> Any:
    """The JSON of a line. Raises ValueError, RecursionError."""
    text = line[9:-1]
    if line[:9] != b"%08x " % zlib.crc32(text):
        raise ValueError("wrong checksum")
    return json.loads(text)


def _add(ledger: Ledger, line: bytes) -> None:
    ledger.lines += 1
    try:
        entry = Entry.from_json(_decode(line))
    except (ValueError, KeyError, TypeError, RecursionError, AttributeError):
        ledger.damaged.append(ledger.lines)
    else:
        ledger.add(entry)
