"""MP4 and MOV: boxes that are cut off, and edit lists with gaps."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import IO

MAX_BOX = 1 << 20  # bytes read of one box; an entry of an edit list has 12 or 20


def ends_inside_box(path: Path) -> bool:
    """Whether an MP4 ends before one of its outermost boxes ends, as after a broken download.

    Data after the last box, such as padding, are ignored.
    """
    size = path.stat().st_size
    with path.open("rb", buffering=0) as file:
        return any(end > size for _, _, end in _boxes(file, 0, size))


def has_gap(path: Path) -> bool:
    """Whether an edit list of an MP4 has a gap between two parts of the video, in which nothing is shown.

    FFmpeg fills such a gap with the first frames of the track.
    """
    size = path.stat().st_size
    with path.open("rb", buffering=0) as file:
        for track in _inside(file, (0, size), b"moov", b"trak"):
            handlers = [_read(file, *body)[8:12] for body in _inside(file, track, b"mdia", b"hdlr")]
            for body in _inside(file, track, b"edts", b"elst") if b"vide" in handlers else ():
                if _is_broken_by_empty_edit(_read(file, *body)):
                    return True
    return False


def _is_broken_by_empty_edit(elst: bytes) -> bool:
    entry = struct.Struct(">Qqi" if elst[:1] == b"\1" else ">Iii")  # duration, start in the media or -1, rate
    entries = elst[8 : 8 + (len(elst) - 8) // entry.size * entry.size]
    empty = [start == -1 for _, start, _ in entry.iter_unpack(entries)][: int.from_bytes(elst[4:8], "big")]
    shown = [index for index, is_empty in enumerate(empty) if not is_empty]
    return bool(shown) and any(empty[shown[0] : shown[-1]])


def _inside(file: IO[bytes], parent: tuple[int, int], *names: bytes) -> Iterator[tuple[int, int]]:
    """The (start, end) of the body of each box at the path `names` below `parent`."""
    for name, start, end in _boxes(file, *parent):
        if name == names[0] and end <= parent[1]:
            yield from _inside(file, (start, end), *names[1:]) if names[1:] else [(start, end)]


def _boxes(file: IO[bytes], position: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Consecutive boxes from `position`: name, start of the body, and the end that the header gives."""
    while position + 8 <= end:
        header = _read(file, position, position + 16)
        length, name = int.from_bytes(header[:4], "big"), header[4:8]
        start = position + (16 if length == 1 else 8)
        if length == 1:
            length = int.from_bytes(header[8:], "big")
        if length < start - position or not name.isalnum():  # a length of 0 means "to the end of the file"
            return
        position += length
        yield name, start, position


def _read(file: IO[bytes], start: int, end: int) -> bytes:
    file.seek(start)
    return file.read(min(end - start, MAX_BOX))
