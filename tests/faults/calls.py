"""Kills and failures at any call to the system, within this process: quick, and without a compiler."""

import os
import sys
from contextlib import contextmanager
from unittest.mock import patch

WRITES = {"os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.utime", "os.truncate", "fcntl.flock", "os.fsync"}
READS = {"open", "os.scandir", "os.listdir"}


class Killed(BaseException):
    """Stands for SIGKILL: nothing catches it, and no system call works any more."""


class Calls:
    """Counts the system calls on files below `folder`; the one with number `at`, and with `on` all after it, fail.

    Those that only read count where `reads`.
    """

    watching = None

    def __init__(self, folder, at=-1, error=None, on=True, reads=False):
        self.folder, self.at, self.error, self.on, self.reads, self.count = str(folder), at, error, on, reads, 0

    def see(self, call, path, *more):
        writes = call in WRITES or (call == "open" and more[-1] & (os.O_WRONLY | os.O_RDWR))
        here = isinstance(path, int) or str(path).startswith(self.folder)
        if here and (writes or (self.reads and call in READS)):
            number, self.count = self.count, self.count + 1
            if number == self.at or (self.on and number > self.at >= 0):
                raise OSError(self.error, os.strerror(self.error)) if self.error else Killed(call)


def _hook(call, arguments):
    if Calls.watching and (call in WRITES or call in READS):
        Calls.watching.see(call, *arguments)


sys.addaudithook(_hook)  # there is no taking it back; it does nothing while none is watching


@contextmanager
def watched(calls):
    with patch.object(os, "fsync", lambda descriptor: calls.see("os.fsync", descriptor)):
        Calls.watching = calls
        try:
            yield calls
        finally:
            Calls.watching = None
