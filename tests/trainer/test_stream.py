"""Batches have the stored samples in the requested order and are prefetched; a damaged sample is an error."""

import gc
import threading
import time
from collections import deque

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cache import DamagedSample, UnknownSample, open_cache
from cache.reader import Cache
from cache.schema import DTYPES
from cache.store import chunk_path
from tests.helpers.caches import make_cache, tiny_attributes
from trainer.data import stream as stream_module
from trainer.data.stream import PREFETCH, Meter, Subset, batches, subset
from trainer.errors import TrainerError

SAMPLES = 11
ORDER = np.array([7, 0, 3, 10, 1, 9, 2, 8, 4, 6, 5])


class CountingCache(Cache):
    """A cache that counts its reads; `allowed()` is the number of reads that may have started."""

    def __init__(self, cache, allowed=None):
        super().__init__(cache.path, cache.attributes, cache.samples)
        self.allowed, self.lock = allowed, threading.Lock()
        self.started, self.running, self.peak, self.early = 0, 0, 0, 0

    def stored(self, key):
        with self.lock:
            self.started += 1
            self.running += 1
            self.peak = max(self.peak, self.running)
            self.early += self.allowed is not None and self.started > self.allowed()
        values = super().stored(key)
        with self.lock:
            self.running -= 1
        return values


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    root = tmp_path_factory.mktemp("stream") / "clips.zarr"
    return open_cache(make_cache(root, SAMPLES, tiny_attributes("uint8", kind="video")))


@pytest.fixture
def writable_clips(tmp_path):
    return open_cache(make_cache(tmp_path / "clips.zarr", SAMPLES, tiny_attributes("uint8", kind="video")))


def full_subset(cache):
    return subset(cache, cache.ids)


def wait_until(condition):
    """Poll `condition` until it is true, for at most 4 minutes."""
    limit = time.monotonic() + 240
    while not condition() and time.monotonic() < limit:
        time.sleep(0.001)
    assert condition()


def readers():
    return [thread for thread in threading.enumerate() if thread.name.startswith("reader")]


def corrupt(cache, row):
    path = chunk_path(cache.path, row)
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2] ^= 1
    path.write_bytes(raw)


# -- batches -----------------------------------------------------------------------------------------------------------


@settings(max_examples=25)
@given(
    order=st.permutations(range(SAMPLES)), size=st.integers(1, 12), first=st.integers(0, 12), threads=st.integers(1, 4)
)
def test_batches_have_the_samples_in_order_for_any_number_of_threads(clips, order, size, first, threads):
    actual = list(batches(full_subset(clips), np.array(order), size, first=first, readers=threads))
    expected = [order[start : start + size] for start in range(0, SAMPLES, size)][first:]
    assert [len(batch.labels) for batch in actual] == [len(numbers) for numbers in expected]
    for batch, numbers in zip(actual, expected, strict=True):
        np.testing.assert_array_equal(batch.values, [clips.stored(number) for number in numbers])
        np.testing.assert_array_equal(batch.labels, clips.labels[numbers])


@pytest.mark.parametrize("dtype", DTYPES)
def test_values_are_not_scaled(dtype, tmp_path):
    cache = open_cache(make_cache(tmp_path / "c.zarr", 3, tiny_attributes(dtype)))
    (batch,) = batches(full_subset(cache), np.arange(3), 3)
    assert (batch.values.dtype, batch.labels.dtype, batch.weights.dtype) == (dtype, np.int32, np.float32)
    assert batch.values.shape == (3, *cache.shape)
    np.testing.assert_array_equal(batch.values[1], cache.stored(1))


def test_a_subset_keeps_the_order_of_its_ids(clips):
    selected = subset(clips, ["s4", "s1", "s6"])
    assert (selected.ids, selected.labels.tolist(), selected.labels.dtype, len(selected)) == (
        ("s4", "s1", "s6"),
        [0, 1, 0],
        np.int64,
        3,
    )
    (batch,) = batches(selected, np.array([2, 0]), 2)
    np.testing.assert_array_equal(batch.values, [clips.stored("s6"), clips.stored("s4")])


def test_samples_have_the_weight_of_their_class(clips):
    for batch in batches(full_subset(clips), ORDER, 4, class_weights=np.array([0.25, 3.0])):
        np.testing.assert_array_equal(batch.weights, np.where(batch.labels == 0, 0.25, 3.0).astype(np.float32))
    for batch in batches(full_subset(clips), ORDER, 4):
        assert batch.weights.tolist() == [1.0] * len(batch.labels)


def test_a_transform_gets_each_sample_with_its_id(clips):
    def transform(stored, name):
        return np.full_like(stored, int(name[1:]))

    values = np.concatenate([batch.values for batch in batches(full_subset(clips), ORDER, 3, transform=transform)])
    assert values[:, 0, 0, 0].tolist() == ORDER.tolist()


def test_an_empty_subset_has_no_batches(clips):
    assert list(batches(full_subset(clips), np.array([], int), 2)) == []
    assert list(batches(subset(clips, []), np.array([], int), 2)) == []


def test_batches_of_size_0_are_rejected(clips):
    with pytest.raises(TrainerError, match="batch size 0; expected 1 or more"):
        next(batches(full_subset(clips), ORDER, 0))


# -- damage ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("position", [0, 1, 5, 10])
def test_a_damaged_sample_raises_when_its_batch_is_reached(position, writable_clips):
    corrupt(writable_clips, ORDER[position])
    stream = batches(full_subset(writable_clips), ORDER, 2)
    for start in range(0, position - 1, 2):
        np.testing.assert_array_equal(next(stream).values, [writable_clips.stored(n) for n in ORDER[start : start + 2]])
    with pytest.raises(DamagedSample, match=f"^s{ORDER[position]}: "):
        next(stream)
    assert list(stream) == []
    assert readers() == []


def test_an_error_of_a_transform_is_raised_when_its_batch_is_reached(clips):
    def transform(stored, name):
        if name == "s9":
            raise ValueError(name)
        return stored

    stream = batches(full_subset(clips), ORDER, 2, transform=transform)
    assert len([next(stream), next(stream)]) == 2
    with pytest.raises(ValueError, match="s9"):
        next(stream)


def test_an_id_that_is_not_in_the_cache_is_an_error(clips):
    with pytest.raises(UnknownSample, match="'gone'"):
        list(batches(Subset(clips, ("s0", "gone"), np.array([0, 0])), np.arange(2), 1))
    with pytest.raises(KeyError, match="gone"):
        subset(clips, ["s0", "gone"])


# -- prefetching -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("threads", [1, 3])
def test_prefetched_batches_and_threads_are_limited(threads, clips):
    requested = 1
    selected = full_subset(CountingCache(clips, lambda: 2 * (requested + PREFETCH)))
    for _ in batches(selected, ORDER, 2, readers=threads):
        wait_until(lambda: selected.cache.started == min(SAMPLES, selected.cache.allowed()))
        requested += 1
    assert (selected.cache.started, selected.cache.running, selected.cache.early) == (SAMPLES, 0, 0)
    assert selected.cache.peak <= threads
    assert len(readers()) == 0


def test_reading_continues_while_a_batch_is_used(clips):
    selected = full_subset(CountingCache(clips))
    stream = batches(selected, ORDER, 2)
    next(stream)
    wait_until(lambda: selected.cache.started == 2 * (1 + PREFETCH))
    stream.close()


@pytest.mark.parametrize("count", [1, 3])
def test_reader_threads_end_when_the_iterator_is_closed(count, clips):
    selected = full_subset(CountingCache(clips))
    stream = batches(selected, ORDER, 2)
    for _ in range(count):
        next(stream)
    assert readers()
    stream.close()
    assert readers() == []
    assert selected.cache.running == 0


def test_reader_threads_end_when_training_raises(clips):
    def train():
        for _ in batches(full_subset(clips), ORDER, 2):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train()
    gc.collect()
    assert readers() == []


# -- waiting for data --------------------------------------------------------------------------------------------------


class Clock:
    """A clock that a test advances."""

    def __init__(self):
        self.now = 100.0

    def perf_counter(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    fake = Clock()
    monkeypatch.setattr(stream_module, "time", fake)
    return fake


def test_waiting_for_slow_reads_is_counted(clock):
    class Slow:
        def result(self):
            clock.now += 3
            return "a batch"

    meter = Meter()
    assert stream_module._next_batch(deque([Slow()]), meter) == "a batch"
    clock.now += 1  # training
    assert meter.row() == {"seconds": 4, "data_wait": 0.75}


def test_slow_training_does_not_count_as_waiting_for_data(clock, clips):
    meter = Meter()
    for _ in batches(full_subset(clips), ORDER, 2, meter=meter, readers=1):
        clock.now += 1
    assert meter.row() == {"seconds": 6, "data_wait": 0}
