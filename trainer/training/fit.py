"""The training loop: epochs of batches, validation, early stopping, and checkpoints to resume from.

Keras' own `fit` can only resume after a complete epoch, and forgets the counters of its callbacks; at full size an
epoch takes hours on a CPU. Here a run may stop at any step: the next process repeats the steps after the last
checkpoint with the same batches, and on the same machine ends with the same bits.
"""

from functools import partial
from pathlib import Path

import keras

from cache.progress import Callback
from trainer import backend
from trainer.config import Config
from trainer.evaluation.scores.accuracy import accuracy
from trainer.evaluation.scores.kappa import kappa
from trainer.evaluation.scores.loss import cross_entropy
from trainer.evaluation.tally import confusion_matrix
from trainer.model.backbone import get_backbone
from trainer.model.predict import predict
from trainer.model.viptt_net import has_frame_encoder
from trainer.runs import files
from trainer.training import checkpoint
from trainer.training.batch_norm import recompute_statistics, uses_precise_statistics
from trainer.training.checkpoint import Row, State
from trainer.training.early_stopping import Schedule
from trainer.training.epoch import TrainingData, train_epoch

SAVE_SECONDS = 60.0  # between checkpoints within an epoch


def compile_for(model: keras.Model, config: Config) -> None:
    """Compile `model` as `config` says, and create every variable of its optimizer."""
    optimizer = {"sgd": keras.optimizers.SGD, "adam": keras.optimizers.Adam}[config.optimizer](config.learning_rate)
    model.compile(
        optimizer, "sparse_categorical_crossentropy", metrics=["accuracy"], jit_compile=backend.jit(config.jit_compile)
    )
    model.optimizer.build(model.trainable_variables)


def fit(
    model: keras.Model,
    full_model: keras.Model,
    config: Config,
    data: TrainingData,
    folder: Path,
    callback: Callback,
    save_seconds: float = SAVE_SECONDS,
) -> State:
    """Train the compiled `model` until early stopping or the last epoch, from the checkpoint in `folder` if any.

    `full_model`, which shares its layers, is saved as model.keras after each epoch with the lowest validation loss so
    far. A checkpoint is written after each epoch, and every `save_seconds` within one. Where a GPU has too little
    memory, training continues from the last checkpoint with smaller blocks of slices. Raises TrainerError where the
    loss is not finite.
    """
    path = folder / "checkpoint.npz"
    has_checkpoint = path.is_file()
    state = checkpoint.restore(path, model) if has_checkpoint else State()
    if backend.uses_gpu() and not has_checkpoint:
        checkpoint.save(path, state, model)  # to continue from, since a failed step may leave no weights
    schedule = Schedule(model, config, state.counters)
    save = partial(checkpoint.save, path, state, model)
    runner = backend.library().TrainingSteps(model)
    if state.stopped in ("", "epochs"):  # the number of epochs may have been raised since
        state.stopped = "epochs" if state.epoch >= config.epochs else ""
    _write_tables(folder, state)
    try:
        while not state.stopped:
            timing = train_epoch(runner, config, data, state, callback, save, save_seconds)
            if uses_precise_statistics(config):
                transform = data.transform_in(state.epoch)
                recompute_statistics(full_model, config, data.training, state.epoch, transform, data.readers)
            row = _history_row(model, data, state)
            is_best = schedule.end_epoch(state.epoch, row)
            state.end_epoch(row, timing, schedule.counters())
            state.stopped = schedule.stopped or ("epochs" if state.epoch >= config.epochs else "")
            if is_best:
                (folder / "metrics.json").unlink(missing_ok=True)  # of a finished run that was resumed
                files.replace_by(folder / "model.keras", full_model.save)
            save()
            _write_tables(folder, state)
            callback.on_epoch(row, timing, config.epochs)
        return state
    except Exception as error:
        if not (backend.library().is_out_of_memory(error) and path.is_file() and halve_block(full_model)):
            raise
    # Outside the handler, whose error keeps the failed step in memory.
    block = full_model.get_layer("frames").block
    callback.on_note(f"the GPU has too little memory: training continues with {block} slices at a time")
    backend.library().forget_compiled()
    compile_for(model, config)
    return fit(model, full_model, config, data, folder, callback, save_seconds)


def halve_block(full_model: keras.Model) -> bool:
    """Halve the blocks of slices that go through the backbone at a time; False where they cannot be smaller."""
    if not has_frame_encoder(full_model):
        return False
    frames = full_model.get_layer("frames")
    can_be_cut = get_backbone(frames.backbone_name).can_be_cut_into_blocks(not frames.backbone.trainable)
    before = frames.block or full_model.input_shape[1]
    frames.block = max(1, before // 2)
    return can_be_cut and frames.block < before


def _history_row(model: keras.Model, data: TrainingData, state: State) -> Row:
    """The line of history.csv for the epoch that has just ended: means over training samples, validation scores."""
    labels = data.validation.labels
    probabilities = predict(model, data.validation, data.validation_batch, data.validation_transform, data.readers)
    confusion = confusion_matrix(labels, probabilities.argmax(axis=1), probabilities.shape[1])
    return {
        "epoch": state.epoch + 1,
        "loss": state.losses / state.seen,
        "accuracy": state.correct / state.seen,
        "val_loss": cross_entropy(labels, probabilities),
        "val_accuracy": float(accuracy(confusion)),
        "val_kappa": float(kappa(confusion)),
        "learning_rate": float(keras.ops.convert_to_numpy(model.optimizer.learning_rate)),
    }


def _write_tables(folder: Path, state: State) -> None:
    """Write history.csv and timings.csv, which only repeat the contents of the checkpoint."""
    if state.history:
        files.write_csv(folder / "history.csv", state.history)
        files.write_csv(folder / "timings.csv", state.timings)
