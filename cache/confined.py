"""Safe access to untrusted folders: files are checked before they are read, and no link leads a writer outside.

Reading follows links, which does no harm, but opens only regular files of a plausible size: a named pipe would block,
a device would never end, and a sparse file would fill the memory.
"""

import os
import stat
from pathlib import Path
from typing import BinaryIO

from cache.errors import LinkInside

LINKED_VOLUME = "; if you put it on another disk on purpose, name that folder with --linked-volume"


class UnexpectedFile(OSError):
    """The path is not a regular file, or the file is too large."""


def open_regular(path: Path, limit: int | None = None) -> BinaryIO:
    """Open a regular file of at most `limit` bytes for reading.

    Raises OSError, which is UnexpectedFile for a file of another type or size.
    """
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    try:
        status = os.fstat(descriptor)
        if stat.S_ISDIR(status.st_mode):
            raise UnexpectedFile("it is a folder, not a file")
        if not stat.S_ISREG(status.st_mode):
            raise UnexpectedFile("it is a pipe or a device, not a file")
        if limit is not None and status.st_size > limit:
            raise UnexpectedFile(f"it has {status.st_size:,} bytes, expected at most {limit:,}")
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def read_regular(path: Path, limit: int) -> bytes:
    """The bytes of a regular file, at most `limit`. Raises OSError as `open_regular` does."""
    with open_regular(path, limit) as file:
        data = file.read(limit + 1)
    if len(data) > limit:  # it has grown since it was opened
        raise UnexpectedFile(f"it has more than {limit:,} bytes")
    return data


def check_inside(root: Path, path: Path, linked: str = "") -> None:
    """Raise LinkInside if `path`, or a folder between it and `root`, is a link; `root` itself may be one.

    A link named `linked` directly below `root` is allowed. Parts of the path may not exist yet.
    """
    place = root
    for part in path.relative_to(root).parts:
        place = place / part
        if place.is_symlink() and place != root / linked:
            raise LinkInside(
                f"{place} is a link to {os.readlink(place)}; nothing is written through a link inside {root}: "  # noqa: PTH115
                "delete it, and move its target here if that belongs to the cache"
                f"{LINKED_VOLUME if place in (root / 'volume', root / 'features') else ''}"
            )


def linked_folder(root: Path, name: str, target: Path) -> str:
    """`name`, for the argument `linked` of writers, if the folder `name` in `root` is a link to `target`.

    Raises LinkInside if it is anything else.
    """
    place = root / name
    if place.is_symlink() and target.is_dir() and place.resolve() == target.resolve():
        return name
    actual = f"a link to {os.readlink(place)}" if place.is_symlink() else "not a link"  # noqa: PTH115
    raise LinkInside(
        f"{place} is {actual}; expected a link to {target}; move the folder there and link it, or name its real target"
    )
