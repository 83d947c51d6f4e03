"""Files and folders that survive a power cut, written without following links."""

import errno
import os
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from cache.confined import check_inside, read_regular

# Errors of file systems that cannot flush a folder: CIFS, vboxsf, some FUSE mounts; Windows cannot open one.
UNFLUSHABLE = {
    errno.EINVAL, errno.EBADF, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EACCES, errno.EPERM, errno.EISDIR,
}  # fmt: skip


def has_content(path: Path, data: bytes) -> bool:
    """Whether `path` is a regular file, not a link, with exactly these bytes."""
    try:
        return not path.is_symlink() and path.stat().st_size == len(data) and read_regular(path, len(data)) == data
    except OSError:
        return False


def write_durably(root: Path, path: Path, data: bytes, scratch: Path, linked: str = "") -> None:
    """Write `data` to `path`, below `root`; a crash leaves either the earlier file or the new one.

    On return the file survives a power cut: it is written and flushed in the folder `scratch` and renamed, and every
    folder with a new name is flushed. A folder or link in its place is moved to `root`/ledger/aside; only the folder
    `linked` directly below `root` may be a link.
    """
    partial = scratch / uuid.uuid4().hex
    with replace_file(path, partial, lambda: _make_folders(root, path, linked)), partial.open("xb") as file:
        file.write(data)


@contextmanager
def replace_file(path: Path, partial: Path, make_folders: Callable[[], list[Path]] = list) -> Iterator[None]:
    """A block that writes the file `partial`, which then replaces `path`; a crash leaves one or the other.

    On return the file survives a power cut: it is flushed, `make_folders` creates the folders of `path` and returns the
    new ones, the file is renamed, and every folder with a new name is flushed. If anything fails, `partial` is removed.
    """
    try:
        yield
        with partial.open("rb+") as file:
            os.fsync(file.fileno())
        new = make_folders()
        partial.replace(path)
    except BaseException:
        with suppress(OSError):
            partial.unlink()
        raise
    for folder in (path, *reversed(new)):
        flush_folder(folder.parent)


def _make_folders(root: Path, path: Path, linked: str) -> list[Path]:
    """Create the folders of `path` below `root`, and return the new ones."""
    new = []
    for folder in reversed([parent for parent in path.parents if parent.is_relative_to(root)]):
        if folder.is_symlink() and folder not in (root, root / linked):
            _move_aside(root, folder)
        if folder.exists() and not folder.is_dir():
            _move_aside(root, folder)
        if not folder.exists():
            folder.mkdir(exist_ok=True)
            new.append(folder)
    if path.is_dir() and not path.is_symlink():
        _move_aside(root, path)
    return new


def _move_aside(root: Path, place: Path) -> None:
    """Move the file, folder or link `place` into `root`/ledger/aside."""
    aside = root / "ledger" / "aside"
    check_inside(root, aside)
    aside.mkdir(exist_ok=True)
    place.rename(aside / uuid.uuid4().hex)


def make_folder(folder: Path) -> None:
    """Create `folder`, and those above it, so that they survive a power cut. Raises OSError."""
    if not folder.is_dir():
        if folder.exists():
            raise NotADirectoryError(errno.ENOTDIR, f"{folder} is not a folder")
        make_folder(folder.parent)
        folder.mkdir(exist_ok=True)
        flush_folder(folder.parent)


def flush_folder(folder: Path) -> None:
    """Flush the names in `folder`, if its file system can."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        if error.errno not in UNFLUSHABLE:
            raise
