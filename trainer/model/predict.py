"""Class probabilities of a trained model for samples of a cache."""

from collections.abc import Callable
from typing import Any

import numpy as np

from trainer.data.stream import READERS, Subset, Transform, batches
from trainer.errors import TrainerError

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
    for batch in batches(samples, np.arange(len(samples)), batch_size, transform=transform, readers=readers):
        rows.append(np.asarray(model.predict_on_batch(batch.values), np.float32))
        is_finite = np.isfinite(rows[-1]).all(axis=1)
        if not is_finite.all():
            name = samples.ids[done + int(np.argmin(is_finite))]
            raise TrainerError(f"the prediction for {name!r} is not a finite number; {DIVERGED_HINT}")
        done += len(rows[-1])
        if progress:
            progress(done, len(samples))
    return np.concatenate(rows)
