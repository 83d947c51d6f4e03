"""How many cores and how much memory this process may use: the lowest limit of machine, container and job.

A container's limits are those of its control groups (version 1, 2, or both) and of every group above them. Inside a
container the path of the group is often hidden, and the limits are then at the top of the mount. Files and variables
that are absent or invalid are ignored.
"""

import math
import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path, PurePosixPath

MIB = 1 << 20
SYSTEM = Path("/")


def cores(root: Path = SYSTEM, environment: Mapping[str, str] = os.environ) -> int:
    """Cores this process may use, at least 1; a quota such as 1.5 cores is rounded up.

    `root` is the folder that contains proc and sys.
    """
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    limits = [float(usable), *_quotas(root)]
    for name in ("SLURM_CPUS_PER_TASK", "SLURM_CPUS_ON_NODE"):
        limits += _number(environment.get(name, ""))
    return max(1, math.ceil(min(limits)))


def memory(root: Path = SYSTEM, environment: Mapping[str, str] = os.environ) -> int:
    """Bytes of memory that this process and its children may use in total."""
    limits = [*_physical(root), *_slurm_memory(environment)]
    for folder in _groups(root, "memory"):
        for name in ("memory.max", "memory.high", "memory.limit_in_bytes"):
            limits += _number(_text(folder / name))
        for line in _text(folder / "memory.stat").splitlines():  # includes groups above that the container cannot see
            name, _, value = line.partition(" ")
            limits += _number(value) if name == "hierarchical_memory_limit" else []
    return int(min(limits))


def address_space() -> int | None:
    """Bytes of address space that each process may have (`ulimit -v`); None where there is no limit."""
    with suppress(ImportError):
        import resource

        limit = resource.getrlimit(resource.RLIMIT_AS)[0]
        return None if limit == resource.RLIM_INFINITY else limit
    return None


def _physical(root: Path) -> list[float]:
    for line in _text(root / "proc/meminfo").splitlines():
        if line.startswith("MemTotal:"):
            return [int(line.split()[1]) * 1024.0]
    import psutil

    return [float(psutil.virtual_memory().total)]


def _slurm_memory(environment: Mapping[str, str]) -> list[float]:
    """Bytes that a job may use on this node; SLURM counts in MiB, and 0 means no limit."""
    node = _number(environment.get("SLURM_MEM_PER_NODE", ""))
    each = _number(environment.get("SLURM_MEM_PER_CPU", ""))
    cpus = _number(environment.get("SLURM_CPUS_ON_NODE", "")) or _number(environment.get("SLURM_CPUS_PER_TASK", ""))
    return [MIB * limit for limit in node + [one * count for one in each for count in cpus]]


def _quotas(root: Path) -> Iterator[float]:
    """Cores that the control groups of this process allow."""
    for folder in _groups(root, "cpu"):
        quota, _, period = _text(folder / "cpu.max").partition(" ")  # "max 100000" where there is no limit
        quota = quota or _text(folder / "cpu.cfs_quota_us")  # -1 where there is no limit
        period = period or _text(folder / "cpu.cfs_period_us")
        for quota_us in _number(quota):
            yield from (quota_us / period_us for period_us in _number(period))


def _groups(root: Path, controller: str) -> Iterator[Path]:
    """The folders of the control groups of this process, and all above, that can hold limits of `controller`."""
    mount = root / "sys/fs/cgroup"
    yield mount
    for line in _text(root / "proc/self/cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        inside = [part for part in PurePosixPath(path).parts if part not in ("/", "..")]
        if not controllers:
            tops = [mount, mount / "unified"]
        else:
            tops = [mount / controllers, mount / controller] if controller in controllers.split(",") else []
        for top in tops:
            yield from (top.joinpath(*inside[:depth]) for depth in range(len(inside) + 1))


def _text(path: Path) -> str:
    with suppress(OSError, UnicodeDecodeError):
        return path.read_text().strip()
    return ""


def _number(text: str) -> list[float]:
    """[`text` as a number] if it is a positive integer, else []."""
    return [float(text)] if text.isdecimal() and int(text) > 0 else []
