"""The library that makes system calls fail: compiled on demand, loaded by LD_PRELOAD, controlled through ctypes."""

import ctypes
import errno
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

SOURCE = Path(__file__).with_name("shim.c")
NEEDS_SPACE, NEEDS_DESCRIPTOR, TRANSFERS, CANNOT_FAIL = 2, 4, 8, 16  # call traits, as in shim.c
NOTHING, FAIL, FAIL_FROM_HERE, SHORT, KILL_BEFORE, KILL_AFTER, KILL_TORN = range(7)
ERRORS = {
    "EIO": errno.EIO,
    "EACCES": errno.EACCES,
    "EINTR": errno.EINTR,
    "EMFILE": errno.EMFILE,
    "ENOSPC": errno.ENOSPC,
}
REQUIRED_TRAITS = {"EMFILE": NEEDS_DESCRIPTOR, "ENOSPC": NEEDS_SPACE}  # of a call that can return the error


def why_not() -> str:
    """The reason why the shim cannot be compiled here, and what to install; "" if it can."""
    if sys.platform != "linux":
        return f"the shim uses LD_PRELOAD, which needs Linux, not {sys.platform}"
    if shutil.which("cc") is None:
        return "no C compiler `cc`; install one: apt-get install gcc libc6-dev"
    return ""


def build(folder: Path) -> Path:
    """Compile the shim into `folder`."""
    library = folder / "shim.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", library, SOURCE, "-ldl", "-lpthread"], check=True)
    return library


@dataclass(frozen=True)
class Fault:
    """The fault of one call, by name.

    "EIO" and the other ERRORS fail that call, "EIO+" and the like all later calls too. "short" transfers half of the
    data. "kill" kills the process before the call, "killed" after it, and "torn" after half of the transfer.
    """

    name: str

    def possible(self, traits: int) -> bool:
        """Whether this fault can occur in a call with these traits."""
        if self.name in ("short", "torn"):
            return bool(traits & TRANSFERS)
        if self.error and traits & CANNOT_FAIL:
            return False
        required = REQUIRED_TRAITS.get(self.name.rstrip("+"))
        return required is None or bool(traits & required)

    @property
    def kills(self) -> bool:
        return self.name in ("kill", "killed", "torn")

    @property
    def persistent(self) -> bool:
        """Whether all later calls fail too."""
        return self.name.endswith("+")

    @property
    def error(self) -> int:
        """The errno of the call; 0 for none."""
        return ERRORS.get(self.name.rstrip("+"), 0)

    @property
    def action(self) -> int:
        """The number of the action in shim.c."""
        actions = {"short": SHORT, "kill": KILL_BEFORE, "killed": KILL_AFTER, "torn": KILL_TORN}
        return actions.get(self.name, FAIL_FROM_HERE if self.persistent else FAIL)


FAULTS = tuple(
    Fault(name) for name in (*ERRORS, "EIO+", "ENOSPC+", "EMFILE+", "EACCES+", "short", "kill", "killed", "torn")
)


def arm(folder: Path, number: int = 0, fault: Fault | None = None, log: int = -1, trace: bool = False) -> None:
    """In this process, inject `fault` into call `number` below `folder`, and log the calls to the descriptor `log`."""
    library = ctypes.CDLL(os.environ["LD_PRELOAD"])
    action, error = (fault.action, fault.error) if fault else (NOTHING, 0)
    library.shim_log(log, int(trace))
    library.shim_arm(os.fsencode(folder), ctypes.c_long(number), action, error)
