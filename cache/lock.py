"""A lock for a folder that one process at a time may write to, on any file system.

    lock          locked with `flock` while a process writes; the kernel drops that lock when the process dies
    lock.owner    JSON: which process that is; removed on release

Where the file system has no `flock` (Lustre without `-o flock`, some FUSE mounts; Windows has none at all), whoever
creates `lock.owner` holds the lock. A process that is killed leaves it behind. The next one on the same host finds that
its owner is dead and takes over; on another host it cannot know, and `LockHeld` names the owner and the file to delete.
"""

import errno
import getpass
import json
import os
import socket
import stat
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path

if sys.platform != "win32":
    import fcntl

NO_FLOCK = {errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOTSUP, errno.EINVAL}
CONTENDED = {errno.EAGAIN, errno.EWOULDBLOCK, errno.EACCES}
MOST_BYTES = 1 << 16  # of a `lock.owner`, which takes a few hundred
PATIENCE = 2.0  # seconds within which a process that has created `lock.owner` will have written it
NOT_BEYOND = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)  # no link, and no waiting for a pipe
LOCK_FILES = ("lock", "lock.owner", "partial-lock.owner")  # the last one only while a dead owner's lock is taken over


@dataclass(frozen=True)
class Owner:
    """A process that holds a lock: `since` in seconds of the epoch, `started` and `space` to tell it from others.

    `started` is when the process started, in whatever unit the system has; `space` is its PID namespace, so that
    containers of one host name do not judge each other's processes.
    """

    host: str
    pid: int
    user: str
    since: float
    started: str
    space: str
    flock: bool

    def __str__(self) -> str:
        since = datetime.fromtimestamp(self.since).astimezone()
        return f"process {self.pid} of {self.user} on {self.host}, since {since:%Y-%m-%d %H:%M}, {_ago(self.since)}"


class LockHeld(Exception):
    """Another process holds the lock. `holder` says which, as " (…)", and `way_out` what to do if it is gone, as "; …".

    Both are empty where they are not known, or not needed.
    """

    def __init__(self, holder: Owner | None = None, delete: Path | None = None) -> None:
        self.holder = f" ({holder})" if holder else ""
        self.way_out = f"; if that run is gone, delete {delete} and run the same command again" if delete else ""
        super().__init__(f"the lock is held{self.holder}{self.way_out}")


@contextmanager
def exclusive(path: Path) -> Iterator[None]:
    """Hold the lock `path`, the `lock` file of a folder. Raises LockHeld at once where another process has it."""
    record = path.with_name("lock.owner")
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | NOT_BEYOND, 0o666)
    try:
        _check_regular(descriptor, path)
        mine = _me(flock=_flock(descriptor, record))
        _claim(record, mine)
        try:
            yield
        finally:
            with suppress(OSError):
                if _parse(_read(record) or b"") == mine:
                    record.unlink()
    finally:
        os.close(descriptor)  # which drops the lock


def _flock(descriptor: int, record: Path) -> bool:
    """Lock an open file; False where the file system cannot. Raises LockHeld where another process has locked it."""
    if sys.platform == "win32":
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in NO_FLOCK:
            return False
        if error.errno not in CONTENDED:
            raise
        owner = _parse(_read(record) or b"")
        raise LockHeld(owner if owner and not _is_dead(owner) else None) from error
    return True


def _claim(record: Path, mine: Owner) -> None:
    """Create `record`, the file of `mine`, in place of one whose owner is gone. Raises LockHeld."""
    for _ in range(2):
        with suppress(FileExistsError):
            return _create(record, mine)
        there = _read(record, 0 if mine.flock else PATIENCE)
        owner = _parse(there or b"")
        if owner and not (mine.flock and owner.flock) and not _is_dead(owner):
            raise LockHeld(owner, record if _place(owner) != _place(mine) else None)
        if there is not None:
            _take_away(record, there)
    raise LockHeld(_parse(_read(record) or b""))


def _create(record: Path, mine: Owner) -> None:
    """Raises FileExistsError."""
    data = json.dumps(asdict(mine)).encode()
    descriptor = os.open(record, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    try:
        os.write(descriptor, data)
    except OSError:
        record.unlink()
        raise
    finally:
        os.close(descriptor)
    if not mine.flock and _read(record) != data:  # so slow that another process has taken this one for dead
        raise LockHeld


def _read(record: Path, patience: float = 0.0) -> bytes | None:
    """The first bytes of `record`; None if it does not exist. While it is empty, try again for `patience` seconds."""
    end = time.monotonic() + patience
    while True:
        try:
            data = _beginning(record)
        except FileNotFoundError:
            return None
        if data or time.monotonic() >= end:
            return data
        time.sleep(0.05)


def _beginning(path: Path) -> bytes:
    """At most `MOST_BYTES` of a file; nothing of a named pipe, which would never end."""
    descriptor = os.open(path, os.O_RDONLY | NOT_BEYOND)
    try:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        return os.read(descriptor, MOST_BYTES)
    except BlockingIOError:  # a pipe into which nothing was written yet
        return b""
    finally:
        os.close(descriptor)


def _check_regular(descriptor: int, path: Path) -> None:
    """Raise OSError where what is open as `path` is a pipe or a device: it would be locked for all who use that."""
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        raise FileExistsError(errno.EEXIST, "a pipe or a device stands where a file belongs", str(path))


def _parse(data: bytes) -> Owner | None:
    """The owner as it was written; None for anything else."""
    try:
        owner = Owner(**json.loads(data))
        return owner if type(owner.pid) is int and 0 < owner.pid < 1 << 31 and str(owner) else None
    except (ValueError, TypeError, OverflowError, OSError, RecursionError):
        return None


def _take_away(record: Path, stale: bytes) -> None:
    """Remove `record` if it still holds `stale`; otherwise another process has taken over, and it stays."""
    aside = record.with_name(f"partial-{record.name}")
    with suppress(FileNotFoundError):
        record.replace(aside)
        if _read(aside) == stale:
            aside.unlink()
        else:
            aside.replace(record)


# -- processes ---------------------------------------------------------------------------------------------------------


def _me(flock: bool) -> Owner:
    pid = os.getpid()
    space = ""
    with suppress(OSError):
        space = os.readlink("/proc/self/ns/pid")  # noqa: PTH115 - the text of the link is what counts
    started = _process(pid) or ""
    return Owner(socket.gethostname(), pid, _user(), time.time(), started, space, flock)


def _place(owner: Owner) -> tuple[str, str]:
    """Where process numbers mean the same."""
    return owner.host, owner.space


def _is_dead(owner: Owner) -> bool:
    """True where the process is known to have ended; False where it lives, or did so on another host."""
    if _place(owner) != _place(_me(owner.flock)):
        return False
    started = _process(owner.pid)
    return started is None or bool(started and owner.started and started != owner.started)


def _process(pid: int) -> str | None:
    """When the process `pid` of this host started, "" where the system does not tell; None where none runs."""
    import psutil

    if not psutil.pid_exists(pid):
        return None
    try:
        state, *fields = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
        return None if state in "ZX" else fields[18]  # in ticks since the boot, whatever is done to the clock
    except (OSError, ValueError, IndexError):  # no Linux, or /proc hides the processes of other users
        with suppress(psutil.Error):
            return str(psutil.Process(pid).create_time())
        return ""


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, ImportError, OSError):  # a container whose user has no name
        return str(os.getuid()) if hasattr(os, "getuid") else "an unknown user"


def _ago(since: float) -> str:
    minutes = max(0, int(time.time() - since) // 60)
    if minutes < 120:
        return f"{minutes} min ago" if minutes else "just now"
    return f"{minutes // 60} h ago" if minutes < 48 * 60 else f"{minutes // (24 * 60)} days ago"
