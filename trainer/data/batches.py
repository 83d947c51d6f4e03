"""Which samples come when: pure, fixed by a seed. Knows numbers and ids only, and holds no data.

Nothing here has a state to save: an epoch's order and a sample's augmentation follow from the seed and the epoch's
number, so that a resumed run, and one that reads with more threads, go on as the same run would have.
"""

import zlib

import numpy as np

from trainer.errors import TrainerError


def epoch_order(n: int, seed: int, epoch: int) -> np.ndarray:
    """int64 (n,): the samples 0 to n - 1 in the order of this epoch, fixed by `seed` and `epoch`, both 0 or more."""
    return np.random.default_rng([seed, epoch]).permutation(n).astype(np.int64, copy=False)


def slices(n: int, batch_size: int) -> list[slice]:
    """Consecutive batches of 0 to n: each of `batch_size`, the last of what is left. Raises TrainerError."""
    _check(batch_size)
    return [slice(start, min(start + batch_size, n)) for start in range(0, n, batch_size)]


def steps(n: int, batch_size: int) -> int:
    """How many batches an epoch has: n / `batch_size`, rounded up. Raises TrainerError."""
    _check(batch_size)
    return -(-n // batch_size)


def draw(seed: int, epoch: int, sample_id: str) -> np.random.Generator:
    """The source of one sample's random augmentation in one epoch, fixed by the three, whoever asks when."""
    return np.random.default_rng([seed, epoch, zlib.crc32(sample_id.encode())])


def _check(batch_size: int) -> None:
    if batch_size < 1:
        raise TrainerError(f"batch size {batch_size}; expected 1 or more")
