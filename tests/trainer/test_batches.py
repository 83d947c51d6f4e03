"""The order of an epoch and the augmentation of a sample depend only on the seed, in every version."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainer.data.batches import epoch_order, sample_rng, slices, steps
from trainer.errors import TrainerError

NUMBERS = st.integers(0, 2**32)


@given(st.integers(0, 300), NUMBERS, NUMBERS)
def test_the_order_of_an_epoch_has_every_sample_once_and_is_reproducible(n, seed, epoch):
    order = epoch_order(n, seed, epoch)
    assert order.dtype == np.int64
    assert sorted(order) == list(range(n))
    np.testing.assert_array_equal(order, epoch_order(n, seed, epoch))


def test_epochs_and_seeds_have_different_orders():
    orders = {tuple(epoch_order(50, seed, epoch)) for seed in range(10) for epoch in range(10)}
    assert len(orders) == 100


def test_every_sample_is_equally_likely_at_every_position():
    orders = np.array([epoch_order(5, 0, epoch) for epoch in range(5000)])
    fractions = np.array([np.bincount(column, minlength=5) for column in orders.T]) / 5000
    np.testing.assert_allclose(fractions, 0.2, atol=0.03)


def test_epoch_orders_equal_those_of_earlier_versions():
    assert epoch_order(10, 0, 0).tolist() == [4, 6, 2, 7, 3, 5, 9, 0, 8, 1]
    assert epoch_order(10, 0, 1).tolist() == [9, 1, 3, 8, 7, 6, 0, 4, 2, 5]
    assert epoch_order(10, 7, 3).tolist() == [3, 5, 4, 7, 8, 0, 9, 2, 1, 6]


@given(st.integers(0, 300), st.integers(1, 40))
def test_batches_cover_the_order_once_and_only_the_last_is_shorter(n, batch_size):
    order = epoch_order(n, 1, 2)
    batches = [order[batch] for batch in slices(n, batch_size)]
    assert len(batches) == steps(n, batch_size)
    assert [number for batch in batches for number in batch] == order.tolist()
    assert all(len(batch) == batch_size for batch in batches[:-1])
    assert all(1 <= len(batch) <= batch_size for batch in batches[-1:])


def test_slices_cover_the_range_in_order():
    assert slices(5, 2) == [slice(0, 2), slice(2, 4), slice(4, 5)]
    assert slices(0, 2) == []


@pytest.mark.parametrize("function", [slices, steps])
def test_a_batch_size_of_0_is_rejected(function):
    with pytest.raises(TrainerError) as error:
        function(5, 0)
    assert str(error.value) == "batch size 0; expected 1 or more"


def test_a_random_generator_depends_on_the_sample_and_not_on_threads():
    names = [f"TRN_{number:04}" for number in range(200)]
    with ThreadPoolExecutor(4) as pool:
        from_threads = list(pool.map(lambda name: sample_rng(3, 1, name).random(), reversed(names)))
    assert from_threads[::-1] == [sample_rng(3, 1, name).random() for name in names]


def test_random_generators_differ_by_seed_epoch_and_sample():
    values = {
        sample_rng(seed, epoch, name).random()
        for seed in range(5)
        for epoch in range(5)
        for name in ("a", "b", "ä", "")
    }
    assert len(values) == 100


def test_random_generators_equal_those_of_earlier_versions():
    assert sample_rng(0, 0, "TRN_0001").integers(0, 7, 8).tolist() == [5, 6, 3, 3, 1, 4, 0, 4]
    assert sample_rng(7, 3, "Mixing/v_Mixing_g01_c01").integers(0, 7, 8).tolist() == [1, 6, 5, 2, 3, 0, 5, 0]
