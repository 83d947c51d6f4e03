"""How many workers fit into this machine's memory."""

from collections.abc import Callable, Iterator
from pathlib import Path

from pipeline.workers import machine

# Measured with a 72 MB scan: 55 MiB in the coordinator and 120 in a worker, counting shared libraries by half or less.
COORDINATOR_MEMORY, WORKER_MEMORY, MIN_WORKER_MEMORY = 96 * machine.MIB, 512 * machine.MIB, 150 * machine.MIB
WORKER_ADDRESS_SPACE = 800 * machine.MIB  # imports map half a GiB; threads and data add the rest


def default_workers() -> int:
    """One worker per core, as far as memory allows; 0, meaning this process, where memory is too short for one."""
    fitting = (machine.memory() - COORDINATOR_MEMORY) // WORKER_MEMORY
    return min(machine.cores(), max(fitting, 1), max_workers())


def max_workers() -> int:
    """The number of workers for which there is enough memory."""
    space = machine.address_space()
    if space is not None and space < WORKER_ADDRESS_SPACE:
        return 0
    return max(0, machine.memory() - COORDINATOR_MEMORY) // MIN_WORKER_MEMORY


def usable_workers(requested: int | None, notify: Callable[[str], None]) -> int:
    """The `requested` number of workers, or the default for None; fewer if memory is short, which `notify` reports."""
    limit = max_workers()
    if (1 if requested is None else requested) > limit:
        place = {0: "in this process", 1: "with 1 worker process"}.get(limit, f"with {limit} worker processes")
        notify(f"working {place}, because there are only {available_memory()}")
    return default_workers() if requested is None else min(requested, limit)


def memory_warning(workers: int, each: int) -> Iterator[str]:
    """One line where `workers` that take `each` bytes do not fit into memory, else nothing."""
    if (needed := COORDINATOR_MEMORY + workers * each) > machine.memory():
        needs = f"{workers} {'workers need' if workers > 1 else 'worker needs'} about {needed // machine.MIB} MiB"
        yield f"{needs}, but there are only {available_memory()}; use fewer --workers"


def available_memory() -> str:
    """The memory that this process may use, for a message."""
    space = machine.address_space()
    limit = "" if space is None else f" and {space // machine.MIB} MiB of address space (`ulimit -v`)"
    return f"{machine.memory() // machine.MIB} MiB of memory{limit}"


def peak_memory() -> int:
    """The peak memory of this process in bytes; 0 where the system does not report it."""
    status = Path("/proc/self/status")  # getrusage would give the parent's peak to a child
    lines = status.read_text().splitlines() if status.exists() else []
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))
