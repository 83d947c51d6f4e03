"""Batches come in the order asked for, as they are stored; so many are read ahead; a damaged sample is named."""

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


class Watched(Cache):
    """A cache that counts its reads; `allowed`, where it is set, says how many may have begun by now."""

    def __init__(self, cache, allowed=None):
        super().__init__(cache.path, cache.attributes, cache.samples)
        self.allowed, self.lock = allowed, threading.Lock()
        self.started, self.running, self.most, self.early = 0, 0, 0, 0

    def stored(self, key):
        with self.lock:
            self.started += 1
            self.running += 1
            self.most = max(self.most, self.running)
            self.early += self.allowed is not None and self.started > self.allowed()
        found = super().stored(key)
        with self.lock:
            self.running -= 1
        return found


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    root = tmp_path_factory.mktemp("stream") / "clips.zarr"
    return open_cache(make_cache(root, SAMPLES, tiny_attributes("uint8", kind="video")))


@pytest.fixture
def breakable(tmp_path):
    return open_cache(make_cache(tmp_path / "clips.zarr", SAMPLES, tiny_attributes("uint8", kind="video")))


def whole(cache):
    return subset(cache, cache.ids)


def wait_until(condition):
    """Poll for `condition`, for minutes at most: no machine is that slow."""
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


# -- what comes out ----------------------------------------------------------------------------------------------------


@settings(max_examples=25)
@given(
    order=st.permutations(range(SAMPLES)), size=st.integers(1, 12), first=st.integers(0, 12), threads=st.integers(1, 4)
)
def test_batches_have_the_samples_in_order_for_any_number_of_threads(clips, order, size, first, threads):
    found = list(batches(whole(clips), np.array(order), size, first=first, readers=threads))
    expected = [order[start : start + size] for start in range(0, SAMPLES, size)][first:]
    assert [len(batch.labels) for batch in found] == [len(some) for some in expected]
    for batch, some in zip(found, expected, strict=True):
        np.testing.assert_array_equal(batch.values, [clips.stored(number) for number in some])
        np.testing.assert_array_equal(batch.labels, clips.labels[some])


@pytest.mark.parametrize("dtype", DTYPES)
def test_values_are_as_stored_and_not_scaled(dtype, tmp_path):
    cache = open_cache(make_cache(tmp_path / "c.zarr", 3, tiny_attributes(dtype)))
    (batch,) = batches(whole(cache), np.arange(3), 3)
    assert (batch.values.dtype, batch.labels.dtype, batch.weights.dtype) == (dtype, np.int32, np.float32)
    assert batch.values.shape == (3, *cache.shape)
    np.testing.assert_array_equal(batch.values[1], cache.stored(1))


def test_a_subset_keeps_the_order_of_its_ids(clips):
    part = subset(clips, ["s4", "s1", "s6"])
    assert (part.ids, part.labels.tolist(), part.labels.dtype, len(part)) == (
        ("s4", "s1", "s6"),
        [0, 1, 0],
        np.int64,
        3,
    )
    (batch,) = batches(part, np.array([2, 0]), 2)
    np.testing.assert_array_equal(batch.values, [clips.stored("s6"), clips.stored("s4")])


def test_samples_have_the_weight_of_their_class(clips):
    for batch in batches(whole(clips), ORDER, 4, class_weights=np.array([0.25, 3.0])):
        np.testing.assert_array_equal(batch.weights, np.where(batch.labels == 0, 0.25, 3.0).astype(np.float32))
    for batch in batches(whole(clips), ORDER, 4):
        assert batch.weights.tolist() == [1.0] * len(batch.labels)


def test_a_transform_gets_each_sample_with_its_id(clips):
    def transform(stored, name):
        return np.full_like(stored, int(name[1:]))

    found = np.concatenate([batch.values for batch in batches(whole(clips), ORDER, 3, transform=transform)])
    assert found[:, 0, 0, 0].tolist() == ORDER.tolist()


def test_an_empty_subset_has_no_batches(clips):
    assert list(batches(whole(clips), np.array([], int), 2)) == []
    assert list(batches(subset(clips, []), np.array([], int), 2)) == []


def test_a_batch_has_at_least_one_sample(clips):
    with pytest.raises(TrainerError, match="batch size 0; expected 1 or more"):
        next(batches(whole(clips), ORDER, 0))


# -- damage ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("place", [0, 1, 5, 10])
def test_a_damaged_sample_raises_when_its_batch_is_reached(place, breakable):
    corrupt(breakable, ORDER[place])
    stream = batches(whole(breakable), ORDER, 2)
    for start in range(0, place - 1, 2):
        np.testing.assert_array_equal(next(stream).values, [breakable.stored(n) for n in ORDER[start : start + 2]])
    with pytest.raises(DamagedSample, match=f"^s{ORDER[place]}: "):
        next(stream)
    assert list(stream) == []
    assert readers() == []


def test_an_error_of_a_transform_is_raised_when_its_batch_is_reached(clips):
    def transform(stored, name):
        if name == "s9":
            raise ValueError(name)
        return stored

    stream = batches(whole(clips), ORDER, 2, transform=transform)
    assert len([next(stream), next(stream)]) == 2
    with pytest.raises(ValueError, match="s9"):
        next(stream)


def test_an_id_that_the_cache_lacks_is_named(clips):
    with pytest.raises(UnknownSample, match="'gone'"):
        list(batches(Subset(clips, ("s0", "gone"), np.array([0, 0])), np.arange(2), 1))
    with pytest.raises(KeyError, match="gone"):
        subset(clips, ["s0", "gone"])


# -- reading ahead -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("threads", [1, 3])
def test_prefetching_and_threads_are_bounded(threads, clips):
    asked = 1
    part = whole(Watched(clips, lambda: 2 * (asked + PREFETCH)))
    for _ in batches(part, ORDER, 2, readers=threads):
        wait_until(lambda: part.cache.started == min(SAMPLES, part.cache.allowed()))
        asked += 1
    assert (part.cache.started, part.cache.running, part.cache.early) == (SAMPLES, 0, 0)
    assert part.cache.most <= threads
    assert len(readers()) == 0


def test_reading_continues_while_a_batch_is_used(clips):
    part = whole(Watched(clips))
    stream = batches(part, ORDER, 2)
    next(stream)
    wait_until(lambda: part.cache.started == 2 * (1 + PREFETCH))
    stream.close()


@pytest.mark.parametrize("taken", [1, 3])
def test_threads_end_when_the_iterator_is_closed(taken, clips):
    part = whole(Watched(clips))
    stream = batches(part, ORDER, 2)
    for _ in range(taken):
        next(stream)
    assert readers()
    stream.close()
    assert readers() == []
    assert part.cache.running == 0


def test_threads_end_when_training_raises(clips):
    def train():
        for _ in batches(whole(clips), ORDER, 2):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train()
    gc.collect()
    assert readers() == []


# -- how long one waited -----------------------------------------------------------------------------------------------


class Clock:
    """A clock that only a test moves."""

    def __init__(self):
        self.now = 100.0

    def perf_counter(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    found = Clock()
    monkeypatch.setattr(stream_module, "time", found)
    return found


def test_waiting_for_slow_reads_is_counted(clock):
    class Slow:
        def result(self):
            clock.now += 3
            return "a batch"

    meter = Meter()
    assert stream_module._next_batch(deque([Slow()]), meter) == "a batch"
    clock.now += 1  # of training
    assert meter.row() == {"seconds": 4, "data_wait": 0.75}


def test_slow_training_does_not_count_as_waiting_for_data(clock, clips):
    meter = Meter()
    for _ in batches(whole(clips), ORDER, 2, meter=meter, readers=1):
        clock.now += 1
    assert meter.row() == {"seconds": 6, "data_wait": 0}
