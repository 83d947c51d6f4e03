"""Files of a folder that anybody may have made: what is read is checked first, and no link leads a writer out of it.

Reading follows links, for it harms nothing; but it opens regular files only, of a size that was expected. A named pipe
would block for ever, a device would never end, a sparse file would fill the memory.
"""

import os
import stat
from pathlib import Path
from typing import BinaryIO

from cache.errors import LinkInside

LINKED_VOLUME = "; where it is on another disk by your own wish, name that folder by --linked-volume"


class UnexpectedFile(OSError):
    """The path leads to something that is not read: not a regular file, or one that is too large."""


def open_regular(path: Path, limit: int | None = None) -> BinaryIO:
    """Open a regular file of at most `limit` bytes for reading.

    Raises OSError, which is UnexpectedFile for a file of another type or size.
    """
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    try:
        found = os.fstat(descriptor)
        if stat.S_ISDIR(found.st_mode):
            raise UnexpectedFile("it is a folder, not a file")
        if not stat.S_ISREG(found.st_mode):
            raise UnexpectedFile("it is a pipe or a device, not a file")
        if limit is not None and found.st_size > limit:
            raise UnexpectedFile(f"it has {found.st_size:,} bytes, expected at most {limit:,}")
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def read_regular(path: Path, limit: int) -> bytes:
    """The bytes of a regular file, at most `limit`. Raises OSError as `open_regular` does."""
    with open_regular(path, limit) as file:
        data = file.read(limit + 1)
    if len(data) > limit:  # it has grown since
        raise UnexpectedFile(f"it has more than {limit:,} bytes")
    return data


def check_inside(root: Path, path: Path, linked: str = "") -> None:
    """Raise LinkInside where `path`, or a folder between it and `root`, is a link; `root` itself may be one.

    A link named `linked` directly below `root` is allowed. Components that do not exist yet are no links.
    """
    place = root
    for part in path.relative_to(root).parts:
        place = place / part
        if place.is_symlink() and place != root / linked:
            raise LinkInside(
                f"{place} is a link to {os.readlink(place)}; nothing is written through a link inside {root}: "  # noqa: PTH115
                "delete it, and put what it leads to in its place if it belongs there"
                f"{LINKED_VOLUME if place in (root / 'volume', root / 'features') else ''}"
            )


def linked_folder(root: Path, name: str, target: Path) -> str:
    """`name`, as writers of the cache in `root` take it, where the folder of that name is a link to `target`.

    Raises LinkInside where it is something else.
    """
    place = root / name
    if place.is_symlink() and target.is_dir() and place.resolve() == target.resolve():
        return name
    found = f"a link to {os.readlink(place)}" if place.is_symlink() else "no link"  # noqa: PTH115
    raise LinkInside(f"{place} is {found}, not a link to {target}; move it there and link it, or name where it leads")
