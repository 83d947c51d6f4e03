"""The story of a run: cache → split → network → epochs → how good the best weights are."""

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import keras

from cache import Cache, open_cache
from trainer.config import Config
from trainer.data.class_weights import class_weights
from trainer.data.inputs import eval_transform, prediction_batch, train_transform
from trainer.data.splits.split import Split
from trainer.data.stream import subset
from trainer.errors import TrainerError
from trainer.evaluation.metrics import score
from trainer.evaluation.pictures import add_picture, confusion_picture, curves_picture
from trainer.features.extractor import check_features
from trainer.model.networks import model_for_inputs, starting_model
from trainer.model.weights import load_model
from trainer.runs import files, manifest
from trainer.runs.folder import check_folder, finish, lock_run, write_run_files
from trainer.runs.plan import Request, check_batch, choose_split, new, resumed
from trainer.runs.predictions import ValidationPredictions, write_predictions
from trainer.runs.run import Run
from trainer.runs.samples import check_samples, sample_fingerprints
from trainer.training.checkpoint import State
from trainer.training.fit import Data, Listener, compile_for, fit, predict
from trainer.training.logs import Logged


def train(request: Request, listener: Listener) -> dict[str, Any]:
    """Train as asked and return the metrics of the best weights on the validation ids, as metrics.json has them.

    Everything that can be wrong is found before RUN is touched. Raises TrainerError, CacheError.
    """
    begun = check_folder(request.run, request.resume)
    cache = open_cache(request.cache)
    features = open_cache(request.features) if request.features else None
    run = resumed(request, cache) if begun else new(request, cache, features)
    split, notes = choose_split(request, cache, run.config, begun)
    for note in notes:
        listener.note(note)
    check_batch(run.config, split, "batch_size" in request.given)
    whole = starting_model(run, features, begun and (request.run / "checkpoint.npz").is_file())
    if features:
        check_features(features, cache, whole, (*split.train, *split.validation))
    data = _data(run.config, cache, features or cache, split, request.readers)
    with lock_run(request.run, request.resume) as going_on:
        if going_on != begun:
            raise TrainerError(f"another process has trained into {request.run} meanwhile; run the same command again")
        samples = sample_fingerprints(cache, (*split.train, *split.validation))
        if going_on:
            check_samples(request.run, cache)
            for name in ("checkpoint.npz", "model.keras"):
                manifest.check(request.run / name)
        write_run_files(request.run, run, split, samples)
        return _train_and_score(request, run, whole, data, listener)


def _train_and_score(request: Request, run: Run, whole: keras.Model, data: Data, listener: Listener) -> dict[str, Any]:
    model = model_for_inputs(whole, data.training.cache)
    compile_for(model, run.config)
    with Logged(listener, request.run / "logs") as logged:
        state = fit(model, whole, run.config, data, request.run, logged, request.save_seconds)
    load_model(whole, request.run / "model.keras")
    found = predict(model, data.validation, data.validation_batch, data.validation_transform, request.readers)
    metrics = score(data.validation.labels, found, run.class_names)
    write_predictions(
        request.run, ValidationPredictions(data.validation.ids, data.validation.labels, found, run.class_names)
    )
    files.write_json(request.run / "metrics.json", metrics)
    finish(request.run)
    _draw(request.run, state, metrics, listener)
    return metrics


def _draw(root: Path, state: State, metrics: dict[str, Any], listener: Listener) -> None:
    add_picture(root / "curves.png", partial(curves_picture, state.history), listener.note)
    add_picture(root / "confusion.png", partial(confusion_picture, metrics), listener.note)


def _data(config: Config, cache: Cache, stored: Cache, split: Split, readers: int) -> Data:
    """The two sides of the split, with labels from `cache` and samples from `stored`, which may be its features."""
    training, validation = (replace(subset(cache, ids), cache=stored) for ids in (split.train, split.validation))
    return Data(
        training,
        validation,
        class_weights(training.labels, len(cache.class_names)) if config.class_weights else None,
        train_transform(config, stored),
        eval_transform(stored),
        prediction_batch(config, stored),
        readers,
    )
