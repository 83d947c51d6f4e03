"""Simulated kills and errors at any system call, within this process: fast, and without a compiler."""

import os
import sys
from contextlib import contextmanager
from unittest.mock import patch

WRITES = {"os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.utime", "os.truncate", "fcntl.flock", "os.fsync"}
READS = {"open", "os.scandir", "os.listdir"}


class Killed(BaseException):
    """Simulates SIGKILL: no handler catches it, and every later system call raises it too."""


class Calls:
    """Counts the system calls on files below `folder`, and makes one of them fail.

    Args:
        folder: Calls on paths outside are not counted. Calls on file descriptors always are.
        at: Number of the call that fails, from 0; negative for none.
        error: Number of the OSError to raise; None raises `Killed`.
        on: Whether all later calls fail too.
        reads: Whether calls that only read are counted as well.
    """

    watching = None

    def __init__(self, folder, at=-1, error=None, on=True, reads=False):
        self.folder, self.at, self.error, self.on, self.reads, self.count = str(folder), at, error, on, reads, 0

    def see(self, call, path, *arguments):
        """Count a call, and raise if it is to fail."""
        writes = call in WRITES or (call == "open" and arguments[-1] & (os.O_WRONLY | os.O_RDWR))
        inside = isinstance(path, int) or str(path).startswith(self.folder)
        if inside and (writes or (self.reads and call in READS)):
            number, self.count = self.count, self.count + 1
            if number == self.at or (self.on and number > self.at >= 0):
                raise OSError(self.error, os.strerror(self.error)) if self.error else Killed(call)


def _hook(call, arguments):
    if Calls.watching and (call in WRITES or call in READS):
        Calls.watching.see(call, *arguments)


sys.addaudithook(_hook)  # an audit hook cannot be removed; this one does nothing outside `watched`


@contextmanager
def watched(calls):
    """Pass the system calls of the block to `calls`, fsync included, which has no audit event."""
    with patch.object(os, "fsync", lambda descriptor: calls.see("os.fsync", descriptor)):
        Calls.watching = calls
        try:
            yield calls
        finally:
            Calls.watching = None
