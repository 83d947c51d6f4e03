"""Remedies for errors of the operating system: one table for all messages."""

import errno
from pathlib import Path

# Errors of reading that mean that the file does not exist; others say nothing about its contents.
ABSENT = {errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ELOOP}

AGAIN = "run the same command again"
REMEDIES = {
    errno.ENOSPC: f"free some space and {AGAIN}",
    errno.EDQUOT: f"free some space or ask for a larger quota, and {AGAIN}",
    errno.EIO: f"check the disk and its connection (`dmesg` has details), and {AGAIN}",
    errno.EFBIG: "allow larger files (`ulimit -f`), or choose a path whose file system does",
    errno.EROFS: "mount it for writing, or choose another path",
    errno.EACCES: "change the permissions",
    errno.EPERM: "change the permissions",
    errno.EMFILE: f"allow more open files (`ulimit -n 4096`) and {AGAIN}",
    errno.ENFILE: f"close other programs, or allow more open files on this machine, and {AGAIN}",
    errno.ENAMETOOLONG: "choose a shorter path",
    errno.ESTALE: f"check the file server or mount the folder again, and {AGAIN}",
}


def reason(error: OSError) -> str:
    """The system's text for `error`."""
    return error.strerror or str(error) or type(error).__name__


def cannot_read(path: Path, error: OSError, otherwise: str = "check the path and its permissions") -> str:
    """The message for an error of reading `path` that says nothing about its contents."""
    return f"cannot read {path}: {reason(error)}; {remedy(error, otherwise)}"


def remedy(error: OSError, otherwise: str) -> str:
    """What to do about `error`: from the table, or `otherwise`."""
    return REMEDIES.get(error.errno or 0, otherwise)
