"""The ledger: how every input ended, one checksummed JSON line each, appended and never edited.

    entries.jsonl     the log; the last line of an id counts
    snapshot.jsonl    what the log said when the cache was last published, and which bytes of the log that covers

The coordinator of a run is the only writer, under the cache's lock. A sample exists once its line is on disk (fsync),
which happens after its chunk is; so a kill at any moment leaves at most one torn last line, which the next writer cuts
off, and chunks without a line, which are made again. A line whose checksum does not fit is never believed.

The two files are never written at the same time, so a torn write damages one of them at most. If the log is missing,
shorter than the part that the snapshot covers, or different there, readers take the snapshot and the log's lines after
that part. Before the log itself is replaced, the snapshot is marked as covering all of it; a kill in between changes
nothing.
"""

import json
import os
import zlib
from collections.abc import Generator, Iterable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cache.confined import UnexpectedFile, open_regular
from cache.errors import CacheError
from cache.oserrors import ABSENT, cannot_read
from cache.schema import Entry

LOG, SNAPSHOT = "entries.jsonl", "snapshot.jsonl"
LINE_BYTES = 1 << 20  # no line is longer, so that a gigabyte of junk is not read into memory at once
JUNK_BYTES = 1 << 26  # without the end of a line: nothing after them is looked for
ALL = -1  # bytes of the log that a snapshot covers: whatever it holds
REPLACED = "it was being replaced"  # a fault that a kill may leave
ATTEMPTS = 5  # to read the two files while a run replaces them


@dataclass
class Ledger:
    """Every input's last entry by id, in the order of first mention.

    `superseded` are earlier entries of complete samples whose chunk was in another row, which no entry has now.
    `damaged` are the numbers, from 1, of lines that cannot be believed. `fault` says why the snapshot was needed, ""
    where it was not. `end` is where the last whole line of the log ends and `crc` the CRC-32 of the bytes before.
    """

    entries: dict[str, Entry] = field(default_factory=dict)
    superseded: list[Entry] = field(default_factory=list)
    damaged: list[int] = field(default_factory=list)
    fault: str = ""
    lines: int = 0
    end: int = 0
    crc: int = 0

    def of_state(self, state: str) -> list[Entry]:
        return [entry for entry in self.entries.values() if entry.state == state]

    @property
    def is_complete(self) -> bool:
        """True where the log alone has every entry."""
        return not (self.damaged or self.fault)

    def add(self, entry: Entry) -> None:
        """`entry` is the last word on its id."""
        old = self.entries.get(entry.id)
        if old is not None and old.state == "complete" and old.row != entry.row:
            self.superseded.append(old)
        self.entries[entry.id] = entry


@dataclass(frozen=True)
class Covered:
    """What a snapshot stands for: the first `log_bytes` of the log, whose CRC-32 is `log_crc`, in `lines` lines."""

    log_bytes: int
    log_crc: int
    lines: int

    def __post_init__(self) -> None:
        if [type(value) for value in vars(self).values()] != [int, int, int] or self.log_bytes < ALL:
            raise ValueError(f"{self}")


def read(folder: Path) -> Ledger:
    """The ledger in `folder`; empty where there is none. A torn last line is left out.

    Raises CacheError where there is one that cannot be read.
    """
    with _readable(folder / LOG):
        for _ in range(ATTEMPTS):
            covered = _covered(folder / SNAPSHOT)
            ledger, crc = _read_lines(folder / LOG, covered.log_bytes if covered else 0)
            believed = crc == covered.log_crc if covered else ledger.lines > 0 and not ledger.damaged
            if not believed:
                ledger = _recovered(folder, ledger, covered)
            if believed or _covered(folder / SNAPSHOT) == covered:
                break
        return _finished(ledger)


def _recovered(folder: Path, log: Ledger, covered: Covered | None) -> Ledger:
    """What the ledger holds when the log and the snapshot disagree, or there is no snapshot."""
    snapshot = _read_lines(folder / SNAPSHOT)[0]
    whole = covered is not None and snapshot.damaged == [1] and snapshot.lines == covered.lines + 1  # 1: no entry
    log.fault = _fault(log, covered, snapshot)
    if covered and covered.log_bytes == ALL and whole:
        log.damaged = []
    else:
        tail = _read_lines(folder / LOG, start=covered.log_bytes if covered and whole else 0)[0]
        log.damaged = [log.lines - tail.lines + number for number in tail.damaged]
        for entry in tail.entries.values():
            snapshot.add(entry)
    if not whole and log.fault:
        log.damaged = log.damaged or [0]  # some that neither file has may be lost
    log.entries, log.superseded = snapshot.entries, snapshot.superseded
    return log


def _fault(log: Ledger, covered: Covered | None, snapshot: Ledger) -> str:
    if covered and covered.log_bytes == ALL:
        return REPLACED
    if not log.lines:
        return "it is missing" if snapshot.entries else ""
    return "it is not what was written" if covered else ""


def _finished(ledger: Ledger) -> Ledger:
    rows = {entry.row for entry in ledger.entries.values()}
    ledger.superseded = [entry for entry in ledger.superseded if entry.row not in rows]
    return ledger


def _read_lines(path: Path, mark: int = 0, start: int = 0) -> tuple[Ledger, int | None]:
    """The lines of `path` from byte `start` on, and the CRC-32 of the first `mark` bytes; None if none ends there."""
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
    """(bytes, whether a line begins with them, where they end): lines, or pieces of lines that are too long."""
    try:
        with open_regular(path) as file:
            if start > os.fstat(file.fileno()).st_size:
                return
            file.seek(start)
            begins, line, end = True, start, start
            while end - line < JUNK_BYTES and (piece := file.readline(LINE_BYTES)):
                end += len(piece)
                yield piece, begins, end
                begins = piece.endswith(b"\n")
                line = end if begins else line
    except UnexpectedFile:  # as good as none
        return
    except OSError as error:
        if error.errno not in ABSENT:
            raise


def snapshot_bytes(folder: Path) -> int:
    """The most bytes that a sound snapshot in `folder` has: its lines are among those of the log that it covers."""
    covered = _covered(folder / SNAPSHOT)
    return LINE_BYTES + (covered.log_bytes if covered else 0)


def _covered(path: Path) -> Covered | None:
    """What the snapshot in `path` stands for; None where there is none that can be believed."""
    with closing(_pieces(path)) as pieces:  # now, so that an error of closing the file is ours
        for piece, _, _ in pieces:
            with suppress(ValueError, TypeError, RecursionError):
                return Covered(**_decode(piece))
            break
    return None


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    """Turn an OSError into the CacheError that tells the user what to do."""
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
        self._file.close()

    def append(self, entries: Iterable[Entry]) -> None:
        """Write `entries` and return once they would survive a power cut; where that fails, none is left behind."""
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
    """The bytes of a log that holds just `entries`."""
    return b"".join(_encode(entry.to_json()) for entry in entries)


def dump_snapshot(entries: list[Entry], log_bytes: int = ALL, log_crc: int = 0) -> bytes:
    """The bytes of a snapshot of `entries`, which stands for the first `log_bytes` of the log, by default for all."""
    return _encode(vars(Covered(log_bytes, log_crc, len(entries)))) + dump(entries)


def _encode(data: Any) -> bytes:
    text = json.dumps(data, separators=(",", ":")).encode()
    return b"%08x %s\n" % (zlib.crc32(text), text)


def _decode(line: bytes) -> Any:
    """Raises ValueError, RecursionError."""
    text = line[9:-1]
    if line[:9] != b"%08x " % zlib.crc32(text):
        raise ValueError("checksum does not fit")
    return json.loads(text)


def _add(ledger: Ledger, line: bytes) -> None:
    ledger.lines += 1
    try:
        entry = Entry.from_json(_decode(line))
    except (ValueError, KeyError, TypeError, RecursionError, AttributeError):
        ledger.damaged.append(ledger.lines)
    else:
        ledger.add(entry)
