"""The bytes of a NIfTI file, front to back: hashed, and decompressed where they are gzip."""

from __future__ import annotations

import gzip
import io
from contextlib import ExitStack
from pathlib import Path
from typing import cast

from isal import igzip, igzip_lib
from xxhash import xxh3_128

from cache.confined import UnexpectedFile, open_regular
from pipeline.errors import InvalidInput
from pipeline.readers.remedies import FETCH_AGAIN, one_line
from pipeline.sources.contents import GZIP, HEAD, NIFTI, describe

MAX_INFLATION = 1032  # deflate's limit: output bytes per input byte
MAX_EMPTY = 1 << 22  # bytes of a gzip file without contents: padding, empty members
CHUNK = 1 << 19  # bytes per read; more is not faster with isal


class _HashingFile(io.RawIOBase):
    """A regular file that hashes every byte read from it. The hasher continues from file to file.

    `allowed` is how many more bytes may be read. Raises InvalidInput beyond that: a gzip file may have endless padding,
    which its reader would read in a single call.
    """

    def __init__(self, file: io.BufferedReader, hasher: xxh3_128) -> None:
        self._file, self._hasher = file, hasher
        self.allowed = MAX_EMPTY

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        if self.allowed <= 0:
            raise InvalidInput(
                f"more than {MAX_EMPTY} bytes of empty gzip data", "a gzip file of one scan", FETCH_AGAIN
            )
        count = self._file.readinto(buffer) or 0
        self.allowed -= count
        self._hasher.update(memoryview(buffer)[:count])
        return count


class Stream:
    """The uncompressed bytes of one file, front to back. `capacity` is the largest possible number of them."""

    def __init__(self, path: Path, hasher: xxh3_128, stack: ExitStack) -> None:
        file = stack.enter_context(_open(path))
        size = file.seek(0, io.SEEK_END)
        file.seek(0)
        if size == 0:
            raise InvalidInput("empty file", "a NIfTI header and voxels", FETCH_AGAIN)
        self._raw = _HashingFile(file, hasher)
        source = io.BufferedReader(self._raw, CHUNK)
        self.zipped = path.name.lower().endswith(".gz")
        self.head = source.peek(HEAD)[:HEAD]
        if self.zipped and not self.head.startswith(GZIP):
            raise _not_gzip(self.head)
        self.capacity = size * MAX_INFLATION if self.zipped else size
        self._file = igzip.IGzipFile(fileobj=source, mode="rb") if self.zipped else source

    def read(self, count: int) -> bytes:
        """The next `count` bytes, fewer only at the end. Raises InvalidInput where the gzip stream is damaged."""
        self._raw.allowed = 2 * count + MAX_EMPTY  # incompressible data take a little more than their size
        try:
            return self._file.read(count)
        except (EOFError, gzip.BadGzipFile, igzip_lib.error) as exc:  # type: ignore[misc]  # its stub is wrong
            raise InvalidInput(
                f"damaged gzip data, or other bytes after its end ({one_line(exc)})",
                "one intact gzip stream up to the end of the file",
                FETCH_AGAIN,
            ) from exc

    def skip(self, count: int) -> int:
        """Skip up to `count` bytes; return the number skipped."""
        remaining = count
        while remaining and (read := len(self.read(min(remaining, CHUNK)))):
            remaining -= read
        return count - remaining


def _open(path: Path) -> io.BufferedReader:
    """Open a regular file; opening a pipe would wait forever."""
    try:
        return cast(io.BufferedReader, open_regular(path))
    except UnexpectedFile as error:
        raise InvalidInput("not a regular file", "a NIfTI file", "point to the file itself") from error


def _not_gzip(head: bytes) -> InvalidInput:
    """The error for a file named .gz that starts with `head`, which is not gzip."""
    contents = describe(head)
    if contents is NIFTI or head[:4] in (b"\x5c\x01\0\0", b"\0\0\x01\x5c"):
        return InvalidInput("plain data named .gz", "gzip data", "rename it without .gz, or compress it")
    if contents:
        return InvalidInput(f"{contents.name}, though named .gz", "NIfTI in gzip", contents.remedy)
    return InvalidInput(f"not gzip data, though named .gz ({first_bytes(head)})", "NIfTI in gzip", unknown_remedy(head))


def first_bytes(head: bytes) -> str:
    """`head`, the start of a file of unknown type, as messages show it."""
    return f"it starts with {head[:8]!r}" if any(head) else "it starts with zeros"


def unknown_remedy(head: bytes) -> str:
    """The remedy for a file of unknown type. A broken download or copy leaves zeros."""
    return "check what the file is, and convert it to NIfTI if it is a scan" if any(head) else FETCH_AGAIN
