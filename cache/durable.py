"""Files and folders that survive a power cut."""

import errno
import os
import shutil
import uuid
from contextlib import suppress
from pathlib import Path

# How file systems say that they cannot flush a folder: CIFS, vboxsf and some FUSE mounts; Windows cannot open one.
UNFLUSHABLE = {
    errno.EINVAL, errno.EBADF, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EACCES, errno.EPERM, errno.EISDIR,
}  # fmt: skip


def holds(path: Path, data: bytes) -> bool:
    """True where `path` is a file of exactly `data`."""
    try:
        return path.stat().st_size == len(data) and path.read_bytes() == data
    except OSError:
        return False


def write_durably(root: Path, path: Path, data: bytes) -> None:
    """Make `path`, below `root`, a file of `data`: a crash at any moment leaves what was there before, or all of it.

    On return it would survive a power cut: the file is flushed, renamed into place, and each folder flushed in which
    there is a new name. A folder that stands in its place is removed.
    """
    new = [folder for folder in path.parents if not folder.is_dir()]
    partial = root / "ledger" / "partial" / uuid.uuid4().hex
    try:
        with partial.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_dir():
            shutil.rmtree(path)
        partial.replace(path)
    except BaseException:
        with suppress(OSError):
            partial.unlink()
        raise
    for folder in (path, *new):
        flush_folder(folder.parent)


def make_folder(folder: Path) -> None:
    """Make `folder`, and those above it, such that they survive a power cut. Raises OSError."""
    if not folder.is_dir():
        if folder.exists():
            raise NotADirectoryError(errno.ENOTDIR, f"{folder} is not a folder")
        make_folder(folder.parent)
        folder.mkdir(exist_ok=True)
        flush_folder(folder.parent)


def flush_folder(folder: Path) -> None:
    """Make the names in `folder` survive a power cut, as far as its file system can do that."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        if error.errno not in UNFLUSHABLE:
            raise
