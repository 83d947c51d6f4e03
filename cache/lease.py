"""Readers of a cache share a lock on CACHE/ledger/readers, without writing anything.

A writer removes the chunks of earlier versions only while it holds that lock alone. The kernel releases the lock of a
process that dies. Where the file system has no `flock`, readers have no lock, and old chunks are removed at the end of
the run that replaced them.
"""

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

if sys.platform != "win32":
    import fcntl

ATTEMPTS, ATTEMPT_SECONDS = 100, 0.05  # to get the lock while a writer removes chunks, briefly


class Lease:
    """A shared lock on the cache in `root`, until this object is deleted."""

    def __init__(self, root: Path) -> None:
        self._descriptor: int | None = None
        self._descriptor = _shared(root / "ledger" / "readers")

    def __del__(self) -> None:
        if self._descriptor is not None:
            with suppress(OSError):
                os.close(self._descriptor)


def _shared(path: Path) -> int | None:
    """A descriptor of `path` with a shared lock; None where that is impossible."""
    if sys.platform == "win32":
        return None
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    except OSError:  # for example a cache of an earlier version
        return None
    for _ in range(ATTEMPTS):
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
            return descriptor
        except BlockingIOError:
            time.sleep(ATTEMPT_SECONDS)
        except OSError:
            break
    os.close(descriptor)
    return None


@contextmanager
def without_readers(root: Path) -> Iterator[bool]:
    """A block that gets True if no reader has the cache in `root` open; then none can open it during the block."""
    if sys.platform == "win32":
        yield True
        return
    descriptor = os.open(root / "ledger" / "readers", os.O_RDWR | os.O_NOFOLLOW)
    try:
        yield _locked(descriptor)
    finally:
        os.close(descriptor)


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # no `flock`
        return True
    return True
