"""One epoch of training steps. The device does not wait for Python: a loss is read once the next step has started."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from cache.progress import Callback
from trainer.config import Config
from trainer.data.batches import epoch_order, steps
from trainer.data.stream import READERS, Meter, Subset, Transform, batches
from trainer.errors import TrainerError
from trainer.model.predict import DIVERGED_HINT
from trainer.training.checkpoint import Row, State


@dataclass(frozen=True)
class TrainingData:
    """The samples that a run trains and validates on, and how they are fed to the network.

    `transform` is (epoch, stored sample, id) → augmented sample; `class_weights` are float64 (classes,).
    """

    training: Subset
    validation: Subset
    class_weights: np.ndarray | None = None
    transform: Callable[[int, np.ndarray, str], np.ndarray] | None = None
    validation_transform: Transform | None = None
    validation_batch: int = 2
    readers: int = READERS

    def transform_in(self, epoch: int) -> Transform | None:
        """The transform of training samples in `epoch`, from 0."""
        return partial(self.transform, epoch) if self.transform else None


def train_epoch(
    runner: Any,
    config: Config,
    data: TrainingData,
    state: State,
    callback: Callback,
    save: Callable[[], None],
    save_seconds: float,
) -> Row:
    """Train on the remaining steps of the epoch; return their seconds and the share of them spent waiting for data.

    `runner` is the `TrainingSteps` of the backend. Every `save_seconds` the variables of its model and `state` are
    brought to the same step, and `save` is called. Raises TrainerError where the loss is not finite.
    """
    samples, epoch = data.training, state.epoch
    order, total = epoch_order(len(samples), config.seed, epoch), steps(len(samples), config.batch_size)
    transform = data.transform_in(epoch)
    meter, saved = Meter(), time.monotonic()
    record = partial(_record, runner, state, callback, total)
    callback.on_progress(state.step, total, "steps", {"epoch": epoch + 1})
    started: tuple[int, Any] | None = None  # samples in the last step, and its handle
    stream = batches(samples, order, config.batch_size, data.class_weights, transform, meter, state.step, data.readers)
    try:
        for batch in stream:
            handle = runner(batch.values, batch.labels, batch.weights)
            if started:
                record(*started)
            started = len(batch.labels), handle
            if time.monotonic() - saved >= save_seconds:
                record(*started)
                started = None
                runner.synchronize()
                save()
                saved = time.monotonic()
        if started:
            record(*started)
    finally:
        runner.synchronize()
    return meter.row()


def _record(runner: Any, state: State, callback: Callback, total: int, count: int, handle: Any) -> None:
    """Wait for a step on `count` samples, and add its loss and accuracy to `state`."""
    loss, accuracy = runner.read(handle)
    state.add(count, loss, accuracy)
    if not math.isfinite(state.losses):
        raise TrainerError(f"the loss became {loss} in epoch {state.epoch + 1}, step {state.step}; {DIVERGED_HINT}")
    callback.on_progress(state.step, total, "steps", {"epoch": state.epoch + 1, "loss": state.losses / state.seen})
