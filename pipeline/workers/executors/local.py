"""Run tasks in single-threaded worker processes on this machine, through a Dask cluster that ends with the run.

The cluster runs with Dask's default settings, whatever the user's are: those are made for another kind of cluster (one
that demands TLS, for example), or could break this one. Dask's own memory limit is off. It pauses a worker at 80 % of
that limit, forever if an idle worker needs more than that, and our tasks leave nothing in memory that it could move to
disk. Instead the default is no more workers than memory allows; if memory runs short anyway, the system kills a worker,
and `dispatch` handles that.
"""

import asyncio
import errno
import logging
import os
import signal
import socket
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from copy import deepcopy
from functools import partial
from multiprocessing import resource_tracker
from typing import Any

from cache.signals import deferred
from pipeline.errors import PipelineError
from pipeline.workers.dask_client import load_distributed
from pipeline.workers.dispatch import run_on_workers
from pipeline.workers.executor import Executor, Settings
from pipeline.workers.startup import exceeded_limits, open_file_limit, raise_open_file_limit, start_error, watch_workers

START_SECONDS = 300.0  # for a worker to import everything, for example from a slow network disk
# Dask's own, except MALLOC_TRIM_THRESHOLD_: returning memory after each slice costs 16 % of a scan's time.
WORKER_ENVIRONMENT = {"OMP_NUM_THREADS": 1, "MKL_NUM_THREADS": 1, "OPENBLAS_NUM_THREADS": 1}
DASK_SETTINGS = {
    "nanny.pre-spawn-environ": WORKER_ENVIRONMENT,
    "scheduler.worker-ttl": None,  # a long task may hold the interpreter; dead workers are noticed anyway
    "deploy.lost-worker-timeout": "1 day",  # do not give up a nanny whose worker is slow to come back
}
MIN_OPEN_FILES, MIN_OPEN_FILES_PER_WORKER = 24, 6  # no worker starts with fewer


@contextmanager
def local_cluster(settings: Settings) -> Iterator[Executor]:
    """An executor over `settings.workers` processes on this machine, started now and ended with the block.

    Raises PipelineError where they cannot be started.
    """
    workers = settings.workers
    distributed = load_distributed()
    with ExitStack() as stack:
        with watch_workers() as watch:
            try:
                client = stack.enter_context(_local_client(distributed, workers, settings.modules))
            except (Exception, asyncio.CancelledError) as error:  # --workers 0 works in any case
                raise PipelineError(start_error(error, workers, watch)) from error
        remedy = f"use fewer --workers, or --workers 0 to work in this process{exceeded_limits(workers)},"
        yield lambda work, tasks: run_on_workers(client, work, tasks, settings.timeout, remedy)


@contextmanager
def _local_client(distributed: Any, workers: int, modules: Sequence[str]) -> Iterator[Any]:
    """A client of a new cluster on this machine, whose workers import `modules` when they start."""
    import dask
    from distributed.config import defaults

    raise_open_file_limit()
    if open_file_limit() < MIN_OPEN_FILES + workers * MIN_OPEN_FILES_PER_WORKER:  # Dask may wait forever
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
    with socket.create_server(("127.0.0.1", 0)) as server:  # Dask would try for a minute
        socket.create_connection(server.getsockname(), timeout=10).close()
    dask_settings = {"distributed": deepcopy(defaults["distributed"])}
    dask_settings |= {f"distributed.{name}": value for name, value in DASK_SETTINGS.items()}
    with ExitStack() as stack:
        scratch = stack.enter_context(tempfile.TemporaryDirectory(prefix="dask-", ignore_cleanup_errors=True))
        stack.enter_context(dask.config.set(dask_settings))  # until the end: replaced workers need them, too
        with block_interrupts():
            cluster = distributed.LocalCluster(
                n_workers=workers,
                threads_per_worker=1,
                processes=True,
                host="127.0.0.1",
                protocol="tcp",
                dashboard_address="127.0.0.1:0",  # any free port, so that simultaneous runs do not collide
                local_directory=scratch,
                silence_logs=logging.CRITICAL,
                memory_limit=None,
                death_timeout=START_SECONDS,
                preload=list(modules),  # a failing import shows now, and no task's time is spent on it
            )
        stack.push(partial(_close, cluster))
        client = distributed.Client(cluster)
        stack.push(partial(_close, client))
        yield client


def _close(started: Any, *_: object) -> None:
    """End a cluster or a client. Errors at that point, for example while a worker is being replaced, do not matter."""
    with suppress(Exception):
        started.close()


@contextmanager
def block_interrupts() -> Iterator[None]:
    """Delay Ctrl-C and SIGTERM until the block ends: a cluster stopped while it starts prints tracebacks.

    Processes and threads started inside the block ignore Ctrl-C: a terminal sends it to every process, and workers must
    leave it to the coordinator. SIGTERM ends them as usual.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    resource_tracker.ensure_running()  # it would unblock the signals when it starts
    with deferred(signal.SIGTERM):
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            yield
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})


EXECUTOR = local_cluster
