"""Calls to a Dask cluster, and the errors if it does not answer."""

import asyncio
import logging
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar

from cache.text import cut
from pipeline.errors import PipelineError

T = TypeVar("T")
HEARTBEAT_SECONDS = 20.0  # a worker's state is out of date after that


def load_distributed() -> Any:
    """Dask's module, which reads its settings when it is imported. Raises PipelineError where they are broken."""
    try:
        import distributed
    except Exception as error:
        raise PipelineError(
            f"Dask cannot be loaded: {first_cause(error)}; check its settings (~/.config/dask, variables DASK_…), "
            "or use --workers 0 to work without it"
        ) from error
    for name in ("distributed", "distributed.client", "tornado", "asyncio"):  # our one-line errors replace their logs
        logging.getLogger(name).setLevel(logging.CRITICAL)
    return distributed


def first_cause(error: BaseException) -> str:
    """The first cause of `error`, on one line."""
    while error.__cause__ is not None:
        error = error.__cause__
    return " ".join(f"{type(error).__name__}: {error}".split())


def call_cluster(function: Callable[..., T], *arguments: Any, **options: Any) -> T:
    """The result of a call to a cluster. Raises PipelineError if it fails, as when a scheduler or worker dies."""
    try:
        return function(*arguments, **options)
    except (Exception, asyncio.CancelledError) as error:
        text = cut(f"{type(error).__name__}: {error}")
        raise PipelineError(
            f"the Dask cluster does not answer ({text}); its scheduler or a worker may have died, for example where "
            "memory is short: start it again, and run the same command again: finished samples are kept"
        ) from error


def kill_worker(client: Any, worker: str) -> None:
    """Make the nanny of `worker` kill its process, after which it starts another; without a nanny nothing happens."""

    def kill(dask_worker: Any) -> None:  # nested, so that it is sent by value; its argument is the nanny
        import psutil

        if dask_worker.worker_address == worker and dask_worker.pid:
            psutil.Process(dask_worker.pid).kill()

    with suppress(Exception):  # the worker, its nanny or its machine may already be gone
        client.run(kill, workers=[worker], nanny=True)


def idle_workers(client: Any, workers: set[str]) -> dict[str, str]:
    """Address → state of those `workers` that run nothing, with the memory that they use and are allowed."""

    def idle(dask_scheduler: Any) -> dict[str, tuple[str, int, int]]:
        idle = {}
        for address in workers & set(dask_scheduler.workers):
            state = dask_scheduler.workers[address]
            counts = state.metrics.get("task_counts", {})
            busy = sum(counts.get(name, 0) for name in ("executing", "long-running", "cancelled", "resumed"))
            if not busy and time.time() - state.last_seen < HEARTBEAT_SECONDS:
                used = state.metrics.get("memory", 0)
                idle[address] = (state.status.name, used, state.memory_limit or 0)
        return idle

    return {
        address: f"{status}, with {used >> 20} MiB in use" + (f" of {limit >> 20} MiB allowed" if limit else "")
        for address, (status, used, limit) in call_cluster(client.run_on_scheduler, idle).items()
    }
