"""AVI: frames that are stored as empty chunks."""

import os
from pathlib import Path

LISTS = {b"RIFF", b"LIST"}  # chunks with chunks inside
ENTERED = {b"AVI ", b"AVIX", b"movi", b"rec "}  # types of lists that contain frames


def empty_chunks(path: Path, stream: int) -> int:
    """How many frames of an AVI are stored as empty chunks, which repeat the previous frame.

    FFmpeg skips them silently, but the header counts them. Counting stops at the end of the file.
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
