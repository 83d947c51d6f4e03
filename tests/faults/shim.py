"""The shim that makes system calls fail: built when needed, loaded into a server by LD_PRELOAD, armed by ctypes."""

import ctypes
import errno
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

SOURCE = Path(__file__).with_name("shim.c")
NEEDS_SPACE, NEEDS_DESCRIPTOR, TRANSFERS, CANNOT_FAIL = 2, 4, 8, 16  # traits of a call, as in shim.c
NOTHING, FAIL, FAIL_FROM_HERE, SHORT, KILL_BEFORE, KILL_AFTER, KILL_TORN = range(7)
ERRORS = {
    "EIO": errno.EIO,
    "EACCES": errno.EACCES,
    "EINTR": errno.EINTR,
    "EMFILE": errno.EMFILE,
    "ENOSPC": errno.ENOSPC,
}
NEEDED = {"EMFILE": NEEDS_DESCRIPTOR, "ENOSPC": NEEDS_SPACE}  # the trait of the calls that the error is possible for


def why_not() -> str:
    """Why the shim cannot be built here, and what to install; "" if it can."""
    if sys.platform != "linux":
        return f"LD_PRELOAD of this shim needs Linux, this is {sys.platform}"
    if shutil.which("cc") is None:
        return "there is no C compiler `cc`; install one: apt-get install gcc libc6-dev"
    return ""


def build(folder: Path) -> Path:
    """Compile the shim into `folder`."""
    library = folder / "shim.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", library, SOURCE, "-ldl", "-lpthread"], check=True)
    return library


@dataclass(frozen=True)
class Fault:
    """The fault of one call.

    "EIO", "ENOSPC+" (that call and all later ones), "short", "kill", "killed" (after it) or "torn" (after half of it).
    """

    name: str

    def possible(self, traits: int) -> bool:
        """Whether a call of these traits can meet this fault."""
        if self.name in ("short", "torn"):
            return bool(traits & TRANSFERS)
        if self.error and traits & CANNOT_FAIL:
            return False
        needed = NEEDED.get(self.name.rstrip("+"))
        return needed is None or bool(traits & needed)

    @property
    def kills(self) -> bool:
        return self.name in ("kill", "killed", "torn")

    @property
    def lasts(self) -> bool:
        """True where all later calls fail, too."""
        return self.name.endswith("+")

    @property
    def error(self) -> int:
        """The error number that the call reports; 0 for none."""
        return ERRORS.get(self.name.rstrip("+"), 0)

    @property
    def action(self) -> int:
        """As in shim.c."""
        kinds = {"short": SHORT, "kill": KILL_BEFORE, "killed": KILL_AFTER, "torn": KILL_TORN}
        return kinds.get(self.name, FAIL_FROM_HERE if self.lasts else FAIL)


FAULTS = tuple(
    Fault(name) for name in (*ERRORS, "EIO+", "ENOSPC+", "EMFILE+", "EACCES+", "short", "kill", "killed", "torn")
)


def arm(folder: Path, number: int = 0, fault: Fault | None = None, log: int = -1, trace: bool = False) -> None:
    """In this process, give call `number` below `folder` its `fault`, and log the calls to the descriptor `log`."""
    library = ctypes.CDLL(os.environ["LD_PRELOAD"])
    action, error = (fault.action, fault.error) if fault else (NOTHING, 0)
    library.shim_log(log, int(trace))
    library.shim_arm(os.fsencode(folder), ctypes.c_long(number), action, error)
