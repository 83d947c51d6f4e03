"""Reasons why local workers fail to start: how their processes ended, and limits of this machine that are too low."""

import logging
import math
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from typing import IO

from cache.text import cut
from pipeline.workers.dask_client import first_cause
from pipeline.workers.limits import available_memory, max_workers

OPEN_FILES, OPEN_FILES_PER_WORKER = 64, 32  # with less, starting may fail
KILLED = "killed by signal 9"  # how a system ends a process where memory is short


@dataclass
class WorkerWatch:
    """How worker processes ended, as their nannies log it; `stderr` is a file with the output of these processes."""

    stderr: IO[str]
    logged: list[str] = field(default_factory=list)

    def first_death(self) -> str:
        """How the first process died, and the last line that any printed; empty where nothing is known."""
        self.stderr.seek(0)
        last_line = [line.strip() for line in self.stderr if line.strip()][-1:]
        deaths = [death for line in self.logged if (death := line.partition("Worker process ")[2].partition(" ")[2])]
        return "; ".join(cut(text.removeprefix("was ")) for text in (*deaths[:1], *last_line))


@contextmanager
def watch_workers() -> Iterator[WorkerWatch]:
    """Watch how worker processes end that are started in the block. Their stderr is kept from the terminal.

    A process that cannot import its first modules would print a traceback there.
    """
    with tempfile.TemporaryFile("w+", errors="replace") as stderr, ExitStack() as stack:
        watch, logger, handler = WorkerWatch(stderr), logging.getLogger("distributed.nanny"), logging.Handler()
        handler.emit = lambda record: watch.logged.append(record.getMessage())  # type: ignore[method-assign]
        logger.addHandler(handler)
        stack.callback(logger.removeHandler, handler)
        stack.callback(logger.setLevel, logger.level)
        logger.setLevel(logging.INFO)
        with suppress(OSError):  # there may be no stderr
            before = os.dup(2)
            stack.callback(os.close, before)
            stack.callback(os.dup2, before, 2)
            os.dup2(stderr.fileno(), 2)
        yield watch


def start_error(error: BaseException, workers: int, watch: WorkerWatch) -> str:
    """One line on why the local workers did not start."""
    cause, advice = first_cause(error), ""
    if cause.startswith("AssertionError") or "failed to start worker process" in cause:  # Dask gives no details
        death = watch.first_death()
        cause = f"a worker process died while it started{death and f' ({death})'}"
        advice = "free memory or use fewer --workers, or " if KILLED in death else ""
    count = f"{workers} local workers" if workers > 1 else "a local worker"
    return f"{count} cannot start: {cause}{exceeded_limits(workers)}; {advice}use --workers 0 to work in this process"


def exceeded_limits(workers: int) -> str:
    """Limits of this machine that are likely to keep `workers` from starting, in parentheses; empty if none are."""
    limits = [] if workers <= max_workers() else [available_memory()]
    if (files := open_file_limit()) < OPEN_FILES + workers * OPEN_FILES_PER_WORKER:
        limits.append(f"{files} open files (`ulimit -n`)")
    if sys.platform == "linux" and not os.access("/dev/shm", os.W_OK):
        limits.append("no writable /dev/shm")
    return f" (limits here: {', '.join(limits)})" if limits else ""


def raise_open_file_limit() -> None:
    """Raise this process's limit of open files as far as allowed: each worker needs a dozen."""
    with suppress(ImportError, OSError, ValueError):  # Windows; a hard limit that the system does not accept
        import resource

        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def open_file_limit() -> float:
    """The number of files that this process may have open."""
    with suppress(ImportError, OSError, ValueError):
        import resource

        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        return soft if soft >= 0 else math.inf
    return math.inf
