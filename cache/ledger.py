"""The ledger: how every input ended, one checksummed JSON line each, appended and never edited.

The coordinator of a run is its only writer, under the cache's lock. A sample exists once its line is on disk
(fsync), which happens after its chunk is; so a kill at any moment leaves at most one torn last line, which the next
writer cuts off, and chunks without a line, which are made again. The last line of an id counts. A line whose
checksum does not fit is never believed: it is reported, and its id is as good as never done.
"""

import json
import os
import zlib
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from cache.errors import CacheError
from cache.oserrors import reason, remedy
from cache.schema import Entry

LINE_BYTES = 1 << 24  # no line is longer, so that a gigabyte of junk is not read into memory at once


@dataclass
class Ledger:
    """Every input's last entry by id, in the order of first mention.

    `damaged` are the numbers, from 1, of lines that cannot be believed; `end` is where the last whole line ends.
    """

    entries: dict[str, Entry] = field(default_factory=dict)
    damaged: list[int] = field(default_factory=list)
    lines: int = 0
    end: int = 0

    def of_state(self, state: str) -> list[Entry]:
        return [entry for entry in self.entries.values() if entry.state == state]


def load(path: Path) -> Ledger:
    """The ledger in `path`; empty where there is no such file. A torn last line is left out.

    Raises CacheError where there is one that cannot be read.
    """
    ledger = Ledger()
    try:
        with path.open("rb") as file:
            start = True
            while piece := file.readline(LINE_BYTES):
                whole = piece.endswith(b"\n")
                if whole:
                    _add(ledger, piece if start else b"\n")
                    ledger.end = file.tell()
                start = whole
    except (FileNotFoundError, NotADirectoryError):
        pass
    except OSError as error:
        raise CacheError(
            f"cannot read {path}: {reason(error)}; {remedy(error, 'check the disk and its permissions')}"
        ) from error
    return ledger


class LedgerWriter:
    """Appends entries to the ledger in `path`, after its first `end` bytes; to be used under the cache's lock."""

    def __init__(self, path: Path, end: int) -> None:
        self._file = path.open("ab", buffering=0)
        self._file.truncate(end)

    def close(self) -> None:
        self._file.close()

    def append(self, entries: Iterable[Entry]) -> None:
        """Write `entries` and return once they would survive a power cut; where that fails, none is left behind."""
        end = os.fstat(self._file.fileno()).st_size
        rest = memoryview(dump(entries))
        try:
            while rest:
                rest = rest[self._file.write(rest) :]
            os.fsync(self._file.fileno())
        except BaseException:
            with suppress(OSError):
                self._file.truncate(end)
            raise


def dump(entries: Iterable[Entry]) -> bytes:
    """The bytes of a ledger that holds just `entries`."""
    return b"".join(map(_encode, entries))


def _encode(entry: Entry) -> bytes:
    text = json.dumps(entry.to_json(), separators=(",", ":")).encode()
    return b"%08x %s\n" % (zlib.crc32(text), text)


def _add(ledger: Ledger, line: bytes) -> None:
    ledger.lines += 1
    text = line[9:-1]
    try:
        if line[:9] != b"%08x " % zlib.crc32(text):
            raise ValueError("checksum does not fit")
        entry = Entry.from_json(json.loads(text))
    except (ValueError, KeyError, TypeError, RecursionError):
        ledger.damaged.append(ledger.lines)
    else:
        ledger.entries[entry.id] = entry
