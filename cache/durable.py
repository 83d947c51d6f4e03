"""Files and folders that survive a power cut, written where no link leads them elsewhere."""

import errno
import os
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from cache.confined import check_inside, read_regular

# How file systems say that they cannot flush a folder: CIFS, vboxsf and some FUSE mounts; Windows cannot open one.
UNFLUSHABLE = {
    errno.EINVAL, errno.EBADF, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EACCES, errno.EPERM, errno.EISDIR,
}  # fmt: skip


def holds(path: Path, data: bytes) -> bool:
    """True where `path` is a file of exactly `data`, and no link."""
    try:
        return not path.is_symlink() and path.stat().st_size == len(data) and read_regular(path, len(data)) == data
    except OSError:
        return False


def write_durably(root: Path, path: Path, data: bytes, scratch: Path, linked: str = "") -> None:
    """Make `path`, below `root`, a file of `data`: a crash at any moment leaves what was there before, or all of it.

    On return it would survive a power cut: the file is written and flushed in the folder `scratch`, renamed into place,
    and each folder flushed in which there is a new name. Whatever else stands in its place, a folder or a link, is
    moved to `root`/ledger/aside; only the folder `linked` directly below `root` may be a link.
    """
    partial = scratch / uuid.uuid4().hex
    with replace_file(path, partial, lambda: _make_way(root, path, linked)), partial.open("xb") as file:
        file.write(data)


@contextmanager
def replace_file(path: Path, partial: Path, make_folders: Callable[[], list[Path]] = list) -> Iterator[None]:
    """A block that writes the file `partial`, which then replaces `path`; a crash leaves one or the other.

    On return it would survive a power cut: the file is flushed, `make_folders` makes the folders of `path` and returns
    those that are new, the file is renamed, and each folder with a new name is flushed. Where anything fails, `partial`
    is removed.
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


def _make_way(root: Path, path: Path, linked: str) -> list[Path]:
    """Make the folders of `path` below `root`, and return those that are new."""
    new = []
    for folder in reversed([parent for parent in path.parents if parent.is_relative_to(root)]):
        if folder.is_symlink() and folder not in (root, root / linked):
            _put_aside(root, folder)
        if folder.exists() and not folder.is_dir():
            _put_aside(root, folder)
        if not folder.exists():
            folder.mkdir(exist_ok=True)
            new.append(folder)
    if path.is_dir() and not path.is_symlink():
        _put_aside(root, path)
    return new


def _put_aside(root: Path, place: Path) -> None:
    """Move what is at `place`, itself and not what it links to, into `root`/ledger/aside."""
    aside = root / "ledger" / "aside"
    check_inside(root, aside)
    aside.mkdir(exist_ok=True)
    place.rename(aside / uuid.uuid4().hex)


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
