"""The cost of a run, measured by making one planned sample without storing it."""

import time
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

from cache import store
from pipeline.jobs.plan import Task
from pipeline.jobs.preprocess import PreprocessJob
from pipeline.recipes.base import Recipe
from pipeline.workers.executors.serial import serial
from pipeline.workers.limits import peak_memory
from pipeline.workers.threads import pin_threads


@dataclass(frozen=True)
class Estimate:
    """The cost of the sample `id`: seconds on one worker, stored bytes, and this process's peak memory in bytes."""

    id: str
    seconds: float
    nbytes: int
    memory: int


def estimate(job: PreprocessJob, timeout: float, tries: int = 3) -> Estimate | None:
    """The cost of a planned sample of median file size.

    None if neither it nor the next larger ones, `tries` in all, can be made within `timeout` seconds.
    """
    by_size = sorted(job.plan.tasks, key=lambda task: task.record.source.size)
    middle = len(by_size) // 2
    pin_threads()
    for task in [task for task in by_size if not task.record.refusal][middle : middle + tries]:
        start = time.perf_counter()
        with suppress(Exception):  # the run itself will report it
            [[(_, nbytes)]] = serial(partial(_stored_bytes, job.recipe), [task], timeout)
            if isinstance(nbytes, int):
                return Estimate(task.record.id, time.perf_counter() - start, nbytes, peak_memory())
    return None


def _stored_bytes(recipe: Recipe, task: Task) -> int:
    """The size of the task's sample as it would be stored; nothing is written."""
    return len(store.encode(recipe.make(task.record.source.paths).values, recipe.dtype))
