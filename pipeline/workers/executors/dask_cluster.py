"""Run tasks on an existing Dask cluster, whose scheduler is at a given address."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import cache
from pipeline.errors import PipelineError
from pipeline.workers.dask_client import call_cluster, load_distributed
from pipeline.workers.dispatch import run_on_workers
from pipeline.workers.executor import Executor, Settings

CONNECT_SECONDS, FIRST_WORKER_SECONDS = 10.0, 60.0  # to a scheduler


@contextmanager
def dask_cluster(settings: Settings) -> Iterator[Executor]:
    """An executor over the workers of the Dask scheduler at `settings.address`, which must all see the folders.

    Waits for a first worker, and notifies the user. Raises PipelineError where no address is given, no scheduler
    answers, no worker comes, or a worker lacks this project's version or a folder.
    """
    distributed, address = load_distributed(), settings.address
    if not address:
        raise PipelineError("this executor needs the address of a Dask scheduler; add --scheduler tcp://host:8786")
    client = distributed.Client.__new__(distributed.Client)  # so that it can be closed where starting it fails
    try:
        client.__init__(address, timeout=CONNECT_SECONDS, set_as_default=False)
    except (OSError, ValueError, TypeError) as error:
        with suppress(Exception):  # the garbage collector may close it while another client starts: a deadlock
            client.close()
        raise PipelineError(
            f"no Dask scheduler answers at {address} ({type(error).__name__}); "
            "expected an address such as tcp://host:8786; start one with `dask scheduler`"
        ) from error
    with client:
        await_worker(client, address, settings.notify)
        check_workers(client, settings)
        yield lambda work, tasks: run_on_workers(client, work, tasks, settings.timeout)


def await_worker(client: Any, address: str, notify: Callable[[str], None]) -> None:
    """Wait until the scheduler has a worker. Raises PipelineError where none comes in time."""
    if call_cluster(client.nthreads):
        return
    notify(f"waiting up to {FIRST_WORKER_SECONDS:.0f} s for the first worker of {address}")
    try:
        client.wait_for_workers(1, timeout=FIRST_WORKER_SECONDS)
    except TimeoutError as error:
        raise PipelineError(
            f"the scheduler at {address} has no workers after {FIRST_WORKER_SECONDS:.0f} s; "
            f"start some with `dask worker {address}`"
        ) from error


def check_workers(client: Any, settings: Settings) -> None:
    """Raise PipelineError unless every worker has this version of the project, its modules, and sees the folders."""
    folders, modules = list(map(str, settings.folders)), settings.modules

    def inspect() -> tuple[str, list[str]]:  # nested: it is sent by value and needs nothing installed there
        import importlib
        import pathlib

        try:
            version = str(importlib.import_module("cache").__version__)
            for module in modules:
                importlib.import_module(module)
        except (ImportError, AttributeError) as error:
            version = f"missing ({error})"
        return version, [folder for folder in folders if not pathlib.Path(folder).is_dir()]

    for worker, (version, missing) in call_cluster(client.run, inspect).items():
        if version != cache.__version__:
            raise PipelineError(
                f"worker {worker} has viptt-net {version}; expected {cache.__version__}; "
                "install the same wheel on every worker and start them again"
            )
        if missing:
            raise PipelineError(f"worker {worker} cannot see {missing[0]}; expected SOURCE and CACHE on shared storage")


EXECUTOR = dask_cluster
