"""Forked processes with limits of time and memory."""

import json
import os
import resource
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager

CPU_SECONDS, WALL_SECONDS = 5, 60  # for one trial
MEMORY_BYTES = 1_000_000_000  # of address space, in addition to that of the server


def fork(work: Callable[[int], None]) -> tuple[str, list[list[str]]]:
    """Run `work` in a forked process; it writes lines of JSON to the file descriptor that it gets.

    Returns: The reason why the process failed, "" if it did not, and the lines.
    """
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            os.close(reading)
            work(writing)
            code = 0
        finally:
            os._exit(code)
    os.close(writing)
    with os.fdopen(reading, "rb") as file:
        lines = [json.loads(line) for line in file.read().splitlines()]
    return _failure(os.waitpid(child, 0)[1]), lines


def _failure(status: int) -> str:
    signal_number = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
    if signal_number in (signal.SIGALRM, signal.SIGPROF):
        return f"it took more than {CPU_SECONDS} s"
    if signal_number or os.WEXITSTATUS(status):
        return f"signal {signal_number}, exit code {os.WEXITSTATUS(status)}"
    return ""


def limit_memory() -> None:
    """Limit the memory of this process, and let the timers of `time_limit` kill it."""
    import psutil

    limit = psutil.Process().memory_info().vms + MEMORY_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    for number in (signal.SIGALRM, signal.SIGPROF):
        signal.signal(number, signal.SIG_DFL)


@contextmanager
def time_limit() -> Iterator[None]:
    """Kill this process if the block takes too long."""
    signal.setitimer(signal.ITIMER_PROF, CPU_SECONDS)
    signal.alarm(WALL_SECONDS)
    yield
    signal.alarm(0)
    signal.setitimer(signal.ITIMER_PROF, 0)
