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
from dataclasses import dataclass, field
from pathlib import Path

from cache.schema import Entry


@dataclass
class Ledger:
    """Every input's last entry by id, in the order of first mention; `damaged` are line numbers from 1."""

    entries: dict[str, Entry] = field(default_factory=dict)
    damaged: list[int] = field(default_factory=list)
    lines: int = 0

    def of_state(self, state: str) -> list[Entry]:
        return [entry for entry in self.entries.values() if entry.state == state]


def load(path: Path) -> Ledger:
    """The ledger in `path`; empty where there is no such file. A torn last line is left out."""
    ledger = Ledger()
    try:
        file = path.open("rb")
    except FileNotFoundError:
        return ledger
    with file:
        for line in file:
            if not line.endswith(b"\n"):
                break
            ledger.lines += 1
            try:
                entry = _decode(line)
            except (ValueError, KeyError, TypeError):
                ledger.damaged.append(ledger.lines)
            else:
                ledger.entries[entry.id] = entry
    return ledger


class LedgerWriter:
    """Appends entries to the ledger in `path`; to be used under the cache's lock."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("ab")
        self._cut_torn_line(path)

    def close(self) -> None:
        self._file.close()

    def append(self, entries: Iterable[Entry]) -> None:
        """Write `entries` and return once they would survive a power cut."""
        self._file.write(b"".join(map(_encode, entries)))
        self._file.flush()
        os.fsync(self._file.fileno())

    def _cut_torn_line(self, path: Path) -> None:
        data_end = self._file.tell()
        with path.open("rb") as file:
            position = data_end
            while position > 0:
                start = max(0, position - 65536)
                file.seek(start)
                newline = file.read(position - start).rfind(b"\n")
                if newline >= 0:
                    position = start + newline + 1
                    break
                position = start
        if position < data_end:
            self._file.truncate(position)


def dump(entries: Iterable[Entry]) -> bytes:
    """The bytes of a ledger that holds just `entries`."""
    return b"".join(map(_encode, entries))


def _encode(entry: Entry) -> bytes:
    text = json.dumps(entry.to_json(), separators=(",", ":")).encode()
    return b"%08x %s\n" % (zlib.crc32(text), text)


def _decode(line: bytes) -> Entry:
    text = line[9:-1]
    if line[:9] != b"%08x " % zlib.crc32(text):
        raise ValueError("checksum does not fit")
    return Entry.from_json(json.loads(text))
