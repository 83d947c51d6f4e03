"""Video containers by their first bytes, and FFmpeg's demuxer for each."""

from __future__ import annotations

import os
from pathlib import Path

from pipeline.errors import InvalidInput
from pipeline.readers.remedies import FETCH_AGAIN, MOVE_OUT
from pipeline.sources.contents import describe

BOX_TYPES = {b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot"}  # the first box of an MP4, MOV or 3GP
SIGNATURES = {  # first bytes -> FFmpeg's demuxer; none of these ever opens a second file
    b"\x1a\x45\xdf\xa3": "matroska",
    b"\x00\x00\x01\xba": "mpeg",
    b"\x00\x00\x01\xb3": "mpegvideo",
    b"FLV\x01": "flv",
    b"OggS": "ogg",
    bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c"): "asf",
}
TRANSPORT_PACKETS = ((188, 0), (192, 4), (204, 0))  # bytes between sync bytes, bytes before the first
HEAD = 1024  # bytes that `demuxer` needs
CONTAINERS = "a video: AVI, MP4, MOV, Matroska, WebM, MPEG, MPEG-TS, FLV, ASF (WMV) or Ogg"
CONVERT = f"convert it to one of these, or {MOVE_OUT}"


def demuxer_of(path: Path) -> str:
    """FFmpeg's demuxer for the file in `path`. Raises InvalidInput where it is not a known container, OSError."""
    with path.open("rb") as file:
        head = file.read(HEAD)
    if name := demuxer(head):
        return name
    if not head:
        raise InvalidInput("empty file", CONTAINERS, FETCH_AGAIN)
    contents = describe(head)
    if contents and contents.kind == "video":
        raise InvalidInput(f"{contents.name} that ends after {path.stat().st_size} bytes", CONTAINERS, FETCH_AGAIN)
    if contents:
        raise InvalidInput(f"not a video container: the file is {contents.name}", CONTAINERS, contents.remedy)
    remedy = CONVERT if any(head) else FETCH_AGAIN  # a broken download leaves zeros
    raise InvalidInput(f"not a video container (it starts with {head[:8]!r})", CONTAINERS, remedy)


def demuxer(head: bytes) -> str | None:
    """FFmpeg's demuxer for a file that starts with `head`; None where it is not a known container."""
    if head[:4] == b"RIFF" and head[8:12] == b"AVI ":
        return "avi"
    if head[4:8] in BOX_TYPES:
        return "mov"
    for signature, name in SIGNATURES.items():
        if head.startswith(signature):
            return name
    return "mpegts" if _transport_packet(head) else None


def _transport_packet(head: bytes) -> tuple[int, int] | None:
    """(packet length, bytes before the sync byte) of a transport stream with this `head`; None for other data."""
    return next((packet for packet in TRANSPORT_PACKETS if _sync_bytes(head, *packet) == b"GGG"), None)


def _sync_bytes(head: bytes, size: int, start: int) -> bytes:
    return head[start : start + 2 * size + 1 : size]


def ends_inside_packet(path: Path) -> bool:
    """Whether a transport stream ends within a packet, so that its last frame is incomplete.

    The demuxer does not report that, since a frame ends where the next one starts.
    """
    with path.open("rb", buffering=0) as file:
        packet = _transport_packet(file.read(HEAD))
        if not packet:
            return False
        size, start = packet
        left = path.stat().st_size % size
        file.seek(-left, os.SEEK_END)
        return file.read(left)[start : start + 1] == b"G"  # False for appended data, such as padding
