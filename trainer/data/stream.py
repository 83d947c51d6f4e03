"""Data loader: batches from a cache in a fixed order, read ahead by threads, in the dtype that is stored.

Decompression and OpenCV release the GIL, so threads suffice. The number of batches read ahead is bounded, and with it
memory. Every sample is compared with its digest: a damaged one raises `DamagedSample`, which names it.
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
PREFETCH = 4  # batches

Transform = Callable[[np.ndarray, str], np.ndarray]  # (stored sample, id) → input of the model


class Batch(NamedTuple):
    """`values` (n, *shape) in the cache's dtype, `labels` int32 (n,), `weights` float32 (n,) of each in the loss."""

    values: np.ndarray
    labels: np.ndarray
    weights: np.ndarray


@dataclass(frozen=True)
class Subset:
    """Some samples of `cache`, such as those for training, with their `labels`, int64 (n,)."""

    cache: Cache
    ids: tuple[str, ...]
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.ids)


def subset(cache: Cache, ids: Sequence[str]) -> Subset:
    """The samples of `cache` with these ids, in this order. Raises KeyError for an id that `cache` does not have."""
    label_of = dict(zip(cache.ids, cache.labels.tolist(), strict=True))
    return Subset(cache, tuple(ids), np.array([label_of[name] for name in ids], np.int64))


class Meter:
    """A stopwatch for the time since it was made and for the part of it spent waiting for data."""

    def __init__(self) -> None:
        self.started, self.data_wait = time.perf_counter(), 0.0

    def row(self) -> dict[str, float]:
        """`seconds` elapsed, and `data_wait`, the share of them spent waiting for data."""
        elapsed = time.perf_counter() - self.started
        return {"seconds": round(elapsed, 3), "data_wait": round(self.data_wait / max(elapsed, 1e-9), 4)}


def batches(
    samples: Subset,
    order: np.ndarray,
    batch_size: int,
    class_weights: np.ndarray | None = None,
    transform: Transform | None = None,
    meter: Meter | None = None,
    first: int = 0,
    readers: int = READERS,
) -> Iterator[Batch]:
    """Batches of `samples` in `order`, an array of positions (n,), from step `first` of the epoch.

    `class_weights` (classes,) become the weights in the loss, else they are 1. Errors of reading a sample, such as
    `DamagedSample`, are raised when the iteration reaches its batch.
    """

    def read(batch: slice) -> Batch:
        positions = order[batch]
        values = np.stack([_sample(samples, position, transform) for position in positions])
        labels = samples.labels[positions]
        weights = np.ones(len(labels)) if class_weights is None else class_weights[labels]
        return Batch(values, labels.astype(np.int32), weights.astype(np.float32))

    meter = meter or Meter()
    queue: deque[Future[Batch]] = deque()
    pool = ThreadPoolExecutor(readers, thread_name_prefix="reader")
    try:
        for batch in slices(len(order), batch_size)[first:]:
            queue.append(pool.submit(read, batch))
            if len(queue) > PREFETCH:
                yield _next_batch(queue, meter)
        while queue:
            yield _next_batch(queue, meter)
    finally:
        pool.shutdown(cancel_futures=True)


def _sample(samples: Subset, position: int, transform: Transform | None) -> np.ndarray:
    name = samples.ids[position]
    stored = samples.cache.stored(name)
    return transform(stored, name) if transform else stored


def _next_batch(queue: "deque[Future[Batch]]", meter: Meter) -> Batch:
    before = time.perf_counter()
    batch = queue.popleft().result()
    meter.data_wait += time.perf_counter() - before
    return batch
