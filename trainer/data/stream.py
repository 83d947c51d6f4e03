"""Cache → batches: read ahead by threads, in a fixed order, as the integers that are stored.

Decompression and OpenCV release the GIL, so threads are enough; what is read ahead is bounded, so memory is flat. Every
sample read is compared with its digest: a damaged one raises `DamagedSample`, named, and no wrong batch comes out.
"""

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from cache import Cache
from trainer.data.batches import slices

READERS = 2  # threads
AHEAD = 4  # batches read before they are asked for

Transform = Callable[[np.ndarray, str], np.ndarray]  # a stored sample and its id → what the model gets


class Batch(NamedTuple):
    """`values` (n, *shape) of the cache's dtype; `labels` int32 (n,); `weights` float32 (n,) of the loss."""

    values: np.ndarray
    labels: np.ndarray
    weights: np.ndarray


@dataclass(frozen=True)
class Part:
    """The samples of `cache` that one side of a split names, and what class each is: `labels` int64 (n,)."""

    cache: Cache
    ids: tuple[str, ...]
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.ids)


def part_of(cache: Cache, ids: Sequence[str]) -> Part:
    """The samples of `cache` with these ids, in this order."""
    label_of = dict(zip(cache.ids, cache.labels.tolist(), strict=True))
    return Part(cache, tuple(ids), np.array([label_of[name] for name in ids], np.int64))


class Meter:
    """Seconds spent waiting for data since it was made, beside the seconds that passed."""

    def __init__(self) -> None:
        self.started, self.waited = time.perf_counter(), 0.0

    def row(self) -> dict[str, float]:
        """The seconds that passed, and the share of them spent waiting."""
        passed = time.perf_counter() - self.started
        return {"seconds": round(passed, 3), "stalled": round(self.waited / max(passed, 1e-9), 4)}


def batches(
    part: Part,
    order: np.ndarray,
    batch_size: int,
    class_weights: np.ndarray | None = None,
    transform: Transform | None = None,
    meter: Meter | None = None,
    first: int = 0,
    readers: int = READERS,
) -> Iterator[Batch]:
    """The samples of `part` in `order`, `batch_size` at a time, from step `first` on.

    Raises what reading a sample raises, when its batch is due.
    """

    def read(some: slice) -> Batch:
        numbers = order[some]
        values = np.stack([_sample(part, number, transform) for number in numbers])
        labels = part.labels[numbers]
        weights = np.ones(len(labels)) if class_weights is None else class_weights[labels]
        return Batch(values, labels.astype(np.int32), weights.astype(np.float32))

    meter = meter or Meter()
    waiting: deque[Future[Batch]] = deque()
    pool = ThreadPoolExecutor(readers, thread_name_prefix="reader")
    try:
        for some in slices(len(order), batch_size)[first:]:
            waiting.append(pool.submit(read, some))
            if len(waiting) > AHEAD:
                yield _due(waiting, meter)
        while waiting:
            yield _due(waiting, meter)
    finally:
        pool.shutdown(cancel_futures=True)


def _sample(part: Part, number: int, transform: Transform | None) -> np.ndarray:
    name = part.ids[number]
    stored = part.cache.stored(name)
    return transform(stored, name) if transform else stored


def _due(waiting: "deque[Future[Batch]]", meter: Meter) -> Batch:
    before = time.perf_counter()
    batch = waiting.popleft().result()
    meter.waited += time.perf_counter() - before
    return batch
