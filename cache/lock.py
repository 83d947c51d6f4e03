"""A lock for a folder that one process at a time may write to, on any file system.

    lock          locked with `flock` while a process writes; the kernel releases it when the process dies
    lock.owner    JSON with the identity of that process; removed on release

Where the file system has no `flock` (Lustre without `-o flock`, some FUSE mounts; Windows has none at all), whoever
creates `lock.owner` has the lock. A process that is killed leaves it behind. The next one on the same host finds its
owner dead and takes over; on another host it cannot know, and `LockHeld` names the owner and the file to delete.
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
MAX_BYTES = 1 << 16  # of `lock.owner`, which has a few hundred
WRITE_SECONDS = 2.0  # in which a process that has created `lock.owner` writes it
SAFE_OPEN = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)  # follow no link, wait for no pipe
LOCK_FILES = ("lock", "lock.owner", "partial-lock.owner")  # the last only while a dead owner is replaced


@dataclass(frozen=True)
class Owner:
    """A process that has a lock, since `since` (seconds since the epoch).

    `started` is the start of the process, in the unit of the system, and tells it from a later one of the same number.
    `space` is its PID namespace, since containers may share a host name.
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
    """Another process has the lock.

    `holder` identifies it, as " (…)", and `advice` says what to do if it is gone, as "; …"; both may be empty.
    """

    def __init__(self, holder: Owner | None = None, delete: Path | None = None) -> None:
        self.holder = f" ({holder})" if holder else ""
        self.advice = f"; if that run is gone, delete {delete} and run the same command again" if delete else ""
        super().__init__(f"another process has the lock{self.holder}{self.advice}")


@contextmanager
def exclusive(path: Path) -> Iterator[None]:
    """Take the lock `path`, the file `lock` of a folder. Raises LockHeld at once if another process has it."""
    record = path.with_name("lock.owner")
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | SAFE_OPEN, 0o666)
    try:
        _check_regular(descriptor, path)
        mine = _this_process(flock=_flock(descriptor, record))
        _claim(record, mine)
        try:
            yield
        finally:
            with suppress(OSError):
                if _parse(_read(record) or b"") == mine:
                    record.unlink()
    finally:
        os.close(descriptor)  # releases the lock


def _flock(descriptor: int, record: Path) -> bool:
    """Lock an open file; False if the file system has no locks. Raises LockHeld if another process has locked it."""
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
    """Create `record` for `mine`, or replace that of a dead owner. Raises LockHeld."""
    for _ in range(2):
        with suppress(FileExistsError):
            return _create(record, mine)
        data = _read(record, 0 if mine.flock else WRITE_SECONDS)
        owner = _parse(data or b"")
        if owner and not (mine.flock and owner.flock) and not _is_dead(owner):
            raise LockHeld(owner, record if _place(owner) != _place(mine) else None)
        if data is not None:
            _remove_stale(record, data)
    raise LockHeld(_parse(_read(record) or b""))


def _create(record: Path, mine: Owner) -> None:
    """Write `record`. Raises FileExistsError."""
    data = json.dumps(asdict(mine)).encode()
    descriptor = os.open(record, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    try:
        os.write(descriptor, data)
    except OSError:
        record.unlink()
        raise
    finally:
        os.close(descriptor)
    if not mine.flock and _read(record) != data:  # too slow: another process took this one for dead
        raise LockHeld


def _read(record: Path, seconds: float = 0.0) -> bytes | None:
    """The first bytes of `record`; None if it does not exist. While it is empty, try again for `seconds`."""
    end = time.monotonic() + seconds
    while True:
        try:
            data = _first_bytes(record)
        except FileNotFoundError:
            return None
        if data or time.monotonic() >= end:
            return data
        time.sleep(0.05)


def _first_bytes(path: Path) -> bytes:
    """At most `MAX_BYTES` of a file; none of a named pipe, which would block."""
    descriptor = os.open(path, os.O_RDONLY | SAFE_OPEN)
    try:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        return os.read(descriptor, MAX_BYTES)
    except BlockingIOError:  # an empty pipe
        return b""
    finally:
        os.close(descriptor)


def _check_regular(descriptor: int, path: Path) -> None:
    """Raise OSError where `path` is a pipe or a device: locking it would affect all its users."""
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        raise FileExistsError(errno.EEXIST, "it is a pipe or a device; expected a file", str(path))


def _parse(data: bytes) -> Owner | None:
    """The owner in a `lock.owner`; None where it is invalid."""
    try:
        owner = Owner(**json.loads(data))
        return owner if type(owner.pid) is int and 0 < owner.pid < 1 << 31 and str(owner) else None
    except (ValueError, TypeError, OverflowError, OSError, RecursionError):
        return None


def _remove_stale(record: Path, stale: bytes) -> None:
    """Remove `record` if it still contains `stale`; otherwise another process has taken over, and it stays."""
    aside = record.with_name(f"partial-{record.name}")
    with suppress(FileNotFoundError):
        record.replace(aside)
        if _read(aside) == stale:
            aside.unlink()
        else:
            aside.replace(record)


# -- processes ---------------------------------------------------------------------------------------------------------


def _this_process(flock: bool) -> Owner:
    """The owner for this process."""
    pid = os.getpid()
    space = ""
    with suppress(OSError):
        space = os.readlink("/proc/self/ns/pid")  # noqa: PTH115 - only the text of the link is needed
    started = _process(pid) or ""
    return Owner(socket.gethostname(), pid, _user(), time.time(), started, space, flock)


def _place(owner: Owner) -> tuple[str, str]:
    """The space in which process numbers are unique."""
    return owner.host, owner.space


def _is_dead(owner: Owner) -> bool:
    """Whether the process is known to have ended; False for a live one and for one on another host."""
    if _place(owner) != _place(_this_process(owner.flock)):
        return False
    started = _process(owner.pid)
    return started is None or bool(started and owner.started and started != owner.started)


def _process(pid: int) -> str | None:
    """The start of the process `pid` of this host; "" where the system hides it, None where it does not exist."""
    import psutil

    if not psutil.pid_exists(pid):
        return None
    try:
        state, *fields = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
        return None if state in "ZX" else fields[18]  # in ticks since boot, independent of the clock
    except (OSError, ValueError, IndexError):  # not Linux, or /proc hides processes of other users
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
