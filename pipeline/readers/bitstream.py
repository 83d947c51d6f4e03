"""What the bytes of a video file say by themselves, without a decoder: container, orientation, holes, empty chunks."""

from __future__ import annotations

import math
import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np

BOX_TYPES = {b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot"}  # what an MP4, MOV or 3GP starts with
SIGNATURES = {  # first bytes -> FFmpeg's demuxer; none of these ever opens a second file
    b"\x1a\x45\xdf\xa3": "matroska",
    b"\x00\x00\x01\xba": "mpeg",
    b"\x00\x00\x01\xb3": "mpegvideo",
    b"FLV\x01": "flv",
    b"OggS": "ogg",
    bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c"): "asf",
}
TRANSPORT_PACKETS = ((188, 0), (192, 4), (204, 0))  # bytes from one sync byte to the next, bytes before the first
LISTS = {b"RIFF", b"LIST"}  # what an AVI nests
ENTERED = {b"AVI ", b"AVIX", b"movi", b"rec "}  # kinds of those that lead to its frames
MOST_BOX = 1 << 20  # bytes of a box of an MP4 that are read; an edit list has 12 or 20 an entry
HEAD = 1024  # bytes that `demuxer` wants to see
RIGHT_ANGLE = math.tan(math.radians(0.5))  # a display matrix turned by less than half a degree from one counts as one
NAL_CODECS = {"h264", "hevc"}
NAL_ZEROS = 16  # emulation prevention keeps encoders from writing more than a few in a row
RANGE_CODED = {"vp8", "vp9"}
SEARCHED = NAL_CODECS | RANGE_CODED  # the codecs that `has_hole` knows
RANGE_ZEROS = 512  # bytes; libvpx was seen to write 83 in a row into a flat frame of 1080p, fewer into smaller ones
PIXELS_PER_ZERO = 4096  # so that larger frames may hold longer runs


def demuxer(head: bytes) -> str | None:
    """The name of FFmpeg's demuxer for a file that starts with `head`; None where it is not a known container."""
    if head[:4] == b"RIFF" and head[8:12] == b"AVI ":
        return "avi"
    if head[4:8] in BOX_TYPES:
        return "mov"
    for signature, name in SIGNATURES.items():
        if head.startswith(signature):
            return name
    return "mpegts" if _transport_packet(head) else None


def _transport_packet(head: bytes) -> tuple[int, int] | None:
    """Of the packets of a transport stream that starts with `head`: their length, and the bytes before its sync."""
    return next((found for found in TRANSPORT_PACKETS if _syncs(head, *found) == b"GGG"), None)


def _syncs(head: bytes, size: int, start: int) -> bytes:
    return head[start : start + 2 * size + 1 : size]


def ends_inside_packet(path: Path) -> bool:
    """Whether a transport stream ends within a packet, so that its last frame lacks its end.

    The demuxer does not say so: there, a frame ends where the next one starts.
    """
    with path.open("rb", buffering=0) as file:
        packet = _transport_packet(file.read(HEAD))
        if not packet:
            return False
        size, start = packet
        left = path.stat().st_size % size
        file.seek(-left, os.SEEK_END)
        return file.read(left)[start : start + 1] == b"G"  # not so of what was appended, such as padding


@dataclass(frozen=True)
class Orientation:
    """How a stored frame becomes the one that is shown: mirrored left to right if so, then turned clockwise.

    `rotation` is in whole degrees. Only right angles are `exact` and applied; of any other a frame stays as stored.
    """

    rotation: int = 0
    mirrored: bool = False
    exact: bool = True

    @property
    def transposed(self) -> bool:
        """True where a shown frame is as wide as the stored one is high."""
        return self.exact and self.rotation in (90, 270)

    def apply(self, plane: np.ndarray) -> np.ndarray:
        """`plane` (height, width) as it is shown, C-contiguous; the same array where nothing is to be done."""
        if not self.exact or (self.rotation == 0 and not self.mirrored):
            return plane
        shown = plane[:, ::-1] if self.mirrored else plane
        return np.ascontiguousarray(np.rot90(shown, -self.rotation // 90))


def orientation(matrix: bytes) -> Orientation:
    """The orientation that a display matrix (nine 32-bit numbers as FFmpeg gives them) stands for.

    It maps a stored point (x, y) to (a·x + c·y, b·x + d·y); a matrix that maps everything to one line stands for none.
    """
    a, b, _, c, d, *_ = struct.unpack("=9i", matrix)
    determinant = a * d - b * c
    if determinant == 0:
        return Orientation()
    mirrored = determinant < 0
    sign = -1 if mirrored else 1
    rotation = round(math.degrees(math.atan2(sign * b, sign * a))) % 360
    straight = max(abs(b), abs(c)) <= RIGHT_ANGLE * min(abs(a), abs(d))
    across = max(abs(a), abs(d)) <= RIGHT_ANGLE * min(abs(b), abs(c))
    return Orientation(rotation, mirrored, straight or across)


def has_hole(packet: bytes, codec: str, pixels: int) -> bool:
    """True where an encoded frame of `pixels` holds zeros that no encoder of this codec writes, as a lost sector does.

    H.264 and HEVC forbid them but as padding: at the end, or before a start code. In VP8 and VP9, whose decoders take
    anything, long runs are improbable. Other codecs may hold zeros (MJPEG of flat pictures), or report them.
    """
    if codec in RANGE_CODED:
        return bytes(max(RANGE_ZEROS, pixels // PIXELS_PER_ZERO)) in packet
    return codec in NAL_CODECS and _zeros_inside(packet)


def _zeros_inside(packet: bytes) -> bool:
    zeros = bytes(NAL_ZEROS)
    start = packet.find(zeros)
    while start >= 0:
        rest = packet[start:].lstrip(b"\0")
        if rest and rest[0] != 1:
            return True
        start = packet.find(zeros, len(packet) - len(rest))
    return False


def empty_chunks(path: Path, stream: int) -> int:
    """How many frames of an AVI are stored as empty chunks, which stand for "the one before again".

    FFmpeg passes over them without a word, while the header counts them. Counting stops where the file does.
    """
    frames = {b"%02d%s" % (stream, kind) for kind in (b"dc", b"db")}
    count = 0
    with path.open("rb", buffering=0) as file:
        while len(header := file.read(8)) == 8:
            name, length = header[:4], int.from_bytes(header[4:], "little")
            if name in LISTS and file.read(4) in ENTERED:
                continue
            count += name in frames and length == 0
            file.seek(length + length % 2 - 4 * (name in LISTS), os.SEEK_CUR)
    return count


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
    return file.read(min(end - start, MOST_BOX))
