"""Who has a cache open for reading: all of them share the lock on CACHE/ledger/readers, without writing anything.

A writer removes the chunk of an earlier version of a sample only while it holds that lock alone. The kernel drops the
lock of a process that dies. Where the file system has no `flock`, nobody can know: then readers do without, and old
chunks are removed at the end of the run that replaced them.
"""

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

if sys.platform != "win32":
    import fcntl

ATTEMPTS, ATTEMPT_SECONDS = 100, 0.05  # to share the lock while a writer removes chunks, which takes a moment


class Lease:
    """A shared lock on the cache in `root`, held until this object is deleted."""

    def __init__(self, root: Path) -> None:
        self._descriptor: int | None = None
        self._descriptor = _shared(root / "ledger" / "readers")

    def __del__(self) -> None:
        if self._descriptor is not None:
            with suppress(OSError):
                os.close(self._descriptor)


def _shared(path: Path) -> int | None:
    """A descriptor of `path` that shares its lock; None where that cannot be had."""
    if sys.platform == "win32":
        return None
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    except OSError:  # a cache of an earlier version, say
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
    """True while nobody has the cache in `root` open, and nobody can open it; False where somebody has."""
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
