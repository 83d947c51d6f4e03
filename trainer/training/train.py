"""Train a run: cache → split → network → epochs → metrics of the best weights."""

from dataclasses import replace
from functools import partial
from typing import Any

import keras

from cache import Cache, open_cache
from cache.progress import Callback
from trainer import backend
from trainer.config import Config
from trainer.data.class_weights import class_weights
from trainer.data.inputs import eval_transform, prediction_batch, train_transform
from trainer.data.splits.split import Split
from trainer.data.stream import subset
from trainer.errors import TrainerError
from trainer.evaluation.metrics import score
from trainer.evaluation.pictures import add_picture, confusion_picture, curves_picture
from trainer.features.extractor import check_features
from trainer.model.backbone import get_backbone
from trainer.model.networks import model_for_inputs, model_for_training
from trainer.model.predict import predict
from trainer.model.weights import load_model
from trainer.runs import files, manifest
from trainer.runs.folder import check_folder, finish, lock_run, write_run_files
from trainer.runs.plan import Request, check_batch, choose_split, new_run, resumed_run
from trainer.runs.predictions import ValidationPredictions, write_predictions
from trainer.runs.run import Run
from trainer.runs.samples import check_samples, sample_fingerprints
from trainer.training.callbacks import CallbackList
from trainer.training.cost import device_notes
from trainer.training.epoch import TrainingData
from trainer.training.fit import compile_for, fit
from trainer.training.tensorboard import TensorBoard


def train(request: Request, callback: Callback) -> dict[str, Any]:
    """Train as requested; return the metrics of the best weights on the validation samples, as in metrics.json.

    All input is checked before RUN is touched. Raises TrainerError, CacheError.
    """
    resumes = check_folder(request.run, request.resume)
    cache = open_cache(request.cache)
    features = open_cache(request.features) if request.features else None
    run = resumed_run(request, cache) if resumes else new_run(request, cache, features)
    split, notes = choose_split(request, cache, run.config, resumes)
    for note in notes:
        callback.on_note(note)
    check_batch(run.config, split, "batch_size" in request.settings)
    _note_ignored_options(run.config, callback)
    full_model = model_for_training(run, features, resumes and (request.run / "checkpoint.npz").is_file())
    if features:
        check_features(features, cache, full_model, (*split.train, *split.validation))
    data = _data(run.config, cache, features or cache, split, request.readers)
    with lock_run(request.run, request.resume) as exists:
        if exists != resumes:
            raise TrainerError(
                f"another process trained into {request.run} in the meantime; run the same command again"
            )
        if exists:
            check_samples(request.run, cache)
            for name in ("checkpoint.npz", "model.keras"):
                manifest.check(request.run / name)
        write_run_files(request.run, run, split, sample_fingerprints(cache, (*split.train, *split.validation)))
        return _train_and_score(request, run, full_model, data, callback)


def _note_ignored_options(config: Config, callback: Callback) -> None:
    can_be_cut = get_backbone(config.backbone).can_be_cut_into_blocks(config.freeze_backbone)
    if config.slices_per_step and not config.cached_features and not can_be_cut:
        callback.on_note(
            f"--slices-per-step {config.slices_per_step} is ignored: backbone {config.backbone} takes all slices of a "
            "step at once; use a smaller --batch-size to save memory"
        )


def _train_and_score(
    request: Request, run: Run, full_model: keras.Model, data: TrainingData, callback: Callback
) -> dict[str, Any]:
    callback.on_device(backend.description())
    if (request.run / "checkpoint.npz").is_file() and not backend.repeats_bits():
        callback.on_note(
            "on a GPU a resumed run equals an uninterrupted one up to rounding, or exactly with --deterministic"
        )
    for note in device_notes(full_model, run.config, len(data.training), len(data.validation)):
        callback.on_note(note)
    model = model_for_inputs(full_model, data.training.cache)
    compile_for(model, run.config)
    with TensorBoard(request.run / "logs", callback.on_note) as board:
        callbacks = CallbackList([board, callback])
        state = fit(model, full_model, run.config, data, request.run, callbacks, request.save_seconds)
    load_model(full_model, request.run / "model.keras")
    validation = data.validation
    probabilities = predict(model, validation, data.validation_batch, data.validation_transform, request.readers)
    metrics = score(validation.labels, probabilities, run.class_names)
    predictions = ValidationPredictions(validation.ids, validation.labels, probabilities, run.class_names)
    write_predictions(request.run, predictions)
    files.write_json(request.run / "metrics.json", metrics)
    finish(request.run)
    add_picture(request.run / "curves.png", partial(curves_picture, state.history), callback.on_note)
    add_picture(request.run / "confusion.png", partial(confusion_picture, metrics), callback.on_note)
    return metrics


def _data(config: Config, cache: Cache, inputs: Cache, split: Split, readers: int) -> TrainingData:
    """The two sides of the split, with labels from `cache` and samples from `inputs`, which may be its features."""
    training, validation = (replace(subset(cache, ids), cache=inputs) for ids in (split.train, split.validation))
    return TrainingData(
        training,
        validation,
        class_weights(training.labels, len(cache.class_names)) if config.class_weights else None,
        train_transform(config, inputs),
        eval_transform(inputs),
        prediction_batch(config, inputs),
        readers,
    )
