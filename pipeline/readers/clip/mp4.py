"""MP4 and MOV: boxes that are cut off, and edit lists with gaps."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import IO

MAX_BOX = 1 << 20  # bytes of a box of an MP4 that are read; an edit list has 12 or 20 an entry


def ends_inside_box(path: Path) -> bool:
    """Whether an MP4 ends before one of its outermost boxes does, as it does where a download broke off.

    Whatever is behind the last box and is not one, such as padding, is not looked at.
    """
    size = path.stat().st_size
    with path.open("rb", buffering=0) as file:
        return any(end > size for _, _, end in _boxes(file, 0, size))


def has_gap(path: Path) -> bool:
    """Whether an edit list of an MP4 shows nothing for a while between two parts of the video.

    FFmpeg fills such a gap with the frames that the track starts with.
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
    whole = elst[8 : 8 + (len(elst) - 8) // entry.size * entry.size]
    empty = [start == -1 for _, start, _ in entry.iter_unpack(whole)][: int.from_bytes(elst[4:8], "big")]
    shown = [index for index, is_empty in enumerate(empty) if not is_empty]
    return bool(shown) and any(empty[shown[0] : shown[-1]])


def _inside(file: IO[bytes], parent: tuple[int, int], *names: bytes) -> Iterator[tuple[int, int]]:
    """Where the bodies of the boxes at the path `names` below `parent` start and end."""
    for name, start, end in _boxes(file, *parent):
        if name == names[0] and end <= parent[1]:
            yield from _inside(file, (start, end), *names[1:]) if names[1:] else [(start, end)]


def _boxes(file: IO[bytes], place: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """The boxes side by side from `place` on: name, where the body starts, where it says it ends."""
    while place + 8 <= end:
        header = _read(file, place, place + 16)
        length, name = int.from_bytes(header[:4], "big"), header[4:8]
        start = place + (16 if length == 1 else 8)
        if length == 1:
            length = int.from_bytes(header[8:], "big")
        if length < start - place or not name.isalnum():  # a length of 0 stands for "up to the end"
            return
        place += length
        yield name, start, place


def _read(file: IO[bytes], start: int, end: int) -> bytes:
    file.seek(start)
    return file.read(min(end - start, MAX_BOX))
