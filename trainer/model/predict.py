"""Class probabilities of a trained model for samples of a cache."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

import numpy as np

from trainer.backend import library
from trainer.data.stream import READERS, Subset, Transform, batches
from trainer.errors import TrainerError

T = TypeVar("T")
DIVERGED_HINT = "lower --learning-rate, or check the input"


def predict(
    model: Any,
    samples: Subset,
    batch_size: int,
    transform: Transform | None = None,
    readers: int = READERS,
    progress: Callable[[int, int], None] | None = None,
) -> np.ndarray:
    """Class probabilities float32 (n, classes) of `samples`, in their order, by a Keras `model`.

    `progress` is called with the numbers of finished and of all samples. Raises TrainerError where a probability is not
    finite.
    """
    rows: list[np.ndarray] = []
    done = 0
    stream = batches(samples, np.arange(len(samples)), batch_size, transform=transform, readers=readers)
    for outputs in one_late(map(library().forward(model), (batch.values for batch in stream))):
        rows.append(np.asarray(outputs, np.float32))
        is_finite = np.isfinite(rows[-1]).all(axis=1)
        if not is_finite.all():
            name = samples.ids[done + int(np.argmin(is_finite))]
            raise TrainerError(f"the prediction for {name!r} is not a finite number; {DIVERGED_HINT}")
        done += len(rows[-1])
        if progress:
            progress(done, len(samples))
    return np.concatenate(rows)


def one_late(items: Iterable[T]) -> Iterator[T]:
    """`items`, each once the next one has been started: the device computes while the last result is read."""
    started: deque[T] = deque()
    for item in items:
        started.append(item)
        if len(started) > 1:
            yield started.popleft()
    yield from started
