"""Order of samples, batches and random generators of each epoch: pure functions of a seed, without data or state.

An epoch's order and a sample's augmentation follow from the seed and the number of the epoch. A resumed run, or one
with more reader threads, therefore computes the same as an uninterrupted one.
"""

import zlib

import numpy as np

from trainer.errors import TrainerError


def epoch_order(n: int, seed: int, epoch: int) -> np.ndarray:
    """The samples 0 to n - 1 in the order of this epoch, int64 (n,), fixed by `seed` and `epoch`, both 0 or more."""
    return np.random.default_rng([seed, epoch]).permutation(n).astype(np.int64, copy=False)


def slices(n: int, batch_size: int) -> list[slice]:
    """Consecutive batches of 0 to n: each has `batch_size` samples, the last one the rest. Raises TrainerError."""
    _check(batch_size)
    return [slice(start, min(start + batch_size, n)) for start in range(0, n, batch_size)]


def steps(n: int, batch_size: int) -> int:
    """The number of batches in an epoch: n / `batch_size`, rounded up. Raises TrainerError."""
    _check(batch_size)
    return -(-n // batch_size)


def sample_rng(seed: int, epoch: int, sample_id: str) -> np.random.Generator:
    """The generator for the random augmentation of one sample in one epoch, fixed by the three arguments alone."""
    return np.random.default_rng([seed, epoch, zlib.crc32(sample_id.encode())])


def _check(batch_size: int) -> None:
    if batch_size < 1:
        raise TrainerError(f"batch size {batch_size}; expected 1 or more")
