"""One loop for both stages: epochs of batches, validation, the paper's schedule, and a state saved to go on from.

Keras' own `fit` can go on only from the end of an epoch, and forgets its callbacks' counters; an epoch at full size
takes hours on a CPU. Here every step may be the last: the next process repeats what came after the last checkpoint,
with the same batches, and ends with the same bits on the same machine.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import keras
import numpy as np

from trainer.backend import jit
from trainer.config import Config
from trainer.data.batches import epoch_order, steps
from trainer.data.stream import READERS, Meter, Subset, Transform, batches
from trainer.errors import TrainerError
from trainer.evaluation.scores.accuracy import accuracy
from trainer.evaluation.scores.kappa import kappa
from trainer.evaluation.scores.loss import cross_entropy
from trainer.evaluation.tally import confusion_matrix
from trainer.runs import files
from trainer.training import checkpoint
from trainer.training.checkpoint import Row, State

SAVE_SECONDS = 60.0
CALMER = "lower --learning-rate, or check the input"
# What a callback must remember from one process to the next.
COUNTERS = {
    "plateau": ("best", "wait", "cooldown_counter"),
    "stop": ("best", "wait", "best_epoch", "stopped_epoch"),
}


class Listener(Protocol):
    """Whoever is told how training goes."""

    def note(self, text: str) -> None:
        """Something the user should know."""

    def at_step(self, epoch: int, done: int, total: int, loss: float) -> None:
        """`done` of `total` steps of `epoch` are through; `loss` is the epoch's so far."""

    def after_epoch(self, row: Row, timing: Row, epochs: int) -> None:
        """An epoch, of at most `epochs`, has ended with these figures."""


@dataclass(frozen=True)
class Data:
    """What a run trains and validates on; `transform` makes of a stored sample what is learned, given
    its epoch and id; `class_weights` float64 (classes,)."""

    training: Subset
    validation: Subset
    class_weights: np.ndarray | None = None
    transform: Callable[[int, np.ndarray, str], np.ndarray] | None = None
    validation_transform: Transform | None = None
    validation_batch: int = 2
    readers: int = READERS


def compile_for(model: keras.Model, config: Config) -> None:
    """Compile `model` as `config` says, with every variable of its optimizer in place."""
    optimizer = {"sgd": keras.optimizers.SGD, "adam": keras.optimizers.Adam}[config.optimizer](config.learning_rate)
    model.compile(
        optimizer, "sparse_categorical_crossentropy", metrics=["accuracy"], jit_compile=jit(config.jit_compile)
    )
    model.optimizer.build(model.trainable_variables)


def fit(
    model: keras.Model,
    whole: keras.Model,
    config: Config,
    data: Data,
    folder: Path,
    listener: Listener,
    save_seconds: float = SAVE_SECONDS,
) -> State:
    """Train the compiled `model` to the end of `config`, from the checkpoint in `folder` where there is one.

    `whole`, of which `model` is made, is saved as model.keras after each epoch with the lowest validation loss so far.
    A checkpoint is written after each epoch, and within one whenever `save_seconds` have passed.
    """
    path = folder / "checkpoint.npz"
    state = checkpoint.restore(path, model) if path.is_file() else State()
    callbacks = _callbacks(model, config, state)
    save = partial(checkpoint.save, path, state, model)
    if state.stopped in ("", "epochs"):  # how many epochs there are may have been changed since
        state.stopped = "epochs" if state.epoch >= config.epochs else ""
    _write_tables(folder, state)
    while not state.stopped:
        timing = _epoch(model, config, data, state, listener, _every(save_seconds, save))
        row = _validated(model, config, data, state)
        state.timings.append({"epoch": row["epoch"]} | timing)
        if _end_of_epoch(callbacks, state, row, config):
            (folder / "metrics.json").unlink(missing_ok=True)  # of a run that ended and goes on: those of other weights
            files.replace_by(folder / "model.keras", whole.save)
        save()
        _write_tables(folder, state)
        listener.after_epoch(row, timing, config.epochs)
    return state


def _callbacks(model: keras.Model, config: Config, state: State) -> dict[str, Any]:
    """The paper's schedule (ViPTT-Net §3.2), its counters as the state has them."""
    callbacks = {
        "plateau": keras.callbacks.ReduceLROnPlateau(
            "val_loss", factor=config.plateau_factor, patience=config.plateau_patience
        ),
        "stop": keras.callbacks.EarlyStopping("val_loss", patience=config.stop_patience),
    }
    for name, callback in callbacks.items():
        callback.set_model(model)
        callback.on_train_begin()
        vars(callback).update(state.counters.get(name, {}))
    model.stop_training = False
    return callbacks


def _epoch(
    model: keras.Model, config: Config, data: Data, state: State, listener: Listener, save_sometimes: Callable[[], None]
) -> Row:
    """Go through the steps of the epoch that are not done yet; return what they took."""
    part, epoch = data.training, state.epoch
    order, total = epoch_order(len(part), config.seed, epoch), steps(len(part), config.batch_size)
    transform = partial(data.transform, epoch) if data.transform else None
    meter = Meter()
    for batch in batches(
        part, order, config.batch_size, data.class_weights, transform, meter, state.step, data.readers
    ):
        model.reset_metrics()
        logs = model.train_on_batch(batch.values, batch.labels, batch.weights, return_dict=True)
        state.add(len(batch.labels), float(logs["loss"]), float(logs["accuracy"]))
        if not math.isfinite(state.losses):
            raise TrainerError(f"the loss became {logs['loss']} in epoch {epoch + 1}, step {state.step}; {CALMER}")
        listener.at_step(epoch, state.step, total, state.losses / state.seen)
        save_sometimes()
    return meter.row()


def _validated(model: keras.Model, config: Config, data: Data, state: State) -> Row:
    """The epoch's row of the history."""
    labels = data.validation.labels
    probabilities = predict(model, data.validation, data.validation_batch, data.validation_transform, data.readers)
    confusion = confusion_matrix(labels, probabilities.argmax(axis=1), probabilities.shape[1])
    return {
        "epoch": state.epoch + 1,
        "loss": state.losses / state.seen,
        "accuracy": state.hits / state.seen,
        "val_loss": cross_entropy(labels, probabilities),
        "val_accuracy": float(accuracy(confusion)),
        "val_kappa": float(kappa(confusion)),
        "learning_rate": float(keras.ops.convert_to_numpy(model.optimizer.learning_rate)),
    }


def predict(
    model: keras.Model,
    part: Subset,
    batch_size: int,
    transform: Transform | None = None,
    readers: int = READERS,
    progress: Callable[[int, int], None] | None = None,
) -> np.ndarray:
    """Class probabilities float32 (n, classes) of `part`, in its order. Raises TrainerError where one is not finite."""
    found: list[np.ndarray] = []
    done = 0
    for batch in batches(part, np.arange(len(part)), batch_size, transform=transform, readers=readers):
        found.append(np.asarray(model.predict_on_batch(batch.values), np.float32))
        if not np.isfinite(found[-1]).all():
            worst = int(np.flatnonzero(~np.isfinite(found[-1]).all(axis=1))[0])
            raise TrainerError(f"the prediction for {part.ids[done + worst]!r} is not a number; {CALMER}")
        done += len(found[-1])
        if progress:
            progress(done, len(part))
    return np.concatenate(found)


def _end_of_epoch(callbacks: dict[str, Any], state: State, row: Row, config: Config) -> bool:
    """Move the state and the schedule to the next epoch; True where this one was the best so far."""
    for callback in callbacks.values():
        callback.on_epoch_end(state.epoch, dict(row))
    best = callbacks["stop"].best_epoch == state.epoch
    state.history.append(row)
    state.begin_epoch(state.epoch + 1)
    state.counters = {key: {name: vars(callbacks[key])[name] for name in names} for key, names in COUNTERS.items()}
    if callbacks["stop"].stopped_epoch:
        state.stopped = "no lower validation loss"
    elif state.epoch >= config.epochs:
        state.stopped = "epochs"
    return best


def _write_tables(folder: Path, state: State) -> None:
    """The files that only repeat what the checkpoint holds."""
    if state.history:
        files.write_csv(folder / "history.csv", state.history)
        files.write_csv(folder / "timings.csv", state.timings)


def _every(seconds: float, action: Callable[[], None]) -> Callable[[], None]:
    """`action`, done only when `seconds` have passed since the last time."""
    last = time.monotonic()

    def sometimes() -> None:
        nonlocal last
        if time.monotonic() - last >= seconds:
            action()
            last = time.monotonic()

    return sometimes
